"""Operators that move elements: the same operator is applied to the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import Fields, as_field, regroup
from secateur.channels.operands import dims_of, drop, met, operand, without
from secateur.channels.splits import Split

_DIM_OF = {
    "slice": ("dim", 1),
    "select": ("dim", 1),
    "index_select": ("dim", 1),
    "unbind": ("dim", 1),
    "flip": ("dims", 1),
    "roll": ("dims", 2),
    "split": ("dim", 2),
    "split_with_sizes": ("dim", 2),
}
"""Where an operator is told its dimensions: keyword, position."""


def _dims(call: Call) -> Collection[int]:
    """The dimensions an operator moves along; left out, it is the first, and of a roll all."""
    asked = call.argument(*_DIM_OF[call.name])
    if asked is None:
        asked = [] if call.name == "roll" else 0
    return dims_of(asked, call.args[0].ndim)


def view(call: Call) -> None:
    """Any change of shape that keeps the order of elements.

    Where a channel dimension is split into parts, one of the new dimensions can shrink and equal
    positions of the parts are united: the one whose size the code leaves open, or the largest.
    """
    x, out = call.args[0], call.outputs[0]
    asked = call.args[1] if isinstance(call.args[1], list | tuple) else ()
    places: dict[int, int] = {}
    regrouped: dict[int, tuple[Tensor, tuple[int, ...]]] = {}
    before = dict(sorted(call.fields(x).items()))
    for dim, labels in before.items():
        moved, heirs = regrouped[dim] = regroup(labels, dim, tuple(x.shape), tuple(out.shape))
        varies = [size > 1 for size in moved.shape]
        likely = sorted(heirs, key=lambda k: (varies[k], asked[k : k + 1] == [-1], out.shape[k], k))
        at = call.run.n_operators, dim
        choice = call.run.choices.get(at, likely[-1] if likely else -1)
        places[dim] = call.decide(choice, x.ndim, out.ndim, dim)
        if sum(varies[k] for k in heirs) > 1:
            call.run.splits.append(Split(at, moved, heirs, places[dim]))
    fields: dict[int, Tensor] = {}
    for dim in _free_first(call, before, places):
        labels, new, (moved, heirs) = before[dim], places[dim], regrouped[dim]
        if new < 0:
            if not call.repeats or labels.numel() > 1:  # a sum over the one channel left is itself
                call.pin(labels, "is viewed away")
            continue
        if new not in heirs and out.shape[new : new + 1] != (1,):
            alike = x.shape[dim] > 1 and bool((labels == labels.flatten()[0]).all())
            if new >= out.ndim or (x.shape[dim] > 1 and not alike):
                raise ValueError(f"channels come to lie along dimension {heirs}, not {new}")
            if alike:
                moved = labels.flatten()[:1].reshape((1,) * out.ndim)  # one channel is left
        if new in fields:  # the first of several dimensions that become one can shrink
            text = "is flattened together with other channels"
            call.pin(labels, text, silent=call.is_weight(x))
            continue
        call.same_along(moved, [k for k in heirs if k != new])
        fields[new] = moved.expand([n if k == new else -1 for k, n in enumerate(out.shape)])
    call.set(out, fields)


def _free_first(call: Call, fields: Fields, places: Mapping[int, int]) -> list[int]:
    """Dimensions of fields, of those that become one the pinned ones last."""
    counts = Counter(places.values())
    pinned = {
        dim: call.decide(call.run.notebook.is_pinned(labels), dim, 0)
        for dim, labels in fields.items()
        if counts[places[dim]] > 1
    }
    return sorted(fields, key=lambda dim: (pinned.get(dim, 0), dim))


def move(call: Call) -> None:
    """Rearrange dimensions: the same operator on the labels, and on their shape to find them."""
    x, *rest = call.args
    fields = {}
    for dim, labels in call.fields(x).items():
        marked = torch.empty([2 if k == dim else 1 for k in range(labels.ndim)], device="meta")
        new = call.function(marked, *rest, **call.kwargs).shape.index(2)
        fields[new] = call.function(labels.clone(), *rest, **call.kwargs)
    call.set(call.outputs[0], fields)


TURNING = ("t", "transpose", "permute", "detach", "alias")
"""Operators after which a parameter is still itself, its dimensions in another order."""


def turned(name: str, args: Sequence[Any], ndim: int) -> list[int]:
    """The input's dimensions in the order that one of `TURNING` gives them.

    >>> turned("transpose", (torch.zeros(2, 3, 4), 0, -1), 3)
    [2, 1, 0]
    """
    order = list(range(ndim))
    if name == "t":
        order.reverse()
    elif name == "permute":
        order = [k % ndim for k in args[1]]
    elif name == "transpose":
        one, other = (k % ndim for k in args[1:3])
        order[one], order[other] = other, one
    return order


def squeeze(call: Call) -> None:
    """Drop the dimensions that the data drops, not those where a label does not vary."""
    x = call.args[0]
    dims = {dim for dim in dims_of(call.argument("dim", 1), x.ndim) if x.shape[dim] == 1}
    call.set(call.outputs[0], drop(call, call.fields(x), dims))


def expand(call: Call) -> None:
    """A broadcast: new dimensions in front, labels as they were."""
    out = call.outputs[0]
    call.set(out, met(call, [operand(call, call.args[0], out.ndim)], out.shape))


def repeat(call: Call) -> None:
    """Copies in a row: so are the labels."""
    out, times = call.outputs[0], call.args[1]
    fields = {}
    for dim, labels in operand(call, call.args[0], out.ndim).fields.items():
        varies = [k == dim or size > 1 for k, size in enumerate(labels.shape)]
        fields[dim] = labels.repeat([n if v else 1 for n, v in zip(times, varies, strict=True)])
    call.set(out, fields)


def along_one(call: Call) -> None:
    """Slice, split, flip, roll along dimensions: the same operator on the labels."""
    x, *rest = call.args
    dims = _dims(call)
    if not dims:
        call.pin_others(x, (), "moves through all dimensions")
        return
    call.note_line()
    results: list[dict[int, Tensor]] = [{} for _ in call.outputs]
    for dim, labels in call.fields(x).items():
        pieces: Sequence[Tensor] = [labels] * len(results)
        if any(k == dim or labels.shape[k] > 1 for k in dims):
            full = labels.expand([x.shape[k] if k in dims else -1 for k in range(x.ndim)])
            moved = call.function(full, *rest, **call.kwargs)
            pieces = [moved] if isinstance(moved, Tensor) else moved
            if call.name not in ("flip", "roll"):
                for piece in pieces:
                    call.part(piece, full)
        for result, piece in zip(results, pieces, strict=True):
            result[dim] = piece
    for out, fields in zip(call.outputs, results, strict=True):
        call.set(out, fields)


def pick(call: Call) -> None:
    """Indexing by position: the indexed dimension cannot shrink; elsewhere labels ride along."""
    x, dims = call.args[0], _dims(call)
    for k, out in enumerate(call.outputs):
        fields = {}
        for dim, labels in call.fields(x).items():
            if dim in dims:
                call.pin(labels, "is picked by its position")
            elif call.name == "index_select":
                fields[dim] = call.same_along(labels, dims)
            else:
                index = call.args[2] if call.name == "select" else k
                (along,) = dims
                fields[dim] = labels.select(along, index if labels.shape[along] > 1 else 0)
                fields[dim] = fields[dim].unsqueeze(along)
        call.set(out, fields if call.name == "index_select" else drop(call, fields, dims))


def concatenate(call: Call) -> None:
    """Join along a dimension: labels are joined; pieces of a fixed size get labels of their own."""
    pieces = [piece for piece in call.args[0] if piece.numel() or piece.ndim > 1]
    out = call.outputs[0]
    (dim,) = dims_of(call.argument("dim", 1) or 0, out.ndim)
    own = [call.fields(piece) for piece in pieces]
    fields: dict[int, Tensor] = {}
    if any(of_piece.keys() - {dim} for of_piece in own):
        sizes = [1 if k == dim else n for k, n in enumerate(out.shape)]
        fields |= met(call, [without(call, piece, dim) for piece in pieces], sizes)
    joined = [of_piece.get(dim) for of_piece in own]
    if any(labels is not None for labels in joined):
        parts = []
        for piece, labels in zip(pieces, joined, strict=True):
            if labels is None:
                text = "is joined with a tensor of fixed size"
                labels = as_field(call.fixed(piece.shape[dim], text), dim, out.ndim)
            parts.append(labels)
        fields[dim] = _joined(parts, dim)
    call.set(out, fields)


def _joined(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Fields one after the other along `dim`, broadcast along the others."""
    if all(part.numel() == part.shape[dim] for part in parts):
        return torch.cat(list(parts), dim)
    sizes = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    same = [part.expand([-1 if k == dim else n for k, n in enumerate(sizes)]) for part in parts]
    return torch.cat(same, dim)


def stack(call: Call) -> None:
    """Join along a new dimension: what lies along the others meets."""
    pieces, out = call.args[0], call.outputs[0]
    (dim,) = dims_of(call.argument("dim", 1) or 0, out.ndim)
    common = met(call, [operand(call, piece, piece.ndim) for piece in pieces], pieces[0].shape)
    fields = {}
    for k, labels in common.items():
        own = [call.fields(piece).get(k, labels).unsqueeze(dim) for piece in pieces]
        fields[k + (k >= dim)] = _joined(own, dim)
    call.set(out, fields)


def pad(call: Call) -> None:
    """Constant padding; padded channels are of a fixed size."""
    x, widths = call.args[0], call.args[1]
    fields = dict(call.fields(x))
    for k in range(len(widths) // 2):
        dim = x.ndim - 1 - k
        before, after = widths[2 * k : 2 * k + 2]
        for own, labels in fields.items():
            if own != dim and (before or after):
                fields[own] = call.same_along(labels, [dim])
            elif own == dim:
                stays = x.shape[dim] + min(before, 0) + min(after, 0)
                parts = [labels.narrow(dim, max(-before, 0), stays)]
                call.part(parts[0], labels)
                for n, at in ((before, 0), (after, 2)):
                    if n > 0:
                        ends = as_field(call.fixed(n, "is padded to a fixed size"), dim, x.ndim)
                        parts.insert(at, ends)
                fields[own] = _joined(parts, dim)
    call.set(call.outputs[0], fields)


def halve(call: Call) -> None:
    """Gated linear unit: the halves of a dimension meet."""
    x = call.args[0]
    (dim,) = dims_of(call.args[1], x.ndim)
    fields = dict(call.fields(x))
    for own, labels in fields.items():
        if own == dim or labels.shape[dim] > 1:
            first, second = labels.chunk(2, dim)
            call.unite(first, second)
            fields[own] = first
    call.set(call.outputs[0], fields)


def shuffle_channels(call: Call) -> None:
    """Deal channels out group by group: equal positions of the groups are united."""
    x, groups = call.args
    call.same_in_every_group(call.along(x, 1), groups)
    fields = call.fields(x).items()
    call.set_all({d: call.function(f, groups) if f.shape[1] > 1 else f for d, f in fields})


def shuffle_pixels(call: Call) -> None:
    """Channels become places: the channels that make one are united."""
    x, factor = call.args
    dim = x.ndim - 3
    call.pin_others(x, (dim,), "is a place in an image")
    if (channels := call.along(x, dim)) is not None:
        rows = channels.view(-1, factor * factor)
        call.unite(rows[:, :1], rows[:, 1:])
        call.set_all({dim: as_field(rows[:, 0], dim, x.ndim)})
