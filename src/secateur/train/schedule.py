"""Training settings, the learning rate at every step, and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from secateur.errors import TrainingError, unknown_name

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["one_cycle", "cosine", "constant"]

_ONE_CYCLE_START = 1 / 25


@dataclass(frozen=True)
class Training:
    """How to train: everything that is not the network, the data or the penalty.

    `lr` is the highest learning rate. `warmup` is the share of all steps during which it rises:
    along a half cosine from lr / 25 for `one_cycle`, along a line for the others; after it the
    rate falls along a half cosine to 0 (`one_cycle`, `cosine`) or stays (`constant`). `momentum`
    is SGD's, and AdamW's first beta. `weight_decay` concerns parameters of two or more dimensions
    only, so that what shrinks a batch-norm scale is the penalty alone.

    Raises:
        TrainingError: a value is out of its range.
    """

    epochs: int = 40
    batch_size: int = 32
    lr: float = 0.1
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "one_cycle"
    warmup: float = 0.3
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in get_args(Optimizer):
            raise TrainingError(unknown_name("optimizer", self.optimizer, get_args(Optimizer)))
        if self.schedule not in get_args(Schedule):
            raise TrainingError(unknown_name("schedule", self.schedule, get_args(Schedule)))
        for name, fits, allowed in (
            ("epochs", self.epochs >= 1, "1 or more"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("lr", 0 < self.lr < math.inf, "a positive number"),
            ("momentum", 0 <= self.momentum < 1, "in [0, 1)"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"),
        ):
            if not fits:
                raise TrainingError(
                    f"training has {name} {getattr(self, name)}; it must be {allowed}"
                )


def steps_per_epoch(training: Training, n_examples: int) -> int:
    """Batches an epoch; `n_examples` are dealt out evenly, so that no batch is a lone leftover.

    >>> steps_per_epoch(Training(batch_size=32), 65)
    3
    """
    return math.ceil(n_examples / training.batch_size)


def lr_at(training: Training, progress: float) -> float:
    """Learning rate at `progress`, the share of all steps that is done, in [0, 1].

    >>> training = Training(lr=0.1, schedule="cosine", warmup=0.5)
    >>> [round(lr_at(training, p), 3) for p in (0.25, 0.5, 0.75)]
    [0.05, 0.1, 0.05]
    """
    if progress < training.warmup:
        rise = progress / training.warmup
        if training.schedule == "one_cycle":
            rise = _ONE_CYCLE_START + (1 - _ONE_CYCLE_START) * (1 - math.cos(math.pi * rise)) / 2
        return training.lr * rise
    if training.schedule == "constant":
        return training.lr
    fall = (progress - training.warmup) / (1 - training.warmup)
    return training.lr * (1 + math.cos(math.pi * fall)) / 2


def course(training: Training, n_examples: int) -> Iterator[tuple[float, float]]:
    """Progress and learning rate of every step of a whole training.

    Progress is taken at the middle of a step, so no step has rate 0.
    """
    n_steps = training.epochs * steps_per_epoch(training, n_examples)
    for step in range(n_steps):
        progress = (step + 0.5) / n_steps
        yield progress, lr_at(training, progress)


def make_optimizer(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    """The optimizer of `training` over the parameters of `model` that require a gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.lr, betas=(training.momentum, 0.999))
    return torch.optim.SGD(groups, lr=training.lr, momentum=training.momentum)
