"""`secateur sensitivity`: what every group of channels is good for, by masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.criterion import find_criterion
from secateur.cli.inputs import Inputs
from secateur.cli.network import Arguments, Factory, Weights, given_network
from secateur.errors import DataError, SecateurError

if TYPE_CHECKING:
    from torch import nn


def sensitivity(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    inputs: Inputs = None,
    calibration: Annotated[
        str, typer.Option(help="A file with `input` and `target`, or scenes.", show_default=False)
    ] = "",
    loss: Annotated[str, typer.Option(help="The loss that is measured.")] = "cross_entropy",
    criterion: Annotated[str, typer.Option(help="Which channels go first: l1, …")] = "l1",
    ratio: Annotated[
        list[float] | None,
        typer.Option(help="A share to zero; repeatable. [default: .25, .5, .75]"),
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Give the shares that lose at most this.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the curves.")] = Path(
        "out/sensitivity.json"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Zero channels of one group at a time and measure the loss; nothing is cut."""
    import torch
    from rich.console import Console

    from secateur.cli.calibration import loss_of, read_calibration, scores_of
    from secateur.files import write_text
    from secateur.plan.sensitivity import ratios_from
    from secateur.reading import parse_json
    from secateur.train.evaluate import predict
    from secateur.train.sensitivity import measure_sensitivity

    chosen = find_criterion(criterion)
    if not calibration:
        raise SecateurError(
            "a loss is measured on data: give --calibration a file with `input` and `target`, or "
            "`scenes` for generated clips"
        )
    if tolerance is not None and not tolerance >= 0:
        raise SecateurError(f"--tolerance is a loss from 0; got {tolerance}")
    loss_fn = loss_of(loss)
    given = given_network(factory, weights, arg, inputs)
    channels = given.traced()
    x, targets, what = read_calibration(calibration, given.one_tensor("a sensitivity"))
    if targets is None:
        raise DataError(f"{calibration} holds no `target`; a loss compares outputs with targets")

    def evaluate(network: nn.Module) -> float:
        with torch.no_grad():
            return float(loss_fn(predict(network, x), targets))

    with Console(stderr=True).status("measuring") as shown:
        scores, _ = scores_of(
            given,
            channels,
            chosen,
            calibration=calibration,
            loss=loss,
            on_progress=shown.update,
        )
        found = measure_sensitivity(
            channels,
            scores,
            evaluate,
            ratios=tuple(ratio or (0.25, 0.5, 0.75)),
            measure=loss,
            better="lower",
            on_progress=lambda done, total: shown.update(f"measuring: {done} of {total}"),
        )
    shares = None if tolerance is None else ratios_from(found, tolerance)
    write_text(out, found.to_json())
    if as_json:
        answer = {"sensitivity": parse_json(found.to_json()), "ratios": shares, "file": str(out)}
        typer.echo(json.dumps(answer, allow_nan=False))
        return
    typer.echo(f"{found}\nmeasured on {what}")
    if shares is not None:
        typer.echo(f"losing at most {tolerance:g} each:")
        typer.echo(" ".join(f"--ratio {name}={share:.3g}" for name, share in shares.items()))
    typer.echo(f"wrote {out}")
