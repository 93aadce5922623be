"""Criteria that hold a layer's filters against each other. Formulas take `Pairs` -> (n,)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secateur.criteria.base import Criterion

CLOSE = 1e-4
"""Squared distances below this share of the squared norms are taken again, from the filters."""
TOLERANCE = 1e-12
"""Weiszfeld's iteration ends when the filters' shares in the median move less, all together."""
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Pairs:
    """All pairs of one layer's filters, (n, d), float64.

    Inner products are computed once and shared by all criteria, n * n numbers of 8 bytes; above
    `whole` filters they are computed anew for `rows` filters at a time, so that memory is bounded.
    """

    filters: Tensor
    whole: int = 4096
    rows: int = 1024

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms, (n,)."""
        norms: Tensor = torch.linalg.vector_norm(self.filters, dim=1)
        return norms.square_()

    @cached_property
    def _products(self) -> Tensor:
        return self.filters @ self.filters.T

    def _rows(self, start: int, end: int) -> Tensor:
        if len(self.filters) <= self.whole:
            return self._products[start:end]
        return self.filters[start:end] @ self.filters.T

    def products(self) -> Iterator[tuple[int, Tensor]]:
        """Inner products in blocks of rows: the first row's number, (rows, n)."""
        for start in range(0, len(self.filters), self.rows):
            yield start, self._rows(start, start + self.rows)

    def distances(self) -> Iterator[Tensor]:
        """Euclidean distances in blocks of rows, (rows, n)."""
        for start, products in self.products():
            yield self._distances(start, products)

    def distances_from(self, j: int) -> Tensor:
        """Euclidean distances to one filter, (n,)."""
        return self._distances(j, self._rows(j, j + 1))[0]

    def _distances(self, start: int, products: Tensor) -> Tensor:
        """From inner products, which is fast and loses the digits of small distances.

        Those are taken again from the filters, and a filter's distance to itself is 0.
        """
        own = self.squares[start : start + len(products), None]
        squared = (own + self.squares).add_(products, alpha=-2)
        itself = squared.diagonal(start)
        itself.fill_(torch.inf)
        if not squared.numel() or squared.amin() >= 2 * CLOSE * self.squares.amax():
            itself.zero_()
            return squared.sqrt_()
        close = (squared < CLOSE * (own + self.squares)).nonzero()
        itself.zero_()
        distances = squared.clamp_min_(0).sqrt_()
        for pairs in torch.split(close, max(1, 2**24 // max(1, self.filters.shape[1]))):
            one, other = pairs.T
            gap = self.filters[one + start] - self.filters[other]
            distances[one, other] = torch.linalg.vector_norm(gap, dim=1)
        return distances

    @cached_property
    def summed(self) -> Tensor:
        """Sum of distances to all filters, (n,)."""
        parts = [rows.sum(1) for rows in self.distances()]
        return torch.cat(parts) if parts else self.filters.new_zeros(0)


def summed_distance(pairs: Pairs) -> Tensor:
    """Sum of Euclidean distances to all filters of the layer, -> (n,).

    Reference: He et al., Filter Pruning via Geometric Median, 2019, equation 4.

    >>> summed_distance(Pairs(torch.tensor([[0.0], [1.0], [3.0]])))
    tensor([4., 3., 5.])
    """
    return pairs.summed


def distance_to_median(pairs: Pairs) -> Tensor:
    """Distance to the geometric median of the layer's filters, -> (n,).

    Reference: He et al., Filter Pruning via Geometric Median, 2019, equations 2 and 3; Weiszfeld's
    iteration as mended by Vardi and Zhang, 2000.

    >>> distance_to_median(Pairs(torch.tensor([[0.0], [1.0], [3.0]])))
    tensor([1., 0., 2.])
    """
    shares = median_shares(pairs)
    gaps = _gaps(pairs, shares)
    if not len(gaps) or gaps.amin().square() >= CLOSE * pairs.squares.amax():
        return gaps
    exact: Tensor = torch.linalg.vector_norm(pairs.filters - shares @ pairs.filters, dim=1)
    return exact


def median_shares(pairs: Pairs) -> Tensor:
    """The geometric median as a weighted mean of the filters: shares that add up to 1, (n,).

    If any filter is the median, it is the one with the smallest sum of distances: that is tried
    first. Otherwise the iteration starts lower than every filter and only falls, so that it never
    lands on one. It ends at `TOLERANCE` or after `MOST_ITERATIONS`.
    """
    filters, n = pairs.filters, len(pairs.filters)
    if n == 0:
        return filters.new_zeros(0)
    best = int(pairs.summed.argmin())
    gaps = pairs.distances_from(best)
    apart = gaps > 0
    alone = torch.nn.functional.one_hot(torch.tensor(best), n).to(filters.dtype)
    if not apart.any():
        return alone
    pull = torch.where(apart, 1 / gaps, 0)
    towards = pull / pull.sum()
    force = torch.linalg.vector_norm(towards @ filters - filters[best]) * pull.sum()
    if force <= n - apart.sum():
        return alone
    shares = torch.full_like(gaps, 1 / n)
    if _gaps(pairs, shares).sum() >= pairs.summed[best]:
        kept = (n - apart.sum()) / force
        shares = (1 - kept) * towards + kept * alone
    for _ in range(MOST_ITERATIONS):
        pull = 1 / _gaps(pairs, shares)
        before, shares = shares, pull / pull.sum()
        if (shares - before).abs().sum() <= TOLERANCE:
            break
    return shares


def _gaps(pairs: Pairs, shares: Tensor) -> Tensor:
    """Distances to a weighted mean, (n,), never 0: from inner products where that is cheaper."""
    filters = pairs.filters
    n, d = filters.shape
    if n > pairs.whole or n > d:
        gaps: Tensor = torch.linalg.vector_norm(filters - shares @ filters, dim=1)
        return gaps.clamp_min(torch.finfo(filters.dtype).tiny)
    products = pairs._products @ shares
    squared = pairs.squares - 2 * products + shares @ products
    return squared.clamp_min(torch.finfo(filters.dtype).eps ** 2 * squared.amax()).sqrt()


def distance_to_nearest_twin(pairs: Pairs) -> Tensor:
    """One minus the largest cosine with another filter of the layer, -> (n,), in [0, 2].

    A filter of zeros is a multiple of every other and scores 0; a filter without others scores 1.

    >>> distance_to_nearest_twin(Pairs(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])))
    tensor([0., 0., 1.])
    """
    norms = pairs.squares.sqrt()
    if len(norms) < 2:
        return (norms > 0).to(norms.dtype)
    zeros = norms == 0
    unit = torch.where(zeros, 0, 1 / norms)
    nearest = []
    for start, products in pairs.products():
        cosines = products * unit
        cosines.diagonal(start).fill_(-torch.inf)
        if zeros.any():
            cosines[:, zeros] = -torch.inf
        nearest.append(cosines.amax(1) * unit[start : start + len(products)])
    largest = torch.cat(nearest).clamp(-1, 1)
    return torch.where(zeros, 0, 1 - largest)


gm = Criterion("gm", "pairs", summed_distance, "He et al. 2019, arXiv 1811.00250, eq. 4")
fermat = Criterion("fermat", "pairs", distance_to_median, "He et al. 2019, arXiv 1811.00250, eq. 2")
cosine = Criterion("cosine", "pairs", distance_to_nearest_twin, "a baseline of the relation type")
