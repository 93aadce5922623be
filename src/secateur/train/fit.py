"""The one trainer: any network, any penalty, repeatable to the bit, resumed after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from secateur.errors import TrainingError
from secateur.train import checkpoint as checkpoints
from secateur.train.evaluate import (
    Accuracy,
    check_labels,
    check_range,
    evaluate,
    modes_kept,
    predict,
)
from secateur.train.penalty import Penalty
from secateur.train.schedule import Training, course, make_optimizer, steps_per_epoch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Accuracy", "Epoch", "History", "Training", "evaluate", "fit", "predict"]

LossFn = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> one number."""
Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a batch (batch, channels, mels, frames), drawing from the generator only."""
Mix = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Changes a batch and its labels (batch,) to shares of classes (batch, classes), for the loss."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss and accuracy on the batches as they were trained on.

    `epoch` counts from 1, `lr` is that of its last step, `seconds` are by the clock, `penalty`
    holds what the penalty reports.
    """

    epoch: int
    loss: float
    accuracy: float
    lr: float
    seconds: float
    penalty: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """All epochs of a training, those before a resumption included."""

    epochs: tuple[Epoch, ...]

    @property
    def seconds(self) -> float:
        """Time the epochs took by the clock, in seconds."""
        return sum(epoch.seconds for epoch in self.epochs)


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    training: Training,
    *,
    seed: int,
    loss_fn: LossFn = F.cross_entropy,
    penalty: Penalty | None = None,
    augment: Augment | None = None,
    mix: Mix | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 5.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    fabric: Fabric | None = None,
) -> History:
    """Train `model` in place on x (n, channels, mels, frames) with labels y (n,).

    The same arguments give the same weights, bit by bit. With `checkpoint`, the state is written
    there after the last epoch, and after any other once `checkpoint_seconds` have passed. A
    training that was killed goes on from it when the same call is made with the network as it was
    at the start, and ends with the weights of an undisturbed one. The file stays; remove it when
    the result is safe.

    `augment` changes inputs; `mix`, after it, inputs and targets, which the loss then gets as
    shares of classes. `fabric` chooses device and precision; by default the CPU in float32. Every
    module keeps the mode it came in.

    Raises:
        TrainingError: the data, weights, penalty or checkpoint do not fit, or the training went
            non-finite, which leaves the weights as they were at that step.
    """
    fabric = fabric or _cpu()
    if fabric.world_size > 1:
        raise TrainingError(
            f"fit trains on one device, the given fabric has {fabric.world_size}; "
            "make it with devices=1"
        )
    loss_fn = _smoothed(loss_fn, training.label_smoothing)
    _check_start(model, x, y)
    if penalty is not None:
        penalty.check(dict(model.named_parameters()))
    settings: checkpoints.Settings = {}
    if checkpoint is not None:
        settings = {
            **asdict(training),
            "seed": seed,
            "loss_fn": checkpoints.described(loss_fn),
            "penalty": checkpoints.described(penalty),
            "augment": checkpoints.described(augment),
            "precision": str(fabric.strategy.precision.precision),
            "network at the start": checkpoints.digest(model.state_dict().items()),
            "data": checkpoints.digest([("x", x), ("y", y)]),
        }
        if mix is not None:
            settings = {**settings, "mix": checkpoints.described(mix)}
    generator = torch.Generator().manual_seed(seed)

    with modes_kept(model), torch.random.fork_rng(devices=[]), _channels_last(model):
        torch.manual_seed(seed)
        optimizer = make_optimizer(model, training)
        run = _Run(
            model, x, y, training, loss_fn, penalty, augment, mix, fabric, optimizer, generator
        )
        saved = checkpoints.read(checkpoint, settings) if checkpoint else None
        rows = _restore(saved, model, optimizer, generator) if saved else []
        model.train()
        written = time.perf_counter()
        for epoch in range(len(rows), training.epochs):
            rows.append(run.train_epoch(epoch))
            due = time.perf_counter() - written >= checkpoint_seconds
            if checkpoint is not None and (due or epoch + 1 == training.epochs):
                checkpoints.write(checkpoint, settings, _state(rows, model, optimizer, generator))
                written = time.perf_counter()
            if on_epoch is not None:
                on_epoch(rows[-1])
    return History(tuple(rows))


class _Run:
    """One training under way: everything an epoch needs, in one place."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        training: Training,
        loss_fn: LossFn,
        penalty: Penalty | None,
        augment: Augment | None,
        mix: Mix | None,
        fabric: Fabric,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> None:
        self.model, self.x, self.y, self.training = model, x, y, training
        self.loss_fn, self.penalty, self.augment, self.mix = loss_fn, penalty, augment, mix
        self.fabric, self.optimizer, self.generator = fabric, optimizer, generator
        self.forward, self.stepper = fabric.setup(model, optimizer)
        self.parameters = dict(model.named_parameters())
        self.steps = list(course(training, len(x)))
        self.n_batches = steps_per_epoch(training, len(x))

    def train_epoch(self, epoch: int) -> Epoch:
        """All batches once, in an order drawn from the generator."""
        started = time.perf_counter()
        loss_sum, n_right, lr = 0.0, 0, 0.0
        order = torch.randperm(len(self.x), generator=self.generator)
        for step, batch in enumerate(order.tensor_split(self.n_batches), epoch * self.n_batches):
            progress, lr = self.steps[step]
            loss, right = self._step(batch, progress, lr)
            if not math.isfinite(loss):
                raise _diverged(f"the loss became {loss}", epoch, step, lr, self.training)
            loss_sum += loss * len(batch)
            n_right += right
        if name := _first_non_finite(self.model):
            raise _diverged(f"{name} became non-finite", epoch, step, lr, self.training)
        return Epoch(
            epoch=epoch + 1,
            loss=loss_sum / len(self.x),
            accuracy=n_right / len(self.x),
            lr=lr,
            seconds=time.perf_counter() - started,
            penalty={} if self.penalty is None else self.penalty.report(self.parameters),
        )

    def _step(self, batch: Tensor, progress: float, lr: float) -> tuple[float, int]:
        """One batch: its mean loss and how many it got right; no step where the loss diverged."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        inputs, labels = self.x[batch], self.fabric.to_device(self.y[batch])
        if self.augment is not None:
            inputs = self.augment(inputs, self.generator)
        targets = labels
        if self.mix is not None:
            inputs, targets = self.mix(inputs, self.y[batch], self.generator)
        logits = self.forward(self.fabric.to_device(inputs))
        loss = self.loss_fn(logits, self.fabric.to_device(targets))
        value = loss.item()
        if not math.isfinite(value):
            return value, 0
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.penalty is not None:
            self.penalty.after_backward(self.parameters, progress)
        self.stepper.step()
        if self.penalty is not None:
            self.penalty.after_step(self.parameters, progress, lr)
        return value, int((logits.argmax(1) == labels).sum())


def _state(
    rows: list[Epoch], model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator
) -> dict[str, Any]:
    return {
        "history": [asdict(row) for row in rows],
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "order generator": order.get_state(),
        "global generator": torch.get_rng_state(),
    }


def _restore(
    saved: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
) -> list[Epoch]:
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    order.set_state(saved["order generator"])
    torch.set_rng_state(saved["global generator"])
    return [Epoch(**row) for row in saved["history"]]


def _cpu() -> Fabric:
    from lightning_fabric import Fabric  # takes a second to import

    return Fabric(accelerator="cpu", devices=1)


def _smoothed(loss_fn: LossFn, label_smoothing: float) -> LossFn:
    if label_smoothing == 0:
        return loss_fn
    if loss_fn is not F.cross_entropy:
        raise TrainingError(
            f"label_smoothing {label_smoothing} is for cross_entropy, not {loss_fn!r}; "
            "set it to 0 and smooth inside loss_fn"
        )
    return partial(F.cross_entropy, label_smoothing=label_smoothing)


def _check_start(model: nn.Module, x: Tensor, y: Tensor) -> None:
    check_labels(x, y)
    if not x.isfinite().all():
        at = int((~x.flatten(1).isfinite()).any(1).nonzero()[0])
        raise TrainingError(
            f"example {at} holds a value that is not finite; repair or leave out the example"
        )
    if name := _first_non_finite(model):
        raise TrainingError(
            f"{name} is not finite before training; build the network again or load sound weights"
        )
    check_range(y, predict(model, x[:1]).shape[1])


def _first_non_finite(model: nn.Module) -> str | None:
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            return name
    return None


def _diverged(what: str, epoch: int, step: int, lr: float, training: Training) -> TrainingError:
    return TrainingError(
        f"{what} in epoch {epoch + 1}, step {step + 1}, at learning rate {lr:.3g}; "
        f"lower lr (it is {training.lr:g}) or the penalty's strength, and start again"
    )


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """Hold the filters of 2-D convolutions with their channels last: faster on a CPU."""
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    try:
        yield
    finally:
        convert_conv2d_weight_memory_format(model, torch.contiguous_format)
