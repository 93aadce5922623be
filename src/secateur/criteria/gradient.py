"""Criteria that need the gradient of a loss: pure updates, one batch at a time.

The loss of a batch is what `loss_fn` gives, a mean over its examples as a rule, so that "mean over
mini-batches" is meant literally: with batches of one example it is the mean over examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secateur.criteria.base import Criterion, Sums


@dataclass(frozen=True)
class WeightGradients:
    """A layer's filters and the loss's gradient with respect to them, one row a filter, (n, d)."""

    filters: Tensor
    gradients: Tensor

    @cached_property
    def products(self) -> Tensor:
        """Gradient times weight, (n, d), in single precision at least."""
        wide = torch.promote_types(self.filters.dtype, torch.float32)
        return self.gradients.to(wide) * self.filters.to(wide)

    @cached_property
    def total(self) -> Tensor:
        """Sum of the products of a filter, (n,)."""
        return self.products.sum(1, dtype=torch.float64)

    @cached_property
    def energy(self) -> Tensor:
        """Sum of the squared products of a filter, (n,)."""
        norms: Tensor = torch.linalg.vector_norm(self.products, dim=1, dtype=torch.float64)
        return norms.square()


@dataclass(frozen=True)
class GateGradients:
    """Scale and shift of a batch norm and the loss's gradients with respect to them, each (n,)."""

    scale: Tensor
    shift: Tensor
    scale_gradient: Tensor
    shift_gradient: Tensor


def one_more(sums: Sums | None, values: Tensor) -> dict[str, Tensor]:
    """Add a batch's values, (n,), and count the batch.

    >>> one_more(None, torch.tensor([1.0, 2.0]))
    {'total': tensor([1., 2.], dtype=torch.float64), 'batches': tensor(1)}
    """
    values = values.detach().to("cpu", torch.float64)
    if sums is None:
        return {"total": values, "batches": torch.tensor(1)}
    return {"total": sums["total"] + values, "batches": sums["batches"] + 1}


def mean_over_batches(sums: Sums) -> Tensor:
    """The mean over mini-batches, -> (n,).

    >>> mean_over_batches({"total": torch.tensor([3.0, 6.0]), "batches": torch.tensor(3)})
    tensor([1., 2.])
    """
    return sums["total"] / sums["batches"]


def taylor_l1_update(sums: Sums | None, batch: WeightGradients) -> Sums:
    """Sum of |gradient * weight|."""
    absolute = torch.linalg.vector_norm(batch.products, ord=1, dim=1, dtype=torch.float64)
    return one_more(sums, absolute)


def taylor_l2_update(sums: Sums | None, batch: WeightGradients) -> Sums:
    """Euclidean norm of gradient * weight."""
    return one_more(sums, batch.energy.sqrt())


def taylor_fo_update(sums: Sums | None, batch: WeightGradients) -> Sums:
    """Square of the sum of gradient * weight."""
    return one_more(sums, batch.total.square())


def snip_update(sums: Sums | None, batch: WeightGradients) -> Sums:
    """Sum of gradient * weight, with its sign."""
    return one_more(sums, batch.total)


def fisher_update(sums: Sums | None, batch: WeightGradients) -> Sums:
    """Sum of squared gradient * squared weight."""
    return one_more(sums, batch.energy)


def taylor_gate_update(sums: Sums | None, batch: GateGradients) -> Sums:
    """Square of scale * its gradient + shift * its gradient."""
    first = batch.scale.double() * batch.scale_gradient.double()
    second = batch.shift.double() * batch.shift_gradient.double()
    return one_more(sums, (first + second).square())


def absolute_mean(sums: Sums) -> Tensor:
    """Absolute value of the mean over mini-batches, -> (n,)."""
    return mean_over_batches(sums).abs()


taylor_l1 = Criterion(
    "taylor_l1",
    "gradients",
    mean_over_batches,
    "Molchanov et al. 2017, arXiv 1611.06440, as in Huang et al. 2021",
    taylor_l1_update,
)
taylor_l2 = Criterion(
    "taylor_l2",
    "gradients",
    mean_over_batches,
    "Molchanov et al. 2017, arXiv 1611.06440, as in Huang et al. 2021",
    taylor_l2_update,
)
taylor_fo = Criterion(
    "taylor_fo",
    "gradients",
    mean_over_batches,
    "Molchanov et al. 2019, arXiv 1906.10771",
    taylor_fo_update,
)
taylor_gate = Criterion(
    "taylor_gate",
    "gate_gradients",
    mean_over_batches,
    "Molchanov et al. 2019, arXiv 1906.10771, at the batch norm",
    taylor_gate_update,
)
snip = Criterion(
    "snip",
    "gradients",
    absolute_mean,
    "Lee et al. 2019, arXiv 1810.02340, on filters",
    snip_update,
    shares=True,
)
fisher = Criterion(
    "fisher",
    "gradients",
    mean_over_batches,
    "LeCun et al. 1990, Optimal Brain Damage, with the empirical Fisher's diagonal",
    fisher_update,
)
