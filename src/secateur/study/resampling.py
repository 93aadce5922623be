"""Uncertainty over repetitions: standard errors, intervals, corrected tests, what could be seen.

A repetition is a seed, with all its folds: two runs of one seed share initial weights, so their
mean counts once, and drawing folds anew inside a drawn seed would count their noise twice (Davison
and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8). Where each seed holds
out a fold of its own, seeds and folds are drawn together.

Intervals are estimate +- t(n - 1) times the standard error. For a mean that is Student's interval.
For anything else the standard error is the bootstrap's over repetitions, times sqrt(n / (n - 1)).
A percentile bootstrap is not used: over three repetitions it can never leave their range, and its
nominal 95 % cover the truth three times in four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from secateur.study.measures import Floats

N_DRAWS = 500
"""Bootstrap draws: a standard error is then known to 3 %, far better than n allows."""

MIN_SEEDS = 3
"""Nothing is ranked on fewer repetitions than this."""

ALPHA = 0.05


def seed_means(seeds: Sequence[int] | NDArray[np.int_], values: Floats) -> Floats:
    """Mean of each seed's runs, seeds ascending: (runs, ...) -> (seeds, ...); NaN is left out.

    >>> seed_means([2, 1, 2], np.array([1.0, 5.0, 3.0]))
    array([5., 2.])
    """
    names, inverse = np.unique(np.asarray(seeds), return_inverse=True)
    member = (inverse == np.arange(len(names))[:, None]).astype(float)
    flat = np.asarray(values, dtype=float).reshape(len(inverse), -1)
    known = np.isfinite(flat)
    count = member @ known
    total = member @ np.where(known, flat, 0.0)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means.reshape(len(names), *np.shape(values)[1:])


@lru_cache(maxsize=32)
def draws(n_units: int, n: int = N_DRAWS, seed: int = 0) -> Floats:
    """Weights of every unit in n resamples, (n + 1, units): each row adds up to 1.

    Row 0 weighs all alike and gives the estimate itself; a weighted mean of row k is the mean of
    resample k, so `draws(n) @ values` resamples any array of units at once.

    >>> draws(2, n=0)
    array([[0.5, 0.5]])
    """
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(n_units, np.full(n_units, 1 / n_units), size=n)
    weights = np.vstack([np.ones((1, n_units)), counts]) / n_units
    weights.flags.writeable = False
    return weights


def bootstrap_error(resampled: Floats, n_units: int) -> Floats:
    """Standard error from resamples on the last axis, the estimate first: (..., n + 1) -> (...).

    NaN where a resample is not defined, or with one unit.
    """
    if n_units < 2:
        return np.full(resampled.shape[:-1], np.nan)
    return np.asarray(resampled[..., 1:].std(axis=-1) * np.sqrt(n_units / (n_units - 1)))


def half_width(error: ArrayLike, n_units: ArrayLike, level: float = 1 - ALPHA) -> Floats:
    """Half an interval: t quantile of n - 1 degrees of freedom times the standard error."""
    n = np.asarray(n_units)
    quantile = stats.t.ppf((1 + level) / 2, np.maximum(n - 1, 1))
    return np.asarray(np.where(n > 1, quantile, np.nan) * np.asarray(error, dtype=float))


def mean_and_error(values: Floats) -> tuple[Floats, Floats, NDArray[np.int_]]:
    """Mean over the first axis, its standard error and the count, NaN left out.

    >>> mean_and_error(np.array([1.0, 2.0, 3.0]))[0]
    array(2.)
    """
    known = np.isfinite(values)
    n = known.sum(axis=0)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(n, 1)
    squares = (np.where(known, values - mean, 0) ** 2).sum(axis=0)
    error = np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1))
    return np.where(n > 0, mean, np.nan), np.where(n > 1, error, np.nan), n


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Floats], Floats] | None = None,
    seed: int = 0,
    n: int = N_DRAWS,
) -> tuple[float, float] | None:
    """95 % interval over units, the rows of `values`; of their mean, or of a statistic of means.

    `statistic` maps means of resamples, shape (n, ...), to (n,). Fewer than two units give None:
    there is nothing to compare.
    """
    units = np.asarray(values, dtype=float)
    if len(units) < 2:
        return None
    if statistic is None:
        mean, error, _ = mean_and_error(units)
        margin = half_width(error, len(units))
        return float(mean - margin), float(mean + margin)
    weights = draws(len(units), n, seed)
    resampled = statistic(np.tensordot(weights, units, axes=1))
    margin = half_width(bootstrap_error(resampled, len(units)), len(units))
    if not np.isfinite(margin):
        return None
    return float(resampled[0] - margin), float(resampled[0] + margin)


def p_value(mean: ArrayLike, error: ArrayLike, n_units: ArrayLike) -> Floats:
    """Two-sided p of a mean being 0, by Student's t; 1 for 0 itself, NaN with one unit.

    >>> p_value(0.0, 0.0, 3), p_value(1.0, 0.0, 3)
    (array(1.), array(0.))
    """
    value, se, n = (np.asarray(a, dtype=float) for a in (mean, error, n_units))
    t = np.abs(value) / np.where(se > 0, se, 1)
    p = 2 * stats.t.sf(t, np.maximum(n - 1, 1))
    p = np.where(se > 0, p, np.where(np.abs(value) > 1e-12, 0.0, 1.0))
    return np.asarray(np.where(np.isfinite(se) & (n > 1), p, np.nan))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's corrected p values, in the order given: (n,) -> (n,).

    The k-th smallest times n - k + 1, made to ascend, at most 1: no true null of the family is
    rejected, with probability 1 - alpha. NaN stays and does not count.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])

    Reference: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")  # NaN last
    n = int(np.isfinite(p).sum())
    corrected = np.full(len(p), np.nan)
    scaled = p[order[:n]] * (n - np.arange(n))
    corrected[order[:n]] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected


def verdict(mean: float, p_holm: float, n_seeds: int) -> str:
    """What a corrected test says: `higher`, `lower`, `tie`, or why nothing is ranked."""
    if n_seeds < MIN_SEEDS:
        return f"not ranked: {n_seeds} of the {MIN_SEEDS} seeds needed"
    if not np.isfinite(p_holm):
        return "not ranked: not defined in every resample"
    if p_holm >= ALPHA:
        return "tie"
    return "higher" if mean > 0 else "lower"


def visible_effect(
    error: float, n_units: int, alpha: float = ALPHA, power: float = 0.8
) -> float | None:
    """Smallest true effect that a two-sided test would find with that power, in units of `error`'s.

    `error` is the standard error seen. None with fewer than two units: nothing could be seen.

    >>> round(visible_effect(1.0, 3), 2), round(visible_effect(1.0, 30), 2)
    (5.65, 2.9)
    """
    if n_units < 2 or not np.isfinite(error):
        return None
    return error * _visible_in_errors(n_units - 1, alpha, power)


@lru_cache(maxsize=256)
def _visible_in_errors(df: int, alpha: float, power: float) -> float:
    quantile = float(stats.t.ppf(1 - alpha / 2, df))

    def short(effect: float) -> float:
        """Power by the noncentral t, less what is asked."""
        return float(stats.nct.sf(quantile, df, effect)) - power

    high = quantile + 1
    while short(high) < 0:
        high *= 2
    return float(optimize.brentq(short, 0, high, xtol=1e-6))
