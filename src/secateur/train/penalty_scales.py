"""Penalties on the scales of batch norms, one a channel: cheap, and what Weight Skewness is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.errors import TrainingError
from secateur.train.penalty import Parameters, Penalty, check_positions, known, mean_of
from secateur.train.sparsity import sparsity

Scales = Mapping[str, tuple[int, ...] | None]
"""Names of scale parameters and the positions that count, None for all of them."""


@dataclass(frozen=True)
class _ScalePenalty(Penalty):
    """What the penalties on scales share: which scales, how large and how sparse they are."""

    scales: Scales

    def check(self, parameters: Parameters) -> None:
        """Refuse scales the model does not have, or positions outside them (TrainingError)."""
        _check(self.scales, parameters)

    def distance(self, parameters: Parameters) -> float:
        """The mean magnitude of the penalised scales."""
        return mean_of(_chosen(self._where, parameters))

    def report(self, parameters: Parameters) -> dict[str, float | None]:
        """Sparsity of the penalised scales."""
        return sparsity(_chosen(self._where, parameters))

    @cached_property
    def _where(self) -> dict[str, Tensor | slice]:
        return _places(self.scales)


@dataclass(frozen=True)
class BnL1(_ScalePenalty):
    """Network Slimming: strength * sum |scale|, by adding its subgradient.

    Scales end near zero, not at it: they step back and forth across it by lr * strength.

    Reference: Liu et al. 2017 (1708.06519) eq. 1, by subgradient descent.
    """

    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add strength * sign(scale) to the gradient."""
        strength = self.strength_at(progress)
        for name, where in self._where.items():
            scale = parameters[name]
            if scale.grad is not None:
                scale.grad[where] += strength * scale.detach()[where].sign()


@dataclass(frozen=True)
class BnL1Proximal(_ScalePenalty):
    """Soft-threshold every penalised scale by lr * strength after the step: exact zeros.

    Reference: the proximal step of the same penalty, Beck & Teboulle 2009 (ISTA).
    """

    proximal: ClassVar[bool] = True

    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:
        """Move every penalised scale towards zero and stop there."""
        threshold = lr * self.strength_at(progress)
        with torch.no_grad():
            for name, where in self._where.items():
                scale = parameters[name]
                if scale.requires_grad:
                    scale[where] = nn.functional.softshrink(scale[where], threshold)


@dataclass(frozen=True)
class Polarization(_ScalePenalty):
    """strength * (t * sum |scale| - sum |scale - mean scale|): scales part into two clusters.

    Sums and mean run over all penalised scales of the network. Scales are held at zero or above,
    the range for which it is defined; those driven there are exact zeros.

    Reference: Zhuang et al. 2020, Neuron-level structured pruning using polarization regularizer
    (NeurIPS 2020) eq. 3; t is 1.2 there for CIFAR.
    """

    t: float = 1.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.t < float("inf"):
            raise TrainingError(f"polarization t is {self.t}; it must be 0 or more")

    def check(self, parameters: Parameters) -> None:
        """Refuse scales that are not there or below zero, or positions outside (TrainingError)."""
        super().check(parameters)
        for name, where in self._where.items():
            least = parameters[name].detach()[where].amin() if parameters[name].numel() else 0.0
            if least < 0:
                raise TrainingError(
                    f"polarization is defined for scales of 0 or more, {name!r} holds "
                    f"{float(least):.3g}; start from a fresh network, or use bn_l1"
                )

    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add the subgradient, t * sign(scale) - s + mean s with s = sign(scale - mean scale)."""
        chosen = _chosen(self._where, parameters)
        if not chosen:
            return
        scales = torch.cat(chosen)
        side = (scales - scales.mean()).sign()
        push = self.strength_at(progress) * (self.t * scales.sign() - side + side.mean())
        parts = torch.split(push, [len(part) for part in chosen])
        for (name, where), part in zip(self._where.items(), parts, strict=True):
            gradient = parameters[name].grad
            if gradient is not None:
                gradient[where] += part

    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:  # noqa: ARG002
        """Hold scales at zero or above."""
        if self.strength == 0:
            return
        with torch.no_grad():
            for name, where in self._where.items():
                scale = parameters[name]
                if scale.requires_grad:
                    scale[where] = scale[where].clamp_min(0)


def prunable_scales(channels: ChannelMap) -> dict[str, tuple[int, ...]]:
    """Names of batch-norm scales and the positions, ascending, that belong to a prunable group.

    Scales of more than one dimension, as of a layer norm over an image, are left out.
    """
    positions: dict[str, set[int]] = {}
    for group in channels.groups:
        for member in group.members:
            flat = len(channels.shapes.get(member.parameter, ())) <= 1
            if member.role == "norm" and flat and member.parameter.rpartition(".")[2] == "weight":
                positions.setdefault(member.parameter, set()).update(member.index.ravel().tolist())
    return {name: tuple(sorted(found)) for name, found in positions.items()}


def scale_sparsity(parameters: Parameters, scales: Scales) -> dict[str, float | None]:
    """Weight Skewness `ws`, `inactive` share and `gini` of |scale| over all `scales`, pooled."""
    return sparsity(_chosen(_places(scales), parameters))


def _check(scales: Scales, parameters: Parameters) -> None:
    for name, positions in scales.items():
        n = known("scale", name, parameters, range(1, 2)).numel()
        check_positions("scale", name, positions, n, "prunable_scales(trace(...))")


def _places(scales: Scales) -> dict[str, Tensor | slice]:
    return {
        name: slice(None) if positions is None else torch.tensor(positions, dtype=torch.int64)
        for name, positions in scales.items()
    }


def _chosen(where: Mapping[str, Tensor | slice], parameters: Parameters) -> list[Tensor]:
    return [parameters[name].detach()[places] for name, places in where.items()]
