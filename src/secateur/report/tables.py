"""Tables of a study: the numbers behind the figures, in words and with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secateur.report import figures, sensitivity_figures
from secateur.report.figures import ALL_RATIOS
from secateur.report.findings import EPSILONS, Findings
from secateur.report.wording import (
    NOTHING,
    between,
    level,
    loss,
    million,
    number,
    percent,
    points,
)


@dataclass(frozen=True)
class Table:
    """Cells as text: first `n_labels` columns that name the row, then numbers.

    The last `n_words` columns, labels or not, hold words that may take several lines.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1
    n_words: int = 0


def base_networks(findings: Findings) -> Table:
    """Dense and sparse base networks: accuracy with its interval, cost, sparsity."""
    return Table(
        "Base networks before pruning: means over seeds, accuracy with its interval",
        (
            "Network",
            "Strength",
            "Seeds",
            "Accuracy (interval)",
            "Weight Skewness",
            "Gini",
            "Hoyer",
            "PQ-index",
            "Inactive",
            "MACs",
            "Parameters",
        ),
        tuple(
            (
                row["network"],
                f"{row['strength']:g}",
                str(row["n_seeds"]),
                _with_interval(row["accuracy"], row["low"], row["high"]),
                number(row["ws"]),
                number(row["gini"]),
                number(row["hoyer"]),
                number(row["pq_index"]),
                percent(row["inactive_share"]),
                million(row["macs"]),
                f"{row['params']:,.0f}",
            )
            for row in figures.base_networks(findings)
        ),
        n_labels=2,
    )


def layers(findings: Findings) -> Table:
    """Sparsity of every layer."""
    return Table(
        "Sparsity of every layer: means over base networks",
        ("Network", "Strength", "Layer", "Channels", "Weight Skewness", "Inactive"),
        tuple(
            (
                row["network"],
                f"{row['strength']:g}",
                row["layer"],
                str(row["n"]),
                number(row["ws"]),
                percent(row["inactive_share"]),
            )
            for row in figures.layers(findings)
        ),
        n_labels=3,
    )


def sensitivity(findings: Findings) -> Table:
    """Accuracy lost without a share of one group's filters, lowest and highest base network."""
    return Table(
        "Accuracy lost without the lowest filters of one group, in points: mean over base "
        "networks (lowest to highest)",
        ("Network", "Strength", "Group", "Zeroed", "Points lost", "Range", "Base networks"),
        tuple(
            (
                row["network"],
                f"{row['strength']:g}",
                row["group"],
                f"{round(row['ratio'] * row['n_channels'])} of {row['n_channels']}",
                number(100 * row["lost"], 1),
                between(row["least"], row["most"], 100, 1),
                str(row["n"]),
            )
            for row in sensitivity_figures.sensitivity(findings)
        ),
        n_labels=4,
    )


def prunable(findings: Findings) -> Table:
    """Prunable ratios with their intervals at every epsilon, and the knee."""
    cells: dict[tuple[str, float, str, str], dict[float, Mapping[str, Any]]] = {}
    for row in figures.prunable(findings):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"])
        cells.setdefault(cell, {})[row["epsilon"]] = row
    return Table(
        "Prunable ratio at each accepted loss, with its interval; ≥: held at all ratios tried",
        (
            "Network",
            "Strength",
            "Criterion",
            "Scope",
            "Weight Skewness",
            "Inactive",
            *(f"Loss of {loss(epsilon)}" for epsilon in EPSILONS),
            "Knee",
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope,
                number(own[EPSILONS[0]]["ws"]),
                percent(own[EPSILONS[0]]["inactive"]),
                *(_ratio(own[epsilon]) for epsilon in EPSILONS),
                percent(own[EPSILONS[0]]["knee"], 0),
            )
            for (network, strength, criterion, scope), own in cells.items()
        ),
        n_labels=4,
    )


def regressions(findings: Findings) -> Table:
    """Slopes of prunable ratio on sparsity, with intervals and verdicts."""
    against = {"ws": "Weight Skewness", "inactive": "inactive share"}
    return Table(
        "Straight lines of prunable ratio on sparsity, one point a strength, 95 % intervals",
        (
            "Network",
            "Against",
            "Accepted loss",
            "Points",
            "Of them too inaccurate uncut",
            "Slope",
            "Interval",
            "R²",
            "Verdict",
        ),
        tuple(
            (
                fit.family,
                against[fit.against],
                loss(epsilon),
                str(fit.n),
                str(fit.n_below),
                number(fit.slope),
                between(fit.low, fit.high),
                number(fit.r2),
                fit.verdict if fit.family in findings.tested else "not tested",
            )
            for (epsilon, _), fits in findings.regressions.items()
            for fit in fits
        ),
        n_labels=3,
    )


def curves(findings: Findings) -> Table:
    """Accuracy at every ratio of every cell of the grid."""
    ratios = sorted({row["ratio"] for row in figures.accuracy_curves(findings)})
    cells: dict[tuple[str, float, str, str], dict[float, Mapping[str, Any]]] = {}
    for row in figures.accuracy_curves(findings):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"])
        cells.setdefault(cell, {})[row["ratio"]] = row
    return Table(
        f"Mean accuracy after fine-tuning by {_level(findings)}, in brackets right after the cut",
        (
            "Network",
            "Strength",
            "Criterion",
            "Scope",
            *(level(ratio, findings.by_macs) for ratio in ratios),
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope,
                *(_accuracies(own.get(ratio)) for ratio in ratios),
            )
            for (network, strength, criterion, scope), own in cells.items()
        ),
        n_labels=4,
    )


def differences(findings: Findings) -> Table:
    """Every two criteria, over all ratios, after fine-tuning."""
    return Table(
        "Accuracy of the first criterion minus that of the second, in points, after fine-tuning, "
        "over all strengths and ratios",
        (
            "Network",
            "Scope",
            "First",
            "Second",
            "Difference",
            "Interval",
            "MACs, first ÷ second",
            "Seeds",
            "Pairs",
            "Verdict",
        ),
        tuple(
            (
                row.network,
                row.scope,
                row.criterion,
                row.reference,
                points(row.mean),
                between(row.low, row.high, 100, 1),
                number(row.macs_ratio),
                str(row.n_seeds),
                str(row.n_pairs),
                row.verdict,
            )
            for row in findings.differences["accuracy"]
            if row.ratio is None
        ),
        n_labels=4,
    )


def differences_by_ratio(findings: Findings) -> Table:
    """Every criterion against the control, at each ratio, before and after fine-tuning."""
    words = {"accuracy": "after fine-tuning", "accuracy_cut": "right after the cut"}
    return Table(
        f"Accuracy above random pruning at each {_level(findings)}, in points",
        ("Network", "Scope", "Level", "Criterion", "When", "Difference", "Interval", "Verdict"),
        tuple(
            (
                row["network"],
                row["scope"],
                level(float(row["ratio"]), findings.by_macs),
                row["criterion"],
                words[row["measure"]],
                points(row["mean"]),
                between(row["low"], row["high"], 100, 1),
                row["verdict"],
            )
            for row in figures.differences(findings)
            if row["ratio"] != ALL_RATIOS
        ),
        n_labels=5,
    )


def similarity(findings: Findings) -> Table:
    """Rank correlations of every pair of criteria, each pair once."""
    cells: dict[tuple[str, float, str, str], dict[str, float | None]] = {}
    for row in figures.similarity(findings):
        first, second = sorted((row["first"], row["second"]))
        if first != second:
            cell = (row["network"], row["strength"], first, second)
            cells.setdefault(cell, {})[row["over"]] = row["rho"]
    return Table(
        "Spearman's rank correlation of two criteria in the unpruned networks",
        ("Network", "Strength", "First", "Second", "Mean of layers", "Worst layer", "All filters"),
        tuple(
            (
                network,
                f"{strength:g}",
                first,
                second,
                *(number(own[over]) for over in ("mean", "minimum", "global")),
            )
            for (network, strength, first, second), own in cells.items()
        ),
        n_labels=4,
    )


def asked_and_reached(findings: Findings) -> Table:
    """Pruning ratio asked beside the one reached, and the cost that is left."""
    return Table(
        f"{_asked(findings)}, and what is left of the cost (lowest to highest over all cuts)",
        (
            "Network",
            "Scope",
            "Asked",
            "Channels gone",
            "Range",
            "MACs left",
            "Range",
            "Parameters left",
            "Range",
            "Cuts",
        ),
        tuple(
            (
                row["network"],
                row["scope"],
                level(row["asked"], findings.by_macs),
                percent(row["reached"]),
                between(row["least"], row["most"], 100, 1),
                percent(row["macs"]),
                between(row["macs_least"], row["macs_most"], 100, 1),
                percent(row["params"]),
                between(row["params_least"], row["params_most"], 100, 1),
                str(row["n"]),
            )
            for row in figures.asked_and_reached(findings)
        ),
        n_labels=2,
    )


def _level(findings: Findings) -> str:
    return "budget of MACs" if findings.by_macs else "pruning ratio"


def _asked(findings: Findings) -> str:
    if findings.by_macs:
        return "Budgets of MACs as asked, the channels that went for them"
    return "Channels to remove as asked and as reached"


def _ratio(row: Mapping[str, Any]) -> str:
    at_least = "≥ " if row["beyond"] else ""
    several = row["n_seeds"] > 1
    low, high = (row["low"], row["high"]) if several else (None, None)
    return at_least + _with_interval(row["ratio"], low, high)


def _with_interval(share: float, low: float | None, high: float | None) -> str:
    if low is None:
        return percent(share)
    return f"{percent(share)} ({between(low, high, 100, 1)})"


def _accuracies(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    if row["ratio"] == 0:
        return percent(row["accuracy"])
    return f"{percent(row['accuracy'])} ({number(100 * row['accuracy_cut'], 1)})"
