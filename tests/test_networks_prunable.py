"""Every reference network can be traced, scored, planned, cut, saved and trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import (
    EXACT,
    check_cost,
    check_permutation,
    check_twins,
    difference,
    outputs,
    plan_as_cut,
    random_plan,
)
from secateur.networks.bc_resnet import SubSpectralNorm, bc_resnet
from secateur.networks.cp_mobile import GlobalResponseNorm
from secateur.networks.families import NETWORKS
from secateur.networks.layers import ResidualNorm
from secateur.networks.tf_sepnet import tf_sepnet
from secateur.study.bases import measure
from secateur.surgery.in_turn import verified
from secateur.surgery.mask import mask
from secateur.surgery.prune import prune_to_budget

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from zoo import shares

EXAMPLE = torch.zeros(1, 1, 64, 48, dtype=torch.float64)
MIXING = {"cp_mobile", "tf_sepnet"}

each = pytest.mark.parametrize("name", NETWORKS)


def alive(network: nn.Module, *, mixing: bool = True) -> nn.Module:
    """In float64, as after some training; without `mixing`, norms over channels do nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.double().eval().modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.4),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
            ):
                torch.nn.init.uniform_(tensor, low, high, generator=generator)
        if isinstance(module, GlobalResponseNorm) and mixing:
            torch.nn.init.constant_(module.gamma, 0.4)
            torch.nn.init.constant_(module.beta, 0.1)
    for name, module in list(network.named_children()):
        if isinstance(module, ResidualNorm) and not mixing:
            setattr(network, name, nn.Identity())
    return network


def built(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return alive(NETWORKS[name](), **options)


def share_that_can_go(channels: sc.ChannelMap) -> float:
    """Share of the parameters that have a dimension along which channels are prunable."""
    return shares(channels, {})["prunable"]


@each
def test_nearly_all_parameters_lie_in_prunable_channels(name: str) -> None:
    channels = sc.trace(built(name), EXAMPLE)
    assert not channels.unknown
    assert share_that_can_go(channels) > 0.99
    assert {pinned.reason for pinned in channels.pinned} == {"is an output of the network"}
    mixed = {group for mixing in channels.mixing for group in mixing.groups}
    assert bool(mixed) == (name in MIXING)


@each
def test_permuting_channels_changes_nothing(name: str) -> None:
    model = built(name)
    check_permutation(model, EXAMPLE, sc.trace(model, EXAMPLE))


@each
@pytest.mark.parametrize("scope", [sc.uniform, sc.global_])
def test_half_of_the_channels_go_and_the_cut_equals_the_mask(name: str, scope: Any) -> None:
    model = built(name, mixing=False)
    channels = sc.trace(model, EXAMPLE)
    scores = sc.score(channels, [sc.l2])["l2"]
    asked = scope(scores, channels, sc.Budget(pruning_ratio=0.5))
    plan = plan_as_cut(channels, asked)
    assert not plan.held_back
    near = 0.1 if plan.limited else 0.02
    assert abs(plan.reached["pruning_ratio"] - 0.5) < near
    small = sc.cut(channels, plan, hold_back=False).network
    answer = outputs(small, EXAMPLE)
    assert difference(answer, outputs(mask(channels, plan), EXAMPLE)) <= EXACT
    assert difference(answer, outputs(model, EXAMPLE)) > 1e-3, "nothing that matters was cut"
    assert difference(answer, outputs(small, EXAMPLE, seed=1)) > 1e-6, "its input does not matter"
    check_cost(small, EXAMPLE, plan.after)


@each
@pytest.mark.parametrize("scope", [sc.uniform, sc.global_])
def test_half_of_the_macs_are_reached_by_a_plan_to_budget(name: str, scope: Any) -> None:
    model = built(name)
    scores = sc.score(sc.trace(model, EXAMPLE), [sc.l2])["l2"]
    budget = sc.Budget(macs="50%")
    plan = prune_to_budget(
        sc.trace(model, EXAMPLE), budget, lambda channels, tight: scope(scores, channels, tight)
    ).plan
    assert not plan.held_back
    assert 0.4 < plan.after.macs / plan.before.macs <= 0.5
    check_cost(sc.cut(sc.trace(model, EXAMPLE), plan).network, EXAMPLE, plan.after)


@each
@pytest.mark.parametrize("seed", range(3))
def test_what_can_be_cut_of_a_random_plan_equals_the_mask(name: str, seed: int) -> None:
    model = built(name, mixing=False)
    channels = sc.trace(model, EXAMPLE)
    plan = plan_as_cut(channels, random_plan(channels, seed, least=2))
    small = sc.cut(channels, plan, hold_back=False).network
    masked = mask(channels, plan)
    assert difference(outputs(small, EXAMPLE), outputs(masked, EXAMPLE)) <= EXACT
    assert plan.after.params < 0.9 * plan.before.params


@pytest.mark.parametrize("name", sorted(MIXING))
def test_a_norm_over_channels_is_reported_where_the_cut_differs_from_the_mask(name: str) -> None:
    model = built(name)
    channels = sc.trace(model, EXAMPLE)
    plan = plan_as_cut(channels, random_plan(channels, 0, least=2))
    found = verified(model, sc.cut(channels, plan).network, plan, channels, EXAMPLE)
    assert found.holds and not found.exact and found.operators
    assert all(place.startswith("mean at ") for place in found.operators)


@each
def test_a_cut_network_is_saved_loaded_and_trained(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = NETWORKS[name](), EXAMPLE.float()
    channels = sc.trace(model, example)
    scores = sc.score(channels, [sc.l1])["l1"]
    plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5))
    small = sc.cut(channels, plan).network
    sc.save(small, tmp_path / "small.safetensors")
    loaded = sc.load(tmp_path / "small.safetensors", build=NETWORKS[name])
    x = torch.randn(8, *example.shape[1:])
    check_twins(loaded.eval(), small.eval(), x)
    optimizer = torch.optim.SGD(loaded.train().parameters(), lr=0.01)
    before = [p.clone() for p in loaded.parameters()]
    F.cross_entropy(loaded(x), torch.arange(8) % 10).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loaded.parameters())
    optimizer.step()
    moved = [not torch.equal(p, q) for p, q in zip(loaded.parameters(), before, strict=True)]
    assert sum(moved) > 0.6 * len(moved)
    assert loaded.eval()(x).isfinite().all()


@each
def test_a_study_measures_it_before_any_cut(name: str) -> None:
    torch.manual_seed(0)
    model = alive(NETWORKS[name]()).float()
    channels = sc.trace(model, EXAMPLE.float())
    found = measure(channels)
    normed = {
        k.removesuffix(".bn") + ".conv"
        for k, m in model.named_modules()
        if isinstance(m, nn.BatchNorm2d) and not k.startswith(("classifier", "head"))
    }
    compared = {row["layer"] for row in found["similarity"]} - {"global"}
    assert len(compared & normed) > 0.6 * len(normed)
    assert {row["first"] for row in found["similarity"]} == {"l1", "l2", "gm"}
    assert all(row["rho"] is not None for row in found["similarity"] if row["n"] > 2)
    assert found["inactive"] == 0


def test_shuffled_halves_stay_equal() -> None:
    """A plan that takes channels of one half only is limited: as many must go in the other."""
    torch.manual_seed(0)
    model = alive(tf_sepnet(width=16), mixing=False)
    channels = sc.trace(model, EXAMPLE)
    scores = sc.score(channels, [sc.l1])["l1"]
    budget = sc.Budget(ratios={"block1.transition.conv": 0.5})
    plan = plan_as_cut(channels, sc.uniform(scores, channels, budget))
    assert set(plan.limited) | set(plan.held_back) == {"block1.transition.conv"}
    assert plan.before == plan.after


@pytest.mark.parametrize("build", [tf_sepnet, bc_resnet])
def test_options_of_the_papers(build: Any) -> None:
    torch.manual_seed(0)
    option = {"adaptive": True} if build is tf_sepnet else {"residual_norm": True}
    model = alive(build(width=32, **option))
    channels = sc.trace(model, EXAMPLE)
    assert channels.mixing and share_that_can_go(channels) > 0.98
    check_permutation(model, EXAMPLE, channels)
    scores = sc.score(channels, [sc.l1])["l1"]
    plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5))
    small = sc.cut(channels, plan).network
    assert outputs(small, EXAMPLE)[0].isfinite().all()


def test_residual_norms_take_away_what_a_device_adds_to_a_frequency() -> None:
    x = torch.randn(2, 3, 4, 50, dtype=torch.float64)
    device = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64).reshape(4, 1)
    norm = ResidualNorm(share=0.0, eps=0.0)
    assert torch.allclose(norm(2 * x + device), norm(x), rtol=1e-10, atol=1e-12)
    assert torch.allclose(ResidualNorm(0.1)(x), 0.1 * x + ResidualNorm(0.0)(x))


def _by_hand(x: Tensor, gamma: float, beta: float) -> Tensor:
    """Global response norm of Woo et al. with one scale and one shift, position by position."""
    out = torch.empty_like(x)
    for n in range(len(x)):
        norms = [float(channel.square().sum()) ** 0.5 for channel in x[n]]
        for c, norm in enumerate(norms):
            out[n, c] = gamma * x[n, c] * norm / (sum(norms) / len(norms)) + beta + x[n, c]
    return out


def test_global_response_norm_on_paper() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    norm = GlobalResponseNorm(eps=0.0).double()
    assert torch.equal(norm(x), x)
    torch.nn.init.constant_(norm.gamma, 0.7)
    torch.nn.init.constant_(norm.beta, -0.2)
    assert torch.allclose(norm(x), _by_hand(x, 0.7, -0.2), rtol=1e-12)


def test_sub_spectral_norm_is_a_batch_norm_for_each_band() -> None:
    x = torch.randn(6, 3, 8, 5)
    norm = SubSpectralNorm(3, bands=4)
    values = norm(x).reshape(6, 3, 4, 10).permute(1, 2, 0, 3).reshape(12, -1)
    assert torch.allclose(values.mean(1), torch.zeros(12), atol=1e-5)
    assert torch.allclose(values.var(1, correction=0), torch.ones(12), atol=1e-3)
    with torch.no_grad():
        norm.bn.weight.copy_(torch.arange(12.0))
    scaled = norm(x).reshape(6, 3, 4, 10).permute(1, 2, 0, 3).reshape(12, -1)
    assert torch.allclose(scaled, values * torch.arange(12.0).reshape(12, 1), atol=1e-4)
