"""Accuracy against complexity: from a study's rows to numbers that compare, with intervals.

The primary number is the prunable ratio: the largest share of channels that can go before the
accuracy falls more than epsilon below A0, the accuracy of the dense network trained *without*
sparsification. Measuring against the sparsified network's own accuracy would make a network that
sparsification broke look best. Both the definition and the defaults are ours.

A seed is the unit of resampling everywhere: two runs of one seed share their base network and are
not independent. With three seeds a percentile bootstrap interval is simply the range of the three.

Reference: Cai and Li, arXiv 2210.15960 (the question: a ratio of prunable channels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.errors import StudyError

Row = Mapping[str, Any]
"""One row of a study, as its store gives it back."""

Floats = NDArray[np.float64]

_TOLERANCE = 1e-9


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
    return float(_prunable(x, y[None], np.array([reference - epsilon]))[0])


def knee(levels: ArrayLike, accuracies: ArrayLike) -> float | None:
    """Level at which accuracy bends down: Kneedle for a falling concave curve; None without one.

    >>> knee([0, 0.25, 0.5, 0.75, 1], [0.9, 0.9, 0.9, 0.5, 0.1])
    0.5

    Raises:
        StudyError: the levels do not ascend from 0 or the lengths differ.

    Reference: Satopaa et al., "Finding a Kneedle in a Haystack", ICDCS workshops 2011.
    """
    x, y = _checked(levels, accuracies)
    if len(x) < 3 or np.ptp(y) < _TOLERANCE or y[-1] >= y[0]:
        return None
    above_chord = (y - y.min()) / np.ptp(y) + x / x[-1] - 1
    best = int(above_chord.argmax())
    return float(x[best]) if above_chord[best] > _TOLERANCE else None


def compression_area(
    compressions: ArrayLike, accuracies: ArrayLike, reference: float, upto: float
) -> float | None:
    """Mean of A / reference over log2 compression from 1 to `upto`; None if never so small.

    `compressions` is the dense network's cost over the cut one's, ascending from 1.

    >>> compression_area([1, 2, 4], [0.8, 0.8, 0.4], reference=0.8, upto=4)
    0.875
    """
    x, y = np.log2(np.asarray(compressions, dtype=float)), np.asarray(accuracies, dtype=float)
    if x[-1] < np.log2(upto) - _TOLERANCE or upto <= 1:
        return None
    inside = x < np.log2(upto) - _TOLERANCE
    grid = np.append(x[inside], np.log2(upto))
    return float(np.trapezoid(np.interp(grid, x, y), grid) / np.log2(upto) / reference)


def accuracy_at(compressions: ArrayLike, accuracies: ArrayLike, compression: float) -> float | None:
    """Accuracy at `compression`, linear in log2 compression; None outside what was measured.

    >>> accuracy_at([1, 4], [0.9, 0.7], 2)
    0.8
    """
    x, y = np.log2(np.asarray(compressions, dtype=float)), np.asarray(accuracies, dtype=float)
    order = np.argsort(x, kind="stable")
    wanted = float(np.log2(compression))
    if not x.min() - _TOLERANCE <= wanted <= x.max() + _TOLERANCE:
        return None
    return float(np.interp(wanted, x[order], y[order]))


def mean_over_units(resamples: Floats) -> Floats:
    """Mean over the second axis, the plainest statistic for `bootstrap_interval`."""
    return np.asarray(resamples.mean(axis=1))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Floats], Floats] = mean_over_units,
    seed: int = 0,
    n: int = 2000,
) -> tuple[float, float] | None:
    """95 % percentile interval of a statistic when units (rows of `values`) are drawn anew.

    `statistic` maps n resamples at once, shape (n, units, ...), to (n,). Fewer than two units give
    None: there is nothing to resample.
    """
    units = np.asarray(values, dtype=float)
    if len(units) < 2:
        return None
    draws = np.random.default_rng(seed).integers(0, len(units), size=(n, len(units)))
    low, high = np.quantile(statistic(units[draws]), [0.025, 0.975])
    return float(low), float(high)


def seed_means(bases: Sequence[Row], values: Floats) -> Floats:
    """Mean of the rows of each seed, by their base networks: (bases, ...) -> (seeds, ...)."""
    seeds = np.array([base["seed"] for base in bases])
    return np.stack([values[seeds == seed].mean(axis=0) for seed in np.unique(seeds)])


def curves(rows: Iterable[Row]) -> tuple[Curve, ...]:
    """Mean accuracy, MACs and parameters over seeds, for every cell of the study's grid."""
    rows = list(rows)
    return tuple(Curve(*cell, _points(table)) for cell, table in _tables(rows).items())


def prunable_rows(rows: Iterable[Row], epsilon: float = 0.01) -> tuple[PrunableRatio, ...]:
    """Prunable ratio of every cell of the study's grid; the interval resamples seeds."""
    rows = list(rows)
    dense = {
        (row["network"], row["seed"], row["fold"]): row["accuracy"]
        for row in rows
        if row["kind"] == "base" and row["strength"] == 0
    }
    return tuple(
        _prunable_row(cell, table, dense, epsilon) for cell, table in _tables(rows).items()
    )


def _checked(levels: ArrayLike, accuracies: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(levels, dtype=float), np.asarray(accuracies, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise StudyError(f"{x.shape} levels and {y.shape} accuracies do not make a curve")
    if x[0] != 0 or (np.diff(x) <= 0).any() or not np.isfinite([*x, *y]).all():
        raise StudyError(
            f"levels must ascend from 0, the unpruned network, and all be finite; got {x.tolist()}"
        )
    return x, y


def _prunable(levels: Floats, accuracies: Floats, threshold: Floats) -> Floats:
    """Prunable ratios of many curves: accuracies (curves, levels), threshold (curves,)."""
    margin = accuracies - threshold[:, None]
    below = margin < -_TOLERANCE
    k = below.argmax(axis=1)
    curve = np.arange(len(margin))
    before = np.maximum(k - 1, 0)
    inside, outside = np.maximum(margin[curve, before], 0), margin[curve, k]
    step = np.where(below.any(axis=1), inside - outside, 1)
    crossing = levels[before] + (levels[k] - levels[before]) * inside / step
    return np.where(below.any(axis=1), np.where(k == 0, 0.0, crossing), levels[-1])


_FIELDS = ("ratio_reached", "accuracy", "accuracy_cut", "macs", "params")

_Cell = tuple[str, float, str, str]


@dataclass(frozen=True)
class _Table:
    """One cell of the grid: a row a base network, a column a ratio asked (0 first), NaN if absent.

    `values` maps a field to shape (bases, ratios).
    """

    bases: tuple[Row, ...]
    ratios: tuple[float, ...]
    values: Mapping[str, Floats]


def _tables(rows: Sequence[Row]) -> dict[_Cell, _Table]:
    bases = {row["id"]: row for row in rows if row["kind"] == "base"}
    cells: dict[_Cell, dict[str, dict[float, Row]]] = {}
    for row in rows:
        if row["kind"] == "pruned" and row["base"] in bases:
            cell = (row["network"], row["strength"], row["criterion"], row["scope"])
            own = cells.setdefault(cell, {}).setdefault(row["base"], {})
            own[row["ratio_asked"]] = row
    return {cell: _table(cells[cell], bases) for cell in sorted(cells)}


def _table(cell: Mapping[str, Mapping[float, Row]], bases: Mapping[str, Row]) -> _Table:
    ratios = (0.0, *sorted({ratio for own in cell.values() for ratio in own if ratio > 0}))
    values = {field: np.full((len(cell), len(ratios)), np.nan) for field in _FIELDS}
    for i, (name, own) in enumerate(cell.items()):
        base = bases[name]
        unpruned = {**base, "ratio_reached": 0.0, "accuracy_cut": base["accuracy"]}
        for ratio, row in {**own, 0.0: unpruned}.items():
            for field in _FIELDS:
                values[field][i, ratios.index(ratio)] = row[field]
    return _Table(tuple(bases[name] for name in cell), ratios, values)


def _points(table: _Table) -> tuple[CurvePoint, ...]:
    points = []
    for k, ratio in enumerate(table.ratios):
        there = np.flatnonzero(np.isfinite(table.values["accuracy"][:, k]))
        bases = [table.bases[i] for i in there]
        seeds = {f: seed_means(bases, values[there, k]) for f, values in table.values.items()}
        low, high = bootstrap_interval(seeds["accuracy"]) or (None, None)
        means = {field: float(values.mean()) for field, values in seeds.items()}
        points.append(
            CurvePoint(
                ratio_asked=ratio, low=low, high=high, n_seeds=len(seeds["accuracy"]), **means
            )
        )
    return tuple(points)


def _prunable_row(
    cell: _Cell, table: _Table, dense: Mapping[tuple[str, int, int], float], epsilon: float
) -> PrunableRatio:
    network = cell[0]
    references = np.array(
        [dense.get((network, base["seed"], base["fold"]), np.nan) for base in table.bases]
    )
    whole = np.isfinite(table.values["accuracy"]).all(axis=1) & np.isfinite(references)
    all_seeds = {base["seed"] for base in table.bases}
    bases = [base for base, good in zip(table.bases, whole, strict=True) if good]
    used = {base["seed"] for base in bases}
    undefined = PrunableRatio(
        *cell,
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
        undefined=f"undefined because no {network} of strength 0 is there to measure against",
    )
    if not np.isfinite(references).any():
        return undefined
    if not bases:
        return replace(undefined, undefined="undefined because no seed has every ratio yet")
    levels = table.values["ratio_reached"][whole].mean(axis=0)
    levels, first = np.unique(levels, return_index=True)
    accuracies = seed_means(bases, table.values["accuracy"][whole])[:, first]
    reference = seed_means(bases, references[whole])

    def statistic(resamples: Floats) -> Floats:
        mean = resamples.mean(axis=1)
        return _prunable(levels, mean[:, 1:], mean[:, 0] - epsilon)

    seeds = np.column_stack([reference, accuracies])
    low, high = bootstrap_interval(seeds, statistic) or (None, None)
    mean = accuracies.mean(axis=0)
    holds = mean >= reference.mean() - epsilon - _TOLERANCE
    return replace(
        undefined,
        ratio=float(statistic(seeds[None])[0]),
        low=low,
        high=high,
        beyond=bool(holds.all()),
        base_below=not holds[0],
        knee=knee(levels, mean),
        ws=_mean(_pooled_ws(base) for base in bases),
        inactive=_mean(base["inactive"] for base in bases),
        reference=float(reference.mean()),
        undefined=None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _pooled_ws(base: Row) -> float | None:
    pooled = (row for row in base["skewness"] if row["layer"] == "pooled")
    return next((row["ws"] for row in pooled if row["definition"] == "bn_scale"), None)
