"""Verification after the cut: the smaller network against the masked one, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, call_arguments
from secateur.channels.walk import tensors_of
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery.mask import mask
from secateur.surgery.rebuild import rebuild

TOLERANCE = 1e-10


@dataclass(frozen=True)
class Verification:
    """How far the cut network is from the masked one.

    `relative_error` is max |cut - masked| / max |masked| over all outputs, in float64 on seeded
    random input. `mixing` lists operators that make a difference legitimate.
    """

    relative_error: float
    mixing: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether the two agree within 1e-10."""
        return self.relative_error <= TOLERANCE


def verify(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    example_input: Example,
) -> Verification:
    """Compare `small` with the masked `model`.

    Raises:
        VerificationError: they differ and no mixing operator explains it.
    """
    example = _random_like(example_input)
    masked = _outputs(mask(model, plan, channels).to("cpu", torch.float64), example)
    cut = _outputs(in_float64(small), example)
    errors = [_relative_error(one, other) for one, other in zip(cut, masked, strict=True)]
    touched = [m for m in channels.mixing if any(plan.remove.get(name) for name in m.groups)]
    mixing = tuple(f"{m.operator} at {m.source}" for m in touched)
    result = Verification(max(errors, default=0.0), mixing)
    if not result.exact and not touched:
        raise VerificationError(
            f"the cut network differs from the masked one by {result.relative_error:.2g} "
            f"(allowed {TOLERANCE:g}); the model that came in is untouched"
        )
    return result


def difference(model: nn.Module, other: nn.Module, example_input: Example) -> float:
    """Max |other - model| / max |model| over all outputs, in float64 on seeded random input."""
    example = _random_like(example_input)
    wanted, found = (_outputs(in_float64(net), example) for net in (model, other))
    return max(
        (_relative_error(one, two) for one, two in zip(found, wanted, strict=True)), default=0.0
    )


def _random_like(example_input: Example) -> Example:
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    drawn: Example = tree_map_only(Tensor, draw, example_input)
    return drawn


def in_float64(model: nn.Module) -> nn.Module:
    """A copy on the CPU in float64."""
    named = tensors_of(model)
    exact = {name: t.detach().to("cpu", torch.float64) for name, t in named.items()}
    tensors = {name: t for name, t in exact.items() if named[name].is_floating_point()}
    return rebuild(model, tensors).to("cpu", torch.float64)


def _outputs(model: nn.Module, example: Example) -> list[Tensor]:
    args, kwargs = call_arguments(example)
    model.eval()
    with torch.no_grad():
        out: Any = model(*args, **kwargs)
    return [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]


def _relative_error(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    scale = float(other.double().abs().max()) or 1.0
    error = float((one.double() - other.double()).abs().max()) / scale
    return error if error == error else float("inf")
