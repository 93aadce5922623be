"""Tests of one layer's coordinates, all at once: normality, mean zero, equal variances.

Samples come as one array (n, n_coordinates): n filters, each column one weight coordinate. No
column may be constant. Each test is held against scipy's, or against its size under the
hypothesis. A Kolmogorov-Smirnov test with fitted mean and deviation is not here on purpose: its
size is near 0 at a nominal 5 %, it never rejects.
"""

from __future__ import annotations

from math import log, sqrt
from typing import cast

import numpy as np
from numpy.polynomial.polynomial import polyval
from scipy import stats

from secateur.analysis.tables import Floats

LEAST_SAMPLES = 8
"""Filters below which no layer is tested."""


def shapiro_wilk(samples: Floats) -> tuple[Floats, Floats]:
    """Statistic W and p-value of every column, for 4 to 5000 samples.

    Reference: Royston 1995, algorithm AS R94 (Applied Statistics 44, 547).
    """
    n = len(samples)
    weights = _shapiro_weights(n)
    ordered = np.sort(samples, axis=0)
    centred = ordered - ordered.mean(axis=0)
    w = np.minimum((weights @ centred) ** 2 / (centred**2).sum(axis=0), 1.0)
    with np.errstate(divide="ignore"):
        y = np.log(1 - w)
    if n <= 11:
        ceiling = polyval(n, [-2.273, 0.459])
        inside = y < ceiling
        y = -np.log(np.where(inside, ceiling - y, 1.0))
        mean = polyval(n, [0.5440, -0.39978, 0.025054, -0.0006714])
        sd = np.exp(polyval(n, [1.3822, -0.77857, 0.062767, -0.0020322]))
        return w, np.where(inside, stats.norm.sf(y, mean, sd), 0.0)
    mean = polyval(log(n), [-1.5861, -0.31082, -0.083751, 0.0038915])
    sd = np.exp(polyval(log(n), [-0.4803, -0.082676, 0.0030302]))
    return w, stats.norm.sf(y, mean, sd)


def lilliefors(samples: Floats) -> tuple[Floats, Floats]:
    """Kolmogorov's distance to the fitted Gaussian, and its p-value, of every column.

    The p-value is exact enough for decisions at .1 and below; above, it only says "above".

    Reference: Dallal and Wilkinson 1986 (The American Statistician 40, 294).
    """
    n = len(samples)
    ordered = np.sort(samples, axis=0)
    z = stats.norm.cdf((ordered - ordered.mean(axis=0)) / ordered.std(axis=0, ddof=1))
    steps = np.arange(n + 1)[:, None] / n
    distance = np.maximum(steps[1:] - z, z - steps[:-1]).max(axis=0)
    # beyond 100 samples the distance is brought to what it would be for 100
    size = min(n, 100)
    d = distance * (n / 100) ** 0.49 if n > 100 else distance
    scaled = np.maximum(d * sqrt(size + 2.78019), 0.2137)  # where the curve turns
    log_p = -7.01256 * scaled**2 + 2.99587 * scaled - 0.122119
    log_p += 0.974598 / sqrt(size) + 1.67997 / size
    return distance, np.minimum(np.exp(log_p), 1.0)


def mean_zero(samples: Floats) -> Floats:
    """p-value of a two-sided t test of mean 0, of every column."""
    n = len(samples)
    t = samples.mean(axis=0) / samples.std(axis=0, ddof=1) * sqrt(n)
    return cast(Floats, 2 * stats.t.sf(np.abs(t), n - 1))


def brown_forsythe(samples: Floats) -> float:
    """p-value of equal variances of all columns, by distances to medians (Levene's test).

    Reference: Brown and Forsythe 1974 (JASA 69, 364).
    """
    n, k = samples.shape
    distances = np.abs(samples - np.median(samples, axis=0))
    means = distances.mean(axis=0)
    between = n * ((means - means.mean()) ** 2).sum() / (k - 1)
    within = ((distances - means) ** 2).sum() / (k * (n - 1))
    return float(stats.f.sf(between / within, k - 1, k * (n - 1))) if within > 0 else 1.0


def bartlett(samples: Floats) -> float:
    """p-value of equal variances of all columns, for Gaussian columns; sensitive to tails."""
    n, k = samples.shape
    variances = samples.var(axis=0, ddof=1)
    statistic = k * (n - 1) * (np.log(variances.mean()) - np.log(variances).mean())
    correction = 1 + (k + 1) / (3 * k * (n - 1))
    return float(stats.chi2.sf(statistic / correction, k - 1))


def _shapiro_weights(n: int) -> Floats:
    """Weights (n,) of the ordered samples: expected normal scores, their ends corrected."""
    scores = stats.norm.ppf((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    squares = (scores**2).sum()
    u = 1 / sqrt(n)
    last = scores[-1] / sqrt(squares) + polyval(
        u, [0, 0.221157, -0.147981, -2.071190, 4.434685, -2.706056]
    )
    if n <= 5:
        rest = sqrt((squares - 2 * scores[-1] ** 2) / (1 - 2 * last**2))
        weights = scores / rest
        weights[[0, -1]] = -last, last
        return cast(Floats, weights)
    second = scores[-2] / sqrt(squares) + polyval(
        u, [0, 0.042981, -0.293762, -1.752461, 5.682633, -3.582633]
    )
    left = squares - 2 * scores[-1] ** 2 - 2 * scores[-2] ** 2
    weights = scores / sqrt(left / (1 - 2 * last**2 - 2 * second**2))
    weights[[0, 1, -2, -1]] = -last, -second, second, last
    return cast(Floats, weights)
