"""An analysis in words: what a network's owner should know of it, and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from secateur.analysis.clusters import clusters_of
from secateur.analysis.distribution import DistributionSummary
from secateur.analysis.global_pruning import GlobalPruning
from secateur.analysis.similarity import SimilaritySummary
from secateur.analysis.skewness import INACTIVE_BELOW, POOLED, SkewnessRow
from secateur.analysis.tables import GLOBAL
from secateur.study.inspection import CONTROL, Analysis

SAME_FROM = 0.9
"""Mean rank correlation from which criteria are said to order filters the same way (ours)."""

RATIO = 0.5
"""Pruning ratio that sentences speak of."""

SPARSE_FROM = 0.05
"""Share of inactive channels from which a network is said to have channels to spare (ours)."""


@dataclass(frozen=True)
class Finding:
    """One thing to know: its topic, one or two sentences, and how much it matters (more = more)."""

    topic: str
    text: str
    weight: float


def findings(analysis: Analysis) -> tuple[Finding, ...]:
    """All there is to say of one network, what matters most first."""
    made = (_agreement, _applicability, _sparsity, _gaussian, _noise, _explanation)
    found = [one for make in made if (one := make(analysis)) is not None]
    return tuple(sorted(found, key=lambda one: -one.weight))


def undefined(analysis: Analysis) -> tuple[tuple[str, str, int], ...]:
    """What could not be computed, why, how many times; what was not tried at all comes first."""
    rows: Counter[tuple[str, str]] = Counter()
    for pair in analysis.correlations:
        if pair.undefined:
            where = "all filters" if pair.layer == GLOBAL else f"layer {pair.layer}"
            rows[f"rank correlations in {where}", pair.undefined] += 1
    for spread in analysis.applicability:
        if spread.undefined:
            rows[f"spread of {spread.criterion} in layer {spread.layer}", spread.undefined] += 1
    for gap in analysis.gaps:
        if gap.undefined:
            rows[f"gap between layers by {gap.criterion}", gap.undefined] += 1
    for layer in analysis.distribution:
        if layer.undefined:
            rows[f"Gaussian picture of layer {layer.layer}", layer.undefined] += 1
    for shape in analysis.layers:
        if shape.undefined:
            rows[f"spread and tails of layer {shape.layer}", shape.undefined] += 1
    for sparse in analysis.skewness:
        if sparse.undefined:
            where = "all layers" if sparse.layer == POOLED else f"layer {sparse.layer}"
            rows[f"Weight Skewness of {where} ({sparse.definition})", sparse.undefined] += 1
    for noise in analysis.ceilings:
        if noise.undefined and noise.layer != GLOBAL:
            rows[f"noise of {noise.criterion} in layer {noise.layer}", noise.undefined] += 1
    for why in analysis.explanations:
        if why.undefined:
            rows["what explains the agreement", why.undefined] += 1
    missing = ((one.what, one.why, 1) for one in analysis.left_out)
    return (*missing, *((what, why, n) for (what, why), n in rows.items()))


def pair_of(analysis: Analysis, first: str, second: str) -> SimilaritySummary | None:
    """The row of two criteria, in either order."""
    wanted = {first, second}
    rows = (row for row in analysis.similarity if {row.first, row.second} == wanted)
    return next(rows, None)


def wiped(analysis: Analysis, criterion: str, normalisation: str = "none") -> GlobalPruning | None:
    """What global pruning of half the filters by this criterion would do."""
    for row in analysis.global_pruning:
        if (row.criterion, row.normalisation, row.ratio) == (criterion, normalisation, RATIO):
            return row
    return None


def pooled(analysis: Analysis) -> SkewnessRow | None:
    """Sparsity of all channels: by batch-norm scales, or by filter norms where there are none."""
    rows = [row for row in analysis.skewness if row.layer == POOLED]
    return next(iter(sorted(rows, key=lambda row: row.definition != "bn_scale")), None)


def of_weights(analysis: Analysis) -> DistributionSummary:
    """The Gaussian picture of the network's own weights."""
    return next(one.summary for one in analysis.checked if one.of == "weights")


def rho_text(value: float | None) -> str:
    """A correlation as it is written in the field.

    >>> rho_text(0.978), rho_text(-0.2), rho_text(1.0), rho_text(None)
    ('.98', '-.20', '1.00', '-')
    """
    if value is None:
        return "-"
    text = f"{value:.2f}"
    return "0" if float(text) == 0 else text.replace("0.", ".", 1)


def _agreement(analysis: Analysis) -> Finding | None:
    # a criterion whose order within layers is another's by construction (lamp, l2) is no news
    twins = {
        row.second
        for row in analysis.similarity
        if row.minimum is not None and row.minimum > 1 - 1e-9 and not row.n_undefined
    }
    names = tuple(name for name in analysis.criteria if name not in {CONTROL, *twins})
    if len(names) < 2:
        return None
    similarity = tuple(r for r in analysis.similarity if {r.first, r.second} <= set(names))
    same = max(clusters_of(names, similarity, SAME_FROM).clusters, key=len)
    same = tuple(name for name in names if name in same)
    if len(same) == 1:
        best = max(similarity, key=lambda row: -2.0 if row.mean is None else row.mean, default=None)
        if best is None or best.mean is None:
            return Finding("agreement", "No two criteria can be compared in any layer.", 3)
        text = (
            f"No two criteria order your filters the same way (closest: {best.first} and "
            f"{best.second}, mean rho {rho_text(best.mean)}): which filters go depends on the one "
            "you choose."
        )
        return Finding("agreement", text, 3)
    rows = [row for a, b in combinations(same, 2) if (row := pair_of(analysis, a, b)) is not None]
    means = [row.mean for row in rows if row.mean is not None]
    lowest = min((r.minimum, r.minimum_layer) for r in rows if r.minimum is not None)
    span = rho_text(min(means))
    if rho_text(max(means)) != span:
        span += f" to {rho_text(max(means))}"
    text = (
        f"{_listed(same)} order your filters the same way (mean rho {span}), so the choice between "
        "them matters little layer by layer"
    )
    if lowest[0] < SAME_FROM:
        text += f" (least in {lowest[1]}, {rho_text(lowest[0])})"
    return Finding("agreement", text + _globally(analysis, same), 3)


def _globally(analysis: Analysis, names: Sequence[str]) -> str:
    counts = {name: row for name in names if (row := wiped(analysis, name)) is not None}
    most = max(counts.values(), key=lambda row: row.n_wiped)
    least = min(counts.values(), key=lambda row: row.n_wiped)
    if most.n_wiped == least.n_wiped:
        if not most.n_wiped:
            return "; and with half of all filters gone at once none of them empties a layer."
        return f"; but half of all filters at once would wipe out {most.n_wiped} layers by any."
    return (
        f"; globally it does: half of all filters by raw {most.criterion} would wipe out "
        f"{most.n_wiped} of {most.n_layers} layers, by {least.criterion} "
        f"{f'only {least.n_wiped}' if least.n_wiped else 'none'}."
    )


def _applicability(analysis: Analysis) -> Finding:
    flagged = Counter(row.criterion for row in analysis.applicability if row.flag)
    n_layers = Counter(row.criterion for row in analysis.applicability)
    if not flagged:
        text = "Every criterion can tell the filters of every layer apart: scores vary enough."
        return Finding("applicability", text, 1.0)
    worst = [f"{name} in {n} of {n_layers[name]}" for name, n in flagged.most_common(3)]
    rest = len(flagged) - len(worst)
    text = (
        f"Scores too close to choose by: {_listed(worst)} layers"
        + (f", and {rest} other criteria in some" if rest else "")
        + ". Take another criterion there, or keep the layer whole."
    )
    share = max(flagged[name] / n_layers[name] for name in flagged)
    return Finding("applicability", text, 2.0 + share)


def _sparsity(analysis: Analysis) -> Finding | None:
    row = pooled(analysis)
    if row is None or row.inactive_share is None:
        return None
    if row.ws is None or row.ws_se is None or row.gini is None:
        text = (
            f"Channel sparsity is {row.undefined} ({share_text(row.inactive_share, 0)} inactive)."
        )
        return Finding("sparsity", text, 2.2)
    index = f"Weight Skewness {row.ws:+.2f} ± {row.ws_se:.2f}, Gini {row.gini:.2f}"
    least = f"below {share_text(INACTIVE_BELOW, 0)} of the largest"
    if row.inactive_share >= SPARSE_FROM:
        text = (
            f"{share_text(row.inactive_share, 0)} of {row.n:,} channel weights are {least}, so "
            f"their channels can go almost for nothing ({index})."
        )
        return Finding("sparsity", text, 2.6)
    few = share_text(row.inactive_share) if row.inactive_share else "none"
    text = (
        f"Hardly a channel is free: {few} of {row.n:,} channel weights are {least} ({index}), so "
        "what you cut has to be won back by training."
    )
    return Finding("sparsity", text, 2.1)


def _gaussian(analysis: Analysis) -> Finding | None:
    own = of_weights(analysis)
    if own.normal is None or own.zero_mean is None:
        text = "The Gaussian picture of the weights cannot be tested: every layer is too small."
        return Finding("distribution", text, 0.5)
    fresh = next((c.summary.normal for c in analysis.checked if c.of == "gaussian"), None)
    verdict = (
        "holds"
        if own.normal >= 0.94
        else "is a good approximation, not a passed test"
        if own.normal >= 0.8
        else "fails"
    )
    equal = own.equal_variance_share
    text = (
        f"The Gaussian picture {verdict}: {share_text(own.normal, 0)} of weight coordinates look "
        f"normal (nominal {share_text(0.95, 0)}, fresh Gaussian weights {share_text(fresh, 0)}), "
        f"{share_text(own.zero_mean, 0)} have mean 0"
        + ("." if equal is None else f", variances are equal in {share_text(equal, 0)} of layers.")
    )
    return Finding("distribution", text, 2.0)


def _noise(analysis: Analysis) -> Finding | None:
    rows: dict[str, list[float]] = {}
    for row in analysis.ceilings:
        if row.layer != GLOBAL and row.rho is not None:
            rows.setdefault(row.criterion, []).append(row.rho)
    if not rows:
        return None
    means = sorted((sum(own) / len(own), name) for name, own in rows.items())
    least, most = means[0], means[-1]
    text = (
        f"Between two halves of the calibration ({analysis.calibration}) {least[1]} agrees with "
        f"itself to rho {rho_text(least[0])} only, {most[1]} to {rho_text(most[0])}: below that no "
        "two criteria can be told apart. More data raises it."
    )
    if len(means) == 1:
        text = (
            f"Between two halves of the calibration ({analysis.calibration}) {least[1]} agrees "
            f"with itself to rho {rho_text(least[0])}; more data raises it."
        )
    return Finding("noise", text, 2.3 if least[0] < 0.8 else 1.1)


def _explanation(analysis: Analysis) -> Finding | None:
    rows = [row for row in analysis.explanations if {row.first, row.second} == {"l1", "l2"}]
    if not rows or rows[0].with_spread is None or rows[0].with_tails is None:
        return None
    row = rows[0]
    more = [
        f"{'more' if value > 0 else 'less'} where {what} (rank correlation {value:+.2f})"
        for what, value in (
            ("filters differ in norm", row.with_spread),
            ("weights have heavier tails", row.with_tails),
        )
        if value is not None
    ]
    text = f"Over {row.n_layers} layers, l1 and l2 agree {_listed(more)}."
    return Finding("explanation", text, 1.2)


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def share_text(value: float | None, digits: int = 1) -> str:
    """A percentage; its space does not break."""
    return "-" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
