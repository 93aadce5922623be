"""The contract of every reference network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.networks.families import NETWORKS, SIZES
from secateur.study.networks import Family

PARAMETERS = {
    "vgg": {8: 18_482, 16: 72_666, 40: 449_490},
    "resnet": {8: 19_810, 16: 77_754, 40: 480_450},
    "mobilenet": {8: 16_410, 16: 56_234, 48: 449_770},
    "mobilenet_v1": {8: 16_026, 16: 56_362, 48: 460_906},
    "dcase_baseline": {8: 5_722, 16: 18_624, 32: 61_148},
    "cp_mobile": {8: 13_942, 16: 39_868, 32: 126_952},
    "tf_sepnet": {32: 34_634, 64: 126_858, 96: 276_682},
    "bc_resnet": {10: 8_055, 20: 25_050, 30: 50_995, 80: 314_970},
}

BARE = {
    "tf_sepnet": {"classifier"},
    "bc_resnet": {"classifier", "mix", "along_frequency"},
}
"""Convolutions that their papers follow by something else than a batch norm of all they give."""

each = pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
Build = Callable[..., nn.Module]


@each
@pytest.mark.parametrize("size", [(64, 101), (32, 32), (40, 51)])
def test_it_answers_at_any_input_size(build: Build, size: tuple[int, int]) -> None:
    network = build(n_classes=7, width=8).eval()
    assert network(torch.randn(3, 1, *size)).shape == (3, 7)


@each
def test_it_takes_several_input_channels(build: Build) -> None:
    assert build(width=8, in_channels=2)(torch.randn(2, 2, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_docstring_states_its_parameter_counts(name: str) -> None:
    doc = " ".join(inspect.getdoc(NETWORKS[name]).split())
    for width, count in PARAMETERS[name].items():
        assert sum(p.numel() for p in NETWORKS[name](width=width).parameters()) == count
        assert f"width {width}: {count:_}" in doc
    assert set(SIZES[name].values()) <= set(PARAMETERS[name])
    assert list(SIZES[name]) == ["small", "medium", "large"]


def test_a_recipe_may_name_every_family_and_no_other() -> None:
    assert get_args(Family) == tuple(NETWORKS) == tuple(SIZES)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_is_directly_followed_by_a_batch_norm(name: str) -> None:
    network = NETWORKS[name](width=8)
    made: dict[int, nn.Module] = {}
    normalised: set[nn.Module] = set()

    def after_convolution(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        made[id(output)] = module
        kept.append(output)

    def after_norm(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        normalised.add(made.get(id(inputs[0]), module))
        kept.append(inputs[0])

    kept: list[Tensor] = []
    convolutions = {k: m for k, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(after_convolution)
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(after_norm)
    network(torch.randn(2, 1, 32, 32))
    bare = {key for key, module in convolutions.items() if module not in normalised}
    assert {key.rpartition(".")[2] for key in bare} == BARE.get(name, set())
    assert {k for k, m in convolutions.items() if m.bias is not None} <= {"classifier"}


@each
def test_the_same_seed_gives_the_same_network(build: Build) -> None:
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(width=8).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@each
def test_scales_start_where_they_are_asked_to(build: Build) -> None:
    network = build(width=8, bn_init=0.5)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all((m.weight == 0.5).all() and (m.bias == 0).all() for m in norms)


@each
def test_a_few_steps_lower_the_loss(build: Build) -> None:
    torch.manual_seed(0)
    network = build(width=8)
    y = torch.arange(20) % 2
    x = torch.randn(20, 1, 32, 32) * (1 + y.reshape(-1, 1, 1, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = F.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def _keep(network: nn.Module, kept: Tensor, out: list[str], into: list[str]) -> None:
    """Cut by hand: keep the output channels `kept` of the blocks `out`, the inputs of `into`."""
    for name in out:
        block = network.get_submodule(name)
        block.conv.weight = nn.Parameter(block.conv.weight[kept])
        block.bn.weight = nn.Parameter(block.bn.weight[kept])
        block.bn.bias = nn.Parameter(block.bn.bias[kept])
        block.bn.running_mean = block.bn.running_mean[kept]
        block.bn.running_var = block.bn.running_var[kept]
        if block.conv.groups > 1:
            block.conv.groups = len(kept)
    for name in into:
        layer = network.get_submodule(name)
        layer.weight = nn.Parameter(layer.weight[:, kept])


@pytest.mark.parametrize(
    ("name", "out", "into"),
    [
        ("vgg", ["conv1"], ["conv2.conv"]),
        ("vgg", ["conv6"], ["classifier"]),
        ("resnet", ["block2.conv1"], ["block2.conv2.conv"]),
        ("resnet", ["block3.conv2", "block3.shortcut"], ["classifier"]),
        ("mobilenet", ["block3.expand", "block3.depthwise"], ["block3.project.conv"]),
        (
            "mobilenet",
            ["block5.project", "block6.project"],
            ["block6.expand.conv", "head.conv"],
        ),
        ("mobilenet_v1", ["block1.mix", "block2.depthwise"], ["block2.mix.conv"]),
        ("dcase_baseline", ["blocks.0.expand", "blocks.0.depthwise"], ["blocks.0.project.conv"]),
        ("cp_mobile", ["stem.0"], ["stem.1.conv"]),
    ],
)
def test_it_runs_with_channels_removed_and_equals_the_zeroed_one(
    name: str, out: list[str], into: list[str]
) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](width=8).double().eval()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    n = network.get_submodule(out[0]).conv.weight.shape[0]
    kept = torch.arange(n) % 3 != 0
    with torch.no_grad():
        for block in out:  # shifts are 0 at the start, so a zero scale is a removed channel
            network.get_submodule(block).bn.weight[~kept] = 0
        zeroed = network(x)
        _keep(network, kept.nonzero().flatten(), out, into)
        assert torch.allclose(network(x), zeroed, rtol=1e-10, atol=1e-12)
