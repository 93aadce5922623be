"""Toys on paper: which channels move together, what is pinned, what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts import plan_of, randomised, same_state, state_of
from secateur.channels.cost import Cost, cost
from secateur.channels.groups import ChannelMap
from secateur.channels.rules import RULES
from secateur.channels.trace import trace
from secateur.criteria.score import score
from secateur.criteria.weight import l1
from secateur.errors import TraceError
from secateur.plan.budget import Budget
from secateur.plan.select import uniform
from secateur.surgery.cut import cut
from toys import TOYS, Net, conv, first_channel_gates, image, plain, split_paths

GROUPS: dict[str, dict[str, dict[str, str]]] = {
    "plain": {"0": {"0.weight 0": "0 1 2 3", "3.weight 1": "0 1 2 3"}},
    "residual": {
        "stem": {
            "stem.weight 0": "0 1 2 3",
            "conv1.weight 1": "0 1 2 3",
            "conv2.weight 0": "0 1 2 3",
            "fc.weight 1": "0 1 2 3",
        },
        "conv1": {"conv1.weight 0": "0 1", "conv2.weight 1": "0 1"},
    },
    "preactivation": {
        "stem": {
            "stem.weight 0": "0 1 2 3",
            "conv1.weight 1": "0 1 2 3",
            "conv2.weight 0": "0 1 2 3",
            "fc.weight 1": "0 1 2 3",
        },
        "conv1": {"conv1.weight 0": "0 1 2", "conv2.weight 1": "0 1 2"},
    },
    "depthwise": {
        "0": {"0.weight 0": "0 1 2 3", "1.weight 0": "0 1 2 3", "4.weight 1": "0 1 2 3"},
        "4": {"4.weight 0": "0 1 2", "6.weight 1": "0 1 2"},
    },
    "depthwise with multiplier": {
        "0": {
            "0.weight 0": "0 1 2 3",
            "1.weight 0": "0,1 2,3 4,5 6,7",
            "4.weight 1": "0,1 2,3 4,5 6,7",
        },
        "4": {"4.weight 0": "0 1 2", "6.weight 1": "0 1 2"},
    },
    "grouped": {
        "0": {"0.weight 0": "0,2 1,3", "2.weight 1": "0 1"},
        "2": {"2.weight 0": "0,3 1,4 2,5", "4.weight 1": "0,3 1,4 2,5"},
    },
    "one filter a group": {"0": {"0.weight 0": "0,3 1,4 2,5", "2.weight 1": "0 1 2"}},
    "squeeze-excite": {
        "stem": {
            "stem.weight 0": "0 1 2 3",
            "down.weight 1": "0 1 2 3",
            "up.weight 0": "0 1 2 3",
            "fc.weight 1": "0 1 2 3",
        },
        "down": {"down.weight 0": "0 1", "up.weight 1": "0 1"},
    },
    "spatial gate": {
        "stem": {"stem.weight 0": "0 1 2 3", "gate.weight 1": "0 1 2 3", "fc.weight 1": "0 1 2 3"}
    },
    "dense": {
        "conv1": {
            "conv1.weight 0": "0 1",
            "conv2.weight 1": "0 1",
            "conv3.weight 1": "0 1",
            "conv4.weight 1": "0 1",
        },
        "conv2": {"conv2.weight 0": "0 1 2", "conv3.weight 1": "2 3 4", "conv4.weight 1": "2 3 4"},
        "conv3": {"conv3.weight 0": "0 1", "conv4.weight 1": "5 6"},
    },
    "concat of itself": {"conv1": {"conv1.weight 0": "0 1 2", "conv2.weight 1": "0,3 1,4 2,5"}},
    "concat with the input": {"conv1": {"conv1.weight 0": "0 1 2", "conv2.weight 1": "2 3 4"}},
    "concat of places": {
        "conv1": {"conv1.weight 0": "0 1 2", "conv2.weight 0": "0 1 2", "conv3.weight 1": "0 1 2"}
    },
    "interleaved": {
        "conv1": {
            "conv1.weight 0": "0 1 2",
            "conv2.weight 0": "0 1 2",
            "conv3.weight 1": "0,1 2,3 4,5",
        }
    },
    "flattened": {
        "0": {"0.weight 0": "0 1 2", "4.weight 1": "0,1,2,3 4,5,6,7 8,9,10,11"},
        "4": {"4.weight 0": "0 1 2 3", "7.weight 1": "0 1 2 3"},
    },
    "option A": {
        "stem": {
            "stem.weight 0": "0 1",
            "conv1.weight 1": "0 1",
            "conv2.weight 0": "1 2",
            "fc.weight 1": "1 2",
        },
        "conv1": {"conv1.weight 0": "0 1 2", "conv2.weight 1": "0 1 2"},
    },
    "gated halves": {"conv1": {"conv1.weight 0": "0,3 1,4 2,5", "conv2.weight 1": "0 1 2"}},
    "glu": {"conv1": {"conv1.weight 0": "0,3 1,4 2,5", "conv2.weight 1": "0 1 2"}},
    "shuffled": {
        "conv1": {"conv1.weight 0": "0,3 1,4 2,5", "conv2.weight 1": "0 1 2"},
        "conv2": {"conv2.weight 0": "0,3 1,4 2,5", "conv3.weight 1": "0,1 2,3 4,5"},
    },
    "shuffled by module": {"0": {"0.weight 0": "0,3 1,4 2,5", "2.weight 1": "0,1 2,3 4,5"}},
    "pixels": {"0": {"0.weight 0": "0,1,2,3 4,5,6,7", "2.weight 1": "0 1"}},
    "layer scale": {
        "conv1": {"conv1.weight 0": "0 1 2 3", "scale 1": "0 1 2 3", "conv2.weight 1": "0 1 2 3"}
    },
    "transposed": {
        "0": {"0.weight 0": "0 1 2 3", "2.weight 0": "0 1 2 3"},
        "2": {"2.weight 1": "0 1 2", "5.weight 1": "0 1 2"},
    },
    "transposed grouped": {
        "0": {"0.weight 0": "0,2 1,3", "2.weight 0": "0,2 1,3"},
        "2": {"2.weight 1": "0 1 2", "4.weight 1": "0,3 1,4 2,5"},
    },
    "transposed depthwise with multiplier": {
        "0": {
            "0.weight 0": "0 1 2 3",
            "2.weight 0": "0 1 2 3",
            "4.weight 1": "0,1 2,3 4,5 6,7",
        }
    },
    "one-dimensional": {
        "0": {"0.weight 0": "0 1 2 3", "4.weight 1": "0 1 2 3"},
        "4": {"4.weight 0": "0 1 2", "7.weight 1": "0 1 2"},
    },
    "three-dimensional": {"0": {"0.weight 0": "0 1 2 3", "4.weight 1": "0 1 2 3"}},
    "several inputs and outputs": {
        "conv1": {
            "conv1.weight 0": "0 1 2 3",
            "conv2.weight 0": "0 1 2 3",
            "conv3.weight 1": "0 1 2 3",
            "fc.weight 1": "0 1 2 3",
        }
    },
    "reused": {
        "stem": {
            "stem.weight 0": "0 1 2 3",
            "twice.weight 0": "0 1 2 3",
            "twice.weight 1": "0 1 2 3",
            "last.weight 1": "0 1 2 3",
        }
    },
    "tied": {
        "0": {
            "0.weight 0": "0 1 2 3",
            "1.weight 0": "0 1 2 3",
            "1.weight 1": "0 1 2 3",
            "4.weight 1": "0 1 2 3",
        }
    },
    "tied transposed": {
        "stem": {
            "stem.weight 0": "0 1 2 3",
            "code.weight 1": "0 1 2 3",
            "last.weight 1": "0 1 2 3",
        },
        "code": {"code.weight 0": "0 1 2"},
    },
    "spread pooling": {
        "conv1": {"conv1.weight 0": "0 1 2 3", "fc.weight 1": "0,4,8 1,5,9 2,6,10 3,7,11"}
    },
    "channels last": {
        "conv1": {"conv1.weight 0": "0 1 2 3", "up.weight 1": "0 1 2 3"},
        "up": {"up.weight 0": "0 1 2 3 4 5", "down.weight 1": "0 1 2 3 4 5"},
        "down": {"down.weight 0": "0 1 2", "conv2.weight 1": "0 1 2"},
    },
}

PINNED: dict[str, set[tuple[str, int, str]]] = {
    "plain": {("3.weight", 3, "is an output of the network")},
    "one filter a group": {
        ("2.weight", 2, "all move together, and one must stay"),
        ("4.weight", 2, "is an output of the network"),
    },
    "option A": {
        ("conv2.weight", 2, "is padded to a fixed size in constant_pad_nd"),
        ("fc.weight", 3, "is an output of the network"),
    },
    "transposed depthwise with multiplier": {
        ("2.weight", 2, "is a depth multiplier in convolution"),
        ("4.weight", 2, "is an output of the network"),
    },
    "layer norm": {("5.weight", 2, "is an output of the network")},
    "picked": {
        ("conv2.weight", 4, "is picked by its position in select"),
        ("conv3.weight", 2, "is an output of the network"),
    },
}


def _positions(index: Any) -> str:
    return " ".join(",".join(str(k) for k in row) for row in index.tolist())


def _contractions(channels: ChannelMap) -> dict[str, dict[str, str]]:
    """Groups as written above: members that are weights of layers, or parameters of none."""
    return {
        group.name: {
            f"{m.parameter} {m.dim}": _positions(m.index)
            for m in group.members
            if m.role in ("out", "in") or "." not in m.parameter
        }
        for group in channels.groups
    }


@pytest.mark.parametrize("name", GROUPS)
def test_the_groups_on_paper(name: str) -> None:
    build, example = TOYS[name]
    assert _contractions(trace(build().double(), example)) == GROUPS[name]


@pytest.mark.parametrize("name", PINNED)
def test_the_pinned_on_paper(name: str) -> None:
    build, example = TOYS[name]
    channels = trace(build().double(), example)
    layers = {layer.weight for layer in channels.layers}
    found = {(p.parameter, p.n_channels, p.reason) for p in channels.pinned}
    assert {row for row in found if row[0] in layers} == PINNED[name]


def test_every_member_of_a_group_on_paper() -> None:
    (group,) = trace(plain().double(), image()).groups
    assert [(m.parameter, m.dim, m.role) for m in group.members] == [
        ("0.weight", 0, "out"),
        ("0.bias", 0, "free"),
        ("1.weight", 0, "norm"),
        ("1.bias", 0, "norm"),
        ("1.running_mean", 0, "norm"),
        ("1.running_var", 0, "norm"),
        ("3.weight", 1, "in"),
    ]


def test_layers_and_costs_on_paper() -> None:
    channels = trace(plain().double(), image())
    first, last = channels.layers
    assert (first.name, first.positions, first.norm) == ("0", 36, "1")
    assert (last.name, last.positions, last.norm) == ("3", 36, None)
    # weights 4*1*9 + 3*4*9, biases 4 + 3, norm 4 + 4; MACs 36 * (36 + 108)
    assert cost(channels) == Cost(params=36 + 108 + 7 + 8, macs=36 * 144, channels=4)
    # without channel 2: 27 + 81, 3 + 3, 3 + 3
    assert cost(channels, {"0": (2,)}) == Cost(params=108 + 6 + 6, macs=36 * 108, channels=3)


def test_from_weights_to_a_smaller_network_on_paper() -> None:
    """A 1x1 network of scales 3, -1, 2, 0: half of it goes, the larger half stays."""
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, -1, 2, 0]).view(4, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([1.0, 10, 100, 1000]).view(1, 4, 1, 1))
    x = torch.ones(1, 1, 1, 1)
    channels = trace(model, x)
    scores = score(channels, [l1])["l1"]
    assert scores.groups["0"].tolist() == [3, 1, 2, 0]
    plan = uniform(scores, channels, Budget(pruning_ratio=0.5))
    assert plan.remove == {"0": (1, 3)}
    assert (plan.before.macs, plan.after.macs) == (8, 4)
    small = cut(channels, plan).network
    assert small[0].weight.flatten().tolist() == [3, 2]
    assert small[1].weight.flatten().tolist() == [1, 100]
    assert (small[0].out_channels, small[1].in_channels) == (2, 2)
    assert small(x).item() == 3 * 1 + 2 * 100


def test_an_unknown_operator_is_listed_with_its_line() -> None:
    build, example = TOYS["bessel function"]
    channels = trace(build().double(), example)
    (operator,) = channels.unknown
    assert operator.startswith("i0 (toys.py:")
    assert "unknown operator: i0" in str(channels)
    assert "conv2.weight dim 0 (4): flows into the unknown operator in i0" in str(channels)


def test_a_rule_can_be_added() -> None:
    build, example = TOYS["bessel function"]
    channels = trace(build().double(), example, rules=RULES | {"i0": RULES["relu"]})
    assert not channels.unknown
    assert set(channels.by_name) == {"conv1", "conv2"}


def test_mixing_is_listed_with_its_line_and_groups() -> None:
    build, example = TOYS["averaged over channels"]
    (mixing,) = trace(build().double(), example).mixing
    assert (mixing.operator, mixing.groups) == ("mean", ("conv1",))
    assert mixing.reason == "mean over channels" and mixing.source.startswith("toys.py:")


def test_one_channel_of_many_that_is_broadcast_stays() -> None:
    channels = trace(first_channel_gates().double(), image())
    (group,) = channels.groups
    assert _positions(group.members[0].index) == "1 2 3"
    reasons = {p.reason for p in channels.pinned if p.parameter == "conv1.weight"}
    assert reasons == {"is one of a fixed number, broadcast, in mul"}


def test_halves_that_go_apart_are_groups_of_their_own() -> None:
    model = randomised(split_paths())
    channels = trace(model, image())
    assert {g.name: _positions(g.members[0].index) for g in channels.groups} == {
        "conv1": "0 1 2",
        "conv1:2": "3 4 5",
        "conv2": "0 1 2",
    }
    cut(channels, plan_of(channels, {"conv1": (0,), "conv1:2": (2,)}))


# --- what goes wrong ------------------------------------------------------------------------


def test_a_forward_that_depends_on_values_is_refused() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.conv1(x)
        return net.conv2(x) if x.mean() > 0 else x

    with pytest.raises(TraceError, match=r"Net.forward depends on the values of its data"):
        trace(Net(forward, conv1=conv(1, 4), conv2=conv(4, 2)).double(), image())


@pytest.mark.parametrize(
    "example",
    [image(2), torch.zeros(2, dtype=torch.float64), (), (image(), image()), {"y": image()}],
)
def test_a_wrong_example_input_is_refused(example: Any) -> None:
    with pytest.raises(TraceError, match=r"Sequential.forward failed on shapes.*example_input"):
        trace(plain().double(), example)


def test_an_error_of_any_kind_is_a_trace_error_and_leaves_the_model_alone() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.seen = x
        raise KeyError("mel")

    model = Net(forward, conv1=conv(1, 4)).double().train()
    with pytest.raises(TraceError, match="mel"):
        trace(model, image())
    assert model.training and not hasattr(model, "seen")


def test_the_model_is_left_as_it_was() -> None:
    calls = []

    def forward(net: Any, x: Tensor) -> Tensor:
        net.calls += 1
        net.last = net.conv1(x)
        return net.conv2(net.bn(net.last))

    model = Net(forward, conv1=conv(1, 4), bn=nn.BatchNorm2d(4), conv2=conv(4, 2))
    model = randomised(model).train()
    model.calls = 0
    model.bn.eval()
    model.conv1.weight.requires_grad_(False)
    model.conv1.register_forward_hook(lambda *_: calls.append("conv1"))
    identities = {name: id(p) for name, p in model.named_parameters()}
    before = state_of(model)
    channels = trace(model, image())
    small = cut(channels, plan_of(channels, {"conv1": (1,)})).network
    assert same_state(model, before)
    assert {name: id(p) for name, p in model.named_parameters()} == identities
    assert model.training and not model.bn.training and model.conv2.training
    assert not hasattr(model, "last") and model.calls == 0
    assert len(model.conv1._forward_hooks) == 1 and calls
    assert not model.conv1.weight.requires_grad and model.conv1.bias.requires_grad
    # what was cut has the same flags, modes and hooks
    assert small.training and not small.bn.training and len(small.conv1._forward_hooks) == 1
    assert not small.conv1.weight.requires_grad and small.conv1.bias.requires_grad


def test_tied_weights_stay_tied() -> None:
    build, example = TOYS["tied"]
    model = randomised(build())
    channels = trace(model, example)
    assert channels.aliases == {"3.weight": "1.weight"}
    small = cut(channels, plan_of(channels, {"0": (0, 3)})).network
    assert small[3].weight is small[1].weight and small[1].weight.shape[:2] == (2, 2)


def test_unused_parameters_are_counted_and_kept() -> None:
    build, example = TOYS["unused"]
    channels = trace(build().double(), example)
    assert channels.shapes["dead.weight"] == (6, 5, 3, 3)
    assert all("dead" not in m.parameter for g in channels.groups for m in g.members)


def test_the_channel_map_survives_json() -> None:
    for build, example in TOYS.values():
        channels = trace(build().double(), example)
        again = ChannelMap.from_json(channels.to_json())
        assert again.to_json() == channels.to_json() and str(again) == str(channels)
        assert (again.layers, again.pinned, again.mixing) == (
            channels.layers,
            channels.pinned,
            channels.mixing,
        )
        for one, other in zip(again.groups, channels.groups, strict=True):
            for a, b in zip(one.members, other.members, strict=True):
                np.testing.assert_array_equal(a.index, b.index)
