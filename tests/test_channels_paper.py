"""Networks with the answer written beside them: groups, pins and mixing, then the contracts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn

from contracts import (
    EXACT,
    check_cost,
    check_permutation,
    difference,
    mixes,
    outputs,
    plan_as_cut,
    plan_of,
    random_plan,
    randomised,
    same_state,
    state_of,
)
from secateur.channels.cost import cost, group_costs, layer_costs
from secateur.channels.groups import ChannelMap, Member
from secateur.channels.trace import trace
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified
from secateur.surgery.mask import mask
from test_channels_operators import OPERATORS
from toys import image
from toys_sequences import SEQUENCES
from toys_wiring import WIRING

PAPER = WIRING | SEQUENCES
each = pytest.mark.parametrize("name", PAPER)


def _made(name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return randomised(PAPER[name].build()), PAPER[name].example


def _written_down(member: Member) -> bool:
    """Biases and batch norms follow their layer; all else is written out."""
    leaf = member.parameter.rpartition(".")[2]
    follows = member.role == "norm" and leaf in ("weight", "running_mean", "running_var")
    return not leaf.endswith("bias") and not follows


@each
def test_it_is_as_on_paper(name: str) -> None:
    model, example = _made(name)
    paper, channels = PAPER[name], trace(model, example)
    assert {
        group.name: {
            f"{m.parameter} {m.dim}": " ".join(",".join(map(str, row)) for row in m.index.tolist())
            for m in group.members
            if _written_down(m)
        }
        for group in channels.groups
    } == paper.groups
    reasons = {(row.parameter, row.reason) for row in channels.pinned}
    assert set(paper.pinned.items()) <= reasons
    assert {mixing.reason for mixing in channels.mixing} == set(paper.mixing)
    assert not channels.unknown


@each
@pytest.mark.filterwarnings("ignore:.*read by weights that the network computes")
def test_plans_are_cut_right_or_held_back(name: str) -> None:
    model, example = _made(name)
    paper, channels, before = PAPER[name], trace(model, example), state_of(model)
    for seed in range(6):
        plan = random_plan(channels, seed)
        settled = plan_as_cut(channels, plan)
        assert set(settled.held_back) <= set(paper.held)
        small = cut(channels, settled, hold_back=False).network
        assert same_state(model, before)
        error = difference(outputs(small, example), outputs(mask(channels, settled), example))
        assert verified(model, small, settled, channels, example).holds
        assert error <= EXACT or mixes(channels, settled)
        left = [g.n_channels - len(settled.remove.get(g.name, ())) for g in channels.groups]
        if min(left, default=paper.counted_from) >= paper.counted_from:
            check_cost(small, example, settled.after)


@each
def test_permuting_channels_everywhere_changes_nothing(name: str) -> None:
    model, example = _made(name)
    for seed in range(3):
        check_permutation(model, example, trace(model, example), seed)


@each
def test_costs_are_consistent(name: str) -> None:
    model, example = _made(name)
    channels = trace(model, example)
    check_cost(model, example, cost(channels))
    again = ChannelMap.from_json(channels.to_json())
    assert again.products == channels.products and again.to_json() == channels.to_json()
    plan = random_plan(channels, seed=1)
    rows, total = layer_costs(channels, plan.remove), cost(again, plan.remove)
    assert (sum(r.params for r in rows), sum(r.macs for r in rows)) == (total.params, total.macs)
    for name_, goes in group_costs(channels).items():
        after = cost(channels, {name_: range(channels.by_name[name_].n_channels)})
        assert goes.macs == cost(channels).macs - after.macs
        assert goes.params == cost(channels).params - after.params


def test_a_slice_by_number_is_held_back_with_its_line() -> None:
    """Of four channels one goes; a slice `[:2]` would take one that it did not take before."""
    model, example = _made("a number of first ones")
    channels = trace(model, example)
    settled = plan_as_cut(channels, plan_of(channels, {"conv1": (0,)}))
    assert set(settled.held_back) == {"conv1"} and not settled.remove
    reason = settled.held_back["conv1"]
    assert re.match(
        r"after the cut slice at toys_wiring.py:\d+ gives 2 channels, not the 1", reason
    )
    allowed = plan_of(channels, {"conv1:2": (0,)})
    assert plan_as_cut(channels, allowed) is allowed


def test_products_of_maps_on_paper() -> None:
    """36 places, queries and keys of three channels (products of 36 * 36 * 3), 5 values."""
    model = randomised(OPERATORS["attention"][0]())
    channels = trace(model, image())
    scores, mixed = channels.products
    assert (scores.operator, scores.examples, scores.name) == ("matmul", 2, "Net")
    assert (scores.sizes, scores.per_channel) == ((2, 36, 36, 3), ({}, {}, {}, {"q": 1}))
    assert (mixed.sizes, mixed.per_channel) == ((2, 5, 36, 36), ({}, {"v": 1}, {}, {}))
    products = 36 * 36 * (3 + 5)
    convolutions = 36 * (4 * 9 + (3 + 3 + 5) * 4 + 2 * 5 * 9)
    assert cost(channels).macs == products + convolutions
    # without one query (and key) and two values
    products, convolutions = 36 * 36 * (2 + 3), 36 * (4 * 9 + (2 + 2 + 3) * 4 + 2 * 3 * 9)
    assert cost(channels, {"q": (1,), "v": (0, 4)}).macs == products + convolutions
