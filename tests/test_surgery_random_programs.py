"""Random programs, traced, planned, settled and cut, against what does not share their labels.

A program's cut equals the whole program with the removed channels silent; cutting commutes with any
other order of channels; both hold on inputs of other sizes, and the cost is what was predicted.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from contracts import check_cost, difference, plan_as_cut, random_orders, random_plan, randomised
from program_block import Block, Signal, Silenced
from program_references import (
    answers,
    commuted,
    over_channels,
    silenced_places,
    silent_answers,
)
from program_sequences import MultiheadModule, Recurrent
from program_values import Plain
from random_programs import KINDS, RandomProgram
from secateur.surgery.in_turn import verified

EXACT = 1e-10

pytestmark = pytest.mark.filterwarnings("ignore:.*read by weights that the network computes")

UNCOUNTED = {"Einsum": "with one channel left torch multiplies, which its counter does not count"}
"""Kinds of blocks whose cost torch's counter and ours do not count alike, and why."""

SEEDS = 60


WAYS = [(kind, way) for kind in KINDS for way in kind.ways or ("",)]
each_way = pytest.mark.parametrize(
    ("kind", "way"), WAYS, ids=[f"{kind.__name__}{way and '-'}{way}" for kind, way in WAYS]
)


@each_way
@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", range(2))
def test_every_kind_of_block_is_cut_right_by_itself(kind: type[Block], way: str, seed: int) -> None:
    check_program(RandomProgram(seed, kind, way), seed)


@each_way
@pytest.mark.nightly
@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", range(2, 12))
def test_every_kind_is_cut_right_whatever_its_sizes(kind: type[Block], way: str, seed: int) -> None:
    check_program(RandomProgram(seed, kind, way), seed)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_programs_are_cut_right(seed: int) -> None:
    check_program(RandomProgram(seed), seed)


@pytest.mark.nightly
@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS + 500))
def test_many_random_programs_are_cut_right(seed: int) -> None:
    check_program(RandomProgram(seed), seed)


def test_random_programs_hold_every_kind() -> None:
    programs = [RandomProgram(seed) for seed in range(SEEDS)]
    assert set().union(*(program.kinds for program in programs)) == set(KINDS)
    assert {kind for program in programs for kind in program.inputs} == {
        "sound",
        "tokens",
        "image",
        "volume",
    }
    assert {program.head.answer for program in programs} == {"tensor", "tuple", "dict"}


@torch.no_grad()
@pytest.mark.parametrize("way", Recurrent.ways)
def test_a_silent_unit_is_as_none(way: str) -> None:
    block = next(
        made for made in map(partial(recurrent, way), range(20)) if len(made.made.gives) == 1
    )
    whole, n = block.rnn, block.rnn.hidden_size
    small = type(whole)(3, n - 1, batch_first=True).double()
    kept = [row for row in range(whole.weight_ih_l0.shape[0]) if row % n]
    for name, tensor in small.named_parameters():
        own = whole.get_parameter(name)[kept]
        tensor.copy_(own[:, 1:] if name == "weight_hh_l0" else own)
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    block.silenced = Silenced({("rnn.weight_ih_l0", 0): [0]})
    out = block(x)
    assert torch.equal(out[:, 0], torch.zeros_like(out[:, 0]))
    assert difference([out[:, 1:]], [small(x.transpose(1, 2))[0].transpose(1, 2)]) <= EXACT


def recurrent(way: str, seed: int) -> Recurrent:
    draw, sound = random.Random(seed), Signal(3, (5,), 0, frozenset())
    return randomised(Recurrent(draw, sound, way), seed)


@torch.no_grad()
def test_a_silent_head_is_one_that_nothing_reads() -> None:
    sound = Signal(3, (5,), 0, frozenset())
    block = randomised(MultiheadModule(random.Random(0), sound, "alone"))
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    first_head = [0, 1, 4, 5, 8, 9]  # two rows of queries, of keys and of values, four each
    block.silenced = Silenced({("attention.in_proj_weight", 0): first_head})
    silent = block(x)
    block.silenced = Silenced()
    block.attention.out_proj.weight[:, :2] = 0
    assert difference([silent], [block(x)]) <= EXACT


def test_the_cut_of_another_channel_is_seen() -> None:
    cut = cut_of(RandomProgram(0, Plain), 0)
    group = cut.channels.by_name["blocks.0.conv"]
    one, other = (sc.manual(cut.channels, {group.name: [k]}) for k in (0, 1))
    small = sc.cut(sc.trace(cut.model, cut.example), one).network
    check_silence(replace(cut, plan=one, small=small))
    with pytest.raises(AssertionError, match="cut and silent differ"):
        check_silence(replace(cut, plan=other, small=small))


@dataclass(frozen=True)
class Cut:
    """A program with what was cut out of it, and inputs of two sizes to compare on."""

    model: RandomProgram
    channels: sc.ChannelMap
    plan: sc.PruningPlan
    small: nn.Module
    example: tuple[Tensor, ...]
    inputs: list[tuple[Tensor, ...]]


def check_program(program: RandomProgram, seed: int) -> None:
    """Trace, plan, settle and cut; then every reference, and what the cut costs."""
    names = {kind.__name__ for kind in program.kinds}
    cut = cut_of(program, seed)
    check_silence(cut)
    check_honesty(cut)
    check_commutation(cut, seed)
    if not names & UNCOUNTED.keys():
        check_cost(cut.small, cut.example, cut.plan.after)


def cut_of(program: RandomProgram, seed: int) -> Cut:
    """As much of a random plan as can be cut."""
    model = randomised(program, seed)
    example = model.example()
    channels = sc.trace(model, example)
    plan = plan_as_cut(channels, random_plan(channels, seed))
    small = sc.cut(channels, plan).network
    return Cut(model, channels, plan, small, example, model.drawn_inputs(seed))


def check_silence(cut: Cut) -> None:
    """Without the groups that operators over channels excuse, cut and silent are the same."""
    excused = over_channels(cut.model, cut.channels, cut.plan.remove)
    if excused:
        rest = {name: gone for name, gone in cut.plan.remove.items() if name not in excused}
        plan = plan_as_cut(sc.trace(cut.model, cut.example), sc.manual(cut.channels, rest))
        cut = replace(cut, plan=plan, small=sc.cut(sc.trace(cut.model, cut.example), plan).network)
    assert silent_error(cut) <= EXACT, "cut and silent differ"


def check_honesty(cut: Cut) -> None:
    """Where cut and silent differ, as they may over channels, verification calls nothing exact."""
    found = verified(cut.model, cut.small, cut.plan, cut.channels, cut.example)
    assert silent_error(cut) <= EXACT or not found.exact, "called exact, and is not"


def silent_error(cut: Cut) -> float:
    """How far the cut network is from the whole one with the removed channels silent."""
    gone = silenced_places(cut.model, cut.channels, cut.plan.remove)
    return max(
        difference(answers(cut.small, drawn), silent_answers(cut.model, gone, drawn))
        for drawn in cut.inputs
    )


def check_commutation(cut: Cut, seed: int) -> None:
    """Another order of the channels changes neither the network's answer nor that of its cut."""
    orders = random_orders(cut.channels, seed)
    moved, plan = commuted(cut.model, cut.plan, cut.channels, orders)
    small = sc.cut(sc.trace(moved, cut.example), plan).network
    for drawn in cut.inputs:
        error = difference(answers(moved, drawn), answers(cut.model, drawn))
        assert error <= EXACT, "the whole network does not commute"
        error = difference(answers(small, drawn), answers(cut.small, drawn))
        assert error <= EXACT, "the cut network does not commute"
