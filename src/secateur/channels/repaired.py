"""Weights that torch computes from others over their inputs: weight norm and spectral norm.

A weight norm divides a direction by its norm over all inputs, a spectral norm a weight by its
largest singular value. Both change for the filters that stay when inputs go; magnitudes, or the
vectors of the singular value, take that up (see `surgery.repair`), so that every weight that stays
is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from secateur.channels.walk import modules_of

Kind = Literal["weight norm", "spectral norm"]

_KINDS: dict[str, Kind] = {
    "torch.nn.utils.weight_norm.WeightNorm": "weight norm",
    "torch.nn.utils.spectral_norm.SpectralNorm": "spectral norm",
    "torch.nn.utils.parametrizations._WeightNorm": "weight norm",
    "torch.nn.utils.parametrizations._SpectralNorm": "spectral norm",
}
"""Classes of torch's that compute a weight: hooks of a module, and parametrisations."""


@dataclass(frozen=True)
class Site:
    """A weight that a module of torch computes, and the full names of what it is made of.

    `scales` are the magnitudes of a weight norm (over all but `dim`; None: over all), or the left
    and right vector of a spectral norm, of whose matrix `dim` is the first dimension. `hook` is the
    module's hook that computes it before every call, None for a parametrisation.
    """

    module: str
    name: str
    kind: Kind
    direction: str
    scales: tuple[str, ...]
    dim: int | None
    hook: Any = None


def sites(model: nn.Module) -> list[Site]:
    """Every weight norm and spectral norm of a network, parametrisations and hooks."""
    return [site for path, module in modules_of(model) for site in _of_module(path, module)]


def directions(model: nn.Module) -> frozenset[str]:
    """The parameters that these weights are made of."""
    return frozenset(name for s in sites(model) for name in (s.direction, *s.scales))


def _of_module(path: str, module: nn.Module) -> Iterator[Site]:
    prefix = f"{path}." if path else ""
    hook: Any
    made: Any
    for hook in module._forward_pre_hooks.values():
        if (kind := _kind(hook)) is not None:
            of = f"{prefix}{hook.name}"
            ends = ("_v", ("_g",)) if kind == "weight norm" else ("_orig", ("_u", "_v"))
            scales = tuple(of + end for end in ends[1])
            yield Site(path, hook.name, kind, of + ends[0], scales, _dim(kind, hook.dim), hook)
    own = module._modules.get("parametrizations")
    for name, chain in own.items() if isinstance(own, nn.ModuleDict) else ():
        if not isinstance(chain, ParametrizationList) or not len(chain):
            continue
        made, of = chain[0], f"{prefix}parametrizations.{name}."
        kind = _kind(made)
        if kind == "weight norm":
            scales = (f"{of}original0",)
            yield Site(path, name, kind, f"{of}original1", scales, _dim(kind, made.dim))
        elif kind == "spectral norm" and "_u" in made._buffers:
            scales = f"{of}0._u", f"{of}0._v"
            yield Site(path, name, kind, f"{of}original", scales, made.dim)


def _kind(made: object) -> Kind | None:
    return _KINDS.get(f"{type(made).__module__}.{type(made).__qualname__}")


def _dim(kind: Kind, dim: int | None) -> int | None:
    return None if kind == "weight norm" and dim == -1 else dim
