"""What the commands on scenes share: which recordings, what is made of them, what is left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.network import keywords
from secateur.errors import DataError, SecateurError

if TYPE_CHECKING:
    from secateur.scenes.datasets import OnBad, SceneSet
    from secateur.scenes.features import Features
    from secateur.study.features import Features as FeaturesPart
    from secateur.study.sources import Data

SYNTHETIC = "synthetic"
_MEASURED = 50
_SHOWN = 5
"""Skipped clips that are named; --json has all."""

Source = Annotated[
    str, typer.Argument(help="The folder of a data set, or `synthetic` for generated scenes.")
]
Dataset = Annotated[
    str | None,
    typer.Option(help="tau2019, tau2020, tau2022, esc10, esc50 or folder; else recognised."),
]
DataArguments = Annotated[
    list[str] | None,
    typer.Option("--data", help="An argument of the data set, as in a recipe: share=25."),
]
Preset = Annotated[
    str, typer.Option("--features", help="dcase2022, dcase2024, cpjku, fast or esc.")
]
Seconds = Annotated[float | None, typer.Option(help="Length of a clip, if not the preset's.")]
Cache = Annotated[Path, typer.Option(help="Folder of the features that are kept.")]
BadClips = Annotated[
    str, typer.Option("--on-bad", help="Bad clips: `raise` stops, `skip` leaves out and lists.")
]
Allow = Annotated[
    list[str] | None, typer.Option(help="Not bad: silent, clipped or duplicate. May be repeated.")
]
Rate = Annotated[
    int | None, typer.Option(help="Rate in Hz that every clip must have; else resampled.", min=1)
]
Mono = Annotated[
    bool, typer.Option("--mono", help="More than one channel is bad; else they are averaged.")
]
CACHE = Path("out/features")
ALLOWED = ("silent", "clipped", "duplicate")


@dataclass(frozen=True)
class Prepared:
    """A data set and its features, and how long reading and making took in seconds."""

    scenes: SceneSet
    features: Features
    seconds: float

    @cached_property
    def clip_seconds(self) -> float | None:
        """Median length of the clips in seconds, of some of them; None if they are no files."""
        from secateur.scenes.audio import duration

        if self.scenes.path is None:
            return None
        clips = self.scenes.clips[:: max(1, len(self.scenes.clips) // _MEASURED)]
        return statistics.median(duration(self.scenes.path(clip)) for clip in clips)


def data_of(source: str, dataset: str | None, arguments: Sequence[str] | None) -> dict[str, Any]:
    """A recipe's data section, not yet checked.

    Raises:
        SecateurError: the data set cannot be recognised, or an argument is not name=value.
    """
    section: dict[str, Any] = {"kind": SYNTHETIC}
    if source != SYNTHETIC:
        section = {"kind": dataset or _recognised(Path(source)), "root": source}
    elif dataset is not None:
        raise SecateurError("--dataset is for a folder; give one, or leave it out")
    return section | keywords(arguments or (), "--data")


def _recognised(root: Path) -> str:
    from secateur.scenes.check import recognise

    if not root.is_dir():
        raise DataError(
            f"{root} is no folder; give the one that holds the data set, or `{SYNTHETIC}`"
        )
    return recognise(root)


def fitting(section: Mapping[str, Any], features: FeaturesPart) -> dict[str, Any]:
    """The section; generated scenes are of the rate and length of the features, unless told."""
    if section["kind"] != SYNTHETIC:
        return dict(section)
    settings = features.settings()
    return {"rate": settings.rate, "seconds": settings.seconds} | dict(section)


def open_set(
    data: Data,
    cache: Path,
    on_bad: str,
    allow: Sequence[str] | None = None,
    rate: int | None = None,
    mono: bool = False,
) -> SceneSet:
    """The clips of a data section, without the bad ones or with an error at the first.

    What is generated is not looked at: it is as it was made.

    Raises:
        SecateurError: there is no such choice, the set cannot be read, or a clip is bad.
    """
    from secateur.scenes.quality import Demands, sift
    from secateur.study.data import scenes_of

    choice = _choice(on_bad)
    unknown = [name for name in allow or () if name not in ALLOWED]
    if unknown:
        raise SecateurError(f"--allow {unknown[0]!r}: give {', '.join(ALLOWED)}")
    scenes = scenes_of(data, choice)
    if scenes.path is None:
        return scenes
    usual, tolerated = Demands(), set(allow or ())
    demands = Demands(
        rate=rate,
        n_channels=1 if mono else None,
        silent_below=-1.0 if "silent" in tolerated else usual.silent_below,
        most_clipped=1.0 if "clipped" in tolerated else usual.most_clipped,
        duplicates="duplicate" not in tolerated,
    )
    with progress("looking at clips") as shown:
        return sift(scenes, demands, choice, cache, shown)


def _choice(on_bad: str) -> OnBad:
    choices: dict[str, OnBad] = {"raise": "raise", "skip": "skip"}
    if on_bad not in choices:
        raise SecateurError(f"--on-bad {on_bad!r}: give raise or skip")
    return choices[on_bad]


def make_features(scenes: SceneSet, features: FeaturesPart, cache: Path) -> Prepared:
    """The features of a set, from the cache or made, with progress on standard error."""
    from secateur.scenes.features import prepare

    began = time.perf_counter()
    with progress("features") as shown:
        table = prepare(scenes, features.settings(), cache, shown)
    return Prepared(scenes, table, time.perf_counter() - began)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; give it what is done and the total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def prepared_json(prepared: Prepared) -> dict[str, Any]:
    """What was prepared, as plain values."""
    scenes, features = prepared.scenes, prepared.features
    file = features.file
    return {
        "dataset": scenes.name,
        "clips": len(scenes.clips),
        "classes": list(scenes.classes),
        "parts": {name: len(scenes.part(name)) for name in scenes.parts.values()},
        "folds": {} if scenes.parts else {fold: _n_of(scenes, fold) for fold in scenes.folds},
        "left_out": dict(scenes.left_out),
        "skipped": [{"name": bad.name, "why": bad.why} for bad in scenes.skipped],
        "features": {
            "shape": list(features.settings.shape),
            "file": None if file is None else str(file),
            "bytes": None if file is None else file.stat().st_size,
            "from_cache": not features.why,
            "why_made": features.why,
            "seconds": prepared.seconds,
            "of_each_clip": [features.settings.seconds, prepared.clip_seconds],
        },
    }


def prepared_lines(prepared: Prepared) -> list[str]:
    """The same in words."""
    scenes, features, said = prepared.scenes, prepared.features, prepared_json(prepared)
    divided = said["parts"] or {f"fold {fold}": n for fold, n in said["folds"].items()}
    lines = [
        f"{scenes.name}: {len(scenes.clips):,} clips of {len(scenes.classes)} classes; "
        + ", ".join(f"{name} {n:,}" for name, n in divided.items())
    ]
    lines += [f"not used: {n:,} clips, {why}" for why, n in scenes.left_out.items()]
    if scenes.skipped:
        lines.append(f"skipped: {len(scenes.skipped):,} bad clips")
        lines += [f"  {bad.name}: {bad.why}" for bad in scenes.skipped[:_SHOWN]]
        if len(scenes.skipped) > _SHOWN:
            lines.append(f"  and {len(scenes.skipped) - _SHOWN} more (--json names all)")
    taken, whole = features.settings.seconds, prepared.clip_seconds or 0.0
    if whole > 1.01 * taken:
        lines.append(
            f"of each clip the first {taken:g} s, of {whole:.3g} (the median); "
            f"--seconds {whole:.3g} takes all"
        )
    shape = "x".join(map(str, features.settings.shape))
    if features.why:
        each = 1000 * prepared.seconds / len(scenes.clips)
        lines.append(f"features {shape}: made in {prepared.seconds:.1f} s ({each:.2f} ms a clip)")
        lines.append(f"  why: {features.why}")
    else:
        lines.append(f"features {shape}: all from the cache, {prepared.seconds:.2f} s")
    if features.file is not None:
        lines.append(f"  {features.file}, {features.file.stat().st_size / 1e6:.1f} MB")
    return lines


def _n_of(scenes: SceneSet, fold: int) -> int:
    return sum(clip.fold == fold for clip in scenes.clips)
