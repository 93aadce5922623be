"""The tables of docs/papers.md: their words, their verdicts, and what happens without data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from real_networks import DATA

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "papers"))

from claims import verdict
from pages import bounds, table
from tables import TABLES

ROOT = Path(__file__).parents[1]


def run(page: Path, *names: str, data: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    if data:
        env["SECATEUR_DATA"] = data
    script = ROOT / "benchmarks" / "papers" / "tables.py"
    command = [sys.executable, str(script), *names, "--page", str(page)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_tables_and_verdicts_on_paper() -> None:
    assert table(["a", "b"], [[1, 0.25], ["x", None]]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 | 0.250 |",
        "| x | - |",
    ]
    assert bounds(0.5, 0.4, 0.6) == "0.500 (0.400–0.600)"
    assert bounds(None, None, None) == "-"
    assert verdict(["holds", "holds"]) == "**holds**"
    assert verdict(["near", "holds"]).startswith("**nearly**")
    assert verdict(["fails", "holds"]) == "**not universal**: fails on 1 of 2"
    assert verdict(["fails", "fails"]) == "**fails**"


def test_without_data_a_table_is_skipped_in_words(tmp_path: Path) -> None:
    page = tmp_path / "papers.md"
    done = run(page, "similarity", "skewness", data=str(tmp_path / "nowhere"))
    assert done.returncode == 0
    assert "similarity: skipped, no trained networks in" in done.stderr
    assert "<!-- begin" not in page.read_text()


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path / "papers.md", "similarities")
    assert done.returncode == 2 and "there are claims, gaussian" in done.stderr


@pytest.mark.nightly
@pytest.mark.skipif(not (DATA / "weights").is_dir(), reason=f"no trained networks in {DATA}")
def test_every_table_but_the_timing_comes_out(tmp_path: Path) -> None:
    page = tmp_path / "papers.md"
    names = [name for name in TABLES if name != "timing"]
    done = run(page, *names)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("<!-- begin papers") == len(names)
    for line in text.splitlines():
        assert "nan" not in line.lower().split()
    widths = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert min(widths) >= 1
