"""Knowledge distillation: a cut network learns from what the whole one answers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from secateur.errors import TrainingError
from secateur.train.checkpoint import digest
from secateur.train.evaluate import predict

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_BATCH = 256


@dataclass(frozen=True, eq=False)
class Distillation:
    """What `fit` needs to distil; made by `distillation`."""

    teacher: nn.Module
    temperature: float
    weight: float

    def __repr__(self) -> str:
        """The same for equal weights of the teacher: what a checkpoint is known by."""
        teacher = digest(self.teacher.state_dict().items())
        return f"T {self.temperature:g}, weight {self.weight:g}, teacher {teacher[:16]}"

    def check(self, model: nn.Module, x: Tensor) -> None:
        """Refuse a teacher that does not answer as `model` does (TrainingError)."""
        theirs, ours = (tuple(predict(m, x[:1]).shape) for m in (self.teacher, model))
        if theirs != ours:
            raise TrainingError(
                f"the teacher answers an example with shape {theirs}, the network with {ours}; "
                "give a teacher of the same classes"
            )

    def targets(
        self, x: Tensor, fabric: Fabric, *, cached: bool
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (rows of x, the batch as trained on) -> the teacher's logits.

        `cached` says that batches are rows of x as they are: then the teacher answers once.
        """
        teacher = fabric.to_device(copy.deepcopy(self.teacher))
        convert_conv2d_weight_memory_format(teacher, torch.channels_last)

        @torch.no_grad()
        def answers(batch: Tensor) -> Tensor:
            with fabric.autocast():
                logits: Tensor = teacher(fabric.to_device(batch))
            return logits.float()

        if not cached:
            return lambda _, batch: answers(batch)
        known = torch.cat([answers(batch) for batch in torch.split(x, _BATCH)])
        return lambda rows, _: known[rows.to(known.device)]

    def mixed(self, loss: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
        """(1 - weight) * loss + weight * soft loss."""
        return (1 - self.weight) * loss + self.weight * soft_loss(logits, targets, self.temperature)


def distillation(
    teacher: nn.Module, *, temperature: float = 4.0, weight: float = 0.5
) -> Distillation:
    """Let `fit(..., distil=...)` pull the network towards the answers of `teacher`.

    The loss becomes (1 - weight) * loss + weight * T^2 * KL(teacher || network), both softened at
    temperature T. The teacher answers in evaluation mode, without gradients, on the very batches
    that are trained on, augmented alike; once for all where there is no augmentation. It is
    copied: what becomes of it later does not matter, and it is left untouched.

    Raises:
        TrainingError: temperature or weight is out of its range.

    Reference: Hinton et al. 2015 (1503.02531) section 2.
    """
    if not 0 < temperature < math.inf:
        raise TrainingError(f"distillation temperature is {temperature}; it must be above 0")
    if not 0 <= weight <= 1:
        raise TrainingError(f"distillation weight is {weight}; it must be in [0, 1]")
    own = copy.deepcopy(teacher).eval().requires_grad_(False)
    return Distillation(own, temperature, weight)


def soft_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(targets / T) || softmax(logits / T)), mean over examples, in nats.

    (n, classes), (n, classes) -> ()

    >>> round(soft_loss(torch.zeros(1, 2), torch.tensor([[0.0, 2.0]]), 2.0).item(), 4)
    0.4438
    """
    soft = F.log_softmax(logits / temperature, 1)
    wanted = F.log_softmax(targets / temperature, 1)
    divergence = F.kl_div(soft, wanted, reduction="batchmean", log_target=True)
    return divergence * temperature**2
