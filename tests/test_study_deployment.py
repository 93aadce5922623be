"""Budgets of MACs, the control trained from new weights, and networks as files, really run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur.channels.trace import trace
from secateur.deploy.session import Session
from secateur.study.bases import NETWORK, load_network
from secateur.study.cells import Unit, units
from secateur.study.data import split
from secateur.study.deployment import FLOAT32, INT8
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.run import FEATURES, run_unit
from secateur.study.store import Store
from secateur.train.fit import evaluate

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from device_tables import Study, accuracies, differences, over_folds

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

DEPLOYED = {
    "name": "deployed",
    "data": {"kind": "synthetic", "n_locations": 4, "clips_per_location": 1, "n_folds": 2},
    "features": {"rate": 16000, "n_fft": 1024, "hop": 512, "n_mels": 32, "seconds": 1.0},
    "networks": [{"kind": "vgg", "width": 8}],
    "sparsity": {"total_shrink": [0, 1]},
    "training": {"epochs": 2, "batch_size": 10},
    "pruning": {
        "criteria": ["bn_scale"],
        "scopes": ["uniform"],
        "fewer_macs": [2],
        "from_scratch": True,
    },
    "fine_tuning": {"epochs": 1},
    "deployment": {"calibration": 8},
    "seeds": 1,
}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_from(DEPLOYED)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Store:
    store = Store(tmp_path_factory.mktemp("deployed") / "study")
    store.open(recipe)
    for unit in units(recipe):
        run_unit(unit, store.folder, recipe)
    return store


def test_all_that_is_asked_for_is_there(store: Store, recipe: Recipe) -> None:
    assert store.failures() == ()
    dense, sparse = units(recipe)
    assert [len(dense.pruned), len(dense.scratch), len(dense.deployed)] == [1, 1, 3]
    assert [len(sparse.pruned), len(sparse.scratch), len(sparse.deployed)] == [1, 0, 2]
    assert all(store.has(cell.id) for unit in (dense, sparse) for cell in unit.cells)


def test_cuts_keep_to_the_macs_and_the_control_has_their_size(store: Store, recipe: Recipe) -> None:
    for unit in units(recipe):
        base, pruned = store.row(unit.base.id), store.row(unit.pruned[0].id)
        assert 0.4 * base["macs"] < pruned["macs"] <= base["macs"] / 2
        assert pruned["ratio_asked"] == 0.5
        for cell in unit.scratch:
            control = store.row(cell.id)
            assert [control[name] for name in ("params", "macs", "channels", "ratio_reached")] == [
                pruned[name] for name in ("params", "macs", "channels", "ratio_reached")
            ]


def test_the_control_starts_from_weights_of_its_own(store: Store, recipe: Recipe) -> None:
    unit = units(recipe)[0]
    data = split(recipe, store.folder / FEATURES, unit.base.fold)
    pruned, control = (
        load_network(unit.base, data, store.path(cell.id) / NETWORK).state_dict()
        for cell in (unit.pruned[0], unit.scratch[0])
    )
    assert all(pruned[name].shape == control[name].shape for name in pruned)
    assert not np.allclose(pruned["conv3.conv.weight"], control["conv3.conv.weight"], atol=0.01)


def test_files_answer_as_the_network_they_were_made_from(store: Store, recipe: Recipe) -> None:
    for unit in units(recipe):
        data = split(recipe, store.folder / FEATURES, unit.base.fold)
        for cell in unit.deployed:
            row, folder = store.row(cell.id), store.path(cell.id)
            network = load_network(unit.base, data, store.path(cell.of) / NETWORK)
            accuracy = evaluate(network, data.x_test, data.y_test).accuracy
            assert row["float32"]["accuracy"] == pytest.approx(accuracy, abs=1e-9)
            assert store.row(cell.of)["accuracy"] == pytest.approx(accuracy, abs=1e-9)
            answers = Session(folder / INT8).predict(data.x_test.numpy())
            right = float((answers.argmax(1) == data.y_test.numpy()).mean())
            assert row["int8"]["accuracy"] == right
            assert row["int8"]["file_bytes"] == (folder / INT8).stat().st_size
            assert row["int8"]["param_bytes"] < row["float32"]["param_bytes"]
            assert trace(network, data.x_train[:1]).layers
            assert (folder / FLOAT32).is_file()


def test_a_network_whose_file_is_gone_is_made_again_for_its_deployment(
    store: Store, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(store.folder, tmp_path / "study")
    again, unit = Store(tmp_path / "study"), units(recipe)[0]
    gone = next(cell for cell in unit.deployed if cell.of == unit.pruned[0].id)
    before = again.row(gone.id)
    shutil.rmtree(again.path(gone.id))
    (again.path(gone.of) / NETWORK).unlink()
    run_unit(unit, again.folder, recipe)
    after = again.row(gone.id)
    assert {k: v for k, v in after.items() if k != "seconds"} == {
        k: v for k, v in before.items() if k != "seconds"
    }


def test_what_could_not_be_made_is_not_deployed(
    store: Store, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(store.folder, tmp_path / "study")
    again, unit = Store(tmp_path / "study"), units(recipe)[0]
    lone = Unit(unit.base, (), (), (unit.deployed[1],))
    for id in (unit.deployed[1].id, unit.deployed[1].of):
        shutil.rmtree(again.path(id))
    run_unit(lone, again.folder, recipe)
    (failure,) = again.failures()
    assert failure["error"] == "the network it deploys failed"


def test_the_tables_of_the_way_to_a_device_are_made_of_the_rows(
    store: Store, recipe: Recipe
) -> None:
    dense, sparse = units(recipe)
    study = Study(store)
    assert study.runs == {"vgg": [1]} and study.cuts == [2]
    shown = study.accuracy("vgg", ("dense", 1)).value
    assert shown == pytest.approx(100 * store.row(dense.base.id)["accuracy"])
    for unit, way in ((dense, "pruned dense"), (sparse, "pruned sparse")):
        pruned, control = store.row(unit.pruned[0].id), store.row(dense.scratch[0].id)
        wanted = 100 * (pruned["accuracy"] - control["accuracy"])
        assert study.difference("vgg", (way, 2), ("scratch", 2)).value == pytest.approx(wanted)
    assert len(accuracies(study).splitlines()) == len(differences(study).splitlines()) == 4


def test_runs_of_one_fold_count_as_one() -> None:
    values, folds = np.array([0.5, 0.7, 0.8, 0.8]), np.array([1, 1, 2, 3])
    mean = over_folds(values, folds)
    half = 4.302653 * np.std([60, 80, 80], ddof=1) / np.sqrt(3)
    assert mean.value == pytest.approx(220 / 3)
    assert mean.high - mean.value == pytest.approx(half, rel=1e-5)
