"""Readers of TAU Urban Acoustic Scenes 2019, 2020 Mobile and 2022 Mobile. Loads no torch.

Names read `audio/<scene>-<city>-<location>-<segment>[-<part>]-<device>.wav`. The official lists say
what is trained and tested on. There is no official validation list: some locations of the training
list are held out for it, so that nothing need ever be chosen by the test list.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from secateur.errors import DataError
from secateur.scenes.datasets import Clip, Files, OnBad, SceneSet, Skipped
from secateur.scenes.listing import content_hash, is_there, table

SCENES = (
    "airport",
    "bus",
    "metro",
    "metro_station",
    "park",
    "public_square",
    "shopping_mall",
    "street_pedestrian",
    "street_traffic",
    "tram",
)
SHARES = (5, 10, 25, 50, 100)
"""Percent of the 2022 training list that the lists of 2024 and 2025 keep."""

N_KEPT = {5: 6980, 10: 13960, 25: 34900, 50: 69810}
"""Clips of these lists. That of 50 % is half of the whole list: a genuine one was never seen."""
N_KEPT_COUNTED = (5, 10, 25)
"""Shares whose count was taken from the genuine list."""


@dataclass(frozen=True)
class Edition:
    """What one edition holds: clips listed, in the training list, in the test list; devices.

    `n_fields` counts what stands between the hyphens of a name before the device. `counted` names
    the lists whose counts were taken from the genuine files; the others are as published.
    """

    name: str
    title: str
    n_fields: int
    devices: tuple[str, ...]
    n_listed: int
    n_train: int
    n_test: int
    counted: tuple[str, ...] = ()


_MOBILE = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
EDITIONS = {
    edition.name: edition
    for edition in (
        Edition("tau2019", "TAU Urban Acoustic Scenes 2019", 4, ("a",), 14400, 9185, 4185),
        Edition(
            "tau2020",
            "TAU Urban Acoustic Scenes 2020 Mobile",
            4,
            _MOBILE,
            23035,
            13962,
            2968,
            ("meta", "train", "test"),
        ),
        Edition(
            "tau2022",
            "TAU Urban Acoustic Scenes 2022 Mobile",
            5,
            _MOBILE,
            230350,
            139620,
            29680,
            ("test",),
        ),
    )
}


@dataclass(frozen=True)
class Name:
    """What a file's name says."""

    scene: str
    city: str
    location: str
    device: str


def parse(filename: str, edition: Edition) -> Name:
    """What a name says; `location` is `<city>-<number>`, as in the column `identifier`.

    Raises:
        DataError: the name is not of the edition's form.

    >>> parse("audio/street_traffic-lyon-1098-40312-s2.wav", EDITIONS["tau2020"])
    Name(scene='street_traffic', city='lyon', location='lyon-1098', device='s2')
    """
    before, _, device = PurePosixPath(filename).stem.rpartition("-")
    fields = before.split("-")
    if len(fields) != edition.n_fields or fields[0] not in SCENES or device not in edition.devices:
        part = "-<part>" if edition.n_fields == 5 else ""
        raise DataError(
            f"{filename!r} is no name of {edition.title}: they read <scene>-<city>-<location>-"
            f"<segment>{part}-<device>.wav, with devices {', '.join(edition.devices)}"
        )
    return Name(fields[0], fields[1], f"{fields[1]}-{fields[2]}", device)


def lists(root: Path, share: int = 100) -> dict[str, Path]:
    """Where the listings are: `meta`, `train` and `test`; those that are not there are left out."""
    setup = root / "evaluation_setup"
    train = [setup / "fold1_train.csv"]
    if share != 100:
        folders = (setup, root / "split_setup", root)
        train = [folder / f"split{share}.csv" for folder in folders]
    places = {
        "meta": [root / "meta.csv"],
        "train": train,
        "test": [setup / "fold1_evaluate.csv", setup / "fold1_test.csv"],
    }
    found = {role: next((p for p in some if p.is_file()), None) for role, some in places.items()}
    return {role: path for role, path in found.items() if path is not None}


def tau2019(
    root: Path, *, holdout: float = 0.15, seed: int = 0, on_bad: OnBad = "raise"
) -> SceneSet:
    """Read TAU Urban Acoustic Scenes 2019 (development set): see `tau`."""
    return tau(root, EDITIONS["tau2019"], holdout=holdout, seed=seed, on_bad=on_bad)


def tau2020(
    root: Path, *, holdout: float = 0.15, seed: int = 0, on_bad: OnBad = "raise"
) -> SceneSet:
    """Read TAU Urban Acoustic Scenes 2020 Mobile (development set): see `tau`."""
    return tau(root, EDITIONS["tau2020"], holdout=holdout, seed=seed, on_bad=on_bad)


def tau2022(
    root: Path,
    share: int = 100,
    *,
    holdout: float = 0.15,
    seed: int = 0,
    on_bad: OnBad = "raise",
) -> SceneSet:
    """Read TAU Urban Acoustic Scenes 2022 Mobile (development set): see `tau`."""
    return tau(root, EDITIONS["tau2022"], share, holdout=holdout, seed=seed, on_bad=on_bad)


def tau(
    root: Path,
    edition: Edition,
    share: int = 100,
    *,
    holdout: float = 0.15,
    seed: int = 0,
    on_bad: OnBad = "raise",
) -> SceneSet:
    """The official split of an edition, in parts "train", "validation" and "test".

    `root` holds `audio/`, `meta.csv` and `evaluation_setup/`; with `share` below 100 the training
    list is `split<share>.csv`. `holdout` is the share of every scene's training locations that are
    validated on (0: no such part), drawn by `seed`. Clips in neither list are
    counted in `left_out`. A file that is not there or whose labels disagree with its name stops
    the reading, or with `on_bad="skip"` is listed in `skipped`.

    Raises:
        DataError: a listing is missing or malformed, a clip is bad, or a location is in two parts.
    """
    if share not in SHARES or (share != 100 and edition.name != "tau2022"):
        allowed = SHARES if edition.name == "tau2022" else (100,)
        raise DataError(f"share={share} of {edition.title}: give {', '.join(map(str, allowed))}")
    if not 0 <= holdout < 1:
        raise DataError(f"holdout={holdout}: give 0 (no validation part) to below 1")
    found = _lists_needed(root, edition, share)
    meta = table(found["meta"], ("filename", "scene_label"), "\t") if "meta" in found else {}
    said = {row["filename"]: row for row in meta.values()}
    rows: dict[str, _Row] = {}
    good: dict[str, Name] = {}
    skipped: list[Skipped] = []
    for row in _rows(found):
        if (first := rows.setdefault(row.filename, row)) is not row:
            raise DataError(
                f"{row.where}: {row.filename!r} is listed already ({first.where}); "
                "restore the original listings"
            )
        try:
            both = (row.values, said.get(row.filename, {}))
            good[row.filename] = _checked(root, row.filename, both, edition)
        except DataError as error:
            if on_bad == "raise":
                raise DataError(f"{row.where}: {error}") from error
            skipped.append(Skipped(row.filename, str(error)))
    in_training = (name for file, name in good.items() if rows[file].role == "train")
    held_out = _held_out(in_training, holdout, seed)
    roles = ["train", "validation", "test"] if held_out else ["train", "test"]
    paths = {filename: root / filename for filename in good}
    return SceneSet(
        name=edition.name,
        classes=SCENES,
        clips=tuple(
            Clip(
                filename,
                SCENES.index(name.scene),
                roles.index(_part(rows[filename].role, name.location in held_out)) + 1,
                name.device,
                name.location,
                name.city,
                _segment(filename, edition),
            )
            for filename, name in good.items()
        ),
        read=Files(paths),
        content=content_hash((rows[f].role, path, rows[f].where) for f, path in paths.items()),
        parts=dict(enumerate(roles, 1)),
        skipped=tuple(skipped),
        left_out={"in neither list": len(said.keys() - rows.keys())} if said else {},
        path=Files(paths).path,
    )


class _Row(NamedTuple):
    """One line of an official list: the clip, `train` or `test`, where it stands, what it says."""

    filename: str
    role: str
    where: str
    values: dict[str, str]


def _rows(found: Mapping[str, Path]) -> Iterator[_Row]:
    """The training list, then the test list."""
    for role in ("train", "test"):
        listing = found[role]
        for line, values in table(listing, ("filename",), "\t").items():
            yield _Row(values["filename"], role, f"{listing}, line {line}", values)


def _lists_needed(root: Path, edition: Edition, share: int) -> dict[str, Path]:
    """As `lists`, with a training and a test list surely among them."""
    found = lists(root, share)
    for role, wanted in (
        ("train", "fold1_train.csv" if share == 100 else f"split{share}.csv"),
        ("test", "fold1_evaluate.csv or fold1_test.csv"),
    ):
        if role not in found:
            raise DataError(
                f"no {edition.title} in {root}: evaluation_setup/{wanted} is not there; "
                "`secateur scenes check` says what else is missing"
            )
    return found


def _segment(filename: str, edition: Edition) -> str:
    """The recording that a clip is a part of; only the edition of 2022 is cut in parts."""
    if edition.n_fields < 5:
        return ""
    before, _, device = PurePosixPath(filename).stem.rpartition("-")
    return f"{before.rpartition('-')[0]}-{device}"


def _part(role: str, held_out: bool) -> str:
    """A test clip stays one wherever it is, so that a location in both lists is seen."""
    return "validation" if role == "train" and held_out else role


def _checked(root: Path, filename: str, rows: Iterable[dict[str, str]], edition: Edition) -> Name:
    """What a clip's name says, if its file is there and all listings agree with it."""
    name = parse(filename, edition)
    for row in rows:
        for column, here in (
            ("scene_label", name.scene),
            ("identifier", name.location),
            ("source_label", name.device),
        ):
            there = row.get(column) or here
            if there != here and not (column == "identifier" and there.startswith(f"{here}-")):
                raise DataError(
                    f"{filename!r} is mislabelled: its {column} is {there!r}, its name says "
                    f"{here!r}; restore the original listing"
                )
    if not is_there(root / filename):
        raise DataError(f"audio file {root / filename} is not there; copy or download it again")
    return name


def _held_out(names: Iterable[Name], share: float, seed: int) -> set[str]:
    """Training locations to validate on: of every scene its share, at least one, never all."""
    places: dict[str, set[str]] = {}
    for name in names:
        places.setdefault(name.scene, set()).add(name.location)
    chosen: set[str] = set()
    for here in places.values():
        drawn = sorted(here, key=lambda place: sha256(f"{seed}/{place}".encode()).digest())
        chosen.update(drawn[: min(math.ceil(share * len(here)), len(here) - 1)])
    return chosen
