"""One unit of a study, really trained and cut; the whole command killed twice and resumed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from secateur.channels.trace import trace
from secateur.errors import StudyError
from secateur.networks.families import NETWORKS, SIZES
from secateur.study.bases import NETWORK, load_network
from secateur.study.cells import units
from secateur.study.cuts import prune_and_tune
from secateur.study.data import split
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.run import FEATURES, run_unit
from secateur.study.store import Store
from secateur.surgery.package import load

TINY = {
    "name": "tiny",
    "data": {
        "kind": "synthetic",
        "n_locations": 4,
        "clips_per_location": 1,
        "seconds": 1.0,
        "rate": 16000,
        "n_folds": 2,
    },
    "features": {"rate": 16000, "n_fft": 1024, "hop": 512, "n_mels": 32, "seconds": 1.0},
    "networks": [{"kind": "vgg", "width": 4}, {"kind": "mobilenet", "width": 4}],
    "sparsity": {"penalty": "bn_l1_proximal", "total_shrink": [0, 0.5]},
    "training": {"epochs": 3, "batch_size": 10},
    "pruning": {"criteria": ["l1", "random"], "scopes": ["uniform", "global"], "ratios": [0.5]},
    "fine_tuning": {"epochs": 1},
    "seeds": 1,
}


def settled(rows: tuple[dict, ...]) -> list[dict]:
    """Rows without what the clock measured."""
    return sorted(
        ({k: v for k, v in row.items() if k != "seconds"} for row in rows), key=lambda r: r["id"]
    )


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_from(TINY)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Store:
    store = Store(tmp_path_factory.mktemp("undisturbed") / "study")
    store.open(recipe)
    for unit in units(recipe):
        run_unit(unit, store.folder, recipe)
    return store


def test_rows_are_whole_and_add_up(undisturbed: Store, recipe: Recipe) -> None:
    assert undisturbed.failures() == ()
    for unit in units(recipe):
        base = undisturbed.row(unit.base.id)
        assert 0 <= base["accuracy"] <= 1
        assert (base["bn_lambda"] > 0) == (unit.base.total_shrink > 0)
        definitions = {(r["layer"], r["definition"]) for r in base["skewness"]}
        assert {("pooled", "bn_scale"), ("pooled", "filter_l1")} <= definitions
        assert {r["layer"] for r in base["similarity"]} > {"global"}
        assert sum(curve["n_channels"] for curve in base["sensitivity"]) == base["channels"]
        for curve in base["sensitivity"]:
            assert curve["whole"] == base["accuracy"]
            assert list(curve["ratios"]) == sorted(curve["ratios"])
            assert all(0 <= accuracy <= 1 for accuracy in curve["values"])
        for cell in unit.pruned:
            row = undisturbed.row(cell.id)
            assert row["base"] == base["id"]
            assert row["macs"] < base["macs"]
            assert row["params"] < base["params"]
            assert row["ratio_reached"] == pytest.approx(1 - row["channels"] / base["channels"])
            assert row["ratio_reached"] == pytest.approx(cell.level.ratio, abs=0.05)


def test_rows_say_which_channels_went_and_how_each_recorder_fares(
    undisturbed: Store, recipe: Recipe
) -> None:
    for unit in units(recipe):
        data = split(recipe, undisturbed.folder / FEATURES, unit.base.fold)
        assert len(data.devices) == len(data.y_test) and len(set(data.devices)) > 1
        base = undisturbed.row(unit.base.id)
        for row in (base, *(undisturbed.row(cell.id) for cell in unit.pruned)):
            assert set(row["by_device"]) == set(data.devices)
            mean = sum(row["by_device"][device] for device in data.devices) / len(data.devices)
            assert row["accuracy"] == pytest.approx(mean)
        for cell in unit.pruned:
            row = undisturbed.row(cell.id)
            assert sum(map(len, row["removed"].values())) == base["channels"] - row["channels"]


def test_the_penalty_makes_scales_smaller(undisturbed: Store, recipe: Recipe) -> None:
    gini = {
        (unit.base.network.kind, unit.base.total_shrink): next(
            r["gini"]
            for r in undisturbed.row(unit.base.id)["skewness"]
            if (r["layer"], r["definition"]) == ("pooled", "bn_scale")
        )
        for unit in units(recipe)
    }
    for network in ("vgg", "mobilenet"):
        assert gini[network, 0.5] > gini[network, 0]


def test_saved_base_is_the_one_that_was_measured(undisturbed: Store, recipe: Recipe) -> None:
    from secateur.networks.vgg import vgg

    unit = next(u for u in units(recipe) if u.base.network.kind == "vgg")
    path = undisturbed.path(unit.base.id) / "network.safetensors"
    model = load(path, lambda: vgg(n_classes=10, width=4, bn_init=0.5))
    row = undisturbed.row(unit.base.id)
    assert sum(p.numel() for p in model.parameters()) == row["params"]
    assert trace(model, torch.zeros(1, 1, 32, 32)).layers[0].name


def test_rows_of_other_recordings_are_not_mixed_in(
    tmp_path: Path, undisturbed: Store, recipe: Recipe
) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "study")
    store, unit = Store(tmp_path / "study"), units(recipe)[0]
    row = store.row(unit.base.id) | {"features": "0" * 64}
    (store.path(unit.base.id) / "result.json").write_text(json.dumps(row))
    shutil.rmtree(store.path(unit.pruned[0].id))
    with pytest.raises(StudyError, match="made from other features"):
        run_unit(unit, store.folder, recipe)
    assert not store.has(unit.pruned[0].id)


def test_criteria_that_need_data_are_given_the_training_part(
    undisturbed: Store, recipe: Recipe
) -> None:
    unit = units(recipe)[0]
    data = split(recipe, undisturbed.folder / FEATURES, unit.base.fold)
    base = load_network(unit.base, data, undisturbed.path(unit.base.id) / NETWORK)
    channels = trace(base, data.x_train[:1])
    for name in ("taylor_fo", "apoz"):
        cell = replace(unit.pruned[0], criterion=name, calibration=8)
        rows = [prune_and_tune(cell, unit.base, base, channels, data) for _ in range(2)]
        assert settled(tuple(rows[:1])) == settled(tuple(rows[1:]))
        assert rows[0]["criterion"] == name and rows[0]["macs"] < undisturbed.row(cell.base)["macs"]


def test_a_finished_unit_is_not_run_again(undisturbed: Store, recipe: Recipe) -> None:
    before = len(undisturbed.events())
    run_unit(units(recipe)[0], undisturbed.folder, recipe)
    assert len(undisturbed.events()) == before


def test_the_report_is_made_again_without_torch(undisturbed: Store) -> None:
    code = (
        "import sys; from secateur.cli.main import main\n"
        f"sys.argv = ['secateur', 'report', {str(undisturbed.folder)!r}, '--json']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["report"]).is_file()
    assert len(found["base_networks"]) == 4
    assert {claim["verdict"] for claim in found["claims"]}


@pytest.mark.slow
@pytest.mark.parametrize("room", [4096, 40_000], ids=["none for a row", "none for weights"])
def test_a_disk_that_fills_stops_the_study_in_one_line(
    tmp_path: Path, undisturbed: Store, recipe: Recipe, room: int
) -> None:
    store = Store(tmp_path / "study")
    store.open(recipe)
    shutil.copytree(undisturbed.folder / FEATURES, store.folder / FEATURES)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "secateur.cli", "study", "tiny.json", "-o", "study", "-j", "1"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert ended.returncode == 2
    assert "cannot write" in ended.stderr and "Traceback" not in ended.stderr
    assert store.failures() == ()
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert settled(store.rows()) == settled(undisturbed.rows())


@pytest.mark.slow
def test_ctrl_c_is_one_line_that_says_how_to_go_on(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "secateur.cli", "study", "tiny.json", "-o", "study", "-j", "0"]
    store = Store(tmp_path / "study")
    for while_it in (lambda: (tmp_path / "study").exists(), lambda: store.rows()):
        driver = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while not while_it():
            assert driver.poll() is None, "the study ended before it could be stopped"
            assert time.monotonic() < deadline, "the study makes no progress"
            time.sleep(0.02)
        driver.send_signal(signal.SIGINT)
        said = driver.communicate()[1]
        assert driver.returncode == 130 and "Traceback" not in said
        last = said.splitlines()[-1]
        assert last.startswith("secateur: stopped; ") and "run the same command again" in last


@pytest.mark.slow
def test_killed_twice_and_resumed_gives_the_same_rows(
    tmp_path: Path, undisturbed: Store, recipe: Recipe
) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    command = [sys.executable, "-m", "secateur.cli", "study", "tiny.json", "-o", "study", "-j", "2"]
    wanted = [cell for unit in units(recipe) for cell in unit.cells]
    store = Store(tmp_path / "study")
    for share in (0.2, 0.6):
        driver = subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.DEVNULL, env=os.environ | {"NO_COLOR": "1"}
        )
        deadline = time.monotonic() + 240
        while sum(store.has(cell.id) for cell in wanted) < share * len(wanted):
            assert driver.poll() is None, "the study ended before it could be killed"
            assert time.monotonic() < deadline, "the study makes no progress"
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    finished = {cell.id: store.row(cell.id) for cell in wanted if store.has(cell.id)}
    assert len(finished) < len(wanted)
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    outcome = json.loads(done.stdout)
    assert outcome["failed"] == 0
    assert Path(tmp_path / outcome["report"]).is_file()
    assert settled(store.rows()) == settled(undisturbed.rows())
    for id, row in finished.items():
        assert store.row(id) == row


@pytest.mark.parametrize(
    ("kind", "level"),
    [*((kind, {"ratios": [0.4]}) for kind in NETWORKS), ("tf_sepnet", {"fewer_macs": [2]})],
)
def test_every_family_is_trained_cut_and_trained_on(
    tmp_path: Path, kind: str, level: dict[str, list[float]]
) -> None:
    changes = {
        "networks": [{"kind": kind, "width": SIZES[kind]["small"]}],
        "sparsity": {"total_shrink": [0]},
        "training": {"epochs": 1, "batch_size": 10},
        "pruning": {"criteria": ["l1", "bn_scale"], "scopes": ["uniform", "global"], **level},
    }
    recipe = recipe_from(TINY | changes)
    store = Store(tmp_path / "study")
    store.open(recipe)
    (unit,) = units(recipe)
    run_unit(unit, store.folder, recipe)
    assert store.failures() == ()
    base = store.row(unit.base.id)
    assert len(unit.pruned) == 4
    for cell in unit.pruned:
        row = store.row(cell.id)
        if cell.level.fewer_macs is not None:
            assert row["macs"] <= base["macs"] / 2
        elif kind != "tf_sepnet" or cell.scope == "uniform":  # halves of a shuffle stay equal
            assert row["ratio_reached"] == pytest.approx(0.4, abs=0.05)
