"""Zero the removed channels instead of removing them: what a cut must equal."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild


def mask(model: nn.Module, plan: PruningPlan, channels: ChannelMap) -> nn.Module:
    """A copy of the network in which the removed channels' slices of every parameter are zero.

    Buffers (running statistics) are left as they are.

    Raises:
        PlanError: the plan was made for another network.
    """
    plan.check(channels)
    tensors: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for name, gone in plan.remove.items():
        for member in channels.by_name[name].members:
            if member.parameter not in parameters:
                continue
            known = tensors.get(member.parameter)
            tensor = parameters[member.parameter].detach().clone() if known is None else known
            positions = member.index[np.asarray(gone, dtype=np.int64)].ravel()
            tensor.index_fill_(member.dim, torch.from_numpy(positions).to(tensor.device), 0)
            tensors[member.parameter] = tensor
    return rebuild(model, tensors)
