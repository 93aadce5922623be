"""Operators that pick by number, and windows that lay places out as channels and back."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import as_field
from secateur.channels.operands import dims_of, drop, met, operand, without

_MARK = 7919
"""A size that no other dimension has, to see where a dimension goes."""


def index(call: Call) -> None:
    """Indexing by tensors: what is indexed cannot shrink; elsewhere labels ride along."""
    x, indices = call.args[:2]
    for tensor in indices:
        if tensor is not None:
            call.pin_others(tensor, (), "is an index", silent=True)
    # a mask of booleans picks along as many dimensions as it has
    indexed = [k for k, tensor in enumerate(_laid_out(indices, x.ndim)) if tensor is not None]
    fields = {}
    for dim, labels in call.fields(x).items():
        if dim in indexed:
            call.pin(labels, "is picked by its position")
        else:
            marked = torch.empty([_MARK if k == dim else 1 for k in range(x.ndim)], device="meta")
            new = call.function(marked, indices).shape.index(_MARK)
            fields[new] = as_field(call.flat(labels, dim), new, call.outputs[0].ndim)
    call.set(call.outputs[0], fields)


def _laid_out(indices: list[Tensor | None], ndim: int) -> list[Tensor | None]:
    laid: list[Tensor | None] = []
    for tensor in indices:
        is_mask = tensor is not None and tensor.dtype in (torch.bool, torch.uint8)
        laid += [tensor] * (tensor.ndim if is_mask and tensor is not None else 1)
    return laid + [None] * (ndim - len(laid))


def write(call: Call) -> None:
    """Writing at positions: what is indexed cannot shrink, nor what is written unless a number."""
    x, indices, values = call.args[:3]
    for tensor in indices:
        if tensor is not None:
            call.pin_others(tensor, (), "is an index", silent=True)
    indexed = [k for k, tensor in enumerate(_laid_out(indices, x.ndim)) if tensor is not None]
    one = values.numel() == 1
    fields = {}
    for dim, labels in call.fields(x).items():
        if dim in indexed or not one:
            call.pin(labels, "is written by its position")
        else:
            fields[dim] = call.same_along(labels, [k for k in range(x.ndim) if k != dim])
    call.pin_others(values, (), "is written by its position")
    call.set(call.outputs[0], fields)


def gather(call: Call) -> None:
    """Picks along one dimension, by numbers that meet the others."""
    x, dim, numbers = call.args[:3]
    (dim,) = dims_of(dim, x.ndim)
    if (labels := call.fields(x).get(dim)) is not None:
        call.pin(labels, "is picked by its position")
    out = call.outputs[0]
    for other, own in call.fields(x).items():
        if other != dim and own.shape[other] > out.shape[other]:
            call.pin(own, "is picked by its position")
    sides = [without(call, x, dim), operand(call, numbers, x.ndim)]
    call.set(out, met(call, sides, out.shape))


def embedding(call: Call) -> None:
    """Rows picked from a table: the rows cannot go, its columns ride along."""
    table, numbers = call.args[:2]
    call.reads_rows(table.shape[0])
    call.pin_others(table, (1,), "is picked by its position")
    out = call.outputs[0]
    columns = call.along(table, 1)
    fields = {} if columns is None else {out.ndim - 1: as_field(columns, out.ndim - 1, out.ndim)}
    call.pin_others(numbers, (), "is an index", silent=True)
    call.set(out, fields)


def scan(call: Call) -> None:
    """A running sum or order along one dimension: the labels ride along, over channels it mixes."""
    x = call.args[0]
    (dim,) = dims_of(call.argument("dim", 1), x.ndim)
    if (labels := call.fields(x).get(dim)) is not None:
        call.mixing(labels, f"{call.name} over channels", silent=call.name == "cumsum")
    call.set_all(call.fields(x))


def picked_by_size(call: Call) -> None:
    """Sorting and the largest few: the order of what is sorted depends on the data."""
    x = call.args[0]
    asked = call.argument("dim", 2 if call.name in ("topk", "kthvalue") else 1)
    (dim,) = dims_of(-1 if asked is None else asked, x.ndim)
    if (labels := call.fields(x).get(dim)) is not None:
        call.pin(labels, "is ordered by its values")
    call.set_all({d: call.same_along(f, [dim]) for d, f in call.fields(x).items() if d != dim})


def windows_to_channels(call: Call) -> None:
    """`im2col`: every channel becomes as many as a window has places."""
    x, kernel = call.args[:2]
    dim = x.ndim - 3
    call.pin_others(x, (dim,), "is a place in an image")
    if (channels := call.along(x, dim)) is not None:
        several = channels.repeat_interleave(prod(kernel))
        call.set_all({dim: as_field(several, dim, x.ndim - 1)})


def channels_to_windows(call: Call) -> None:
    """`col2im`: as many channels as a window has places become one."""
    x, kernel = call.args[0], call.args[2]
    dim = x.ndim - 2
    call.pin_others(x, (dim,), "is a place in an image")
    if (channels := call.along(x, dim)) is not None:
        rows = channels.view(-1, prod(kernel))
        call.unite(rows[:, :1], rows[:, 1:])
        call.set_all({dim: as_field(rows[:, 0], dim, x.ndim + 1)})


def windows(call: Call) -> None:
    """`Tensor.unfold`: windows along one dimension, their places in a new last one."""
    x = call.args[0]
    (dim,) = dims_of(call.args[1], x.ndim)
    fields = {}
    for own, labels in call.fields(x).items():
        if own == dim:
            call.pin(labels, "is a place in a window")
        else:
            fields[own] = call.same_along(labels, [dim]).unsqueeze(-1)
    call.set_all(fields)


def pixels_to_channels(call: Call) -> None:
    """Places become channels: every channel becomes as many as there are places."""
    x, factor = call.args
    dim = x.ndim - 3
    call.pin_others(x, (dim,), "is a place in an image")
    if (channels := call.along(x, dim)) is not None:
        call.set_all({dim: as_field(channels.repeat_interleave(factor**2), dim, x.ndim)})


def gates(call: Call) -> None:
    """What LSTM and GRU split their gates with: their hidden size stays."""
    call.pin_others(call.args[0], (), "is a gate of a recurrent layer")
    call.set_all({})


def sample(call: Call) -> None:
    """Places read where a grid of coordinates says: channels ride along."""
    x, grid = call.args[:2]
    call.pin_others(x, (1,), "is a place in an image")
    call.pin_others(grid, (), "is a coordinate")
    channels = call.along(x, 1)
    out = call.outputs[0]
    call.set(out, {} if channels is None else {1: as_field(channels, 1, out.ndim)})


def spectrum(call: Call) -> None:
    """A Fourier transform: what is transformed cannot shrink, elsewhere labels ride along."""
    x, dims = call.args[0], dims_of(call.args[1], call.args[0].ndim)
    fields = {}
    for dim, labels in call.fields(x).items():
        if dim in dims:
            call.pin(labels, "is transformed as a whole")
        else:
            fields[dim] = call.same_along(labels, dims)
    call.set(call.outputs[0], fields)


def complex_parts(call: Call) -> None:
    """Complex numbers as pairs in a new last dimension, or pairs as complex numbers."""
    x = call.args[0]
    if call.name == "view_as_real":
        call.set_all({dim: labels.unsqueeze(-1) for dim, labels in call.fields(x).items()})
    else:
        call.set_all(drop(call, call.fields(x), {x.ndim - 1}))
