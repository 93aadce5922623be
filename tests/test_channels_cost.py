"""Cost by layer and in bytes, predicted without cutting, against the cut network itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from contracts import random_plan, randomised
from secateur.channels.cost import Cost, cost, layer_costs
from secateur.channels.trace import trace
from secateur.errors import PlanError
from secateur.networks.families import NETWORKS
from secateur.surgery.cut import cut
from toys import TOYS, channels_last, depthwise, image


def test_layers_on_paper() -> None:
    # depthwise(): 1 -> 4 -> 4 (each alone) -> 3 -> 2 on 6x6; one channel of the first goes.
    channels = trace(depthwise().double(), image())
    rows = {row.name: (row.params, row.macs) for row in layer_costs(channels, {"0": (2,)})}
    assert rows == {
        "0": (27 + 3, 36 * 27),
        "1": (27 + 3, 36 * 27),
        "2": (6, 0),
        "4": (9 + 3, 36 * 9),
        "6": (54 + 2, 36 * 54),
    }


@pytest.mark.parametrize("name", TOYS)
def test_layers_add_up_and_agree_with_the_cut_network(name: str) -> None:
    build, example = TOYS[name]
    model = randomised(build())
    channels = trace(model, example)
    plan = random_plan(channels, seed=3)
    rows = layer_costs(channels, plan.remove)
    total = cost(channels, plan.remove)
    assert sum(row.params for row in rows) == total.params
    assert sum(row.macs for row in rows) == total.macs
    assert rows == layer_costs(trace(cut(channels, plan).network, example))


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_agree_with_torch_on_the_cut_network(name: str) -> None:
    model, example = randomised(NETWORKS[name](width=4)), torch.zeros(1, 1, 32, 40).double()
    channels = trace(model, example)
    plan = random_plan(channels, seed=1)
    small = cut(channels, plan).network
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(example)
    counted = counter.get_flop_counts()
    owner = type(model).__name__
    for row in layer_costs(channels, plan.remove):
        module = small.get_submodule(row.name)
        assert row.params == sum(p.numel() for p in module.parameters(recurse=False))
        assert 2 * row.macs == sum(counted.get(f"{owner}.{row.name}", {}).values())
    tensors = [p.to(torch.float16) for p in small.parameters()]
    stored = sum(p.element_size() * p.numel() for p in tensors)
    assert plan.after.bytes_at("float16") == stored


def test_bytes_follow_the_type() -> None:
    total = Cost(params=1000, macs=0, channels=0)
    sizes = [total.bytes_at(dtype) for dtype in ("int8", "float16", "bfloat16", "float32")]
    assert sizes == [1000, 2000, 2000, 4000]
    assert math.isclose(total.bytes_at("float64") / total.bytes_at("int8"), 8)
    with pytest.raises(PlanError, match="no storage type 'float8'"):
        total.bytes_at("float8")  # type: ignore[arg-type]


def test_a_linear_layer_over_channels_last_is_a_layer() -> None:
    channels = trace(channels_last(), image().float())
    assert [layer.name for layer in channels.layers] == ["conv1", "up", "down", "conv2"]
    assert not channels.products
