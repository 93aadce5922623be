"""The contract of every penalty, and how far they push."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap, Member
from secateur.channels.trace import trace
from secateur.errors import TrainingError
from secateur.networks.families import NETWORKS
from secateur.train.fit import fit
from secateur.train.penalties import (
    BnL1,
    BnL1Proximal,
    inactive_share,
    prunable_scales,
    ramped,
    strength_for_shrink,
    total_shrink,
)
from secateur.train.schedule import Training

torch.set_num_threads(1)  # steps this small only lose by a second thread

PENALTIES = {"bn_l1": BnL1, "bn_l1_proximal": BnL1Proximal}

each = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)
Make = type[BnL1] | type[BnL1Proximal]

X, Y = torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def _no_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits * 0).sum()


@each
def test_only_the_named_scales_are_touched(make: Make) -> None:
    network, untouched = _network(), _network()
    penalty = make(0.5, {"1.weight": (1, 3)}, ramp=0.0)
    for model in (network, untouched):
        nn.functional.cross_entropy(model(X), Y).backward()
    penalty.after_backward(dict(network.named_parameters()), 0.7)
    penalty.after_step(dict(network.named_parameters()), 0.7, lr=0.1)
    changed = {}
    for (name, a), b in zip(network.named_parameters(), untouched.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        different = ((a != b) | (a.grad != b.grad)).nonzero().tolist()
        if different:
            changed[name] = different
    assert changed == {"1.weight": [[1], [3]]}


@each
def test_zero_strength_changes_nothing(make: Make) -> None:
    states = []
    for penalty in (None, make(0.0, {"1.weight": None})):
        network = _network()
        fit(network, X, Y, Training(epochs=3, batch_size=8), seed=1, penalty=penalty)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@each
def test_it_drives_scales_to_nearly_zero(make: Make) -> None:
    network = _network()
    training = Training(epochs=20, batch_size=8, lr=0.1)
    proximal = make is BnL1Proximal
    strength = strength_for_shrink(6.0, training, len(X), proximal=proximal)
    history = fit(network, X, Y, training, seed=0, penalty=make(strength, {"1.weight": (0, 1)}))
    scales = network[1].weight.detach().abs()
    assert (scales[:2] < 0.01 * scales.max()).all()
    assert (scales[2:] > 0.5).all()
    assert not proximal or (scales[:2] == 0).all()
    assert history.epochs[-1].penalty.keys() == {"inactive"}


@each
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_without_a_loss_a_scale_moves_by_the_total_shrink(
    make: Make, momentum: float, schedule: Any
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


def test_the_ramp_without_length_is_full_from_the_start() -> None:
    assert ramped(0.0, 0.0) == 1.0


@each
@pytest.mark.parametrize(
    ("scales", "words"),
    [
        ({"1.weigth": None}, "did you mean '1.weight'"),
        ({"1.weight": (4,)}, "positions 0 to 3"),
        ({"1.weight": (-1,)}, "positions 0 to 3"),
        ({"0.weight": None}, "one-dimensional"),
    ],
)
def test_scales_that_do_not_fit_are_refused_before_training(
    make: Make, scales: dict[str, Any], words: str
) -> None:
    network = _network()
    with pytest.raises(TrainingError, match=words):
        fit(network, X, Y, Training(epochs=1), seed=0, penalty=make(1.0, scales))
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.parameters(), _network().parameters(), strict=True)
    )


@each
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_strengths_out_of_range_are_refused(make: Make, strength: float) -> None:
    with pytest.raises(TrainingError, match="strength is"):
        make(strength, {})


@each
def test_a_ramp_out_of_range_is_refused(make: Make) -> None:
    with pytest.raises(TrainingError, match="ramp is 2"):
        make(1.0, {}, ramp=2.0)


def test_prunable_scales_are_norm_weights_of_groups() -> None:
    def member(parameter: str, role: Any, index: list[list[int]]) -> Member:
        return Member(parameter, 0, role, np.array(index))

    channels = ChannelMap(
        groups=(
            ChannelGroup(
                "a",
                2,
                (
                    member("conv.weight", "out", [[0], [1]]),
                    member("bn.weight", "norm", [[3], [0]]),
                    member("bn.bias", "norm", [[3], [0]]),
                ),
            ),
            ChannelGroup("b", 1, (member("bn.weight", "norm", [[1]]),)),
        ),
        layers=(),
        pinned=(),
        mixing=(),
        unknown=(),
        shapes={},
        buffers=(),
        aliases={},
        fingerprint="",
    )
    assert prunable_scales(channels) == {"bn.weight": (0, 1, 3)}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_every_scale_of_the_reference_networks_is_prunable(build: Any) -> None:
    network = build(width=8)
    scales = prunable_scales(trace(network, torch.randn(1, 1, 32, 32)))
    assert scales == {
        f"{name}.weight": tuple(range(m.num_features))
        for name, m in network.named_modules()
        if isinstance(m, nn.BatchNorm2d)
    }


def test_inactive_share_on_paper() -> None:
    assert inactive_share([torch.tensor([2.0, -0.019]), torch.tensor([0.021, 0.0])]) == 0.5
    assert inactive_share([torch.zeros(3)]) == 1.0
    assert inactive_share([]) == 0.0
