"""The same network with its channels in another order, everywhere at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.walk import laid_out, tensors_of
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild

Order = Mapping[str, Sequence[int]]
"""Group -> for every channel which one comes to stand there."""


def permuted(model: nn.Module, channels: ChannelMap, order: Order) -> nn.Module:
    """A copy of a network in which channel `order[group][j]` stands at place j of every group.

    If labels are right, and operators across channels take these in any order, it computes what the
    network computes.
    """
    places: dict[tuple[str, int], np.ndarray] = {}
    for name, own in order.items():
        for member in channels.by_name[name].members:
            size = channels.shapes[member.parameter][member.dim]
            at = places.setdefault((member.parameter, member.dim), np.arange(size))
            at[member.index] = member.index[list(own)]
    named = tensors_of(model)
    tensors: dict[str, Tensor] = {}
    for (name, dim), at in places.items():
        old = tensors.get(name, named[name].detach())
        moved = old.index_select(dim, torch.from_numpy(at).to(old.device))
        layout = laid_out(old)
        tensors[name] = moved if layout is None else moved.contiguous(memory_format=layout)
    return rebuild(model, tensors)


def permuted_plan(plan: PruningPlan, order: Order) -> PruningPlan:
    """The plan that takes the same channels of the permuted network."""
    remove = dict(plan.remove)
    for name, own in order.items():
        gone = set(remove.get(name, ()))
        remove[name] = tuple(j for j, channel in enumerate(own) if channel in gone)
    return replace(plan, remove=remove)
