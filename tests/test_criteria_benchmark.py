"""The parts of `benchmarks/criteria.py` that can be wrong without anyone noticing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from criteria import best, over_layers


def test_tasks_take_turns_after_a_first_round() -> None:
    ran: list[str] = []
    found = best(2, a=lambda: ran.append("a"), b=lambda: ran.append("b"))
    assert ran == ["a", "b"] * 3
    assert set(found) == {"a", "b"} and all(0 <= seconds < 1 for seconds in found.values())


def test_layers_in_which_one_criterion_is_constant_are_left_out() -> None:
    rising, falling, same = np.arange(4.0), -np.arange(4.0), np.ones(4)
    one = {"first": rising, "second": rising, "third": same, "fourth": rising}
    other = {"first": rising**3, "second": falling, "third": rising, "fourth": same}
    assert over_layers(one, other) == pytest.approx([1, -1])
    assert over_layers(one, {"second": rising}) == pytest.approx([1])
