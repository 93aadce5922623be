"""Penalties on whole channels: everything, over all layers, that goes when a channel goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from secateur.channels.groups import ChannelMap, Member
from secateur.errors import TrainingError
from secateur.train.penalty import Parameters, Penalty, check_positions, known
from secateur.train.penalty_filters import along
from secateur.train.sparsity import sparsity


@dataclass(frozen=True)
class Slices:
    """Where the channels of a group lie along one dimension of one parameter.

    Position `positions[i]` belongs to channel `owners[i]`; None if every position j belongs to
    channel j.
    """

    parameter: str
    dim: int
    positions: tuple[int, ...] | None = None
    owners: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Coupled:
    """A group of channels and all the parameters that hold them."""

    n_channels: int
    slices: tuple[Slices, ...]


@dataclass(frozen=True)
class GroupNorm(Penalty):
    """strength / 2 * sum over channels k of g_k * ||all of channel k||^2, weakest pushed most.

    All of a channel are its filters, the inputs that read it, scales and shifts: every parameter
    in its group. With I_k = ||all of channel k||, g_k = 2^(alpha * (I_max - I_k) /
    (I_max - I_min)) within the group, taken as a constant: from 1 for the strongest channel to
    2^alpha for the weakest; 1 where all are alike.

    Reference: Fang et al. 2023 (2301.12900), DepGraph, eqs. 4 and 5, alpha 4. What two dimensions
    tie to a channel counts for both.
    """

    groups: Mapping[str, Coupled]
    alpha: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha < 64:
            raise TrainingError(f"group_norm alpha is {self.alpha}; it must be in [0, 64)")

    def check(self, parameters: Parameters) -> None:
        """Refuse groups whose parameters the model does not have (TrainingError)."""
        for group in self.groups.values():
            for at in group.slices:
                _check(at, group.n_channels, parameters)

    @torch.no_grad()
    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add strength * g_k * value to the gradient of everything channel k holds."""
        strength = self.strength_at(progress)
        push = {}
        for group, norms in self._norms(parameters).items():
            least, most = norms.aminmax()
            weaker = torch.where(most > least, (most - norms) / (most - least), 0)
            push[group] = strength * torch.exp2(self.alpha * weaker)
        for name, places in self._places.items():
            parameter = parameters[name]
            if parameter.grad is None:
                continue
            first, *more = (place.along(push[place.group], parameter) for place in places)
            parameter.grad.addcmul_(parameter, sum(more, start=first))

    @torch.no_grad()
    def report(self, parameters: Parameters) -> dict[str, float | None]:
        """Sparsity of the channels' norms, each relative to its group's mean."""
        norms = self._norms(parameters).values()
        return sparsity(n / n.mean() if n.any() else n for n in norms)

    def _norms(self, parameters: Parameters) -> dict[str, Tensor]:
        """The l2 norm of everything each channel holds, (n_channels,), by group."""
        squares: dict[str, list[Tensor]] = {name: [] for name in self.groups}
        for name, places in self._places.items():
            of_all = parameters[name].square()
            for place in places:
                squares[place.group].append(place.summed(of_all))
        return {name: torch.stack(own).sum(0).sqrt() for name, own in squares.items()}

    @cached_property
    def _places(self) -> dict[str, list[_Place]]:
        """Every parameter and the groups that have channels in it: each is gone through once."""
        found: dict[str, list[_Place]] = {}
        for name, group in self.groups.items():
            for at in group.slices:
                found.setdefault(at.parameter, []).append(_Place(name, group.n_channels, at))
        return found


def coupled_groups(channels: ChannelMap) -> dict[str, Coupled]:
    """Every prunable group and the parameters, without buffers, that hold its channels."""
    return {
        group.name: Coupled(
            group.n_channels,
            tuple(
                _slices(member, channels.shapes[member.parameter][member.dim])
                for member in group.members
                if member.parameter not in channels.buffers
            ),
        )
        for group in channels.groups
    }


class _Place:
    """The positions along one dimension of a parameter that hold channels of `group`."""

    def __init__(self, group: str, n_channels: int, at: Slices) -> None:
        self.group, self.n_channels, self.dim = group, n_channels, at.dim
        self.index: tuple[Tensor, Tensor] | None = None
        if at.positions is not None and at.owners is not None:
            self.index = torch.tensor(at.positions), torch.tensor(at.owners)

    def summed(self, values: Tensor) -> Tensor:
        """Values of a parameter, added up by channel, (n_channels,)."""
        others = [d for d in range(values.dim()) if d != self.dim]
        sums = values.sum(others) if others else values
        if self.index is None:
            return sums
        positions, owners = (index.to(sums.device) for index in self.index)
        return sums.new_zeros(self.n_channels).index_add_(0, owners, sums[positions])

    def along(self, by_channel: Tensor, parameter: Tensor) -> Tensor:
        """One value a channel, brought to where the channel lies in `parameter`, 0 elsewhere."""
        if self.index is not None:
            positions, owners = (index.to(parameter.device) for index in self.index)
            size = parameter.shape[self.dim]
            by_channel = by_channel.new_zeros(size).index_add_(0, positions, by_channel[owners])
        return along(by_channel, self.dim, parameter.dim())


def _slices(member: Member, size: int) -> Slices:
    positions = tuple(member.index.ravel().tolist())
    n, k = member.index.shape
    if k == 1 and positions == tuple(range(size)):
        return Slices(member.parameter, member.dim)
    owners = tuple(j for j in range(n) for _ in range(k))
    return Slices(member.parameter, member.dim, positions, owners)


def _check(at: Slices, n_channels: int, parameters: Parameters) -> None:
    parameter = known("channel", at.parameter, parameters, range(1, 6))
    if not 0 <= at.dim < parameter.dim():
        raise TrainingError(
            f"penalised channels lie along dimension {at.dim} of {at.parameter!r}, which has "
            f"shape {tuple(parameter.shape)}; coupled_groups(trace(...)) finds where they lie"
        )
    size, advice = parameter.shape[at.dim], "coupled_groups(trace(...))"
    positions, owners = at.positions, at.owners
    if positions is None and owners is None:
        positions = owners = tuple(range(size if size == n_channels else 0))
    if not positions or not owners or len(positions) != len(owners):
        raise TrainingError(
            f"penalised parameter {at.parameter!r} has {size} positions along dimension {at.dim}, "
            f"its group {n_channels} channels; say which belongs to which, as {advice} does"
        )
    check_positions("channel", at.parameter, positions, size, advice)
    check_positions("channel owner", at.parameter, owners, n_channels, advice)
