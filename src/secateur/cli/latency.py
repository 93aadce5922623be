"""`secateur latency`: time a network's layers on this machine, for budgets in milliseconds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from secateur.cli.inputs import Inputs
from secateur.cli.network import Arguments, Factory, Weights, given_network
from secateur.errors import SecateurError


def latency(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    inputs: Inputs = None,
    repetitions: Annotated[int, typer.Option(help="How often each layer is timed.")] = 15,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the table.")] = Path(
        "out/latency.json"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Time every kind of layer over widths, one thread; a table for `prune --latency-ms`."""
    from rich.console import Console

    from secateur.deploy.latency import measure_latencies, measured_latency_ms
    from secateur.files import write_text

    if repetitions < 1:
        raise SecateurError(f"--repetitions is a whole number from 1; got {repetitions}")
    given = given_network(factory, weights, arg, inputs)
    model, example, channels = given.model, given.example, given.traced()
    with Console(stderr=True).status("timing layers") as shown:
        table = measure_latencies(
            channels,
            repetitions=repetitions,
            on_progress=lambda done, total: shown.update(f"timing layers: {done} of {total} kinds"),
        )
        measured = measured_latency_ms(model, example, repetitions)
    estimated = table.estimate(channels)
    write_text(out, table.to_json())
    if as_json:
        answer = {"estimated_ms": estimated, "measured_ms": measured, "file": str(out)}
        typer.echo(json.dumps(answer | {"table": asdict(table)}, allow_nan=False))
        return
    for timing in table.timings:
        widest = f"{timing.in_widths[-1]} -> {timing.out_widths[-1]} wide"
        typer.echo(f"{timing.ms[-1][-1]:9.4f} ms  {timing.kind}, {widest}")
    typer.echo(f"whole network: {estimated:.3g} ms estimated, {measured:.3g} ms measured")
    typer.echo(f"{table.machine}; wrote {out}")
