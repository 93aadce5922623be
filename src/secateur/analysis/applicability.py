"""Can a criterion tell the filters of a layer apart at all? Spread of scores, and flags in words.

Scores that are too close to distinguish make a choice that is no better than chance, however well
two criteria agree on it. The 5 % below which a layer is flagged is ours.

Reference: Huang et al., arXiv 2004.11627 (the question).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from secateur.analysis.ceiling import NoiseCeiling
from secateur.analysis.gaussian import expected_variation
from secateur.analysis.tables import Floats, LayerScores
from secateur.analysis.weights import LayerShape
from secateur.errors import CriterionError

CLOSE = 0.01
"""Two scores are close when they differ by less than this share of the layer's mean."""

LEAST_CV = 0.05
"""Coefficient of variation below which a criterion is flagged."""


@dataclass(frozen=True)
class Applicability:
    """How far one criterion's scores of one layer lie apart.

    `cv` is their standard deviation over their mean, `relative_range` (max - min) / mean,
    `close_pairs` the share of pairs closer than 1 % of the mean and `tied_pairs` of equal ones.
    `over_dispersion` is cv over its value for iid Gaussian filters (l1 .7555, l2 and fermat .7071,
    gm .354, over sqrt(d); 1 = as if filters were drawn at random), `noise_cv` the part of `cv` that
    another calibration set of half the size would change. `flag` says in words why the criterion
    cannot choose here, None where it can. Where `undefined` holds a reason, the numbers it concerns
    are None.
    """

    criterion: str
    layer: str
    n: int
    cv: float | None
    relative_range: float | None
    close_pairs: float | None
    tied_pairs: float | None
    over_dispersion: float | None
    noise_cv: float | None
    flag: str | None
    undefined: str | None


def applicability(
    scores: Mapping[str, LayerScores],
    *,
    shapes: Iterable[LayerShape] = (),
    ceilings: Iterable[NoiseCeiling] = (),
    least_cv: float = LEAST_CV,
) -> tuple[Applicability, ...]:
    """Spread of every criterion's scores in every layer it scores.

    Args:
        scores: a criterion's name to its scores by layer.
        shapes: of the layers, for `over_dispersion`.
        ceilings: of criteria that need data, for `noise_cv`.
        least_cv: flag a criterion whose coefficient of variation is below it.

    >>> (row,) = applicability({"l1": {"conv": np.array([1.0, 1.0, 2.0])}})
    >>> row.relative_range, round(row.close_pairs, 2), row.flag
    (0.75, 0.33, None)

    Raises:
        CriterionError: a score is not finite or not one number a filter.
    """
    by_layer = {shape.layer: shape for shape in shapes}
    noise = {(row.criterion, row.layer): row.noise_cv for row in ceilings}
    return tuple(
        _row(
            criterion,
            layer,
            _checked(criterion, layer, values),
            by_layer.get(layer),
            noise.get((criterion, layer)),
            least_cv,
        )
        for criterion, layers in scores.items()
        for layer, values in layers.items()
    )


def close_pairs(scores: Floats, distance: float) -> float:
    """Share of pairs of at least two scores (n,) that differ by less than `distance`.

    By sorting: O(n log n).

    >>> close_pairs(np.array([1.0, 2.0, 1.25]), 0.5)
    0.3333333333333333
    """
    n = len(scores)
    ordered = np.sort(scores)
    after = np.searchsorted(ordered, ordered + distance, side="left") - np.arange(n) - 1
    return float(np.maximum(after, 0).sum() / (n * (n - 1) / 2))


def tied_pairs(scores: Floats) -> float:
    """Share of pairs of at least two scores (n,) that are equal.

    >>> tied_pairs(np.array([1.0, 2.0, 1.0]))
    0.3333333333333333
    """
    n = len(scores)
    counts = np.unique(scores, return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def _checked(criterion: str, layer: str, scores: np.ndarray) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise CriterionError(
            f"criterion {criterion!r} gives layer {layer!r} scores of shape {values.shape}, not "
            "one finite number a filter; look for a diverged training"
        )
    return values


def _row(
    criterion: str,
    layer: str,
    scores: Floats,
    shape: LayerShape | None,
    noise: float | None,
    least_cv: float,
) -> Applicability:
    n = len(scores)
    mean = abs(scores.mean()) if n else 0.0
    if n < 2 or mean <= 1e-12 * np.abs(scores).max():
        few = f"layer {layer!r} has {n} filters and a spread needs 2"
        why = few if n < 2 else f"the scores of layer {layer!r} have mean 0"
        flat = n > 1 and np.ptp(scores) == 0
        return Applicability(
            criterion=criterion,
            layer=layer,
            n=n,
            cv=None,
            relative_range=None,
            close_pairs=None,
            tied_pairs=tied_pairs(scores) if n > 1 else None,
            over_dispersion=None,
            noise_cv=noise,
            flag=_flat_flag(criterion, layer) if flat else None,
            undefined=f"undefined because {why}",
        )
    ties = tied_pairs(scores)
    cv = float(scores.std(ddof=1) / mean)
    expected = expected_variation(criterion, n, shape.d) if shape else None
    return Applicability(
        criterion=criterion,
        layer=layer,
        n=n,
        cv=cv,
        relative_range=float(np.ptp(scores) / mean),
        close_pairs=close_pairs(scores, CLOSE * mean),
        tied_pairs=ties,
        over_dispersion=cv / expected if expected else None,
        noise_cv=noise,
        flag=_flag(criterion, layer, cv, ties, noise, least_cv),
        undefined=None,
    )


def _flag(
    criterion: str, layer: str, cv: float, ties: float, noise: float | None, least_cv: float
) -> str | None:
    if ties == 1:
        return _flat_flag(criterion, layer)
    if noise is not None and cv < noise:
        return (
            f"{criterion} is not applicable in layer {layer!r}: its scores vary by {cv:.1%} of "
            f"their mean, less than between two calibration sets ({noise:.1%})"
        )
    if cv < least_cv:
        return (
            f"{criterion} is not applicable in layer {layer!r}: its scores vary by {cv:.1%} of "
            f"their mean, less than {least_cv:.0%}"
        )
    return None


def _flat_flag(criterion: str, layer: str) -> str:
    return f"{criterion} is not applicable in layer {layer!r}: it gives every filter the same score"
