"""A channel map brings along what proofs need: the same cuts, without tracing again."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts import plan_as_cut, plan_of, random_plan, randomised, same_state, state_of
from random_networks import RandomNetwork
from secateur.channels.groups import ChannelMap
from secateur.channels.rules import RULES
from secateur.channels.trace import trace
from secateur.errors import ChannelMapError, PlanError
from secateur.surgery.cut import cut
from toys import Net, conv, image


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_the_same_with_the_map(seed: int) -> None:
    torch.manual_seed(seed)
    model = randomised(RandomNetwork(seed), seed)
    example = model.example().double()
    channels = trace(model, example)
    plan = plan_as_cut(channels, random_plan(channels, seed))
    with_map, without = cut(channels, plan).network, cut(channels, plan).network
    for (name, one), (_, other) in zip(
        with_map.state_dict().items(), without.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name
    assert str(with_map) == str(without)


def halves(net: Any, x: Tensor) -> Tensor:
    return net.conv2(net.conv1(x).view(len(x), 2, 3, 6, 6).sum(1))


def test_what_does_not_line_up_is_blamed_alike() -> None:
    model = randomised(Net(halves, conv1=conv(1, 6), conv2=conv(3, 2)))
    channels = trace(model, image())
    plan = plan_of(channels, {group.name: (0,) for group in channels.groups})
    assert plan_as_cut(channels, plan) == plan_as_cut(channels, plan)


def test_a_recording_keeps_no_network_and_goes_into_no_file() -> None:
    model = randomised(RandomNetwork(3), 3)
    channels = trace(model, model.example().double())
    assert "recording" not in channels.to_json()
    assert ChannelMap.from_json(channels.to_json()).recording is None
    for other in (copy.deepcopy(channels), pickle.loads(pickle.dumps(channels))):
        assert other.recording is None and other.to_json() == channels.to_json()
    watched = [weakref.ref(module) for module in model.modules()]
    watched += [weakref.ref(tensor) for tensor in model.parameters()]
    recording = channels.recording
    del model, channels, other
    gc.collect()
    assert not any(ref() is not None for ref in watched)
    assert recording is not None


def test_the_rules_of_the_trace_are_those_of_the_cut() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.conv2(torch.special.bessel_j0(net.conv1(x)))

    model = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(4, 2)))
    channels = trace(model, image(), RULES | {"special_bessel_j0": RULES["abs"]})
    assert not channels.unknown
    plan = plan_of(channels, {channels.groups[0].name: (1,)})
    assert cut(channels, plan).network.conv1.out_channels == 3
    with pytest.raises(PlanError):
        cut(trace(model, image()), plan)


def test_a_map_of_other_shapes_is_refused() -> None:
    small, large = (nn.Sequential(nn.Conv2d(1, n, 3), nn.Conv2d(n, 2, 3)) for n in (4, 5))
    example = torch.zeros(1, 1, 8, 8)
    channels = trace(small, example)
    plan = plan_of(channels, {channels.groups[0].name: (1,)})
    with pytest.raises(ChannelMapError, match=r"'0.weight' is \(4, 1, 3, 3\), in this Sequential"):
        channels.of(large)
    small[0] = large[0]  # the map's own network, changed since
    with pytest.raises(ChannelMapError, match="trace this network"):
        cut(channels, plan)


def test_a_map_from_a_file_is_told_its_network() -> None:
    model, example = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)), torch.zeros(1, 1, 8, 8)
    channels = trace(model, example)
    plan = plan_of(channels, {channels.groups[0].name: (1,)})
    read = ChannelMap.from_json(channels.to_json())
    for without in (read, copy.deepcopy(channels)):
        with pytest.raises(ChannelMapError, match="knows no network"):
            cut(without, plan)
        known = without.of(model, example)
        assert same_state(cut(known, plan).network, state_of(cut(channels, plan).network))
