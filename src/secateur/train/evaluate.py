"""What a network answers, and how often it is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import TrainingError


@dataclass(frozen=True)
class Accuracy:
    """How well a network does on `n` examples.

    `accuracy` is the share of right answers, `log_loss` the mean cross-entropy in nats,
    `per_class` the share of right answers among the examples of each class, None for a class
    without any.
    """

    accuracy: float
    log_loss: float
    n: int
    per_class: tuple[float | None, ...]


def evaluate(model: nn.Module, x: Tensor, y: Tensor, batch_size: int = 256) -> Accuracy:
    """Accuracy on x (n, channels, mels, frames) with labels y (n,), in evaluation mode.

    Raises:
        TrainingError: there is no data, or a label is out of range.
    """
    check_labels(x, y)
    return accuracy_of(predict(model, x, batch_size), y)


def accuracy_of(logits: Tensor, y: Tensor) -> Accuracy:
    """Accuracy of logits (n, classes) with labels y (n,).

    Raises:
        TrainingError: there is no data, or a label is out of range.
    """
    check_labels(logits, y)
    logits = logits.double()
    n_classes = logits.shape[1]
    check_range(y, n_classes)
    right = logits.argmax(1) == y
    members = [y == label for label in range(n_classes)]
    return Accuracy(
        accuracy=right.double().mean().item(),
        log_loss=F.cross_entropy(logits, y).item(),
        n=len(y),
        per_class=tuple(
            right[member].double().mean().item() if member.any() else None for member in members
        ),
    )


def predict(model: nn.Module, x: Tensor, batch_size: int = 256) -> Tensor:
    """Logits in evaluation mode and without gradients.

    (n, channels, mels, frames) -> (n, classes)

    Raises:
        TrainingError: there is no data.
    """
    if len(x) == 0:
        raise TrainingError("there are 0 examples; give at least one")
    with modes_kept(model), torch.no_grad():
        model.eval()
        return torch.cat([model(batch) for batch in torch.split(x, batch_size)])


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Give every module its training or evaluation mode back, whatever happens."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def check_labels(x: Tensor, y: Tensor) -> None:
    """Refuse data without examples, or labels that are not one integer an example.

    Raises:
        TrainingError: naming the shapes.
    """
    if len(x) == 0:
        raise TrainingError("there are 0 examples; give at least one")
    if y.shape != (len(x),) or y.dtype != torch.int64:
        raise TrainingError(
            f"{len(x)} examples need {len(x)} int64 labels, shape ({len(x)},); "
            f"got {y.dtype} of shape {tuple(y.shape)}"
        )


def check_range(y: Tensor, n_classes: int) -> None:
    """Refuse labels the network has no output for.

    Raises:
        TrainingError: naming the first such label and where it stands.
    """
    outside = ((y < 0) | (y >= n_classes)).nonzero().flatten()
    if len(outside):
        at = int(outside[0])
        raise TrainingError(
            f"label {int(y[at])} of example {at} is out of range; the network has {n_classes} "
            f"classes, 0 to {n_classes - 1}. Renumber the labels, or build it with more classes"
        )
