"""Figures of a study: what is drawn, as plain lists of dicts, apart from how it is drawn.

Every function takes the findings and gives the numbers of one figure; `charts` draws them. Shares
and accuracies are kept as shares in [0, 1], costs as counts, strengths as the recipe's numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from secateur.analysis.similarity import RankCorrelation, summary
from secateur.analysis.skewness import POOLED
from secateur.analysis.tables import GLOBAL
from secateur.report.findings import MAIN_EPSILON, Findings
from secateur.study.grid import criterion_of, is_control, repair_of
from secateur.study.methods import MethodDifference
from secateur.study.tradeoff import (
    Row,
    accuracy_at,
    bootstrap_interval,
    compression_area,
    seed_means,
)

Data = list[dict[str, Any]]

ALL_RATIOS = "all ratios"
BUDGETS = (2, 4, 8)
"""Times fewer MACs at which accuracy is shown."""

AREA_UPTO = 4
"""Times fewer MACs up to which accuracy is averaged."""

_INDICES = ("ws", "gini", "hoyer", "pq_index", "inactive_share")


def base_networks(findings: Findings) -> Data:
    """Accuracy over seeds with its interval, cost, and sparsity of every network and strength."""
    data = []
    for (network, strength), bases in _cells(findings.bases, findings.networks):
        accuracy = seed_means(bases, np.array([base["accuracy"] for base in bases]))
        low, high = bootstrap_interval(accuracy) or (None, None)
        pooled = [_pooled(base, "bn_scale") for base in bases]
        data.append(
            {
                "network": network,
                "strength": strength,
                "n_seeds": len(accuracy),
                "accuracy": float(accuracy.mean()),
                "low": None if low is None else max(low, 0.0),
                "high": None if high is None else min(high, 1.0),
                "train_accuracy": _mean(base.get("train_accuracy") for base in bases),
                "params": _mean(base["params"] for base in bases),
                "macs": _mean(base["macs"] for base in bases),
                "channels": _mean(base["channels"] for base in bases),
                **{name: _mean(row.get(name) for row in pooled) for name in _INDICES},
                "ws_filter_l1": _mean(_pooled(base, "filter_l1").get("ws") for base in bases),
            }
        )
    return data


def sparsity(findings: Findings) -> Data:
    """Pooled sparsity indices by strength: mean and range over base networks, one row an index."""
    data = []
    for (network, strength), bases in _cells(findings.bases, findings.networks):
        pooled = [_pooled(base, "bn_scale") for base in bases]
        for index in ("ws", "gini", "inactive_share"):
            values = [row[index] for row in pooled if row.get(index) is not None]
            if values:
                data.append(
                    {
                        "network": network,
                        "strength": strength,
                        "index": index,
                        "mean": float(np.mean(values)),
                        "least": min(values),
                        "most": max(values),
                        "n": len(values),
                    }
                )
    return data


def layers(findings: Findings) -> Data:
    """Weight Skewness and inactive share of every layer and strength, mean over base networks.

    Layers keep the order in which the network uses them, `order` from 0.
    """
    data = []
    for (network, strength), bases in _cells(findings.bases, findings.networks):
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for base in bases:
            for row in base["skewness"]:
                if row["definition"] == "bn_scale" and row["layer"] != POOLED:
                    rows.setdefault(row["layer"], []).append(row)
        for order, (layer, own) in enumerate(rows.items()):
            data.append(
                {
                    "network": network,
                    "strength": strength,
                    "layer": layer,
                    "order": order,
                    "n": own[0]["n"],
                    "ws": _mean(row["ws"] for row in own),
                    "inactive_share": _mean(row["inactive_share"] for row in own),
                }
            )
    return data


def prunable(findings: Findings) -> Data:
    """Prunable ratios that are defined, at every epsilon, with the sparsity of their networks."""
    return [
        {
            "network": row.network,
            "strength": row.strength,
            "criterion": row.criterion,
            "scope": row.scope,
            "epsilon": epsilon,
            "ratio": row.ratio,
            "low": row.ratio if row.low is None else row.low,
            "high": row.ratio if row.high is None else row.high,
            "beyond": row.beyond,
            "base_below": row.base_below,
            "knee": row.knee,
            "ws": row.ws,
            "inactive": row.inactive,
            "n_seeds": row.n_seeds,
        }
        for epsilon, rows in findings.prunable.items()
        for row in rows
        if row.ratio is not None
    ]


def fit_lines(findings: Findings) -> Data:
    """Both ends of every fitted line, inside the range of the points it was fitted to."""
    data = []
    for (epsilon, against), fits in findings.regressions.items():
        for fit in fits:
            found = [
                getattr(row, against)
                for row in findings.prunable[epsilon]
                if row.network == fit.family and row.ratio is not None
            ]
            xs = [x for x in found if x is not None]
            if fit.slope is not None and fit.intercept is not None:
                data += [
                    {
                        "network": fit.family,
                        "epsilon": epsilon,
                        "against": against,
                        "x": x,
                        "ratio": fit.intercept + fit.slope * x,
                    }
                    for x in (min(xs), max(xs))
                ]
    return data


def accuracy_curves(findings: Findings) -> Data:
    """Every point of every curve, with the cost of the cut network; ratio 0 is the unpruned one."""
    return [
        {
            "network": curve.network,
            "strength": curve.strength,
            "criterion": curve.criterion,
            "scope": curve.scope,
            "ratio": point.ratio_asked,
            "reached": point.ratio_reached,
            "accuracy": point.accuracy,
            "low": point.accuracy if point.low is None else point.low,
            "high": point.accuracy if point.high is None else point.high,
            "accuracy_cut": point.accuracy_cut,
            "macs": point.macs,
            "params": point.params,
            "n_seeds": point.n_seeds,
        }
        for curve in findings.curves
        for point in curve.points
    ]


def differences(findings: Findings) -> Data:
    """Differences from the control, for each ratio and over all, before and after fine-tuning.

    A method is held against the control that was repaired as it was.
    """
    return [
        from_control(row, measure)
        for measure, rows in findings.differences.items()
        for row in rows
        if is_control(row.reference) and repair_of(row.criterion) == repair_of(row.reference)
    ]


def from_control(row: MethodDifference, measure: str) -> dict[str, Any]:
    """A difference from a control as a row of figures."""
    return {
        "network": row.network,
        "scope": row.scope,
        "criterion": row.criterion,
        "reference": criterion_of(row.reference),
        "measure": measure,
        "ratio": ALL_RATIOS if row.ratio is None else f"{row.ratio:g}",
        "mean": row.mean,
        "low": row.mean if row.low is None else row.low,
        "high": row.mean if row.high is None else row.high,
        "macs_ratio": row.macs_ratio,
        "n_seeds": row.n_seeds,
        "n_pairs": row.n_pairs,
        "verdict": row.verdict,
    }


def similarity(findings: Findings) -> Data:
    """Rank correlation of every pair of criteria: mean and minimum over layers, and global.

    Each is a mean over base networks; both orders of a pair and the diagonal are there.
    """
    data = []
    for (network, strength), bases in _cells(findings.bases, findings.networks):
        found: dict[tuple[str, str], list[tuple[float | None, ...]]] = {}
        for base in bases:
            for pair in summary(RankCorrelation(**row) for row in base["similarity"]):
                numbers = (pair.mean, pair.minimum, pair.global_rho)
                found.setdefault((pair.first, pair.second), []).append(numbers)
        names = list(dict.fromkeys(name for pair in found for name in pair))
        means = {
            pair: [_mean(column) for column in zip(*own, strict=True)]
            for pair, own in found.items()
        }
        for first in names:
            for second in names:
                one, other = means.get((first, second)), means.get((second, first))
                rhos = [1.0] * 3 if first == second else one or other or [None] * 3
                for over, rho in zip(("mean", "minimum", GLOBAL), rhos, strict=True):
                    data.append(
                        {
                            "network": network,
                            "strength": strength,
                            "first": first,
                            "second": second,
                            "over": over,
                            "rho": rho,
                        }
                    )
    return data


def budgets(findings: Findings) -> Data:
    """Accuracy at 2, 4 and 8 times fewer MACs, interpolated, and the mean over compression."""
    reference = {
        (row.network, row.strength, row.criterion, row.scope): row.reference
        for row in findings.prunable[MAIN_EPSILON]
    }
    data = []
    for curve in findings.curves:
        dense = curve.points[0]
        points = sorted(curve.points, key=lambda point: -point.macs)
        compressions = [dense.macs / point.macs for point in points]
        accuracies = [point.accuracy for point in points]
        a0 = reference[curve.network, curve.strength, curve.criterion, curve.scope]
        data.append(
            {
                "network": curve.network,
                "strength": curve.strength,
                "criterion": curve.criterion,
                "scope": curve.scope,
                "unpruned": dense.accuracy,
                **{f"at_{k}": accuracy_at(compressions, accuracies, k) for k in BUDGETS},
                "area": None
                if a0 is None
                else compression_area(compressions, accuracies, a0, AREA_UPTO),
            }
        )
    return data


def asked_and_reached(findings: Findings) -> Data:
    """Pruning ratio asked beside what was reached, and the share of MACs and parameters left."""
    dense = {base["id"]: base for base in findings.bases}
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in findings.pruned:
        if row["base"] in dense:
            groups.setdefault((row["network"], row["scope"], row["ratio_asked"]), []).append(row)
    data = []
    for (network, scope, asked), rows in sorted(groups.items()):
        reached = [row["ratio_reached"] for row in rows]
        cell: dict[str, Any] = {"network": network, "scope": scope, "asked": asked, "n": len(rows)}
        cell |= {"reached": float(np.mean(reached)), "least": min(reached), "most": max(reached)}
        for cost in ("macs", "params"):
            left = [row[cost] / dense[row["base"]][cost] for row in rows]
            cell |= {
                cost: float(np.mean(left)),
                f"{cost}_least": min(left),
                f"{cost}_most": max(left),
            }
        data.append(cell)
    return data


def _cells(
    bases: Iterable[Row], networks: Sequence[str]
) -> list[tuple[tuple[str, float], list[Row]]]:
    """Base networks by network, in the order given, and by strength, ascending."""
    cells: dict[tuple[str, float], list[Row]] = {}
    for base in bases:
        cells.setdefault((base["network"], base["strength"]), []).append(base)
    return sorted(cells.items(), key=lambda item: (networks.index(item[0][0]), item[0][1]))


def _pooled(base: Row, definition: str) -> Mapping[str, Any]:
    rows = (row for row in base["skewness"] if row["layer"] == POOLED)
    return next((row for row in rows if row["definition"] == definition), {})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
