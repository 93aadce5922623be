"""One group that a criterion cannot score is left alone and listed; the rest meets the budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import randomised
from secateur.errors import BudgetError, CriterionError
from secateur.plan.select import SCOPES
from toys import Net, image


def paired() -> nn.Module:
    """1 -> 4 -> 4 by convolutions, pooled, 6 by a bilinear layer, whose filters none can score.

    Parameters: 4 + 4, 16 + 4, 96 + 6 and 12 + 2, 144 in all.
    """

    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.c(F.relu(net.a(x)))).mean((2, 3))
        return net.o(F.relu(net.pairs(x, x)))

    layers = {"a": nn.Conv2d(1, 4, 1), "c": nn.Conv2d(4, 4, 1)}
    return randomised(Net(forward, **layers, pairs=nn.Bilinear(4, 4, 6), o=nn.Linear(6, 2)))


@pytest.fixture
def model() -> nn.Module:
    return paired()


@pytest.fixture
def channels(model: nn.Module) -> sc.ChannelMap:
    return sc.trace(model, image())


@pytest.fixture
def scores(model: nn.Module, channels: sc.ChannelMap) -> sc.Scores:
    return sc.score(channels, [sc.l1])["l1"]


REASON = "l1 has no filter to score here: no convolution or linear layer gives these channels out"


@pytest.mark.parametrize("scope", SCOPES)
def test_the_rest_is_cut_to_the_budget(
    scope: str, model: nn.Module, channels: sc.ChannelMap, scores: sc.Scores
) -> None:
    plan = SCOPES[scope](scores, channels, sc.Budget(params="70%"))
    assert set(plan.remove) <= {"a", "c"} and plan.after.params <= 100
    assert plan.held_back.keys() == {"pairs"} and plan.held_back["pairs"].startswith(REASON)
    assert "read at test_plan_unscored.py:" in plan.held_back["pairs"]
    small = sc.cut(channels, plan).network
    assert sum(p.numel() for p in small.parameters()) == plan.after.params
    assert sc.PruningPlan.from_json(plan.to_json()) == plan


def test_a_ratio_of_its_own_does_not_move_it(channels: sc.ChannelMap, scores: sc.Scores) -> None:
    plan = sc.uniform(scores, channels, sc.Budget(ratios={"pairs": 0.5, "a": 0.5}))
    assert {name: len(gone) for name, gone in plan.remove.items()} == {"a": 2}
    assert plan.reached["ratio of pairs"] == 0.0 and "pairs" in plan.held_back


def test_what_it_keeps_is_not_within_reach(channels: sc.ChannelMap, scores: sc.Scores) -> None:
    """One channel of each of the others: 2 + 2 + 12 + 14 parameters are left, of 144."""
    (row,) = sc.reach(channels, sc.Budget(params=30), scores.left_out)
    assert (row.least, row.met) == (30, True)
    assert sc.uniform(scores, channels, sc.Budget(params=30)).after.params == 30
    with pytest.raises(BudgetError) as caught:
        sc.uniform(scores, channels, sc.Budget(params=29))
    said = str(caught.value)
    assert "29 parameters cannot be met; the nearest reachable is 30 of 144" in said
    assert "To meet it, choose a criterion that scores every group" in said
    assert f"Group 'pairs' is left alone: {REASON}" in said


def test_planning_again_keeps_it_listed(
    model: nn.Module, channels: sc.ChannelMap, scores: sc.Scores
) -> None:
    plan = sc.prune_to_budget(
        channels, sc.Budget(params="60%"), lambda c, b: sc.global_(scores, c, b)
    ).plan
    assert plan.held_back.keys() == {"pairs"} and plan.after.params <= 86
    assert f"held back: pairs: {REASON}" in " ".join(str(plan).split())


def test_nothing_else_to_cut_is_an_error(channels: sc.ChannelMap, scores: sc.Scores) -> None:
    with pytest.raises(BudgetError, match=r"ignore names all others\. Group 'pairs' is left al"):
        sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5, ignore=("a", "c")))


def test_a_criterion_that_scores_nothing_is_an_error(
    model: nn.Module, channels: sc.ChannelMap
) -> None:
    with pytest.raises(CriterionError, match="cannot score group 'a': bn_scale has no batch norm"):
        sc.score(channels, [sc.bn_scale])


def test_a_criterion_that_needs_no_filter_cuts_it_as_well(
    model: nn.Module, channels: sc.ChannelMap
) -> None:
    scores = sc.score(channels, [sc.random])["random"]
    plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5))
    assert len(plan.remove["pairs"]) == 3 and not plan.held_back
