"""Budgets and selection, worked out on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secateur.channels.cost import Cost, cost
from secateur.channels.groups import ChannelGroup, ChannelMap, Layer, Member, Pinned, fingerprint
from secateur.criteria.scores import Scores
from secateur.errors import BudgetError, PlanError
from secateur.plan.budget import Budget, amount
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import reach
from secateur.plan.select import global_, isomorphic, manual, uniform


def _each(n: int) -> np.ndarray:
    return np.arange(n).reshape(n, 1)


def _layer(name: str, conv_positions: int) -> Layer:
    return Layer(name, "convolution", f"{name}.weight", 0, 1, 1, conv_positions, "net.py:1")


@pytest.fixture
def channels() -> ChannelMap:
    """1x1 convolutions 1 -> 4 -> 2 -> 1 on ten places: MACs 10 * (4 + 8 + 2) = 140."""
    groups = (
        ChannelGroup(
            "a",
            4,
            (Member("a.weight", 0, "out", _each(4)), Member("b.weight", 1, "in", _each(4))),
        ),
        ChannelGroup(
            "b",
            2,
            (Member("b.weight", 0, "out", _each(2)), Member("c.weight", 1, "in", _each(2))),
        ),
    )
    shapes = {"a.weight": (4, 1, 1, 1), "b.weight": (2, 4, 1, 1), "c.weight": (1, 2, 1, 1)}
    return ChannelMap(
        groups=groups,
        layers=tuple(_layer(name, 10) for name in "abc"),
        pinned=(Pinned("c.weight", 0, 1, "is an output", "net.py:3"),),
        mixing=(),
        unknown=(),
        shapes=shapes,
        buffers=(),
        aliases={},
        fingerprint=fingerprint(shapes, groups),
    )


@pytest.fixture
def scores() -> Scores:
    groups = {"a": np.array([4.0, 1.0, 3.0, 2.0]), "b": np.array([2.5, 0.5])}
    return Scores("l1", "sum", {}, groups)


def test_the_cost_on_paper(channels: ChannelMap) -> None:
    assert cost(channels) == Cost(params=14, macs=140, channels=6)
    # a keeps 3, b keeps 1: 10 * (3 + 3 + 1)
    assert cost(channels, {"a": (0,), "b": (1,)}) == Cost(params=7, macs=70, channels=4)


@pytest.mark.parametrize(
    ("ratio", "remove"),
    [
        (0.0, {}),
        (0.1, {}),  # 0.4 and 0.2 channels
        (0.25, {"a": (1,), "b": (1,)}),  # 1 and 0.5, halves go up
        (0.5, {"a": (1, 3), "b": (1,)}),
        (0.9, {"a": (1, 2, 3), "b": (1,)}),  # one always stays
    ],
)
def test_uniform_takes_the_same_share_of_each(
    ratio: float, remove: dict[str, Any], channels: ChannelMap, scores: Scores
) -> None:
    plan = uniform(scores, channels, Budget(pruning_ratio=ratio))
    assert plan.remove == remove
    assert plan.after == cost(channels, remove)
    assert plan.asked == {"pruning_ratio": ratio}
    assert plan.reached["pruning_ratio"] == 1 - plan.after.channels / 6
    plan.check(channels)


@pytest.mark.parametrize(
    ("ratio", "remove"),
    [
        (0.0, {}),
        (1 / 6, {"b": (1,)}),
        (0.5, {"a": (1, 3), "b": (1,)}),  # 0.5, 1, 2
        (0.6, {"a": (1, 2, 3), "b": (1,)}),  # 2.5 is b's last and stays, so 3 goes
        (0.99, {"a": (1, 2, 3), "b": (1,)}),
    ],
)
def test_global_takes_the_lowest_of_all(
    ratio: float, remove: dict[str, Any], channels: ChannelMap, scores: Scores
) -> None:
    assert global_(scores, channels, Budget(pruning_ratio=ratio)).remove == remove


def test_normalisation_makes_groups_comparable(channels: ChannelMap) -> None:
    scores = Scores("l1", "sum", {}, {"a": np.array([40.0, 10, 30, 20]), "b": np.array([1.0, 2.0])})
    half = Budget(pruning_ratio=2 / 6)
    assert global_(scores, channels, half).remove == {"a": (1,), "b": (0,)}
    # by maximum: a is 1, .25, .75, .5 and b .5, 1; the tie at .5 goes to a, which stands first
    assert global_(scores, channels, half, "max").remove == {"a": (1, 3)}
    # by mean: a is 1.6, .4, 1.2, .8 and b .67, 1.33
    assert global_(scores, channels, half, "mean").remove == {"a": (1,), "b": (0,)}


@pytest.mark.parametrize("select", [uniform, global_])
def test_ties_go_by_index(select: Any, channels: ChannelMap) -> None:
    scores = Scores("l1", "sum", {}, {"a": np.ones(4), "b": np.ones(2)})
    plan = select(scores, channels, Budget(pruning_ratio=0.5))
    assert plan.remove["a"] == ((0, 1) if select is uniform else (0, 1, 2))


@pytest.mark.parametrize("asked", range(30, 141))
@pytest.mark.parametrize("select", [uniform, global_])
def test_a_macs_budget_is_met_and_tight(
    select: Any, asked: int, channels: ChannelMap, scores: Scores
) -> None:
    plan = select(scores, channels, Budget(macs=asked))
    assert plan.after.macs <= asked == plan.asked["macs"]
    assert plan.reached["macs"] == plan.after.macs == cost(channels, plan.remove).macs
    n = 6 - plan.after.channels
    if n and select is global_:
        one_less = global_(scores, channels, Budget(pruning_ratio=(n - 1) / 6))
        assert one_less.after.macs > asked


@pytest.mark.parametrize("select", [uniform, global_])
def test_an_unreachable_budget_names_the_nearest(
    select: Any, channels: ChannelMap, scores: Scores
) -> None:
    with pytest.raises(BudgetError, match=r"29 MACs .* nearest reachable is 30 of 140 \(21.4%\)"):
        select(scores, channels, Budget(macs=29))


@pytest.mark.parametrize("select", [uniform, global_])
def test_min_channels_and_ignore_are_kept(
    select: Any, channels: ChannelMap, scores: Scores
) -> None:
    plan = select(scores, channels, Budget(pruning_ratio=0.9, min_channels=2))
    assert plan.remove == {"a": (1, 3)}
    plan = select(scores, channels, Budget(pruning_ratio=0.9, ignore=("a",)))
    assert plan.remove == {"b": (1,)}
    with pytest.raises(BudgetError, match="no channel group 'z'; there are a, b"):
        select(scores, channels, Budget(pruning_ratio=0.9, ignore=("z",)))


@pytest.mark.parametrize("select", [uniform, global_])
def test_nothing_to_prune_is_said_aloud(select: Any, channels: ChannelMap, scores: Scores) -> None:
    with pytest.raises(BudgetError, match="ignore names all; ignore fewer"):
        select(scores, channels, Budget(pruning_ratio=0.5, ignore=("a", "b")))


@pytest.mark.parametrize("select", [uniform, global_])
def test_scores_of_another_network_are_refused(select: Any, channels: ChannelMap) -> None:
    for groups in ({"a": np.ones(4)}, {"a": np.ones(3), "b": np.ones(2)}):
        with pytest.raises(PlanError, match="score this network"):
            select(Scores("l1", "sum", {}, groups), channels, Budget(pruning_ratio=0.5))
    bad = Scores("l1", "sum", {}, {"a": np.array([1, 2, np.nan, 3]), "b": np.ones(2)})
    with pytest.raises(PlanError, match="NaN"):
        select(bad, channels, Budget(pruning_ratio=0.5))


@pytest.mark.parametrize(
    ("asked", "whole", "value"),
    [
        ("50%", 641, 320),
        ("1.5M", 0, 1_500_000),
        ("128k", 0, 128_000),
        ("2G", 0, 2 * 10**9),
        (7, 0, 7),
        ("7", 0, 7),
        (" 30 % ", 10, 3),
        ("100%", 9, 9),
        ("128Ki", 0, 131_072),
        ("1.5 Mi", 0, 1_572_864),
        ("1Gi", 0, 2**30),
        (np.int64(7), 0, 7),
    ],
)
def test_an_amount_is_read_in_the_users_words(asked: Any, whole: int, value: int) -> None:
    assert amount(asked, whole) == value


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "fast",
        "-5",
        "5m",
        "1e6",
        "101%",
        "0",
        "0%",
        0,
        -3,
        "50 %%",
        "1ki",
        "1K",
        0.5,
        True,
        None,
    ],
)
def test_a_bad_amount_is_refused(asked: Any) -> None:
    with pytest.raises(BudgetError):
        amount(asked, 100)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"min_channels": 4},
        {"pruning_ratio": True},
        {"params": "128 kB"},
        {"bytes": "128k@int7"},
        {"bytes": "128k@"},
        {"bytes": "@int8"},
        {"macs": "0.5"},
        {"pruning_ratio": 0.5, "max_ratio": 0},
        {"pruning_ratio": 0.5, "max_ratio": 1.5},
        {"pruning_ratio": 0.5, "round_to": 0},
        {"pruning_ratio": 0.5, "round_to": "8"},
        {"pruning_ratio": 0.5, "ignore": (3,)},
        {"ratios": {"a": 1}},
        {"ratios": {"a": -0.5}},
        {"ratios": {"": 0.5}},
        {"ratios": ("a", 0.5)},
        {"ratios": {"a": 0.6}, "max_ratio": 0.5},
        {"pruning_ratio": 1.0},
        {"pruning_ratio": -0.1},
        {"pruning_ratio": float("nan")},
        {"pruning_ratio": "half"},
        {"pruning_ratio": 50},
        {"macs": "much"},
        {"macs": 0.5},
        {"pruning_ratio": 0.5, "min_channels": 0},
        {"pruning_ratio": 0.5, "min_channels": 1.5},
        {"pruning_ratio": 0.5, "ignore": "conv1"},
    ],
)
def test_a_bad_budget_is_refused_at_once(words: dict[str, Any]) -> None:
    with pytest.raises(BudgetError):
        Budget(**words)


@pytest.fixture
def plan(channels: ChannelMap, scores: Scores) -> PruningPlan:
    return global_(scores, channels, Budget(macs="50%"))


def test_a_plan_survives_json(plan: PruningPlan) -> None:
    assert PruningPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "other/1"}', "{nonsense"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="not a pruning plan"):
        PruningPlan.from_json(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "0" * 64}, "made for network 000000000000"),
        ({"remove": {"z": (0,)}}, "no channel group 'z'"),
        ({"remove": {"a": (4,)}}, "channels 0 to 3"),
        ({"remove": {"a": (-1,)}}, "channels 0 to 3"),
        ({"remove": {"a": (1, 1)}}, "each once"),
        ({"remove": {"a": (2, 1)}}, "each once"),
        ({"remove": {"a": ("1",)}}, "channels 0 to 3"),
        ({"remove": {"b": (0, 1)}}, "would empty group 'b'"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    change: dict[str, Any], message: str, plan: PruningPlan, channels: ChannelMap
) -> None:
    plan.check(channels)
    with pytest.raises(PlanError, match=message):
        replace(plan, **change).check(channels)


def test_the_channel_map_survives_json(channels: ChannelMap) -> None:
    again = ChannelMap.from_json(channels.to_json())
    assert again.to_json() == channels.to_json()
    assert again.layers == channels.layers and again.pinned == channels.pinned
    assert cost(again) == cost(channels)


def test_what_a_rule_held_is_said_in_words(channels: ChannelMap, scores: Scores) -> None:
    most = Budget(pruning_ratio=0.9)
    assert uniform(scores, channels, most).limited == {
        "a": "3 of 4 channels go, not 4: min_channels is 1",
        "b": "1 of 2 channels go, not 2: min_channels is 1",
    }
    most = uniform(scores, channels, Budget(pruning_ratio=0.4, max_ratio=0.4))
    assert most.limited["a"] == "1 of 4 channels go, not 2: max_ratio is 0.4"
    with pytest.raises(BudgetError, match=r"pruning_ratio 0.75 is above max_ratio 0.5"):
        Budget(pruning_ratio=0.75, max_ratio=0.5)
    with pytest.raises(BudgetError, match="latency_ms needs a latency_table"):
        Budget(latency_ms=5, latency_table="latency.json")  # type: ignore[arg-type]
    fours = uniform(scores, channels, Budget(pruning_ratio=0.5, round_to=3))
    assert fours.remove == {"a": (1,)}
    assert fours.limited == {
        "a": "1 of 4 channels go, not 2: round_to is 3",
        "b": "left alone: fewer channels than round_to 3",
    }
    without = uniform(scores, channels, Budget(pruning_ratio=0.5, ignore=("[a]",)))
    assert without.limited == {"a": "left alone: ignore has '[a]'"}
    assert uniform(scores, channels, Budget(pruning_ratio=0.5)).limited == {}


@pytest.mark.parametrize("select", [uniform, global_, isomorphic])
def test_a_ratio_of_its_own_overrides(select: Any, channels: ChannelMap, scores: Scores) -> None:
    plan = select(scores, channels, Budget(pruning_ratio=0, ratios={"a": 0.5}))
    assert plan.remove == {"a": (1, 3)}
    assert plan.asked == {"pruning_ratio": 0, "ratio of a": 0.5}
    assert plan.reached["ratio of a"] == 0.5
    plan = select(scores, channels, Budget(ratios={"*": 0.5, "a": 0.25}))
    assert plan.remove == {"a": (1,), "b": (1,)}
    # the layer whose filters b holds has the same name; c holds none
    with pytest.raises(BudgetError, match="'c' has no channels that can go"):
        select(scores, channels, Budget(ratios={"c": 0.5}))
    # 10 * (2 + 2 * 1 + 1): a is fixed at 2, and b gives what is missing
    plan = select(scores, channels, Budget(macs=70, ratios={"a": 0.5}))
    assert plan.remove == {"a": (1, 3), "b": (1,)}
    with pytest.raises(BudgetError, match=r"nearest reachable is 50 of 140 .*drop some of ratios"):
        select(scores, channels, Budget(macs=40, ratios={"a": 0.5}))


def test_a_refusal_says_what_stands_in_the_way(channels: ChannelMap, scores: Scores) -> None:
    with pytest.raises(BudgetError, match=r"To meet it, lower min_channels \(it is 2\)$"):
        uniform(scores, channels, Budget(macs=40, min_channels=2))
    with pytest.raises(BudgetError, match=r"Ask for that, or start from a smaller network$"):
        uniform(scores, channels, Budget(macs=29, min_channels=2))
    together = r"lower min_channels \(it is 2\) and ignore fewer groups \(1 given\) together"
    with pytest.raises(BudgetError, match=together):
        uniform(scores, channels, Budget(macs=30, min_channels=2, ignore=("b",)))
    with pytest.raises(BudgetError, match=r"4 parameters cannot.* of 14 .*; 30 MACs cannot"):
        uniform(scores, channels, Budget(params=4, macs=30, min_channels=2))


def test_whether_a_budget_can_be_met_needs_no_scores(channels: ChannelMap) -> None:
    rows = reach(channels, Budget(macs="10%", bytes="8kB@int8"))
    assert [(row.name, row.at_most, row.whole, row.least, row.met) for row in rows] == [
        ("macs", 14, 140, 30, False),
        ("bytes_int8", 8000, 14, 3, True),
    ]
    assert str(rows[1]) == "8000 bytes at int8 are met already, by 14"
    (row,) = reach(channels, Budget(macs="50%"))
    assert str(row) == "70 MACs of 140 can be met; the least would be 30"


def test_a_manual_plan(channels: ChannelMap) -> None:
    plan = manual(channels, {"a": [2, 0], "b": []})
    assert plan.remove == {"a": (0, 2)}
    assert plan.after == cost(channels, {"a": (0, 2)})
    assert plan.reached["macs"] == plan.after.macs and plan.asked == {}
    with pytest.raises(PlanError, match="would empty group 'b'"):
        manual(channels, {"b": [0, 1]})
    with pytest.raises(PlanError, match="no channel group 'z'"):
        manual(channels, {"z": [0]})


def test_an_unknown_normalisation_is_refused(channels: ChannelMap, scores: Scores) -> None:
    with pytest.raises(PlanError, match=r"no normalisation 'men'; .* did you mean 'mean'\?"):
        global_(scores, channels, Budget(macs="50%"), "men")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"macs": "22"}, "the nearest reachable is 30 of 140 .*; did you mean '22%'"),
        ({"macs": 25}, "25 MACs cannot be met; .*did you mean '25%'"),
        ({"params": "2"}, r"2 parameters cannot be met; .* start from a smaller network$"),  # 0.28
        ({"bytes": "1@int8"}, r"1 bytes at int8 cannot be met; .* smaller network$"),
        ({"macs": "0.5"}, r"^0\.5 is less than one; did you mean '50%'\?"),
        ({"params": 0.25}, r"^0\.25 is less than one; did you mean '25%'\?"),
        ({"bytes": "0.5@int8"}, r"^0\.5 is less than one; did you mean '50%'\?"),
    ],
)
def test_a_forgotten_unit_is_asked_about_where_it_would_be_met(
    channels: ChannelMap, scores: Scores, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(BudgetError, match=says):
        uniform(scores, channels, Budget(**asked))


def test_a_small_number_that_can_be_met_is_taken_at_its_word(
    channels: ChannelMap, scores: Scores
) -> None:
    plan = uniform(scores, channels, Budget(macs="70"))
    assert plan.asked == {"macs": 70} and plan.after.macs <= 70
