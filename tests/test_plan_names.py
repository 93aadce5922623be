"""A group is known by the name of every layer in it: to ignore it, to give it a ratio, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.channels.groups import ChannelMap
from secateur.errors import BudgetError, PlanError

X = torch.zeros(1, 3, 8, 8)


class Joined(nn.Module):
    """Two branches that are added (one group, `a.0`), a convolution, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.b = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.c = nn.Sequential(nn.Conv2d(8, 12, 3))
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c((self.a(x) + self.b(x)).relu()).relu()
        return self.fc(x.mean((2, 3)))


class Shared(nn.Module):
    """One convolution that is called by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.again = self.first
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(x))


@pytest.fixture(scope="module")
def channels() -> ChannelMap:
    found = sc.trace(Joined(), X)
    assert [group.name for group in found.groups] == ["a.0", "c.0"]
    return found


@pytest.mark.parametrize(
    ("ignore", "whole", "why"),
    [
        ("a.0", "a.0", "left alone: ignore has 'a.0'"),
        ("b.0", "a.0", "left alone: ignore has 'b.0'"),
        ("b.*", "a.0", "left alone: ignore has 'b.*'"),
        ("b.1", "a.0", "left alone: ignore has 'b.1', and 'b.1' is part of it"),
        ("fc", "c.0", "left alone: ignore has 'fc', and 'fc' reads it"),
        ("f?", "c.0", "left alone: ignore has 'f?', and 'fc' reads it"),
        ("c.0", "c.0", "left alone: ignore has 'c.0'"),  # it reads a.0 too, and gives c.0
    ],
)
def test_ignoring_a_layer_leaves_its_group_whole_and_says_so(
    ignore: str, whole: str, why: str
) -> None:
    pruned = sc.prune(Joined(), X, ratio=0.5, ignore=(ignore,))
    assert set(pruned.plan.remove) == {"a.0", "c.0"} - {whole}
    assert pruned.plan.limited == {whole: why}
    assert f"{whole}: {why}" in str(pruned)


def test_ignoring_the_reader_leaves_its_weight_as_it_is() -> None:
    model = Joined()
    pruned = sc.prune(model, X, ratio=0.5, ignore=("fc",))
    assert torch.equal(pruned.network.fc.weight, model.fc.weight)


def test_a_layer_in_no_group_is_left_whole_anyway() -> None:
    class Beside(Joined):
        def __init__(self) -> None:
            super().__init__()
            self.side = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x), self.side(x)

    pruned = sc.prune(Beside(), X, ratio=0.5, ignore=("side",))
    assert set(pruned.plan.remove) == {"a.0", "c.0"} and pruned.plan.limited == {}


def test_every_name_of_a_shared_layer_counts() -> None:
    pruned = sc.prune(Shared(), X, params="99%", ignore=()).plan
    assert pruned.remove
    with pytest.raises(BudgetError, match="ignore names all"):
        sc.prune(Shared(), X, ratio=0.5, ignore=("again",))


def test_a_ratio_goes_by_the_layers_of_a_group_and_not_by_readers(channels: ChannelMap) -> None:
    pruned = sc.prune(Joined(), X, ratios={"b.1": 0.5})
    assert {name: len(gone) for name, gone in pruned.plan.remove.items()} == {"a.0": 4}
    with pytest.raises(BudgetError, match="'fc' has no channels that can go, so it has no ratio"):
        sc.prune(Joined(), X, ratios={"fc": 0.5})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("b.0", "no channel group 'b.0'; the channels of 'b.0' are in group 'a.0': name that"),
        ("a.1", "no channel group 'a.1'; the channels of 'a.1' are in group 'a.0': name that"),
        ("fc", "no channels that 'fc' gives can go, and it reads group 'c.0': name that"),
        ("d.0", "no channel group 'd.0'; there are a.0, c.0; did you mean"),
    ],
)
def test_a_manual_plan_names_the_group_of_a_layer(
    channels: ChannelMap, name: str, says: str
) -> None:
    with pytest.raises(PlanError) as caught:
        sc.manual(channels, {name: [0]})
    assert says in str(caught.value)


def test_a_manual_plan_says_that_it_is_one(channels: ChannelMap) -> None:
    assert sc.manual(channels, {"a.0": [0]}).how == "manual"


def test_what_holds_layers_asks_for_a_pattern() -> None:
    with pytest.raises(BudgetError, match=r"no channel group 'b'; .*write 'b\.\*' for all"):
        sc.prune(Joined(), X, ratio=0.5, ignore=("b",))
