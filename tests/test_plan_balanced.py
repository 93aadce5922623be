"""Channels go where they are missed least: on paper, to every budget, and by the one road."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import secateur as sc
from contracts import randomised
from secateur.criteria.compensated import losses_along
from secateur.errors import BudgetError, PlanError
from secateur.plan.balanced import Damage, balanced, hull
from secateur.surgery.probes import probed
from toys import TOYS


def inputs(*shape: int, n: int = 40, seed: int = 1) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)).double()


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


def network(widths: tuple[int, ...] = (8, 12, 6)) -> nn.Module:
    layers: list[nn.Module] = []
    for n_in, n_out in zip((2, *widths), widths, strict=False):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
    return randomised(
        nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)), seed=4
    )


def given(squares: dict[str, list[float]]) -> tuple[sc.ChannelMap, sc.Scores, Damage]:
    channels = sc.trace(chain().double(), torch.zeros(1, 2).double())
    scores = sc.score(channels, [sc.l1])["l1"]
    return channels, scores, Damage({n: np.array(v) for n, v in squares.items()})


def counts(plan: sc.PruningPlan) -> dict[str, int]:
    return {name: len(gone) for name, gone in plan.remove.items()}


def test_a_plan_on_paper() -> None:
    """2 -> 4 -> 4 -> 2 has 32 MACs; each channel of "0" is 6 of them, of "2" as many at first.

    The first two of "0" cost 1 each and so does the first of "2"; the rest are dear.
    """
    dear = {"0": [0, 1, 2, 50, 90], "2": [0, 1, 30, 60, 90]}
    channels, scores, damage = given(dear)
    plan = balanced(scores, damage, channels, sc.Budget(macs=26))
    assert sum(counts(plan).values()) == 1
    plan = balanced(scores, damage, channels, sc.Budget(macs=16))
    assert counts(plan) == {"0": 2, "2": 1} and plan.after.macs == 16
    assert damage.forecast(plan.remove) == pytest.approx(3**0.5)
    assert plan.how == "l1, balanced, forecast error 1.73"
    order = np.argsort(scores.groups["0"], kind="stable")
    assert plan.remove["0"] == tuple(sorted(order[:2].tolist()))


def test_what_is_dear_alone_and_cheap_together_is_seen_by_its_hull() -> None:
    squares = np.array([0.0, 6.0, 2.0, 7.0, 8.0])
    np.testing.assert_allclose(hull(np.arange(5), squares), [0, 1, 2, 5, 8])
    np.testing.assert_allclose(hull(np.array([0, 4]), squares), [0, 2, 4, 6, 8])
    channels, scores, damage = given({"0": squares.tolist(), "2": [0, 3, 6, 9, 12]})
    plan = balanced(scores, damage, channels, sc.Budget(macs=20))
    assert counts(plan) == {"0": 2}


@pytest.mark.parametrize(
    "limit",
    [
        {"macs": "50%"},
        {"params": "60%"},
        {"bytes": "50%@int8"},
        {"pruning_ratio": 0.4},
        {"macs": "70%", "params": "50%"},
        {"pruning_ratio": 0.5, "macs": "60%"},
        {"macs": "50%", "round_to": 2},
        {"macs": "60%", "max_ratio": 0.5, "min_channels": 3},
        {"macs": "60%", "ratios": {"2": 0.25}},
        {"macs": "80%", "ignore": ("0",)},
    ],
    ids=str,
)
def test_every_budget_is_met_within_a_step(limit: dict[str, Any]) -> None:
    model = network()
    channels = sc.trace(model, inputs(2, 6, 6, n=1))
    scores = sc.score(channels, [sc.l1])["l1"]
    rng = np.random.default_rng(0)
    damage = Damage(
        {g.name: np.append(0, rng.random(g.n_channels).cumsum()) for g in channels.groups}
    )
    budget = sc.Budget(**limit)
    plan = balanced(scores, damage, channels, budget)
    assert plan == balanced(scores, damage, channels, budget)
    uniform = sc.uniform(scores, channels, budget)
    assert plan.asked == uniform.asked and set(plan.reached) == set(uniform.reached)
    step, kept = limit.get("round_to", 1), dict(counts(plan))
    for name, asked in plan.asked.items():
        if name == "pruning_ratio":
            assert plan.reached[name] >= asked - 0.5 / 26
        elif not name.startswith("ratio of"):
            assert plan.reached[name] <= asked
    for group in channels.groups:
        left = group.n_channels - kept.get(group.name, 0)
        assert left >= limit.get("min_channels", 1) and left % step == 0
        assert kept.get(group.name, 0) <= limit.get("max_ratio", 1.0) * group.n_channels
    if "ratios" in limit:
        assert kept["2"] == 3
    if "ignore" in limit:
        assert "0" not in kept
    # no channel can be given back
    for name in kept if len(limit) == 1 else ():
        fewer = {n: gone[step:] if n == name else gone for n, gone in plan.remove.items()}
        now = sc.cost(channels, fewer)
        if "macs" in limit:
            assert now.macs > plan.asked["macs"]


def test_a_budget_beyond_reach_is_refused() -> None:
    channels, scores, damage = given({"0": [0, 1, 2, 3, 4], "2": [0, 1, 2, 3, 4]})
    with pytest.raises(BudgetError, match="cannot be met"):
        balanced(scores, damage, channels, sc.Budget(macs=2))


def test_a_probe_is_the_error_without_half_of_a_group() -> None:
    """A group of which half is combinations of the rest costs nothing, another more."""
    model = network((8, 6))
    model[-1] = nn.Linear(24, 3).double()
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias):
            tensor[4:] = tensor[:4]  # twins, alike behind the activation too
    channels = sc.trace(model, inputs(2, 6, 6, n=2))
    order = {"0": [4, 5, 6, 7, 0, 1, 2, 3], "2": [0, 1, 2, 3, 4, 5]}
    batches = [inputs(2, 6, 6)]
    known = sc.calibrate(channels, [sc.compensated], batches)
    losses = losses_along(channels, known.sums["compensated"], order)
    assert (losses["0"][:4] < 1e-8).all() and losses["0"][7] == pytest.approx(1, rel=1e-4)
    damage = probed(channels, order, losses, batches)
    assert damage.squares["0"].shape == (9,) and damage.squares["0"][4] < 1e-12
    assert damage.squares["2"][3] > 1e-4
    assert (np.diff(damage.squares["2"]) >= 0).all()
    without = probed(channels, {"2": order["2"]}, {}, batches)  # at a quarter, half, three quarters
    assert without.squares["2"][3] == pytest.approx(damage.squares["2"][3])


def test_the_road_balances_with_a_forecast() -> None:
    model = network()
    batches = list(inputs(2, 6, 6, n=60).split(20))
    said: list[str] = []
    pruned = sc.prune(
        model,
        batches[0][:2],
        macs="50%",
        scope="balanced",
        calibration=batches,
        on_progress=said.append,
    )
    found = pruned.reconstruction
    assert found is not None and found.forecast is not None
    assert pruned.plan.after.macs <= pruned.plan.before.macs / 2
    assert "was forecast" in str(pruned) and "compensated" in pruned.plan.how
    assert any("probing group 1 of 3" in line for line in said)
    again = sc.prune(model, batches[0][:2], macs="50%", scope="balanced", calibration=batches)
    assert again.plan == pruned.plan
    even = sc.prune(model, batches[0][:2], macs="50%", criterion="compensated", calibration=batches)
    assert even.reconstruction is not None
    assert found.error_after <= even.reconstruction.error_after
    by_l1 = sc.prune(
        model,
        batches[0][:2],
        macs="50%",
        criterion="l1",
        scope="balanced",
        repair="none",
        calibration=batches,
    )
    assert by_l1.plan.how.startswith("l1, ") and by_l1.reconstruction is None


def test_it_asks_for_inputs_and_takes_no_normalisation() -> None:
    model, example = network(), inputs(2, 6, 6, n=1)
    with pytest.raises(PlanError, match="pass calibration=batches"):
        sc.prune(model, example, macs="50%", scope="balanced")
    with pytest.raises(PlanError, match="never compares"):
        sc.prune(
            model,
            example,
            macs="50%",
            scope="balanced",
            normalisation="mean",
            calibration=[inputs(2, 6, 6)],
        )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(TOYS)[1::6])
def test_toys_are_balanced_or_refused_in_words(name: str) -> None:
    from torch.utils._pytree import tree_map

    build, example = TOYS[name]
    generator = torch.Generator().manual_seed(0)

    def like(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            return tensor
        return torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)

    batches = [(tree_map(like, example),) for _ in range(8)]
    try:
        pruned = sc.prune(
            randomised(build()), example, ratio=0.3, scope="balanced", calibration=batches
        )
    except sc.SecateurError:
        return
    assert pruned.reconstruction is not None


@pytest.mark.filterwarnings("ignore:the calibration inputs are not like")
def test_the_command_line_balances(tmp_path: Path) -> None:
    from secateur.cli.main import app

    file = tmp_path / "inputs.npz"
    drawn = np.random.default_rng(0).normal(size=(40, 1, 16, 16))
    np.savez(file, input=drawn.astype(np.float32))
    command = ["prune", "secateur.networks.vgg:vgg", "--arg", "width=4", "--input", "1x16x16"]
    command += ["--macs", "60%", "--scope", "balanced", "-o", str(tmp_path)]
    refused = CliRunner().invoke(app, command)
    assert "--calibration" in str(refused.exception)
    done = CliRunner().invoke(app, [*command, "--calibration", str(file)])
    assert done.exit_code == 0, done.output
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["how"].startswith("compensated, ") and "forecast" in done.output
