"""A folder per class, each with audio files. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from secateur.errors import DataError, ReadError
from secateur.reading import searched
from secateur.scenes.datasets import Clip, Files, SceneSet
from secateur.scenes.listing import content_hash

SUFFIXES = (".wav", ".flac", ".ogg")


def folder_per_class(
    root: Path,
    n_folds: int = 5,
    location_of: Callable[[Path], str] | None = None,
    seed: int = 0,
) -> SceneSet:
    """Read `root/<class>/**/*.wav|flac|ogg`; classes in alphabetical order.

    `location_of` gives what recordings share that must not be divided (a place, a session, a
    source); without it every file is on its own, but for those that `recording_of` tells to be
    takes of one recording. Locations are dealt to the folds class by class
    in an order drawn by `seed`. Files that are no audio are counted in `left_out`.

    Raises:
        DataError: there are fewer than two classes, a class has no audio file, or n_folds < 2.
    """
    if n_folds < 2:
        raise DataError(f"n_folds={n_folds}: give at least 2, one of them to test on")
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one that holds a folder per class")
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(folders) < 2:
        raise DataError(f"{root} holds {len(folders)} folders; give one folder a class, at least 2")
    clips, paths, n_other = [], {}, 0
    home: dict[str, int] = {}
    for label, folder in enumerate(folders):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        audio = [file for file in files if file.suffix.lower() in SUFFIXES]
        n_other += len(files) - len(audio)
        if not audio:
            raise DataError(
                f"class folder {folder} holds no audio file ({', '.join(SUFFIXES)}); "
                "fill it or remove it"
            )
        names = {file: file.relative_to(root).as_posix() for file in audio}
        places = {
            file: location_of(file) if location_of else recording_of(names[file]) for file in audio
        }
        fresh = {place for place in places.values() if place not in home}
        for turn, place in enumerate(sorted(fresh, key=lambda p: _draw(seed, p))):
            home[place] = turn % n_folds + 1
        for file, name in names.items():
            clips.append(Clip(name, label, home[places[file]], location=places[file]))
            paths[name] = file
    return SceneSet(
        name=root.resolve().name,
        classes=tuple(folder.name for folder in folders),
        clips=tuple(clips),
        read=Files(paths),
        content=content_hash((name, path, str(root)) for name, path in paths.items()),
        left_out={"not audio": n_other} if n_other else {},
        path=Files(paths).path,
    )


def recording_of(name: str) -> str:
    """What a file was cut from, as far as its path below the root tells; else the path itself.

    It tells where it ends in a word for a piece and a number, as `bus/ride_part2.wav` does, or is
    a name of ESC-50: fold, source, take, class.

    >>> recording_of("bus/ride_part2.wav"), recording_of("dog/1-100032-B-0.wav")
    ('bus/ride', '100032')
    >>> recording_of("bus/ride-2.wav")
    'bus/ride-2.wav'
    """
    stem = name.rpartition(".")[0]
    if found := re.fullmatch(r"(?:.*/)?[1-5]-(\d+)-[A-Z]-\d{1,2}", stem):
        return found[1]
    found = re.fullmatch(r"(.*[^-_. ])[-_. ]+" + _PIECE + r"[-_. ]*\d+", stem, re.IGNORECASE)
    return found[1] if found else name


_PIECE = "(?:take|part|segment|seg|chunk|slice)"


def by_expression(root: Path, expression: str) -> Callable[[Path], str]:
    r"""What of a file's path below `root` says where it was made, as `location_of`.

    It is what `expression` finds, or what its first group does.

    >>> by_expression(Path("x"), r"-(\w+)-")(Path("x/bus/01-rome-a.wav"))
    'rome'

    Raises:
        DataError: (when called) nothing in the path fits.
    """
    known: dict[str, str | None] = {}

    def location_of(file: Path) -> str:
        name = file.relative_to(root).as_posix()
        if name not in known:
            names = {path.relative_to(root).as_posix() for path in root.rglob("*")} | {name}
            try:
                known.update(zip(names, searched(expression, list(names)), strict=True))
            except ReadError as error:
                raise DataError(str(error)) from error
        found = known[name]
        if found is None:
            raise DataError(
                f"nothing in {name!r} fits the location {expression!r}; every file must say where "
                "it was made: rename it, or give another expression"
            )
        return found

    return location_of


def _draw(seed: int, place: str) -> bytes:
    return sha256(f"{seed}/{place}".encode()).digest()
