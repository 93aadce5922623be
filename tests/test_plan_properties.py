"""What holds for every budget and selection, over drawn chains of convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.channels.cost import cost
from secateur.channels.groups import ChannelGroup, ChannelMap, Layer, Member
from secateur.criteria.scores import Scores
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.normalise import NORMALISATIONS, normalised
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import reach
from secateur.plan.select import SCOPES, global_, isomorphic

LIMITS = ("params", "macs", "bytes")


def each(n: int) -> np.ndarray:
    return np.arange(n).reshape(n, 1)


def chain(widths: list[int], kernels: list[int], positions: list[int]) -> ChannelMap:
    """Convolutions 1 -> widths -> 1 in a row; a group between every two, named after the first."""
    names = [f"c{k}" for k in range(len(widths) + 1)]
    sizes = [1, *widths, 1]
    shapes = {
        f"{name}.weight": (n_out, n_in, kernel, kernel)
        for name, (n_in, n_out), kernel in zip(names, pairwise(sizes), kernels, strict=True)
    }
    groups = tuple(
        ChannelGroup(
            first,
            n,
            (
                Member(f"{first}.weight", 0, "out", each(n)),
                Member(f"{second}.weight", 1, "in", each(n)),
            ),
        )
        for (first, second), n in zip(pairwise(names), widths, strict=True)
    )
    layers = tuple(
        Layer(name, "convolution", f"{name}.weight", 0, 1, 1, place, "net.py:1")
        for name, place in zip(names, positions, strict=True)
    )
    return ChannelMap(groups, layers, (), (), (), shapes, (), {}, "f" * 64)


@st.composite
def networks(draw: Any) -> tuple[ChannelMap, Scores]:
    widths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    n = len(widths) + 1
    kernels = draw(st.lists(st.sampled_from([1, 3]), min_size=n, max_size=n))
    positions = draw(st.lists(st.sampled_from([1, 4, 10]), min_size=n, max_size=n))
    channels = chain(widths, kernels, positions)
    values = st.integers(0, 6).map(float)  # few values, so that ties are common
    groups = {
        group.name: np.array(
            draw(st.lists(values, min_size=group.n_channels, max_size=group.n_channels))
        )
        for group in channels.groups
    }
    return channels, Scores("l1", "sum", {}, groups)


shares = st.integers(1, 100).map(lambda percent: f"{percent}%")
rules = st.fixed_dictionaries(
    {},
    optional={
        "min_channels": st.integers(1, 6),
        "max_ratio": st.sampled_from([0.25, 0.5, 0.9, 1.0]),
        "round_to": st.sampled_from([1, 2, 4, 8]),
        "ignore": st.sampled_from([(), ("c0",), ("c*",), ("c0", "c1*")]),
    },
)
wishes = st.fixed_dictionaries({}, optional=dict.fromkeys(LIMITS, shares)).filter(bool)
scopes = st.sampled_from(sorted(SCOPES))


@given(networks(), scopes, wishes, rules)
def test_a_budget_is_met_or_refused(
    drawn: tuple[ChannelMap, Scores], scope: str, wish: dict[str, Any], rule: dict[str, Any]
) -> None:
    channels, scores = drawn
    try:
        budget = Budget(**wish, **rule)
        rows = reach(channels, budget)
    except BudgetError:
        return  # a pattern that names nothing
    try:
        plan = SCOPES[scope](scores, channels, budget)
    except BudgetError as error:
        assert not all(row.met for row in rows) or "no group" in str(error)
        return
    assert all(row.met for row in rows)
    assert set(plan.asked) == {row.name for row in rows}
    for name, asked in plan.asked.items():
        assert plan.reached[name] <= asked
    assert (plan.reached["params"], plan.reached["macs"]) == (plan.after.params, plan.after.macs)
    plan.check(channels)
    _check_rules(plan, channels, budget)
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert SCOPES[scope](scores, channels, budget) == plan


@given(networks(), scopes, st.integers(0, 99).map(lambda percent: percent / 100), rules)
def test_a_ratio_keeps_the_rules_too(
    drawn: tuple[ChannelMap, Scores], scope: str, ratio: float, rule: dict[str, Any]
) -> None:
    channels, scores = drawn
    try:
        plan = SCOPES[scope](scores, channels, budget := Budget(pruning_ratio=ratio, **rule))
    except BudgetError:
        return
    _check_rules(plan, channels, budget)
    if not rule and scope == "global":
        n = channels_of(channels)
        most = n - len(channels.groups)
        assert n - plan.after.channels == min(most, int(np.floor(ratio * n + 0.5 + 1e-9)))


def _check_rules(plan: PruningPlan, channels: ChannelMap, budget: Budget) -> None:
    ignored = [name for name, why in plan.limited.items() if "ignore has" in why]
    for group in channels.groups:
        gone = len(plan.remove.get(group.name, ()))
        kept = group.n_channels - gone
        assert gone == 0 or kept >= budget.min_channels
        assert gone <= budget.max_ratio * group.n_channels
        assert gone == 0 or kept % budget.round_to == 0
        if group.name in budget.ignore or "c*" in budget.ignore:
            assert group.name in ignored and gone == 0
        if group.n_channels < budget.round_to:
            assert gone == 0 and group.name in plan.limited


@given(networks(), st.sampled_from(LIMITS), shares)
def test_one_channel_less_would_not_do(
    drawn: tuple[ChannelMap, Scores], limit: str, share: str
) -> None:
    channels, scores = drawn
    try:
        plan = global_(scores, channels, Budget(**{limit: share}))
    except BudgetError:
        return
    n = channels_of(channels)
    gone = n - plan.after.channels
    if gone:
        fewer = global_(scores, channels, Budget(pruning_ratio=(gone - 1) / n))
        assert fewer.after.channels == plan.after.channels + 1
        (name,) = plan.asked
        left = fewer.after.bytes_at("float32") if limit == "bytes" else fewer.reached[name]
        assert left > plan.asked[name]


@given(networks(), shares)
def test_uniform_stops_at_the_first_step_that_does(
    drawn: tuple[ChannelMap, Scores], share: str
) -> None:
    channels, scores = drawn
    try:
        plan = SCOPES["uniform"](scores, channels, Budget(macs=share))
    except BudgetError:
        return
    steps = {k / g.n_channels for g in channels.groups for k in np.arange(0.5, g.n_channels)}
    within = [
        ratio
        for ratio in sorted({0.0, *steps})
        if SCOPES["uniform"](scores, channels, _ratio(ratio)).after.macs <= plan.asked["macs"]
    ]
    assert SCOPES["uniform"](scores, channels, _ratio(within[0])).remove == plan.remove


def _ratio(ratio: float) -> Budget:
    return Budget(pruning_ratio=ratio) if ratio else Budget(pruning_ratio=0)


def channels_of(channels: ChannelMap) -> int:
    return cost(channels).channels


@given(networks(), st.sampled_from(sorted(NORMALISATIONS)))
def test_no_normalisation_changes_the_order_in_a_group(
    drawn: tuple[ChannelMap, Scores], normalisation: Any
) -> None:
    for value in drawn[1].groups.values():
        for scores in (value, -value):
            made = normalised(scores, 9, normalisation)
            assert np.isfinite(made).all()
            first, second = np.meshgrid(scores, scores)
            one, other = np.meshgrid(made, made)
            assert (one[first < second] <= other[first < second]).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_several_limits_hold_together(scope: str) -> None:
    # 1 -> 4 -> 4 -> 1, all 1x1: params 4 + 16 + 4 = 24; macs 10 * 4 + 1 * 16 + 1 * 4 = 60
    channels = chain([4, 4], [1, 1, 1], [10, 1, 1])
    scores = Scores("l1", "sum", {}, {"c0": np.arange(4.0), "c1": np.arange(4.0) + 0.5})
    plan = SCOPES[scope](scores, channels, Budget(params=14, macs=36, bytes="14B@int8"))
    for name, asked in {"params": 14, "macs": 36, "bytes_int8": 14}.items():
        assert plan.asked[name] == asked >= plan.reached[name]
    alone = SCOPES[scope](scores, channels, Budget(params=14))
    assert alone.after.channels >= plan.after.channels


def test_isomorphic_sorts_groups_of_one_structure_only() -> None:
    # c0 and c1 are between 1x1 convolutions; c2 leads from one into a 3x3
    channels = chain([4, 2, 4], [1, 1, 1, 3], [1, 1, 1, 1])
    groups = {
        "c0": np.array([4.0, 3, 2, 1]),
        "c1": np.array([0.5, 5]),
        "c2": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    scores = Scores("l1", "sum", {}, groups)
    half = Budget(pruning_ratio=0.5)
    # of c0 and c1 together .5, 1, 2 go; of c2 half
    assert isomorphic(scores, channels, half).remove == {"c0": (2, 3), "c1": (0,), "c2": (0, 1)}
    # all together .1 .2 .3 (.4 is the last of c2), .5, 1
    assert global_(scores, channels, half).remove == {"c0": (3,), "c1": (0,), "c2": (0, 1, 2)}


@pytest.mark.parametrize(
    ("normalisation", "remove"),
    [
        # a is 1 2 3 4 6, of d = 1 * 9; b is 10 20, of d = 5 * 1; three of seven go
        ("none", {"c0": (0, 1, 2)}),
        # a over 3.2: .31 .63 .94 1.25 1.88; b over 15: .67 1.33
        ("mean", {"c0": (0, 1), "c1": (0,)}),
        # a over 6: .17 .33 .5 .67 1; b: .5 1; the tie goes to a, which stands first
        ("max", {"c0": (0, 1, 2)}),
        # a: less 3.2, over 1.72: -1.28 -.70 -.12 .47 1.63; b: -1 1
        ("gaussian", {"c0": (0, 1), "c1": (0,)}),
        # a over 3: .33 .67 1 1.33 2; b over sqrt 5: 4.5 8.9
        ("sqrt_d", {"c0": (0, 1, 2)}),
    ],
)
def test_every_normalisation_on_paper(normalisation: Any, remove: dict[str, Any]) -> None:
    channels = chain([5, 2], [3, 1, 1], [1, 1, 1])
    groups = {"c0": np.array([1.0, 2, 3, 4, 6]), "c1": np.array([10.0, 20])}
    scores = Scores("l1", "sum", {}, groups)
    assert global_(scores, channels, Budget(pruning_ratio=3 / 7), normalisation).remove == remove


def test_sqrt_d_divides_by_the_root_of_the_filters_size() -> None:
    channels = chain([2, 2], [3, 1, 1], [1, 1, 1])
    # d is 9 and 2: 3 6 over 3 are 1 2; 2 4 over 1.41 are 1.41 2.83
    scores = Scores("l1", "sum", {}, {"c0": np.array([3.0, 6]), "c1": np.array([2.0, 4])})
    one = Budget(pruning_ratio=1 / 4)
    assert global_(scores, channels, one, "none").remove == {"c1": (0,)}
    assert global_(scores, channels, one, "sqrt_d").remove == {"c0": (0,)}
