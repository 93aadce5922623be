"""Percentile bootstrap of anything that is a function of sums over clips. Loads no torch.

Clips of one location sound alike, so a network is right or wrong on many of them together. What is
drawn anew must be what is independent: whole locations. Clips drawn one by one give intervals that
are too narrow, and are offered beside, for comparison with results that were published so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Sums of every resample (n_resamples, k) -> a value for each (n_resamples,)."""

RESAMPLES = 2000
LEVEL = 0.95

_BLOCK = 1 << 21
"""Draws made at a time."""


@dataclass(frozen=True)
class Interval:
    """Where a value lies at `level`, by drawing `n_units` clips or locations anew."""

    low: float
    high: float
    by: Literal["clip", "location"]
    n_units: int
    level: float = LEVEL


def sums_by(units: Sequence[Hashable], values: Floats) -> Floats:
    """Sums of the rows of each unit, in order of first sight: (n, k) -> (n_units, k).

    >>> sums_by(["x", "y", "x"], np.array([[1.0], [2.0], [3.0]])).tolist()
    [[4.0], [2.0]]
    """
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(unit, len(places)) for unit in units], dtype=np.int64)
    sums = np.zeros((len(places), values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def resampled(sums: Floats, n_resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Totals of as many units as there are, drawn with replacement: (u, k) -> (n_resamples, k).

    Raises:
        DataError: there is no unit, or no resample is asked for.
    """
    n = len(sums)
    if not n or n_resamples < 1:
        raise DataError(f"bootstrap of {n} units, {n_resamples} times: give at least 1 of each")
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // n)
    totals = np.empty((n_resamples, sums.shape[1]))
    for start in range(0, n_resamples, at_once):
        some = min(at_once, n_resamples - start)
        drawn = rng.integers(n, size=(some, n)) + n * np.arange(some)[:, None]
        often = np.bincount(drawn.ravel(), minlength=some * n).reshape(some, n)
        totals[start : start + some] = often.astype(np.float64) @ sums
    return totals


def interval(
    sums: Floats,
    statistic: Statistic,
    by: Literal["clip", "location"],
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval | None:
    """Percentile interval of `statistic` over resamples of the units (u, k); None for one unit.

    Resamples of which the statistic is undefined (NaN) do not count.

    Raises:
        DataError: there is no unit, or `level` is not in (0, 1).

    Reference: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13; Davison &
    Hinkley, "Bootstrap Methods and their Application", 1997, sec. 3.8 (whole clusters).
    """
    if not 0 < level < 1:
        raise DataError(f"level={level}: give a share between 0 and 1, such as 0.95")
    if len(sums) == 1:
        return None
    values = statistic(resampled(sums, n_resamples, seed))
    values = values[~np.isnan(values)]
    if not values.size:
        return None
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(values, ends, method="linear" if np.isfinite(values).all() else "lower")
    return Interval(float(low), float(high), by, len(sums), level)
