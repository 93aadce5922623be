"""Borders of studies: recipes, what is set by hand, rows, packed rows, events."""

from __future__ import annotations

import json
import re
from functools import partial
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import full_rows
import simulated_rows
from fuzz import BORDERS, Reader, border, packed
from secateur.report.findings import find
from secateur.report.page import render
from secateur.study.archive import unpack
from secateur.study.cells import Unit, units
from secateur.study.progress import status, status_lines
from secateur.study.recipe import Recipe, read_recipe, recipe_from
from secateur.study.store import Store
from secateur.study.tracking import tracked

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
        | {"networks": [{"kind": "vgg", "width": 16}], "seeds": 1, "deployment": {}}
        | {"sparsity": {"total_shrink": [0]}}
        | {
            "pruning": {
                "criteria": ["l1", "random"],
                "scopes": ["uniform"],
                "ratios": [0.3, 0.5],
                "from_scratch": True,
            }
        }
    )
    return recipe, units(recipe)[0]


def _rows(unit: Unit) -> list[dict[str, object]]:
    """Whole rows of a unit, in the order of its cells."""
    found = full_rows.full(
        ("vgg",), strengths=(0.0,), criteria=("l1", "random"), scopes=("uniform",),
        ratios=(0.3, 0.5), seeds=(1,),
    )  # fmt: skip
    order = ("base", "pruned", "scratch", "deployed")
    found.sort(key=lambda row: order.index(row["kind"]))
    ids = {row["id"]: cell.id for row, cell in zip(found, unit.cells, strict=True)}
    for row in found:
        row |= {name: ids[row[name]] for name in ("id", "base", "of") if name in row}
    return json.loads(json.dumps(found))


def _reported(recipe: Recipe, store: Store, content: bytes) -> object:
    """What a report says; of every 40th, as to draw takes seconds, the page."""
    store.rows_csv(store.folder / "rows.csv")
    findings = find(recipe.model_dump(mode="json"), store.rows())
    return render(findings) if crc32(content) % 40 == 0 else findings


def _rows_of(folder: Path, kind: str) -> tuple[bytes, Reader]:
    """A row of one kind in a study that is otherwise whole."""
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)
    found = _rows(unit)
    wrong = next(row for row in found if row["kind"] == kind)
    for row in found:
        if row is not wrong:
            store.write(str(row["id"]), row)

    def read(content: bytes) -> object:
        file = store.path(str(wrong["id"])) / "result.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        status_lines(status(store, [unit]))
        list(tracked(store, [unit]))
        return _reported(recipe, store, content)

    return json.dumps(wrong).encode(), read


BORDERS |= {
    "rows": partial(_rows_of, kind="base"),
    "rows_of_cuts": partial(_rows_of, kind="pruned"),
    "rows_of_controls": partial(_rows_of, kind="scratch"),
    "rows_of_files": partial(_rows_of, kind="deployed"),
}


@border
def failures(folder: Path) -> tuple[bytes, Reader]:
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)
    found = _rows(unit)
    for row in found[:-1]:
        store.write(str(row["id"]), row)
    cell = next(cell for cell in unit.cells if cell.id == found[-1]["id"])
    store.fail(cell, "SurgeryError: why", 'Traceback\n  File "/a/cut.py", line 7, in cut\n')
    file = store.folder / "failed" / f"{cell.id}.json"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        status_lines(status(store, [unit]))
        found = find(recipe.model_dump(mode="json"), [*store.rows(), *store.failures()])
        return render(found) if crc32(content) % 40 == 0 else found

    return file.read_bytes(), read


@border
def stored_recipe(folder: Path) -> tuple[bytes, Reader]:
    """The recipe of a study's folder, and what is done with it."""
    recipe, unit = _units()
    store = Store(folder / "study")
    store.open(recipe)
    for row in _rows(unit):
        store.write(str(row["id"]), row)
    file = store.folder / "recipe.json"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        there = store.recipe()
        status_lines(status(store, units(there)))
        store.open(there)
        return _reported(there, store, content)

    return file.read_bytes(), read


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


@border
def analysis(folder: Path) -> tuple[bytes, Reader]:
    """The diagnosis of a network, read and printed."""
    import numpy as np

    from secateur.analysis.skewness import skewness_rows
    from secateur.analysis.weights import LayerWeights
    from secateur.study.from_scores import analysis_of
    from secateur.study.inspection import Analysis, NetworkFacts

    del folder
    rng = np.random.default_rng(0)
    scores = {c: {"a": rng.random(8), "b": rng.random(12)} for c in ("l1", "l2", "random")}
    facts = NetworkFacts(10, 100, 2, 1, 20, (("c.weight", 4, "why", "net.py:3"),))
    weights = [LayerWeights("a", rng.normal(size=(8, 3, 3, 3)))]
    sparse = skewness_rows({"a": rng.random(8)}, "bn_scale")
    good = analysis_of("net", facts, scores, weights, sparse)

    def read(content: bytes) -> str:
        return str(Analysis.from_json(content.decode(errors="surrogateescape")))

    return good.to_json().encode(), read


@border
def array_sidecar(folder: Path) -> tuple[bytes, Reader]:
    """What says what a cached array is: anything else counts as absent."""
    import numpy as np

    from secateur.scenes import cache

    key = {"rate": 16000, "of": ["a", 1.5]}
    cache.store(folder, key, (2, 3), [np.zeros((2, 3), np.float16)])
    file = folder / f"{cache.name_of(key)}.json"

    def read(content: bytes) -> object:
        file.write_bytes(content)
        cache.others(folder)
        return cache.look(folder, key)

    return file.read_bytes(), read


@border
def array_bytes(folder: Path) -> tuple[bytes, Reader]:
    """The cached array itself, with a sidecar that fits whatever the bytes are."""
    import numpy as np

    from secateur.scenes import cache

    key = {"rate": 16000}
    cache.store(folder, key, (2, 3), [np.zeros((2, 3), np.float16)])
    file = folder / f"{cache.name_of(key)}.npy"
    sidecar = json.loads(file.with_suffix(".json").read_text())

    def read(content: bytes) -> object:
        file.write_bytes(content)
        own = sidecar | {"sha256": sha256(content).hexdigest()}
        file.with_suffix(".json").write_text(json.dumps(own))
        return cache.look(folder, key)

    return file.read_bytes(), read


@border
def trained_task(folder: Path) -> tuple[bytes, Reader]:
    """What `scenes train` wrote of a training."""
    from secateur.cli.scenes_task import TASK, Trained

    good = {
        "format": "secateur.scenes/1",
        "task": {
            "data": {"kind": "synthetic"},
            "features": {},
            "network": "vgg",
            "arguments": {"width": 8},
        },
        "classes": ["bus", "park"],
        "shift": [0.5, 1.0],
        "scale": [1.0, 2.0],
    }

    def read(content: bytes) -> object:
        (folder / TASK).write_bytes(content)
        return Trained.read(folder)

    return json.dumps(good).encode(), read


@border
def arguments(folder: Path) -> tuple[bytes, Reader]:
    """`--arg name=value`, one a line."""
    from secateur.cli.network import keywords

    del folder
    good = "width=8\nshape=[1, 2]\nname=x\nwhen=2020-01-02\nflag=true"
    return good.encode(), lambda content: keywords(
        content.decode(errors="surrogateescape").split("\n")
    )


@border
def card(folder: Path) -> tuple[bytes, Reader]:
    """Texts of a model card, which come from plans and options: they stay text."""
    from secateur.channels.cost import Cost
    from secateur.deploy.card import Card, Cut, File, Origin
    from secateur.deploy.device import DEVICES, Stored
    from secateur.deploy.session import Input
    from secateur.deploy.turns import Latency
    from secateur.plan.plan import PruningPlan

    del folder
    stored = Stored("float32", 100, 400)

    def read(content: bytes) -> str:
        text = content.decode(errors="replace")
        cost = Cost(10, 100, 4)
        plan = PruningPlan({"a": (0,)}, "f", cost, cost, {}, {}, text, {"b": text})
        file = File(
            text, 500, "0" * 64, stored, 1e-7, text, None, 0.5,
            Latency(1.0, 0.9, 1.1, 50, 10, text), (DEVICES["dcase2022"].hold(stored, 1),),
        )  # fmt: skip
        origin = Origin(text, (text,), text, text, text, text, (Cut(plan),), text, text)
        made = Card(origin, (Input("x", (1, 2), "float32"),), (text,), 1, 2, (file,), {text: text})
        said = made.as_markdown()
        plain = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", said))
        assert "<" not in plain and "](" not in plain and "`" not in plain
        tables = [line for line in said.splitlines() if line.startswith("|")]
        columns = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
        assert set(columns) <= {3, 7, 10, 4, 5}, columns
        assert "<script" not in made._repr_html_()
        return said + str(made)

    return b"uniform by l2 <script>alert(1)</script> [a](b) ![c](d) | `e` <img src=x>", read
