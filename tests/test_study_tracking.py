"""Rows exported to TensorBoard and MLflow, and read back by their own readers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secateur.cli.main import app
from secateur.errors import StudyError
from secateur.study.cells import units
from secateur.study.recipe import recipe_from
from secateur.study.store import Store
from secateur.study.tracking import Run, to_mlflow, tracked

RECIPE = {
    "name": "tracked",
    "data": {"kind": "synthetic"},
    "networks": [{"kind": "vgg", "width": 4}],
    "sparsity": {"total_shrink": [0]},
    "pruning": {"criteria": ["l1"], "scopes": ["uniform"], "ratios": [0.3, 0.5]},
    "seeds": 1,
}
EPOCHS = [{"epoch": 1, "loss": 2.0, "accuracy": 0.25}, {"epoch": 2, "loss": 1.5, "accuracy": 0.5}]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A base with its epochs and one cut; the other has no row yet."""
    store = Store(tmp_path / "study")
    store.open(recipe_from(RECIPE))
    base, cut, _ = units(store.recipe())[0].cells
    row = {"kind": "base", "id": base.id, "network": "vgg", "seed": 0, "accuracy": 0.5}
    row |= {"macs": 1000, "params": 64, "seconds": {"train": 2.5}, "features": "abc"}
    for cell, content in (
        (base, row | {"epochs": EPOCHS, "more": [{"value": 3.0}]}),
        (cut, {"kind": "pruned", "id": cut.id, "base": base.id, "accuracy": 0.25, "macs": 400}),
    ):
        with store.attempt(cell):
            store.write(cell.id, content)
    return store


def track(store: Store, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["study", "track", str(store.folder), "--json", *arguments])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_run_is_a_row_and_its_cell(store: Store) -> None:
    work = units(store.recipe())
    base, cut = tracked(store, work)
    assert base.group == cut.group == f"vgg shrink 0 fold 1 seed 1 {base.id[:6]}"
    assert (base.name, cut.name) == (f"base {base.id[:6]}", f"l1 uniform 0.3 {cut.id[:6]}")
    assert base.scalars == {"accuracy": 0.5, "macs": 1000, "params": 64, "seconds.train": 2.5}
    assert cut.scalars == {"accuracy": 0.25, "macs": 400}
    assert base.epochs == tuple({k: float(v) for k, v in epoch.items()} for epoch in EPOCHS)
    assert cut.parameters["criterion"] == "l1" and cut.parameters["ratio"] == 0.3
    assert cut.parameters["network.kind"] == "vgg" and cut.parameters["seed"] == 1
    events = store.events()
    assert (base.began, base.ended) == (events[0].time, events[1].time)


def test_tensorboard_shows_every_row_once(store: Store) -> None:
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    out = store.folder / "tensorboard"
    assert track(store, "--to", "tensorboard") == {"written": 2, "there": 0, "out": str(out)}
    files = sorted(out.rglob("*tfevents*"))
    assert track(store, "--to", "tensorboard") == {"written": 0, "there": 2, "out": str(out)}
    assert sorted(out.rglob("*tfevents*")) == files
    runs = {run.id: run for run in tracked(store, units(store.recipe()))}
    assert len(files) == 2
    for file in files:
        seen = EventAccumulator(str(file.parent)).Reload()
        run = next(run for run in runs.values() if file.parent.name.endswith(run.id[:6]))
        wanted = run.scalars | {f"epoch/{name}": 0.0 for epoch in run.epochs for name in epoch}
        assert set(seen.Tags()["scalars"]) == set(wanted)
        for name, value in run.scalars.items():
            (scalar,) = seen.Scalars(name)
            assert (scalar.value, scalar.step) == (pytest.approx(value), 0)
            assert scalar.wall_time == pytest.approx(run.ended)
        if run.epochs:
            steps = [(one.step, one.value) for one in seen.Scalars("epoch/loss")]
            assert steps == [(1, 2.0), (2, 1.5)]
        content = seen.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        asked = HParamsPluginData.FromString(content).session_start_info.hparams
        assert asked["network.kind"].string_value == "vgg"
        assert asked["network.width"].number_value == 4
    last = units(store.recipe())[0].pruned[1]
    store.write(last.id, {"id": last.id, "accuracy": 1.0})
    assert track(store, "--to", "tensorboard")["written"] == 1


def test_mlflow_has_every_row_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("MLflow is not installed: pip install '.[mlflow]'")
    from mlflow import MlflowClient

    uri = (tmp_path / "mlruns").as_uri()
    assert track(store, "--to", "mlflow", "-o", uri) == {"written": 2, "there": 0, "out": uri}
    assert track(store, "--to", "mlflow", "-o", uri) == {"written": 0, "there": 2, "out": uri}
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tracked")
    assert experiment is not None
    there = {
        run.data.tags["secateur.id"]: run for run in client.search_runs([experiment.experiment_id])
    }
    runs: dict[str, Run] = {run.id: run for run in tracked(store, units(store.recipe()))}
    assert there.keys() == runs.keys()
    for id, run in runs.items():
        assert there[id].data.metrics.items() >= run.scalars.items()
        assert there[id].data.params == {name: str(value) for name, value in run.parameters.items()}
        assert there[id].info.end_time == round(run.ended * 1000)
        history = client.get_metric_history(there[id].info.run_id, "epoch/loss")
        assert [(one.step, one.value) for one in history] == [
            (step, epoch["loss"]) for step, epoch in enumerate(run.epochs, start=1)
        ]


def test_an_uri_that_mlflow_does_not_know_is_named(store: Store) -> None:
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("MLflow is not installed: pip install '.[mlflow]'")
    with pytest.raises(StudyError, match="MLflow cannot write to 'gopher://a'"):
        to_mlflow(tracked(store, units(store.recipe())), "gopher://a", "tracked")


@pytest.mark.parametrize(
    ("tracker", "module"), [("tensorboard", "tensorboard"), ("mlflow", "mlflow")]
)
def test_without_its_library_the_extra_is_named(
    store: Store, tracker: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    asked = ["study", "track", str(store.folder), "--to", tracker, "--out", str(store.folder / "x")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code != 0
    assert f"pip install '.[{tracker}]'" in str(done.exception)
