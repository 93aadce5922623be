"""Criteria that need one filter at a time. Formulas take one row a filter, (n, d) -> (n,)."""

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
    norms: Tensor = torch.linalg.vector_norm(filters, ord=1, dim=1)
    return norms


def l2_norm(filters: Tensor) -> Tensor:
    """Euclidean norm, (n, d) -> (n,).

    Reference: He et al., Soft Filter Pruning, 2018.

    >>> l2_norm(torch.tensor([[3.0, 4.0]]))
    tensor([5.])
    """
    norms: Tensor = torch.linalg.vector_norm(filters, dim=1)
    return norms


def lamp_score(filters: Tensor) -> Tensor:
    """Squared norm over the sum of all squared norms that are no smaller, (n, d) -> (n,).

    Filters of equal norm count in each other's sum, so that their order does not matter. A layer
    of zeros scores 0.

    Reference: Lee et al., Layer-Adaptive Sparsity for the Magnitude-based Pruning, 2021; here on
    filters instead of single weights.

    >>> lamp_score(torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    tensor([1.0000, 0.2500, 0.2500])
    """
    norms = l2_norm(filters)
    if not norms.any():
        return norms
    energy = (norms / norms.amax()).square()
    ascending = energy.sort().values
    no_smaller = ascending.flip(0).cumsum(0).flip(0)
    total = no_smaller[torch.searchsorted(ascending, energy)]
    return energy / total


def uniform_draw(n_filters: int, generator: torch.Generator) -> Tensor:
    """One uniform number a filter: the control that every comparison needs, -> (n,)."""
    return torch.rand(n_filters, generator=generator, dtype=torch.float64)


l1 = Criterion("l1", "filters", l1_norm, "Li et al. 2017, arXiv 1608.08710", by_row=True)
l2 = Criterion("l2", "filters", l2_norm, "He et al. 2018, arXiv 1808.06866", by_row=True)
lamp = Criterion("lamp", "filters", lamp_score, "Lee et al. 2021, arXiv 2010.07611")
bn_scale = Criterion("bn_scale", "bn_scale", torch.abs, "Liu et al. 2017, arXiv 1708.06519")
bn_shift = Criterion("bn_shift", "bn_shift", torch.abs, "after Huang et al. 2021, arXiv 2004.11627")
random = Criterion("random", "nothing", uniform_draw, "the control")
