"""How far a penalty pushes in a whole training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.train.fit import fit
from secateur.train.penalty_scales import BnL1, BnL1Proximal
from secateur.train.schedule import Training
from secateur.train.shrink import strength_for_shrink, total_shrink

torch.set_num_threads(1)  # steps this small only lose by a second thread

X, Y = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def _no_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits * 0).sum()


@pytest.mark.parametrize("make", [BnL1, BnL1Proximal])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_without_a_loss_a_scale_moves_by_the_total_shrink(
    make: type[BnL1] | type[BnL1Proximal], momentum: float, schedule: Any
) -> None:
    training = Training(
        epochs=5, batch_size=5, lr=0.02, momentum=momentum, schedule=schedule, weight_decay=0.1
    )
    proximal = make is BnL1Proximal
    strength = strength_for_shrink(0.4, training, len(X), ramp=0.3, proximal=proximal)
    network = _network()
    penalty = make(strength, {"1.weight": (0, 2)}, ramp=0.3)
    fit(network, X, Y, training, seed=0, loss_fn=_no_loss, penalty=penalty)
    assert network[1].weight.tolist() == pytest.approx([0.6, 1.0, 0.6, 1.0], abs=1e-5)
    shrink = total_shrink(strength, training, len(X), ramp=0.3, proximal=proximal)
    assert shrink == pytest.approx(0.4)


def test_total_shrink_on_paper() -> None:
    training = Training(
        epochs=1, batch_size=1, lr=0.5, momentum=0.5, schedule="constant", warmup=0.0
    )
    # velocities 1, 1.5; moved 0.5 * 2.5; without momentum 0.5 * 2
    assert total_shrink(2.0, training, 2, ramp=0.0) == 2.5
    assert total_shrink(2.0, training, 2, ramp=0.0, proximal=True) == 2.0
    # progress 1/4, 3/4: ramp 1/4, 3/4
    assert total_shrink(2.0, training, 2, ramp=1.0, proximal=True) == 1.0


def test_total_shrink_nears_the_geometric_sum_of_momentum() -> None:
    training = Training(epochs=100, batch_size=1, lr=0.1, schedule="cosine", warmup=0.0)
    plain = total_shrink(1.0, training, 10, ramp=0.0, proximal=True)
    assert plain == pytest.approx(0.1 * 1000 / 2)
    assert total_shrink(1.0, training, 10, ramp=0.0) == pytest.approx(plain / 0.1, rel=0.02)


def test_total_shrink_under_adamw_is_defined_for_the_proximal_step_only() -> None:
    training = Training(optimizer="adamw", lr=0.01, schedule="constant", warmup=0.0, epochs=1)
    assert total_shrink(1.0, training, 64, ramp=0.0, proximal=True) == pytest.approx(0.02)
    with pytest.raises(TrainingError, match="sgd, not adamw"):
        total_shrink(1.0, training, 64)
