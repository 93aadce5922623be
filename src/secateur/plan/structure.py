"""What a group of channels is made of, apart from its width. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from secateur.channels.groups import ChannelGroup, ChannelMap, Member


def structure(channels: ChannelMap) -> Callable[[ChannelGroup], object]:
    """A key for groups: equal where groups are built alike.

    It lists the members without order: role, kind of layer, kernel, dimension, whether the layer
    is plain, grouped or depthwise, and how many positions a channel has. Widths do not count.
    """
    layers = {layer.weight: layer for layer in channels.layers}

    def of_member(member: Member) -> tuple[object, ...]:
        shape = channels.shapes[member.parameter]
        layer = layers.get(member.parameter)
        if layer is None:
            name = member.parameter.rpartition(".")[2]
            return member.role, name, member.dim, len(shape), member.index.shape[1]
        kernel = shape[2:]
        depthwise = layer.conv_groups > 1 and shape[layer.in_dim] == 1
        per_group = 0 if depthwise else layer.conv_groups
        return member.role, layer.kind, member.dim, kernel, per_group, member.index.shape[1]

    def key(group: ChannelGroup) -> object:
        return tuple(sorted((of_member(member) for member in group.members), key=repr))

    return key


def filter_size(group: ChannelGroup, channels: ChannelMap) -> int:
    """Numbers in the filters of one channel, over all layers whose filters the group holds.

    A group without filters has those of its other members.
    """
    out = [m for m in group.members if m.role == "out"] or group.members
    sizes = (
        prod(channels.shapes[m.parameter]) // max(channels.shapes[m.parameter][m.dim], 1)
        for m in out
    )
    return sum(n * m.index.shape[1] for n, m in zip(sizes, out, strict=True))
