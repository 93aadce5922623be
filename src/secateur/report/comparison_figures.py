"""Methods beside each other as rows of figures: budgets, heat-map, ranks, controls, shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from secateur.report.figures import Data, from_control
from secateur.report.findings import Findings
from secateur.report.measure_figures import measures as measures_of_curves
from secateur.study import measures
from secateur.study.comparison import BUDGETS
from secateur.study.grid import COSTS
from secateur.study.methods import SCRATCH
from secateur.study.resampling import bootstrap_error, draws, half_width, seed_means
from secateur.study.tradeoff import Curve, Row, accuracy_at


def at_budgets(findings: Findings) -> Data:
    """Accuracy at 2, 4 and 8 times fewer MACs and parameters: one row a cell, cost and budget.

    Training from scratch stands beside the cuts, at strength 0 and in uniform scope. Where there is
    no number, `missing` says why; it may also say why there is no interval.
    """
    known: dict[tuple[str, str], Data] = {}
    for row in findings.comparison.measured:
        if row.measure.startswith("at_"):
            times = int(row.measure.removeprefix("at_"))
            known.setdefault((row.network, row.scope), []).append(
                _place(row.network, row.strength, row.criterion, row.scope)
                | {
                    "cost": row.axis,
                    "times": times,
                    "accuracy": row.value,
                    "low": row.low,
                    "high": row.high,
                    "missing": row.missing,
                    "n_seeds": row.n_seeds,
                }
            )
    data = [row for own in known.values() for row in own]
    for curve in findings.curves:
        if (curve.network, curve.scope) not in known:
            data += _without_interval(curve)
    return data + from_scratch(findings)


def from_scratch(findings: Findings) -> Data:
    """Accuracy at the budgets of networks trained from new weights at the sizes of uniform cuts."""
    dense = {(b["network"], b["seed"], b["fold"]): b for b in findings.bases if b["strength"] == 0}
    data = []
    for network, runs in _controls(findings, dense).items():
        seeds = [seed for seed, _ in runs]
        n = len(set(seeds))
        weights = draws(n)
        rows = [[dense[network, *run], *own] for run, own in runs.items()]
        means = {
            name: weights @ seed_means(seeds, np.array([[r[name] for r in own] for own in rows]))
            for name in ("accuracy", *COSTS)
        }
        for cost in COSTS:
            smaller = means[cost][:, :1] / means[cost]
            for times in BUDGETS:
                values = measures.at_compression(smaller, means["accuracy"], times)
                half = float(half_width(bootstrap_error(values, n), n))
                value, bounded = float(values[0]), bool(np.isfinite([values[0], half]).all())
                missing = f"the smallest has {smaller[0].max():.2f} times fewer {cost}"
                data.append(
                    _place(network, 0.0, SCRATCH, "uniform")
                    | {
                        "cost": cost,
                        "times": times,
                        "accuracy": value if np.isfinite(value) else None,
                        "low": max(0.0, value - half) if bounded else None,
                        "high": min(1.0, value + half) if bounded else None,
                        "missing": None if np.isfinite(value) else missing,
                        "n_seeds": n,
                    }
                )
    return data


def heat_map(findings: Findings) -> Data:
    """One number a method and network: prunable ratios, accuracies at budgets, every measure.

    `what` is `prunable 0.02` (its accepted loss), such as `macs 4` (cost and times fewer), or a
    measure and its cost, `area macs`, of which NetScore has none.
    """
    data = [
        _place(row.network, row.strength, row.criterion, row.scope)
        | {"what": f"prunable {epsilon:g}", "value": row.ratio, "low": row.low, "high": row.high}
        for epsilon, rows in findings.prunable.items()
        for row in rows
        if row.ratio is not None
    ]
    data += [
        {name: row[name] for name in ("network", "strength", "criterion", "scope")}
        | {
            "what": f"{row['cost']} {row['times']}",
            "value": row["accuracy"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in at_budgets(findings)
        if row["accuracy"] is not None
    ]
    return data + [
        {name: row[name] for name in ("network", "strength", "criterion", "scope")}
        | {"what": " ".join(filter(None, (row["measure"], row["axis"])))}
        | {name: row[name] for name in ("value", "low", "high")}
        for row in measures_of_curves(findings)
        if row["value"] is not None
    ]


def ranks(findings: Findings) -> Data:
    """Every method's group, 1 the best, and its mean advantage; the refusal where there is none."""
    data = []
    for row in findings.comparison.rankings:
        place = {"network": row.network, "scope": row.scope, "by": row.by}
        told = {"words": row.ranking.words(100, "points"), "n_seeds": row.ranking.n_seeds}
        for k, group in enumerate(row.ranking.groups, start=1):
            data += [
                place
                | {
                    "group": k,
                    "criterion": name,
                    "advantage": row.ranking.advantage[name],
                    "tied": len(group) > 1,
                }
                | told
                for name in group
            ]
        if row.ranking.refused is not None:
            none = {"group": None, "criterion": None, "advantage": None, "tied": False}
            data.append(place | none | told)
    return data


def scratch_differences(findings: Findings) -> Data:
    """Differences of uniform cuts from the same size trained from scratch, after fine-tuning."""
    return [from_control(row, "accuracy") for row in findings.comparison.scratch]


def shares(findings: Findings) -> Data:
    """Shares of the variance of the prunable ratio, with their intervals."""
    return [asdict(row) for row in findings.comparison.shares]


def fairness(findings: Findings) -> dict[str, Any]:
    """How fair the comparison is, in words; of the missing cuts their number only."""
    found = findings.comparison.fairness
    return {
        "level": found.level,
        "same": list(found.same),
        "differs": list(found.differs),
        "n_missing": len(found.missing),
    }


def _controls(
    findings: Findings, dense: Mapping[tuple[str, int, int], Row]
) -> dict[str, dict[tuple[int, int], list[Row]]]:
    """Controls of every network and run that has a dense network and every size, by size."""
    found: dict[str, dict[tuple[int, int], list[Row]]] = {}
    for row in sorted(findings.scratch, key=lambda row: float(row["ratio_asked"])):
        if (row["network"], row["seed"], row["fold"]) in dense:
            run = (row["seed"], row["fold"])
            found.setdefault(row["network"], {}).setdefault(run, []).append(row)
    whole = {}
    for network, runs in found.items():
        n = max(map(len, runs.values()))
        whole[network] = {run: own for run, own in sorted(runs.items()) if len(own) == n}
    return whole


def _without_interval(curve: Curve) -> Iterable[dict[str, Any]]:
    """Budgets of a cell that no seed has together with all the others: means of what there is."""
    for cost in COSTS:
        points = sorted(curve.points, key=lambda point: -float(getattr(point, cost)))
        smaller = [getattr(curve.points[0], cost) / getattr(point, cost) for point in points]
        for times in BUDGETS:
            value = accuracy_at(smaller, [point.accuracy for point in points], times)
            reason = "no interval: no seed has every cell yet"
            if value is None:
                reason = f"the smallest network measured has {max(smaller):.2f} times fewer {cost}"
            yield _place(curve.network, curve.strength, curve.criterion, curve.scope) | {
                "cost": cost,
                "times": times,
                "accuracy": value,
                "low": None,
                "high": None,
                "missing": reason,
                "n_seeds": min(point.n_seeds for point in curve.points),
            }


def _place(network: str, strength: float, criterion: str, scope: str) -> dict[str, Any]:
    return {"network": network, "strength": strength, "criterion": criterion, "scope": scope}
