"""Whatever comes in at a border, what comes out is an answer or an error of our own family."""

from __future__ import annotations

from pathlib import Path

import pytest

import fuzz_scenes  # noqa: F401  (each of the three fills the table)
import fuzz_study  # noqa: F401
import fuzz_values  # noqa: F401
from fuzz import BORDERS, outcomes

SHORT = 15
"""Inputs of each border with every run of the tests; together some hundreds."""

LONG = 200
"""Of each border by `make nightly`; together thousands."""


@pytest.mark.parametrize("name", BORDERS)
def test_a_few_inputs_end_in_an_answer_or_an_own_error(name: str, tmp_path: Path) -> None:
    assert outcomes(name, tmp_path, SHORT) == []


@pytest.mark.nightly
@pytest.mark.parametrize("name", BORDERS)
def test_many_inputs_end_in_an_answer_or_an_own_error(name: str, tmp_path: Path) -> None:
    assert outcomes(name, tmp_path, LONG, seed=1) == []
