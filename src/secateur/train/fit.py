"""The one trainer: any network, any penalty, repeatable to the bit, resumed after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from secateur.channels.groups import ChannelMap
from secateur.errors import TrainingError
from secateur.train import checkpoint as checkpoints
from secateur.train.checks import check_start, diverged, first_non_finite
from secateur.train.distil import Distillation
from secateur.train.evaluate import Accuracy, evaluate, modes_kept, predict
from secateur.train.penalty import Penalty
from secateur.train.penalty_scales import prunable_scales, scale_sparsity
from secateur.train.processes import Processes
from secateur.train.schedule import Training, course, make_optimizer, steps_per_epoch
from secateur.typed import as_type

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Accuracy", "Epoch", "History", "Training", "evaluate", "fit", "predict"]

_BLOCK = 16
"""Channels that oneDNN computes at a time: 8 with AVX2, 16 with AVX-512."""

LossFn = Callable[[Tensor, Tensor], Tensor]
"""(logits, labels) -> one number."""
Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a batch (batch, channels, mels, frames), drawing from the generator only."""
Mix = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Changes a batch and its labels (batch,) to shares of classes (batch, classes), for the loss."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean loss and accuracy on the batches as they were trained on.

    `epoch` counts from 1, `lr` is that of its last step, `seconds` are by the clock. `penalty`
    holds what the penalty reports of what it pushes. `sparsity`, where `fit` was given the channel
    map, is of the prunable batch-norm scales, pooled: Weight Skewness `ws` of their magnitudes,
    the share `inactive`, `gini`; None where undefined.
    """

    epoch: int
    loss: float
    accuracy: float
    lr: float
    seconds: float
    penalty: Mapping[str, float | None] = field(default_factory=dict)
    sparsity: Mapping[str, float | None] = field(default_factory=dict)


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
    distil: Distillation | None = None,
    augment: Augment | None = None,
    mix: Mix | None = None,
    channels: ChannelMap | None = None,
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
    shares of classes. `distil` is what `distillation(teacher)` gives. With `channels`, every epoch
    says how sparse the prunable channels are.

    `fabric` chooses device, precision and processes; by default the CPU in float32, alone. Of
    several processes each makes the same call and trains on its share of every batch; batch norm
    sees the share only, and running statistics are averaged after every epoch. Every module keeps
    the mode it came in.

    Raises:
        TrainingError: the data, weights, penalty or checkpoint do not fit, or the training went
            non-finite, which leaves the weights as they were at that step.
    """
    task = _Task(
        model,
        x,
        y,
        training,
        _smoothed(loss_fn, training.label_smoothing),
        penalty,
        distil,
        augment,
        mix,
        channels,
        fabric or _cpu(),
    )
    task.check()
    processes = task.processes
    settings = processes.agreed(task.settings(seed)) if checkpoint is not None else {}
    generator = torch.Generator().manual_seed(seed)

    with modes_kept(model), torch.random.fork_rng(devices=[]), _channels_last(model):
        torch.manual_seed(seed + processes.rank)
        run = _Run(task, make_optimizer(model, training), generator)
        saved = checkpoints.read(checkpoint, settings) if checkpoint else None
        rows: list[Epoch] = []
        if checkpoint is not None and saved is not None:
            with checkpoints.going_on(checkpoint):
                rows = run.restored(saved)
        model.train()
        written = time.perf_counter()
        for epoch in range(len(rows), training.epochs):
            rows.append(run.train_epoch(epoch))
            if checkpoint is not None:
                states = processes.random_states()
                due = time.perf_counter() - written >= checkpoint_seconds
                if processes.rank == 0 and (due or epoch + 1 == training.epochs):
                    checkpoints.write(checkpoint, settings, run.state(rows, states))
                    written = time.perf_counter()
            if on_epoch is not None:
                on_epoch(rows[-1])
        processes.wait()
    return History(tuple(rows))


@dataclass(frozen=True, eq=False)
class _Task:
    """What a training is asked for."""

    model: nn.Module
    x: Tensor
    y: Tensor
    training: Training
    loss_fn: LossFn
    penalty: Penalty | None
    distil: Distillation | None
    augment: Augment | None
    mix: Mix | None
    channels: ChannelMap | None
    fabric: Fabric

    @cached_property
    def processes(self) -> Processes:
        return Processes(self.fabric)

    def check(self) -> None:
        check_start(self.model, self.x, self.y)
        self.processes.check(len(self.x) // steps_per_epoch(self.training, len(self.x)))
        if self.penalty is not None:
            self.penalty.check(dict(self.model.named_parameters()))
        if self.distil is not None:
            self.distil.check(self.model, self.x)

    def settings(self, seed: int) -> checkpoints.Settings:
        """Everything the outcome depends on, in words and digests."""
        optional: dict[str, str | int] = {}
        if self.mix is not None:
            optional["mix"] = checkpoints.described(self.mix)
        if self.distil is not None:
            optional["distil"] = repr(self.distil)
        if self.processes.n > 1:
            optional["processes"] = self.processes.n
        return {
            **asdict(self.training),
            "seed": seed,
            "loss_fn": checkpoints.described(self.loss_fn),
            "penalty": checkpoints.described(self.penalty),
            "augment": checkpoints.described(self.augment),
            "precision": str(self.fabric.strategy.precision.precision),
            "network at the start": checkpoints.digest(self.model.state_dict().items()),
            "data": checkpoints.digest([("x", self.x), ("y", self.y)]),
            **optional,
        }


class _Run:
    """One training under way: a task and the state that moves."""

    def __init__(
        self, task: _Task, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        self.task, self.optimizer, self.generator = task, optimizer, generator
        self.forward, self.stepper = task.fabric.setup(task.model, optimizer)
        self.parameters = dict(task.model.named_parameters())
        self.steps = list(course(task.training, len(task.x)))
        self.n_batches = steps_per_epoch(task.training, len(task.x))
        self.scales = None if task.channels is None else prunable_scales(task.channels)
        self.targets = (
            None
            if task.distil is None
            else task.distil.targets(
                task.x, task.fabric, cached=task.augment is None and task.mix is None
            )
        )

    def train_epoch(self, epoch: int) -> Epoch:
        """All batches once, in an order drawn from the generator."""
        task, n = self.task, len(self.task.x)
        started = time.perf_counter()
        loss_sum, n_right, lr = 0.0, 0, 0.0
        order = torch.randperm(n, generator=self.generator)
        for step, batch in enumerate(order.tensor_split(self.n_batches), epoch * self.n_batches):
            progress, lr = self.steps[step]
            loss, right = self._step(batch, progress, lr)
            if not math.isfinite(loss):
                raise diverged(f"the loss became {loss}", epoch, step, lr, task.training)
            loss_sum += loss
            n_right += right
        task.processes.average_statistics(task.model)
        if name := first_non_finite(task.model):
            raise diverged(f"{name} became non-finite", epoch, step, lr, task.training)
        return Epoch(
            epoch=epoch + 1,
            loss=loss_sum / n,
            accuracy=n_right / n,
            lr=lr,
            seconds=time.perf_counter() - started,
            penalty={} if task.penalty is None else task.penalty.report(self.parameters),
            sparsity={} if self.scales is None else scale_sparsity(self.parameters, self.scales),
        )

    def _step(self, batch: Tensor, progress: float, lr: float) -> tuple[float, int]:
        """One batch: its summed loss and how many it got right; no step where the loss diverged."""
        task, processes = self.task, self.task.processes
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        inputs, labels = task.x[batch], task.y[batch]
        wanted = labels
        if task.augment is not None:
            inputs = task.augment(inputs, self.generator)
        if task.mix is not None:
            inputs, wanted = task.mix(inputs, labels, self.generator)
        share = processes.share(len(batch))
        inputs, wanted, labels = (
            task.fabric.to_device(part[share]) for part in (inputs, wanted, labels)
        )
        logits = self.forward(inputs)
        loss = task.loss_fn(logits, wanted)
        if task.distil is not None and self.targets is not None:
            loss = task.distil.mixed(loss, logits, self.targets(batch[share], inputs))
        right = (logits.argmax(1) == labels).sum()
        loss_sum, n_right = processes.summed(loss.item() * len(labels), right.item())
        if not math.isfinite(loss_sum):
            return loss_sum, 0
        self.optimizer.zero_grad()
        task.fabric.backward(processes.scaled(loss, len(labels), len(batch)))
        if task.penalty is not None:
            task.penalty.after_backward(self.parameters, progress)
        self.stepper.step()
        if task.penalty is not None:
            task.penalty.after_step(self.parameters, progress, lr)
        return loss_sum, int(n_right)

    def state(self, rows: list[Epoch], random_states: Tensor) -> dict[str, Any]:
        """All that moves, for a checkpoint."""
        return {
            "history": [asdict(row) for row in rows],
            "model": self.task.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order generator": self.generator.get_state(),
            "global generator": random_states,
        }

    def restored(self, saved: Mapping[str, Any]) -> list[Epoch]:
        """The epochs of a checkpoint, whose state becomes this one's."""
        rows = as_type(tuple[Epoch, ...], saved["history"], "history")
        if len(rows) > self.task.training.epochs:
            raise ValueError(f"it has {len(rows)} epochs of {self.task.training.epochs}")
        checkpoints.check_state(saved, self.task.model, self.optimizer)
        self.task.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.generator.set_state(saved["order generator"])
        self.task.processes.restore_random_state(saved["global generator"])
        return list(rows)


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


@contextmanager
def _channels_last(model: nn.Module) -> Iterator[None]:
    """Hold the filters of 2-D convolutions with their channels last: faster on a CPU.

    But for those whose gradient oneDNN gets wrong so: it writes past its workspace for the weights
    of a strided 1x1 convolution of fewer input channels than its block (oneDNN issue 6035), and
    the process aborts, or learns from noise.
    """
    convert_conv2d_weight_memory_format(model, torch.channels_last)
    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_wrong_channels_last(module):
            convert_conv2d_weight_memory_format(module, torch.contiguous_format)
            hooks.append(module.register_forward_pre_hook(_contiguous))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        convert_conv2d_weight_memory_format(model, torch.contiguous_format)


def _is_wrong_channels_last(convolution: nn.Conv2d) -> bool:
    return (
        convolution.kernel_size == (1, 1)
        and convolution.stride != (1, 1)
        and convolution.in_channels // convolution.groups < _BLOCK
    )


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.clone(memory_format=torch.contiguous_format) for x in inputs)
