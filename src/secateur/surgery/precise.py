"""Networks in float64, run with one seed, and how far their answers are apart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from secateur.channels.trace import Example, call_arguments, same_generators, untouched
from secateur.channels.walk import modules_of, tensors_of, tensors_within
from secateur.surgery.inputs import drawn
from secateur.surgery.rebuild import rebuild


def difference(model: nn.Module, other: nn.Module, example_input: Example) -> float:
    """Max |other - model| / max |model| over all outputs, in float64 on seeded random input."""
    example = drawn(example_input, None)
    with Float64():
        found, wanted = (outputs(in_float64(network), example) for network in (other, model))
    return apart(found, wanted)


def apart(
    cut: list[Tensor], reference: list[Tensor], noise: Sequence[Tensor | None] | None = None
) -> float:
    """The largest relative difference of two answers, over all tensors; see `_relative_error`."""
    if len(cut) != len(reference):
        return float("inf")
    sides = zip(cut, reference, noise or [None] * len(cut), strict=True)
    errors = [_relative_error(*side) for side in sides]
    return float(np.max(errors, initial=0.0))  # of which NaN is the largest


class Float64(TorchFunctionMode):
    """Every floating point number is of 64 bits, whatever the network casts to."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's on float64, and where it would cast, to float64."""
        name = getattr(func, "__name__", "")
        if name in _ONLY_IN_FLOAT32:
            rest, named = tree_map(_in_32_bits, (args, kwargs or {}))
            return tree_map(_in_64_bits, func(*rest, **named))
        if name in ("float", "half", "bfloat16"):
            func = Tensor.double
        n_kept = int((name.endswith("_") and not name.endswith("__")) or name == "__setitem__")
        rest = map(_wide, args[n_kept:])
        return func(*args[:n_kept], *rest, **{k: _wide(v) for k, v in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    """In 64 bits; a quick way for what no tensors are in, as Python's trees take long."""
    if isinstance(value, tuple | list | dict):
        return tree_map(_in_64_bits, value)
    return _in_64_bits(value)


_WIDE = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64}
_WIDE |= {torch.complex64: torch.complex128, torch.complex32: torch.complex128}


_ONLY_IN_FLOAT32 = {"fused_moving_avg_obs_fake_quant"}
"""Functions that have no kernel in float64."""


def _in_32_bits(value: Any) -> Any:
    is_wide = isinstance(value, Tensor) and value.dtype == torch.float64
    return value.float() if is_wide else value


def _in_64_bits(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _WIDE:
        return value.to(_WIDE[value.dtype])
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def in_float64(model: nn.Module) -> nn.Module:
    """A copy on the CPU in float64."""
    named = tensors_of(model)
    wide = {
        name: tensor.detach().to("cpu", _WIDE.get(tensor.dtype, tensor.dtype), copy=True)
        for name, tensor in named.items()
    }
    return rebuild(model, wide).to("cpu")


@contextmanager
def one_seed() -> Iterator[None]:
    """The same random numbers every time, and those outside as if none had been drawn."""
    with same_generators():
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        yield


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Buffers and attributes that a network changes while it runs are as before afterwards."""
    modules = [module for _, module in modules_of(model)]
    held = [t for m in modules for t in (*m._buffers.values(), *vars(m).values())]
    tensors = [t for t in held if isinstance(t, Tensor)]
    before = [tensor.detach().clone() for tensor in tensors]
    try:
        with untouched(modules):
            yield
    finally:
        with torch.no_grad():
            for tensor, contents in zip(tensors, before, strict=True):
                tensor.copy_(contents)


def outputs(model: nn.Module, example: Example) -> list[Tensor]:
    """The tensors of a network's answer in evaluation mode, with one seed."""
    args, kwargs = call_arguments(example)
    model.eval()
    with as_before(model), torch.no_grad(), one_seed():
        out: Any = model(*args, **kwargs)
        return [tensor.detach().clone() for tensor in tensors_within(out)]


_INFINITE = 1e30
"""Numbers from here on stand for infinite ones: what hides logits, say."""

_ROUNDING = 1e-14
"""Differences below this, of what numbers are as a rule, are rounding where they cancel out."""


def _relative_error(one: Tensor, other: Tensor, noise: Tensor | None = None) -> float:
    """The largest difference, each over its number or the median of those that differ.

    The larger of the two, so that no large number hides the others and none of many small ones
    makes much of a large one's rounding. `noise`, if given, is how far each number moves by
    rounding alone. Infinite where only one is finite, NaN where no number of the second is.
    """
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = _as_real(one), _as_real(other)
    moves = torch.zeros_like(other) if noise is None else _as_real(noise)
    finite, same = other.abs() < _INFINITE, one == other
    if not bool(finite.all()):
        alike = same | (one.isnan() & other.isnan())
        if not bool((finite | alike).all()):
            near = (one - other).abs() <= 1e-10 * other.abs()
            if not bool((finite | alike | near).all()):
                return float("inf") if bool(torch.isfinite(other).any()) else float("nan")
        if not bool(finite.any()):
            return float("nan") if not bool(torch.isfinite(other).any()) else 0.0
        one, other, moves = one[finite], other[finite], moves[finite]
    apart = (one - other).abs()
    if not bool(torch.isfinite(apart).all()):
        return float("inf")
    differs = apart > torch.clamp(moves, min=_ROUNDING * _median(other))
    if not bool(differs.any()):
        return min(float(apart.max()) / _median(other), _ROUNDING)
    scale = other[differs].abs().clamp(min=_median(other[differs], _median(other)))
    return float((apart[differs] / scale).max())


def _as_real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor.double()


def _median(numbers: Tensor, otherwise: float = 1.0) -> float:
    """The median size of numbers that are not zero."""
    sizes = numbers[numbers != 0].abs()
    return float(sizes.median()) if sizes.numel() else otherwise
