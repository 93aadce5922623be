"""Borders of studies: recipes, what is set by hand, rows, packed rows, events."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

import full_rows
import simulated_rows
from fuzz import Reader, border, packed
from secateur.report.findings import find
from secateur.report.page import render
from secateur.study.archive import unpack
from secateur.study.cells import Unit, units
from secateur.study.recipe import Recipe, read_recipe, recipe_from
from secateur.study.store import Store

RECIPE = {
    "name": "fuzzed",
    "description": "words",
    "data": {"kind": "folder", "root": "clips", "location": "-(\\w+)-", "seed": 3},
    "features": {"rate": 16000, "n_mels": 64, "seconds": 1.5},
    "networks": [
        {"kind": "vgg", "width": 8},
        {"kind": "own", "name": "mine", "factory": "net:build", "arguments": {"a": [1, {"b": 2}]}},
    ],
    "sparsity": {"penalty": "bn_l1", "total_shrink": [0, 0.8]},
    "augmentations": ["time_roll", {"kind": "mixup", "alpha": 0.2}],
    "pruning": {"criteria": ["l1", "chip"], "ratios": [0.3, 0.5], "repair": ["none", "bias"]},
    "fine_tuning": {"epochs": 1, "distil": {"temperature": 2.0}},
    "deployment": {"calibration": 16},
    "runs": [{"fold": 1, "seed": 1}, {"fold": 2, "seed": 7}],
    "left_out": ["words"],
}


def _read_as(file: Path) -> Reader:
    def read(content: bytes) -> Recipe:
        file.write_bytes(content)
        recipe = read_recipe(file)
        units(recipe)
        return recipe

    return read


@border
def recipe_json(folder: Path) -> tuple[bytes, Reader]:
    return json.dumps(RECIPE).encode(), _read_as(folder / "recipe.json")


@border
def recipe_yaml(folder: Path) -> tuple[bytes, Reader]:
    text = json.dumps(RECIPE).replace('"fuzzed"', "&v fuzzed").replace('"clips"', "*v")
    return text.encode(), _read_as(folder / "recipe.yaml")


@border
def include(folder: Path) -> tuple[bytes, Reader]:
    (folder / "a.json").write_text(json.dumps(RECIPE))
    (folder / "b.yaml").write_text("include: [a.json, a.json]\nseeds: 2\nruns: null\n")
    names = {"include": ["a.json", "b.yaml", "./b.yaml"], "name": "top"}
    return json.dumps(names).encode(), _read_as(folder / "top.json")


@border
def set_by_hand(folder: Path) -> tuple[bytes, Reader]:
    (folder / "recipe.json").write_text(json.dumps(RECIPE))

    def read(content: bytes) -> Recipe:
        changes = content.decode(errors="surrogateescape").split("\n")
        return read_recipe(folder / "recipe.json", changes)

    good = "runs=\nseeds=2\nnetworks.0.width=16\npruning.ratios=[0.1, 0.2]\nname=2020-01-02x"
    return good.replace("runs=\n", "runs=null\n").encode(), read


def _units() -> tuple[Recipe, Unit]:
    recipe = recipe_from(
        simulated_rows.recipe()
        | {"networks": [{"kind": "vgg", "width": 16}], "seeds": 1}
        | {"sparsity": {"total_shrink": [0]}}
        | {"pruning": {"criteria": ["l1", "random"], "scopes": ["uniform"], "ratios": [0.3, 0.5]}}
    )
    return recipe, units(recipe)[0]


def _rows(unit: Unit) -> list[dict[str, object]]:
    """Whole rows of a unit."""
    found = full_rows.full(
        ("vgg",), strengths=(0.0,), criteria=("l1", "random"), scopes=("uniform",),
        ratios=(0.3, 0.5), seeds=(1,),
    )  # fmt: skip
    found = [row for row in found if row["kind"] in ("base", "pruned")]
    ids = [cell.id for cell in unit.cells]
    for row, id in zip(found, ids, strict=True):
        row |= {"id": id} if row["kind"] == "base" else {"id": id, "base": ids[0]}
    return json.loads(json.dumps(found))


def _reported(recipe: Recipe, store: Store, content: bytes) -> object:
    """What a report says; of every 40th, as to draw takes seconds, the page."""
    store.rows_csv(store.folder / "rows.csv")
    findings = find(recipe.model_dump(mode="json"), store.rows())
    return render(findings) if crc32(content) % 40 == 0 else findings


@border
def rows(folder: Path) -> tuple[bytes, Reader]:
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)

    def read(content: bytes) -> object:
        file = store.path(unit.base.id) / "result.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return _reported(recipe, store, content)

    base, *others = _rows(unit)
    for row in others:
        store.write(str(row["id"]), row)
    return json.dumps(base).encode(), read


@border
def rows_of_cuts(folder: Path) -> tuple[bytes, Reader]:
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)
    base, cut, *others = _rows(unit)
    for row in (base, *others):
        store.write(str(row["id"]), row)

    def read(content: bytes) -> object:
        file = store.path(str(cut["id"])) / "result.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return _reported(recipe, store, content)

    return json.dumps(cut).encode(), read


@border
def archive(folder: Path) -> tuple[bytes, Reader]:
    """The compressed file itself."""
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)

    def read(content: bytes) -> object:
        (folder / "rows.jsonl.xz").write_bytes(content)
        return unpack(folder / "rows.jsonl.xz", store, recipe)

    lines = b"".join(json.dumps(row).encode() + b"\n" for row in _rows(unit))
    return packed(lines), read


@border
def packed_rows(folder: Path) -> tuple[bytes, Reader]:
    """One row in a file that is otherwise whole."""
    recipe, unit = _units()
    first, *others = _rows(unit)
    rest = b"".join(b"\n" + json.dumps(row).encode() for row in others) + b"\n"
    made = iter(range(1_000_000))

    def read(content: bytes) -> object:
        (folder / "rows.jsonl.xz").write_bytes(packed(content + rest))
        store = Store(folder / f"study{next(made)}")
        unpack(folder / "rows.jsonl.xz", store, recipe)
        return _reported(recipe, store, content) if store.rows() else None

    return json.dumps(first).encode(), read


@border
def events(folder: Path) -> tuple[bytes, Reader]:
    from secateur.study.progress import status, status_lines

    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)
    store.log("start", unit.base.id)
    store.log("fail", unit.base.id, "words")
    store.log("start", unit.base.id)
    file = store.folder / "events.jsonl"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        return status_lines(status(store, [unit]))

    return file.read_bytes(), read
