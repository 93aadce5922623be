"""Operators that compute: their inputs meet, are contracted, or are reduced."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Literal

from torch import Tensor

from secateur.channels.call import Call
from secateur.channels.labels import Fields, as_field, varying
from secateur.channels.operands import Operand, dims_of, drop, met, operand, without


def meet(call: Call) -> None:
    """Element-wise: labels of elements that meet are united; a size-1 side is broadcast."""
    out = call.outputs[0]
    call.set_all(met(call, [operand(call, t, out.ndim) for t in call.tensors], out.shape))


def keep(call: Call) -> None:
    """Same shape in and out, no meeting: the labels ride along."""
    call.set_all(call.fields(call.tensors[0]))


def triangle(call: Call) -> None:
    """Elements below or above a diagonal: what lies along the last two dimensions has its place."""
    x = call.args[0]
    call.pin_others(x, range(x.ndim - 2), "has its place in a triangle")
    call.set_all({d: labels for d, labels in call.fields(x).items() if d < x.ndim - 2})


def restride(call: Call) -> None:
    """Other strides: of the same shape, it only says how the elements lie in memory."""
    x, shape = call.args[:2]
    if tuple(shape) != tuple(x.shape):
        call.pin_others(x, (), "is laid out anew")
        call.set_all({})
    else:
        keep(call)


def softmax(call: Call) -> None:
    """The labels ride along; over channels it mixes them."""
    x = call.args[0]
    if (labels := call.fields(x).get(call.args[1] % max(x.ndim, 1))) is not None:
        call.mixing(labels, f"{call.name} over channels")
    keep(call)


def constant(call: Call) -> None:
    """A new tensor of a fixed size: no labels."""


def convolution(call: Call) -> None:
    """Contract input channels with weight inputs; plain, grouped, depthwise and transposed.

    A convolution with one input channel a group is depthwise: its groups shrink with its inputs.
    """
    x, weight, bias = call.args[:3]
    transposed, groups = call.args[6], call.args[8]
    inputs = call.along(x, 1)
    if not call.is_parameter(weight):
        call.pin_others(weight, (0, 1), "is a kernel size", silent=True)
    call.pin_others(x, (0, 1), "is a place in an image")
    examples = call.along(x, 0)
    if call.decide(int(groups > 1 and groups == x.shape[1])):
        dims = 0, 1
        outputs, applied_to = _by_channel(call, inputs, examples)
    else:
        dims = (1, 0) if transposed else (0, 1)
        outputs, applied_to = _over_channels(call, inputs, dims), examples
    if inputs is not None and call.is_lifted(weight):
        call.mixing(inputs, "a weight that is not zero where its parameter is", silent=True)
    if isinstance(bias, Tensor):
        call.match(outputs, bias, 0)
    _count_convolution(call, dims, applied_to)
    fields = {} if outputs is None else {1: as_field(outputs, 1, x.ndim)}
    if examples is not None:
        fields[0] = as_field(examples, 0, x.ndim)
    call.set_all(fields)


def _by_channel(
    call: Call, inputs: Tensor | None, examples: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """A depthwise convolution: every filter, along dimension 0, is its input's own.

    Gives the labels put out, and those of what the weight is applied to one by one.
    """
    weight, transposed, groups = call.args[1], call.args[6], call.args[8]
    multiplier = weight.shape[1] if transposed else weight.shape[0] // groups
    several = inputs
    if inputs is not None and multiplier > 1:
        several = inputs.repeat_interleave(multiplier)
    if transposed and (depth := call.along(weight, 1)) is not None:
        call.pin(depth, "is a depth multiplier")
    # one kernel laid out for as many channels as there are fits any number
    expanded = not call.is_parameter(weight) and not weight.stride(0)
    if call.decide(int(expanded), 1):
        return several, several
    own = call.match(inputs if transposed else several, weight, 0, "out")
    return (several if transposed else own), examples


def _over_channels(call: Call, inputs: Tensor | None, dims: tuple[int, int]) -> Tensor | None:
    """A convolution over all inputs, or over those of a group; `dims` are out and in.

    Gives the labels put out: the weight's, in a transposed one once for each group.
    """
    weight, transposed, groups = call.args[1], call.args[6], call.args[8]
    out_dim, in_dim = dims
    own = call.along(weight, out_dim)
    call.role(weight, out_dim, "out")
    if groups == 1:
        call.match(inputs, weight, in_dim, "in")
    else:
        rows = None if inputs is None else inputs.view(groups, -1)
        read = call.along(weight, in_dim)
        call.role(weight, in_dim, "in")
        call.contract(rows, read.view(groups, -1) if transposed and read is not None else read)
        call.same_in_every_group(read if transposed else own, groups)
    return own.repeat(groups) if transposed and own is not None else own


def _count_convolution(call: Call, dims: tuple[int, int], applied_to: Tensor | None) -> None:
    """Note a layer, whose weight is applied to `applied_to` one by one, or a product."""
    x, weight = call.args[:2]
    transposed, groups = call.args[6], call.args[8]
    places = prod((x if transposed else call.outputs[0]).shape[2:])
    macs = places * x.shape[0] * weight.numel()
    kind: Literal["transposed", "convolution"] = "transposed" if transposed else "convolution"
    if call.is_plain(weight, dims):
        call.layer(kind, weight, dims, groups, macs, applied_to)
        return
    sizes = macs // weight.numel(), *weight.shape[:2], weight[0, 0].numel()
    first, others = call.along(weight, 0), applied_to
    if first is None and not weight.stride(0):  # one kernel for as many channels as there are
        first, others = applied_to, None
    call.product(sizes, (others, first, call.along(weight, 1), None))
    call.sources(kind, weight, dims, groups, macs // weight.numel())


def matrix_product(call: Call) -> None:
    """(n, k) times (k, m), batched or not, with a bias or not: contract k, then rows meet columns.

    Of two tensors neither of which is a weight, a zeroed channel need not be zero on both sides.
    """
    first, second = call.args[-2:]
    k_first, k_second = first.ndim - 1, second.ndim - 2
    n_pins = len(call.run.notebook.pins)
    inner = call.along(first, k_first)
    call.match(inner, second, k_second)
    weights = call.is_weight(first), call.is_weight(second)
    if inner is not None and not any(weights):
        call.mixing(inner, "a product of feature maps over channels", silent=True)
    elif inner is not None and any(call.is_lifted(tensor) for tensor in (first, second)):
        call.mixing(inner, "a weight that is not zero where its parameter is", silent=True)
    if not any(weights):
        call.run.crossings += [*_crossings(call.fields(first)), *_crossings(call.fields(second))]
    out = call.outputs[0]
    if weights[0] != weights[1]:
        weight, out_dim, in_dim = second, k_first, k_second
        if weights[0]:
            weight, out_dim, in_dim = first, k_second, k_first
        call.role(weight, in_dim, "in")
        call.role(weight, out_dim, "out")
        macs = out.numel() * first.shape[k_first]
        rows = call.along(second if weights[0] else first, in_dim)
        if call.is_plain(weight, (out_dim, in_dim)):
            call.layer("linear", weight, (out_dim, in_dim), 1, macs, rows)
        else:
            _note_product(call, first, second)
            call.sources("linear", weight, (out_dim, in_dim), 1, macs // weight.numel())
    else:
        _note_product(call, first, second)
    operands = [without(call, first, k_first), without(call, second, k_second)]
    if call.name in ("addmm", "baddbmm"):
        bias = call.args[0]
        if weights[1] and bias.ndim == 1:
            call.match(call.along(second, k_first), bias, 0)
        operands.append(operand(call, bias, first.ndim))
    call.set(out, met(call, operands, out.shape))
    if not any(weights):
        call.run.clashes += [pin.labels for pin in call.run.notebook.pins[n_pins:]]


def linear(call: Call) -> None:
    """(..., k) times a weight (m, k), with a bias or not: contract k.

    Of the other dimensions at most one has channels.
    """
    x, weight = call.args[:2]
    bias, last, out = call.argument("bias", 2), x.ndim - 1, call.outputs[0]
    inner = call.along(x, last)
    call.match(inner, weight, 1, "in")
    if inner is not None and call.is_lifted(weight):
        call.mixing(inner, "a weight that is not zero where its parameter is", silent=True)
    call.role(weight, 0, "out")
    outputs, others = call.along(weight, 0), without(call, x, last).fields
    rows = None
    for labels in others.values():
        rows = labels.expand(*x.shape[:-1], 1).reshape(-1)
    if call.is_plain(weight, (0, 1)):
        call.layer("linear", weight, (0, 1), 1, out.numel() * weight.shape[1], rows)
    else:
        times = prod(x.shape[:-1])
        call.product((times, *weight.shape), (rows, outputs, inner))
        call.sources("linear", weight, (0, 1), 1, times)
    if bias is not None:
        call.match(outputs, bias, 0)
    own = {} if outputs is None else {last: as_field(outputs, last, x.ndim)}
    call.set(out, {**others, **own})


def vector_product(call: Call) -> None:
    """(n, k) times (k,), or (k,) times (k,): contract k, of which nothing is left.

    Times a weight it is a layer with one output, of which torch counts no MACs.
    """
    first, second = call.args[:2]
    inner = call.along(first, first.ndim - 1)
    weights = call.is_weight(first), call.is_weight(second)
    if weights[1] and not weights[0]:
        call.match(inner, second, 0, "in")
    else:
        call.match(inner, second, 0)
    if inner is not None and weights[0] == weights[1]:
        call.mixing(inner, "a product of two tensors over channels", silent=True)
    fields = call.fields(first) if first.ndim == 2 else {}
    call.set_all({0: call.same_along(fields[0], [1])[:, 0]} if 0 in fields else {})


def _note_product(call: Call, first: Tensor, second: Tensor) -> None:
    """Rows times inner times columns, and times the batches if there are any."""
    k = first.ndim - 1
    sides = [*((first, dim) for dim in range(k)), (second, k), (first, k)]
    along = [_first(call.fields(tensor).get(dim), dim) for tensor, dim in sides]
    call.product(tuple(tensor.shape[dim] for tensor, dim in sides), tuple(along))


def _crossings(fields: Fields) -> Iterator[Tensor]:
    """Of a field that varies along other dimensions too, as one of widths in heads, these."""
    for dim, labels in fields.items():
        for k in varying(labels):
            if k != dim and (vector := _first(labels, k)) is not None:
                yield vector


def _first(labels: Tensor | None, dim: int) -> Tensor | None:
    """A field as a vector along `dim`, at the first index of the other dimensions."""
    for k in range(0 if labels is None else labels.ndim):
        labels = labels if labels is None or k == dim else labels.narrow(k, 0, 1)
    return None if labels is None else labels.flatten()


def trilinear(call: Call) -> None:
    """A product of three tensors laid into common dimensions, some of which are summed over."""
    laid, summed = call.args[3:6], set(call.args[6])
    sides = []
    for tensor, added in zip(call.args[:3], laid, strict=True):
        fields = dict(call.fields(tensor))
        sizes = list(tensor.shape)
        for dim in sorted(added):
            fields = {k + (k >= dim): labels.unsqueeze(dim) for k, labels in fields.items()}
            sizes.insert(dim, 1)
        sides.append(Operand(tuple(sizes), (1,) * len(sizes), fields))
    whole = [max(sizes) for sizes in zip(*(side.sizes for side in sides), strict=True)]
    fields = dict(met(call, sides, whole))
    for dim in sorted(summed, reverse=True):
        fields = {
            k - (k > dim): call.same_along(labels, [dim]).squeeze(dim)
            for k, labels in fields.items()
            if k != dim
        }
    call.set(call.outputs[0], fields)


_SUMS = {"sum", "nansum", "linalg_vector_norm", "norm", "any", "count_nonzero"}
"""Reductions to which a zero adds nothing."""


def _is_sum(call: Call) -> bool:
    """Whether a zero adds nothing; to a norm of no positive order it is what counts."""
    order = call.argument("ord", 1) if "norm" in call.name else None
    return call.name in _SUMS and (not isinstance(order, int | float) or order > 0)


def reduce(call: Call) -> None:
    """Mean, sum, maximum or spread over dimensions; over a labelled one it mixes channels."""
    x = call.args[0]
    asked = call.argument("dim", 2 if "norm" in call.name else 1)
    over_all = isinstance(asked, bool) or asked is None or asked == []
    dims = dims_of(None if over_all else asked, x.ndim)
    fields: dict[int, Tensor] = {}
    for d, labels in call.fields(x).items():
        if d in dims and call.name in ("argmax", "argmin"):
            call.pin(labels, "is numbered")
        elif d in dims:
            call.mixing(labels, f"{call.name} over channels", silent=_is_sum(call))
            if len(call.outputs) == 2 and not call.outputs[1].is_floating_point():
                call.numbers_of(call.outputs[1], labels)
        elif call.outputs[0].ndim == x.ndim:
            fields[d] = call.same_along(labels, dims)
        else:
            fields |= drop(call, {d: labels}, dims)
    call.set_all(fields)


def pool(call: Call) -> None:
    """Windows over the last dimensions: channels ride along, places lose their names."""
    x = call.args[0]
    n_places = next(int(letter) for letter in call.name if letter.isdigit())
    channels = range(x.ndim - n_places)
    call.pin_others(x, channels, "is a place in an image")
    places = range(x.ndim - n_places, x.ndim)
    call.set_all(
        {d: call.same_along(f, places) for d, f in call.fields(x).items() if d in channels}
    )
