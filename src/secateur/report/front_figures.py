"""Accuracy against what is left of the cost, as rows of figures: curves, controls, fronts."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.report.figures import Data, accuracy_curves
from secateur.report.findings import Findings
from secateur.study.bd_rate import front
from secateur.study.grid import COSTS
from secateur.study.methods import SCRATCH
from secateur.study.resampling import half_width, mean_and_error, seed_means
from secateur.study.tradeoff import Row


def fronts(findings: Findings) -> Data:
    """Every point of every curve, and the controls from scratch, with the shares of cost left.

    `macs_left` and `params_left` are shares of the unpruned network's; `front_macs` says that no
    other cut of the same network, strength and scope is both cheaper and more accurate. Controls
    have strength None: their size stands beside the cuts of any strength.
    """
    unpruned: dict[str, dict[str, float]] = {}
    for base in findings.bases:
        own = {"macs": base["macs"], "params": base["params"]}
        unpruned.setdefault(base["network"], own)
    data = accuracy_curves(findings)
    data += [row for row in _scratch(findings) if row["network"] in unpruned]
    for row in data:
        for cost in COSTS:
            row[f"{cost}_left"] = row[cost] / unpruned[row["network"]][cost]
    cuts: dict[tuple[Any, ...], Data] = {}
    for row in data:
        for cost in COSTS:
            row[f"front_{cost}"] = False
        if row["strength"] is not None:
            key = (row["network"], row["strength"], row["scope"])
            cuts.setdefault(key, []).append(row)
    for together in cuts.values():
        for cost in COSTS:
            best = set(zip(*_front(together, cost), strict=True))
            for point in together:
                point[f"front_{cost}"] = (point[cost], point["accuracy"]) in best
    return data


def _front(rows: Data, cost: str) -> tuple[list[float], list[float]]:
    costs, accuracies = front([row[cost] for row in rows], [row["accuracy"] for row in rows])
    return costs.tolist(), accuracies.tolist()


def _scratch(findings: Findings) -> Data:
    """The controls: means over seeds at every size."""
    sizes: dict[tuple[str, float], list[Row]] = {}
    for row in findings.scratch:
        sizes.setdefault((row["network"], row["ratio_asked"]), []).append(row)
    data = []
    for (network, asked), rows in sorted(sizes.items()):
        accuracy = seed_means([r["seed"] for r in rows], np.array([r["accuracy"] for r in rows]))
        mean, error, n = mean_and_error(accuracy)
        half = float(half_width(error, n))
        bounded = bool(np.isfinite(half))
        data.append(
            {
                "network": network,
                "strength": None,
                "criterion": SCRATCH,
                "scope": "uniform",
                "ratio": asked,
                "reached": float(np.mean([r.get("ratio_reached", asked) for r in rows])),
                "accuracy": float(mean),
                "low": float(mean) - half if bounded else float(mean),
                "high": float(mean) + half if bounded else float(mean),
                "accuracy_cut": None,
                "macs": float(np.mean([r["macs"] for r in rows])),
                "params": float(np.mean([r["params"] for r in rows])),
                "n_seeds": int(n),
            }
        )
    return data
