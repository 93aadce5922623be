"""`secateur scenes`: data sets of acoustic scenes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.listen import listen
from secateur.cli.scenes_evaluate import evaluate
from secateur.cli.scenes_prepare import prepare
from secateur.cli.scenes_train import train

if TYPE_CHECKING:
    from secateur.scenes.check import Problem

_SHOWN = 5
"""Problems of one kind that are named; --json has all."""

scenes = typer.Typer(
    name="scenes", help="Acoustic scenes: data sets, features, networks.", no_args_is_help=True
)


scenes.command()(listen)
scenes.command()(prepare)
scenes.command()(train)
scenes.command()(evaluate)


@scenes.callback()
def _scenes() -> None:
    """Acoustic scenes: data sets, features, networks."""


@scenes.command()
def check(
    root: Annotated[Path, typer.Argument(help="The folder that holds the data set.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="tau2019, tau2020, tau2022, esc10, esc50 or folder; else recognised."),
    ] = None,
    checksums: Annotated[
        Path | None, typer.Option(help="A list as md5sum or sha256sum write it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say whether a data set is whole, and what is missing (exit 1 if it is not)."""
    from secateur.scenes.check import check as look

    found = look(root, dataset, checksums)
    if as_json:
        typer.echo(json.dumps(asdict(found) | {"complete": found.complete}))
    else:
        typer.echo(f"{found.dataset} in {found.root}")
        for what, n in found.counts.items():
            typer.echo(f"{n:>9,}  {what}")
        for line in (*_by_kind(found.problems), *(f"note: {note}" for note in found.notes)):
            typer.echo(line)
        typer.echo("complete" if found.complete else f"incomplete: {len(found.problems)} problems")
    raise typer.Exit(0 if found.complete else 1)


def _by_kind(problems: tuple[Problem, ...]) -> list[str]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    lines = []
    for kind, some in kinds.items():
        lines.append(f"{kind}: {len(some)}")
        lines += [f"  {problem.what}: {problem.words}" for problem in some[:_SHOWN]]
        if len(some) > _SHOWN:
            lines.append(f"  and {len(some) - _SHOWN} more (--json names all)")
    return lines
