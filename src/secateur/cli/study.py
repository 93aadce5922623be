"""`secateur demo`, `study init`, `run`, `status`, `pack`, …, and `report`: many runs, one page."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from contextlib import redirect_stdout
from enum import StrEnum
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from secateur.report.findings import Findings
    from secateur.study.cluster import Cluster
    from secateur.study.recipe import Recipe
    from secateur.study.store import Store

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        min=0,
        help="Worker processes; one a core by default, if memory holds them; 0 for none.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study.")] = Path(
        "out/demo"
    ),
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole main job on generated scenes: minutes, no data needed, ends with a report."""
    from secateur.study.recipe import read_recipe

    with as_file(files("secateur.study") / "demo.yaml") as path:
        recipe = read_recipe(path)
    _run(recipe, out, workers, as_json)


class _RunByDefault(TyperGroup):
    """`study RECIPE` is `study run RECIPE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


study = typer.Typer(
    name="study",
    cls=_RunByDefault,
    help="Run many trainings and cuts by a recipe: `secateur study RECIPE`.",
    no_args_is_help=True,
)


@study.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML or JSON.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the study. [default: out/NAME]")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: training.epochs=20. May be repeated."),
    ] = None,
    workers: Workers = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on a cluster of Ray instead: auto, local or HOST:PORT."),
    ] = None,
    cpus_per_run: Annotated[
        float | None, typer.Option(help="With --ray: cores, and torch threads, of a run. [1]")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(help="With --ray: GPUs of a run. [0]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe, or go on where it stopped; what is finished is never done again."""
    from secateur.study.recipe import read_recipe

    cluster = _cluster(ray, workers, cpus_per_run, gpus_per_run)
    found = read_recipe(recipe, changes or ())
    _run(found, out or _own_folder(found), workers, as_json, cluster)


def _own_folder(recipe: Recipe) -> Path:
    """Where a study goes if nothing is said; never out of the folder `out`."""
    from secateur.errors import RecipeError, shown

    folder = Path("out") / recipe.name
    if folder.parent != Path("out") or recipe.name == ".." or len(os.fsencode(recipe.name)) > 255:
        raise RecipeError(
            f"name {shown(recipe.name)} is not that of one folder; name the study's with --out"
        )
    return folder


def _cluster(
    address: str | None, workers: int | None, cpus: float | None, gpus: float | None
) -> Cluster | None:
    from secateur.study.cluster import Cluster

    if address is None:
        if cpus is not None or gpus is not None:
            raise typer.BadParameter("--cpus-per-run and --gpus-per-run need --ray")
        return None
    if workers is not None:
        raise typer.BadParameter(
            "--workers is for this machine; with --ray give --cpus-per-run instead"
        )
    return Cluster(address, 1 if cpus is None else cpus, 0 if gpus is None else gpus)


@study.command()
def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how far a study is, while it runs or later; loads no torch."""
    from dataclasses import asdict

    from secateur.study.cells import units
    from secateur.study.progress import status, status_lines
    from secateur.study.store import Store

    store = Store(folder)
    seen = status(store, units(store.recipe()))
    if as_json:
        typer.echo(json.dumps(asdict(seen) | {"total": asdict(seen.total)}))
    else:
        typer.echo("\n".join(status_lines(seen)))


@study.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The file, .jsonl.xz.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write all rows into one file, to keep or to go on with elsewhere."""
    from secateur.study.archive import pack
    from secateur.study.store import Store

    store = Store(folder)
    store.recipe()
    n_rows = pack(store, file)
    typer.echo(
        json.dumps({"rows": n_rows, "out": str(file)})
        if as_json
        else f"{n_rows:,} rows written: {file}"
    )


@study.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="What pack wrote.", show_default=False)],
    recipe: Annotated[Path, typer.Argument(help="The recipe of its study.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the study. [default: out/NAME]")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: seeds=3. May be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Take over packed rows; the recipe, run into this folder, does what is missing."""
    from secateur.study.archive import unpack
    from secateur.study.cells import units
    from secateur.study.recipe import read_recipe
    from secateur.study.store import Store

    found = read_recipe(recipe, changes or ())
    store = Store(out or _own_folder(found))
    taken, left = unpack(file, store, found)
    n_cells = sum(len(unit.cells) for unit in units(found))
    told = {"rows": taken, "left": left, "cells": n_cells, "out": str(store.folder)}
    typer.echo(
        json.dumps(told)
        if as_json
        else f"{taken:,} of {n_cells:,} rows taken over, {left:,} left: {store.folder}"
    )
    if left:
        why = "rows are left of units that are not whole in the file, or not in the recipe"
        typer.echo(why, err=True)


class _Tracker(StrEnum):
    tensorboard = "tensorboard"
    mlflow = "mlflow"


@study.command()
def track(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    to: Annotated[_Tracker, typer.Option(help="Where to.", show_default=False)],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for TensorBoard [FOLDER/tensorboard]; URI of MLflow's server "
            "[$MLFLOW_TRACKING_URI].",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Export the rows there are to TensorBoard or MLflow, a run each; what is there stays."""
    from secateur.study.cells import units
    from secateur.study.store import Store
    from secateur.study.tracking import to_mlflow, to_tensorboard, tracked

    store = Store(folder)
    recipe = store.recipe()
    runs = tracked(store, units(recipe))
    if to is _Tracker.tensorboard:
        place = out or str(folder / "tensorboard")
        written, stood = to_tensorboard(runs, Path(place))
    else:
        place = out or os.environ.get("MLFLOW_TRACKING_URI", "")
        if not place:
            raise typer.BadParameter("name MLflow's server: --out URI, or MLFLOW_TRACKING_URI")
        written, stood = to_mlflow(runs, place, recipe.name)
    if as_json:
        typer.echo(json.dumps({"written": written, "there": stood, "out": place}))
    else:
        typer.echo(f"{written} runs written, {stood} were there: {place}")


@study.command()
def init(
    file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("study.yaml"),
    data: Annotated[
        Path | None, typer.Option(help="Your recordings, a folder per class.", show_default=False)
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Your network, module:function.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write a first recipe for own recordings and an own network, with a word on every line."""
    from secateur.study.starter import write_starter

    scenes = write_starter(file, data, network)
    found = [] if scenes is None else [scenes.classes[clip.label] for clip in scenes.clips]
    each = Counter(found)
    if as_json:
        typer.echo(json.dumps({"out": str(file), "recordings": dict(each)}))
        return
    if each:
        shown = ", ".join(f"{name} {n:,}" for name, n in each.items())
        typer.echo(f"{len(found):,} recordings of {len(each)} classes: {shown}")
    typer.echo(f"wrote {file}; read it, then run: secateur study {file}")


@study.command()
def schema() -> None:
    """Print the JSON schema of recipes, by which editors check and complete them."""
    from secateur.study.recipe import recipe_schema

    typer.echo(json.dumps(recipe_schema(), indent=2))


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Make the report again from the rows a study has so far; loads no torch."""
    from secateur.report.digest import digest, lines
    from secateur.study.store import Store

    store = Store(folder)
    findings, page = _report(store.recipe(), store)
    if as_json:
        typer.echo(json.dumps({"report": str(page)} | digest(findings), allow_nan=False))
    else:
        typer.echo("\n".join([*lines(findings), str(page)]))


def _run(
    recipe: Recipe,
    out: Path,
    workers: int | None,
    as_json: bool,
    cluster: Cluster | None = None,
) -> None:
    """Run a study or what is missing of it; Ctrl-C at any time says how to go on."""
    try:
        _run_all(recipe, out, workers, as_json, cluster)
    except KeyboardInterrupt as stopped:
        how = stopped.args[0] if stopped.args else "stopped; run the same command again to go on"
        raise KeyboardInterrupt(how) from None


def _run_all(
    recipe: Recipe,
    out: Path,
    workers: int | None,
    as_json: bool,
    cluster: Cluster | None,
) -> None:
    from rich.console import Console

    from secateur.report.digest import lines
    from secateur.study.cells import units
    from secateur.study.check import check_networks
    from secateur.study.data import features
    from secateur.study.execute import execute
    from secateur.study.progress import progress
    from secateur.study.run import FEATURES, run_unit
    from secateur.study.store import Store

    store = Store(out)
    check_networks(recipe, store)
    store.open(recipe)
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print("preparing log-mels")
    with console.status("preparing log-mels") as shown:
        features(
            recipe,
            out / FEATURES,
            lambda done, total: shown.update(f"preparing log-mels: {done} of {total} clips"),
        )
    work = units(recipe)
    # What anybody prints meanwhile, Ray for one, is not the answer of the command.
    with progress(store, work, console) as on_event, redirect_stdout(sys.stderr):
        outcome = execute(
            work, store, run_unit, workers=workers, cluster=cluster, on_event=on_event
        )
    findings, page = _report(recipe, store)
    if as_json:
        answer = {
            "done": outcome.done,
            "failed": outcome.failed,
            "skipped": outcome.skipped,
            "seconds": round(outcome.seconds, 1),
            "report": str(page),
        }
        typer.echo(json.dumps(answer))
    else:
        typer.echo(
            f"{outcome.done} cells done, {outcome.skipped} were there, {outcome.failed} failed, "
            f"in {outcome.seconds:.0f} s"
        )
        typer.echo("\n".join([*lines(findings), str(page)]))
    if outcome.failed:
        raise typer.Exit(1)


def _report(recipe: Recipe, store: Store) -> tuple[Findings, Path]:
    """Write `rows.csv` and `report.html` beside the rows."""
    from secateur.files import write_text
    from secateur.report.findings import find
    from secateur.report.page import render
    from secateur.study.cells import units

    cells = [cell for unit in units(recipe) for cell in unit.cells]
    wanted = {cell.id for cell in cells}
    rows = [*store.rows(cells), *(row for row in store.failures() if row["id"] in wanted)]
    findings = find(recipe.model_dump(mode="json"), rows)
    store.rows_csv(store.folder / "rows.csv", cells)
    page = store.folder / "report.html"
    write_text(page, render(findings))
    return findings, page
