"""How far a penalty pushes in a whole training: what its strength means for one schedule."""

from __future__ import annotations

from secateur.errors import TrainingError
from secateur.train.penalty import ramped
from secateur.train.schedule import Training, course


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
    """The strength at which `total_shrink` is `shrink`.

    Raises:
        TrainingError: as `total_shrink`.
    """
    return shrink / total_shrink(1.0, training, n_examples, ramp, proximal=proximal)
