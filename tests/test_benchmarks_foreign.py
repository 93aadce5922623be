"""The benchmark on foreign networks: what it says of rows, and how it judges a cut."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import foreign
import foreign_page
import zoo_road


def cut(error: float = 1e-15, loaded: float | str = 0.0, **more: Any) -> dict[str, Any]:
    found = {"verdict": "exact", "share": 0.49, "error": error, "loaded": loaded, "trains": True}
    return {**found, "held_back": {}, **more}


def row(
    name: str, ours: dict[str, Any], theirs: dict[str, Any], times: dict[str, Any]
) -> dict[str, Any]:
    about = {"name": name, "package": "p", "version": "1", "commit": "c", "timed": "d"}
    return {
        **about,
        "ours": ours,
        "theirs": theirs,
        "kirigami": {"verdict": "failed", "failure": "CaptureError: no"},
        "times-of": times,
    }


ROWS = [
    row(
        "one",
        {"params": 2000, "groups": 3, "prunable_kept": 1.0}
        | {"uniform": cut(), "global": cut(loaded="RuntimeError: no")},
        {"verdict": "differs", "error": 0.5},
        {"small": {"ours": 0.01, "theirs": 0.04}, "published": {"ours": 0.1, "theirs": 0.8}},
    ),
    row(
        "two",
        {"params": 1000, "groups": 1, "prunable_kept": 0.5}
        | {"uniform": cut(error=0.1), "global": {"refused": "50 MACs | cannot"}},
        {"verdict": "exact", "error": 0.0},
        {"small": {"ours": 0.02, "theirs": 0.01}},
    ),
    row(
        "three",
        {"failure": "TraceError: x"},
        {"failure": "boom"},
        {"small": {"ours": "TraceError: x", "theirs": "boom"}},
    ),
]


def test_the_page_counts_what_is_wrong_and_what_does_not_load() -> None:
    text = foreign_page.page(ROWS, 4)
    assert "3 of 4 networks were run. Cut and verified: 2 (67%); wrong: 1; of 3 cuts 2" in text
    assert "(2): 1.41 times as fast in the geometric mean, 1 slower, worst two (0.50)" in text
    assert "(1): 8.00 times as fast in the geometric mean, 0 slower, worst one (8.00)" in text
    assert "median 75.0%, mean 75.0%" in text
    assert "torch-pruning's cut: 1 differs, 1 exact, 1 failed" in text
    assert "torch-kirigami's cut: 3 failed" in text
    assert "By commit: 3 c; timed: 3 d." in text
    assert "50 MACs / cannot" in text  # a bar would end a cell
    assert "| one | 10 | 40 | 4.00 | 100 | 800 | 8.00 | differs, 5e-01 |" in text
    assert (
        "| three | failed | failed |  |  |  |  | failed: boom | failed: CaptureError: no |" in text
    )


def test_both_sides_are_timed_by_turns() -> None:
    pytest.importorskip("torch_pruning")
    found = foreign.race(small(), torch.randn(1, 3, 8, 8))
    assert found.keys() == {"ours", "theirs"}
    assert all(isinstance(t, float) and t > 0 for t in found.values())


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


def test_a_right_cut_is_exact_and_another_differs() -> None:
    model, x = foreign.distinct(small()), torch.randn(1, 3, 8, 8).double()
    right = sc.prune(model, x, ratio=0.5).network
    assert foreign.judged(right, model, x)["verdict"] == "exact"
    wrong = copy.deepcopy(right)
    with torch.no_grad():
        wrong[2].weight.copy_(wrong[2].weight.flip(1))
    assert foreign.judged(wrong, model, x)["verdict"] == "differs"
    assert foreign.judged(copy.deepcopy(model), model, x)["verdict"] == "unchanged"


def test_the_layers_of_the_outputs_are_found() -> None:
    model = small().double()
    assert foreign.last_layers(model, torch.randn(1, 3, 8, 8).double()) == [model[2]]


def test_a_step_of_training_moves_a_weight() -> None:
    assert foreign.trains(small(), torch.randn(2, 3, 8, 8)) is True


@pytest.mark.parametrize("way", ["global", "steps"])
def test_a_budget_is_told_in_steps_of_a_channel(way: str) -> None:
    model, x = small(), torch.randn(1, 3, 8, 8)
    pruned, found = zoo_road.pruned_by(way, model, x, sc.trace(model, x))
    assert found["told"] and 0 <= found["steps_left"] <= 1 and found["share"] <= 0.5
    assert zoo_road.largest_step(pruned) == 36 * (27 + 4)  # places times what one channel costs
