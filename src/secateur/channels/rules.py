"""What every operator does to labels: one table, operator name -> rule.

A rule sees one call of an ATen operator and the fields of its inputs, and writes down the fields
of its outputs, who meets whom, and what is pinned. To add an operator, write a function of a
`Call` or re-use one of the kinds below, and enter it in `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import as_field, regroup, varying

Rule = Callable[[Call], None]


def meet(call: Call) -> None:
    """Element-wise: labels of elements that meet are united; a size-1 side is broadcast."""
    out = call.outputs[0]
    fields: list[Tensor] = []
    tensors = call.tensors
    for tensor in tensors:
        for labels in _aligned(call.fields(tensor), out.ndim):
            for known in fields:
                if _overlap(known, labels):
                    call.unite(known, labels)
                    break
            else:
                fields.append(labels)
    for labels in fields:
        for tensor in tensors:
            shape = (1,) * (out.ndim - tensor.ndim) + tuple(tensor.shape)
            if any(shape[dim] > 1 for dim in varying(labels)) and not any(
                _overlap(labels, own) for own in _aligned(call.fields(tensor), out.ndim)
            ):
                call.pin(labels, "meets a tensor of fixed size")
    call.set_all(fields)


def keep(call: Call) -> None:
    """Same shape in and out, no meeting: the labels ride along."""
    call.set_all(call.fields(call.tensors[0]))


def constant(call: Call) -> None:
    """A new tensor of a fixed size: no labels."""


def convolution(call: Call) -> None:
    """Contract input channels with weight inputs; plain, grouped, depthwise and transposed."""
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    transposed, groups = call.args[6], call.args[8]
    out_dim, in_dim = (1, 0) if transposed else (0, 1)
    inputs = call.along(x, 1)
    w_out, w_in = call.along(weight, out_dim), call.along(weight, in_dim)
    _pin_others(call, weight, (0, 1), "is a kernel size", silent=True)
    depthwise = groups > 1 and weight.shape[1] == 1
    if depthwise and not transposed:
        outputs = w_out
        if inputs is not None and w_out is not None:
            call.unite(inputs.repeat_interleave(len(w_out) // groups), w_out)
        elif w_out is not None:
            call.pin(w_out, "is depthwise on an input of fixed size")
    elif depthwise:
        call.contract(inputs, w_in)
        outputs = w_in
    else:
        if groups > 1:
            inputs = _same_in_every_group(call, inputs, groups)
            if transposed:
                w_in = _same_in_every_group(call, w_in, groups)
                outputs = None if w_out is None else w_out.repeat(groups)
            else:
                _same_in_every_group(call, w_out, groups)
                outputs = w_out
        else:
            outputs = w_out
        call.contract(inputs, w_in)
    call.role(w_in, "in")
    call.role(w_out, "out")
    if isinstance(bias, Tensor):
        call.contract(outputs, call.along(bias, 0))
    shape = x.shape if transposed else call.outputs[0].shape
    kind: Literal["transposed", "convolution"] = "transposed" if transposed else "convolution"
    call.layer(kind, weight, (out_dim, in_dim), groups, prod(shape[2:]))
    call.set(call.outputs[0], () if outputs is None else (as_field(outputs, 1, x.ndim),))


def matrix_product(call: Call) -> None:
    """(n, k) times (k, m), batched or not, with a bias or not."""
    bias = call.args[0] if call.name in ("addmm", "baddbmm") else None
    first, second = call.args[-2:]
    batch = first.ndim - 2
    k_first, k_second = call.along(first, batch + 1), call.along(second, batch)
    call.contract(k_first, k_second)
    fields = []
    for labels in call.fields(first):
        if batch + 1 not in varying(labels):
            fields.append(labels)
    for labels in call.fields(second):
        if batch in varying(labels):
            continue
        for known in fields:
            if _overlap(known, labels):
                call.unite(known, labels)
                break
        else:
            fields.append(labels)
    out = call.outputs[0]
    if isinstance(bias, Tensor):
        columns = next((f.flatten() for f in fields if varying(f) == (out.ndim - 1,)), None)
        call.contract(columns, call.along(bias, bias.ndim - 1))
    rows = prod(first.shape[:-1])
    if batch == 0 and call.is_weight(second):
        call.role(k_second, "in")
        call.role(call.along(second, 1), "out")
        call.layer("linear", second, (1, 0), 1, rows // call.batch_size)
    call.set(out, tuple(fields))


def batch_norm(call: Call) -> None:
    """Channel by channel: scale, shift and statistics meet the input's channels."""
    x = call.args[0]
    channels = call.along(x, 1)
    for tensor in call.args[1:5]:
        if isinstance(tensor, Tensor):
            own = call.along(tensor, 0)
            call.contract(channels, own)
            call.role(own, "norm")
    call.norm(x, call.args[1])
    call.set(call.outputs[0], call.fields(x))


def reduce(call: Call) -> None:
    """Mean, sum or maximum over dimensions; over a labelled one it mixes channels."""
    x = call.args[0]
    dims = call.argument("dim", 1)
    if dims is None or dims == []:
        dims = list(range(x.ndim))
    dims = {dim % max(x.ndim, 1) for dim in ([dims] if isinstance(dims, int) else dims)}
    keepdim = bool(call.argument("keepdim", 2))
    fields = []
    for labels in call.fields(x):
        if dims & set(varying(labels)):
            call.mixing(labels, f"{call.name} over channels")
            continue
        fields.append(labels if keepdim else _drop(labels, dims))
    call.set_all(fields)


def pool(call: Call) -> None:
    """Windows over the last dimensions: channels ride along, places lose their names."""
    x = call.args[0]
    fields = []
    for labels in call.fields(x):
        if spatial := [dim for dim in varying(labels) if dim >= 2]:
            labels = call.same_along(labels, spatial)
        if varying(labels):
            fields.append(labels)
    call.set_all(fields)


def view(call: Call) -> None:
    """Any change of shape that keeps the order of elements."""
    x, out = call.args[0], call.outputs[0]
    fields = []
    for labels in call.fields(x):
        moved = regroup(labels, tuple(x.shape), tuple(out.shape))
        if len(varying(moved)) > len(varying(labels)):
            sizes = [moved.shape[dim] for dim in varying(moved)]
            stays = varying(moved)[max(range(len(sizes)), key=lambda k: (sizes[k], k))]
            call.same_along(moved, [dim for dim in varying(moved) if dim != stays])
        fields.append(moved)
    call.set(out, tuple(fields))


def move(call: Call) -> None:
    """Rearrange dimensions: the same operator on the labels."""
    x, *rest = call.args
    moved = [call.function(labels, *rest, **call.kwargs) for labels in call.fields(x)]
    call.set(call.outputs[0], tuple(moved))


def squeeze(call: Call) -> None:
    """Drop the dimensions that the data drops, not those where a label does not vary."""
    x = call.args[0]
    asked = call.argument("dim", 1)
    dims = range(x.ndim) if asked is None else [asked] if isinstance(asked, int) else asked
    dropped = {dim % x.ndim for dim in dims if x.shape[dim] == 1}
    call.set(call.outputs[0], tuple(_drop(labels, dropped) for labels in call.fields(x)))


def expand(call: Call) -> None:
    """A broadcast: new dimensions in front, labels as they were."""
    call.set_all(_aligned(call.fields(call.args[0]), call.outputs[0].ndim))


def along_one(call: Call) -> None:
    """Slice, select, split, flip, roll, index along dimensions: only where the label varies."""
    x, *rest = call.args
    dims = _dims_of(call, x)
    results: list[list[Tensor]] = [[] for _ in call.outputs]
    for labels in call.fields(x):
        if dims & set(varying(labels)):
            full = labels.expand(
                [x.shape[d] if d in dims else s for d, s in enumerate(labels.shape)]
            )
            moved = call.function(full, *rest, **call.kwargs)
            for result, piece in zip(results, _as_tuple(moved), strict=True):
                result.append(piece)
        else:
            drop = dims if call.outputs[0].ndim < x.ndim else set()
            for result in results:
                result.append(_drop(labels, drop))
    for out, fields in zip(call.outputs, results, strict=True):
        call.set(out, tuple(f for f in fields if varying(f)))


def concatenate(call: Call) -> None:
    """Join along a dimension: labels are joined; pieces of a fixed size get the label "fixed"."""
    pieces = [piece for piece in call.args[0] if piece.numel() or piece.ndim > 1]
    out = call.outputs[0]
    dim = call.argument("dim", 1) or 0
    dim %= out.ndim
    joined = [call.along(piece, dim) for piece in pieces]
    if any(labels is not None for labels in joined):
        parts = [
            call.fixed(piece.shape[dim], "is joined with a tensor of fixed size")
            if labels is None
            else labels
            for piece, labels in zip(pieces, joined, strict=True)
        ]
        call.set(out, (as_field(torch.cat(parts), dim, out.ndim),))
    others: list[Tensor] = []
    for k, piece in enumerate(pieces):
        own = [f for f in call.fields(piece) if dim not in varying(f)]
        for labels in own:
            if known := next((f for f in others if _overlap(f, labels)), None):
                call.unite(known, labels)
            elif k == 0:
                others.append(labels)
            else:
                call.pin(labels, "is joined with a tensor of fixed size")
        for known in others:
            if not any(_overlap(known, labels) for labels in own):
                call.pin(known, "is joined with a tensor of fixed size")
    call.set(out, (*call.fields(out), *others))


def pad(call: Call) -> None:
    """Constant padding; padded channels are of a fixed size."""
    x, widths = call.args[0], call.args[1]
    fields = []
    for labels in call.fields(x):
        for k in range(len(widths) // 2):
            dim = x.ndim - 1 - k
            before, after = widths[2 * k], widths[2 * k + 1]
            if dim in varying(labels) and (before or after):
                ends = [call.fixed(abs(n), "is padded to a fixed size") for n in (before, after)]
                shape = [1] * x.ndim
                shape[dim] = -1
                flat = call.flat(labels, dim)
                if before < 0 or after < 0:
                    call.pin(flat, "is cropped to a fixed size")
                    labels = flat[-min(before, 0) : len(flat) + min(after, 0)].view(shape)
                    before, after = max(before, 0), max(after, 0)
                parts = [ends[0][:before], labels.flatten(), ends[1][:after]]
                labels = torch.cat(parts).view(shape)
        fields.append(labels)
    call.set(call.outputs[0], tuple(fields))


def unknown(call: Call) -> None:
    """An operator without a rule: what flows in is pinned, and the operator is listed."""
    for tensor in call.tensors:
        for labels in call.fields(tensor):
            call.pin(labels, f"flows into the unknown operator {call.name}")
    call.list_unknown()


def _overlap(first: Tensor, second: Tensor) -> bool:
    return any(a > 1 and b > 1 for a, b in zip(first.shape, second.shape, strict=True))


def _aligned(fields: tuple[Tensor, ...], ndim: int) -> tuple[Tensor, ...]:
    return tuple(f.reshape((1,) * (ndim - f.ndim) + tuple(f.shape)) for f in fields)


def _drop(labels: Tensor, dims: set[int]) -> Tensor:
    return labels.reshape([size for dim, size in enumerate(labels.shape) if dim not in dims])


def _same_in_every_group(call: Call, labels: Tensor | None, groups: int) -> Tensor | None:
    """Unite equal positions of the groups; the first group's labels stand for all."""
    if labels is None or len(labels) == groups:
        return None if labels is None else labels[:1]
    rows = labels.view(groups, -1)
    call.unite(rows[:1], rows[1:])
    return rows[0]


def _pin_others(
    call: Call, tensor: Tensor, dims: tuple[int, ...], reason: str, *, silent: bool = False
) -> None:
    for labels in call.fields(tensor):
        if not set(varying(labels)) & set(dims):
            call.pin(labels, reason, silent=silent)


def _dims_of(call: Call, x: Tensor) -> set[int]:
    """The dimensions that an `along_one` operator works on."""
    where = {"flip": ("dims", 1), "roll": ("dims", 2), "slice": ("dim", 1), "select": ("dim", 1)}
    where |= {"index_select": ("dim", 1), "unbind": ("dim", 1)}
    dims = call.argument(*where.get(call.name, ("dim", 2)))
    return {dim % x.ndim for dim in ([dims or 0] if not isinstance(dims, list | tuple) else dims)}


def _as_tuple(result: Any) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


_KINDS: dict[Rule, str] = {
    meet: """relu relu6 hardtanh hardswish hardsigmoid sigmoid tanh silu gelu elu leaky_relu mish
        softplus celu selu threshold clamp clamp_min clamp_max abs neg exp log sqrt rsqrt square
        pow reciprocal erf sign add sub mul div rsub maximum minimum where prelu _prelu_kernel
        lerp addcmul addcdiv masked_fill eq ne lt le gt ge logical_and logical_or logical_not
        copy fill dropout native_dropout bernoulli""",
    keep: """clone detach alias contiguous _to_copy lift_fresh zeros_like ones_like empty_like
        full_like rand_like randn_like""",
    constant: """empty zeros ones full arange new_zeros new_ones new_empty new_full scalar_tensor
        rand randn randint linspace _local_scalar_dense sym_size""",
    convolution: "convolution",
    matrix_product: "mm addmm bmm baddbmm",
    batch_norm: "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
    reduce: "mean sum amax amin max min",
    pool: """max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
        upsample_nearest2d upsample_bilinear2d max_pool1d _adaptive_avg_pool1d
        max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d""",
    view: "view _unsafe_view reshape _reshape_alias",
    move: "permute transpose t unsqueeze",
    squeeze: "squeeze",
    expand: "expand",
    along_one: "slice select split split_with_sizes unbind flip roll index_select",
    concatenate: "cat",
    pad: "constant_pad_nd",
}

RULES: Mapping[str, Rule] = {name: rule for rule, names in _KINDS.items() for name in names.split()}
