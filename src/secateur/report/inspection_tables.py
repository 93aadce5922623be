"""Tables of one or several analyses: the numbers behind the figures; a dash where none is known."""

from __future__ import annotations

from collections import Counter
from statistics import median

from secateur.analysis.skewness import POOLED
from secateur.analysis.tables import GLOBAL
from secateur.report.inspection_figures import Analyses
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, count, listed, minus, number, percent
from secateur.study.diagnosis import of_weights, pair_of, pooled, undefined, wiped
from secateur.study.inspection import Analysis

_NAMES = 6
"""Layers that a cell names."""


def networks(analyses: Analyses) -> Table:
    """Key numbers, a column a network."""
    columns = [_network(one) for one in analyses]
    return Table(
        "Key numbers",
        ("", *(one.name for one in analyses)),
        tuple((label, *(column[label] for column in columns)) for label in columns[0]),
    )


def _network(one: Analysis) -> dict[str, str]:
    sparse, pair, picture = pooled(one), pair_of(one, "l1", "l2"), of_weights(one)
    ws = NOTHING
    if sparse is not None and sparse.ws is not None:
        ws = f"{number(sparse.ws)} ± {number(sparse.ws_se)}"
    gone = {criterion: wiped(one, criterion) for criterion in ("l1", "l2")}
    return {
        "Parameters": f"{one.facts.params:,}",
        "MACs": f"{one.facts.macs:,}",
        "Layers that are scored": str(one.facts.n_layers),
        "Channels that can go": f"{one.facts.n_channels:,}",
        "Inactive channels": percent(sparse.inactive_share if sparse else None),
        "Weight Skewness": ws,
        "Gini index": number(sparse.gini if sparse else None),
        "Hoyer index": number(sparse.hoyer if sparse else None),
        "PQ-index": number(sparse.pq_index if sparse else None),
        "Skewness is of the": NOTHING if sparse is None else sparse.definition,
        "l1 ~ l2, mean of layers": number(pair.mean if pair else None),
        "l1 ~ l2, all filters together": number(pair.global_rho if pair else None),
        **{
            f"Layers wiped out by {criterion}": NOTHING
            if row is None
            else f"{row.n_wiped} of {row.n_layers}"
            for criterion, row in gone.items()
        },
        "Coordinates that look normal": percent(picture.normal),
        "Coordinates of mean 0": percent(picture.zero_mean),
    }


def pairs(analyses: Analyses) -> Table:
    """Agreement of every pair of criteria."""
    return Table(
        "Rank correlation of every pair of criteria, measured and expected of Gaussian filters",
        (
            *("Network", "First", "Second", "Worst layer", "Mean", "Expected", "Worst"),
            *("Global", "Expected, global", "Layers", "Undefined"),
        ),
        tuple(
            (
                one.name,
                row.first,
                row.second,
                row.minimum_layer or NOTHING,
                number(row.mean, 3),
                number(row.expected_mean, 3),
                number(row.minimum, 3),
                number(row.global_rho, 3),
                number(row.expected_global, 3),
                str(row.n_layers),
                str(row.n_undefined),
            )
            for one in analyses
            for row in one.similarity
        ),
        4,
    )


def overlaps(analyses: Analyses) -> Table:
    """Shares of the lowest filters that two criteria name alike."""
    return Table(
        "Share of the lowest filters that both criteria name",
        (
            *("Network", "First", "Second", "Lowest", "Mean", "Expected", "Worst layer"),
            *("All filters", "Undefined layers"),
        ),
        tuple(
            (
                one.name,
                row.first,
                row.second,
                percent(row.ratio, 0),
                percent(row.mean),
                percent(row.expected_mean),
                percent(row.minimum),
                percent(row.global_overlap),
                str(row.n_undefined),
            )
            for one in analyses
            for row in one.overlaps
        ),
        3,
    )


def clusters(analyses: Analyses) -> Table:
    """Clusters of criteria in words."""
    return Table(
        "Clusters: criteria that are joined at a mean rank correlation of "
        f"{analyses[0].clusters.together_from:g} or more",
        ("Network", "Criteria"),
        tuple((one.name, listed(list(own))) for one in analyses for own in one.clusters.clusters),
        2,
    )


def noise(analyses: Analyses) -> Table:
    """How well criteria that need data agree with themselves."""
    rows = []
    for one in analyses:
        for criterion in dict.fromkeys(row.criterion for row in one.ceilings):
            own = [r for r in one.ceilings if r.criterion == criterion and r.layer != GLOBAL]
            halves = [row.rho for row in own if row.rho is not None]
            whole = [row.whole_rho for row in own if row.whole_rho is not None]
            rows.append(
                (
                    one.name,
                    criterion,
                    number(sum(halves) / len(halves) if halves else None),
                    number(min(halves, default=None)),
                    number(sum(whole) / len(whole) if whole else None),
                    f"{len(halves)} of {len(own)}",
                )
            )
    return Table(
        "Agreement of a criterion with itself over two halves of the calibration",
        ("Network", "Criterion", "Mean rho", "Worst layer", "Of all data", "Layers defined"),
        tuple(rows),
        2,
    )


def applicability(analyses: Analyses) -> Table:
    """Every criterion's spread over the layers, and where it is not applicable."""
    rows = []
    for one in analyses:
        for criterion in one.criteria:
            own = [row for row in one.applicability if row.criterion == criterion]
            cvs = [row.cv for row in own if row.cv is not None]
            over = [row.over_dispersion for row in own if row.over_dispersion is not None]
            flagged = [row.layer for row in own if row.flag]
            gap = next((row.gap for row in one.gaps if row.criterion == criterion), None)
            rows.append(
                (
                    one.name,
                    criterion,
                    _applicable(flagged, len(own)),
                    percent(median(cvs) if cvs else None),
                    percent(min(cvs, default=None)),
                    number(median(over) if over else None),
                    NOTHING if gap is None else f"{gap:,.3g}×",
                )
            )
    return Table(
        "Which criteria can choose, and where not",
        (
            *("Network", "Criterion", "In words", "Median variation", "Lowest variation"),
            *("Over iid", "Layer gap"),
        ),
        tuple(rows),
        3,
    )


def _applicable(flagged: list[str], n_layers: int) -> str:
    if not flagged:
        return "applicable in every layer it scores"
    return f"not applicable in {len(flagged)} of {count(n_layers, 'layer')}: {_named(flagged)}"


def flags(analyses: Analyses) -> Table:
    """Every flag in words."""
    return Table(
        "Flags",
        ("Network", "Criterion", "Layer", "Why"),
        tuple(
            (one.name, row.criterion, row.layer, minus(row.flag))
            for one in analyses
            for row in one.applicability
            if row.flag
        ),
        4,
    )


def gone(analyses: Analyses) -> Table:
    """Layers that global pruning would empty, by name."""
    return Table(
        "Layers that global pruning would wipe out",
        (
            *("Network", "Criterion", "Normalisation", "Layers by name"),
            *("Filters gone", "Wiped out", "Untouched", "Of"),
        ),
        tuple(
            (
                one.name,
                row.criterion,
                row.normalisation,
                _named(list(row.wiped)),
                percent(row.ratio, 0),
                str(row.n_wiped),
                str(row.untouched),
                str(row.n_layers),
            )
            for one in analyses
            for row in one.global_pruning
        ),
        4,
    )


def checked(analyses: Analyses) -> Table:
    """The Gaussian picture of every network's weights beside controls."""
    names = {
        "weights": "its weights",
        "gaussian": "control: fresh Gaussian weights",
        "uniform": "control: uniform weights",
        "shuffled": "control: its weights shuffled",
    }
    return Table(
        "The Gaussian picture and its controls, means over layers; nominal pass rate 95 %",
        (
            *("Network", "Of", "Verdict", "Layers", "Normal", "Lowest layer", "Mean 0"),
            *("Equal variances", "Excess kurtosis", "|r| inside", "between", "independent"),
        ),
        tuple(
            (
                one.name,
                names[own.of],
                own.summary.verdict,
                str(own.summary.n_layers),
                percent(own.summary.normal),
                percent(own.summary.normal_lowest),
                percent(own.summary.zero_mean),
                percent(own.summary.equal_variance_share, 0),
                number(own.summary.excess_kurtosis),
                number(own.summary.corr_inside),
                number(own.summary.corr_across),
                number(own.summary.corr_independent),
            )
            for one in analyses
            for own in one.checked
        ),
        3,
    )


def layers(analyses: Analyses) -> Table:
    """The Gaussian picture, layer by layer."""
    return Table(
        "Every layer: size, shape and the Gaussian picture",
        (
            *("Network", "Layer", "Kind", "Verdict", "Filters", "Numbers each", "Spread of norms"),
            *("Tails", "Normal", "Mean 0", "Excess kurtosis", "|r| inside", "between"),
        ),
        tuple(
            (
                one.name,
                row.layer,
                row.special or row.kind,
                row.verdict,
                str(row.n),
                str(row.d),
                number(shape.spread),
                number(shape.tails),
                percent(row.normal.rate if row.normal else None),
                percent(row.zero_mean.rate if row.zero_mean else None),
                number(row.excess_kurtosis),
                number(row.corr_inside),
                number(row.corr_across),
            )
            for one in analyses
            for row, shape in zip(one.distribution, one.layers, strict=True)
        ),
        4,
    )


def sparsity(analyses: Analyses) -> Table:
    """Pooled sparsity of channels with all companions."""
    return _sparse("Channel sparsity, all prunable channels pooled", analyses, pool=True)


def sparsity_by_layer(analyses: Analyses) -> Table:
    """Sparsity of channels by layer."""
    return _sparse("Channel sparsity by layer", analyses, pool=False)


def _sparse(caption: str, analyses: Analyses, *, pool: bool) -> Table:
    return Table(
        caption,
        (
            *("Network", "Layer", "Channel weight", "Undefined", "Channels", "Weight Skewness"),
            *("± SE", "Gini", "Hoyer", "PQ-index", "Inactive"),
        ),
        tuple(
            (
                one.name,
                "all" if pool else row.layer,
                row.definition,
                row.undefined or NOTHING,
                str(row.n),
                number(row.ws),
                number(row.ws_se),
                number(row.gini),
                number(row.hoyer),
                number(row.pq_index),
                percent(row.inactive_share),
            )
            for one in analyses
            for row in one.skewness
            if (row.layer == POOLED) == pool
        ),
        4,
    )


def explained(analyses: Analyses) -> Table:
    """What goes with the agreement of a pair, over layers."""
    return Table(
        "Rank correlation, over layers, of a pair's agreement with two properties of the layer",
        (
            *("Network", "First", "Second", "Layers", "With spread of norms", "With tails"),
            *("Spread, tails held fixed", "Tails, spread held fixed"),
        ),
        tuple(
            (
                one.name,
                row.first,
                row.second,
                str(row.n_layers),
                number(row.with_spread),
                number(row.with_tails),
                number(row.spread_alone),
                number(row.tails_alone),
            )
            for one in analyses
            for row in one.explanations
            if not row.undefined
        ),
        3,
    )


def pinned(analyses: Analyses) -> Table:
    """Channels that cannot go, and the line of the network's code that causes it."""
    return Table(
        "Channels that cannot be removed, and why",
        ("Network", "Parameter", "Channels", "Why", "Where"),
        tuple(
            (one.name, parameter, str(n), reason, source)
            for one in analyses
            for parameter, n, reason, source in one.facts.pinned
        ),
        5,
    )


def missing(analyses: Analyses) -> Table:
    """What could not be computed: one row for each thing and reason."""
    rows: Counter[tuple[str, str, str]] = Counter()
    for one in analyses:
        for what, why, times in undefined(one):
            rows[one.name, what, minus(why)] += times
    return Table(
        "What could not be computed",
        ("Network", "What", "Why", "Rows"),
        tuple((name, what, why, str(times)) for (name, what, why), times in rows.items()),
        3,
    )


def _named(layers: list[str]) -> str:
    """Some names and how many more."""
    if not layers:
        return NOTHING
    rest = len(layers) - _NAMES
    return ", ".join(layers[:_NAMES]) + (f" and {rest} more" if rest > 0 else "")
