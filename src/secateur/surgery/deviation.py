"""How far every number may lie from the one that was computed: interval arithmetic by operator.

A tensor is its value on one input and, beside it, a deviation of the same shape: whatever the
input, an element lies within value ± deviation. Zero is what no input changes. Each function here
takes one operator's call and gives the deviation of its first output, or None where no bound is
known; `limited` then bounds it by what is assumed of every feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter

from secateur.channels import arithmetic, movement
from secateur.channels.normalisation import batch_norm
from secateur.channels.rules import Rule

BOUND = 1e6
"""No feature map is taken to grow beyond this many times what it is on the seeded random input."""

LARGEST = 1e100
"""In place of infinity, so that zero times it is zero."""


@dataclass(frozen=True)
class Operation:
    """One call of an operator, before it runs; `deviation` looks up that of a tensor."""

    func: Any
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    deviation: Callable[[Tensor], Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return [t for t in tree_iter((self.args, self.kwargs)) if isinstance(t, Tensor)]

    def size(self, tensor: Tensor) -> Tensor:
        """The largest absolute value an element may have."""
        return finite(magnitude(tensor) + self.deviation(tensor))

    def varies(self, tensor: Any) -> bool:
        """Whether any input changes it."""
        return isinstance(tensor, Tensor) and bool(self.deviation(tensor).any())

    def bare(self) -> str:
        """The operator's name, the same in place."""
        return self.name.removesuffix("_")


def deviation_of(operation: Operation, rule: Rule | None) -> Tensor | None:
    """The deviation of an operator's first output; None where nothing is known of it."""
    name = operation.bare()
    if name in _ELEMENTWISE:
        found = _ELEMENTWISE[name](operation)
        if found is not None:
            return found
    if rule in (arithmetic.meet, arithmetic.keep):
        return _as_many_as_vary(operation)
    if (rule is arithmetic.pool and "bicubic" not in name) or name in ("mean", "sum", "amax"):
        x, *rest = operation.args
        if "dtype" in operation.kwargs:
            return None
        out = operation.func(operation.deviation(x), *rest, **operation.kwargs)
        return next(leaf for leaf in tree_iter(out) if isinstance(leaf, Tensor))
    return _BY_RULE[rule](operation) if rule in _BY_RULE else None


def limited(deviation: Tensor, value: Tensor) -> Tensor:
    """No deviation beyond `BOUND` times the largest value that was computed, or 1 if that is more.

    Where a value that may change is no finite number, there is no bound but `LARGEST`.
    """
    bounded = finite(deviation)
    largest = float(magnitude(value).max()) if value.numel() else 0.0
    if isfinite(largest):
        return bounded.clamp_(max=BOUND * max(largest, 1.0))
    return torch.where(value.isfinite() | (bounded == 0), bounded.clamp_(max=LARGEST), LARGEST)


def magnitude(tensor: Tensor) -> Tensor:
    """Absolute values in float64."""
    return tensor.abs().double() if tensor.is_complex() else tensor.double().abs()


def finite(tensor: Tensor) -> Tensor:
    """`LARGEST` in place of what is infinite, or no number."""
    return tensor.nan_to_num(LARGEST, LARGEST, -LARGEST)


def _as_many_as_vary(operation: Operation) -> Tensor:
    """An element of which an operand varies may be anything."""
    varies = torch.zeros((), dtype=torch.bool)
    for tensor in operation.tensors:
        varies = varies | (operation.deviation(tensor) > 0)
    return varies.double() * LARGEST


def _at_most(slope: float | Callable[..., float], operation: Operation) -> Tensor | None:
    """A function of one tensor that is nowhere steeper than `slope`."""
    if len(operation.tensors) > 1:
        return None
    x, *rest = operation.args
    steepest = slope if isinstance(slope, float) else float(slope(*rest, **operation.kwargs))
    return steepest * operation.deviation(x)


def _sum(operation: Operation) -> Tensor | None:
    one, other = operation.args[:2]
    alpha = operation.kwargs.get("alpha", operation.args[2] if len(operation.args) > 2 else 1)
    factors = (alpha, 1) if operation.bare() == "rsub" else (1, alpha)
    total = torch.zeros((), dtype=torch.float64)
    for operand, factor in zip((one, other), factors, strict=True):
        if isinstance(operand, Tensor):
            total = total + abs(factor) * operation.deviation(operand)
    return total


def _product(operation: Operation) -> Tensor | None:
    one, other = operation.args[:2]
    if not isinstance(other, Tensor):
        return operation.deviation(one) * float(abs(other))
    return _bilinear(operation, torch.mul, one, other)


def _quotient(operation: Operation) -> Tensor | None:
    x, divisor = operation.args[:2]
    if operation.kwargs or operation.varies(divisor) or not isinstance(x, Tensor):
        return None
    size = magnitude(divisor) if isinstance(divisor, Tensor) else float(abs(divisor))
    return operation.deviation(x) / size


def _larger(operation: Operation) -> Tensor | None:
    one, other = operation.args[:2]
    return torch.maximum(operation.deviation(one), operation.deviation(other))


def _where(operation: Operation) -> Tensor | None:
    condition, *choices = operation.args
    if operation.varies(condition):
        return None
    none = torch.zeros((), dtype=torch.float64)
    one, other = (operation.deviation(t) if isinstance(t, Tensor) else none for t in choices)
    return torch.where(condition, one, other)


def _prelu(operation: Operation) -> Tensor | None:
    """A slope of one, or the weight's where that is steeper."""
    x, weight = operation.args
    if operation.varies(weight):
        return None
    return operation.deviation(x) * magnitude(weight).clamp(min=1)


def _copy(operation: Operation) -> Tensor | None:
    """The same numbers; of another type than floating point, those that vary may be any."""
    x = operation.args[0]
    asked = operation.kwargs.get("dtype") or x.dtype
    return operation.deviation(x) if asked.is_floating_point or asked.is_complex else None


def _convolution(operation: Operation) -> Tensor | None:
    x, weight, bias, *rest = operation.args
    found = _bilinear(operation, lambda x, w: operation.func(x, w, None, *rest), x, weight)
    if operation.varies(bias):
        found = found + operation.deviation(bias).view(1, -1, *[1] * (x.ndim - 2))
    return found


def _matrix_product(operation: Operation) -> Tensor | None:
    *added, one, other = operation.tensors
    found = _bilinear(operation, torch.matmul, one, other)
    found = found * float(abs(operation.kwargs.get("alpha", 1)))
    if added:
        beta = float(abs(operation.kwargs.get("beta", 1)))
        found = found + beta * operation.deviation(added[0])
    return found


def _bilinear(
    operation: Operation, multiply: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor
) -> Tensor:
    """Of a sum of products: |a| δb + δa |b| + δa δb, summed alike."""
    deviation = operation.deviation
    found = multiply(deviation(one), finite(magnitude(other)))
    if operation.varies(other):
        found = found + multiply(operation.size(one), deviation(other))
    return found


def _batch_norm(operation: Operation) -> Tensor | None:
    """Scale over the root of the variance; with statistics of its input, channels are alike."""
    x, scale, _, _, variance = operation.args[:5]
    if any(map(operation.varies, operation.args[1:5])):
        return None
    shape = (1, -1) + (1,) * (x.ndim - 2)
    deviation = operation.deviation(x)
    gain = torch.ones(x.shape[1], dtype=torch.float64) if scale is None else scale.double().abs()
    if operation.name == "native_batch_norm" and operation.args[5]:
        some = deviation.transpose(0, 1).flatten(1).any(1) & (gain > 0)
        return (some.double() * LARGEST).view(shape).expand_as(deviation)
    gain = torch.where(gain > 0, gain / (variance.double() + operation.args[-1]).sqrt(), 0)
    return deviation * finite(gain).view(shape)


def _pad(operation: Operation) -> Tensor:
    return operation.func(operation.deviation(operation.args[0]), operation.args[1])  # type: ignore[no-any-return]


def _elu_slope(alpha: float = 1, scale: float = 1, input_scale: float = 1) -> float:
    return abs(scale) * max(1.0, abs(alpha * input_scale))


SLOPES: Mapping[str, float | Callable[..., float]] = {
    **dict.fromkeys(("relu", "hardtanh", "relu6", "clamp", "clamp_min", "clamp_max"), 1.0),
    **dict.fromkeys(("hardsigmoid", "sigmoid", "tanh", "softplus", "abs", "neg", "sin"), 1.0),
    **{"silu": 1.1, "mish": 1.1, "gelu": 1.2, "hardswish": 1.5, "elu": _elu_slope},
    "leaky_relu": lambda slope=0.01: max(1.0, abs(slope)),
}
"""How steep a function of one tensor is at most."""

_ELEMENTWISE: Mapping[str, Callable[[Operation], Tensor | None]] = {
    **{name: partial(_at_most, slope) for name, slope in SLOPES.items()},
    **dict.fromkeys(("add", "sub", "rsub"), _sum),
    **dict.fromkeys(("maximum", "minimum"), _larger),
    **dict.fromkeys(("clone", "contiguous", "_to_copy"), _copy),
    "mul": _product,
    "where": _where,
    "_prelu_kernel": _prelu,
    "div": _quotient,
}

_BY_RULE: Mapping[Rule | None, Callable[[Operation], Tensor | None]] = {
    arithmetic.convolution: _convolution,
    arithmetic.matrix_product: _matrix_product,
    batch_norm: _batch_norm,
    movement.pad: _pad,
}
