"""The contract of every penalty: what it pushes, how hard, and what it leaves alone."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts import randomised
from secateur.channels.groups import ChannelGroup, ChannelMap, Member
from secateur.channels.trace import trace
from secateur.errors import TrainingError
from secateur.networks.families import NETWORKS
from secateur.train.fit import Epoch, fit
from secateur.train.penalties import PENALTIES
from secateur.train.penalty import Penalty, ramped
from secateur.train.penalty_filters import (
    DeepHoyer,
    Filters,
    GroupLasso,
    GroupLassoProximal,
    GrowingL2,
    filter_norms,
    lowest_filters,
    prunable_filters,
)
from secateur.train.penalty_groups import Coupled, GroupNorm, Slices, coupled_groups
from secateur.train.penalty_scales import BnL1, BnL1Proximal, Polarization, prunable_scales
from secateur.train.schedule import Training
from secateur.train.sparsity import sparsity
from toys import TOYS


@dataclass(frozen=True)
class Case:
    """A penalty: its class, what it pushes, and a strength that empties channels of `toy`."""

    kind: Callable[..., Penalty]
    pushes: str
    strength: float
    exact: bool = False
    by_gradient: bool = True


CASES = {
    "bn_l1": Case(BnL1, "scales", 0.1),
    "bn_l1_proximal": Case(BnL1Proximal, "scales", 0.5, exact=True, by_gradient=False),
    "polarization": Case(Polarization, "scales", 0.1, exact=True),
    "group_lasso": Case(GroupLasso, "filters", 0.06),
    "group_lasso_proximal": Case(GroupLassoProximal, "filters", 0.5, exact=True, by_gradient=False),
    "deep_hoyer": Case(DeepHoyer, "filters", 0.1),
    "growing_l2": Case(GrowingL2, "filters", 8.0),
    "group_norm": Case(GroupNorm, "groups", 0.03),
}
each = pytest.mark.parametrize("name", CASES)
TRAINING = Training(epochs=40, batch_size=16, lr=0.1, weight_decay=0.0)


def data() -> tuple[Tensor, Tensor]:
    """Three classes that differ in their mean alone: a channel or two are enough."""
    y = torch.arange(48) % 3
    noise = torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return noise + y.float().reshape(-1, 1, 1, 1), y


def toy(name: str) -> nn.Module:
    """Eight channels; a batch norm only where its scales are pushed, since it hides norms."""
    norm = CASES[name].pushes == "scales"
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, bias=not norm),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


def pushed(name: str, model: Any) -> Tensor:
    """The size of every channel of `toy`."""
    size = model[1].weight.abs() if CASES[name].pushes == "scales" else None
    return filter_norms(model[0].weight, 0).detach() if size is None else size.detach()


def made(name: str, model: nn.Module, strength: float, ramp: float = 0.3) -> Penalty:
    return PENALTIES[name](strength, trace(model, data()[0][:1]), ramp)


def some(name: str, strength: float, ramp: float = 0.0) -> Penalty:
    """The penalty on channels 1 and 3 of `toy` only."""
    on: dict[str, Any]
    if CASES[name].pushes == "scales":
        on = {"1.weight": (1, 3)}
    elif CASES[name].pushes == "filters":
        on = {"0.weight": Filters(0, (1, 3))}
    else:
        on = {
            "g": Coupled(2, tuple(Slices(f"0.{p}", 0, (1, 3), (0, 1)) for p in ("weight", "bias")))
        }
    return CASES[name].kind(strength, on, ramp=ramp)


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in a.state_dict().items())


def test_the_table_and_the_contract_are_about_the_same_penalties() -> None:
    assert PENALTIES.keys() == CASES.keys()
    for name, case in CASES.items():
        assert type(made(name, toy(name), 1.0)) is case.kind


@each
def test_it_empties_whole_channels_while_others_survive(name: str) -> None:
    case, model = CASES[name], toy(name)
    history = fit(model, *data(), TRAINING, seed=0, penalty=made(name, model, case.strength))
    last, sizes = history.epochs[-1], pushed(name, model)
    empty = sizes < 0.01 * sizes.max()
    assert 3 <= int(empty.sum()) <= 7
    assert last.accuracy > 0.95
    assert not case.exact or (sizes[empty] == 0).all()
    assert last.penalty == pytest.approx(sparsity([sizes])) or case.pushes == "groups"
    assert last.penalty["gini"] > history.epochs[0].penalty["gini"]  # type: ignore[operator]


@each
def test_without_it_no_channel_is_empty(name: str) -> None:
    model = toy(name)
    fit(model, *data(), TRAINING, seed=0)
    assert (pushed(name, model) > 0.05 * pushed(name, model).max()).all()


@each
def test_only_the_named_channels_are_touched(name: str) -> None:
    model, untouched = toy(name), toy(name)
    x, y = data()
    for network in (model, untouched):
        nn.functional.cross_entropy(network(x), y).backward()
    penalty = some(name, 0.5)
    parameters = dict(model.named_parameters())
    penalty.check(parameters)
    penalty.after_backward(parameters, 0.7)
    penalty.after_step(parameters, 0.7, lr=0.1)
    changed: dict[str, set[int]] = {}
    for (at, a), b in zip(model.named_parameters(), untouched.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        different = ((a != b) | (a.grad != b.grad)).nonzero()
        if len(different):
            changed[at] = set(different[:, 0].tolist())
    expected = {"scales": ["1.weight"], "filters": ["0.weight"], "groups": ["0.weight", "0.bias"]}
    assert changed == {at: {1, 3} for at in expected[CASES[name].pushes]}


@each
def test_channels_that_cannot_be_pruned_are_not_counted(name: str) -> None:
    """The classifier's filters are pinned; its inputs belong to a group."""
    model = toy(name)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = copy.deepcopy(model)
    penalty, parameters = made(name, model, 1.0), dict(model.named_parameters())
    penalty.after_backward(parameters, 1.0)
    penalty.after_step(parameters, 1.0, lr=0.01)
    moved = {
        at
        for (at, p), q in zip(model.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(p, q) or p.grad.any()  # type: ignore[union-attr]
    }
    expected = {"scales": {"1.weight"}, "filters": {"0.weight"}}
    groups = {"0.weight", "0.bias", "5.weight"}
    assert moved == expected.get(CASES[name].pushes, groups)


@each
def test_frozen_parameters_stay(name: str) -> None:
    model = toy(name)
    for parameter in model.parameters():
        parameter.requires_grad = False
    before = copy.deepcopy(model)
    penalty = made(name, model, 1.0)
    penalty.after_backward(dict(model.named_parameters()), 1.0)
    penalty.after_step(dict(model.named_parameters()), 1.0, lr=0.1)
    assert same(model, before)


@each
def test_zero_strength_changes_nothing(name: str) -> None:
    models = [toy(name), toy(name)]
    for model, penalty in zip(models, (None, made(name, toy(name), 0.0)), strict=True):
        if CASES[name].pushes == "scales" and name != "polarization":
            with torch.no_grad():
                model[1].weight[2] = -0.25
        fit(model, *data(), replace(TRAINING, epochs=3), seed=1, penalty=penalty)
    assert same(*models)


@each
def test_the_same_seed_gives_the_same_weights_to_the_bit_also_after_an_interruption(
    name: str, tmp_path: Path
) -> None:
    training, strength = replace(TRAINING, epochs=4), CASES[name].strength

    def interrupt(row: Epoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    whole, again, resumed = toy(name), toy(name), toy(name)
    for model in (whole, again):
        fit(model, *data(), training, seed=1, penalty=made(name, model, strength))
    stored: dict[str, Any] = {"checkpoint": tmp_path / "c", "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        penalty = made(name, toy(name), strength)
        fit(toy(name), *data(), training, seed=1, penalty=penalty, **stored, on_epoch=interrupt)
    with pytest.raises(TrainingError, match="penalty "):
        other = made(name, toy(name), 2 * strength)
        fit(toy(name), *data(), training, seed=1, penalty=other, **stored)
    fit(resumed, *data(), training, seed=1, penalty=made(name, resumed, strength), **stored)
    assert same(whole, again)
    assert same(whole, resumed)
    plain = toy(name)
    fit(plain, *data(), training, seed=1)
    assert not same(whole, plain)


def manual(name: str, p: dict[str, Tensor], channels: ChannelMap, chosen: Any) -> Tensor:
    """The penalty as its paper writes it, at strength 1, one channel at a time."""
    zero = torch.zeros((), dtype=torch.float64)
    if CASES[name].pushes == "scales":
        found = [p[at][j] for at, positions in prunable_scales(channels).items() for j in positions]
        if not found:
            return zero
        scales = torch.stack(found)
        if name == "bn_l1":
            return scales.abs().sum()
        return 1.2 * scales.abs().sum() - (scales - scales.mean()).abs().sum()
    if CASES[name].pushes == "filters":
        total = zero
        for at, filters in chosen.items():
            places = (
                range(p[at].shape[filters.dim]) if filters.positions is None else filters.positions
            )
            norms = torch.stack([p[at].select(filters.dim, j).norm() for j in places])
            total = total + {
                "group_lasso": lambda n: n.sum(),
                "deep_hoyer": lambda n: n.sum() ** 2 / (n**2).sum(),
                "growing_l2": lambda n: (n**2).sum() / 2,
            }[name](norms)
        return total
    total = zero
    for group in channels.groups:
        squares = torch.stack(
            [
                sum(
                    (
                        p[m.parameter]
                        .index_select(m.dim, torch.tensor(m.index[k].tolist()))
                        .pow(2)
                        .sum()
                        for m in group.members
                        if m.parameter in p
                    ),
                    start=zero,
                )
                for k in range(group.n_channels)
            ]
        )
        held = squares.detach().sqrt()
        spread = held.max() - held.min()
        g = 2 ** (4 * (held.max() - held) / spread) if spread > 0 else torch.ones_like(held)
        total = total + (g * squares).sum() / 2
    return total


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.by_gradient])
@pytest.mark.parametrize("network", TOYS)
def test_the_gradient_is_that_of_the_formula(name: str, network: str) -> None:
    build, example = TOYS[network]
    model = randomised(build(), seed=3)
    channels = trace(model, example)
    if name == "polarization":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.abs_()
    parameters = dict(model.named_parameters())
    penalty: Any = PENALTIES[name](0.7, channels, 0.5)
    formula = manual(name, parameters, channels, getattr(penalty, "filters", None))
    wanted: Iterable[Tensor | None] = [None for _ in parameters]
    if formula.requires_grad:
        free = {at: p for at, p in parameters.items() if p.requires_grad}
        found = torch.autograd.grad(0.7 * 0.5 * formula, list(free.values()), allow_unused=True)
        wanted = [dict(zip(free, found, strict=True)).get(at) for at in parameters]
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    penalty.check(parameters)
    penalty.after_backward(parameters, 0.25)  # half way up the ramp
    for (at, parameter), gradient in zip(parameters.items(), wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12, msg=at)
        elif parameter.requires_grad:
            assert not parameter.grad.any(), at  # type: ignore[union-attr]


def test_a_proximal_step_on_paper() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]).view(3, 2, 1, 1))
        model[1].weight.copy_(torch.tensor([2.0, -0.5, -3.0]))
    parameters = dict(model.named_parameters())
    GroupLassoProximal(10.0, {"0.weight": Filters()}, ramp=0.0).after_step(parameters, 0.5, lr=0.1)
    assert model[0].weight.flatten(1).tolist() == [
        pytest.approx([2.4, 3.2]),  # length 5 -> 4
        [0.0, 0.0],  # 0.5 -> 0
        [0.0, 0.0],
    ]
    BnL1Proximal(10.0, {"1.weight": None}, ramp=0.0).after_step(parameters, 0.5, lr=0.1)
    assert model[1].weight.tolist() == pytest.approx([1.0, 0.0, -2.0])


def test_polarization_on_paper() -> None:
    model = nn.BatchNorm1d(4)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([0.1, 0.2, 0.3, 1.4]))  # mean 0.5
    model.weight.grad = torch.zeros(4)
    Polarization(1.0, {"weight": None}, ramp=0.0).after_backward(dict(model.named_parameters()), 0)
    # t + 1 + mean side below the mean, t - 1 + mean side above; sides -1, -1, -1, 1
    assert model.weight.grad.tolist() == pytest.approx([1.7, 1.7, 1.7, -0.3])


def test_polarization_wants_scales_of_zero_or_more() -> None:
    model: Any = toy("polarization")
    with torch.no_grad():
        model[1].weight[3] = -0.5
    with pytest.raises(TrainingError, match=r"0 or more, '1\.weight' holds -0\.5"):
        fit(model, *data(), TRAINING, seed=0, penalty=made("polarization", model, 0.1))


def test_group_norm_agrees_with_the_peer() -> None:
    peer = pytest.importorskip("torch_pruning")
    torch.manual_seed(1)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)),
    ).double()
    with torch.no_grad():
        for norm in (model[1], model[4]):
            norm.weight.copy_(torch.rand(norm.num_features) + 0.5)
    x = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    importance = peer.importance.GroupMagnitudeImportance(
        p=2, group_reduction="sum", normalizer=None, bias=False
    )
    theirs, ours = copy.deepcopy(model), copy.deepcopy(model)
    for network in (theirs, ours):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
    pruner = peer.pruner.GroupNormPruner(theirs, x, importance, reg=0.3, ignored_layers=[theirs[8]])
    pruner.regularize(theirs)
    GroupNorm(0.3, coupled_groups(trace(ours, x)), ramp=0.0).after_backward(
        dict(ours.named_parameters()), 0.5
    )
    for (at, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-9, msg=at)


def test_growing_l2_takes_the_lowest_channels_of_a_group_ties_by_index() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Conv2d(1, 4, 1, bias=False) for _ in range(2))
            self.c = nn.Conv2d(4, 3, 1, bias=False)
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.c(self.a(x) + self.b(x)))

    model = Residual()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, -9.0, 2.0, 3.0]).view(4, 1, 1, 1))
        model.b.weight.copy_(torch.tensor([3.0, 0.0, 2.0, -1.0]).view(4, 1, 1, 1))  # 4, 9, 4, 4
        model.c.weight.fill_(1.0)
    channels = trace(model, torch.zeros(1, 1, 2, 2))
    assert lowest_filters(channels) == {
        "a.weight": Filters(0, (0, 2)),
        "b.weight": Filters(0, (0, 2)),
        "c.weight": Filters(0, (0, 1)),
    }
    assert lowest_filters(channels, 0.0) == {}
    with pytest.raises(TrainingError, match="share of filters to let go is 1"):
        lowest_filters(channels, 1.0)


def test_deep_hoyer_does_not_see_the_size_of_weights() -> None:
    pulls = []
    for factor in (1.0, 3.0):
        model: Any = toy("deep_hoyer").double()
        with torch.no_grad():
            model[0].weight *= factor
        weight = model[0].weight
        weight.grad = torch.zeros_like(weight)
        penalty = DeepHoyer(1.0, {"0.weight": Filters()}, ramp=0.0)
        penalty.after_backward(dict(model.named_parameters()), 0.0)
        assert float((weight.grad * weight).sum().detach()) == pytest.approx(0.0, abs=1e-12)
        pulls.append(weight.grad * factor)
    torch.testing.assert_close(*pulls)


@each
def test_zeros_are_at_rest_and_finite(name: str) -> None:
    model = toy(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
            parameter.grad = torch.zeros_like(parameter)
    penalty, parameters = made(name, model, 1.0), dict(model.named_parameters())
    penalty.after_backward(parameters, 1.0)
    penalty.after_step(parameters, 1.0, lr=0.1)
    for parameter in model.parameters():
        assert not parameter.any()
        assert not parameter.grad.any()  # type: ignore[union-attr]
    assert penalty.report(parameters) == {"ws": None, "inactive": 1.0, "gini": None}


BAD = {
    "scales": [
        ({"1.weigth": None}, "did you mean '1.weight'"),
        ({"1.weight": (8,)}, "no positions [8]; it has positions 0 to 7"),
        ({"1.weight": (-1,)}, "positions 0 to 7"),
        ({"0.weight": None}, "one-dimensional"),
    ],
    "filters": [
        ({"0.weigth": Filters()}, "did you mean '0.weight'"),
        ({"0.weight": Filters(0, (3, 8))}, "no positions [8]; it has positions 0 to 7"),
        ({"0.weight": Filters(4)}, "dimension 4"),
        ({"0.bias": Filters()}, "of 2 dimensions or more"),
    ],
    "groups": [
        ({"g": Coupled(8, (Slices("0.weigth", 0),))}, "did you mean '0.weight'"),
        ({"g": Coupled(2, (Slices("0.weight", 0, (1, 8), (0, 1)),))}, "no positions [8]"),
        ({"g": Coupled(2, (Slices("0.weight", 0, (1, 7), (0, 2)),))}, "no positions [2]"),
        ({"g": Coupled(2, (Slices("0.weight", 0),))}, "8 positions along dimension 0, its group 2"),
        ({"g": Coupled(2, (Slices("0.weight", 0, (1,)),))}, "say which belongs to which"),
        ({"g": Coupled(8, (Slices("0.weight", 4),))}, "dimension 4"),
    ],
}


@pytest.mark.parametrize(
    ("name", "on", "words"),
    [(name, on, words) for name, case in CASES.items() for on, words in BAD[case.pushes]],
)
def test_what_does_not_fit_is_refused_before_training(name: str, on: Any, words: str) -> None:
    model = toy(name)
    with pytest.raises(TrainingError, match=re.escape(words)):
        fit(model, *data(), TRAINING, seed=0, penalty=CASES[name].kind(1.0, on))
    assert same(model, toy(name))


@each
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_strengths_out_of_range_are_refused(name: str, strength: float) -> None:
    with pytest.raises(TrainingError, match="strength is"):
        CASES[name].kind(strength, {})


@each
def test_a_ramp_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(TrainingError, match="ramp is 2"):
        CASES[name].kind(1.0, {}, ramp=2.0)


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_own_numbers_out_of_range_are_refused(wrong: float) -> None:
    with pytest.raises(TrainingError, match="t is"):
        Polarization(1.0, {}, t=wrong)
    with pytest.raises(TrainingError, match="alpha is"):
        GroupNorm(1.0, {}, alpha=wrong)


@each
def test_nothing_to_push_is_nothing_done(name: str) -> None:
    penalty, model = CASES[name].kind(1.0, {}), toy(name)
    parameters = dict(model.named_parameters())
    penalty.check(parameters)
    penalty.after_backward(parameters, 1.0)
    penalty.after_step(parameters, 1.0, lr=0.1)
    assert same(model, toy(name))
    assert penalty.report(parameters) == {"ws": None, "inactive": None, "gini": None}


def test_the_ramp_without_length_is_full_from_the_start() -> None:
    assert ramped(0.0, 0.0) == 1.0


@each
@pytest.mark.parametrize("network", ["vgg", "resnet"])
def test_a_step_costs_little(name: str, network: str) -> None:
    """Against a training step of 32 examples; generous, for a machine with other work."""
    model = NETWORKS[network](width=16)
    x, y = torch.randn(32, 1, 40, 50), torch.arange(32) % 10
    parameters = dict(model.named_parameters())
    penalty = PENALTIES[name](1e-6, trace(model, x[:1]), 0.5)

    def seconds(act: Callable[[], object]) -> float:
        took = []
        for _ in range(5):
            started = time.perf_counter()
            act()
            took.append(time.perf_counter() - started)
        return min(took)

    def push() -> None:
        penalty.after_backward(parameters, 0.7)
        penalty.after_step(parameters, 0.7, lr=1e-3)

    step = seconds(lambda: nn.functional.cross_entropy(model(x), y).backward())
    assert seconds(push) < 0.2 * step


def test_prunable_scales_are_norm_weights_of_groups() -> None:
    def member(parameter: str, role: Any, index: list[list[int]]) -> Member:
        return Member(parameter, 0, role, np.array(index))

    channels = ChannelMap(
        groups=(
            ChannelGroup(
                "a",
                2,
                (
                    member("conv.weight", "out", [[0], [1]]),
                    member("bn.weight", "norm", [[3], [0]]),
                    member("bn.bias", "norm", [[3], [0]]),
                ),
            ),
            ChannelGroup("b", 1, (member("bn.weight", "norm", [[1]]),)),
        ),
        layers=(),
        pinned=(),
        mixing=(),
        unknown=(),
        shapes={"conv.weight": (3, 1, 1, 1), "bn.weight": (4,), "bn.bias": (4,)},
        buffers=(),
        aliases={},
        fingerprint="",
    )
    assert prunable_scales(channels) == {"bn.weight": (0, 1, 3)}
    assert prunable_filters(channels) == {"conv.weight": Filters(0, (0, 1))}
    assert coupled_groups(channels)["a"].slices == (
        Slices("conv.weight", 0, (0, 1), (0, 1)),
        Slices("bn.weight", 0, (3, 0), (0, 1)),
        Slices("bn.bias", 0, (3, 0), (0, 1)),
    )


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_every_channel_of_the_reference_networks_is_prunable(build: Any) -> None:
    network = build()
    channels = trace(network, torch.randn(1, 1, 32, 32))
    inner = [(k, m) for k, m in network.named_modules() if not k.startswith("classifier")]
    assert prunable_scales(channels) == {
        f"{name}.weight": tuple(range(m.num_features))
        for name, m in inner
        if isinstance(m, nn.BatchNorm2d)
    }
    assert prunable_filters(channels) == {
        f"{name}.weight": Filters() for name, m in inner if isinstance(m, nn.Conv2d)
    }
    outputs = {"classifier.bias", "classifier.bn.weight", "classifier.bn.bias"}
    held = {s.parameter for g in coupled_groups(channels).values() for s in g.slices}
    of_channels = {name for name, p in network.named_parameters() if p.numel() > 1}
    assert held == of_channels - outputs


def test_sparsity_on_paper() -> None:
    below_one_percent = sparsity([torch.tensor([2.0, -0.019]), torch.tensor([0.021, 0.0])])
    assert below_one_percent["inactive"] == 0.5
    found = sparsity([torch.tensor([0.0, -1.0]), torch.tensor([0.0, 0.0])])
    assert found == pytest.approx({"ws": 2.0, "inactive": 0.75, "gini": 0.75})
