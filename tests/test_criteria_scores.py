"""Criteria against naive loops, and one contract for all of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from contracts import randomised, same_state, state_of
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.criteria.base import Criterion, filter_matrix
from secateur.criteria.score import REDUCTIONS, score
from secateur.criteria.table import CRITERIA
from secateur.criteria.weight import bn_scale, l1, random
from secateur.errors import CriterionError
from secateur.plan.budget import Budget
from secateur.plan.select import SCOPES
from secateur.train.sensitivity import measure_sensitivity
from toys import depthwise, image, plain, residual, transposed

OF_WEIGHTS = {name: c for name, c in CRITERIA.items() if c.update is None}
each = pytest.mark.parametrize("criterion", OF_WEIGHTS.values(), ids=OF_WEIGHTS)


@pytest.fixture
def network() -> nn.Module:
    return randomised(residual(), seed=3)


@pytest.fixture
def channels(network: nn.Module) -> ChannelMap:
    return trace(network, image())


def test_bn_scale_is_the_scale_of_the_norm_behind(network: nn.Module, channels: ChannelMap) -> None:
    scores = score(channels, [bn_scale])["bn_scale"]
    scale = {
        name: network.get_submodule(name).weight.abs().detach() for name in ("bn", "bn1", "bn2")
    }
    np.testing.assert_array_equal(scores.filters["conv1"], scale["bn1"])
    np.testing.assert_array_equal(scores.groups["conv1"], scale["bn1"])
    np.testing.assert_array_equal(scores.groups["stem"], scale["bn"] + scale["bn2"])


def test_bn_scale_finds_a_norm_that_stands_after_the_activation() -> None:
    network = randomised(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    )
    scores = score(trace(network, image()), [bn_scale])["bn_scale"]
    np.testing.assert_array_equal(scores.groups["0"], network[2].weight.abs().detach())


def test_without_a_batch_norm_there_is_no_scale() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).double()
    channels = trace(network, image())
    with pytest.raises(CriterionError, match="cannot score group '0': bn_scale has no batch"):
        score(channels, [bn_scale])


def test_a_group_that_cannot_be_scored_is_left_alone_and_listed() -> None:
    network = randomised(
        nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)),
        )
    )
    channels = trace(network, image())
    scores = score(channels, [bn_scale])["bn_scale"]
    why = scores.left_out["3"]
    assert scores.groups.keys() == {"0"} and scores.left_out.keys() == {"3"}
    assert re.match("bn_scale has no batch norm to score here: none follows these channels; ", why)
    half = Budget(pruning_ratio=0.5)
    for select in SCOPES.values():
        plan = select(scores, channels, half)
        assert {name: len(gone) for name, gone in plan.remove.items()} == {"0": 2}
        assert plan.held_back == {"3": why} and not plan.limited
        ignored = select(scores, channels, replace(half, ignore=("3",)))
        assert ignored.remove == plan.remove
        assert not ignored.held_back and ignored.limited.keys() == {"3"}
    measured = measure_sensitivity(channels, scores, lambda _: 1.0)
    assert [curve.group for curve in measured.curves] == ["0"]
    assert measured.not_prunable["3"] == why


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("sum", [11, 22, 33]), ("mean", [5.5, 11, 16.5]), ("max", [10, 20, 30]), ("first", [1, 2, 3])],
)
def test_reductions_on_paper(reduction: Any, expected: list[float]) -> None:
    layers = np.array([[1.0, 2, 3], [10, 20, 30]])
    np.testing.assert_array_equal(REDUCTIONS[reduction](layers), expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_coupled_filters_are_reduced(
    reduction: Any, network: nn.Module, channels: ChannelMap
) -> None:
    scores = score(channels, [l1], reduction=reduction)["l1"]
    both = np.stack([scores.filters["stem"], scores.filters["conv2"]])
    np.testing.assert_allclose(scores.groups["stem"], REDUCTIONS[reduction](both))
    assert scores.reduction == reduction


def test_filters_of_a_transposed_convolution_lie_along_dim_1() -> None:
    network = randomised(transposed())
    scores = score(trace(network, image()), [l1])["l1"]
    expected = network[2].weight.abs().sum((0, 2, 3)).detach()
    np.testing.assert_allclose(scores.filters["2"], expected)


def test_filters_of_one_channel_are_added() -> None:
    network = randomised(depthwise(2))
    scores = score(trace(network, image()), [l1])["l1"]
    pairs = scores.filters["1"].reshape(4, 2).sum(1)
    np.testing.assert_allclose(scores.groups["0"], scores.filters["0"] + pairs)


def test_a_filter_matrix_has_one_row_a_filter() -> None:
    weight = torch.arange(12.0).view(2, 3, 2, 1)
    assert filter_matrix(weight, 0).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert filter_matrix(weight, 1).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]


# --- the contract of every criterion --------------------------------------------------------


@each
def test_one_score_a_filter_and_a_channel(
    criterion: Criterion, network: nn.Module, channels: ChannelMap
) -> None:
    scores = score(channels, [criterion])[criterion.name]
    assert {name: len(v) for name, v in scores.filters.items()} == {
        "stem": 4,
        "conv1": 2,
        "conv2": 4,
    }
    assert {name: len(v) for name, v in scores.groups.items()} == {"stem": 4, "conv1": 2}
    assert scores.criterion == criterion.name
    assert all(v.dtype == np.float64 for v in [*scores.filters.values(), *scores.groups.values()])


@each
def test_it_states_where_it_comes_from(criterion: Criterion) -> None:
    assert criterion.reference and CRITERIA[criterion.name] is criterion


@each
def test_scores_follow_a_permutation_of_filters(criterion: Criterion) -> None:
    if criterion is random:
        return
    network = randomised(plain())
    channels = trace(network, image())
    order = torch.tensor([2, 0, 3, 1])
    before = score(channels, [criterion])[criterion.name].filters["0"]
    with torch.no_grad():
        for tensor in [*network[0].parameters(), *network[1].parameters()]:
            tensor.copy_(tensor[order])
    after = score(channels, [criterion])[criterion.name].filters["0"]
    np.testing.assert_allclose(after, before[order.numpy()], rtol=1e-12)


@each
@pytest.mark.parametrize("factor", [1e-6, 0.5, 1e6])
def test_a_positive_factor_leaves_the_ranking(criterion: Criterion, factor: float) -> None:
    network = randomised(plain())
    channels = trace(network, image())
    before = score(channels, [criterion])[criterion.name].filters["0"]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)
    after = score(channels, [criterion])[criterion.name].filters["0"]
    np.testing.assert_array_equal(np.argsort(after), np.argsort(before))


@each
def test_zeros_have_finite_scores(criterion: Criterion) -> None:
    network = plain().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    scores = score(trace(network, image()), [criterion])[criterion.name]
    assert all(np.isfinite(v).all() and (v >= 0).all() for v in scores.filters.values())


@each
def test_the_same_seed_gives_the_same_scores_and_the_model_is_untouched(
    criterion: Criterion, network: nn.Module, channels: ChannelMap
) -> None:
    before, state = state_of(network), torch.get_rng_state()
    one, same, other = (
        score(channels, [criterion], seed=seed)[criterion.name] for seed in (1, 1, 2)
    )
    for name in one.groups:
        np.testing.assert_array_equal(one.groups[name], same.groups[name])
    assert np.array_equal(one.groups["stem"], other.groups["stem"]) == (criterion is not random)
    assert same_state(network, before) and torch.equal(torch.get_rng_state(), state)


@each
def test_weights_that_are_not_finite_are_refused(
    criterion: Criterion, network: nn.Module, channels: ChannelMap
) -> None:
    with torch.no_grad():
        network.get_parameter("conv1.weight")[0, 0, 0, 0] = math.nan
    with pytest.raises(CriterionError, match=r"'conv1.weight' holds NaN"):
        score(channels, [criterion])


def test_all_together_equal_one_by_one(network: nn.Module, channels: ChannelMap) -> None:
    together = score(channels, list(OF_WEIGHTS.values()))
    for name, criterion in OF_WEIGHTS.items():
        alone = score(channels, [criterion])[name]
        for group, values in alone.groups.items():
            np.testing.assert_array_equal(values, together[name].groups[group])


def test_random_channels_are_uniform_however_many_layers_are_coupled() -> None:
    network = nn.Sequential(nn.Conv2d(1, 500, 1), nn.Conv2d(500, 500, 1, groups=500), head())
    network = network.double()
    scores = score(trace(network, image()), [random])["random"]
    values = scores.groups["0"]
    assert 0.45 < values.mean() < 0.55 and values.min() >= 0 and values.max() < 1


def head() -> nn.Module:
    return nn.Conv2d(500, 2, 1)


def test_names_are_not_objects(network: nn.Module, channels: ChannelMap) -> None:
    with pytest.raises(CriterionError, match=r"'l1' is not a criterion; pass an object"):
        score(channels, ["l1"])
    with pytest.raises(CriterionError, match="no reduction 'median'"):
        score(channels, [l1], reduction="median")
