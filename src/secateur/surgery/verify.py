"""Verification after the cut: the smaller network against the masked one, in float64."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, call_arguments
from secateur.errors import VerificationError
from secateur.plan.plan import PruningPlan
from secateur.surgery.mask import mask

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
    masked = mask(model, plan, channels)
    example = _random_like(example_input)
    errors = [
        _relative_error(one, other)
        for one, other in zip(_outputs(small, example), _outputs(masked, example), strict=True)
    ]
    touched = [m for m in channels.mixing if any(plan.remove.get(name) for name in m.groups)]
    mixing = tuple(f"{m.operator} at {m.source}" for m in touched)
    result = Verification(max(errors, default=0.0), mixing)
    if not result.exact and not touched:
        raise VerificationError(
            f"the cut network differs from the masked one by {result.relative_error:.2g} "
            f"(allowed {TOLERANCE:g}); the model that came in is untouched"
        )
    return result


def _random_like(example_input: Example) -> Example:
    generator = torch.Generator().manual_seed(0)

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)

    drawn: Example = tree_map_only(Tensor, draw, example_input)
    return drawn


def _outputs(model: nn.Module, example: Example) -> list[Tensor]:
    args, kwargs = call_arguments(example)
    exact = copy.deepcopy(model).to("cpu", torch.float64)
    exact.eval()
    with torch.no_grad():
        out: Any = exact(*args, **kwargs)
    return [tensor for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]


def _relative_error(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    scale = float(other.double().abs().max()) or 1.0
    error = float((one.double() - other.double()).abs().max()) / scale
    return error if error == error else float("inf")
