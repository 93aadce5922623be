"""Shapes of the commonest operators' outputs, made with one `empty`.

Torch's own meta kernels are written in Python and take much of a trace, and some lay their outputs
out in memory otherwise than the kernels that compute, so that a view would fail that does not. A
function here takes an operator's arguments; where it does not see at once that they fit, it answers
`NotImplemented`, and the meta kernel runs, with its own errors. An operator without an entry runs
its meta kernel too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from secateur.channels.recurrent import GATES, cell_shape, layer_shape
from secateur.channels.shapes_of_layers import (
    addmm,
    batch_norm,
    bmm,
    convolution,
    group_norm,
    layer_norm,
    linear,
    matmul,
    mm,
    upsampled,
    weight_norm,
)
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


def power(x: Any, y: Any) -> Any:
    """As the input, to the power of a number."""
    if not isinstance(x, Tensor) or isinstance(y, Tensor | complex):
        return NotImplemented
    return same(x)


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


def softmax(x: Tensor, dim: int, half_to_float: Any = False, **named: Any) -> Any:
    """As the input, contiguous."""
    if half_to_float or named or not x.is_floating_point() or not -x.ndim <= dim < x.ndim:
        return NotImplemented
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Any:
    """A copy, laid out as the input or as asked."""
    if memory_format is None or memory_format == torch.preserve_format:
        return _like(x)
    return torch.empty(x.shape, dtype=x.dtype, device="meta", memory_format=memory_format)


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Any:
    """As the input."""
    if not x.is_contiguous() or len(dims) != len(shifts) or not dims:
        return NotImplemented
    if any(not -x.ndim <= d < x.ndim for d in dims):
        return NotImplemented
    return _like(x)


def unsafe_view(x: Tensor, sizes: Sequence[int]) -> Any:
    """In other sizes."""
    if not x.is_contiguous() or -1 in sizes or prod(sizes) != x.numel():
        return NotImplemented
    return torch.empty(sizes, dtype=x.dtype, device="meta")


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """Along a new dimension; of contiguous ones."""
    first = tensors[0]
    if not -first.ndim - 1 <= dim <= first.ndim:
        return NotImplemented
    if any(t.shape != first.shape or t.dtype != first.dtype for t in tensors):
        return NotImplemented
    if not all(t.is_contiguous() for t in tensors):
        return NotImplemented
    sizes = list(first.shape)
    sizes.insert(dim % (first.ndim + 1), len(tensors))
    return torch.empty(sizes, dtype=first.dtype, device="meta")


def glu(x: Tensor, dim: int = -1) -> Any:
    """One half gates the other."""
    if not x.is_contiguous() or not x.is_floating_point() or not -x.ndim <= dim < x.ndim:
        return NotImplemented
    sizes = list(x.shape)
    if sizes[dim] % 2:
        return NotImplemented
    sizes[dim] //= 2
    return torch.empty(sizes, dtype=x.dtype, device="meta")


def compared(x: Tensor, y: Any) -> Any:
    """Truth values, as the input."""
    if x.is_complex() or isinstance(y, complex):
        return NotImplemented
    if isinstance(y, Tensor) and (y.is_complex() or x.shape != y.shape or x.stride() != y.stride()):
        return NotImplemented
    return torch.empty_like(x, dtype=torch.bool)


def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Any:
    """As the input; the mask may be smaller."""
    if isinstance(value, Tensor) or mask.dtype != torch.bool or mask.ndim > x.ndim:
        return NotImplemented
    if not x.is_floating_point() or not x.is_contiguous() or isinstance(value, complex):
        return NotImplemented
    last = x.shape[x.ndim - mask.ndim :]
    if any(m not in (1, n) for m, n in zip(mask.shape, last, strict=True)):
        return NotImplemented
    return _like(x)


def vector_norm(x: Tensor, *rest: Any, **kwargs: Any) -> Any:
    """As a mean; its order, which comes first, does not matter."""
    return mean(x, *rest[1:], **{k: v for k, v in kwargs.items() if k != "ord" and v is not None})


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
    mish softplus neg abs exp sqrt rsqrt erf sin cos log log1p"""
_CLAMPS = "clamp clamp_min clamp_max"
_OF_TWO = "add sub mul div rsub _prelu_kernel maximum minimum"
_COMPARED = "eq ne lt le gt ge"
_REDUCED = "mean sum"

_UPSAMPLED = {
    1: "upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d",
    2: """upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d
        _upsample_bilinear2d_aa _upsample_bicubic2d_aa""",
    3: "upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d",
}

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
    "aten::native_group_norm": group_norm,
    "aten::_softmax": softmax,
    "aten::_log_softmax": softmax,
    "aten::_safe_softmax": softmax,
    **{f"aten::{name}": upsampled(n) for n, names in _UPSAMPLED.items() for name in names.split()},
    **{f"aten::{name}": compared for name in _COMPARED.split()},
    **{f"aten::{name}": mean for name in _REDUCED.split()},
    "aten::linalg_vector_norm": vector_norm,
    "aten::masked_fill": masked_fill,
    "aten::bmm": bmm,
    "aten::clone": clone,
    "aten::pow": power,
    "aten::roll": roll,
    "aten::_unsafe_view": unsafe_view,
    "aten::stack": stack,
    "aten::glu": glu,
    "aten::_weight_norm_interface": weight_norm,
    "aten::addmm": addmm,
    "aten::mm": mm,
    "aten::linear": linear,
    "aten::matmul": matmul,
    "aten::cat": cat,
    **{f"aten::{name}": rounded for name in _ROUNDED.split()},
    **{f"aten::{name}": layer_shape for name in GATES},
    **{f"aten::{name}_cell": cell_shape for name in GATES},
}
"""Operator -> function of its arguments."""
