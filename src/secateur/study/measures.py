"""One number for a curve of accuracy against complexity: formulas, arrays in and numbers out.

A curve has n levels on its last axis, the unpruned network first; axes before it (resamples,
methods) ride along, so a bootstrap is one call. Where a measure is not defined it is NaN in here;
`study.comparison` turns that into a reason in words. Accuracies and savings are shares in [0, 1],
`compression` is the dense network's cost over the cut one's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

TOLERANCE = 1e-9


def first_crossing(levels: ArrayLike, accuracies: ArrayLike, threshold: ArrayLike) -> Floats:
    """Largest level up to which accuracy stays at or above `threshold`: (..., n) -> (...).

    max{r : A(r') >= threshold for all r' <= r}, linear between levels; a share of channels, higher
    is better. 0 where the first level is below; the last level, a lower bound, where all hold.

    >>> first_crossing([0, 0.5], [[1.0, 0.5], [1.0, 0.9]], 0.75)
    array([0.25, 0.5 ])

    Reference: ours, after the ratio of prunable channels of Cai and Li, arXiv 2210.15960.
    """
    y = np.asarray(accuracies, dtype=float)
    x = np.broadcast_to(np.asarray(levels, dtype=float), y.shape)
    margin = y - np.asarray(threshold, dtype=float)[..., None]
    below = margin < -TOLERANCE
    k = below.argmax(axis=-1)
    before = np.maximum(k - 1, 0)
    inside, outside = np.maximum(_at(margin, before), 0), _at(margin, k)
    any_below = below.any(axis=-1)
    step = np.where(any_below, inside - outside, 1)
    crossing = _at(x, before) + (_at(x, k) - _at(x, before)) * inside / step
    return np.asarray(np.where(any_below, np.where(k == 0, x[..., 0], crossing), x[..., -1]))


def kneedle(levels: ArrayLike, accuracies: ArrayLike, sensitivity: float = 1.0) -> Floats:
    """Level where a falling curve bends down: (..., n) -> (...), NaN without a bend.

    Both axes are scaled to [0, 1]; the knee is where d = y + x - 1, the height above the chord of a
    falling curve, is largest, if d falls after it by more than `sensitivity` times the mean spacing
    of the levels. A share of channels, higher is better. On few levels a bend must be sharp to be
    seen.

    >>> kneedle([0, 0.25, 0.5, 0.75, 1], [0.9, 0.9, 0.9, 0.5, 0.1])
    array(0.5)

    Reference: Satopaa et al., "Finding a Kneedle in a Haystack", ICDCS workshops 2011.
    """
    y = np.asarray(accuracies, dtype=float)
    x = np.broadcast_to(np.asarray(levels, dtype=float), y.shape)
    span, width = np.ptp(y, axis=-1), x[..., -1] - x[..., 0]
    falls = (y.shape[-1] > 2) & (span > TOLERANCE) & (y[..., -1] < y[..., 0]) & (width > TOLERANCE)
    scaled = (y - y.min(axis=-1, keepdims=True)) / np.where(falls, span, 1)[..., None]
    place = (x - x[..., :1]) / np.where(falls, width, 1)[..., None]
    height = scaled + place - 1
    best = height.argmax(axis=-1)
    after = np.arange(y.shape[-1]) > best[..., None]
    lowest = np.where(after, height, np.inf).min(axis=-1)
    top = _at(height, best)
    bend = (top > TOLERANCE) & (lowest < top - sensitivity / (y.shape[-1] - 1))
    return np.asarray(np.where(falls & bend, _at(x, best), np.nan))


def area(compressions: ArrayLike, accuracies: ArrayLike, upto: float) -> Floats:
    """Mean accuracy over log2 compression from 1 to `upto`: (..., n) -> (...).

    (1 / log2 U) times the integral of A from 0 to log2 U, linear between levels. A share, higher is
    better; divide it by the dense accuracy to compare networks. NaN if never `upto` times smaller.

    >>> area([1, 2, 4], [0.8, 0.8, 0.4], upto=4)
    array(0.7)

    Reference: ours.
    """
    x, y = _ascending(np.log2(np.asarray(compressions, dtype=float)), accuracies)
    end = float(np.log2(upto))
    left, right = np.clip(x[..., :-1], 0, end), np.clip(x[..., 1:], 0, end)
    width = np.diff(x, axis=-1)
    slope = np.diff(y, axis=-1) / np.where(width > 0, width, 1)
    middle = y[..., :-1] + slope * ((left + right) / 2 - x[..., :-1])
    whole = (x[..., -1] >= end - TOLERANCE) & (x[..., 0] <= TOLERANCE)
    integral = (middle * (right - left)).sum(axis=-1)
    return np.asarray(np.where(whole, integral / end, np.nan))


def at_compression(compressions: ArrayLike, accuracies: ArrayLike, compression: float) -> Floats:
    """Accuracy at `compression`, linear in log2 compression: (..., n) -> (...), higher is better.

    NaN outside the compressions measured: nothing is extrapolated.

    >>> at_compression([1, 4], [0.9, 0.7], 2)
    array(0.8)

    Reference: ours; the budget table of a comparison.
    """
    x, y = _ascending(np.log2(np.asarray(compressions, dtype=float)), accuracies)
    wanted = float(np.log2(compression))
    k = np.clip((x <= wanted + TOLERANCE).sum(axis=-1) - 1, 0, x.shape[-1] - 2)
    width = _at(x, k + 1) - _at(x, k)
    part = np.clip((wanted - _at(x, k)) / np.where(width > 0, width, 1), 0, 1)
    value = _at(y, k) + part * (_at(y, k + 1) - _at(y, k))
    inside = (x[..., 0] - TOLERANCE <= wanted) & (wanted <= x[..., -1] + TOLERANCE)
    return np.asarray(np.where(inside, value, np.nan))


def f_beta(quality: ArrayLike, saving: ArrayLike, beta: float = 1.0) -> Floats:
    """Weighted harmonic mean of what is kept and what is saved: (...) -> (...), higher is better.

    (1 + beta^2) q s / (q + beta^2 s), with quality q = (A - chance) / (A0 - chance), taken as 0
    below chance, and saving s = 1 - M / M0. A `beta` above 1 weighs quality more. A curve is summed
    up by its best level.

    >>> f_beta([1.0, 0.5, -0.1], [0.0, 0.5, 0.9])
    array([0. , 0.5, 0. ])

    Reference: ours; van Rijsbergen's F with quality in the place of recall.
    """
    q = np.maximum(np.asarray(quality, dtype=float), 0)
    s = np.maximum(np.asarray(saving, dtype=float), 0)
    below = q + beta**2 * s
    return np.asarray((1 + beta**2) * q * s / np.where(below > 0, below, 1))


def hypervolume(savings: ArrayLike, accuracies: ArrayLike) -> Floats:
    """Area that a set of networks dominates, reference point (0, 0): (..., n) -> (...).

    The union of the rectangles [0, s_i] x [0, A_i], s = 1 - M / M0 the saving. A share of the unit
    square, higher is better. A network as large as the dense one adds nothing.

    >>> hypervolume([0.0, 0.5, 0.75], [0.9, 0.8, 0.4])
    array(0.5)

    Reference: Zitzler and Thiele, "Multiobjective evolutionary algorithms", IEEE TEC 3(4), 1999.
    """
    x, y = _ascending(np.maximum(np.asarray(savings, dtype=float), 0), accuracies)
    best = np.maximum.accumulate(np.maximum(y, 0)[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray((np.diff(x, axis=-1, prepend=0.0) * best).sum(axis=-1))


def netscore(accuracies: ArrayLike, params: ArrayLike, macs: ArrayLike) -> Floats:
    """Accuracy against both costs at once: 20 log10(a^2 / (sqrt(p) sqrt(m))), higher is better.

    (...) -> (...), in decibels; a in percent, p parameters and m MACs in millions. The unit of m
    shifts every value alike and changes no difference. NaN at an accuracy of 0. A curve is summed
    up by its best level.

    >>> netscore(0.5, 1_000_000, 1_000_000).round(2)
    np.float64(67.96)

    Reference: Wong, "NetScore", arXiv 1806.05512, eq. 1 with its alpha 2, beta and gamma 0.5.
    """
    a = 100 * np.asarray(accuracies, dtype=float)
    p, m = np.asarray(params, dtype=float) / 1e6, np.asarray(macs, dtype=float) / 1e6
    known = (a > 0) & (p > 0) & (m > 0)
    one = np.where(known, a**2, 1) / np.sqrt(np.where(known, p * m, 1))
    return np.asarray(np.where(known, 20 * np.log10(one), np.nan))


def _at(values: Floats, index: NDArray[np.intp]) -> Floats:
    """The entry at `index` of the last axis: (..., n), (...) -> (...)."""
    return np.asarray(np.take_along_axis(values, index[..., None], axis=-1)[..., 0])


def _ascending(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Both sorted by x along the last axis, brought to one shape."""
    a, b = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    if (np.diff(a, axis=-1) >= 0).all():
        return a, b
    order = np.argsort(a, axis=-1, kind="stable")
    return np.take_along_axis(a, order, -1), np.take_along_axis(b, order, -1)
