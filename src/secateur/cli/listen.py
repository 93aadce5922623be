"""`secateur scenes listen`: one page with sounds and pictures of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secateur.scenes.datasets import SceneSet


def listen(
    preset: Annotated[
        str, typer.Option(help="Generated scenes: demo, normal or hard.", show_default=True)
    ] = "normal",
    dataset: Annotated[
        Path | None, typer.Option(help="The folder of a data set to listen to instead.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is generated or chosen.", min=0)] = 0,
    clips: Annotated[int, typer.Option(help="Clips of every class.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Seconds of a clip, at most.")] = 4.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page.")] = Path("out/listen.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written.")] = False,
) -> None:
    """Write one page to listen to scenes: players, spectrograms, recorders. It works offline."""
    from dataclasses import replace

    from rich.console import Console

    from secateur.report.listening import build
    from secateur.scenes.listening import listen_to, listen_to_synthesis
    from secateur.scenes.synthesis import synthesis

    with Console(stderr=True).status("listening"):
        if dataset is None:
            settings = replace(synthesis(preset), seed=seed)
            found = listen_to_synthesis(settings, clips, seconds, f"generated scenes, {preset}")
        else:
            found = listen_to(open_scenes(dataset), clips, seconds, seed)
        build(found, out)
    n_bytes = out.stat().st_size
    if as_json:
        answer = {
            "page": str(out),
            "bytes": n_bytes,
            "dataset": found.name,
            "clips": [
                {"name": one.name, "class": one.label, "device": one.device, "seconds": one.seconds}
                for one in (*found.clips, *(heard for place in found.paired for heard in place))
            ],
        }
        typer.echo(json.dumps(answer, allow_nan=False))
        return
    n = len(found.clips) + sum(map(len, found.paired))
    typer.echo(f"{n} clips of {found.name} in {n_bytes / 1e6:.1f} MB")
    typer.echo(out)


def open_scenes(root: Path) -> SceneSet:
    """The data set in a folder, recognised by its listings; bad clips of TAU are left out.

    Raises:
        DataError: it cannot be recognised or read.
    """
    from secateur.scenes.check import recognise
    from secateur.scenes.datasets import esc10, esc50
    from secateur.scenes.folders import folder_per_class
    from secateur.scenes.tau import EDITIONS, tau

    name = recognise(root)
    if name in EDITIONS:
        return tau(root, EDITIONS[name], on_bad="skip")
    if name == "folder":
        return folder_per_class(root)
    return esc10(root) if name == "esc10" else esc50(root)
