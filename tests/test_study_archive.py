"""Rows in one file: whole, the same bytes again, taken over by whole units."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.errors import StudyError
from secateur.study.archive import pack, unpack
from secateur.study.cells import Cell, Unit, units
from secateur.study.execute import execute
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.store import Store

RECIPE = {
    "name": "packed",
    "data": {"kind": "synthetic"},
    "networks": [{"kind": "vgg", "width": 8}],
    "sparsity": {"total_shrink": [0]},
    "pruning": {"criteria": ["l1", "random"], "scopes": ["uniform"], "ratios": [0.5]},
    "seeds": 3,
}


def row_of(cell: Cell, unit: Unit) -> dict[str, Any]:
    """A whole row of a base network or a cut, with nested values."""
    base = {
        "id": cell.id,
        "kind": cell.content()["kind"],
        "network": unit.base.network.name,
        "strength": unit.base.total_shrink,
        **{"seed": unit.base.seed, "fold": unit.base.fold, "accuracy": 0.1},
        **{"params": 100, "macs": 1000, "channels": 8, "seconds": {"train": 1 / 3}},
    }
    if cell == unit.base:
        more = {"skewness": [], "similarity": [], "inactive": 0.0}
        return base | more | {"epochs": [{"epoch": 0, "loss": 1 / 3}]}
    ratios = {"ratio_asked": 0.5, "ratio_reached": 0.5, "accuracy_cut": 0.1}
    return base | ratios | {"base": unit.base.id, "criterion": "l1", "scope": "uniform"}


def write_rows(unit: Unit, folder: Path, recipe: Recipe) -> None:
    """Rows with nested values, for what a unit lacks."""
    store = Store(folder)
    for cell in unit.cells:
        store.write(cell.id, row_of(cell, unit))


def opened(folder: Path) -> Store:
    store = Store(folder)
    store.open(recipe_from(RECIPE))
    return store


@pytest.fixture
def half_done(tmp_path: Path) -> Store:
    """Two whole units, and one that a kill stopped after its base network."""
    store = opened(tmp_path / "there")
    work = units(store.recipe())
    for unit in work[:2]:
        write_rows(unit, store.folder, store.recipe())
    store.write(work[2].base.id, row_of(work[2].base, work[2]))
    return store


def test_whole_units_are_taken_over_and_the_rest_is_done(half_done: Store, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.xz"
    assert pack(half_done, file) == 7
    here = opened(tmp_path / "here")
    work = units(here.recipe())
    assert unpack(file, here, here.recipe()) == (6, 1)
    assert [here.row(c.id) for u in work[:2] for c in u.cells] == [
        half_done.row(c.id) for u in work[:2] for c in u.cells
    ]
    assert not here.has(work[2].base.id), "its network is not in the file"
    outcome = execute(work, here, write_rows, workers=0)
    assert (outcome.done, outcome.skipped, outcome.failed) == (3, 6, 0)


def test_the_same_rows_make_the_same_bytes(half_done: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl.xz", tmp_path / "b.jsonl.xz"
    pack(half_done, first)
    again = opened(tmp_path / "again")
    for row in reversed(half_done.rows()):
        again.write(row["id"], dict(reversed(row.items())))
    pack(again, second)
    assert first.read_bytes() == second.read_bytes()
    lines = lzma.decompress(first.read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == list(half_done.rows())


def test_rows_that_stand_stay_and_foreign_ones_are_left(half_done: Store, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.xz"
    pack(half_done, file)
    here = opened(tmp_path / "here")
    own = units(here.recipe())[0].base.id
    here.write(own, {"id": own, "accuracy": 0.9})
    unpack(file, here, here.recipe())
    assert here.row(own)["accuracy"] == 0.9
    other = Store(tmp_path / "other")
    other.open(recipe_from(RECIPE | {"training": {"epochs": 3}}))
    assert unpack(file, other, other.recipe()) == (0, 7)


def test_what_is_no_pack_is_named(tmp_path: Path) -> None:
    store = opened(tmp_path / "empty")
    with pytest.raises(StudyError, match="has no rows yet"):
        pack(store, tmp_path / "rows.jsonl.xz")
    whole = lzma.compress(b"{}\n")
    for content in (b"no", whole[:-3], whole + b"x", whole + whole, lzma.compress(b"[1]\n"), whole):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(StudyError, match="bad holds no packed rows"):
            unpack(tmp_path / "bad", store, store.recipe())
    with pytest.raises(StudyError, match="missing holds no packed rows"):
        unpack(tmp_path / "missing", store, store.recipe())


def secateur(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "secateur.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_from_the_command_line(half_done: Store, tmp_path: Path) -> None:
    file, recipe, out = tmp_path / "rows.jsonl.xz", tmp_path / "recipe.json", tmp_path / "here"
    recipe.write_text(json.dumps(RECIPE))
    assert secateur("study", "pack", half_done.folder, file).stdout == f"7 rows written: {file}\n"
    done = secateur("study", "unpack", file, recipe, "-o", out)
    assert done.stdout == f"6 of 9 rows taken over, 1 left: {out}\n"
    assert "units that are not whole in the file" in done.stderr
    again = secateur("study", "unpack", file, recipe, "-o", out, "--json")
    assert json.loads(again.stdout) == {"rows": 6, "left": 1, "cells": 9, "out": str(out)}
    assert len(Store(out).rows()) == 6
    fewer = secateur("study", "unpack", file, recipe, "-o", tmp_path / "two", "--set", "seeds=2")
    assert fewer.stdout == f"6 of 6 rows taken over, 1 left: {tmp_path / 'two'}\n"
    wrong = secateur("study", "pack", tmp_path / "none", file)
    assert wrong.returncode == 2 and "holds no study" in wrong.stderr


def packed(*rows: dict[str, Any] | bytes) -> bytes:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return lzma.compress(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accuracy": 1.5}, "its accuracy is 1.5: input should be less than or equal to 1"),
        ({"accuracy": "0.5"}, "its accuracy is '0.5': input should be a valid number"),
        ({"accuracy": float("nan")}, "its accuracy is nan"),
        ({"seconds": {"train": -1}}, r"its seconds.train is -1: input should be greater"),
        ({"params": 10**30}, "its params is 1000"),
        ({"params": True}, "its params is True"),
        ({"epochs": [{"loss": 1}]}, r"its epochs.0.epoch is {'loss': 1}: field required"),
        ({"kind": "pruned"}, "it lacks base, criterion"),
        ({"skewness": None}, "its skewness is None"),
    ],
)
def test_a_row_of_other_types_is_refused_and_nothing_is_left(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    file, recipe = tmp_path / "rows.jsonl.xz", recipe_from(RECIPE)
    unit = units(recipe)[0]
    file.write_bytes(packed(row_of(unit.base, unit) | change))
    store = Store(tmp_path / "out")
    with pytest.raises(StudyError, match=f"line 1, row {unit.base.id}: {said}"):
        unpack(file, store, recipe)
    assert not store.folder.exists()


def test_a_row_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file, recipe = tmp_path / "rows.jsonl.xz", recipe_from(RECIPE)
    unit = units(recipe)[0]
    row = row_of(unit.base, unit)
    file.write_bytes(packed(row, row))
    with pytest.raises(StudyError, match=r"line 2, .* it is there twice"):
        unpack(file, Store(tmp_path / "out"), recipe)


def test_a_small_file_of_gigabytes_costs_megabytes(tmp_path: Path) -> None:
    """158 kB of zeros would be a gigabyte: it is read as a stream and refused."""
    file, recipe = tmp_path / "rows.jsonl.xz", tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    compressor = lzma.LZMACompressor(preset=0)
    block = b'{"id": "' + b"x" * 1000 + b'"}\n'
    with file.open("wb") as bomb:
        for _ in range(300):
            bomb.write(compressor.compress(block * 1000))
        bomb.write(compressor.flush())
    code = (
        "import re, sys\n"
        "from secateur.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "status = open('/proc/self/status').read()\n"
        "print(code, int(re.search(r'VmHWM:\\s*(\\d+)', status)[1]) // 1024)"
    )
    out = tmp_path / "out"
    arguments = ["study", "unpack", str(file), str(recipe), "-o", str(out)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    exit_code, megabytes = map(int, done.stdout.split())
    assert exit_code == 2 and "more than 268,435,456 bytes" in done.stderr
    assert megabytes < 300
    assert not out.exists()
