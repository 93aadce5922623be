"""`secateur export`: a network as ONNX, INT8 too, checked and measured, with a model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.calibration import read_calibration
from secateur.cli.inputs import Inputs
from secateur.cli.network import Arguments, Factory, Given, Weights, given_network
from secateur.errors import DeployError, SecateurError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

    from secateur.deploy.card import File


def export(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    inputs: Inputs = None,
    int8: Annotated[bool, typer.Option("--int8", help="An INT8 file too.")] = False,
    calibration: Annotated[
        str | None, typer.Option(help="Inputs for INT8: a file with `input`; or scenes.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Labelled data for the accuracy: `input`, `target`.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="It must fit: dcase2022 or dcase2023.")] = None,
    data: Annotated[str, typer.Option(help="For the card: what it was trained on.")] = "unknown",
    training: Annotated[str, typer.Option(help="For the card: how it was trained.")] = "unknown",
    dynamic: Annotated[
        str, typer.Option(help="Axes that may vary: auto, batch, none, or numbers: 0,3.")
    ] = "auto",
    tolerance: Annotated[
        float, typer.Option(help="Relative error from torch that is allowed.")
    ] = 1e-4,
    repetitions: Annotated[int, typer.Option(help="How often each file is timed.")] = 50,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "out/export"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Write model.onnx, model.int8.onnx and a card, checked in ONNX Runtime on one thread."""
    from rich.console import Console

    from secateur.deploy.card import UNKNOWN, Cut, Origin
    from secateur.deploy.device import DEVICES
    from secateur.deploy.export import export as export_to
    from secateur.deploy.session import check_installed

    check_installed()
    if device is not None and device not in DEVICES:
        raise SecateurError(unknown_name("device", device, DEVICES))
    if int8 and calibration is None:
        raise DeployError(
            "--int8 needs inputs to find the ranges of activations; name a file with `input`, or "
            "scenes, by --calibration"
        )
    axes = _axes(dynamic)
    given = given_network(factory, weights, arg, inputs)
    model, uncut = given.model, given.uncut
    x, labelled, used = None, None, UNKNOWN
    if calibration is not None:
        x, targets, used = read_calibration(calibration, given.one_tensor("--calibration"))
        labelled = _labelled(x, targets)
    tested = (
        UNKNOWN if labelled is None else f"{used}, the calibration data, which it may be trained on"
    )
    if test is not None:
        labelled, tested = _test_data(test, given.one_tensor("--test"))
    origin = Origin(
        network=factory,
        arguments=tuple(arg or ()),
        weights=UNKNOWN if weights is None else weights.name,
        weights_sha256=UNKNOWN if weights is None else _sha256(weights),
        data=data,
        training=training,
        cuts=tuple(map(Cut, given.plans)),
        calibration=used,
        labelled_data=tested,
    )
    with Console(stderr=True).status("exporting") as shown:
        card = export_to(
            model,
            given.example,
            out,
            calibration=x if int8 else None,
            labelled=labelled,
            uncut=uncut,
            origin=origin,
            dynamic=axes if isinstance(axes, str) else {_input_name(given): axes},
            tolerance=tolerance,
            repetitions=repetitions,
            on_progress=shown.update,
        )
    if as_json:
        typer.echo(json.dumps(card.as_json(), allow_nan=False))
    else:
        for file in card.files:
            typer.echo(_line(file))
            for fit in file.fits:
                typer.echo(f"  {fit}")
        if card.latency is not None:
            typer.echo(str(card.latency))
        written = ", ".join(str(out / file.name) for file in card.files)
        typer.echo(f"wrote {written}, card.md, card.json")
    if device is not None and not all(f.fits for f in card.files[-1].fits if f.device == device):
        raise typer.Exit(1)


def _axes(dynamic: str) -> str | tuple[int, ...]:
    """A word, or axes from a text such as `0,3`."""
    try:
        return tuple(int(axis) for axis in dynamic.split(","))
    except ValueError:
        return dynamic


def _input_name(given: Given) -> str:
    """The name of a network's only input.

    Raises:
        SecateurError: it has several, and axes are given for none of them by name.
    """
    from secateur.deploy.onnx import positional

    given.one_tensor("--dynamic with axes")
    return positional(given.model, 1)[0]


def _labelled(inputs: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Inputs with a class for each, if that is what the targets are."""
    import torch

    if targets is None or targets.dtype != torch.int64 or targets.ndim != 1:
        return None
    return inputs, targets


def _test_data(source: str, example: Tensor) -> tuple[tuple[Tensor, Tensor], str]:
    inputs, targets, said = read_calibration(source, example)
    if (labelled := _labelled(inputs, targets)) is None:
        raise DeployError(
            f"--test {source} holds no class for each input; give an array `target` of whole "
            "numbers, (n,)"
        )
    return labelled, said


def _line(file: File) -> str:
    right = "" if file.accuracy is None else f", {file.accuracy:.1%} right"
    time = file.latency
    return (
        f"{file.name}: {file.bytes:,} bytes, {file.relative_error:.1e} from {file.compared_with}"
        f"{right}, {time.median_ms:.3g} ms ({time.lower_quartile_ms:.3g} to "
        f"{time.upper_quartile_ms:.3g})"
    )


def _sha256(file: Path) -> str:
    from secateur.reading import opened

    with opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
