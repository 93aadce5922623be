"""The one call: it gives what its parts give, knows itself, and meets its budget."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import randomised, same_state, state_of
from secateur.channels.tabular import count
from secateur.errors import (
    BudgetError,
    ChannelMapError,
    CriterionError,
    PackageError,
    PlanError,
    SurgeryError,
)
from secateur.surgery.in_turn import verified
from toys import TOYS, image


class Gate(nn.Module):
    """Halves of one convolution; its width is read by its code."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.width, self.conv = width, nn.Conv2d(n_in, 2 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).split(self.width, 1)
        return a * b.sigmoid()


class TwoGates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.out = Gate(1, 16), Gate(16, 16), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.two(self.one(x))).mean((2, 3))


class LiteralSizes(nn.Module):
    """The middle one's channels are held back: 4 x 8 = 32 is written in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mid = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.last, self.head = nn.Conv2d(32, 32, 3, padding=1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.mid(F.relu(self.stem(x))))
        x = x.view(x.shape[0], 4, 8, *x.shape[2:]).flip(1).reshape(x.shape[0], 32, *x.shape[2:])
        return self.head(F.relu(self.last(x)).mean((2, 3)))


class Chunked(nn.Module):
    """Two halves that must lose as many channels, of which one is much louder."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.h = nn.Conv2d(1, 16, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(16, 2, 1)
        with torch.no_grad():
            self.a.weight[8:] *= 10

    def forward(self, x: Tensor) -> Tensor:
        p, q = self.a(x).chunk(2, 1)
        return self.h(torch.cat([p, self.c(q)], 1))


HARD = {
    "two gates": (TwoGates, image(1)),
    "literal sizes": (LiteralSizes, image(3)),
    "chunked": (Chunked, image(1)),
}
hard = pytest.mark.parametrize("name", HARD)


def made(name: str) -> tuple[nn.Module, Tensor]:
    build, example = HARD[name]
    torch.manual_seed(0)
    return build().double().eval(), example


def channels_at_a_time(pruned: sc.Pruned) -> float:
    """The MACs of the largest set of channels that can only go together, one of each group."""
    sizes = [
        sc.cost(pruned.channels).macs - sc.cost(pruned.channels, {group.name: (0,)}).macs
        for group in pruned.channels.groups
    ]
    return sum(sizes)


@hard
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_the_budget_is_met_from_both_sides_and_the_plan_says_what_was_cut(
    name: str, scope: str
) -> None:
    model, example = made(name)
    before = state_of(model)
    pruned = sc.prune(model, example, macs="50%", scope=scope)
    counted = sc.cost(sc.trace(pruned.network, example)).macs
    asked = 0.5 * pruned.plan.before.macs
    assert pruned.plan.after.macs == pruned.plan.reached["macs"] == counted <= asked
    assert counted > asked - channels_at_a_time(pruned)
    assert pruned.verification.exact
    again = verified(model, pruned.network, pruned.plan, pruned.channels, example)
    assert again.exact
    assert same_state(model, before)


def test_what_does_not_fit_is_left_and_listed() -> None:
    model, example = made("literal sizes")
    pruned = sc.prune(model, example, macs="50%")
    assert set(pruned.plan.remove) == {"stem", "last"}
    assert pruned.network.mid.out_channels == 32
    assert "mid" in pruned.plan.held_back and "1 of 3 groups keeps its width" in str(pruned)


@pytest.mark.parametrize("name", list(TOYS)[::4])
def test_it_is_what_its_parts_give(name: str) -> None:
    build, example = TOYS[name]
    model = randomised(build())
    channels = sc.trace(model, example)
    if not channels.groups:
        pytest.skip("nothing can go")
    scores = sc.score(channels, [sc.l2])["l2"]
    budget = sc.Budget(pruning_ratio=0.3)
    plan = sc.prune_to_budget(channels, budget, lambda c, b: sc.uniform(scores, c, b)).plan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = sc.cut(channels, plan).network
        pruned = sc.prune(model, example, ratio=0.3)
    assert pruned.plan == plan
    assert same_state(pruned.network, state_of(small))
    assert pruned.model is model and pruned.steps == (pruned,)


@hard
def test_three_steps_are_saved_loaded_and_restored_as_one(name: str, tmp_path: Path) -> None:
    model, example = made(name)
    before = state_of(model)
    *_, last = sc.prune_steps(model, example, macs="40%", steps=3)
    assert len(last.steps) == 3 and last.steps[0].model is model
    first = sc.cost(last.steps[0].channels).macs
    assert last.plan.after.macs <= 0.4 * first
    assert last.plan.after.macs > 0.4 * first - channels_at_a_time(last.steps[0])
    assert all(step.verification.exact for step in last.steps)
    path = last.save(tmp_path / "small.safetensors")
    again = sc.load(path, lambda: made(name)[0], example)
    torch.testing.assert_close(again(example), last.network(example), rtol=1e-12, atol=1e-12)
    assert same_state(last.restore(), before)
    wider = nn.Sequential(made(name)[0])
    with pytest.raises(PackageError, match="does not fit"):
        sc.load(path, lambda: wider)


def test_a_network_cut_three_times_runs_in_another_process(tmp_path: Path) -> None:
    model, example = made("two gates")
    *_, last = sc.prune_steps(model, example, macs="40%", steps=3)
    path, answer = last.save(tmp_path / "small.safetensors"), tmp_path / "answer.pt"
    code = (
        "import sys, torch, secateur as sc; from test_pruning import made; "
        "make = lambda: made('two gates')[0]; x = made('two gates')[1]; "
        "torch.save(sc.load(sys.argv[1], make, x)(x), sys.argv[2])"
    )
    run = [sys.executable, "-c", code, str(path), str(answer)]
    subprocess.run(run, check=True, cwd=Path(__file__).parent, timeout=120)
    there = torch.load(answer, weights_only=True)
    torch.testing.assert_close(there, last.network(example), rtol=1e-12, atol=1e-12)


def test_someone_elses_loop_with_an_optimizer_that_comes_along() -> None:
    model, example = made("two gates")
    x, y = torch.randn(8, 1, 8, 8).double(), torch.arange(8) % 3
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def train(network: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        for _ in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
        return loss.item()

    train(model, optimizer)
    losses, macs = [], []
    for step in sc.prune_steps(model, example, macs="30%", steps=3, optimizer=optimizer):
        assert step.optimizer is not None and step.optimizer.param_groups[0]["lr"] == 0.01
        own = {id(p) for p in step.network.parameters()}
        assert {id(p) for g in step.optimizer.param_groups for p in g["params"]} == own
        steps_so_far = {int(state["step"]) for state in step.optimizer.state.values()}
        assert steps_so_far == {3 * len(step.steps)}
        losses.append(train(step.network, step.optimizer))
        macs.append(step.plan.after.macs)
    assert macs == sorted(macs, reverse=True) and macs[-1] <= 0.3 * sc.cost(sc.trace(model, x)).macs
    restored = step.restore()
    assert restored.one.conv.weight.shape == model.one.conv.weight.shape


def test_biases_take_up_what_went_and_that_is_said() -> None:
    model, example = made("literal sizes")
    pruned = sc.prune(model, example, macs="50%")
    better = sc.reconstruct(pruned, [torch.randn(16, 3, 8, 8).double()], method="bias")
    assert better.reconstruction is not None and better.network is not pruned.network
    assert better.reconstruction.error_after <= better.reconstruction.error_before
    assert "then biases were shifted" in str(better)
    assert "then biases" not in str(pruned)


def test_it_prints_what_was_asked_what_came_and_how_it_was_verified() -> None:
    model, example = made("two gates")
    text = str(sc.prune(model, example, macs="50%", scope="global"))
    assert re.search(r"^ +asked +reached +of asked$", text, re.MULTILINE)
    assert "how: l2, global, normalisation none" in text
    assert "sizes in the network's code: one:width = " in text
    assert "is the whole network with the removed channels silent" in text
    assert "as it was cut, before any training:\nthe cut network" in text
    (line,) = [line for line in text.splitlines() if line.startswith("one.conv")]
    before, after, macs_before, macs_after, bar = line.split()[1:]
    # a channel is two filters of 3x3, at 6x6 places
    assert [macs_before, macs_after] == [count(2 * 9 * 36 * int(n)) for n in (before, after)]
    assert len(bar) == 30
    assert bar.count("█") == round(30 * int(after) / int(before))


def test_criteria_of_data_and_of_ones_own() -> None:
    model, example = made("literal sizes")
    batches = [(torch.randn(4, 3, 8, 8).double(), torch.arange(4))]
    named = sc.prune(
        model, example, macs="50%", criterion="taylor_fo", calibration=batches,
        loss_fn=F.cross_entropy,
    )  # fmt: skip
    assert named.plan.how == "taylor_fo, uniform"
    assert sc.prune(model, example, macs="50%", criterion=sc.l1).plan.how == "l1, uniform"
    with pytest.raises(CriterionError, match="taylor_fo"):
        sc.prune(model, example, macs="50%", criterion="taylor_fo")


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({}, BudgetError, "asks for nothing"),
        ({"macs": "50"}, BudgetError, r"the nearest reachable is .*did you mean '50%' or '50k'\?"),
        ({"macs": 0.5}, BudgetError, r"less than one; did you mean '50%'\?"),
        ({"macs": "0.001%"}, BudgetError, "the nearest reachable is"),
        ({"macs": "50%", "criterion": "l3"}, CriterionError, "l3"),
        ({"macs": "50%", "scope": "globl"}, PlanError, "globl.*did you mean.*global"),
        ({"macs": "50%", "normalisation": "mean"}, PlanError, "never compares them"),
        ({"macs": "50%", "ignore": "one"}, BudgetError, r"write \('one',\)"),
        ({"macs": "50%", "ignore": ["three"]}, BudgetError, "three"),
        ({"macs": "50%", "optimizer": torch.optim.SGD([nn.Parameter(torch.ones(2))])},
         SurgeryError, "not the model's"),
    ],
)  # fmt: skip
def test_bad_input_is_named(words: dict[str, Any], error: type[Exception], says: str) -> None:
    model, example = made("two gates")
    with pytest.raises(error, match=says):
        sc.prune(model, example, **words)
    with pytest.raises(error, match=says):
        list(sc.prune_steps(model, example, steps=2, **words))


def test_steps_are_checked_before_the_first() -> None:
    model, example = made("two gates")
    with pytest.raises(BudgetError, match=r"linaer.*linear"):
        sc.prune_steps(model, example, macs="50%", steps=2, schedule="linaer")
    with pytest.raises(BudgetError, match="step 0 of 0"):
        sc.prune_steps(model, example, macs="50%", steps=0)
    with pytest.raises(TypeError, match="marcs"):
        sc.prune_steps(model, example, marcs="50%", steps=2)


def test_slips_of_the_parts_are_named() -> None:
    model, example = made("two gates")
    channels = sc.trace(model, example)
    with pytest.raises(PlanError, match=r"take one, scores\['l2'\]"):
        sc.uniform(sc.score(channels, [sc.l2]), channels, sc.Budget(macs="50%"))  # type: ignore[arg-type]
    other = made("chunked")[0]
    with pytest.raises(ChannelMapError, match=r"the channel map is of another network.*missing"):
        sc.score(channels.of(other), [sc.l2])


def test_the_default_is_the_best_that_was_measured_and_scores_any_network() -> None:
    root = Path(__file__).parents[1]
    measured = runpy.run_path(str(root / "benchmarks" / "defaults.py"))
    assert measured["table"]() in (root / "docs" / "prune.md").read_text()
    for study in measured["STUDIES"].values():
        rows = measured["means"](study)
        of_any_network = {key: row[2] for key, row in rows.items() if key[0] != "bn_scale"}
        assert max(of_any_network, key=of_any_network.__getitem__) == ("l2", "uniform")
