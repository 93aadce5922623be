"""The peak of activation memory, predicted on shapes, against the cut network's real run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import outputs, plan_as_cut, plan_of, random_plan, randomised, same_state, state_of
from random_networks import RandomNetwork
from secateur.channels.trace import trace
from secateur.errors import PlanError, TraceError
from secateur.networks.families import NETWORKS
from secateur.surgery.cut import cut
from secateur.surgery.memory import Storages, activation_peak
from toys import Net, depthwise, image, plain


def measured(model: nn.Module, example: Tensor) -> int:
    """The same count while the network really runs."""
    storages = Storages(model)
    storages.note([example], "input")
    with torch.no_grad(), storages:
        model.eval()(example)
    return storages.peak.peak_bytes


def test_on_paper() -> None:
    # 1x6x6 -> 4x6x6 -> batch norm -> relu -> 3x6x6 in float64, two examples; Sequential drops
    # its input only when the caller does. At batch norm and relu two maps of 4 channels and the
    # input are alive: (4 + 4 + 1) * 36 * 2 * 8 bytes.
    peak = activation_peak(plain().double(), image())
    assert peak.peak_bytes == 9 * 36 * 2 * 8
    assert peak.operator.startswith("native_batch_norm") and peak.module == "1"
    channels = trace(plain().double(), image())
    plan = plan_of(channels, {"0": (0, 1, 2)})
    # one channel is left: at the last convolution 1 + 3 and the input are alive
    after = activation_peak(plain().double(), image(), plan, channels)
    assert (after.peak_bytes, after.operator) == (5 * 36 * 2 * 8, "convolution.default")


def test_a_residual_keeps_its_input_alive() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        return x + net.back(F.relu(net.wide(x)))

    build = {"stem": nn.Conv2d(1, 2, 1), "wide": nn.Conv2d(2, 8, 1), "back": nn.Conv2d(8, 2, 1)}
    peak = activation_peak(Net(forward, **build), image().float())
    # the caller's input, the stem's output, and the wide map before and after the ReLU
    assert peak.peak_bytes == (1 + 2 + 8 + 8) * 36 * 2 * 4
    assert (peak.operator, peak.module) == ("relu.default", "")


@pytest.mark.parametrize("name", NETWORKS)
def test_families_agree_with_the_cut_network(name: str) -> None:
    model, example = randomised(NETWORKS[name](width=4)).float(), torch.zeros(1, 1, 32, 40)
    check(model, example, seed=1)


@pytest.mark.parametrize("seed", range(15))
def test_random_networks_agree_with_the_cut_network(seed: int) -> None:
    model = randomised(RandomNetwork(seed), seed)
    check(model, model.example().double(), seed)


def check(model: nn.Module, example: Tensor, seed: int) -> None:
    channels = trace(model, example)
    plan = plan_as_cut(channels, random_plan(channels, seed))
    before = state_of(model)
    predicted = activation_peak(model, example, plan, channels)
    assert same_state(model, before)
    small = cut(channels, plan).network
    assert predicted == activation_peak(small, example)
    assert predicted.peak_bytes == measured(small, example)
    assert predicted.peak_bytes <= activation_peak(model, example).peak_bytes
    assert outputs(model.double(), example.double())


def test_what_does_not_run_is_refused() -> None:
    model = plain().double()
    with pytest.raises(TraceError, match=r"Sequential.forward failed on these shapes"):
        activation_peak(model, image(channels=5))
    other = trace(depthwise().double(), image())
    with pytest.raises(PlanError, match="made for network"):
        activation_peak(model, image(), plan_of(trace(model, image()), {}), other)
