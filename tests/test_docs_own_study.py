"""A newcomer's walk of docs/own-study.md, step by step as it is printed, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from doc_pages import ROOT, blocks, commands, python, secateur
from recordings import TONES, write_recordings
from secateur.study.cells import units
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.store import Store

PAGE = "docs/own-study.md"


@pytest.mark.slow
def test_the_walk_ends_with_a_report(tmp_path: Path) -> None:
    network, reading = blocks(PAGE, "python")
    init, look, study, status = commands(PAGE)
    name = re.match(r"# (\w+\.py)\n", network)
    assert name is not None
    (tmp_path / name[1]).write_text(network)
    write_recordings(tmp_path / "recordings")
    assert all(f"recordings/{tone}/" in blocks(PAGE, "")[0] for tone in TONES)

    assert "30 recordings of 3 classes: bus 10, park 10, tram 10" in secateur(init, tmp_path)
    assert "19 cells done" in secateur(look, tmp_path)
    assert "171 cells done, 0 were there, 0 failed" in secateur(study, tmp_path)
    assert "0 cells done, 171 were there, 0 failed" in secateur(study, tmp_path)
    assert re.search(r"^my_net +171 +0 +0$", secateur(status, tmp_path), flags=re.M)

    store = Store(tmp_path / "out" / "study")
    rows = store.rows()
    bases = [row for row in rows if row["kind"] == "base"]
    assert {row["network"] for row in rows} == {"my_net"}
    assert (len(bases), len(rows)) == (9, 171)
    dense = [row["accuracy"] for row in bases if row["strength"] == 0]
    assert sum(dense) / len(dense) > 0.6, "three tones in noise are told apart"
    assert all(row["n_classes"] == len(TONES) for row in bases)
    page = (store.folder / "report.html").read_text()
    assert "my_net" in page and "Traceback" not in page
    printed = python(reading, tmp_path).splitlines()
    assert len(printed) == 3 * 2 * 3
    assert all(line.endswith("over 9 networks") for line in printed)


def test_several_networks_stand_in_a_recipe_as_printed() -> None:
    (text,) = re.findall(r"^  ```yaml\n(.*?)^  ```$", (ROOT / PAGE).read_text(), flags=re.S | re.M)
    rest = {
        "name": "page",
        "data": {"kind": "synthetic"},
        "sparsity": {"total_shrink": [0]},
        "pruning": {"criteria": ["l1"], "ratios": [0.5]},
        "seeds": 1,
    }
    recipe: Recipe = recipe_from(rest | yaml.safe_load(text))
    assert [unit.base.network.name for unit in units(recipe)] == ["narrow", "wide", "vgg"]


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / PAGE).read_text())
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
