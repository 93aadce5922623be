"""What sorting the filters of a whole network together would do to its layers, by criterion.

A criterion whose scores differ between layers by orders of magnitude prunes layers, not filters.
How scores are made comparable first is a function of one layer's scores and the size d of its
filters; `secateur.plan.normalise.NORMALISATIONS` holds those that plans are made with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.analysis.tables import Floats, LayerScores, bottom_size, check_ratio

Normalise = Callable[[Floats, int], Floats]
"""One layer's scores (n_filters,) and the size d of its filters in, comparable scores out."""

RATIOS = (0.3, 0.5, 0.7)
"""Global pruning ratios at which layers are counted."""


@dataclass(frozen=True)
class LayerGap:
    """How far the layer means of one criterion lie apart: the largest over the smallest.

    Where `undefined` holds a reason, `gap` is None.
    """

    criterion: str
    n_layers: int
    gap: float | None
    largest_layer: str | None
    smallest_layer: str | None
    undefined: str | None


@dataclass(frozen=True)
class GlobalPruning:
    """Layers that lose every filter when the lowest `ratio` of all filters go, by name.

    `untouched` counts layers that lose none.
    """

    criterion: str
    normalisation: str
    ratio: float
    n_layers: int
    n_wiped: int
    wiped: tuple[str, ...]
    untouched: int


def layer_gaps(scores: Mapping[str, LayerScores]) -> tuple[LayerGap, ...]:
    """Largest over smallest layer mean of every criterion.

    >>> (row,) = layer_gaps({"l1": {"a": np.array([1.0, 3.0]), "b": np.array([9.0, 11.0])}})
    >>> row.gap, row.largest_layer
    (5.0, 'b')
    """
    return tuple(_gap(criterion, layers) for criterion, layers in scores.items())


def global_pruning(
    scores: Mapping[str, LayerScores],
    *,
    normalisations: Mapping[str, Normalise] | None = None,
    sizes: Mapping[str, int] | None = None,
    ratios: Sequence[float] = RATIOS,
) -> tuple[GlobalPruning, ...]:
    """Which layers every criterion wipes out when all filters are sorted together.

    Args:
        scores: a criterion's name to its scores by layer.
        normalisations: by name; as they are (`none`) and over their mean magnitude (`mean`) if
            not given.
        sizes: a layer's name to the size d of its filters, 1 where it is missing.
        ratios: shares of all filters that go.

    >>> two = {"l1": {"a": np.array([1.0, 2.0]), "b": np.array([9.0, 8.0])}}
    >>> [(row.normalisation, row.wiped) for row in global_pruning(two, ratios=[0.5])]
    [('none', ('a',)), ('mean', ())]

    Raises:
        CriterionError: a ratio lies outside [0, 1).
    """
    for ratio in ratios:
        check_ratio(ratio)
    rows = []
    for criterion, layers in scores.items():
        names = [name for name, values in layers.items() if len(values)]
        owner = np.repeat(np.arange(len(names)), [len(layers[name]) for name in names])
        widths = np.bincount(owner, minlength=len(names))
        for normalisation, normalise in (normalisations or _DEFAULT).items():
            own = [
                normalise(np.asarray(layers[name], dtype=np.float64), (sizes or {}).get(name, 1))
                for name in names
            ]
            order = np.argsort(np.concatenate([np.empty(0), *own]), kind="stable")
            for ratio in ratios:
                gone = owner[order[: bottom_size(len(order), ratio)]]
                lost = np.bincount(gone, minlength=len(names))
                wiped = tuple(names[k] for k in np.flatnonzero(lost == widths))
                rows.append(
                    GlobalPruning(
                        criterion=criterion,
                        normalisation=normalisation,
                        ratio=ratio,
                        n_layers=len(names),
                        n_wiped=len(wiped),
                        wiped=wiped,
                        untouched=int((lost == 0).sum()),
                    )
                )
    return tuple(rows)


def _over_mean(scores: Floats, size: int) -> Floats:
    del size
    return scores / (np.abs(scores).mean() or 1.0)


_DEFAULT: Mapping[str, Normalise] = {"none": lambda scores, _: scores, "mean": _over_mean}


def _gap(criterion: str, layers: LayerScores) -> LayerGap:
    means = {name: abs(float(np.mean(values))) for name, values in layers.items() if len(values)}
    if not means:
        return LayerGap(criterion, 0, None, None, None, "undefined because no layer is scored")
    largest, smallest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    if means[smallest] == 0:
        why = f"undefined because the scores of layer {smallest!r} have mean 0"
        return LayerGap(criterion, len(means), None, largest, smallest, why)
    gap = means[largest] / means[smallest]
    return LayerGap(criterion, len(means), gap, largest, smallest, None)
