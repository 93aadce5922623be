"""The precision that a network's numbers have, and two networks compared in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from secateur.channels.trace import Example, call_arguments
from secateur.channels.walk import tensors_of, tensors_within
from secateur.surgery.rebuild import rebuild


@dataclass(frozen=True)
class Precision:
    """A type of floating point numbers; `rounding` is its smallest relative step at 1."""

    name: str
    rounding: float


def precision_of(model: nn.Module) -> Precision:
    """The coarsest type among a network's parameters.

    >>> precision_of(nn.Linear(2, 2))
    Precision(name='float32', rounding=1.1920928955078125e-07)
    """
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    coarsest = max(types or {torch.float64}, key=lambda dtype: torch.finfo(dtype).eps)
    return Precision(str(coarsest).removeprefix("torch."), torch.finfo(coarsest).eps)


def difference_in_own_precision(
    model: nn.Module, other: nn.Module, example_input: Example
) -> float | None:
    """Max |other - model| / max |model| on seeded random input, of the types that they have.

    None where `model` gives no finite numbers, or cannot be run, in its own precision here.
    """
    generator = torch.Generator().manual_seed(0)
    device = next((t.device for t in tensors_of(model).values()), torch.device("cpu"))

    def draw(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            tensor = torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
        return tensor.to(device)

    example: Example = tree_map_only(Tensor, draw, example_input)
    try:
        wanted = _outputs(model, example)
    except RuntimeError:  # an operator that this device has not in half precision, say
        return None
    if not all(bool(tensor.isfinite().all()) for tensor in wanted):
        return None
    errors = map(_relative_error, _outputs(other, example), wanted)
    return max(errors, default=0.0)


def _outputs(model: nn.Module, example: Example) -> list[Tensor]:
    """What a copy of the network answers; a network may note things while it runs."""
    args, kwargs = call_arguments(example)
    copied = rebuild(model, {}).eval()
    with torch.no_grad():
        out: Any = copied(*args, **kwargs)
    return [tensor.to("cpu", torch.float64) for tensor in tensors_within(out)]


def _relative_error(one: Tensor, other: Tensor) -> float:
    scale = float(other.abs().max()) if other.numel() else 0.0
    error = float((one - other).abs().max()) if other.numel() else 0.0
    return error / (scale or 1.0)
