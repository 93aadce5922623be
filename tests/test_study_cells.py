"""The grid and the names of its cells."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from secateur.study.cells import Unit, units
from secateur.study.recipe import Recipe, read_recipe, recipe_from


def recipe(**changes: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "name": "grid",
        "data": {"kind": "esc10", "root": "clips"},
        "networks": [{"kind": "vgg", "width": 8}, {"kind": "resnet", "width": 8}],
        "sparsity": {"total_shrink": [0, 0.5]},
        "pruning": {"criteria": ["l1", "l2"], "scopes": ["uniform", "global"], "ratios": [0.3]},
        "seeds": 3,
    }
    return recipe_from(mapping | changes)


def ids(work: tuple[Unit, ...]) -> list[str]:
    return [cell.id for unit in work for cell in unit.cells]


def pruning(**changes: Any) -> dict[str, Any]:
    return {"criteria": ["l1", "l2"], "scopes": ["uniform", "global"], "ratios": [0.3]} | changes


def test_the_grid_is_complete_and_every_id_its_own() -> None:
    work = units(recipe())
    assert len(work) == 3 * 2 * 2
    assert all(len(unit.pruned) == 2 * 2 * 1 for unit in work)
    assert len(set(ids(work))) == 12 * 5
    assert all(cell.base == unit.base.id for unit in work for cell in unit.pruned)
    first = work[0].base
    assert (first.network.kind, first.total_shrink, first.fold, first.seed) == ("vgg", 0.0, 1, 1)


def test_a_ratio_more_leaves_all_other_ids() -> None:
    before, after = ids(units(recipe())), ids(units(recipe(pruning=pruning(ratios=[0.7, 0.3]))))
    assert set(before) < set(after)
    assert len(after) - len(before) == 12 * 4


def test_a_seed_or_strength_or_network_more_leaves_all_other_ids() -> None:
    before = set(ids(units(recipe())))
    for change in (
        {"seeds": 4},
        {"sparsity": {"total_shrink": [0.5, 0, 1]}},
        {"networks": [{"kind": "mobilenet"}, *recipe().model_dump()["networks"]]},
    ):
        assert before < set(ids(units(recipe(**change))))


def test_a_network_may_have_strengths_of_its_own() -> None:
    own = [{"kind": "vgg", "width": 8, "total_shrink": [0, 3, 0.5]}, {"kind": "resnet", "width": 8}]
    work = units(recipe(networks=own))
    strengths = [(unit.base.network.kind, unit.base.total_shrink) for unit in work[:5]]
    vgg, resnet = [("vgg", 0), ("vgg", 3), ("vgg", 0.5)], [("resnet", 0), ("resnet", 0.5)]
    assert strengths == vgg + resnet
    assert set(ids(units(recipe()))) < set(ids(work))


def test_an_own_network_is_named_by_what_is_called_and_not_by_where_it_lies() -> None:
    own = {"kind": "own", "name": "mine", "factory": "m:f", "arguments": {"width": 8, "deep": True}}
    before = ids(units(recipe(networks=[own])))
    assert set(before).isdisjoint(ids(units(recipe())))
    together = recipe(networks=[{"kind": "vgg", "width": 8}, own, {"kind": "resnet", "width": 8}])
    assert set(ids(units(together))) == {*before, *ids(units(recipe()))}
    same = own | {"folder": "/elsewhere", "arguments": {"deep": True, "width": 8}}
    assert ids(units(recipe(networks=[same]))) == before
    assert hash(recipe(networks=[same])) == hash(recipe(networks=[same]))
    base = units(recipe(networks=[own]))[0].base
    assert base.content()["network"] == own
    assert str(base) == "mine shrink 0 fold 1 seed 1"
    for change in ({"name": "other"}, {"factory": "m:g"}, {"arguments": {"width": 9}}, {"lr": 1.0}):
        assert set(before).isdisjoint(ids(units(recipe(networks=[own | change]))))


def test_controls_and_deployment_add_cells_and_change_none() -> None:
    plain = ids(units(recipe()))
    control = units(recipe(pruning=pruning(from_scratch=True)))
    both = units(recipe(pruning=pruning(from_scratch=True), deployment={"calibration": 9}))
    assert set(plain) < set(ids(control)) < set(ids(both))
    assert [len(unit.scratch) for unit in control] == [1, 0] * 6
    assert len(ids(both)) == 2 * len(ids(control))
    assert {cell.of for unit in both for cell in unit.deployed} == set(ids(control))


def test_rounding_names_other_cuts_of_the_same_bases() -> None:
    plain, ones, eights = (
        units(recipe(pruning=pruning(**rounding)))
        for rounding in ({}, {"round_to": 1}, {"round_to": 8})
    )
    assert ids(plain) == ids(ones)
    assert [unit.base.id for unit in plain] == [unit.base.id for unit in eights]
    assert not {c.id for u in plain for c in u.pruned} & {c.id for u in eights for c in u.pruned}


def test_a_share_of_channels_and_a_budget_of_macs_are_different_cells() -> None:
    half = pruning(ratios=[0.5]), pruning(ratios=[], fewer_macs=[2])
    ratio, macs = (units(recipe(pruning=one)) for one in half)
    assert [unit.base for unit in ratio] == [unit.base for unit in macs]
    assert not {c.id for u in ratio for c in u.pruned} & {c.id for u in macs for c in u.pruned}
    assert ratio[0].pruned[0].level.asked == macs[0].pruned[0].level.asked == 0.5


def test_calibration_names_the_cells_that_look_at_data_and_no_others() -> None:
    few, many = (
        units(recipe(pruning=pruning(criteria=["l1", "taylor_fo"], calibration=n)))[0].pruned
        for n in (32, 64)
    )
    assert [cell.calibration for cell in few] == [None, None, 32, 32]
    assert [a.id == b.id for a, b in zip(few, many, strict=True)] == [True, True, False, False]
    old = units(recipe())[0].pruned[0]
    assert old.id == few[0].id and "calibration" not in old.content()


def test_a_repair_adds_cells_and_changes_none() -> None:
    old = units(recipe())
    both, fewer = (
        units(recipe(pruning=pruning(repair=["reconstruct", "none"], repair_inputs=n)))
        for n in (250, 50)
    )
    assert [unit.base.id for unit in both] == [unit.base.id for unit in old]
    assert len(set(ids(both))) == len(ids(both)) == len(old) * (1 + 2 * 4)
    assert set(ids(old)) == set(ids(both)) & set(ids(fewer))
    for cell in both[0].pruned:
        assert (cell.repair == "none") == (cell.id in ids(old)) == ("repair" not in cell.content())
        assert cell.repair_inputs == (None if cell.repair == "none" else 250)
    assert str(both[0].pruned[0]).startswith("l1 uniform 0.3 then reconstruct of ")


def test_ids_depend_on_neither_order_nor_words_nor_paths() -> None:
    other = recipe(
        name="another",
        description="words",
        left_out=["much"],
        data={"root": "/elsewhere", "kind": "esc10"},
        networks=[{"width": "8", "kind": "resnet"}, {"kind": "vgg", "width": 8}],
        pruning=pruning(criteria=["l2", "l1"], scopes=["global", "uniform"]),
        augmentations=["mask_bands", "time_roll"],
        seeds=None,
        runs=[{"seed": i, "fold": i} for i in (3, 1, 2)],
    )
    assert set(ids(units(other))) == set(ids(units(recipe())))


def test_what_determines_a_base_changes_all_ids() -> None:
    before = set(ids(units(recipe())))
    for change in (
        {"training": {"epochs": 41}},
        {"features": {"n_mels": 40}},
        {"augmentations": []},
        {"data": {"kind": "synthetic"}},
        {"sparsity": {"total_shrink": [0, 0.5], "ramp": 0.1}},
    ):
        assert before.isdisjoint(ids(units(recipe(**change))))


def test_what_determines_a_cut_only_leaves_the_bases() -> None:
    before = units(recipe())
    for change in ({"fine_tuning": {"epochs": 9}}, {"pruning": pruning(reduction="max")}):
        after = units(recipe(**change))
        assert [unit.base.id for unit in after] == [unit.base.id for unit in before]
        assert {c.id for unit in before for c in unit.pruned}.isdisjoint(
            c.id for unit in after for c in unit.pruned
        )


def test_ids_are_the_same_in_another_process() -> None:
    code = "from test_study_cells import *; print(*ids(units(recipe())))"
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)},  # noqa: PTH120
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert out.split() == ids(units(recipe()))


def test_an_id_stays_what_it_was() -> None:
    """A change here makes every finished study start again: do it knowingly."""
    base = units(recipe())[0].base
    assert base.content()["network"] == {"kind": "vgg", "width": 8}
    assert "root" not in base.content()["data"]
    assert (base.id, units(recipe())[0].pruned[0].id) == (
        "f1c11b77daa02cd9",
        "5bacdea956a59144",
    )


@pytest.mark.parametrize(
    ("path", "n", "digest"),
    [
        ("recipes/asc-claims.yaml", 3915, "49dfb7a24d6c5a01c6df71ffdb9f06fa"),
        ("src/secateur/study/demo.yaml", 513, "ef2c71715d428b719322c18df2090da1"),
    ],
)
def test_the_ids_of_the_recipes_at_hand_stay(path: str, n: int, digest: str) -> None:
    every = sorted(ids(units(read_recipe(Path(__file__).parents[1] / path))))
    found = hashlib.sha256("\n".join(every).encode()).hexdigest()
    assert len(every) == n, "a recipe's cells have changed: if knowingly, write its new number here"
    assert found.startswith(digest), "ids have changed: finished studies would start again"


def test_other_words_for_the_same_leave_all_ids() -> None:
    before = ids(units(recipe(augmentations=["mixup", "time_roll"])))
    same = [{"kind": "time_roll"}, {"kind": "mixup", "alpha": 0.3}]
    assert ids(units(recipe(augmentations=same))) == before
    other = [{"kind": "time_roll"}, {"kind": "mixup", "alpha": 0.2}]
    assert set(before).isdisjoint(ids(units(recipe(augmentations=other))))
    assert ids(units(recipe(features={"preset": "esc"}))) == ids(units(recipe()))
    numbers = {"rate": 32000, "n_fft": 1024, "hop": 320, "f_min": 0, "seconds": 1}
    preset = units(recipe(features={"preset": "fast"}))[0].base
    assert preset.id == units(recipe(features=numbers))[0].base.id
    for change in ({"log": "ln"}, {"mel": "htk"}, {"window": 512}, {"pre_emphasis": 0.97}):
        assert units(recipe(features=numbers | change))[0].base.id != preset.id


def test_ten_thousand_cells_are_planned_in_two_seconds() -> None:
    big = recipe(
        pruning=pruning(
            criteria=["l1", "l2", "gm", "bn_scale", "random"],
            ratios=[i / 21 for i in range(1, 21)],
        ),
        seeds=13,
        sparsity={"total_shrink": [0, 0.5]},
    )
    began = time.process_time()
    work = units(big)
    assert len(ids(work)) == 13 * 2 * 2 * (1 + 200)
    assert time.process_time() - began < 2


def test_planning_loads_no_torch() -> None:
    code = (
        "import sys, secateur.study.recipe, secateur.study.cells, secateur.study.store, "
        "secateur.study.execute, secateur.study.progress; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
