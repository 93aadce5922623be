"""A study's rows as runs of TensorBoard or MLflow, through their own libraries. Made from files.

Nothing is hooked into training: rows that are there are exported, at any time and as often as one
likes; a cell that was exported is left alone. Loads either library only when called.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.errors import StudyError, brief, install
from secateur.study.cells import Unit
from secateur.study.rows import Row, flat
from secateur.study.store import Store

_NOT_MEASURED = {"kind", "id", "base", "of", "network", "strength", "seed", "fold"}
"""What a row repeats from its cell."""
_ID = "secateur.id"


@dataclass(frozen=True)
class Run:
    """A finished cell: what it and its network were asked, what came out, by epoch, and when.

    `group` names the network it belongs to, `name` what was done to it; times in s since 1970.
    """

    id: str
    group: str
    name: str
    parameters: dict[str, str | float | bool]
    scalars: dict[str, float]
    epochs: tuple[dict[str, float], ...]
    began: float
    ended: float


def tracked(store: Store, units: Sequence[Unit]) -> Iterator[Run]:
    """The runs of all cells that have their row, in the order of the study."""
    times = {(event.what, event.id): event.time for event in store.events()}
    for unit in units:
        for cell in unit.cells:
            if not store.has(cell.id):
                continue
            row = store.row(cell.id)
            ended = times.get(("finish", cell.id)) or store.written(cell.id)
            shown = str(cell).removesuffix(f" of {unit.base.id}")
            own = "base" if cell == unit.base else shown
            yield Run(
                id=cell.id,
                group=f"{unit.base} {unit.base.id[:6]}",
                name=f"{own} {cell.id[:6]}",
                parameters=_parameters({**unit.base.content(), **cell.content()}),
                scalars=_numbers(row),
                epochs=tuple(_numbers(epoch) for epoch in row.get("epochs", ())),
                began=times.get(("start", cell.id), ended),
                ended=ended,
            )


def to_tensorboard(runs: Iterator[Run], out: Path) -> tuple[int, int]:
    """Write runs below `out`, a folder each; answer with how many were written and how many stood.

    Raises:
        StudyError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams
    except ImportError as error:
        raise StudyError(f"TensorBoard is not installed; run {install('tensorboard')}") from error
    written = stood = 0
    for run in runs:
        folder = out / _slug(run.group) / _slug(run.name)
        if folder.exists():
            stood += 1
            continue
        unfinished = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        with SummaryWriter(str(unfinished)) as writer:
            for summary in hparams(run.parameters, run.scalars):  # type: ignore[no-untyped-call]
                writer._get_file_writer().add_summary(summary, walltime=run.ended)
            for name, value in run.scalars.items():
                writer.add_scalar(name, value, walltime=run.ended)
            for step, epoch in enumerate(run.epochs, start=1):
                for name, value in epoch.items():
                    writer.add_scalar(f"epoch/{name}", value, step, walltime=run.ended)
        unfinished.rename(folder)
        written += 1
    return written, stood


def to_mlflow(runs: Iterator[Run], uri: str, experiment: str) -> tuple[int, int]:
    """Write runs to the MLflow that `uri` names; answer with how many were written, how many stood.

    Raises:
        StudyError: MLflow is not installed, or cannot be written to.
    """
    try:
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise StudyError(f"MLflow is not installed; run {install('mlflow')}") from error
    try:
        return _to_mlflow(runs, uri, experiment)
    except (MlflowException, ImportError) as error:
        raise StudyError(
            f"MLflow cannot write to {uri!r} ({brief(error)}); name the URI of a tracking server"
        ) from error


def _to_mlflow(runs: Iterator[Run], uri: str, experiment: str) -> tuple[int, int]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    place = found.experiment_id if found else client.create_experiment(experiment)
    written = stood = 0
    for run in runs:
        there = client.search_runs([place], f"tags.`{_ID}` = '{run.id}'")
        if any(one.info.status == "FINISHED" for one in there):
            stood += 1
            continue
        for one in there:
            client.delete_run(one.info.run_id)
        began, ended = round(run.began * 1000), round(run.ended * 1000)
        name = f"{run.group}: {run.name}"
        new = client.create_run(place, start_time=began, tags={_ID: run.id}, run_name=name)
        metrics = [Metric(key, value, ended, 0) for key, value in run.scalars.items()]
        metrics += [
            Metric(f"epoch/{key}", value, ended, step)
            for step, epoch in enumerate(run.epochs, start=1)
            for key, value in epoch.items()
        ]
        parameters = [Param(key, str(value)) for key, value in run.parameters.items()]
        client.log_batch(new.info.run_id, params=parameters)
        for first in range(0, len(metrics), 1000):
            client.log_batch(new.info.run_id, metrics=metrics[first : first + 1000])
        client.set_terminated(new.info.run_id, "FINISHED", ended)
        written += 1
    return written, stood


def _parameters(content: Mapping[str, Any]) -> dict[str, str | float | bool]:
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flat(content)
        if value is not None
    }


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in flat(row)
        if name not in _NOT_MEASURED
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    }


def _slug(text: str) -> str:
    return text.replace(" ", "-").replace("/", "-")
