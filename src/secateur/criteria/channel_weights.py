"""The non-negative channel weights that channel sparsity is measured on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.criteria.base import filter_matrix

Definition = Literal["bn_scale", "filter_l1"]


def channel_weights(
    model: nn.Module, channels: ChannelMap, definition: Definition
) -> dict[str, NDArray[np.float64]]:
    """One weight for every prunable channel, by layer: name -> (n,).

    `bn_scale`: |scale| of the batch norm that directly follows the layer; layers without one are
    left out. `filter_l1`: the l1 norm of the layer's filters. Channels that cannot be pruned are
    left out, and so are layers in which none can.
    """
    named = dict(model.named_parameters())
    prunable: dict[str, NDArray[np.int64]] = {}
    for group in channels.groups:
        for member in group.members:
            if member.role == "out":
                known = prunable.get(member.parameter, np.zeros(0, np.int64))
                prunable[member.parameter] = np.union1d(known, member.index.ravel())
    weights = {}
    for parameter, layer in channels.by_weight.items():
        positions = prunable.get(parameter)
        if positions is None:
            continue
        if definition == "filter_l1":
            values = filter_matrix(named[parameter], layer.out_dim).abs().sum(1).numpy()
        else:
            scale = named.get(f"{layer.norm}.weight")
            if scale is None:
                continue
            values = scale.detach().abs().double().numpy()
        weights[layer.name] = values[positions]
    return weights
