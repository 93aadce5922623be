"""Criteria that need weights only. Every formula takes one row a filter, (n, d) -> (n,)."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.criteria.base import Criterion


def l1_norm(filters: Tensor) -> Tensor:
    """Sum of absolute weights, (n, d) -> (n,).

    Reference: Li et al., Pruning Filters for Efficient ConvNets, 2017.

    >>> l1_norm(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
    tensor([3., 3.])
    """
    return filters.abs().sum(1)


def l2_norm(filters: Tensor) -> Tensor:
    """Euclidean norm, (n, d) -> (n,).

    Reference: He et al., Soft Filter Pruning, 2018.

    >>> l2_norm(torch.tensor([[3.0, 4.0]]))
    tensor([5.])
    """
    norms: Tensor = torch.linalg.vector_norm(filters, dim=1)
    return norms


def summed_distance(filters: Tensor, block: int = 1024) -> Tensor:
    """Sum of Euclidean distances to all filters of the layer, (n, d) -> (n,).

    Distances are taken without the matrix-product shortcut, whose self-distances are not zero,
    and in blocks of rows, so that memory stays bounded.

    Reference: He et al., Filter Pruning via Geometric Median, 2019, equation 4.

    >>> summed_distance(torch.tensor([[0.0], [1.0], [3.0]]))
    tensor([4., 3., 5.])
    """
    exact = "donot_use_mm_for_euclid_dist"
    rows = [
        torch.cdist(filters[start : start + block], filters, compute_mode=exact).sum(1)
        for start in range(0, len(filters), block)
    ]
    return torch.cat(rows) if rows else filters.new_zeros(0)


def uniform_draw(n_filters: int, generator: torch.Generator) -> Tensor:
    """One uniform number a filter: the control that every comparison needs, -> (n,)."""
    return torch.rand(n_filters, generator=generator, dtype=torch.float64)


l1 = Criterion("l1", "filters", l1_norm, "Li et al. 2017, arXiv 1608.08710")
l2 = Criterion("l2", "filters", l2_norm, "He et al. 2018, arXiv 1808.06866")
gm = Criterion("gm", "filters", summed_distance, "He et al. 2019, arXiv 1811.00250, eq. 4")
bn_scale = Criterion("bn_scale", "bn_scale", torch.abs, "Liu et al. 2017, arXiv 1708.06519")
random = Criterion("random", "nothing", uniform_draw, "the control")

CRITERIA = {criterion.name: criterion for criterion in (l1, l2, gm, bn_scale, random)}
