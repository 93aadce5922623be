"""From scores and weights, as arrays, to the diagnosis of a network. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations_with_replacement
from typing import Any, cast, get_args

import numpy as np

from secateur.analysis.applicability import applicability
from secateur.analysis.ceiling import NoiseCeiling
from secateur.analysis.clusters import clusters_of
from secateur.analysis.controls import (
    Control,
    CovarianceBlocks,
    control_weights,
    covariance_blocks,
    qq_plots,
)
from secateur.analysis.distribution import (
    LayerDistribution,
    distribution,
    distribution_summary,
)
from secateur.analysis.explain import explain, predicted_rho
from secateur.analysis.global_pruning import global_pruning, layer_gaps
from secateur.analysis.overlap import OverlapSummary, bottom_overlaps, overlap_summary
from secateur.analysis.similarity import RankCorrelation, rank_correlations, summary
from secateur.analysis.skewness import SkewnessRow
from secateur.analysis.tables import LayerScores
from secateur.analysis.weights import LayerShape, LayerWeights, layer_shapes
from secateur.plan.normalise import NORMALISATIONS
from secateur.study.inspection import Analysis, Checked, LeftOut, NetworkFacts, ScoreHistogram

_BINS = 16


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
