"""How far a penalty pushes in a whole training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.train.fit import fit
from secateur.train.penalty_filters import (
    DeepHoyer,
    Filters,
    GroupLasso,
    GroupLassoProximal,
    GrowingL2,
    filter_norms,
)
from secateur.train.penalty_groups import Coupled, GroupNorm, Slices
from secateur.train.penalty_scales import BnL1, BnL1Proximal, Polarization
from secateur.train.schedule import Training
from secateur.train.shrink import strength_for_shrink, total_shrink

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


ON_FILTERS = {"0.weight": Filters()}
ON_GROUPS = {"g": Coupled(4, (Slices("0.weight", 0),))}


@pytest.mark.parametrize(
    ("unit", "left"),
    [
        (GroupLasso(1.0, ON_FILTERS), 0.6),  # the mean filter, less 0.4 of its norm
        (GroupLassoProximal(1.0, ON_FILTERS), 0.6),
        (GrowingL2(1.0, ON_FILTERS), 0.670),  # e^-0.4 of every filter
        (GroupNorm(1.0, ON_GROUPS, alpha=0.0), 0.670),
    ],
    ids=lambda given: type(given).__name__,
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_total_shrink_in_units_of_the_distance(unit: Any, left: float, momentum: float) -> None:
    training = Training(epochs=40, batch_size=5, lr=0.01, momentum=momentum, weight_decay=0.0)
    network = _network()
    parameters = dict(network.named_parameters())
    start = filter_norms(parameters["0.weight"], 0).detach()
    strength = strength_for_shrink(
        0.4 * unit.distance(parameters), training, len(X), proximal=unit.proximal
    )
    penalty = replace(unit, strength=strength)
    fit(network, X, Y, training, seed=0, loss_fn=_no_loss, penalty=penalty)
    end = filter_norms(parameters["0.weight"], 0).detach()
    assert float(end.mean() / start.mean()) == pytest.approx(left, abs=0.01)


def test_distances_on_paper() -> None:
    network: Any = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 2, 1, 1))
        network[1].weight.copy_(torch.tensor([0.5, -1.5]))
    parameters = dict(network.named_parameters())
    for penalty, distance in (
        (BnL1(1.0, {"1.weight": None}), 1.0),
        (BnL1Proximal(1.0, {"1.weight": (1,)}), 1.5),
        (Polarization(1.0, {"1.weight": (0,)}), 0.5),
        (GroupLasso(1.0, ON_FILTERS), 3.0),
        (GroupLassoProximal(1.0, {"0.weight": Filters(0, (0,))}), 5.0),
        (DeepHoyer(1.0, ON_FILTERS), 6.5),
        (GrowingL2(1.0, ON_FILTERS), 1.0),
        (BnL1(1.0, {}), 1.0),
    ):
        assert penalty.distance(parameters) == pytest.approx(distance)
