"""The one contract of a data set of scenes, and readers of real layouts. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError, unknown_name
from secateur.scenes.audio import mono_blocks, read_audio
from secateur.scenes.listing import content_hash, integer, is_there, table

_ESC_FOLDS = range(1, 6)
_ESC50_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file")


@dataclass(frozen=True)
class Clip:
    """One recording: which class (0-based), which fold (1-based), which recorder, and where.

    Clips of one `location` are in one fold, so that no test clip was half heard in training.
    Clips of one `segment` are pieces of one recording; without a name a clip is on its own.
    """

    name: str
    label: int
    fold: int
    device: str = "a"
    location: str = ""
    city: str = ""
    segment: str = ""


TestOn = Literal["validation", "test"]
"""The part of an official split that is tested on."""

OnBad = Literal["raise", "skip"]
"""What is done with a bad clip: stop with an error, or leave it out and list it."""


@dataclass(frozen=True)
class Skipped:
    """A clip that was left out because it is bad, and why, in words."""

    name: str
    why: str


@dataclass(frozen=True)
class Files:
    """Clips by the files they lie in: the `read` and the `path` of a set on disk."""

    paths: Mapping[str, Path]

    def __call__(self, clip: Clip) -> tuple[NDArray[np.float32], int]:
        """A clip's waveform and rate."""
        return read_audio(self.paths[clip.name])

    def path(self, clip: Clip) -> Path:
        """A clip's file."""
        return self.paths[clip.name]


@dataclass(frozen=True)
class SceneSet:
    """A labelled set of recordings, divided into folds.

    `read` gives a clip's mono waveform, float32 (samples,), and its rate in Hz. `content` is a
    hash that changes when what `read` gives changes; caches of features are named after it.
    `parts` names the folds where they have roles ("train", "validation", "test"); none means that
    each fold is held out in turn. `skipped` lists bad clips that are not in `clips`, `left_out`
    counts by reason what the data set holds and its split does not use. `path` gives a clip's file.

    Raises:
        DataError: no clips or classes, a label or fold out of range, a name used twice, or a
            location in two folds.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    read: Callable[[Clip], tuple[NDArray[np.float32], int]]
    content: str
    parts: Mapping[int, str] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    path: Callable[[Clip], Path] | None = None

    def __post_init__(self) -> None:
        if not self.classes or not self.clips:
            raise DataError(f"{self.name} has no {'clips' if self.classes else 'classes'}")
        seen: set[str] = set()
        home: dict[str, Clip] = {}
        for clip in self.clips:
            if not 0 <= clip.label < len(self.classes):
                raise DataError(
                    f"{self.name}: label {clip.label} of clip {clip.name!r} is out of range; "
                    f"its {len(self.classes)} classes have labels 0 to {len(self.classes) - 1}"
                )
            if clip.fold < 1:
                raise DataError(
                    f"{self.name}: fold {clip.fold} of clip {clip.name!r} is out of range; "
                    "folds are numbered from 1"
                )
            if clip.name in seen:
                raise DataError(f"{self.name}: clip {clip.name!r} is listed twice; remove one")
            seen.add(clip.name)
            first = home.setdefault(clip.location, clip) if clip.location else clip
            if first.fold != clip.fold:
                raise DataError(
                    f"{self.name}: location {clip.location!r} leaks: {first.name!r} is in fold "
                    f"{first.fold}, {clip.name!r} in fold {clip.fold}; put both in one fold"
                )

    def start(self, clip: Clip, seconds: float) -> tuple[NDArray[np.float32], int]:
        """What `read` gives, but of a longer file no more than `read_audio` does of `seconds`."""
        if isinstance(self.read, Files):
            return read_audio(self.read.path(clip), seconds)
        return self.read(clip)

    def blocks(self, clip: Clip) -> Iterator[tuple[NDArray[np.float32], int]]:
        """What `read` gives in pieces, in order; of a file no more than one is held at a time."""
        if isinstance(self.read, Files):
            yield from mono_blocks(self.read.path(clip))
        else:
            yield self.read(clip)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that occur, ascending."""
        return tuple(sorted({clip.fold for clip in self.clips}))

    def part(self, name: str) -> tuple[Clip, ...]:
        """The clips of a named part.

        Raises:
            DataError: the set has no such part.
        """
        if name not in self.parts.values():
            raise DataError(unknown_name(f"part of {self.name}", name, self.parts.values()))
        return tuple(clip for clip in self.clips if self.parts.get(clip.fold) == name)

    def divided(
        self, fold: int = 1, test_on: TestOn = "validation"
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which clips are trained on and which are tested on, (n,) each.

        A set with parts trains on "train" and tests on the part `test_on`; in another, `fold` is
        tested on and all other folds are trained on.

        Raises:
            DataError: there is no such part or fold, or one side has no clip.
        """
        folds = np.array([clip.fold for clip in self.clips], dtype=np.int64)
        if self.parts:
            if fold != 1:
                raise DataError(
                    f"{self.name} has an official split and no fold {fold}; leave the fold out"
                )
            if test_on not in self.parts.values():
                raise DataError(unknown_name(f"part of {self.name}", test_on, self.parts.values()))
            number = {name: key for key, name in self.parts.items()}
            train, test = folds == number["train"], folds == number[test_on]
        else:
            if fold not in self.folds:
                there = ", ".join(map(str, self.folds))
                raise DataError(f"{self.name} has no fold {fold}; its folds are {there}")
            train, test = folds != fold, folds == fold
        if not (train.any() and test.any()):
            raise DataError(
                f"{self.name}: {int(train.sum())} clips to train on and {int(test.sum())} to test "
                "on; both sides need one, too many may have been skipped"
            )
        return train, test


class _Row(NamedTuple):
    """One line of a listing: where it stands and what it says."""

    where: str
    filename: str
    target: int
    category: str
    fold: int
    source: str


def esc10(root: Path, on_bad: OnBad = "raise") -> SceneSet:
    """Read ESC-10: 10 classes of environmental recordings of about 5 s, in 5 official folds.

    `root` holds `audio/` and either `meta.csv` (filename, target, category, fold, freesound_id)
    or the ESC-50 distribution's `meta/esc50.csv`, of which the rows with esc10 == True are taken.
    Labels are 0 to 9 in the order of `target`; `location` is the identifier of the source
    recording. With `on_bad="skip"`, files that are not there and rows whose category is not that of
    their target are left out and listed in `skipped`.

    Raises:
        DataError: something is missing or malformed; the file and the row are named.

    Reference: Piczak, "ESC: Dataset for Environmental Sound Classification", 2015.
    """
    rows, n_targets = _esc10_rows(root)
    return _esc("esc10", root, rows, n_targets, on_bad)


def esc50(root: Path, on_bad: OnBad = "raise") -> SceneSet:
    """Read ESC-50: 2,000 recordings of 5 s, 50 classes, in 5 official folds.

    `root` holds `audio/` and `meta/esc50.csv`; `location` is the source recording; `on_bad` as for
    `esc10`.

    Raises:
        DataError: something is missing or malformed; the file and the row are named.

    Reference: Piczak, "ESC: Dataset for Environmental Sound Classification", 2015.
    """
    listing = root / "meta" / "esc50.csv"
    if not listing.is_file():
        raise DataError(
            f"no ESC-50 in {root}: meta/esc50.csv is not there; give the folder that holds it and "
            "audio/"
        )
    every = table(listing, _ESC50_COLUMNS)
    if not every:
        raise DataError(f"{listing} lists no clip; restore the original listing")
    return _esc("esc50", root, _rows(listing, every, "src_file"), 50, on_bad)


def _esc(name: str, root: Path, rows: list[_Row], n_targets: int, on_bad: OnBad) -> SceneSet:
    names: dict[int, str] = {}
    good: list[_Row] = []
    skipped: list[Skipped] = []
    for row in rows:
        if not 0 <= row.target < n_targets:
            raise DataError(
                f"{row.where}: target {row.target} is out of range 0 to {n_targets - 1}; "
                "restore the original listing"
            )
        if row.fold not in _ESC_FOLDS:
            raise DataError(
                f"{row.where}: fold {row.fold} is out of range 1 to 5; restore the original listing"
            )
        known = names.setdefault(row.target, row.category)
        why = ""
        if known != row.category:
            why = (
                f"{row.where}: target {row.target} is {row.category!r} here and {known!r} above; "
                "restore the original listing"
            )
        elif on_bad == "skip" and not is_there(root / "audio" / row.filename):
            why = f"{row.where}: audio file {root / 'audio' / row.filename} is not there"
        if why and on_bad == "raise":
            raise DataError(why)
        if why:
            skipped.append(Skipped(row.filename, why))
        else:
            good.append(row)
    rows = good
    labels = {target: label for label, target in enumerate(sorted(names))}
    paths = {row.filename: root / "audio" / row.filename for row in rows}
    files = Files(paths)
    return SceneSet(
        name=name,
        classes=tuple(names[target] for target in sorted(names)),
        clips=tuple(
            Clip(row.filename, labels[row.target], row.fold, location=row.source) for row in rows
        ),
        read=files,
        content=content_hash((row[1:], paths[row.filename], row.where) for row in rows),
        skipped=tuple(skipped),
        path=files.path,
    )


def _esc10_rows(root: Path) -> tuple[list[_Row], int]:
    """The rows of whichever ESC listing is there, and how many targets it may use."""
    if (root / "meta.csv").is_file():
        listing, source, n_targets = root / "meta.csv", "freesound_id", 10
        wanted = table(listing, ("filename", "target", "category", "fold", source))
    elif (root / "meta" / "esc50.csv").is_file():
        listing, source, n_targets = root / "meta" / "esc50.csv", "src_file", 50
        every = table(listing, _ESC50_COLUMNS)
        wanted = {line: row for line, row in every.items() if row["esc10"] == "True"}
    else:
        raise DataError(
            f"no ESC-10 in {root}: neither meta.csv nor meta/esc50.csv is there; give the folder "
            "that holds the listing and audio/"
        )
    if not wanted:
        raise DataError(f"{listing} lists no clip of ESC-10; restore the original listing")
    return _rows(listing, wanted, source), n_targets


def _rows(listing: Path, wanted: Mapping[int, Mapping[str, str]], source: str) -> list[_Row]:
    return [
        _Row(
            where=f"{listing}, line {line}",
            filename=row["filename"],
            target=integer(row["target"], "target", f"{listing}, line {line}"),
            category=row["category"],
            fold=integer(row["fold"], "fold", f"{listing}, line {line}"),
            source=row[source],
        )
        for line, row in wanted.items()
    ]
