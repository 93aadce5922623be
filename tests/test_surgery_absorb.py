"""What removed channels gave goes into the next bias: exact for a constant, never worse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import (
    difference,
    outputs,
    plan_as_cut,
    plan_of,
    random_plan,
    randomised,
    same_state,
    state_of,
)
from random_networks import RandomNetwork
from secateur.channels.trace import trace
from secateur.errors import PlanError, SurgeryError
from secateur.networks.families import NETWORKS, SIZES
from secateur.surgery.absorb import absorb
from secateur.surgery.cut import cut
from secateur.surgery.package import load, save
from toys import TOYS, Net, depthwise, image, plain

DEAD = (1, 2)


def behind(*layers: nn.Module) -> nn.Module:
    """1 -> 4 channels, of which DEAD will be constant, then the layers."""
    return nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), *layers)


def two_readers() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.bn(net.stem(x)))
        return net.left(x) + F.relu(net.mid(net.right(x)))

    return Net(
        forward,
        stem=nn.Conv2d(1, 4, 1),
        bn=nn.BatchNorm2d(4),
        left=nn.Conv2d(4, 3, 3, bias=False),
        right=nn.Conv2d(4, 5, 3),
        mid=nn.Conv2d(5, 3, 1),
    )


EXACT_NETS: dict[str, Callable[[], nn.Module]] = {
    "into a bias": lambda: behind(nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1)),
    "without padding": lambda: behind(
        nn.Conv2d(4, 3, 3, stride=2), nn.Sigmoid(), nn.Conv2d(3, 2, 1)
    ),
    "a bias is made": lambda: behind(nn.Conv2d(4, 3, 3, bias=False)),
    "into a running mean": lambda: behind(
        nn.Conv2d(4, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)
    ),
    "through depthwise": lambda: behind(
        nn.Conv2d(4, 4, 3, groups=4), nn.Hardswish(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)
    ),
    "into a linear": lambda: behind(nn.Flatten(), nn.Linear(4 * 36, 3)),
    "transposed": lambda: behind(nn.ConvTranspose2d(4, 3, 1), nn.Tanh(), nn.Conv2d(3, 2, 1)),
    "two readers": two_readers,
}


def with_dead_channels(model: nn.Module) -> nn.Module:
    """Random, with a batch-norm scale of zero and a positive shift for the DEAD channels."""
    model = randomised(model)
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight[list(DEAD)] = 0.0
        norm.bias[list(DEAD)] = torch.tensor([2.0, 0.5], dtype=torch.float64)
    return model


def batch(example: Tensor, seed: int = 7) -> Tensor:
    return torch.randn(example.shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("name", EXACT_NETS)
def test_constant_channels_are_absorbed_exactly(name: str) -> None:
    model = with_dead_channels(EXACT_NETS[name]())
    channels = trace(model, image())
    group = channels.groups[0]
    plan = plan_of(channels, {group.name: DEAD})
    small = cut(channels, plan).network
    before, cut_before = state_of(model), state_of(small)
    done = absorb(model, small, plan, channels, batch(image()))
    assert done.error_before > 1e-3 and done.error_after < 1e-12
    assert done.absorbed and not done.left_out
    # on other data than the calibration data too: outputs() draws its own
    assert difference(outputs(done.network, image()), outputs(model, image())) < 1e-12
    assert same_state(model, before) and same_state(small, cut_before)


POSITION_DEPENDENT: dict[str, Callable[[], nn.Module]] = {
    "padded": lambda: behind(nn.Conv2d(4, 3, 3, padding=1)),
    "strided transposed": lambda: behind(nn.ConvTranspose2d(4, 3, 2, stride=2)),
}


@pytest.mark.parametrize("name", POSITION_DEPENDENT)
def test_what_depends_on_the_position_is_taken_up_on_average(name: str) -> None:
    model = with_dead_channels(POSITION_DEPENDENT[name]())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": DEAD})
    done = absorb(model, cut(channels, plan).network, plan, channels, batch(image()))
    assert 0 < done.error_after < done.error_before
    with torch.no_grad():
        full, now = (net(batch(image())) for net in (model, done.network))
    torch.testing.assert_close(now.mean((0, 2, 3)), full.mean((0, 2, 3)))


def test_shift_on_paper() -> None:
    # The dead channels are 2 and 0.5; the reader's weights for them are 3 and 4, its bias is 1.
    model = with_dead_channels(behind(nn.Conv2d(4, 1, 1), nn.Conv2d(1, 1, 1)))
    with torch.no_grad():
        model[3].weight[0, list(DEAD), 0, 0] = torch.tensor([3.0, 4.0], dtype=torch.float64)
        model[3].bias.fill_(1.0)
    channels = trace(model, image())
    plan = plan_of(channels, {"0": DEAD})
    done = absorb(model, cut(channels, plan).network, plan, channels, batch(image()))
    assert done.absorbed == ("3",)
    assert done.network[3].bias.item() == pytest.approx(1 + 2 * 3 + 0.5 * 4)


@pytest.mark.parametrize("seed", range(20))
def test_the_error_never_rises_on_random_networks(seed: int) -> None:
    model = randomised(RandomNetwork(seed), seed)
    check_never_worse(model, batch(model.example()), seed)


@pytest.mark.parametrize("name", TOYS)
def test_the_error_never_rises_on_toys(name: str) -> None:
    build, example = TOYS[name]
    check_never_worse(randomised(build()), example, seed=4)


def check_never_worse(model: nn.Module, example: Any, seed: int) -> None:
    channels = trace(model, example)
    plan = plan_as_cut(channels, random_plan(channels, seed))
    small = cut(channels, plan).network
    done = absorb(model, small, plan, channels, example)
    assert done.error_after <= done.error_before
    assert (done.error_after < done.error_before) == bool(done.absorbed)
    if not done.absorbed:
        assert same_state(done.network, state_of(small))


@pytest.mark.parametrize("name", NETWORKS)
def test_real_families_lose_error_and_say_how_much(name: str) -> None:
    torch.manual_seed(0)
    width = SIZES[name]["small"]
    model, example = NETWORKS[name](width=width), torch.randn(8, 1, 32, 40)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.0, 1.0)
    channels = trace(model, example)
    plan = plan_as_cut(channels, random_plan(channels, seed=1))
    small = cut(trace(model.eval(), example), plan, hold_back=False).network
    done = absorb(model, small, plan, channels, example)
    with torch.no_grad():
        full, bare, shifted = (net(example) for net in (model, small, done.network.eval()))
    rms = full.double().square().mean().sqrt()
    for error, out in ((done.error_before, bare), (done.error_after, shifted)):
        assert error == pytest.approx(float((out - full).double().square().mean().sqrt() / rms))
    assert done.error_after < 0.5 * done.error_before


def test_modes_and_hooks_are_left_as_they_were() -> None:
    model = with_dead_channels(EXACT_NETS["a bias is made"]()).train()
    channels = trace(model, image())
    plan = plan_of(channels, {"0": DEAD})
    small = cut(channels, plan).network
    statistics = state_of(model)
    done = absorb(model, small, plan, channels, batch(image()))
    assert model.training and small.training and done.network.training
    assert same_state(model, statistics)
    networks = (model, small, done.network)
    assert not any(m._forward_hooks for network in networks for m in network.modules())
    assert small[3].bias is None and isinstance(done.network[3].bias, nn.Parameter)


def test_a_bias_that_was_made_is_saved_and_loaded(tmp_path: Path) -> None:
    build = EXACT_NETS["a bias is made"]
    model = with_dead_channels(build())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": DEAD})
    done = absorb(model, cut(channels, plan).network, plan, channels, batch(image()))
    path = save(done.network, tmp_path / "small.safetensors", plan)
    again = load(path, lambda: build().double().eval())
    assert same_state(again, state_of(done.network))
    assert difference(outputs(again, image()), outputs(done.network, image())) == 0


def test_what_cannot_be_absorbed_is_refused_in_words() -> None:
    model = with_dead_channels(EXACT_NETS["into a bias"]())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": DEAD})
    small = cut(channels, plan).network
    with pytest.raises(SurgeryError, match=r"NaN or infinite outputs on the calibration data"):
        absorb(model, small, plan, channels, torch.full_like(image(), torch.nan))
    both = plan_of(channels, {"0": DEAD, "3": (0,)})
    with pytest.raises(SurgeryError, match=r"layer '3' of the cut network gives 3 channels"):
        absorb(model, small, both, channels, batch(image()))
    with pytest.raises(PlanError, match="made for network"):
        absorb(model, small, plan, trace(plain().double(), image()), batch(image()))


def test_an_empty_plan_shifts_nothing() -> None:
    model = randomised(depthwise())
    channels = trace(model, image())
    done = absorb(model, model, plan_of(channels, {}), channels, batch(image()))
    assert (done.error_before, done.error_after, done.absorbed) == (0.0, 0.0, ())
    assert same_state(done.network, state_of(model))


def test_another_network_than_the_cut_one_is_refused() -> None:
    model = with_dead_channels(EXACT_NETS[next(iter(EXACT_NETS))]())
    channels = trace(model, image())
    plan = plan_of(channels, {channels.groups[0].name: DEAD})
    small = cut(channels, plan).network
    with pytest.raises(SurgeryError, match=r"no module '.*'; give the network that this plan was"):
        absorb(model, nn.Sequential(small), plan, channels, batch(image()))
    small.register_forward_hook(lambda _, __, output: output.flatten(1))
    with pytest.raises(SurgeryError, match="outputs differ in shape from the uncut one's"):
        absorb(model, small, plan, channels, batch(image()))
