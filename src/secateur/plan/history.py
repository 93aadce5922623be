"""What one cut or many did to every group of the network there was first. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.channels.cost import cost, kept_positions, weight_macs
from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.plan.plan import PruningPlan

Cuts = Sequence[tuple[ChannelMap, PruningPlan]]
"""The channel map before each cut with the plan that was cut, the first cut first."""

NO_GROUP = "in no group"
"""Names the MACs of outputs, of what is pinned, and of products of two feature maps."""


@dataclass(frozen=True)
class GroupChange:
    """Width of a group and MACs of the layers whose filters it is, before all cuts and after."""

    name: str
    width_before: int
    width_after: int
    macs_before: int
    macs_after: int

    @property
    def was_cut(self) -> bool:
        """Whether it lost channels."""
        return self.width_after < self.width_before


def changes(cuts: Cuts) -> list[GroupChange]:
    """A row for every group of the first network, in its order, and one for what is in no group.

    A group is followed through later cuts by where its channels lie in the parameters, whatever
    groups there are later. A layer's MACs belong to the group of its filters, by their number
    where there are several; so the rows add up to the cost of the network.
    """
    (first, _), (last, plan) = cuts[0], cuts[-1]
    left = _left(cuts)
    before, after = weight_macs(first), weight_macs(last, plan.remove)
    rows = [_change(first, group, left, before, after) for group in first.groups]
    rest_before = cost(first).macs - sum(row.macs_before for row in rows)
    rest_after = plan.after.macs - sum(row.macs_after for row in rows)
    if rest_before > 0:
        rows.append(GroupChange(NO_GROUP, 0, 0, rest_before, max(0, rest_after)))
    return rows


def _left(cuts: Cuts) -> Mapping[tuple[str, int], NDArray[np.int64]]:
    """For every (parameter, dim) that was cut: the positions of the first network that are left."""
    left: dict[tuple[str, int], NDArray[np.int64]] = {}
    for channels, plan in cuts:
        for place, kept in kept_positions(channels, plan.remove).items():
            left[place] = left[place][kept] if place in left else kept
    return left


def _change(
    first: ChannelMap,
    group: ChannelGroup,
    left: Mapping[tuple[str, int], NDArray[np.int64]],
    before: Mapping[str, int],
    after: Mapping[str, int],
) -> GroupChange:
    width, macs = group.n_channels, [0.0, 0.0]
    for k, member in enumerate(group.members):
        size = first.shapes[member.parameter][member.dim]
        stays = left.get((member.parameter, member.dim), np.arange(size))
        kept = np.isin(member.index, stays)
        if k == 0:
            width = int(kept.all(axis=1).sum())
        layer = first.by_weight.get(member.parameter)
        if layer is not None and layer.out_dim == member.dim:
            macs[0] += before.get(member.parameter, 0) * member.index.size / size
            macs[1] += after.get(member.parameter, 0) * int(kept.sum()) / max(1, len(stays))
    return GroupChange(group.name, group.n_channels, width, round(macs[0]), round(macs[1]))
