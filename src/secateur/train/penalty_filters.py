"""Penalties on whole filters: the weights that make one channel, taken together by their l2 norm.

Every step costs a few calls a layer, however many filters it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.errors import TrainingError
from secateur.train.penalty import Parameters, Penalty, check_positions, known, mean_of
from secateur.train.sparsity import sparsity


@dataclass(frozen=True)
class Filters:
    """Filters of one weight: positions along its dimension `dim`, None for all of them."""

    dim: int = 0
    positions: tuple[int, ...] | None = None


Chosen = Mapping[str, Filters]
"""Names of weights and the filters that count."""


@dataclass(frozen=True)
class _FilterPenalty(Penalty):
    """What the penalties on filters share: which filters, and how sparse they are."""

    filters: Chosen

    def check(self, parameters: Parameters) -> None:
        """Refuse filters the model does not have (TrainingError)."""
        _check(self.filters, parameters)

    @torch.no_grad()
    def report(self, parameters: Parameters) -> dict[str, float | None]:
        """Sparsity of the penalised filters' norms, each relative to its layer's mean."""
        return _report(self._places, parameters)

    @cached_property
    def _places(self) -> dict[str, tuple[int, Tensor | None]]:
        return _places(self.filters)


@dataclass(frozen=True)
class GroupLasso(_FilterPenalty):
    """strength * sum of the l2 norms of filters, by adding its gradient.

    Filters end near zero, not at it: they step across it by lr * strength.

    Reference: Wen et al. 2016 (1608.03665), structured sparsity learning, filter-wise.
    """

    @torch.no_grad()
    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add strength * filter / norm to the gradient of every penalised filter, 0 at norm 0."""
        strength = self.strength_at(progress)
        for name, (dim, counts) in self._places.items():
            norms = filter_norms(parameters[name], dim)
            add_by_filter(parameters[name], dim, _if(counts, _over(strength, norms)))

    def distance(self, parameters: Parameters) -> float:
        """The mean norm of the penalised filters."""
        return mean_of(_norms(self._places, parameters))


@dataclass(frozen=True)
class GroupLassoProximal(_FilterPenalty):
    """Shorten every penalised filter by lr * strength after the step, to zero at most: exact zeros.

    Reference: the proximal step of the same penalty, Yuan & Lin 2006; Beck & Teboulle 2009.
    """

    proximal: ClassVar[bool] = True

    @torch.no_grad()
    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:
        """Multiply every penalised filter by max(0, 1 - lr * strength / norm)."""
        threshold = lr * self.strength_at(progress)
        for name, (dim, counts) in self._places.items():
            weight = parameters[name]
            less = _if(counts, _over(threshold, filter_norms(weight, dim)))
            if weight.requires_grad:
                weight.mul_(along((1 - less).clamp_min(0), dim, weight.dim()))

    def distance(self, parameters: Parameters) -> float:
        """The mean norm of the penalised filters."""
        return mean_of(_norms(self._places, parameters))


@dataclass(frozen=True)
class DeepHoyer(_FilterPenalty):
    """strength * sum over layers of (sum of filter norms)^2 / sum of squared filter norms.

    This is the Hoyer-square measure: between 1, one filter alone, and the number of filters, all
    alike. It does not see the size of weights, so small filters shrink and large ones do not.

    Reference: Yang et al. 2020 (1908.09979) eq. 5.
    """

    @torch.no_grad()
    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add strength * 2 (S / Q) (1 / norm - S / Q) * filter; S, Q sum norms, their squares."""
        strength = self.strength_at(progress)
        for name, (dim, counts) in self._places.items():
            norms = filter_norms(parameters[name], dim)
            counted = _if(counts, norms)
            ratio = _over(counted.sum(), counted.square().sum())
            push = 2 * strength * ratio * (_over(1.0, norms) - ratio)
            add_by_filter(parameters[name], dim, _if(counts, push))

    def distance(self, parameters: Parameters) -> float:
        """Half the mean square of the penalised filters' norms: its push is 2 / norm or less."""
        return mean_of(n.square() for n in _norms(self._places, parameters)) / 2


@dataclass(frozen=True)
class GrowingL2(_FilterPenalty):
    """strength / 2 * sum of the squared l2 norms of chosen filters; the strength grows from 0.

    Which filters is chosen once, before training: `lowest_filters`. The ramp is the growth.

    Reference: Wang et al. 2021 (2012.09243), GReg-1, with its stairs of growth made a line.
    """

    @torch.no_grad()
    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add strength * filter to the gradient of every chosen filter."""
        strength = self.strength_at(progress)
        for name, (dim, counts) in self._places.items():
            weight = parameters[name]
            push = weight.new_full((weight.shape[dim],), strength)
            add_by_filter(weight, dim, _if(counts, push))

    @torch.no_grad()
    def report(self, parameters: Parameters) -> dict[str, float | None]:
        """Sparsity of all filters' norms in the layers concerned, relative to the layer's mean."""
        return _report({name: (f.dim, None) for name, f in self.filters.items()}, parameters)


def prunable_filters(channels: ChannelMap) -> dict[str, Filters]:
    """Names of weights and the filters in them that belong to a prunable group.

    These are the `out` members of more than one dimension: convolutions, and linear layers whose
    outputs can go. Weights kept in buffers are left out; a weight used in two ways counts by its
    first.
    """
    found: dict[str, tuple[int, set[int]]] = {}
    for group in channels.groups:
        for member in group.members:
            shape = channels.shapes[member.parameter]
            if member.role == "out" and len(shape) > 1 and member.parameter not in channels.buffers:
                dim, positions = found.setdefault(member.parameter, (member.dim, set()))
                if dim == member.dim:
                    positions.update(member.index.ravel().tolist())
    return {
        name: Filters(
            dim,
            None if len(positions) == channels.shapes[name][dim] else tuple(sorted(positions)),
        )
        for name, (dim, positions) in found.items()
    }


def lowest_filters(channels: ChannelMap, share: float = 0.5) -> dict[str, Filters]:
    """The filters of the lowest `share` of every group's channels, to the nearest channel.

    A channel ranks by the l1 norm of all filters that make it; ties go by index. One channel of
    every group is left out.

    Raises:
        TrainingError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise TrainingError(f"share of filters to let go is {share}; it must be in [0, 1)")
    parameters = dict(channels.network.named_parameters())
    prunable = prunable_filters(channels)
    found: dict[str, set[int]] = {}
    for group in channels.groups:
        made_by = [
            member
            for member in group.members
            if member.role == "out"
            and member.parameter in prunable
            and member.dim == prunable[member.parameter].dim
        ]
        norms = np.zeros(group.n_channels)
        for member in made_by:
            rows = parameters[member.parameter].detach().movedim(member.dim, 0).flatten(1)
            own = rows.abs().sum(1).double().cpu().numpy()
            norms += own[member.index].sum(1)
        n = min(int(share * group.n_channels + 0.5), group.n_channels - 1)
        lowest = np.argsort(norms, kind="stable")[:n]
        for member in made_by:
            found.setdefault(member.parameter, set()).update(member.index[lowest].ravel().tolist())
    return {
        name: replace(prunable[name], positions=tuple(sorted(positions)))
        for name, positions in found.items()
        if positions
    }


def filter_norms(weight: Tensor, dim: int) -> Tensor:
    """The l2 norm of every slice along `dim`: (out, in, kh, kw) -> (out,)."""
    if dim == 0:  # elsewhere vector_norm is slow, six times at 64 x 64 x 3 x 3
        norms: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())))
        return norms
    others = [d for d in range(weight.dim()) if d != dim]
    return (weight * weight).sum(others).sqrt()


def add_by_filter(parameter: nn.Parameter, dim: int, factors: Tensor) -> None:
    """Add factors[j] * slice j along `dim` to the gradient of every slice, if there is one."""
    if parameter.grad is not None:
        parameter.grad.addcmul_(parameter, along(factors, dim, parameter.dim()))


def along(values: Tensor, dim: int, n_dims: int) -> Tensor:
    """`values` of shape (n,) as (1, …, n, …, 1), with n at `dim`."""
    return values.view([-1 if d == dim else 1 for d in range(n_dims)])


def _check(filters: Chosen, parameters: Parameters) -> None:
    advice = "prunable_filters(trace(...))"
    for name, chosen in filters.items():
        weight = known("filter", name, parameters, range(2, 6))
        if not 0 <= chosen.dim < weight.dim():
            raise TrainingError(
                f"penalised filters of {name!r} lie along dimension {chosen.dim}; the weight has "
                f"shape {tuple(weight.shape)}, dimensions 0 to {weight.dim() - 1}. {advice} finds "
                "filters that can be pruned"
            )
        check_positions("filter", name, chosen.positions, weight.shape[chosen.dim], advice)


def _places(filters: Chosen) -> dict[str, tuple[int, Tensor | None]]:
    """Dimension and, where not all filters count, the positions that do."""
    return {
        name: (f.dim, None if f.positions is None else torch.tensor(f.positions, dtype=torch.int64))
        for name, f in filters.items()
    }


def _if(counts: Tensor | None, values: Tensor) -> Tensor:
    """`values` of shape (n,), zero where a filter does not count."""
    if counts is None:
        return values
    kept = torch.zeros_like(values)
    kept[counts] = values[counts]
    return kept


def _over(a: Tensor | float, b: Tensor) -> Tensor:
    """A / b, zero where b is zero."""
    return torch.where(b > 0, a / b, 0)


def _report(
    places: Mapping[str, tuple[int, Tensor | None]], parameters: Parameters
) -> dict[str, float | None]:
    return sparsity(_over(norms, norms.mean()) for norms in _norms(places, parameters))


@torch.no_grad()
def _norms(places: Mapping[str, tuple[int, Tensor | None]], parameters: Parameters) -> list[Tensor]:
    """Norms of the filters that count, layer by layer."""
    found = {name: filter_norms(parameters[name], dim) for name, (dim, _) in places.items()}
    return [
        norms if counts is None else norms[counts]
        for norms, (_, counts) in zip(found.values(), places.values(), strict=True)
    ]
