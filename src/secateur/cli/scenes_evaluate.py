"""`secateur scenes evaluate`: a trained network, or a cut one beside it, on held-out scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.network import keywords
from secateur.cli.scenes_source import (
    CACHE,
    Allow,
    BadClips,
    Cache,
    DataArguments,
    Dataset,
    Mono,
    Rate,
    data_of,
    fitting,
    make_features,
    open_set,
    prepared_json,
)
from secateur.errors import DataError

if TYPE_CHECKING:
    from torch import nn

    from secateur.cli.scenes_task import Task, Trained


def evaluate(
    trained: Annotated[
        Path, typer.Argument(help="What `scenes train` wrote.", show_default=False)
    ] = Path("out/train"),
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="Other weights, such as those of a cut network."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Other data, of the same classes: a folder or synthetic.")
    ] = None,
    dataset: Dataset = None,
    data: DataArguments = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All clips of --source, not its held-out part.")
    ] = False,
    cache: Cache = CACHE,
    on_bad: BadClips = "raise",
    allow: Allow = None,
    rate: Rate = None,
    mono: Mono = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for scores.json and scores.md.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Score a network on what was held out; with other weights, say what they cost, paired."""
    import numpy as np
    import torch

    from secateur.cli.scenes_task import NETWORK, Inputs, Trained, checked
    from secateur.cli.scenes_train import answers, check_answers, different_labels
    from secateur.files import write_json, write_text
    from secateur.scenes.scores import paired_difference, scene_scores
    from secateur.scenes.scores_table import difference_table, scores_table

    known = Trained.read(trained)
    section = known.task.data.model_dump()
    if source is not None:
        section = fitting(data_of(source, dataset, data), known.task.features)
    elif dataset is not None:
        raise DataError("--dataset says what --source is; give --source, or leave it out")
    else:
        section |= keywords(data or (), "--data")
    if everything and source is None:
        raise DataError("--everything would score clips that were trained on; give --source")
    features = known.task.features.model_dump()
    asked = checked(Inputs, {"data": section, "features": features})
    scenes = open_set(asked.data, cache, on_bad, allow, rate, mono)
    if scenes.classes != known.classes:
        raise DataError(different_labels(str(trained), known.classes, scenes.classes))
    prepared = make_features(scenes, asked.features, cache)
    mine = np.ones(len(scenes.clips), dtype=np.bool_)
    if not everything:
        mine = scenes.divided(known.task.fold, getattr(asked.data, "test_on", "validation"))[1]
    x = torch.from_numpy(known.standard(prepared.features.x[mine]))
    clips = [clip for clip, chosen in zip(scenes.clips, mine, strict=True) if chosen]
    networks = {str(trained / NETWORK): _load(trained / NETWORK, known)}
    if weights is not None:
        networks[str(weights)] = _load(weights, known)
    said: dict[str, Any] = {}
    for name, model in networks.items():
        check_answers(model, x, len(known.classes), name)
        said[name] = answers(model, x)
    last = list(said)[-1]
    seed = known.task.seed
    scores = scene_scores(clips, said[last], known.classes, seed=seed)
    text = f"# {last} on {scenes.name}\n\n{scores_table(scores)}\n"
    answer: dict[str, Any] = {
        "network": last,
        "prepared": prepared_json(prepared),
        "scores": scores.to_json(),
    }
    if weights is not None:
        first, second = said.values()
        difference = paired_difference(clips, first, second, known.classes, seed=seed)
        text += f"\nBeside {next(iter(said))}:\n\n{difference_table(difference)}\n"
        answer |= {"beside": next(iter(said)), "difference": difference.to_json()}
    if out is not None:
        write_json(out / "scores.json", answer)
        write_text(out / "scores.md", text)
    typer.echo(json.dumps(answer, allow_nan=False) if as_json else text.rstrip())


def _load(path: Path, known: Trained) -> nn.Module:
    """A network, cut or not, against the factory of the task."""
    from secateur.cli.scenes_train import build
    from secateur.surgery.package import load

    task: Task = known.task
    return load(path, lambda: build(task, len(known.classes)))
