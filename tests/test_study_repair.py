"""Repair as an axis of a study: rows, a study that grows, a report that keeps repairs apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from full_rows import full, full_recipe
from secateur.channels.trace import trace
from secateur.errors import ReportError
from secateur.report import comparison_figures, figures, removed_figures
from secateur.report.comparing import OVER_LEVELS
from secateur.report.findings import Findings, find
from secateur.report.page import render
from secateur.report.summary import sentences, warnings
from secateur.scenes.split import Split
from secateur.study.archive import pack, unpack
from secateur.study.bases import NETWORK, load_network
from secateur.study.cells import PrunedCell, units
from secateur.study.claims import NOT_TESTED, methods_claim
from secateur.study.cuts import prune_and_tune
from secateur.study.data import split
from secateur.study.fairness import FULL, fairness
from secateur.study.grid import by_method, tables
from secateur.study.methods import method_differences
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.run import FEATURES, run_unit
from secateur.study.store import Store
from secateur.surgery.package import load
from test_study_run import TINY, settled

REPAIRS = ("none", "batch_norm", "bias", "reconstruct")


def tiny(**pruning: Any) -> Recipe:
    asked = {"criteria": ["l1"], "scopes": ["uniform"], "ratios": [0.5]} | pruning
    changes = {
        "networks": [{"kind": "vgg", "width": 8}],
        "sparsity": {"total_shrink": [0]},
        "training": {"epochs": 20, "batch_size": 10},
        "pruning": asked,
    }
    return recipe_from(TINY | changes)


def run(store: Store, recipe: Recipe) -> None:
    store.open(recipe)
    for unit in units(recipe):
        run_unit(unit, store.folder, recipe)
    assert store.failures() == ()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any]]:
    """A study without repair that was then asked for all; its rows as they were at first."""
    store = Store(tmp_path_factory.mktemp("repair") / "study")
    run(store, tiny())
    rows = {row["id"]: row for row in store.rows()}
    run(store, tiny(repair=list(REPAIRS)))
    return store, rows


@pytest.fixture(scope="module")
def store(before: tuple[Store, dict[str, Any]]) -> Store:
    return before[0]


@pytest.fixture(scope="module")
def cuts(store: Store) -> dict[str, Any]:
    """The rows of the cuts by their repair."""
    rows = [row for row in store.rows() if row["kind"] == "pruned"]
    return {row.get("repair", "none"): row for row in rows}


def of_recipe(store: Store) -> tuple[Any, nn.Module, Split]:
    recipe = store.recipe()
    unit = units(recipe)[0]
    data = split(recipe, store.folder / FEATURES, unit.base.fold)
    base = load_network(unit.base, data, store.path(unit.base.id) / NETWORK)
    return unit, base, data


def test_a_study_grows_by_its_repairs(before: tuple[Store, dict[str, Any]]) -> None:
    store, rows = before
    now = {row["id"]: row for row in store.rows()}
    assert len(rows) == 2 and len(now) == 2 + 3
    assert {id: now[id] for id in rows} == rows
    starts = [event.id for event in store.events() if event.what == "start"]
    assert sorted(starts) == sorted(now), "no cell was done twice"
    run(store, tiny(repair=list(REPAIRS)))
    assert len([event for event in store.events() if event.what == "start"]) == len(starts)


def test_rows_tell_the_cut_and_the_repair_apart(cuts: dict[str, Any]) -> None:
    assert set(cuts) == set(REPAIRS)
    plain = cuts["none"]
    assert not {name for name in plain if "repair" in name or "error" in name}
    for repair in REPAIRS[1:]:
        row = cuts[repair]
        assert row["removed"] == plain["removed"] and row["macs"] == plain["macs"]
        assert row["accuracy_cut"] == plain["accuracy_cut"]
        assert row["repair_kept"] in ("cut", "batch_norm", repair)
        assert row["repair_inputs"] == 20, "all of the training part, which has fewer than 250"
        assert 0 < row["output_error_repaired"] <= row["output_error_cut"]
        assert set(row["seconds"]) == {"cut", "repair", "fine-tune"}
    errors = [cuts[repair]["output_error_repaired"] for repair in ("batch_norm", "reconstruct")]
    assert errors[1] < errors[0], "it has statistics alone among its choices"


def test_a_repair_comes_before_fine_tuning_and_sees_no_label(store: Store) -> None:
    unit, base, data = of_recipe(store)
    channels = trace(base, data.x_train[:1])
    cell = next(cell for cell in unit.pruned if cell.repair == "reconstruct")
    untuned = PrunedCell(
        **{name: getattr(cell, name) for name in cell.__dataclass_fields__}
        | {"fine_tuning": cell.fine_tuning.model_copy(update={"epochs": 0})}
    )
    row = prune_and_tune(untuned, unit.base, base, channels, data)
    assert row["accuracy"] == row["accuracy_repaired"] == store.row(cell.id)["accuracy_repaired"]
    other = Split(**{**vars(data), "y_train": torch.zeros_like(data.y_train)})
    again = prune_and_tune(untuned, unit.base, base, channels, other)
    assert settled((row,)) == settled((again,))
    tuned = prune_and_tune(cell, unit.base, base, channels, data)
    assert settled((tuned,)) == settled((store.row(cell.id),)), "once more is the same"


def test_as_many_inputs_are_taken_as_were_asked_for(store: Store) -> None:
    unit, base, data = of_recipe(store)
    channels = trace(base, data.x_train[:1])
    cells = units(tiny(repair="reconstruct", repair_inputs=12))[0].pruned
    row = prune_and_tune(cells[0], unit.base, base, channels, data)
    assert row["repair_inputs"] == 12


def test_biases_that_a_repair_made_are_counted_and_kept(store: Store, tmp_path: Path) -> None:
    """Six channels that are read by a convolution with neither bias nor batch norm."""

    def small() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, bias=False), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)),
        )

    unit, _, data = of_recipe(store)
    cell = next(cell for cell in unit.pruned if cell.repair == "reconstruct")
    base = small()
    channels = trace(base, data.x_train[:1])
    row = prune_and_tune(cell, unit.base, base, channels, data, tmp_path)
    again = load(tmp_path / NETWORK, small)
    assert again.get_parameter("2.bias").shape == (2,), "half of four are left, with a bias"
    assert row["params"] == sum(p.numel() for p in again.parameters())


def test_packed_rows_are_taken_over_with_their_repairs(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.xz"
    pack(store, file)
    other = Store(tmp_path / "again")
    other.open(store.recipe())
    assert unpack(file, other, store.recipe()) == (5, 0)
    assert other.rows() == store.rows()


def test_the_report_of_a_study_names_its_repairs(store: Store, cuts: dict[str, Any]) -> None:
    recipe = store.recipe().model_dump(mode="json")
    findings = find(recipe, store.rows())
    assert findings.criteria == ("l1", "l1 + batch_norm", "l1 + bias", "l1 + reconstruct")
    assert findings.expected == findings.n_rows == 5
    points = {curve.criterion: curve.points[-1] for curve in findings.curves}
    assert points["l1"].accuracy_cut == cuts["none"]["accuracy_cut"]
    for repair in REPAIRS[1:]:
        point = points[f"l1 + {repair}"]
        assert point.accuracy == cuts[repair]["accuracy"]
        assert point.accuracy_cut == cuts[repair]["accuracy_repaired"]
    assert "l1 + reconstruct" in render(findings)


# Rows of known truth

GAIN, GAIN_BEFORE = 0.03, 0.05
"""What a repair gains after and before fine-tuning."""


def repaired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cuts of `rows`, repaired."""
    return [
        row
        | {
            "id": f"{row['id']}-reconstruct",
            "repair": "reconstruct",
            "accuracy": row["accuracy"] + GAIN,
            "accuracy_repaired": row["accuracy_cut"] + GAIN_BEFORE,
        }
        for row in rows
        if row["kind"] == "pruned"
    ]


@pytest.fixture(scope="module")
def plain_rows() -> list[dict[str, Any]]:
    return [row for row in full(["vgg"]) if row["kind"] != "deployed"]


@pytest.fixture(scope="module")
def both_rows(plain_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*plain_rows, *repaired(plain_rows)]


@pytest.fixture(scope="module")
def both(both_rows: list[dict[str, Any]]) -> Findings:
    recipe = full_recipe(repair=["none", "reconstruct"])
    networks = {"networks": [{"kind": "vgg", "width": 16}], "deployment": None}
    return find(recipe | networks, both_rows)


def test_cuts_of_two_repairs_are_two_methods(both_rows: list[dict[str, Any]]) -> None:
    names = {table.cell.criterion for table in tables(both_rows)}
    assert {"l1", "l1 + reconstruct", "random", "random + reconstruct"} < names
    assert tables(by_method(both_rows))[0].cell == tables(both_rows)[0].cell
    for table in tables(both_rows):
        assert table.whole.all() and len(table.bases) == 3, "each base network once"


def test_what_a_repair_gains_is_found_in_pairs(both_rows: list[dict[str, Any]]) -> None:
    for measure, gain in (("accuracy", GAIN), ("accuracy_cut", GAIN_BEFORE)):
        found = method_differences(tables(both_rows), measure)  # type: ignore[arg-type]
        own = [d for d in found if {d.criterion, d.reference} == {"l1", "l1 + reconstruct"}]
        assert own
        for d in own:
            sign = 1 if d.reference == "l1" else -1
            assert sign * d.mean == pytest.approx(gain)
            assert d.verdict == ("higher" if sign > 0 else "lower")


def test_criteria_are_compared_at_the_same_repair(both: Findings, plain_rows: list[Any]) -> None:
    """A repair that helps all criteria alike says nothing of criteria, nor of the control."""
    alone = find(full_recipe(), plain_rows)
    data = figures.differences(both)
    assert {row["reference"] for row in data} == {"random"}
    assert {row["criterion"] for row in data} == {
        *("l1", "l2", "gm"),
        *("l1 + reconstruct", "l2 + reconstruct", "gm + reconstruct"),
    }
    there = {_place(row): row["mean"] for row in figures.differences(alone)}
    for row in data:
        assert row["mean"] == pytest.approx(there[_place(row)]), row
    claims = [
        next(c for c in one.claims if "criterion matters" in c.statement) for one in (both, alone)
    ]
    assert claims[0].verdict == claims[1].verdict
    per_level = [d for d in both.differences["accuracy"] if d.ratio is not None]
    apart = [d for d in per_level if d.criterion.split(" + ")[0] == d.reference.split(" + ")[0]]
    assert apart and methods_claim(apart).verdict == NOT_TESTED


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    plain = row["criterion"].split(" + ")[0]
    return row["network"], row["scope"], plain, row["ratio"], row["measure"]


def test_no_row_of_the_page_mixes_repairs(both: Findings, plain_rows: list[Any]) -> None:
    alone = find(full_recipe(), plain_rows)
    mine, old = (
        {(p.network, p.strength, p.criterion, p.scope): p.ratio for p in findings.prunable[0.02]}
        for findings in (both, alone)
    )
    assert len(mine) == 2 * len(old)
    assert {key: mine[key] for key in old} == old
    data = comparison_figures.ranks(both)
    data = [row for row in data if (row["by"], row["scope"]) == (OVER_LEVELS, "uniform")]
    first = [row["criterion"] for row in data if row["group"] == 1]
    assert set(first) == {"l1 + reconstruct", "l2 + reconstruct"}
    shared = removed_figures.removed(both)
    assert ("l1", "l2 + reconstruct") in {(row["first"], row["second"]) for row in shared}
    assert ("l1", "l1 + reconstruct") not in {(row["first"], row["second"]) for row in shared}
    assert {method for _, _, method in both.by_method} == {
        *("l1", "l2", "gm"),
        *("l1 + reconstruct", "l2 + reconstruct", "gm + reconstruct"),
    }


def test_the_page_says_what_it_calls_a_criterion(both: Findings, plain_rows: list[Any]) -> None:
    assert "repair" not in " ".join(sentences(find(full_recipe(), plain_rows)))
    said = " ".join(sentences(both))
    assert "4 criteria, 2 repairs, 2 scopes" in said
    assert "what is called a criterion is one with its repair, such as l1 + reconstruct" in said
    assert not [line for line in warnings(both) if "missing" in line]


def test_one_repair_keeps_the_names_of_criteria(plain_rows: list[dict[str, Any]]) -> None:
    others = [row for row in plain_rows if row["kind"] != "pruned"]
    findings = find(full_recipe(repair=["reconstruct"]), [*others, *repaired(plain_rows)])
    assert findings.criteria == ("l1", "l2", "gm", "random")
    assert "All cuts were repaired before fine-tuning (reconstruct)" in " ".join(
        sentences(findings)
    )
    cut = next(row for row in repaired(plain_rows) if row["id"] == findings.pruned[0]["id"])
    assert findings.pruned[0]["accuracy_cut"] == cut["accuracy_repaired"]


def test_fairness_wants_a_control_of_every_repair(both_rows: list[dict[str, Any]]) -> None:
    recipe = full_recipe(repair=["none", "reconstruct"])
    assert fairness(both_rows, recipe).level == FULL
    without = [
        row
        for row in both_rows
        if not (row.get("repair") == "reconstruct" and row["criterion"] == "random")
    ]
    assert "without the control of random pruning" in fairness(without, recipe).differs


def test_a_row_without_its_accuracy_after_the_repair_is_named(plain_rows: list[Any]) -> None:
    row = repaired(plain_rows)[0]
    lacking = {name: value for name, value in row.items() if name != "accuracy_repaired"}
    with pytest.raises(ReportError, match="lacks accuracy_repaired"):
        find(full_recipe(), [*plain_rows, lacking])
