"""The one contract of a data set of scenes, and readers of real layouts. Loads no torch."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.audio import read_audio

_ESC_FOLDS = range(1, 6)


@dataclass(frozen=True)
class Clip:
    """One recording: which class (0-based), which fold (1-based), which recorder, and where.

    Clips of one `location` are in one fold, so that no test clip was half heard in training.
    """

    name: str
    label: int
    fold: int
    device: str = "a"
    location: str = ""


@dataclass(frozen=True)
class SceneSet:
    """A labelled set of recordings, divided into folds.

    `read` gives a clip's mono waveform, float32 (samples,), and its rate in Hz. `content` is a
    hash that changes when what `read` gives changes; caches of features are named after it.

    Raises:
        DataError: no clips or classes, a label or fold out of range, a name used twice, or a
            location in two folds.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    read: Callable[[Clip], tuple[NDArray[np.float32], int]]
    content: str

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

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that occur, ascending."""
        return tuple(sorted({clip.fold for clip in self.clips}))


class _Row(NamedTuple):
    """One line of a listing: where it stands and what it says."""

    where: str
    filename: str
    target: int
    category: str
    fold: int
    source: str


def esc10(root: Path) -> SceneSet:
    """Read ESC-10: 10 classes of environmental recordings of about 5 s, in 5 official folds.

    `root` holds `audio/` and either `meta.csv` (filename, target, category, fold, freesound_id)
    or the ESC-50 distribution's `meta/esc50.csv`, of which the rows with esc10 == True are taken.
    Labels are 0 to 9 in the order of `target`; `location` is the identifier of the source
    recording.

    Raises:
        DataError: something is missing or malformed; the file and the row are named.

    Reference: Piczak, "ESC: Dataset for Environmental Sound Classification", 2015.
    """
    rows, n_targets = _esc_rows(root)
    names: dict[int, str] = {}
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
        if known != row.category:
            raise DataError(
                f"{row.where}: target {row.target} is {row.category!r} here and {known!r} above; "
                "restore the original listing"
            )
    labels = {target: label for label, target in enumerate(sorted(names))}
    paths = {row.filename: root / "audio" / row.filename for row in rows}
    return SceneSet(
        name="esc10",
        classes=tuple(names[target] for target in sorted(names)),
        clips=tuple(
            Clip(row.filename, labels[row.target], row.fold, location=row.source) for row in rows
        ),
        read=partial(_read_file, paths),
        content=_content(rows, paths),
    )


def _read_file(paths: Mapping[str, Path], clip: Clip) -> tuple[NDArray[np.float32], int]:
    return read_audio(paths[clip.name])


def _esc_rows(root: Path) -> tuple[list[_Row], int]:
    """The rows of whichever ESC listing is there, and how many targets it may use."""
    if (root / "meta.csv").is_file():
        listing, source, n_targets = root / "meta.csv", "freesound_id", 10
        wanted = _table(listing, ("filename", "target", "category", "fold", source))
    elif (root / "meta" / "esc50.csv").is_file():
        listing, source, n_targets = root / "meta" / "esc50.csv", "src_file", 50
        every = _table(listing, ("filename", "fold", "target", "category", "esc10", source))
        wanted = {line: row for line, row in every.items() if row["esc10"] == "True"}
    else:
        raise DataError(
            f"no ESC-10 in {root}: neither meta.csv nor meta/esc50.csv is there; give the folder "
            "that holds the listing and audio/"
        )
    if not wanted:
        raise DataError(f"{listing} lists no clip of ESC-10; restore the original listing")
    rows = [
        _Row(
            where=f"{listing}, line {line}",
            filename=row["filename"],
            target=_integer(row["target"], "target", f"{listing}, line {line}"),
            category=row["category"],
            fold=_integer(row["fold"], "fold", f"{listing}, line {line}"),
            source=row[source],
        )
        for line, row in wanted.items()
    ]
    return rows, n_targets


def _table(listing: Path, columns: tuple[str, ...]) -> dict[int, dict[str, str]]:
    """Rows of a comma-separated listing by line number (the header is line 1)."""
    try:
        with listing.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines, restval="", strict=True)
            found = reader.fieldnames or ()
            absent = [column for column in columns if column not in found]
            if absent:
                raise DataError(
                    f"{listing} has columns {', '.join(found) or 'none'}; "
                    f"missing: {', '.join(absent)}; restore the original listing"
                )
            rows: dict[int, dict[str, str]] = {}
            for row in reader:
                rows[reader.line_num] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {listing}: {error}; restore the original listing") from error
    for line, values in rows.items():
        empty = [column for column in columns if not values[column]]
        if empty:
            raise DataError(
                f"{listing}, line {line}: no {', '.join(empty)}; restore the original listing"
            )
    return rows


def _integer(text: str, column: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"{where}: {column} {text!r} is not a whole number; restore the original listing"
        ) from None


def _content(rows: list[_Row], paths: Mapping[str, Path]) -> str:
    """Hash of the listing and of every file's size and time of change."""
    digest = hashlib.sha256()
    for row in rows:
        path = paths[row.filename]
        try:
            facts = path.stat()
        except OSError as error:
            raise DataError(
                f"{row.where}: audio file {path} is not there; copy or download it again"
            ) from error
        digest.update(f"{row[1:]}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
