"""The diagnosis of one network as a plain value: what criteria do to it and what its weights are.

Scores and weights come in as arrays; everything that `analysis` knows of them goes out in one
frozen value that prints as a summary and round-trips through JSON. Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from itertools import combinations, combinations_with_replacement
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from secateur.analysis.applicability import Applicability, applicability
from secateur.analysis.ceiling import NoiseCeiling
from secateur.analysis.clusters import TOGETHER_FROM, Clusters, cluster_criteria
from secateur.analysis.controls import (
    Control,
    CovarianceBlocks,
    QQPlot,
    control_weights,
    covariance_blocks,
    qq_plots,
)
from secateur.analysis.distribution import (
    DistributionSummary,
    LayerDistribution,
    distribution,
    distribution_summary,
)
from secateur.analysis.explain import Explanation, Prediction, explain, predicted_rho
from secateur.analysis.global_pruning import GlobalPruning, LayerGap, global_pruning, layer_gaps
from secateur.analysis.overlap import OverlapSummary, bottom_overlaps, overlap_summary
from secateur.analysis.similarity import (
    RankCorrelation,
    SimilaritySummary,
    rank_correlations,
    summary,
)
from secateur.analysis.skewness import SkewnessRow
from secateur.analysis.tables import LayerScores
from secateur.analysis.weights import LayerShape, LayerWeights, layer_shapes
from secateur.errors import ReportError, brief
from secateur.plan.normalise import NORMALISATIONS

CONTROL = "random"
"""The criterion that is no criterion: what is said of agreement leaves it out."""

_BINS = 16


@dataclass(frozen=True)
class NetworkFacts:
    """What was inspected: its size, how many channels can go, and how many cannot.

    `pinned` holds (parameter, channels, reason, line of the network's code).
    """

    params: int
    macs: int
    n_layers: int
    n_groups: int
    n_channels: int
    pinned: tuple[tuple[str, int, str, str], ...]


@dataclass(frozen=True)
class ScoreHistogram:
    """How one criterion's scores of one layer lie: `counts` in bins of width `step` from `low`.

    Of a layer whose scores are all equal there is one bin of width 0.
    """

    criterion: str
    layer: str
    n: int
    low: float
    step: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """The Gaussian picture of the network's weights (`weights`), or of a control's."""

    of: Literal["weights", "gaussian", "uniform", "shuffled"]
    summary: DistributionSummary


@dataclass(frozen=True)
class LeftOut:
    """Something that was not computed at all, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Analysis:
    """What is known of one network's channels, criteria and weights. Prints as a summary.

    `calibration` says in words what the criteria that need data were given. Rows that could not be
    computed are there and say why in their `undefined`; what has no row stands in `left_out`.
    """

    name: str
    seed: int
    calibration: str
    facts: NetworkFacts
    criteria: tuple[str, ...]
    layers: tuple[LayerShape, ...]
    correlations: tuple[RankCorrelation, ...]
    similarity: tuple[SimilaritySummary, ...]
    overlaps: tuple[OverlapSummary, ...]
    clusters: Clusters
    ceilings: tuple[NoiseCeiling, ...]
    applicability: tuple[Applicability, ...]
    gaps: tuple[LayerGap, ...]
    global_pruning: tuple[GlobalPruning, ...]
    histograms: tuple[ScoreHistogram, ...]
    distribution: tuple[LayerDistribution, ...]
    checked: tuple[Checked, ...]
    qq: tuple[QQPlot, ...]
    covariance: tuple[CovarianceBlocks, ...]
    explanations: tuple[Explanation, ...]
    predictions: tuple[Prediction, ...]
    skewness: tuple[SkewnessRow, ...]
    left_out: tuple[LeftOut, ...]

    def __str__(self) -> str:
        """A summary that fits a screen: three things to know, key numbers, what is missing."""
        from secateur.study.screen import screen  # it reads this value

        return screen([self])

    def to_json(self) -> str:
        """The whole value as JSON text."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Analysis:
        """The value that `to_json` wrote.

        Raises:
            ReportError: the text is not an analysis.
        """
        try:
            return cast(Analysis, _read(cls, json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportError(
                f"this is not an analysis: {brief(error)}; write one with Analysis.to_json"
            ) from error


def analysis_of(
    name: str,
    facts: NetworkFacts,
    scores: Mapping[str, LayerScores],
    weights: Iterable[LayerWeights],
    skewness: Iterable[SkewnessRow],
    *,
    ceilings: Iterable[NoiseCeiling] = (),
    calibration: str = "none",
    left_out: Iterable[LeftOut] = (),
    seed: int = 0,
) -> Analysis:
    """Everything that the scores and the weights of one network say.

    Args:
        name: what the network is called.
        facts: its size.
        scores: a criterion's name to its scores by layer; not every criterion scores every layer.
        weights: of every layer that a criterion of weights scores.
        skewness: rows of every definition that the network has.
        ceilings: of criteria that need data.
        calibration: in words, what these were given.
        left_out: what the caller could not compute.
        seed: of what is drawn.

    Raises:
        CriterionError: scores or weights are not finite, or a layer has a name that is taken.
    """
    weights, ceilings = tuple(weights), tuple(ceilings)
    shapes = layer_shapes(weights)
    correlations, overlaps = _compared(scores, shapes, seed)
    similarity = summary(correlations)
    tested = distribution(weights, seed=seed)
    return Analysis(
        name=name,
        seed=seed,
        calibration=calibration,
        facts=facts,
        criteria=tuple(scores),
        layers=shapes,
        correlations=correlations,
        similarity=similarity,
        overlaps=overlaps,
        clusters=clusters_of(tuple(scores), similarity),
        ceilings=ceilings,
        applicability=applicability(scores, shapes=shapes, ceilings=ceilings),
        gaps=layer_gaps(scores),
        global_pruning=global_pruning(
            scores,
            normalisations=cast(Mapping[str, Any], NORMALISATIONS),
            sizes={shape.layer: shape.d for shape in shapes},
        ),
        histograms=tuple(
            _histogram(criterion, layer, np.asarray(values, dtype=np.float64))
            for criterion, layers in scores.items()
            for layer, values in layers.items()
            if len(values)
        ),
        distribution=tested,
        checked=(
            Checked("weights", distribution_summary(tested)),
            *(
                Checked(
                    control,
                    distribution_summary(
                        distribution(control_weights(weights, control, seed), seed=seed)
                    ),
                )
                for control in get_args(Control)
            ),
        ),
        qq=qq_plots(weights, tested, seed=seed),
        covariance=_pictures(weights, tested, seed),
        explanations=explain(correlations, shapes),
        predictions=predicted_rho(weights),
        skewness=tuple(skewness),
        left_out=(*left_out, *_unscored(scores)),
    )


def _compared(
    scores: Mapping[str, LayerScores], shapes: tuple[LayerShape, ...], seed: int
) -> tuple[tuple[RankCorrelation, ...], tuple[OverlapSummary, ...]]:
    """Every pair of criteria over the layers that both score."""
    families: dict[tuple[str, ...], list[str]] = {}
    for criterion, layers in scores.items():
        families.setdefault(tuple(layers), []).append(criterion)
    correlations: list[RankCorrelation] = []
    overlaps: list[OverlapSummary] = []
    for one, other in combinations_with_replacement(families, 2):
        shared = [layer for layer in one if layer in other]
        names = families[one] if one == other else [*families[one], *families[other]]
        if len(names) < 2 or not shared:
            continue
        taken = {name: {layer: scores[name][layer] for layer in shared} for name in names}
        here = [shape for shape in shapes if shape.layer in shared]
        if not any(shape.scale for shape in here):
            here = []  # weights that are all zero expect nothing
        within = {frozenset((a, b)) for own in families.values() for a in own for b in own}
        rows = rank_correlations(taken, shapes=here, seed=seed)
        found = overlap_summary(bottom_overlaps(taken))
        if one != other:
            rows = tuple(r for r in rows if frozenset((r.first, r.second)) not in within)
            found = tuple(r for r in found if frozenset((r.first, r.second)) not in within)
        correlations += rows
        overlaps += found
    return tuple(correlations), tuple(overlaps)


def clusters_of(
    criteria: tuple[str, ...],
    similarity: tuple[SimilaritySummary, ...],
    together_from: float = TOGETHER_FROM,
) -> Clusters:
    """Clusters of all criteria; two that share no layer count as unrelated."""
    if len(criteria) < 2:
        return Clusters(criteria, tuple((name,) for name in criteria), (), together_from, ())
    known = {frozenset((row.first, row.second)) for row in similarity}
    apart = [
        SimilaritySummary(first, second, None, None, None, None, 0, 0)
        for first, second in combinations(criteria, 2)
        if frozenset((first, second)) not in known
    ]
    return cluster_criteria([*similarity, *apart], together_from)


def _histogram(criterion: str, layer: str, values: np.ndarray) -> ScoreHistogram:
    n, low, spread = len(values), float(values.min()), float(np.ptp(values))
    bins = min(_BINS, max(4, n // 2))
    # so little spread is rounding, and no bins can be told apart in it
    if spread <= 1e-9 * float(np.abs(values).max()):
        return ScoreHistogram(criterion, layer, n, low, 0.0, (n,))
    place = np.minimum(((values - low) / spread * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    return ScoreHistogram(criterion, layer, n, low, spread / bins, tuple(map(int, counts)))


def _pictures(
    weights: tuple[LayerWeights, ...], tested: tuple[LayerDistribution, ...], seed: int
) -> tuple[CovarianceBlocks, ...]:
    """Correlations in the layer where those inside a kernel are largest, and where smallest.

    Over what independence would give, among layers whose filters are several kernels.
    """
    ratio = {
        row.layer: row.corr_inside / row.corr_independent
        for row in tested
        if row.kind == "ordinary" and row.corr_inside is not None and row.corr_independent
    }
    if not ratio:
        return ()
    by_layer = {one.layer: one for one in weights}
    ends = dict.fromkeys((max(ratio, key=ratio.__getitem__), min(ratio, key=ratio.__getitem__)))
    found = [covariance_blocks(by_layer[layer], seed=seed) for layer in ends]
    return tuple(picture for picture in found if picture is not None)


def _unscored(scores: Mapping[str, LayerScores]) -> list[LeftOut]:
    """Criteria that score a part of the layers only, and which they leave out."""
    layers = dict.fromkeys(layer for own in scores.values() for layer in own)
    found = []
    for criterion, own in scores.items():
        if missing := [layer for layer in layers if layer not in own]:
            named = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
            found.append(
                LeftOut(
                    f"{criterion} in {len(missing)} of {len(layers)} layers",
                    f"it has nothing to score there: {named}",
                )
            )
    if len(scores) == 1:
        found.append(
            LeftOut(
                "similarity, overlap and clusters",
                f"undefined because {next(iter(scores))} is the only criterion",
            )
        )
    return found


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any) -> Any:
    """What `asdict` made plain, as the type it was."""
    if is_dataclass(kind):
        types = _types(cast(type, kind))
        unknown = set(value) - {field.name for field in fields(kind)}
        if unknown:
            raise ValueError(f"{kind} has no {', '.join(sorted(unknown))}")
        return cast(Any, kind)(**{name: _read(types[name], one) for name, one in value.items()})
    if get_origin(kind) in (UnionType, Union):
        return None if value is None else _read(get_args(kind)[0], value)
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_read(one, item) for one, item in zip(kinds, value, strict=True))
    return value
