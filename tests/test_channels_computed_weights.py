"""Layers whose weight is computed of more, fewer or other elements than a parameter: the cost.

Predicted without cutting, it is what torch counts on the cut network; criteria find the filters.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import check_cost, check_cut_equals_mask, random_plan, randomised
from secateur.channels.cost import cost, group_costs, layer_costs
from toys import Net


def weight(*sizes: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(sizes))


def point(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 1)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def stacked(net: Any, x: Tensor) -> Tensor:
    both = torch.cat([net.a.weight, net.b.weight]), torch.cat([net.a.bias, net.b.bias])
    return net.o(F.relu(F.conv2d(x, *both)))


def stacked_inputs(net: Any, x: Tensor) -> Tensor:
    return F.conv2d(F.relu(net.a(x)), torch.cat([net.w1, net.w2], 1))


def stacked_rows(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(mean(x), torch.stack([net.w1, net.w2]).flatten(0, 1))))


def outer(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(mean(x), net.u[:, None] * net.v)))


def outer_convolution(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(x, (net.u[:, None] * net.v)[:, :, None, None])))


def kernel_for_all(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.o(F.conv2d(x, net.k.expand(x.shape[1], 1, 3, 3), groups=x.shape[1]))


def read_alike(net: Any, x: Tensor) -> Tensor:
    return net.o(F.conv2d(net.a(x), net.w[:, :1].expand(-1, 4, -1, -1)))


def used_twice(net: Any, x: Tensor) -> Tensor:
    x = net.a(x)
    return net.o(F.relu(F.conv2d(x, net.w) + F.conv2d(x.flip(-1), net.w)))


def turned_as_well(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(x, torch.cat([net.w, net.w.flip(-1)]))))


def of_two(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(mean(x), net.w1 @ net.w2)))


def of_two_then_one(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(F.linear(mean(x), net.w1 @ net.w2), net.w3)))


def low_rank_added(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(mean(net.a(x)), net.w + net.u @ net.v)))


def low_rank_first(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.linear(mean(net.a(x)), net.u @ net.v + net.w)))


def of_a_bank(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), torch.tensordot(net.u, net.bank, 1))))


def einsum_of_three(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(torch.einsum("bchw,or,rc->bohw", net.a(x), net.u, net.v)))


def einsum_of_weights(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), torch.einsum("kr,rcij->kcij", net.u, net.bank))))


def repeated(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), net.w.repeat(2, 1, 1, 1))))


def part(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), net.w[:4])))


def padded(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), F.pad(net.w, [1, 1, 1, 1]), padding=1)))


def multiplied(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(net.w @ net.a(x).flatten(2)).unsqueeze(-1))


def stacked_transposed(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv_transpose2d(x, torch.cat([net.w1, net.w2], 1))))


def stacked_groups(net: Any, x: Tensor) -> Tensor:
    return net.o(F.relu(F.conv2d(net.a(x), torch.cat([net.w1, net.w2]), groups=2)))


BANK = {"a": (3, 4), "u": weight(6, 3), "bank": weight(3, 4, 3, 3), "o": (6, 2)}

CASES: dict[Any, dict[str, Any]] = {
    stacked: {"a": (3, 8), "b": (3, 8), "o": (16, 2)},
    stacked_inputs: {"a": (3, 8), "w1": weight(4, 5, 1, 1), "w2": weight(4, 3, 1, 1)},
    stacked_rows: {"w1": weight(4, 3), "w2": weight(4, 3), "o": nn.Linear(8, 2)},
    outer: {"u": weight(6), "v": weight(3), "o": nn.Linear(6, 2)},
    outer_convolution: {"u": weight(6), "v": weight(3), "o": (6, 2)},
    kernel_for_all: {"a": (3, 4), "k": weight(3, 3), "o": (4, 2)},
    read_alike: {"a": (3, 4), "w": weight(5, 4, 3, 3), "o": (5, 2)},
    used_twice: {"a": (3, 4), "w": weight(5, 4, 3, 3), "o": (5, 2)},
    turned_as_well: {"w": weight(4, 3, 3, 3), "o": (8, 2)},
    of_two: {"w1": weight(6, 5), "w2": weight(5, 3), "o": nn.Linear(6, 2)},
    of_two_then_one: {
        **{"w1": weight(6, 5), "w2": weight(5, 3)},
        **{"w3": weight(4, 6), "o": nn.Linear(4, 2)},
    },
    low_rank_added: {
        **{"a": (3, 4), "w": weight(6, 4), "u": weight(6, 2)},
        **{"v": weight(2, 4), "o": nn.Linear(6, 2)},
    },
    low_rank_first: {
        **{"a": (3, 4), "w": weight(6, 4), "u": weight(6, 2)},
        **{"v": weight(2, 4), "o": nn.Linear(6, 2)},
    },
    of_a_bank: BANK,
    einsum_of_three: {"a": (3, 4), "u": weight(6, 3), "v": weight(3, 4), "o": (6, 2)},
    einsum_of_weights: BANK,
    repeated: {"a": (3, 4), "w": weight(3, 4, 3, 3), "o": (6, 2)},
    part: {"a": (3, 4), "w": weight(6, 4, 3, 3), "o": (4, 2)},
    padded: {"a": (3, 4), "w": weight(6, 4, 1, 1), "o": (6, 2)},
    multiplied: {"a": (3, 4), "w": weight(6, 4), "o": (6, 2)},
    stacked_transposed: {"w1": weight(3, 4, 2, 2), "w2": weight(3, 2, 2, 2), "o": (6, 2)},
    stacked_groups: {
        **{"a": (3, 4), "w1": weight(3, 2, 3, 3)},
        **{"w2": weight(3, 2, 3, 3), "o": (6, 2)},
    },
}


def image(batch: int, size: int = 6) -> Tensor:
    return torch.zeros(batch, 3, size, size, dtype=torch.float64)


def network(forward: Any) -> nn.Module:
    made: dict[str, Any] = {}
    for name, given in CASES[forward].items():
        made[name] = point(*given) if isinstance(given, tuple) else given
    return randomised(Net(forward, **made))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("forward", CASES)
def test_what_is_predicted_is_what_is_counted(forward: Any, batch: int) -> None:
    """Torch multiplies where one channel is left of an einsum, and counts that no more."""
    model, example = network(forward), image(batch)
    channels = sc.trace(model, example)
    least = 2 if forward in (einsum_of_three, einsum_of_weights) else 1
    for seed in range(4):
        plan = sc.settle(model, random_plan(channels, seed, least), example, channels)
        small = sc.cut(model, plan, example, channels=channels)
        check_cost(small, example, plan.after)
        assert sum(row.macs for row in layer_costs(channels, plan.remove)) == plan.after.macs
    for name, most in group_costs(channels).items():
        gone = {name: range(most.channels)}
        assert most.macs == cost(channels).macs - cost(channels, gone).macs


def test_stacked_filters_on_paper() -> None:
    """8 x 8 places; 1 + 8 of 16 filters of 3 inputs stay, and 2 of 9: 64 * (27 + 18)."""
    model, example = network(stacked), image(1, 8)
    channels = sc.trace(model, example)
    plan = sc.manual(channels, {"a": range(7)})
    assert (plan.before.macs, plan.after.macs) == (64 * (48 + 32), 64 * (27 + 18))
    check_cut_equals_mask(model, example, channels, 3)


def test_criteria_find_all_filters_of_what_is_stacked() -> None:
    model, example = network(stacked), image(1)
    channels = sc.trace(model, example)
    scores = sc.score(model, channels, [sc.l1])["l1"]
    assert not scores.left_out
    for name in ("a", "b"):
        own = model.get_submodule(name).weight.abs().sum((1, 2, 3))
        assert scores.groups[name].tolist() == pytest.approx(own.tolist())
    plan = sc.global_(scores, channels, sc.Budget(macs="50%"))
    assert plan.after.macs <= plan.before.macs // 2 and not plan.held_back


def test_a_norm_behind_stacked_filters_is_nobodys_own() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.conv2d(x, torch.cat([net.a.weight, net.b.weight]))
        return net.o(F.relu(net.bn(x)))

    model = randomised(
        Net(forward, a=point(3, 4), b=point(3, 5), bn=nn.BatchNorm2d(9), o=point(9, 2))
    )
    channels = sc.trace(model, image(1))
    scores = sc.score(model, channels, [sc.bn_scale])["bn_scale"]
    scale = model.bn.weight.abs().tolist()
    assert scores.groups["a"].tolist() == scale[:4] and scores.groups["b"].tolist() == scale[4:]


def test_what_is_not_counted_survives_a_file() -> None:
    channels = sc.trace(network(stacked), image(1))
    again = sc.ChannelMap.from_json(channels.to_json())
    assert [layer.counted for layer in again.layers] == [False, False, True]
    assert cost(again) == cost(channels)
