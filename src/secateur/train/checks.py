"""What a training may start from, and what it must not come to."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.train.evaluate import check_labels, check_range, predict
from secateur.train.schedule import Training


def check_start(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Refuse data or weights that cannot be trained on.

    Raises:
        TrainingError: naming the example, label or parameter.
    """
    check_labels(x, y)
    if not x.isfinite().all():
        at = int((~x.flatten(1).isfinite()).any(1).nonzero()[0])
        raise TrainingError(
            f"example {at} holds a value that is not finite; repair or leave out the example"
        )
    if name := first_non_finite(model):
        raise TrainingError(
            f"{name} is not finite before training; build the network again or load sound weights"
        )
    check_range(y, predict(model, x[:1]).shape[1])


def first_non_finite(model: nn.Module) -> str | None:
    """The first parameter or buffer that holds a value which is not finite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def diverged(what: str, epoch: int, step: int, lr: float, training: Training) -> TrainingError:
    """The error of a training that went non-finite; `epoch` and `step` count from 0."""
    return TrainingError(
        f"{what} in epoch {epoch + 1}, step {step + 1}, at learning rate {lr:.3g}; "
        f"lower lr (it is {training.lr:g}) or the penalty's strength, and start again"
    )
