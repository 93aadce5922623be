"""Shapes of the commonest operators' outputs, made with one `empty`.

Torch's own meta kernels are written in Python and take much of a trace, and some lay their outputs
out in memory otherwise than the kernels that compute, so that a view would fail that does not. A
function here takes an operator's arguments; where it does not see at once that they fit, it answers
`NotImplemented`, and the meta kernel runs, with its own errors. An operator without an entry runs
its meta kernel too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.channels.recurrent import GATES, cell_shape, layer_shape
from secateur.channels.walk import laid_out

Shape = Callable[..., Any]


def shape_rule(operator: Any) -> Shape | None:
    """The entry of an operator, if it has one and writes no output it is given."""
    return None if "out" in operator._overloadname else SHAPES.get(operator._schema.name)


def _like(x: Tensor) -> Tensor:
    """A tensor of the same shape and strides."""
    if x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device="meta")
    return torch.empty_like(x)


def same(x: Tensor, *_: Any, **__: Any) -> Any:
    """Element-wise: as the input."""
    return _like(x) if x.is_floating_point() else NotImplemented


def in_place(x: Tensor, *_: Any, **__: Any) -> Any:
    """Element-wise on the input itself."""
    return x if x.is_floating_point() else NotImplemented


def clamped(x: Tensor, *bounds: Any, **named: Any) -> Any:
    """As the input between numbers; bounds that are tensors are broadcast."""
    return NotImplemented if _any_tensor(bounds, named) else same(x)


def clamped_in_place(x: Tensor, *bounds: Any, **named: Any) -> Any:
    """The input itself between numbers."""
    return NotImplemented if _any_tensor(bounds, named) else in_place(x)


def _any_tensor(args: Iterable[Any], named: Mapping[str, Any]) -> bool:
    return any(isinstance(value, Tensor) for value in (*args, *named.values()))


def combined(x: Any, y: Any, *_: Any, **__: Any) -> Any:
    """Element-wise of two: broadcast, where both are of one floating type."""
    if not x.is_floating_point() or isinstance(y, bool | complex):
        return NotImplemented
    if not isinstance(y, Tensor):
        return _like(x) if laid_out(x) is None else torch.empty_like(x)
    if x.dtype != y.dtype:
        return NotImplemented
    if x.shape == y.shape and x.stride() == y.stride():
        return _like(x)
    if x.ndim != y.ndim or not (x.is_contiguous() and y.is_contiguous()):
        return NotImplemented
    if x.shape != y.shape and (laid_out(x) or laid_out(y)):  # where channels last is both
        return NotImplemented
    sizes = []
    for one, other in zip(x.shape, y.shape, strict=True):
        if one != other and one != 1 and other != 1:
            return NotImplemented
        sizes.append(other if one == 1 else one)
    return torch.empty(sizes, dtype=x.dtype, device="meta")


def combined_in_place(x: Tensor, y: Any, *_: Any, **__: Any) -> Any:
    """Element-wise of two, written into the first."""
    if not x.is_floating_point() or isinstance(y, bool | complex):
        return NotImplemented
    fits = not isinstance(y, Tensor) or (x.shape == y.shape and x.dtype == y.dtype)
    return x if fits else NotImplemented


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """Any number of spatial dimensions; plain, grouped and transposed.

    Channels last where the input or the weight is. Torch's meta kernel does not see that of a
    transposed one, nor where there is one input channel.
    """
    n_out, n_in = weight.shape[:2]
    if n_out % groups or x.dtype != weight.dtype or weight.ndim != x.ndim:
        return NotImplemented
    if x.ndim == 3 and not weight.is_contiguous():
        return NotImplemented
    n_out, n_in = (n_in * groups, n_out) if transposed else (n_out, n_in * groups)
    if x.shape[1] != n_in or (
        bias is not None and (bias.shape != (n_out,) or bias.dtype != x.dtype)
    ):
        return NotImplemented
    sizes = [x.shape[0], n_out]
    for k in range(x.ndim - 2):
        s, p, d, more = (
            v[k] if len(v) > 1 else v[0] for v in (stride, padding, dilation, output_padding)
        )
        before, reach = x.shape[2 + k], d * (weight.shape[2 + k] - 1)
        size = (before + 2 * p - reach - 1) // s + 1
        if transposed:
            size = (before - 1) * s - 2 * p + reach + more + 1
        if size < 1 or (transposed and more >= max(s, d)):
            return NotImplemented
        sizes.append(size)
    layout = laid_out(x) or laid_out(weight) or torch.contiguous_format
    return torch.empty(sizes, dtype=x.dtype, device="meta", memory_format=layout)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *_: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the input, and the saved statistics, which evaluation leaves empty.

    In memory it is channels last or contiguous, as on a CPU; torch's meta kernel says otherwise.
    """
    for tensor in (weight, bias, running_mean, running_var):
        if tensor is not None and tensor.shape != x.shape[1:2]:
            raise ValueError(f"a batch norm of {len(tensor)} channels on {x.shape[1]}")
    empty = torch.empty(0, dtype=x.dtype, device="meta")
    layout = torch.contiguous_format
    if x.ndim in (4, 5) and not x.is_contiguous():
        last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        layout = last if x.is_contiguous(memory_format=last) else layout
    made = torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=layout)
    return made, empty, empty


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *_: Any
) -> Any:
    """As the input, and the statistics of every place."""
    last = x.shape[x.ndim - len(shape) :]
    if tuple(shape) != tuple(last) or any(
        t is not None and (t.shape != last or t.dtype != x.dtype) for t in (weight, bias)
    ):
        return NotImplemented
    sizes = [*x.shape[: x.ndim - len(shape)], *[1] * len(shape)]
    statistics = torch.empty(sizes, dtype=x.dtype, device="meta")
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), statistics, statistics


def mean(x: Tensor, dims: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    """Without the dimensions reduced, or with them of size 1."""
    if not dims or kwargs or not x.is_floating_point():
        return NotImplemented
    if any(not -x.ndim <= d < x.ndim for d in dims):
        return NotImplemented
    gone = {d % x.ndim for d in dims}
    if len(gone) < len(dims):
        return NotImplemented
    sizes = [1 if k in gone else n for k, n in enumerate(x.shape) if keepdim or k not in gone]
    return torch.empty(sizes, dtype=x.dtype, device="meta")


def addmm(bias: Tensor, x: Tensor, weight: Tensor, **kwargs: Any) -> Any:
    """(n, k) times (k, m), plus m."""
    if kwargs or x.shape[1] != weight.shape[0] or bias.shape != weight.shape[1:]:
        return NotImplemented
    if not x.dtype == weight.dtype == bias.dtype:
        return NotImplemented
    return torch.empty((x.shape[0], weight.shape[1]), dtype=x.dtype, device="meta")


def mm(x: Tensor, weight: Tensor) -> Any:
    """(n, k) times (k, m)."""
    if x.shape[1] != weight.shape[0] or x.dtype != weight.dtype:
        return NotImplemented
    return torch.empty((x.shape[0], weight.shape[1]), dtype=x.dtype, device="meta")


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """One after the other along `dim`; channels last where all are."""
    first = tensors[0]
    if not -first.ndim <= dim < first.ndim:
        return NotImplemented
    dim %= first.ndim
    rest = first.shape[:dim], first.shape[dim + 1 :]
    for t in tensors:
        if t.ndim != first.ndim or t.dtype != first.dtype:
            return NotImplemented
        if (t.shape[:dim], t.shape[dim + 1 :]) != rest:
            return NotImplemented
    sizes = [*rest[0], sum(t.shape[dim] for t in tensors), *rest[1]]
    layouts = {laid_out(t) for t in tensors}
    layout = layouts.pop() if len(layouts) == 1 else None
    layout = layout or torch.contiguous_format
    return torch.empty(sizes, dtype=first.dtype, device="meta", memory_format=layout)


def rounded(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    """As the input, and which elements were in range; torch has no meta kernel for all of these."""
    return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)


_ROUNDED = """fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask
    _fake_quantize_per_tensor_affine_cachemask_tensor_qparams"""
_ELEMENTWISE = """relu relu6 hardswish hardtanh hardsigmoid sigmoid silu gelu tanh leaky_relu elu
    mish softplus neg abs exp sqrt rsqrt erf"""
_CLAMPS = "clamp clamp_min clamp_max"
_OF_TWO = "add sub mul div"

SHAPES: Mapping[str, Shape] = {
    **{f"aten::{name}": same for name in _ELEMENTWISE.split()},
    **{f"aten::{name}_": in_place for name in _ELEMENTWISE.split()},
    **{f"aten::{name}": clamped for name in _CLAMPS.split()},
    **{f"aten::{name}_": clamped_in_place for name in _CLAMPS.split()},
    **{f"aten::{name}": combined for name in _OF_TWO.split()},
    **{f"aten::{name}_": combined_in_place for name in _OF_TWO.split()},
    "aten::convolution": convolution,
    "aten::native_batch_norm": batch_norm,
    "aten::_native_batch_norm_legit_no_training": batch_norm,
    "aten::native_layer_norm": layer_norm,
    "aten::mean": mean,
    "aten::addmm": addmm,
    "aten::mm": mm,
    "aten::cat": cat,
    **{f"aten::{name}": rounded for name in _ROUNDED.split()},
    **{f"aten::{name}": layer_shape for name in GATES},
    **{f"aten::{name}_cell": cell_shape for name in GATES},
}
"""Operator -> function of its arguments."""
