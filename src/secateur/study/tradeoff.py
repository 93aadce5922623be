"""Accuracy against complexity: from a study's rows to curves and prunable ratios, with intervals.

The primary number is the prunable ratio: the largest share of channels that can go before the
accuracy falls more than epsilon below A0, the accuracy of the dense network trained *without*
sparsification. Measuring against the sparsified network's own accuracy would make a network that
sparsification broke look best. Both the definition and the defaults are ours.

Other measures, and methods beside each other: `study.comparison`. Intervals: `study.resampling`.

Reference: Cai and Li, arXiv 2210.15960 (the question: a ratio of prunable channels).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from secateur.errors import StudyError
from secateur.study import measures, resampling
from secateur.study.grid import Row as Row
from secateur.study.grid import Table, pooled_ws
from secateur.study.measures import TOLERANCE, Floats
from secateur.study.resampling import bootstrap_interval as bootstrap_interval


@dataclass(frozen=True)
class CurvePoint:
    """Mean over seeds at one pruning ratio; `macs` and `params` are counted on the cut network.

    `low` and `high` bound the mean accuracy; they are None with fewer than two seeds. Ratio 0 is
    the unpruned network, where `accuracy_cut` equals `accuracy`.
    """

    ratio_asked: float
    ratio_reached: float
    accuracy: float
    low: float | None
    high: float | None
    accuracy_cut: float
    macs: float
    params: float
    n_seeds: int


@dataclass(frozen=True)
class Curve:
    """Accuracy over pruning ratios of one network at one strength, criterion and scope."""

    network: str
    strength: float
    criterion: str
    scope: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class PrunableRatio:
    """Prunable ratio of one network, strength, criterion and scope, with its interval over seeds.

    `beyond` says that the accuracy still held at the largest ratio measured, so that `ratio` is a
    lower bound; `base_below` that the unpruned network already lies below A0 - epsilon, so that the
    ratio is 0 whatever can be cut from it. `knee` is the other form, by Kneedle. `ws` is the mean
    pooled Weight Skewness of the batch-norm scales and `inactive` the mean inactive share of the
    base networks used; `reference` is A0. Seeds that lack a ratio or a dense base are left out and
    counted.
    """

    network: str
    strength: float
    criterion: str
    scope: str
    epsilon: float
    ratio: float | None
    low: float | None
    high: float | None
    beyond: bool
    base_below: bool
    knee: float | None
    ws: float | None
    inactive: float | None
    reference: float | None
    n_seeds: int
    n_left_out: int
    undefined: str | None


def prunable_ratio(
    levels: ArrayLike, accuracies: ArrayLike, reference: float, epsilon: float
) -> float:
    """Largest r with A(r') >= reference - epsilon for all r' <= r, linear between the levels.

    `levels` of shape (n,) ascend from 0, the unpruned network; `accuracies` has the same shape.
    An accuracy that holds everywhere gives the last level, which is then a lower bound.

    >>> prunable_ratio([0, 0.5], [1.0, 0.5], reference=1.0, epsilon=0.25)
    0.25

    Raises:
        StudyError: the levels do not ascend from 0 or the lengths differ.
    """
    x, y = _checked(levels, accuracies)
    return float(measures.first_crossing(x, y, reference - epsilon))


def knee(levels: ArrayLike, accuracies: ArrayLike, sensitivity: float = 1.0) -> float | None:
    """Level at which accuracy bends down: Kneedle for a falling concave curve; None without one.

    >>> knee([0, 0.25, 0.5, 0.75, 1], [0.9, 0.9, 0.9, 0.5, 0.1])
    0.5

    Raises:
        StudyError: the levels do not ascend from 0 or the lengths differ.

    Reference: Satopaa et al., "Finding a Kneedle in a Haystack", ICDCS workshops 2011.
    """
    return _known(measures.kneedle(*_checked(levels, accuracies), sensitivity))


def compression_area(
    compressions: ArrayLike, accuracies: ArrayLike, reference: float, upto: float
) -> float | None:
    """Mean of A / reference over log2 compression from 1 to `upto`; None if never so small.

    `compressions` is the dense network's cost over the cut one's, ascending from 1.

    >>> compression_area([1, 2, 4], [0.8, 0.8, 0.4], reference=0.8, upto=4)
    0.875
    """
    if upto <= 1:
        return None
    mean = _known(measures.area(compressions, accuracies, upto))
    return None if mean is None else mean / reference


def accuracy_at(compressions: ArrayLike, accuracies: ArrayLike, compression: float) -> float | None:
    """Accuracy at `compression`, linear in log2 compression; None outside what was measured.

    >>> accuracy_at([1, 4], [0.9, 0.7], 2)
    0.8
    """
    return _known(measures.at_compression(compressions, accuracies, compression))


def seed_means(bases: Sequence[Row], values: Floats) -> Floats:
    """Mean of the rows of each seed, by their base networks: (bases, ...) -> (seeds, ...)."""
    return resampling.seed_means([base["seed"] for base in bases], values)


def curves(cells: Iterable[Table]) -> tuple[Curve, ...]:
    """Mean accuracy, MACs and parameters over seeds, for every cell of the study's grid."""
    return tuple(Curve(*table.cell, _points(table)) for table in cells)


def prunable_rows(cells: Iterable[Table], epsilon: float = 0.01) -> tuple[PrunableRatio, ...]:
    """Prunable ratio of every cell of the study's grid; the interval resamples seeds."""
    return tuple(_prunable_row(table, epsilon) for table in cells)


def _known(value: Floats) -> float | None:
    return float(value) if np.isfinite(value) else None


def _checked(levels: ArrayLike, accuracies: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(levels, dtype=float), np.asarray(accuracies, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise StudyError(f"{x.shape} levels and {y.shape} accuracies do not make a curve")
    if x[0] != 0 or (np.diff(x) <= 0).any() or not np.isfinite([*x, *y]).all():
        raise StudyError(
            f"levels must ascend from 0, the unpruned network, and all be finite; got {x.tolist()}"
        )
    return x, y


def _points(table: Table) -> tuple[CurvePoint, ...]:
    seeds = {f: resampling.seed_means(table.seeds, v) for f, v in table.values.items()}
    means = {field: resampling.mean_and_error(values) for field, values in seeds.items()}
    _, error, count = means["accuracy"]
    margin = resampling.half_width(error, count)
    points = []
    for k, ratio in enumerate(table.ratios):
        mean = {field: float(found[0][k]) for field, found in means.items()}
        bounded = np.isfinite(margin[k])
        points.append(
            CurvePoint(
                ratio_asked=ratio,
                low=mean["accuracy"] - float(margin[k]) if bounded else None,
                high=mean["accuracy"] + float(margin[k]) if bounded else None,
                n_seeds=int(count[k]),
                **mean,
            )
        )
    return tuple(points)


def _prunable_row(table: Table, epsilon: float) -> PrunableRatio:
    whole = table.whole
    all_seeds, used = set(table.seeds.tolist()), set(table.seeds[whole].tolist())
    undefined = PrunableRatio(
        *table.cell,
        epsilon=epsilon,
        ratio=None,
        low=None,
        high=None,
        beyond=False,
        base_below=False,
        knee=None,
        ws=None,
        inactive=None,
        reference=None,
        n_seeds=len(used),
        n_left_out=len(all_seeds - used),
        undefined=f"undefined because no {table.cell.network} of strength 0 is there to measure "
        "against",
    )
    if not np.isfinite(table.dense["accuracy"]).any():
        return undefined
    if not used:
        return replace(undefined, undefined="undefined because no seed has every ratio yet")
    levels = table.values["ratio_reached"][whole].mean(axis=0)
    levels, first = np.unique(levels, return_index=True)
    seeds = table.seeds[whole]
    accuracies = resampling.seed_means(seeds, table.values["accuracy"][whole])[:, first]
    reference = resampling.seed_means(seeds, table.dense["accuracy"][whole])

    def statistic(means: Floats) -> Floats:
        return measures.first_crossing(levels, means[:, 1:], means[:, 0] - epsilon)

    mean, a0 = accuracies.mean(axis=0), float(reference.mean())
    ratio = float(measures.first_crossing(levels, mean, a0 - epsilon))
    interval = bootstrap_interval(np.column_stack([reference, accuracies]), statistic)
    low, high = np.clip(interval, 0, levels[-1]) if interval else (None, None)
    holds = mean >= a0 - epsilon - TOLERANCE
    bases = [base for base, good in zip(table.bases, whole, strict=True) if good]
    return replace(
        undefined,
        ratio=ratio,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        beyond=bool(holds.all()),
        base_below=not holds[0],
        knee=knee(levels, mean),
        ws=_mean(pooled_ws(base) for base in bases),
        inactive=_mean(base["inactive"] for base in bases),
        reference=a0,
        undefined=None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
