"""Penalties that push channels towards zero during training, and how far they push.

To add one, write a frozen dataclass that derives from `Penalty` and gives one or both of
`after_backward` and `after_step`; `fit` calls them, and the contract tests in
`tests/test_train_penalties.py` take it up from their table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from secateur.analysis.inactive import INACTIVE_BELOW
from secateur.channels.groups import ChannelMap
from secateur.errors import TrainingError, unknown_name
from secateur.train.schedule import Training, course

Parameters = Mapping[str, nn.Parameter]
"""Parameters by their name in the model."""


class Penalty(ABC):
    """What `fit` asks of a penalty. Stateless: `progress` in [0, 1] is all it knows of time."""

    @abstractmethod
    def check(self, parameters: Parameters) -> None:
        """Refuse, before training, a model this penalty does not fit (TrainingError)."""

    def after_backward(self, parameters: Parameters, progress: float) -> None:  # noqa: B027
        """Change gradients, between the backward pass and the optimizer's step."""

    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:  # noqa: B027
        """Change parameters, after an optimizer's step with learning rate `lr`."""

    def report(self, parameters: Parameters) -> dict[str, float]:  # noqa: ARG002
        """Numbers for the row of an epoch."""
        return {}


@dataclass(frozen=True)
class _ScalePenalty(Penalty):
    """Shared by the penalties on batch-norm scales: which scales, how strong, how ramped.

    `scales` maps the name of a scale parameter to the positions that count, None for all of them.
    The strength rises on a line from 0 to `strength` over the first `ramp` of the training.
    """

    strength: float
    scales: Mapping[str, tuple[int, ...] | None]
    ramp: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise TrainingError(f"penalty strength is {self.strength}; it must be 0 or more")
        if not 0 <= self.ramp <= 1:
            raise TrainingError(f"penalty ramp is {self.ramp}; it must be in [0, 1]")

    def check(self, parameters: Parameters) -> None:
        """Refuse scales the model does not have, or positions outside them.

        Raises:
            TrainingError: naming the parameter.
        """
        for name, positions in self.scales.items():
            if name not in parameters:
                one_dimensional = [n for n, p in parameters.items() if p.dim() == 1]
                raise TrainingError(unknown_name("scale parameter", name, one_dimensional))
            n = parameters[name].numel()
            wrong = [p for p in positions or () if not 0 <= p < n]
            if parameters[name].dim() != 1 or wrong:
                raise TrainingError(
                    f"penalised scale {name!r} has shape {tuple(parameters[name].shape)}, "
                    f"positions asked for {positions}; give one-dimensional scales and positions "
                    f"0 to {n - 1}, as prunable_scales(trace(...)) does"
                )

    def strength_at(self, progress: float) -> float:
        """Strength at `progress`."""
        return self.strength * ramped(progress, self.ramp)

    def report(self, parameters: Parameters) -> dict[str, float]:
        """The share of penalised scales that are inactive."""
        chosen = [parameters[name].detach()[where] for name, where in self._where.items()]
        return {"inactive": inactive_share(chosen)}

    @cached_property
    def _where(self) -> dict[str, Tensor | slice]:
        return {
            name: slice(None) if positions is None else torch.tensor(positions, dtype=torch.int64)
            for name, positions in self.scales.items()
        }


@dataclass(frozen=True)
class BnL1(_ScalePenalty):
    """Network Slimming: add strength * sign(scale) to the gradient of every penalised scale.

    Scales end near zero, not at it: they step back and forth across it by lr * strength.

    Reference: Liu et al. 2017 (1708.06519) eq. 1, by subgradient descent.
    """

    def after_backward(self, parameters: Parameters, progress: float) -> None:
        """Add the penalty's subgradient."""
        strength = self.strength_at(progress)
        for name, where in self._where.items():
            parameter = parameters[name]
            if parameter.grad is not None:
                parameter.grad[where] += strength * parameter.detach()[where].sign()


@dataclass(frozen=True)
class BnL1Proximal(_ScalePenalty):
    """Soft-threshold every penalised scale by lr * strength after the step: exact zeros.

    Reference: the proximal step of the same penalty, Beck & Teboulle 2009 (ISTA).
    """

    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:
        """Move every penalised scale towards zero and stop there."""
        threshold = lr * self.strength_at(progress)
        with torch.no_grad():
            for name, where in self._where.items():
                scale = parameters[name]
                scale[where] = nn.functional.softshrink(scale[where], threshold)


def ramped(progress: float, ramp: float) -> float:
    """Share of the full strength at `progress`: a line from 0 to 1 over the first `ramp`, then 1.

    >>> [ramped(p, 0.5) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return 1.0 if progress >= ramp else progress / ramp


def prunable_scales(channels: ChannelMap) -> dict[str, tuple[int, ...]]:
    """Names of batch-norm scales and the positions, ascending, that belong to a prunable group."""
    positions: dict[str, set[int]] = {}
    for group in channels.groups:
        for member in group.members:
            if member.role == "norm" and member.parameter.rpartition(".")[2] == "weight":
                positions.setdefault(member.parameter, set()).update(member.index.ravel().tolist())
    return {name: tuple(sorted(found)) for name, found in positions.items()}


def total_shrink(
    strength: float,
    training: Training,
    n_examples: int,
    ramp: float = 0.5,
    *,
    proximal: bool = False,
) -> float:
    """How far a penalty alone would move a scale in a whole training, in units of the scale.

    The sum over steps of lr * strength * ramp; under SGD's momentum a gradient penalty (`BnL1`)
    also pushes through the velocity, about 1 / (1 - momentum) times as far, counted exactly here.
    Compare it with the initial scale, `bn_init`: below it, no scale reaches zero by the penalty.

    Raises:
        TrainingError: for `BnL1` under AdamW, whose scaling makes the push independent of strength.
    """
    momentum = 0.0 if proximal else training.momentum
    if training.optimizer != "sgd" and not proximal:
        raise TrainingError(
            f"total shrink of a gradient penalty is defined for optimizer sgd, not "
            f"{training.optimizer}; train with sgd, or use the proximal penalty"
        )
    velocity = moved = 0.0
    for progress, lr in course(training, n_examples):
        velocity = momentum * velocity + ramped(progress, ramp)
        moved += lr * velocity
    return strength * moved


def strength_for_shrink(
    shrink: float,
    training: Training,
    n_examples: int,
    ramp: float = 0.5,
    *,
    proximal: bool = False,
) -> float:
    """The strength at which `total_shrink` is `shrink`."""
    return shrink / total_shrink(1.0, training, n_examples, ramp, proximal=proximal)


def inactive_share(scales: Iterable[Tensor]) -> float:
    """Share of scales whose magnitude is below 1 % of the largest over the network.

    >>> inactive_share([torch.tensor([1.0, 0.0]), torch.tensor([-0.5, 0.009])])
    0.5
    """
    magnitudes = torch.cat([scale.detach().flatten().abs() for scale in scales] or [torch.empty(0)])
    if not len(magnitudes):
        return 0.0
    largest = magnitudes.max()
    if largest == 0:
        return 1.0
    return (magnitudes < INACTIVE_BELOW * largest).double().mean().item()
