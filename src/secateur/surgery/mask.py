"""Zero the removed channels instead of removing them: what a cut must equal."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.repaired import sites
from secateur.channels.walk import tensors_of
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild
from secateur.surgery.repair import repair


def mask(channels: ChannelMap, plan: PruningPlan) -> nn.Module:
    """A copy of the network in which the removed channels' slices of every parameter are zero.

    Buffers (running statistics) are left as they are, and so are the directions of a weight norm
    whose magnitudes are zeroed: a direction of zeros is divided by its norm. Where inputs of such a
    weight are zeroed, its magnitudes keep the rest of it as it was.

    Raises:
        PlanError: the plan was made for another network.
        ChannelMapError: the map knows no network, or one of other shapes.
    """
    return masked(channels.network, plan, channels)


def masked(
    model: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    *,
    readers: bool = False,
    leave: Collection[str] = (),
) -> nn.Module:
    """As `mask`, of any network of these shapes.

    With `readers` only weights that read a removed channel are zeroed; parameters that `leave`
    names stay as they are.

    Raises:
        PlanError: the plan was made for another network.
    """
    plan.check(channels)
    tensors: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    scaled = {(s.direction, s.dim) for s in sites(model) if s.kind == "weight norm"}
    for name, gone in plan.remove.items():
        for member in channels.by_name[name].members:
            if member.parameter not in parameters or (member.parameter, member.dim) in scaled:
                continue
            if (readers and member.role != "in") or member.parameter in leave:
                continue
            known = tensors.get(member.parameter)
            tensor = parameters[member.parameter].detach().clone() if known is None else known
            positions = member.index[np.asarray(gone, dtype=np.int64)].ravel()
            tensor.index_fill_(member.dim, torch.from_numpy(positions).to(tensor.device), 0)
            tensors[member.parameter] = tensor
    repair(model, tensors_of(model), tensors, {})
    return rebuild(model, tensors)
