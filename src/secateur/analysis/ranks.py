"""Rank correlations of many criteria at once: Spearman, Kendall, and Spearman's under resampling.

All take one array of scores (n_criteria, n_filters) and give (n_criteria, n_criteria), NaN where a
criterion is constant.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import stats

from secateur.analysis.tables import Floats

_BLOCK = 400_000
"""Numbers held at once where work goes block by block; few, so that they stay in the cache."""

_PAIRWISE_UPTO = 4096
"""Filters up to which all pairs are compared; beyond, Kendall's tau by sorting is faster."""


def spearman(table: Floats) -> Floats:
    """Spearman's rho with average ranks.

    >>> spearman(np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 2.0]]))[0, 1].item()
    0.5
    """
    return correlation(stats.rankdata(table, axis=1))


def correlation(table: Floats) -> Floats:
    """Pearson's r of rows."""
    if not table.shape[1]:
        return np.full((len(table), len(table)), np.nan)
    centred = table - table.mean(axis=1, keepdims=True)
    return _scaled(centred @ centred.T)


def kendall(table: Floats) -> Floats:
    """Kendall's tau-b: concordant less discordant pairs, over the pairs that are not tied.

    >>> round(kendall(np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 2.0]]))[0, 1].item(), 4)
    0.3333
    """
    n_criteria, n = table.shape
    if n > _PAIRWISE_UPTO:
        return _kendall_by_sorting(table)
    products = np.zeros((n_criteria, n_criteria))
    step = max(1, _BLOCK // max(1, n_criteria * n))
    for start in range(0, n, step):
        block = table[:, start : start + step]
        signs = np.sign(block[:, :, None] - table[:, None, :]).astype(np.float32)
        flat = signs.reshape(n_criteria, -1)
        products += (flat @ flat.T).astype(np.float64)
    return _scaled(products)


def resampled_spearman(table: Floats, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Spearman's rho in bootstrap samples of the filters, in blocks (some, n_criteria, n_criteria).

    A resample is held as how often every filter was drawn; ranks follow by cumulated counts, so
    that a criterion is sorted once and not once a resample.
    """
    n_criteria, n = table.shape
    orders = [_order(row) for row in table]
    step = max(1, _BLOCK // max(1, n_criteria * n))
    for start in range(0, resamples, step):
        some = min(step, resamples - start)
        counts = _draw_counts(some, n, rng)
        ranks = np.empty((some, n_criteria, n))
        for k, (order, sizes) in enumerate(orders):
            ranks[:, k, order] = _ranks_of_counts(counts[:, order], sizes)
        ranks -= (n + 1) / 2
        ranks *= np.sqrt(counts)[:, None, :]
        yield _scaled(ranks @ ranks.transpose(0, 2, 1))


def _order(row: Floats) -> tuple[np.ndarray, np.ndarray]:
    """The order of scores, and how many filters share each score, ascending."""
    order = np.argsort(row, kind="stable")
    return order, np.unique(row, return_counts=True)[1]


def _draw_counts(some: int, n: int, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.integers(n, size=(some, n)) + n * np.arange(some)[:, None]
    return np.bincount(drawn.ravel(), minlength=some * n).reshape(some, n)


def _ranks_of_counts(counts: np.ndarray, sizes: np.ndarray) -> Floats:
    """Average ranks of sorted scores drawn `counts` times each, (some, n), ties of `sizes`."""
    tied = len(sizes) < counts.shape[1]
    if tied:
        counts = np.add.reduceat(counts, np.cumsum(sizes) - sizes, axis=1)
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return np.repeat(ranks, sizes, axis=1) if tied else ranks


def _scaled(products: Floats) -> Floats:
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    norms = np.sqrt(squares[..., :, None] * squares[..., None, :])
    flat = norms <= 0
    found = np.clip(products / np.where(flat, 1.0, norms), -1.0, 1.0)
    return np.where(flat, np.nan, found)


def _kendall_by_sorting(table: Floats) -> Floats:
    found = np.ones((len(table), len(table)))
    for i, first in enumerate(table):
        if (first == first[0]).all():
            found[i, i] = np.nan
        for j in range(i):
            found[i, j] = found[j, i] = stats.kendalltau(first, table[j]).statistic
    return found
