"""Zero the removed channels instead of removing them: what a cut must equal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap, Member
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild


def mask(
    model: nn.Module, plan: PruningPlan, channels: ChannelMap, *, readers: bool = False
) -> nn.Module:
    """A copy of the network in which the removed channels' slices of every parameter are zero.

    Buffers (running statistics) are left as they are, and so are the directions of a weight norm
    whose magnitudes are zeroed: a direction of zeros is divided by its norm. With `readers` only
    weights that read a removed channel are zeroed.

    Raises:
        PlanError: the plan was made for another network.
    """
    plan.check(channels)
    tensors: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for name, gone in plan.remove.items():
        for member in channels.by_name[name].members:
            if member.parameter not in parameters or _is_direction(member, channels.by_name[name]):
                continue
            if readers and member.role != "in":
                continue
            known = tensors.get(member.parameter)
            tensor = parameters[member.parameter].detach().clone() if known is None else known
            positions = member.index[np.asarray(gone, dtype=np.int64)].ravel()
            tensor.index_fill_(member.dim, torch.from_numpy(positions).to(tensor.device), 0)
            tensors[member.parameter] = tensor
    return rebuild(model, tensors)


def _is_direction(member: Member, group: ChannelGroup) -> bool:
    """Whether torch's weight norm scales these filters by a magnitude of the same group."""
    owner, _, leaf = member.parameter.rpartition(".")
    magnitude = (f"{owner}.original0", member.dim)
    siblings = {(other.parameter, other.dim) for other in group.members if other.role == "norm"}
    return leaf == "original1" and magnitude in siblings
