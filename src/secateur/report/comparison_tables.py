"""Tables of methods beside each other: rank groups, budgets, controls, shares of variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from secateur.report import comparison_figures as figures
from secateur.report import measure_figures
from secateur.report.comparing import chance_of
from secateur.report.findings import Findings
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, between, level, minus, number, percent, points
from secateur.study.comparison import BUDGETS
from secateur.study.grid import COSTS
from secateur.study.methods import SCRATCH

_COSTS = {"macs": "MACs", "params": "parameters"}

_Cell = TypeVar("_Cell", bound=tuple[Any, ...])
_Own = TypeVar("_Own")


def ranks(findings: Findings) -> Table:
    """Groups of tied methods by network and scope, or why there is no ranking."""
    return Table(
        "Methods in groups that surely differ (5 % for all pairs together), best first; inside a "
        "group pairs may still differ, which are named",
        ("Network", "Scope", "By", "Ranking", "Differ inside a group"),
        tuple(
            (
                row.network,
                row.scope,
                row.by,
                minus(row.ranking.words(100, "points")),
                ", ".join(f"{one} above {other}" for one, other in row.ranking.apart) or NOTHING,
            )
            for row in findings.comparison.rankings
        ),
        n_labels=5,
        n_words=2,
    )


def at_budgets(findings: Findings) -> Table:
    """Accuracy at budgets of MACs and of parameters, training from scratch beside the cuts."""
    cells: dict[tuple[str, float, str, str, str], dict[int, tuple[str, str]]] = {}
    for row in figures.at_budgets(findings):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"], row["cost"])
        text = percent(row["accuracy"])
        if row["low"] is not None:
            text += f" ({between(row['low'], row['high'], 100, 1)})"
        cells.setdefault(cell, {})[row["times"]] = (text, str(row["n_seeds"]))
    dense = {(curve.network, curve.strength): curve.points[0].accuracy for curve in findings.curves}
    return Table(
        "Accuracy at a budget, interpolated between the levels tried, with its interval; never "
        "extrapolated",
        (
            "Network",
            "Strength",
            "Criterion",
            "Scope",
            "Cost",
            "Unpruned",
            *(f"{k}× less" for k in BUDGETS),
            "Seeds",
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope,
                _COSTS[cost],
                percent(dense.get((network, strength))),
                *(own[k][0] for k in BUDGETS),
                own[BUDGETS[0]][1],
            )
            for (network, strength, criterion, scope, cost), own in _ordered(findings, cells)
        ),
        n_labels=5,
    )


def measures(findings: Findings) -> Table:
    """Every measure of a whole curve, with its interval, or why there is none."""
    cells: dict[tuple[str, float, str, str], dict[tuple[str, str | None], dict[str, Any]]] = {}
    for row in measure_figures.measures(findings):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"])
        cells.setdefault(cell, {})[row["measure"], row["axis"]] = row
    names = measure_figures.MEASURES
    chance = chance_of(findings.bases)
    no_chance = "" if chance else "; no F-beta, for the rows do not say how many classes there are"
    told = [name for name in names if chance or name != "f_beta"]
    found = Table(
        f"The whole curve in one number, with its interval; higher is better{no_chance}",
        (
            *("Network", "Strength", "Criterion", "Scope", "Cost"),
            *(f"{words[0].upper()}{words[1:]}" for words in names.values()),
            "Without a number or an interval",
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope,
                _COSTS[cost],
                *(_measured(row, 1 if name == "netscore" else 3) for name, row in of_cost.items()),
                _reasons({names[name]: of_cost[name]["missing"] for name in told}),
            )
            for (network, strength, criterion, scope), own in _ordered(findings, cells)
            for cost in COSTS
            for of_cost in [{name: own.get((name, cost)) or own[name, None] for name in names}]
        ),
        n_labels=5,
        n_words=1,
    )
    return _without_idle_words(found)


def bd_rates(findings: Findings) -> Table:
    """Cost of every criterion beside a reference at equal accuracy, or why it is not defined."""
    cells: dict[tuple[str, float, str, str, str], dict[str, dict[str, Any]]] = {}
    for row in measure_figures.bd_rates(findings):
        place = (row["network"], row["strength"], row["criterion"], row["scope"])
        cells.setdefault((*place, row["reference"]), {})[row["axis"]] = row
    found = Table(
        "BD-rate: cost at equal accuracy beside a reference, with its interval; −20 % is a fifth "
        "cheaper",
        (
            *("Network", "Strength", "Criterion", "Scope", "Against"),
            *("MACs", "Parameters", "Accuracies both reach, %", "Without a number or an interval"),
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope,
                against,
                *(_rate(own[cost]) for cost in COSTS),
                between(own["macs"]["low_accuracy"], own["macs"]["high_accuracy"], 100, 1),
                _reasons({f"over {_COSTS[cost]}": own[cost]["missing"] for cost in COSTS}),
            )
            for (network, strength, criterion, scope, against), own in _ordered(findings, cells)
        ),
        n_labels=5,
        n_words=1,
    )
    return _without_idle_words(found)


def controls(findings: Findings) -> Table:
    """Uniform cuts against the same size trained from scratch, over all levels and at each."""
    return Table(
        "Accuracy of uniform cuts minus that of the same size trained from scratch, in points",
        ("Network", "Level", "Criterion", "Difference", "Interval", "Seeds", "Pairs", "Verdict"),
        tuple(
            (
                row.network,
                "all" if row.ratio is None else level(row.ratio, findings.by_macs),
                row.criterion,
                points(row.mean),
                between(row.low, row.high, 100, 1),
                str(row.n_seeds),
                str(row.n_pairs),
                row.verdict,
            )
            for row in findings.comparison.scratch
            if row.reference == SCRATCH
        ),
        n_labels=3,
    )


def shares(findings: Findings) -> Table:
    """Whose doing the prunable ratio is."""
    return Table(
        "Shares of the variance of the prunable ratio (ω²), with intervals; noise alone gives 0",
        ("Source", "Share", "Interval", "p", "Degrees of freedom"),
        tuple(
            (
                row.effect,
                percent(row.share),
                between(row.low, row.high, 100, 1),
                NOTHING if row.p is None else "< 0.001" if row.p < 0.001 else number(row.p, 3),
                NOTHING if row.df is None else f"{row.df}, {row.df_error}",
            )
            for row in findings.comparison.shares
        ),
    )


def _ordered(findings: Findings, cells: Mapping[_Cell, _Own]) -> list[tuple[_Cell, _Own]]:
    """Cells by network, strength, criterion and scope, in the order of the recipe."""
    names = (*findings.networks, *findings.criteria, SCRATCH, *findings.scopes)
    place = {name: k for k, name in enumerate(names)}

    def order(item: tuple[_Cell, _Own]) -> tuple[float, ...]:
        network, strength, criterion, scope, *_ = item[0]
        return place[network], strength, place[criterion], place.get(scope, 0)

    return sorted(cells.items(), key=order)


def _without_idle_words(found: Table) -> Table:
    """The table without its last column where that says nothing."""
    if any(row[-1] != NOTHING for row in found.rows):
        return found
    rows = tuple(row[:-1] for row in found.rows)
    return replace(found, columns=found.columns[:-1], rows=rows, n_words=0)


def _measured(row: Mapping[str, Any], digits: int) -> str:
    if row["value"] is None or row["low"] is None:
        return number(row["value"], digits)
    return f"{number(row['value'], digits)} ({between(row['low'], row['high'], 1, digits)})"


def _rate(row: Mapping[str, Any]) -> str:
    if row["value"] is None or row["low"] is None:
        return percent(row["value"])
    return f"{percent(row['value'])} ({between(row['low'], row['high'], 100, 1)})"


def _reasons(missing: Mapping[str, str | None]) -> str:
    """Why numbers are not there, those that share a reason together.

    >>> _reasons({"area": "too large", "F-beta": None, "NetScore": "too large"})
    'area, NetScore: too large'
    """
    whose: dict[str, list[str]] = {}
    for name, reason in missing.items():
        if reason is not None:
            whose.setdefault(reason, []).append(name)
    told = [f"{', '.join(names)}: {reason}" for reason, names in whose.items()]
    return "; ".join(told) or NOTHING
