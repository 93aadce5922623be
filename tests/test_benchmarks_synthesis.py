"""The table of networks on generated scenes: means, ranges and verdicts, checked on paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import synthesis


def row(seed: int, dense: float, cut: float, unheard: float) -> dict[str, Any]:
    """A row of the VGG on `normal`: accuracies as shares."""
    groups = {"a": 0.9, "b, c": 0.85, "s1–s3": 0.8, "s4–s6": unheard, "segments": 0.95}
    cuts = {str(ratio): {"re-estimated": 0.2, "all": cut, **groups} for ratio in synthesis.RATIOS}
    found = {"preset": "normal", "network": "vgg", "seed": seed, "params": 72666}
    return found | {"dense": {"all": dense, **groups}, "cuts": cuts, "leak": 0.97 + seed / 100}


def cells(text: str, after: str) -> list[list[str]]:
    """The rows of the tables, by their cells, below a heading."""
    lines = text.partition(after)[2].splitlines()
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]


def test_means_and_ranges_over_seeds() -> None:
    text = synthesis.section([row(0, 0.8, 0.7, 0.6), row(1, 0.7, 0.68, 0.7)])
    assert "Means over 2 seeds" in text
    _, _, first, _, _, second, _, _, verdict = cells(text, "### `normal`")
    assert first[:3] == ["vgg", "72,666", "75.0 (70.0–80.0)"] and first[3:] == [
        *("90.0", "85.0", "80.0", "65.0", "95.0"),
    ]
    assert second == ["vgg", "75.0", *["20.0, then 69.0 (68.0–70.0)"] * 4]
    assert verdict[1:] == [
        "75.0 (70.0–80.0): within 60 to 95",
        "6.0 (2.0–10.0): yes",
        "25.0 (20.0–30.0): yes",
    ]
    assert "the VGG reaches 97.5 (97.0–98.0) %" in text


def test_what_is_not_met_is_said() -> None:
    text = synthesis.section([row(0, 0.5, 0.55, 0.95)])
    assert text.count("One seed") == 1
    assert cells(text, "### `normal`")[-1][1:] == [
        "50.0: not within 60 to 95",
        "-5.0: no",
        "-5.0: no",
    ]
    assert "in 1 of 2" in synthesis.section([row(0, 0.5, 0.55, 0.95), row(1, 0.6, 0.55, 0.8)])
