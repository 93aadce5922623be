"""Is a difference small for certain? Two one-sided tests, and what they could have shown.

All take an estimated difference, its standard error and the number of repetitions, and use
Student's t with n - 1 degrees of freedom.

Reference: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from secateur.study.measures import Floats
from secateur.study.resampling import ALPHA


def p_equivalent(mean: ArrayLike, error: ArrayLike, n: ArrayLike, margin: float) -> Floats:
    """P of the difference reaching `margin` on either side, the larger of two: (...) -> (...).

    Below 5 % the two are equivalent; so it is if the 90 % interval lies inside +- margin. Of
    several pairs, all are equivalent at 5 % when each is: no correction is due.

    >>> p_equivalent(0.0, 0.01, 5, 0.02).round(3), p_equivalent(0.02, 0.01, 5, 0.02)
    (np.float64(0.058), array(0.5))
    """
    return _upper(margin - np.abs(np.asarray(mean, dtype=float)), error, n)


def p_beyond(mean: ArrayLike, error: ArrayLike, n: ArrayLike, margin: float) -> Floats:
    """P of the difference being inside +- margin, by the side it lies on: (...) -> (...).

    Below 5 %, corrected for the number of pairs, it is certain that the two differ by more.

    >>> p_beyond(0.02, 0.01, 5, 0.02)
    array(0.5)
    """
    return _upper(np.abs(np.asarray(mean, dtype=float)) - margin, error, n)


def passable_margin(error: float, n: int, power: float = 0.8) -> float | None:
    """Smallest margin in which two equal methods would be called equivalent with that power.

    error * (t(.95) + t((1 + power) / 2)), the usual approximation; None with fewer than two
    repetitions. A study whose stated margin is smaller cannot be expected to support equality.

    >>> round(passable_margin(0.01, 3), 4), round(passable_margin(0.01, 10), 4)
    (0.0481, 0.0322)
    """
    if n < 2 or not np.isfinite(error):
        return None
    return error * _in_errors(n - 1, power)


@lru_cache(maxsize=256)
def _in_errors(df: int, power: float) -> float:
    return float(stats.t.ppf(1 - ALPHA, df) + stats.t.ppf((1 + power) / 2, df))


def _upper(distance: Floats, error: ArrayLike, n: ArrayLike) -> Floats:
    """P(T > distance / error): small where the distance is surely above 0; NaN with one unit."""
    se, units = np.asarray(error, dtype=float), np.asarray(n, dtype=float)
    p = stats.t.sf(distance / np.where(se > 0, se, 1), np.maximum(units - 1, 1))
    p = np.where(se == 0, 0.5 - 0.5 * np.sign(distance), p)  # certain, but at 0 itself
    return np.asarray(np.where(np.isfinite(se) & (units > 1), p, np.nan))
