"""Verification after the cut: the smaller network against the masked one, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map, tree_map_only

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, call_arguments, untouched
from secateur.channels.walk import modules_of, tensors_of, tensors_within
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
    touched = [m for m in channels.mixing if any(plan.remove.get(name) for name in m.groups)]
    mixing = tuple(f"{m.operator} at {m.source}" for m in touched)
    error = _error(model, small, plan, channels, example, exact=not touched)
    result = Verification(error, mixing)
    if not result.exact and not touched:
        raise VerificationError(
            f"the cut network differs from the masked one by {result.relative_error:.2g} "
            f"(allowed {TOLERANCE:g}); the model that came in is untouched. Keep that, "
            "and report this network with its plan"
        )
    return result


def difference(model: nn.Module, other: nn.Module, example_input: Example) -> float:
    """Max |other - model| / max |model| over all outputs, in float64 on seeded random input."""
    example = _random_like(example_input)
    pair = in_float64(other), in_float64(model)
    with _Float64():
        found, wanted = (_outputs(network, example) for network in pair)
    return _difference(found, wanted)


def _error(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    example: Example,
    *,
    exact: bool,
) -> float:
    """How far cut and masked are apart; where they must be `exact`, looked at again if they are.

    The second look computes everything in float64, what the network casts to other types too. The
    third zeroes only the weights that read a removed channel, where a parameter of zero (the width
    of a filter, say) gives no number.
    """
    cut = in_float64(small)
    masked = mask(model, plan, channels).to("cpu", torch.float64)
    with _without_tensors(model):
        with suppress(Exception):  # of another type somewhere, it may be
            error = _difference(_outputs(cut, example), _outputs(masked, example))
            if error <= TOLERANCE or not exact:
                return error
        try:
            with _Float64():
                ours, theirs = _outputs(cut, example), _outputs(masked, example)
        except Exception as problem:
            said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise VerificationError(
                f"the cut network cannot be compared with the masked one in float64: {said}; "
                "every module and tensor must be reached through attributes, not through "
                "functions, weak references or helpers that hold on to the network that came in"
            ) from problem
    if all(bool(torch.isfinite(tensor).all()) for tensor in theirs):
        return _difference(ours, theirs)
    masked = mask(model, plan, channels, readers=True).to("cpu", torch.float64)
    with _without_tensors(model), _Float64():
        return _difference(ours, _outputs(masked, example))


def _difference(cut: list[Tensor], masked: list[Tensor]) -> float:
    errors = [_relative_error(one, other) for one, other in zip(cut, masked, strict=True)]
    return max(errors, default=0.0)


@contextmanager
def _without_tensors(model: nn.Module) -> Iterator[None]:
    """The network that came in is empty meanwhile: a copy that still reaches into it fails."""
    modules = [module for _, module in modules_of(model)]
    with untouched(modules):
        for module in modules:
            module.__dict__["_parameters"] = {}
            module.__dict__["_buffers"] = {}
        yield


class _Float64(TorchFunctionMode):
    """Every floating point number is of 64 bits, whatever the network casts to."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch's on float64, and where it would cast, to float64."""
        name = getattr(func, "__name__", "")
        if name in ("float", "half", "bfloat16"):
            func = Tensor.double
        n_kept = int((name.endswith("_") and not name.endswith("__")) or name == "__setitem__")
        rest, named = tree_map(_in_64_bits, (args[n_kept:], kwargs or {}))
        return func(*args[:n_kept], *rest, **named)


_WIDE = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64}
_WIDE |= {torch.complex64: torch.complex128, torch.complex32: torch.complex128}


def _in_64_bits(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in _WIDE:
        return value.to(_WIDE[value.dtype])
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


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
    return tensors_within(out)


def _relative_error(one: Tensor, other: Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    scale = float(other.double().abs().max()) or 1.0
    error = float((one.double() - other.double()).abs().max()) / scale
    return error if error == error else float("inf")
