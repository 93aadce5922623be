"""`secateur scenes train`: from recordings to a network, its scores and how it came about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.network import Arguments
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
from secateur.errors import DataError, SecateurError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from secateur.cli.scenes_task import Task, Trained
    from secateur.scenes.split import Split
    from secateur.train.fit import Epoch, History
    from secateur.train.penalty import Penalty

CHECKPOINT = "checkpoint.pt"
CALIBRATION = "calibration.npz"
_RESULTS = ("scores.json", "scores.md", "history.json", CALIBRATION)
_N_CALIBRATION = 256
"""Clips of the training part that are written for criteria and exports that need data."""

_HOW = "How it is trained"


def train(
    source: Source = SYNTHETIC,
    network: Annotated[
        str, typer.Option(help="vgg, resnet, mobilenet, or package.module:factory.")
    ] = "vgg",
    width: Annotated[
        int | None, typer.Option(help="Channels of the first stage. [default: the family's]", min=1)
    ] = None,
    arg: Arguments = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="Train these on, such as those of a cut network."),
    ] = None,
    dataset: Dataset = None,
    data: DataArguments = None,
    fold: Annotated[int, typer.Option(help="The fold to test on, without official lists.")] = 1,
    features: Preset = "fast",
    seconds: Seconds = None,
    cache: Cache = CACHE,
    epochs: Annotated[int, typer.Option(help="Epochs.", min=1, rich_help_panel=_HOW)] = 20,
    batch_size: Annotated[int, typer.Option(help="Clips a step.", rich_help_panel=_HOW)] = 32,
    lr: Annotated[float, typer.Option(help="Highest learning rate.", rich_help_panel=_HOW)] = 0.1,
    augment: Annotated[
        list[str] | None,
        typer.Option(
            help="time_roll, mixup:alpha=0.2, …; may be repeated. `none` for none. "
            "[default: time_roll, mask_bands]",
            rich_help_panel=_HOW,
        ),
    ] = None,
    penalty: Annotated[
        str | None, typer.Option(help="bn_l1_proximal, …", rich_help_panel=_HOW)
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="Strength of the penalty.", rich_help_panel=_HOW)
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Distil from these weights of the network.", rich_help_panel=_HOW),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed.", min=0, rich_help_panel=_HOW)] = 0,
    on_bad: BadClips = "raise",
    allow: Allow = None,
    rate: Rate = None,
    mono: Mono = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results.")] = Path(
        "out/train"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Train a classifier of scenes and score it on what was held out; resumes after a kill."""
    from secateur.cli.network import keywords
    from secateur.cli.scenes_task import NETWORK, Task, Trained, augmentations_of, checked
    from secateur.cli.scenes_task import inputs_of as inputs
    from secateur.files import write_json, write_text
    from secateur.scenes.scores_table import scores_table
    from secateur.scenes.split import split_of

    asked = inputs(data_of(source, dataset, data), features, seconds)
    chosen = ["time_roll", "mask_bands"] if augment is None else augment
    task = checked(
        Task,
        {
            "data": asked.data.model_dump(),
            "features": asked.features.model_dump(),
            "network": network,
            "arguments": keywords(arg or []) | ({} if width is None else {"width": width}),
            "augmentations": augmentations_of([] if chosen == ["none"] else chosen),
            "training": {"epochs": epochs, "batch_size": batch_size, "lr": lr},
            "penalty": penalty,
            "strength": _strength(penalty, strength),
            "teacher": None if teacher is None else str(teacher),
            "fold": fold,
            "seed": seed,
        },
    )
    scenes = open_set(task.data, cache, on_bad, allow, rate, mono)
    prepared = make_features(scenes, task.features, cache)
    for line in () if as_json else prepared_lines(prepared):
        typer.echo(line)
    masks = scenes.divided(task.fold, getattr(task.data, "test_on", "validation"))
    split, standard = split_of(prepared.features, *masks)
    trained = Trained(task, scenes.classes, standard)
    _check_same_labels(out, trained)
    model, penalised = _start(task, split, weights)
    trained.write(out)
    history = _fit(model, penalised, task, split, out / CHECKPOINT)
    clips = [clip for clip, mine in zip(scenes.clips, masks[1], strict=True) if mine]
    scores = scored(model, split.x_test, clips, trained)
    files = [out / name for name in (NETWORK, *_RESULTS)]
    _save(model, files[0], weights)
    write_json(files[1], scores.to_json())
    write_text(files[2], f"{_title(task)}\n\n{scores_table(scores)}\n")
    write_json(files[3], _history_json(history))
    _write_calibration(files[4], split, task.seed)
    (out / CHECKPOINT).unlink(missing_ok=True)
    if as_json:
        answer = {
            "prepared": prepared_json(prepared),
            "scores": scores.to_json(),
            "train_seconds": history.seconds,
            "files": [str(file) for file in files],
        }
        typer.echo(json.dumps(answer, allow_nan=False))
        return
    typer.echo(f"trained in {history.seconds:.0f} s\n\n{scores_table(scores)}\n")
    typer.echo(f"wrote {', '.join(map(str, files))}")
    typer.echo("\n".join(_next(task, trained, out)))


def build(task: Task, n_classes: int) -> nn.Module:
    """The network of a task, untrained, drawn by its seed.

    A factory that takes `n_classes` or `num_classes` is given it.

    Raises:
        SecateurError: there is no such network, or it cannot be called so.
    """
    import torch

    from secateur.networks.factory import call_factory, check_one_input

    factory, arguments = factory_of(task, n_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = call_factory(factory, arguments)
    check_one_input(model)
    return model


def factory_of(task: Task, n_classes: int) -> tuple[str, dict[str, Any]]:
    """package.module:factory and what it is called with."""
    from secateur.networks.factory import find_factory, with_classes
    from secateur.networks.families import NETWORKS

    if ":" in task.network:
        function, name = find_factory(task.network), task.network
    elif task.network in NETWORKS:
        function = NETWORKS[task.network]
        name = f"{function.__module__}:{function.__name__}"
    else:
        raise SecateurError(
            f"{unknown_name('network', task.network, NETWORKS)}; or give package.module:factory"
        )
    return name, with_classes(function, task.arguments, n_classes)


def scored(model: nn.Module, x: Tensor, clips: Any, trained: Trained) -> Any:
    """Scores of a network's answers to x (n, …), which are the clips."""
    from secateur.scenes.scores import scene_scores

    return scene_scores(clips, answers(model, x), trained.classes, seed=trained.task.seed)


def answers(model: nn.Module, x: Tensor) -> Any:
    """Log-probabilities (n, n_classes) as float64."""
    from secateur.train.fit import predict

    return predict(model, x).double().log_softmax(1).numpy()


def _save(model: nn.Module, path: Path, weights: Path | None) -> None:
    """The network; one that was cut before keeps its plan beside it."""
    from secateur.surgery.package import plans_in, save

    save(model, path, None if weights is None else plans_in(weights))


def _write_calibration(path: Path, split: Split, seed: int) -> None:
    """Clips of the training part, drawn by the seed, as the network is given them."""
    import io

    import numpy as np

    from secateur.files import write_bytes

    n = len(split.x_train)
    drawn = np.random.default_rng(seed).permutation(n)[:_N_CALIBRATION]
    content = io.BytesIO()
    np.savez(content, input=split.x_train[drawn].numpy(), target=split.y_train[drawn].numpy())
    write_bytes(path, content.getvalue())


def check_answers(model: nn.Module, x: Tensor, n_classes: int, what: str) -> None:
    """Refuse a network whose answers are not one number a class.

    Raises:
        DataError: naming the numbers of both.
    """
    from secateur.train.fit import predict

    try:
        shape = tuple(predict(model, x[:2]).shape)
    except Exception as error:  # the network's own code
        from secateur.errors import brief

        raise DataError(
            f"{what} cannot be called with features {tuple(x.shape[1:])}: {brief(error)}; "
            "give other --features, or other arguments by --arg"
        ) from error
    if shape != (min(2, len(x)), n_classes):
        raise DataError(
            f"{what} answers {min(2, len(x))} clips with numbers of shape {shape}, and the data "
            f"has {n_classes} classes; the labels must be the same: give weights that were trained "
            "on them, or the number of classes by --arg"
        )


def _start(task: Task, split: Split, weights: Path | None) -> tuple[nn.Module, Penalty | None]:
    from secateur.channels.trace import trace
    from secateur.train.penalties import PENALTIES

    model = _loaded(task, split, weights)
    if task.penalty is None:
        return model, None
    if task.penalty not in PENALTIES:
        raise SecateurError(unknown_name("penalty", task.penalty, PENALTIES))
    channels = trace(model, split.x_train[:1])
    return model, PENALTIES[task.penalty](task.strength, channels, task.ramp)


def _loaded(task: Task, split: Split, weights: Path | None) -> nn.Module:
    """The network of a task with these weights, cut or not; new ones, if none are given."""
    from secateur.surgery.package import load

    model = build(task, split.n_classes)
    if weights is not None:
        model = load(weights, lambda: model)
    check_answers(model, split.x_train, split.n_classes, str(weights or task.network))
    return model


def _strength(penalty: str | None, strength: float | None) -> float:
    if (penalty is None) != (strength is None):
        given, absent = ("strength", "penalty") if penalty is None else ("penalty", "strength")
        raise SecateurError(f"--{given} is given without --{absent}; give both or neither")
    return strength or 0.0


def _fit(
    model: nn.Module, penalty: Penalty | None, task: Task, split: Split, checkpoint: Path
) -> History:
    from secateur.scenes.chain import chain
    from secateur.study.augmentations import by_name
    from secateur.train.distil import distillation
    from secateur.train.fit import fit
    from secateur.train.schedule import Training

    distil = None
    if task.teacher is not None:
        distil = distillation(_loaded(task, split, Path(task.teacher)))
    augment, mix = chain(by_name(task.augmentations), split.n_classes, split.per_db)
    if checkpoint.exists():
        typer.echo(f"going on from {checkpoint}", err=True)
    return fit(
        model,
        split.x_train,
        split.y_train,
        Training(**task.training.model_dump()),
        seed=task.seed,
        penalty=penalty,
        augment=augment,
        mix=mix,
        distil=distil,
        checkpoint=checkpoint,
        checkpoint_seconds=1.0,
        on_epoch=lambda epoch: _say(epoch, task.training.epochs),
    )


def _say(epoch: Epoch, epochs: int) -> None:
    more = "".join(f"  {name} {value:.3g}" for name, value in epoch.penalty.items() if value)
    typer.echo(
        f"epoch {epoch.epoch:>3}/{epochs}  loss {epoch.loss:.3f}  right in training "
        f"{epoch.accuracy:6.1%}  {epoch.seconds:.1f} s{more}",
        err=True,
    )


def _check_same_labels(out: Path, trained: Trained) -> None:
    """Refuse to go on from a checkpoint of other classes."""
    from secateur.cli.scenes_task import TASK, Trained

    if not ((out / CHECKPOINT).exists() and (out / TASK).exists()):
        return
    before = Trained.read(out)
    if before.classes != trained.classes:
        raise DataError(different_labels(str(out / CHECKPOINT), before.classes, trained.classes))


def different_labels(what: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    """In words that two label sets are not the same."""
    only = [f"{name!r} is only there" for name in theirs if name not in ours]
    only += [f"{name!r} is only in the data" for name in ours if name not in theirs]
    said = "; ".join(only[:3]) or "their order is another"
    return (
        f"{what} was trained on {len(theirs)} classes and the data has {len(ours)}: {said}; "
        "give data of the same classes, or train into another folder"
    )


def _history_json(history: History) -> dict[str, Any]:
    from dataclasses import asdict

    return {"seconds": history.seconds, "epochs": [asdict(epoch) for epoch in history.epochs]}


def _title(task: Task) -> str:
    return f"# {task.network} on {task.data.kind}, seed {task.seed}"


def _next(task: Task, trained: Trained, out: Path) -> list[str]:
    """The commands that go on from here."""
    from secateur.cli.scenes_task import NETWORK

    factory, arguments = factory_of(task, len(trained.classes))
    given = " ".join(f"--arg {name}={value}" for name, value in arguments.items())
    shape = "x".join(map(str, task.features.settings().shape))
    return [
        "next:",
        f"  secateur prune {factory} {given} --input {shape} -w {out / NETWORK} --macs 50% "
        f"--calibration {out / CALIBRATION}",
        f"  secateur scenes evaluate {out} -w out/prune/{NETWORK}",
    ]
