"""Normalisations: what is normalised channel by channel, and what over channels."""

from __future__ import annotations

from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import as_field


def batch_norm(call: Call) -> None:
    """Channel by channel: scale, shift and statistics meet the input's channels.

    Labels of other dimensions ride along; where statistics are taken over them, they mix.
    """
    x = call.args[0]
    channels = call.along(x, 1)
    for tensor in call.args[1:5]:
        if isinstance(tensor, Tensor):
            call.match(channels, tensor, 0, "norm")
    call.norm(x, call.args[1])
    fields = dict(call.fields(x))
    if "no_training" not in call.name and call.args[5]:
        for dim, labels in fields.items():
            if dim != 1:
                call.mixing(labels, f"{call.name} over channels")
    call.set(call.outputs[0], fields)


def layer_norm(call: Call) -> None:
    """Over the last dimensions; scale and shift meet the labels along them."""
    x, shape = call.args[:2]
    first = x.ndim - len(shape)
    fields = {}
    for dim, labels in call.fields(x).items():
        fields[dim] = call.same_along(labels, [k for k in range(first, x.ndim) if k != dim])
        if dim >= first:
            call.mixing(labels, f"{call.name} over channels")
    for tensor in call.args[2:4]:
        if isinstance(tensor, Tensor):
            for dim in range(tensor.ndim):
                call.match(call.along(x, first + dim), tensor, dim, "norm")
    call.set(call.outputs[0], fields)


def weight_norm(call: Call) -> None:
    """A direction of unit length for each magnitude; what is normalised over rides along."""
    direction, magnitude = call.args[:2]
    for dim, labels in call.fields(direction).items():
        if dim not in call.fields(magnitude):
            call.mixing(labels, "a weight over its norm")
    for own, labels in call.fields(magnitude).items():
        call.contract(call.along(direction, own), call.flat(labels, own))
        call.role(magnitude, own, "norm")
    call.set(call.outputs[0], call.fields(direction))
    call.set(call.outputs[1], call.fields(magnitude))


def groups_go_whole(n_channels: int, groups: int) -> bool:
    """Whether pruning before a group norm takes whole groups, or equally many of every group.

    The finer of the two: many small groups go whole, which leaves the others as they were; few
    large ones shrink together, which mixes.

    >>> groups_go_whole(64, 32), groups_go_whole(64, 1), groups_go_whole(64, 64)
    (True, False, True)
    """
    return groups * groups > n_channels


def group_norm(call: Call) -> None:
    """Over the channels of each group, which go whole or shrink together."""
    x, weight, bias, _, n_channels, _, groups = call.args[:7]
    whole = call.decide(int(groups_go_whole(n_channels, groups)), 0)
    unchanged = n_channels // groups if whole else groups
    if (before := call.decide(unchanged, 1)) != unchanged:
        what = "channels a group" if whole else "groups"
        raise ValueError(f"a group norm of {before} {what} would have {unchanged}")
    channels = call.along(x, 1)
    call.pin_others(x, (1,), "is a place in a group norm")
    for tensor in (weight, bias):
        if isinstance(tensor, Tensor):
            call.match(channels, tensor, 0, "norm")
    if channels is None:
        return
    if whole:
        rows = channels.view(groups, -1)
        call.unite(rows[:, :1], rows[:, 1:])
    else:
        call.same_in_every_group(channels, groups)
        call.mixing(channels, f"{call.name} over channels")
    call.set(call.outputs[0], {1: as_field(channels, 1, x.ndim)})
