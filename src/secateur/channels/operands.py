"""What rules are made of: sides of a meeting, and tensors that lose dimensions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import Fields


class Operand(NamedTuple):
    """One side of a meeting, with as many dimensions as the result."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    fields: Fields


def operand(call: Call, tensor: Tensor, ndim: int) -> Operand:
    """A tensor with dimensions of size 1 put in front."""
    front = (1,) * (ndim - tensor.ndim)
    fields = {
        dim + len(front): labels.reshape(front + tuple(labels.shape))
        for dim, labels in call.fields(tensor).items()
    }
    return Operand(front + tuple(tensor.shape), front + tensor.stride(), fields)


def met(call: Call, operands: Sequence[Operand], shape: Sequence[int]) -> Fields:
    """Unite what is broadcast together to `shape`; an expanded side (stride 0) fits any size."""
    result: dict[int, Tensor] = {}
    for dim in sorted({dim for side in operands for dim in side.fields}):
        own = [side.fields[dim] for side in operands if dim in side.fields]
        whole = [labels for labels in own if labels.shape[dim] == shape[dim]]
        for labels in own:
            if labels.shape[dim] < shape[dim]:
                call.pin(labels, "is one of a fixed number, broadcast,")
        if not whole:
            continue
        result[dim] = whole[0]
        for labels in whole[1:]:
            call.unite(whole[0], labels)
        for side in operands:
            if dim not in side.fields and side.sizes[dim] > 1 and side.strides[dim]:
                call.pin(whole[0], "meets a tensor of fixed size")
    return result


def without(call: Call, tensor: Tensor, gone: int) -> Operand:
    """A tensor whose dimension `gone` has been summed over."""
    sizes = tuple(1 if dim == gone else size for dim, size in enumerate(tensor.shape))
    fields = {d: call.same_along(f, [gone]) for d, f in call.fields(tensor).items() if d != gone}
    return Operand(sizes, tensor.stride(), fields)


def dims_of(asked: int | Sequence[int] | None, ndim: int) -> Collection[int]:
    """Dimensions as non-negative numbers; none given are all."""
    if asked is None:
        return range(ndim)
    return {d % max(ndim, 1) for d in ([asked] if isinstance(asked, int) else asked)}


def drop(call: Call, fields: Fields, dims: Collection[int]) -> Fields:
    """Fields of a tensor that loses dimensions."""
    dropped = {}
    for dim, labels in fields.items():
        if dim in dims:
            call.pin(labels, "loses its dimension")
            continue
        one = call.same_along(labels, dims)
        kept = [size for k, size in enumerate(one.shape) if k not in dims]
        dropped[dim - sum(k < dim for k in dims)] = one.reshape(kept)
    return dropped
