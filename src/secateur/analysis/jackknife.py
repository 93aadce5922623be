"""Standard errors of sparsity indices: each taken again without every weight in turn.

All take weights of shape (n,), and cost no more than the index itself.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from secateur.analysis.tables import Floats


def standard_error(without_each: Floats) -> float | None:
    """Jackknife standard error from n values of an index, each without one of n weights.

    None where one of them is not defined.

    >>> standard_error(np.array([1.0, 2.0, 3.0]))
    1.1547005383792515
    """
    n = len(without_each)
    if n < 2 or not np.isfinite(without_each).all():
        return None
    return float(sqrt((n - 1) / n * ((without_each - without_each.mean()) ** 2).sum()))


def skewness_without_each(weights: Floats) -> Floats:
    """Adjusted skewness G1 of the other n - 1 weights, for every weight; NaN below 4 weights."""
    n = len(weights) - 1
    if n < 3:
        return np.full(len(weights), np.nan)
    x = weights - weights.mean()
    first, second, third = ((np.sum(x**k) - x**k) / n for k in (1, 2, 3))
    variance = second - first**2
    flat = variance <= 1e-14 * (x**2).max()
    third = third - 3 * first * second + 2 * first**3
    g1 = third / np.where(flat, 1.0, variance) ** 1.5
    return np.where(flat, np.nan, g1 * sqrt(n * (n - 1)) / (n - 2))


def gini_without_each(weights: Floats) -> Floats:
    """Gini index of the other n - 1 weights, for every weight in ascending order."""
    x = np.sort(weights)
    n = len(x)
    place = n - np.arange(1, n + 1) + 0.5
    before = np.cumsum(x) - x
    left = x.sum() - x
    weighted = x @ place - x * place - before
    return np.where(left > 0, 1 - 2 * weighted / ((n - 1) * np.where(left > 0, left, 1.0)), np.nan)


def hoyer_without_each(weights: Floats) -> Floats:
    """Hoyer index of the other n - 1 weights, for every weight; NaN below 3 weights."""
    if len(weights) < 3:
        return np.full(len(weights), np.nan)
    root = sqrt(len(weights) - 1)
    l1, squares = weights.sum() - weights, weights @ weights - weights**2
    alive = (l1 > 0) & (squares > 0)
    ratio = l1 / np.sqrt(np.where(alive, squares, 1.0))
    return np.where(alive, (root - ratio) / (root - 1), np.nan)


def pq_index_without_each(weights: Floats, p: float = 0.5, q: float = 1.0) -> Floats:
    """PQ-index of the other n - 1 weights, for every weight."""
    n = len(weights) - 1
    sums = [np.maximum(np.sum(weights**k) - weights**k, 0.0) for k in (p, q)]
    alive = sums[1] > 0
    norm_q = np.where(alive, sums[1], 1.0) ** (1 / q)
    return np.where(alive, 1 - n ** (1 / q - 1 / p) * sums[0] ** (1 / p) / norm_q, np.nan)
