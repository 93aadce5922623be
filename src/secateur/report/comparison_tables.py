"""Tables of methods beside each other: rank groups, budgets, controls, shares of variance."""

from __future__ import annotations

from secateur.report import comparison_figures as figures
from secateur.report.findings import Findings
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, between, level, minus, number, percent, points
from secateur.study.comparison import BUDGETS
from secateur.study.methods import SCRATCH

_COSTS = {"macs": "MACs", "params": "parameters"}


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
    )


def at_budgets(findings: Findings) -> Table:
    """Accuracy at budgets of MACs and of parameters, training from scratch beside the cuts."""
    cells: dict[tuple[str, float, str, str, str], dict[int, tuple[str, str]]] = {}
    for row in sorted(figures.at_budgets(findings), key=lambda row: row["strength"]):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"], row["cost"])
        text = percent(row["accuracy"])
        if row["low"] is not None:
            text += f" ({between(row['low'], row['high'], 100, 1)})"
        cells.setdefault(cell, {})[row["times"]] = (text, str(row["n_seeds"]))
    dense = {(curve.network, curve.strength): curve.points[0].accuracy for curve in findings.curves}
    order = {name: k for k, name in enumerate(findings.networks)}
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
            for (network, strength, criterion, scope, cost), own in sorted(
                cells.items(), key=lambda item: (order.get(item[0][0], 0), item[0][1])
            )
        ),
        n_labels=5,
    )


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
