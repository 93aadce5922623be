"""Whether a data set on disk is whole: its listings, its counts, its files. Loads no torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from secateur.errors import DataError, ReadError, unknown_name
from secateur.reading import opened, read_text
from secateur.scenes.folders import SUFFIXES
from secateur.scenes.listing import is_there, table
from secateur.scenes.tau import EDITIONS, N_KEPT, N_KEPT_COUNTED, Edition, Name, lists, parse

DATASETS = (*EDITIONS, "esc10", "esc50", "folder")

_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}


@dataclass(frozen=True)
class Problem:
    """Something that is missing or wrong; `kind` groups it, `what` names it, `words` say it."""

    kind: str
    what: str
    words: str


@dataclass(frozen=True)
class Check:
    """What a look at a data set found: what was counted, and what is missing or wrong.

    `notes` say in words what the check could not make sure of.
    """

    dataset: str
    root: str
    counts: Mapping[str, int]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.problems


def check(root: Path, dataset: str | None = None, checksums: Path | None = None) -> Check:
    """Look at the layout, counts and files under `root`; with None the data set is recognised.

    `checksums` is a list as md5sum, sha1sum or sha256sum write it, with paths below `root`.

    Raises:
        DataError: there is no such folder or data set, the set cannot be recognised, or the list
            of checksums cannot be read.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give the one that holds the data set")
    name = recognise(root) if dataset is None else dataset
    if name not in DATASETS:
        raise DataError(unknown_name("data set", name, DATASETS))
    problems: list[Problem] = []
    notes: list[str] = []
    if name in EDITIONS:
        counts = _tau(root, EDITIONS[name], problems, notes)
    elif name == "folder":
        counts = _folder(root, problems)
    else:
        counts = (_esc50 if name == "esc50" else _esc10)(root, problems)
    if checksums is not None:
        counts["checksums compared"] = _checksums(root, checksums, problems)
    return Check(name, str(root), counts, tuple(problems), tuple(notes))


def recognise(root: Path) -> str:
    """Which data set lies in a folder, by its listings: a name of `DATASETS`.

    Raises:
        DataError: none that is known.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give the one that holds the data set")
    if (root / "meta" / "esc50.csv").is_file():
        return "esc50"
    if (root / "meta.csv").is_file():
        try:
            table(root / "meta.csv", ("filename", "target", "category", "fold", "freesound_id"))
            return "esc10"
        except DataError:
            pass
        try:
            rows = table(root / "meta.csv", ("filename", "scene_label"), "\t")
        except DataError:
            rows = {}
        for row in rows.values():
            if len(PurePosixPath(row["filename"]).stem.split("-")) == 6:
                return "tau2022"
            if row.get("source_label", "a") != "a":
                return "tau2020"
        if rows:
            return "tau2019"
    elif not (root / "evaluation_setup").exists() and any(d.is_dir() for d in root.iterdir()):
        return "folder"
    raise DataError(
        f"cannot tell which data set {root} is; say it: --dataset {', '.join(DATASETS)}"
    )


def _tau(root: Path, edition: Edition, problems: list[Problem], notes: list[str]) -> dict[str, int]:
    found = lists(root)
    expected = {"meta": edition.n_listed, "train": edition.n_train, "test": edition.n_test}
    official = {
        "meta": "meta.csv",
        "train": "evaluation_setup/fold1_train.csv",
        "test": "evaluation_setup/fold1_evaluate.csv",
    }
    counts: dict[str, int] = {}
    members: dict[str, dict[str, Name]] = {}
    for role, n_expected in expected.items():
        if role not in found:
            problems.append(Problem("missing listing", official[role], "it is not there"))
            continue
        listed = _listed(found[role], official[role], edition, problems)
        if listed is None:
            continue
        members[role] = listed
        counts[f"clips in {official[role]}"] = len(members[role])
        if len(members[role]) != n_expected:
            words = f"{len(members[role])} clips, and {edition.title} has {n_expected}"
            problems.append(Problem("count", official[role], words))
        if role not in edition.counted:
            notes.append(
                f"{official[role]}: that there should be {n_expected} clips is as published; it "
                "was never held against the genuine list"
            )
    if edition.name == "tau2022":
        whole = members["train"].keys() if "train" in members else None
        counts |= _shares(root, whole, problems, notes)
    if {"train", "test"} <= members.keys():
        train, test = ({n.location for n in members[r].values()} for r in ("train", "test"))
        for place in sorted(train & test):
            words = "in the training and the test list"
            problems.append(Problem("leaking location", place, words))
    if members.keys() == expected.keys():
        neither = members["meta"].keys() - members["train"].keys() - members["test"].keys()
        counts["clips in neither list"] = len(neither)
    every = {filename for listed in members.values() for filename in listed}
    counts["audio files found"] = _present(root, every, problems)
    return counts


def _listed(
    listing: Path, official: str, edition: Edition, problems: list[Problem]
) -> dict[str, Name] | None:
    """What the names of a listing's clips say, by file; None if it cannot be read."""
    try:
        rows = table(listing, ("filename",), "\t").values()
    except DataError as error:
        problems.append(Problem("bad listing", official, str(error)))
        return None
    listed: dict[str, Name] = {}
    for row in rows:
        filename = row["filename"]
        try:
            name = parse(filename, edition)
        except DataError as error:
            problems.append(Problem("bad name", filename, str(error)))
            continue
        if filename in listed:
            problems.append(Problem("duplicate", filename, f"listed twice in {official}"))
        listed[filename] = name
        label = row.get("scene_label") or name.scene
        if label != name.scene:
            problems.append(Problem("mislabelled", filename, f"{official} says {label!r}"))
    return listed


def _shares(
    root: Path, train: Set[str] | None, problems: list[Problem], notes: list[str]
) -> dict[str, int]:
    """The reduced training lists that are there: counted, within the whole list, and nested."""
    counts: dict[str, int] = {}
    smaller: set[str] = set()
    for share, n_expected in N_KEPT.items():
        listing = lists(root, share).get("train")
        if listing is None:
            continue
        try:
            rows = table(listing, ("filename",), "\t").values()
        except DataError as error:
            problems.append(Problem("bad listing", listing.name, str(error)))
            continue
        kept = {row["filename"] for row in rows}
        counts[f"clips in {listing.name}"] = len(kept)
        if share not in N_KEPT_COUNTED:
            notes.append(
                f"{listing.name}: {n_expected} clips are expected, {share} % of the whole list; it "
                f"was never held against the genuine list, and a difference ({len(kept)} are "
                "listed) is not counted as a problem"
            )
        elif len(rows) != n_expected:
            words = f"{len(rows)} clips, and the genuine list has {n_expected}"
            problems.append(Problem("count", listing.name, words))
        for outer, inner, words in (
            (train, kept, "clips are not in evaluation_setup/fold1_train.csv"),
            (kept, smaller, "clips of the next smaller list are not in it"),
        ):
            if outer is not None and inner - outer:
                n = len(inner - outer)
                problems.append(Problem("no part of the list", listing.name, f"{n} {words}"))
        smaller = kept
    return counts


def _present(root: Path, names: Iterable[str], problems: list[Problem]) -> int:
    """How many named files are there; those that are not, or are empty, become problems."""
    n_found = 0
    for name in sorted(names):
        path = root / name
        if not is_there(path):
            problems.append(Problem("missing audio", name, "it is listed and not there"))
        elif not path.stat().st_size:
            problems.append(Problem("empty audio", name, "it has 0 bytes"))
        else:
            n_found += 1
    return n_found


def _esc50(root: Path, problems: list[Problem]) -> dict[str, int]:
    expected = {"filename": (2000, 1), "target": (50, 40), "fold": (5, 400)}
    return _esc(root, "meta/esc50.csv", "ESC-50", expected, problems)


def _esc10(root: Path, problems: list[Problem]) -> dict[str, int]:
    expected = {"filename": (400, 1), "target": (10, 40), "fold": (5, 80)}
    return _esc(root, "meta.csv", "ESC-10", expected, problems)


def _esc(
    root: Path,
    name: str,
    title: str,
    expected: Mapping[str, tuple[int, int]],
    problems: list[Problem],
) -> dict[str, int]:
    """Counts of different values of every column, and of the rows each has."""
    if not (root / name).is_file():
        problems.append(Problem("missing listing", name, "it is not there"))
        return {}
    try:
        rows = list(table(root / name, ("filename", "fold", "target", "category")).values())
    except DataError as error:
        problems.append(Problem("bad listing", name, str(error)))
        return {}
    for column, (n_values, n_each) in expected.items():
        tally = Counter(row[column] for row in rows)
        if len(tally) != n_values:
            words = f"{len(tally)} different values of {column}, and {title} has {n_values}"
            problems.append(Problem("count", name, words))
        for value, n in sorted(tally.items()):
            if n != n_each:
                problems.append(
                    Problem("count", f"{column} {value}", f"{n} rows, and {title} has {n_each}")
                )
    n_found = _present(root, {f"audio/{row['filename']}" for row in rows}, problems)
    return {f"clips in {name}": len(rows), "audio files found": n_found}


def _folder(root: Path, problems: list[Problem]) -> dict[str, int]:
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(folders) < 2:
        problems.append(Problem("count", str(root), f"{len(folders)} class folders; 2 at least"))
    counts: dict[str, int] = {"classes": len(folders)}
    for folder in folders:
        audio = {
            file.relative_to(root).as_posix()
            for file in folder.rglob("*")
            if file.is_file() and file.suffix.lower() in SUFFIXES
        }
        if not audio:
            problems.append(Problem("empty class", folder.name, "it holds no audio file"))
        counts[f"clips of {folder.name}"] = _present(root, audio, problems)
    return counts


def _checksums(root: Path, listing: Path, problems: list[Problem]) -> int:
    try:
        lines = read_text(listing).splitlines()
    except ReadError as error:
        raise DataError(
            f"cannot read the checksums in {listing}: {error.why}; name a file that "
            "md5sum or sha256sum wrote"
        ) from error
    n = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*")
        if len(digest) not in _ALGORITHMS or not name:
            raise DataError(
                f"{listing}, line {number}: {line!r} is no checksum and path; name a file that "
                "md5sum or sha256sum wrote"
            )
        n += 1
        try:
            with opened(root / name) as file:
                real = hashlib.file_digest(file, _ALGORITHMS[len(digest)]).hexdigest()
        except ReadError:
            problems.append(Problem("missing file", name, f"{listing.name} lists it"))
            continue
        if real != digest.lower():
            problems.append(Problem("checksum", name, "its content is another; download it again"))
    return n
