"""Against torch-pruning, where its definitions are ours."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import randomised
from secateur.channels.trace import trace
from secateur.criteria.gradient import taylor_fo, taylor_l1
from secateur.criteria.relation import gm
from secateur.criteria.score import score
from secateur.criteria.weight import bn_scale, l1, l2, lamp
from toys import image, residual

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    tp = pytest.importorskip("torch_pruning", reason="torch-pruning is not installed")

CONVOLUTIONS = [nn.modules.conv._ConvNd]
CONTRACTIONS = [*CONVOLUTIONS, nn.Linear]
BATCH_NORMS = [nn.modules.batchnorm._BatchNorm]


@pytest.fixture
def network() -> nn.Module:
    return randomised(residual(), seed=5).float()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 1, 6, 6, generator=generator), torch.tensor([0, 1, 2, 0])


def theirs(network: Any, importance: Any) -> dict[str, Any]:
    graph = tp.DependencyGraph().build_dependency(network, image().float())
    found = {}
    for name in ("stem", "conv1"):
        layer = network.get_submodule(name)
        every = list(range(layer.out_channels))
        group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, every)
        found[name] = importance(group).detach().numpy()
    return found


def ours(network: nn.Module, criterion: Any, **options: Any) -> Any:
    channels = trace(network, image().float())
    data = {"calibration": [batch()], "loss_fn": F.cross_entropy}
    return score(channels, [criterion], **data, **options)[criterion.name].groups


def agree(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_l1_of_whole_groups(network: nn.Module, reduction: Any) -> None:
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, group_reduction=reduction, normalizer=None, target_types=CONTRACTIONS
    )
    expected = theirs(network, importance)
    agree(expected, ours(network, l1, members="all", reduction=reduction))


def test_their_l2_is_the_square_of_ours_in_one_filter(network: nn.Module) -> None:
    importance = tp.importance.GroupMagnitudeImportance(
        p=2, group_reduction="first", normalizer=None, target_types=CONVOLUTIONS
    )
    expected = {name: np.sqrt(values) for name, values in theirs(network, importance).items()}
    agree(expected, ours(network, l2, reduction="first"))


def test_bn_scale(network: nn.Module) -> None:
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, group_reduction="sum", normalizer=None, target_types=BATCH_NORMS
    )
    agree(theirs(network, importance), ours(network, bn_scale))


def test_lamp_of_one_layer(network: nn.Module) -> None:
    importance = tp.importance.LAMPImportance(p=2, group_reduction="first")
    agree(theirs(network, importance), ours(network, lamp, reduction="first"))


def test_their_distances_are_between_powers_of_weights(network: nn.Module) -> None:
    importance = tp.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)
    importance.target_types = CONVOLUTIONS
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    positive = ours(network, gm, reduction="first")
    agree(theirs(network, importance), positive)
    with torch.no_grad():
        network.get_parameter("conv1.weight")[0].neg_()
    signed = ours(network, gm, reduction="first")["conv1"]
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(theirs(network, importance)["conv1"], signed, rtol=1e-2)


@pytest.mark.parametrize("multivariable", [False, True])
def test_taylor_of_one_batch(network: nn.Module, multivariable: bool) -> None:
    x, y = batch()
    network.zero_grad()
    F.cross_entropy(network(x), y).backward()
    importance = tp.importance.GroupTaylorImportance(
        group_reduction="first",
        normalizer=None,
        multivariable=multivariable,
        target_types=CONVOLUTIONS,
    )
    expected = theirs(network, importance)
    found = ours(network, taylor_fo if multivariable else taylor_l1, reduction="first")
    if multivariable:
        expected = {name: values**2 for name, values in expected.items()}
    agree(expected, found)
