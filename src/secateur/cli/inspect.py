"""`secateur inspect`: the diagnosis of one network, or of several side by side."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.inputs import Inputs
from secateur.cli.network import Arguments, given_network
from secateur.errors import SecateurError

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 32


def inspect(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Each package.module:function, timm:NAME or hf:NAME, perhaps with @weights.",
            show_default=False,
        ),
    ],
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights", "-w", help="Weights of each network in order, or several of one."
        ),
    ] = None,
    arg: Arguments = None,
    inputs: Inputs = None,
    criterion: Annotated[
        list[str] | None,
        typer.Option(help="A criterion to compare; repeatable. [default: all that can be]"),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Data for criteria that need it: a file with `input`, `target`; or scenes."
        ),
    ] = None,
    loss: Annotated[str, typer.Option(help="Loss for criteria of gradients.")] = "cross_entropy",
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    groups: Annotated[
        bool, typer.Option("--groups", help="Print the channel groups and what is pinned first.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the page.")] = Path(
        "out/inspect"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say how criteria see a network and what its weights are like; write a page about it."""
    from rich.console import Console

    from secateur.cli.calibration import loss_of, read_calibration
    from secateur.cli.criterion import find_criterion
    from secateur.files import write_text
    from secateur.report.inspection import build
    from secateur.study.analyse import analyse
    from secateur.study.screen import screen

    chosen = [find_criterion(name) for name in criterion] if criterion else None
    loss_fn = loss_of(loss)
    sources = named_sources(networks, weights or [])
    batches, targets, found, read_for = None, False, [], None
    with Console(stderr=True).status("inspecting") as shown:
        for name, factory, file in sources:
            shown.update(f"inspecting {name}")
            given = given_network(factory, file, arg, inputs)
            channels = given.traced()
            if calibration and (example := given.one_tensor("calibrating")).shape != read_for:
                x, target, _ = read_calibration(calibration, example, seed)
                batches, targets = _batches(x, target), target is not None
                read_for = example.shape
            if groups and not as_json:
                typer.echo(f"{channels}\n")
            found.append(
                analyse(
                    given.model,
                    channels,
                    chosen,
                    calibration=batches,
                    loss_fn=loss_fn if targets else None,
                    seed=seed,
                    name=name,
                )
            )
        shown.update("drawing the page")
        page, rows = out / "page.html", out / "rows.json"
        answer = {"networks": [asdict(one) for one in found]}
        write_text(rows, json.dumps(answer, allow_nan=False))
        build(found, page)
    if as_json:
        where = {"page": str(page), "rows": str(rows)}
        typer.echo(json.dumps(answer | where, allow_nan=False))
        return
    typer.echo(screen(found, f"page {page}   rows {rows}"))


def named_sources(networks: list[str], weights: list[Path]) -> list[tuple[str, str, Path | None]]:
    """What every network is called, its factory and its weights.

    A factory may bring its weights behind an `@`. Else `weights` are those of the networks in
    their order, or several of the one network there is.

    Raises:
        SecateurError: the number of weights fits neither, or a network has two.
    """
    pairs: list[tuple[str, Path | None]] = []
    for network in networks:
        factory, _, file = network.partition("@")
        pairs.append((factory, Path(file) if file else None))
    if weights:
        own = [factory for factory, file in pairs if file is not None]
        if own:
            raise SecateurError(
                f"{own[0]} has its weights behind an @, and --weights is given too; use one way "
                "for all networks"
            )
        if len(pairs) == 1:
            pairs = pairs * len(weights)
        if len(weights) != len(pairs):
            raise SecateurError(
                f"{len(weights)} --weights for {len(pairs)} networks; give one for each in their "
                "order, or write package.module:function@file"
            )
        pairs = [(factory, file) for (factory, _), file in zip(pairs, weights, strict=True)]
    return [
        (name, factory, file) for name, (factory, file) in zip(_names(pairs), pairs, strict=True)
    ]


def _names(pairs: list[tuple[str, Path | None]]) -> list[str]:
    """The function's name, with what tells equal ones apart: the weights' name, then a number."""
    names = [factory.rpartition(":")[2] or factory for factory, _ in pairs]
    twice = Counter(names)
    names = [
        f"{name} {file.stem}" if twice[name] > 1 and file is not None else name
        for name, (_, file) in zip(names, pairs, strict=True)
    ]
    seen: Counter[str] = Counter()
    for k, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[k] = f"{name} #{seen[name]}"
    return names


def _batches(inputs: Tensor, targets: Tensor | None) -> list[Any]:
    starts = range(0, len(inputs), _BATCH)
    if targets is None:
        return [inputs[k : k + _BATCH] for k in starts]
    return [(inputs[k : k + _BATCH], targets[k : k + _BATCH]) for k in starts]
