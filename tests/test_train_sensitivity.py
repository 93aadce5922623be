"""Sensitivity by masks, on a network whose losses are known on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.channels.trace import trace
from secateur.criteria.score import score
from secateur.criteria.weight import l1
from secateur.errors import BudgetError, PlanError, TrainingError
from secateur.networks.vgg import vgg
from secateur.plan.budget import Budget
from secateur.plan.select import global_, uniform
from secateur.plan.sensitivity import Curve, Sensitivity, ratios_for, ratios_from
from secateur.train.sensitivity import measure_sensitivity


class Sum(nn.Module):
    """Two branches of 1x1 convolutions on a one, summed: one gives 1 + 2 + 3 + 4, one nothing.

    What it answers is the sum of the weights that are left in `heavy`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heavy, self.idle = nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(1, 4, 1, bias=False)
        self.head, self.tail = nn.Conv2d(4, 1, 1, bias=False), nn.Conv2d(4, 1, 1, bias=False)
        with torch.no_grad():
            self.heavy.weight.copy_(torch.tensor([4.0, 1, 3, 2]).view(4, 1, 1, 1))
            self.idle.weight.copy_(torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1, 1))
            self.head.weight.fill_(1)
            self.tail.weight.fill_(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.heavy(x)) + self.tail(self.idle(x))


ONE = torch.ones(1, 1, 1, 1)


def answer(model: nn.Module) -> float:
    with torch.no_grad():
        return float(model(ONE))


def measured(**options: object) -> Sensitivity:
    model = Sum()
    channels = trace(model, ONE)
    scores = score(channels, [l1])["l1"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = measure_sensitivity(channels, scores, answer, measure="the sum", **options)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    return found


def test_curves_on_paper() -> None:
    steps: list[tuple[int, int]] = []
    found = measured(on_progress=lambda *at: steps.append(at))
    assert found.whole == 10
    # without 1; without 1 and 2; without 1, 2 and 3
    assert found.curves == (
        Curve("heavy", 4, (0.25, 0.5, 0.75), (9.0, 7.0, 4.0)),
        Curve("idle", 4, (0.25, 0.5, 0.75), (10.0, 10.0, 10.0)),
    )
    assert steps == [(k, 7) for k in range(1, 8)]
    assert found.losses(found.curves[0]).tolist() == [1, 3, 6]


def test_not_prunable_is_kept_apart_from_insensitive() -> None:
    found = measured()
    assert found.insensitive(0.0) == ("idle",)
    assert found.insensitive(6.0) == ("heavy", "idle")
    assert found.not_prunable == dict.fromkeys(("head", "tail"), "it has one filter only")
    said = str(found)
    assert "not prunable: head: " in said and "1 at 25%  3 at 50%  6 at 75%" in said
    assert said.index("heavy") < said.index("idle")


def test_pinned_layers_are_not_prunable() -> None:
    model, example = vgg(width=4), torch.zeros(1, 1, 32, 32)
    channels = trace(model, example)
    scores = score(channels, [l1])["l1"]
    found = measure_sensitivity(
        channels,
        scores,
        lambda network: sum(float(p.detach().abs().sum()) for p in network.parameters()),
        ratios=(0.5,),
    )
    assert [curve.group for curve in found.curves] == [group.name for group in channels.groups]
    assert list(found.not_prunable) == ["classifier"]
    assert "is an output" in found.not_prunable["classifier"]
    assert found.insensitive(0.0) == ()  # zeroed weights are gone from every sum


def test_lower_may_be_better_and_luck_is_no_loss() -> None:
    found = replace(measured(), better="lower")
    assert found.losses(found.curves[0]).tolist() == [0, 0, 0]
    curve = Curve("a", 4, (0.25, 0.5, 0.75), (12.0, 8.0, 9.0))
    assert replace(found, better="higher").losses(curve).tolist() == [0, 2, 2]
    assert found.losses(curve).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("tolerance", "heavy"),
    [(0, 0.0), (0.5, 0.125), (1, 0.25), (2, 0.375), (3, 0.5), (4.5, 0.625), (6, 0.75), (99, 0.75)],
)
def test_ratios_follow_a_tolerance(tolerance: float, heavy: float) -> None:
    found = measured()
    assert ratios_from(found, tolerance) == {"heavy": heavy, "idle": 0.75}
    with pytest.raises(BudgetError, match="tolerance is a loss of the sum from 0"):
        ratios_from(found, -1)


def test_ratios_meet_a_budget_with_the_least_loss() -> None:
    model = Sum()
    channels = trace(model, ONE)
    scores = score(channels, [l1])["l1"]
    found = measured()
    for params in range(4, 17):
        budget = Budget(params=params)
        ratios = ratios_for(found, channels, budget)
        plan = uniform(scores, channels, replace(budget, ratios=ratios))
        assert plan.reached["params"] <= params
        # the idle branch gives three channels of two weights before the heavy one gives any
        assert len(plan.remove.get("heavy", ())) == max(0, -(-(10 - params) // 2))
    with pytest.raises(BudgetError, match="largest ratios that were measured"):
        ratios_for(found, channels, Budget(params=3))
    with pytest.raises(BudgetError, match="need a limit"):
        ratios_for(found, channels, Budget(pruning_ratio=0.5))
    kept = ratios_for(found, channels, Budget(params=12, ratios={"idle": 0.25}))
    assert kept["idle"] == 0.25
    whole = global_(scores, channels, Budget(params=12, ratios=kept))
    assert whole.reached["params"] <= 12


def test_a_sensitivity_survives_json() -> None:
    found = measured()
    assert Sensitivity.from_json(found.to_json()) == found
    for text in ("", "{}", '{"format": "other"}', found.to_json().replace('"curves"', '"curbs"')):
        with pytest.raises(PlanError, match="not a sensitivity"):
            Sensitivity.from_json(text)


@pytest.mark.parametrize("ratio", [0, 1, -0.5, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(TrainingError, match=r"in \(0, 1\)"):
        measured(ratios=(0.5, ratio))


def test_a_value_that_is_no_number_is_refused() -> None:
    model = Sum()
    channels = trace(model, ONE)
    scores = score(channels, [l1])["l1"]
    with pytest.raises(TrainingError, match="nan for the whole network"):
        measure_sensitivity(channels, scores, lambda _: np.nan)
    with pytest.raises(TrainingError, match="gave None for the whole network; it must give a fin"):
        measure_sensitivity(channels, scores, lambda _: None)  # type: ignore[arg-type, return-value]


def test_a_direction_that_is_none_is_refused() -> None:
    with pytest.raises(TrainingError, match="no better 'up'; there are higher, lower"):
        measured(better="up")
