"""Steps towards a budget, on paper."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.channels.cost import cost
from secateur.criteria.scores import Scores
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.latency import LatencyTable, Timing, kind_of
from secateur.plan.schedule import SCHEDULES, cubic, linear, one_shot, scaled
from secateur.plan.select import uniform
from test_plan_properties import chain


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_schedule_rises_to_one(schedule, n) -> None:
    shares = [schedule(step, n) for step in range(1, n + 1)]
    assert shares == sorted(shares) and shares[-1] == 1 and shares[0] > 0
    for step in (0, n + 1, 0.5):
        with pytest.raises(BudgetError, match=f"step {step} of {n}"):
            schedule(step, n)


def test_schedules_on_paper() -> None:
    assert [one_shot(t, 3) for t in (1, 2, 3)] == [1, 1, 1]
    assert [linear(t, 2) for t in (1, 2)] == [0.5, 1]
    # 1 - (3/4)^3, 1 - (1/2)^3, 1 - (1/4)^3
    assert [cubic(t, 4) for t in (1, 2, 3, 4)] == [37 / 64, 56 / 64, 63 / 64, 1]


def test_limits_lie_between_the_whole_and_what_is_asked() -> None:
    # 1 -> 4 -> 1, 1x1, on ten positions: 8 parameters, 80 MACs
    channels = chain([4], [1, 1], [10, 10])
    assert (cost(channels).params, cost(channels).macs) == (8, 80)
    timings = {
        kind_of(layer, channels): Timing(kind_of(layer, channels), (1, 4), (1, 4), ((1, 2), (2, 4)))
        for layer in channels.layers
    }
    table = LatencyTable("a desk", tuple(timings.values()), 0.0, 0.0)
    budget = Budget(
        macs="50%", params=4, bytes="50%@int8", latency_ms=2, latency_table=table, min_channels=2
    )
    half = scaled(budget, channels, 0.5)
    assert (half.macs, half.params, half.bytes) == (60, 6, "6B@int8")
    assert half.latency_ms == (4 + 2) / 2
    assert half.min_channels == 2
    assert scaled(budget, channels, 0).macs == 80
    assert scaled(budget, channels, 1).macs == 40
    assert scaled(Budget(macs=9), channels, 1) == Budget(macs=9)


def test_shares_are_of_the_network_the_step_starts_from() -> None:
    channels = chain([8], [1, 1], [1, 1])
    budget = Budget(pruning_ratio=0.5, ratios={"c0": 0.5})
    first = scaled(budget, channels, 0.5)
    assert first.pruning_ratio == 0.25 and first.ratios == {"c0": 0.25}
    # six of eight are left, and two more go
    second = scaled(budget, channels, 1, done=0.5)
    assert second.pruning_ratio == pytest.approx(1 / 3)
    with pytest.raises(BudgetError, match=r"done=0.6 to share=0.5"):
        scaled(budget, channels, 0.5, done=0.6)
    with pytest.raises(BudgetError, match="max_ratio is a share of the first widths"):
        scaled(Budget(pruning_ratio=0.5, max_ratio=0.6), channels, 1, done=0.5)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_steps_by_cutting_end_where_one_step_does(schedule) -> None:
    whole, budget = [64, 32], Budget(pruning_ratio=0.5)
    widths, done = list(whole), 0.0
    first = chain(whole, [1, 1, 1], [1, 1, 1])
    for step in range(1, 5):
        channels = chain(widths, [1, 1, 1], [1, 1, 1])
        scores = Scores(
            "l1", "sum", {}, {f"c{k}": np.arange(float(n)) for k, n in enumerate(widths)}
        )
        share = schedule(step, 4)
        plan = uniform(scores, channels, scaled(budget, first, share, done))
        widths = [n - len(plan.remove.get(f"c{k}", ())) for k, n in enumerate(widths)]
        done = share
    assert widths == [32, 16]
