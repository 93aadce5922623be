"""What a penalty is: something that pushes channels towards zero while a network trains.

To add one, write a frozen dataclass that derives from `Penalty` and gives one or both of
`after_backward` and `after_step`; `docs/extend.md` tells the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from secateur.errors import TrainingError, unknown_name
from secateur.train.sparsity import magnitudes

Parameters = Mapping[str, nn.Parameter]
"""Parameters by their name in the model."""


@dataclass(frozen=True)
class Penalty(ABC):
    """What `fit` asks of a penalty. Stateless: `progress` in [0, 1] is all it knows of time.

    The strength rises on a line from 0 to `strength` over the first `ramp` of the training.

    Raises:
        TrainingError: strength or ramp is out of its range.
    """

    strength: float
    ramp: float = field(default=0.5, kw_only=True)

    proximal: ClassVar[bool] = False
    """Whether it moves parameters itself, after the step, instead of adding to gradients."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise TrainingError(f"penalty strength is {self.strength}; it must be 0 or more")
        if not 0 <= self.ramp <= 1:
            raise TrainingError(f"penalty ramp is {self.ramp}; it must be in [0, 1]")

    @abstractmethod
    def check(self, parameters: Parameters) -> None:
        """Refuse, before training, a model this penalty does not fit (TrainingError)."""

    def after_backward(self, parameters: Parameters, progress: float) -> None:  # noqa: B027
        """Change gradients, between the backward pass and the optimizer's step."""

    def after_step(self, parameters: Parameters, progress: float, lr: float) -> None:  # noqa: B027
        """Change parameters, after an optimizer's step with learning rate `lr`."""

    def report(self, parameters: Parameters) -> dict[str, float | None]:  # noqa: ARG002
        """Numbers for the row of an epoch, None for what is undefined."""
        return {}

    def distance(self, parameters: Parameters) -> float:  # noqa: ARG002
        """How far what it pushes is from zero, for `strength_for_shrink`: 1 where it acts by share.

        At a total shrink of this much the penalty alone would bring an average one to zero, or,
        where it takes a share of what is left, to a share of 1 / e.
        """
        return 1.0

    def strength_at(self, progress: float) -> float:
        """Strength at `progress`."""
        return self.strength * ramped(progress, self.ramp)


def ramped(progress: float, ramp: float) -> float:
    """Share of the full strength at `progress`: a line from 0 to 1 over the first `ramp`, then 1.

    >>> [ramped(p, 0.5) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return 1.0 if progress >= ramp else progress / ramp


def known(kind: str, name: str, parameters: Parameters, dims: range) -> nn.Parameter:
    """The parameter of that name, which must have a number of dimensions in `dims`.

    Raises:
        TrainingError: there is none, or it has another number of dimensions.
    """
    if name not in parameters:
        fitting = [n for n, p in parameters.items() if p.dim() in dims]
        raise TrainingError(unknown_name(f"{kind} parameter", name, fitting))
    shape = tuple(parameters[name].shape)
    if len(shape) not in dims:
        wanted = "one-dimensional" if dims[-1] == 1 else f"of {dims[0]} dimensions or more"
        raise TrainingError(
            f"penalised {kind} {name!r} has shape {shape}; give parameters that are {wanted}"
        )
    return parameters[name]


def check_positions(
    kind: str, name: str, positions: Iterable[int] | None, n: int, advice: str
) -> None:
    """Refuse positions outside 0 to n - 1.

    Raises:
        TrainingError: naming the parameter, the positions and the way to find right ones.
    """
    wrong = [p for p in positions or () if not 0 <= p < n]
    if wrong:
        raise TrainingError(
            f"penalised {kind} {name!r} has no positions {wrong[:5]}; it has positions 0 to "
            f"{n - 1}. {advice} finds those that can be pruned"
        )


def mean_of(weights: Iterable[Tensor]) -> float:
    """The mean magnitude over all tensors, 1 if they hold nothing but zeros or nothing at all."""
    found = magnitudes(weights)
    return found.mean().item() if found.any() else 1.0
