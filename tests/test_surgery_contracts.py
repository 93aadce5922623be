"""The contracts over the reference networks and over random ones."""

from __future__ import annotations

import pytest
import torch

from contracts import (
    check_cost,
    check_cut_equals_mask,
    check_permutation,
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
from secateur.channels.cost import cost
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA
from secateur.errors import PlanError
from secateur.networks.families import NETWORKS
from secateur.plan.budget import Budget
from secateur.plan.select import global_, uniform
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified
from secateur.surgery.mask import mask
from secateur.surgery.package import load, save
from secateur.surgery.restore import remember, restore

WITHOUT_DATA = [criterion for criterion in CRITERIA.values() if criterion.update is None]
MELS = torch.zeros(2, 1, 32, 25, dtype=torch.float64)

NORMS_OVER_CHANNELS = ("cp_mobile", "tf_sepnet")
"""What a cut of these keeps is in tests/test_networks_prunable.py."""
WITHOUT_MIXING = [name for name in NETWORKS if name not in NORMS_OVER_CHANNELS]


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_keep_the_contracts(seed: int) -> None:
    check_random_network(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(60, 560))
def test_many_random_networks_keep_the_contracts(seed: int) -> None:
    check_random_network(seed)


def test_random_networks_hold_every_kind_of_layer() -> None:
    drawn = {step.rstrip("0123456789") for k in range(60) for step, *_ in RandomNetwork(k).steps}
    assert drawn >= set(RandomNetwork.kinds()) - {"shuffle"} and "shuffle" in drawn
    assert {RandomNetwork(k).n_spatial for k in range(60)} == {1, 2, 3}


def check_random_network(seed: int) -> None:
    torch.manual_seed(seed)
    model = randomised(RandomNetwork(seed), seed)
    example = model.example().double()
    channels = trace(model, example)
    assert not channels.unknown and not channels.mixing
    check_cost(model, example, cost(channels))
    if not channels.groups:  # a shuffle that is added to its input can unite all channels
        assert any("all move together" in row.reason for row in channels.pinned)
        return
    check_permutation(model, example, channels, seed)
    # halves that lose unequal numbers are held back: they could not be split any more
    check_cut_equals_mask(model, example, channels, n=2, hold_back=True)
    plan = plan_as_cut(channels, random_plan(channels, seed))
    small = cut(channels, plan).network
    assert same_state(restore(small, remember(model, plan, channels)), state_of(model))
    assert ChannelMap.from_json(channels.to_json()).to_json() == channels.to_json()


@pytest.mark.parametrize("name", WITHOUT_MIXING)
def test_reference_networks_keep_the_contracts(name: str) -> None:
    torch.manual_seed(0)
    model = randomised(NETWORKS[name](width=8))
    channels = trace(model, MELS)
    assert not channels.unknown and not channels.mixing
    assert {p.reason for p in channels.pinned} == {"is an output of the network"}
    check_cost(model, MELS, cost(channels))
    check_permutation(model, MELS, channels)
    check_cut_equals_mask(model, MELS, channels, n=3)


@pytest.mark.parametrize("name", WITHOUT_MIXING)
@pytest.mark.parametrize("select", [uniform, global_])
def test_every_criterion_s_plan_is_cut_exactly_and_saved(name: str, select, tmp_path) -> None:
    torch.manual_seed(0)
    model = randomised(NETWORKS[name](width=8))
    channels = trace(model, MELS)
    scores = score(channels, WITHOUT_DATA)
    for criterion in ("l1", "random"):
        plan = select(scores[criterion], channels, Budget(macs="50%"))
        small = cut(channels, plan).network
        assert verified(model, small, plan, channels, MELS).exact
        check_cost(small, MELS, plan.after)
        path = save(small, tmp_path / "small.safetensors", plan)
        again = load(path, lambda: NETWORKS[name](width=8).double()).eval()
        assert difference(outputs(again, MELS), outputs(small, MELS)) == 0


def test_an_empty_plan_changes_nothing() -> None:
    model = randomised(NETWORKS["resnet"](width=8))
    channels = trace(model, MELS)
    plan = plan_of(channels, {})
    for copy in (cut(channels, plan).network, mask(channels, plan)):
        assert copy is not model and same_state(copy, state_of(model))
        assert not {id(p) for p in copy.parameters()} & {id(p) for p in model.parameters()}


def test_a_plan_for_another_network_is_refused() -> None:
    narrow, wide = (randomised(NETWORKS["vgg"](width=n)) for n in (4, 8))
    channels = trace(wide, MELS)
    plan = plan_of(channels, {channels.groups[0].name: (0,)})
    for refuse in (
        lambda: cut(trace(narrow, MELS), plan).network,
        lambda: mask(trace(narrow, MELS), plan),
    ):
        with pytest.raises(PlanError, match="made for network"):
            refuse()


def test_the_fingerprint_does_not_depend_on_values_or_batch() -> None:
    one, other = (randomised(NETWORKS["vgg"](width=4), seed) for seed in (1, 2))
    assert trace(one, MELS).fingerprint == trace(other, MELS[:1]).fingerprint


def test_a_cut_network_can_be_cut_again() -> None:
    model = randomised(NETWORKS["mobilenet"](width=8))
    for _ in range(3):
        channels = trace(model, MELS)
        scores = score(channels, [CRITERIA["l2"]])["l2"]
        model = cut(channels, global_(scores, channels, Budget(macs="60%"))).network
    assert cost(trace(model, MELS)).macs > 0
