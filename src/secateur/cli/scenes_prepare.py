"""`secateur scenes prepare`: the features of a data set, made once and kept."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from secateur.cli.scenes_source import (
    CACHE,
    SYNTHETIC,
    Allow,
    BadClips,
    Cache,
    DataArguments,
    Dataset,
    Mono,
    Preset,
    Rate,
    Seconds,
    Source,
    data_of,
    make_features,
    open_set,
    prepared_json,
    prepared_lines,
)


def prepare(
    source: Source = SYNTHETIC,
    dataset: Dataset = None,
    data: DataArguments = None,
    features: Preset = "fast",
    seconds: Seconds = None,
    cache: Cache = CACHE,
    on_bad: BadClips = "raise",
    allow: Allow = None,
    rate: Rate = None,
    mono: Mono = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Make the log-mels of a data set, or say that the cache has them; list what was skipped."""
    from secateur.cli.scenes_task import inputs_of

    part = inputs_of(data_of(source, dataset, data), features, seconds)
    scenes = open_set(part.data, cache, on_bad, allow, rate, mono)
    done = make_features(scenes, part.features, cache)
    if as_json:
        typer.echo(json.dumps(prepared_json(done)))
    else:
        typer.echo("\n".join(prepared_lines(done)))
