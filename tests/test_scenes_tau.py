"""TAU Urban Acoustic Scenes with its genuine listings; audio files are stood in for by a byte."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from secateur.errors import DataError
from secateur.scenes.datasets import SceneSet
from secateur.scenes.tau import EDITIONS, SCENES, Name, parse, tau2019, tau2020, tau2022

ROOT = Path(__file__).parent.parent
TAU = ROOT / os.environ.get("SECATEUR_DATA", "../shared/data") / "tau"

genuine = pytest.mark.skipif(
    not TAU.is_dir(), reason=f"the genuine metadata of TAU Urban Acoustic Scenes is not at {TAU}"
)


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def stand_in(root: Path, *listings: Path) -> None:
    (root / "audio").mkdir(parents=True, exist_ok=True)
    for listing in listings:
        for line in listing.read_text().splitlines()[1:]:
            (root / line.split("\t")[0]).write_bytes(b".")


@pytest.fixture(scope="module")
def real2020(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tau2020")
    (root / "evaluation_setup").mkdir()
    shutil.copy(TAU / "2020_meta.csv", root / "meta.csv")
    shutil.copy(TAU / "2020_fold1_train.csv", root / "evaluation_setup" / "fold1_train.csv")
    shutil.copy(TAU / "2020_fold1_test.csv", root / "evaluation_setup" / "fold1_evaluate.csv")
    stand_in(root, *(root / "evaluation_setup").iterdir())
    return root


def disjoint(scenes: SceneSet) -> None:
    homes: dict[str, set[int]] = {}
    for clip in scenes.clips:
        homes.setdefault(clip.location, set()).add(clip.fold)
    assert all(len(folds) == 1 for folds in homes.values())


@genuine
def test_2020_as_it_is(real2020: Path) -> None:
    scenes = tau2020(real2020)
    assert scenes.classes == SCENES == tuple(sorted(SCENES))
    train, validation, test = (scenes.part(name) for name in ("train", "validation", "test"))
    assert len(train) + len(validation) == 13962 and len(test) == 2968
    assert scenes.left_out == {"in neither list": 6105} and not scenes.skipped
    devices = Counter(clip.device for clip in train + validation)
    assert devices == {"a": 10215, "b": 749, "c": 748, "s1": 750, "s2": 750, "s3": 750}
    assert Counter(clip.device for clip in test)["s6"] == 330
    assert len({clip.city for clip in scenes.clips}) == 10
    assert {clip.segment for clip in scenes.clips} == {""}
    disjoint(scenes)
    listed = (TAU / "2020_fold1_test.csv").read_text().splitlines()[1:]
    assert {clip.name for clip in test} == {line.split("\t")[0] for line in listed}


@genuine
def test_validation_is_places_of_the_training_list(real2020: Path) -> None:
    scenes = tau2020(real2020)
    official = (TAU / "2020_fold1_train.csv").read_text()
    assert all(clip.name in official for clip in scenes.part("validation")[::50])
    assert {clip.label for clip in scenes.part("validation")} == set(range(10))
    share = len(scenes.part("validation")) / 13962
    assert 0.1 < share < 0.25
    again, other = tau2020(real2020), tau2020(real2020, seed=1)
    assert again.clips == scenes.clips and other.clips != scenes.clips
    assert other.part("test") == scenes.part("test")
    none = tau2020(real2020, holdout=0)
    assert len(none.part("train")) == 13962 and none.folds == (1, 2)
    with pytest.raises(DataError, match="no part of tau2020 'validation'; there are test, train"):
        none.part("validation")


@genuine
@pytest.mark.parametrize(("share", "n"), [(5, 6980), (10, 13960), (25, 34900)])
def test_2022_with_the_reduced_lists(tmp_path: Path, share: int, n: int) -> None:
    setup = tmp_path / "evaluation_setup"
    setup.mkdir()
    test = [line.split("\t")[0] for line in (TAU / "2022_fold1_test.csv").read_text().splitlines()]
    write(setup / "fold1_evaluate.csv", [(name,) for name in test[:1] + test[1::20]])
    shutil.copy(TAU / f"2024_split{share}.csv", setup / f"split{share}.csv")
    stand_in(tmp_path, *setup.iterdir())
    scenes = tau2022(tmp_path, share)
    parts = Counter(scenes.parts[clip.fold] for clip in scenes.clips)
    assert parts["train"] + parts["validation"] == n and parts["test"] == 1484
    disjoint(scenes)
    segments = Counter(c.name.rsplit("-", 2)[0] + c.device for c in scenes.clips if c.fold < 3)
    assert set(segments.values()) == {10}
    named = Counter(clip.segment for clip in scenes.clips if clip.fold < 3)
    assert "" not in named and set(named.values()) == {10}
    first = scenes.clips[0]
    before, _, device = first.name.removeprefix("audio/").removesuffix(".wav").rsplit("-", 2)
    assert first.segment == f"{before}-{device}"


@genuine
def test_the_genuine_lists_of_2020_and_2022_agree() -> None:
    names = {}
    for year, edition in (("2020", "tau2020"), ("2022", "tau2022")):
        lines = (TAU / f"{year}_fold1_test.csv").read_text().splitlines()[1:]
        names[year] = {parse(line.split("\t")[0], EDITIONS[edition]) for line in lines}
    assert names["2020"] == names["2022"]


def test_the_device_is_what_follows_the_last_hyphen() -> None:
    name = parse("audio/street_pedestrian-lyon-1098-40312-7-s2.wav", EDITIONS["tau2022"])
    assert name == Name("street_pedestrian", "lyon", "lyon-1098", "s2")
    name = parse("audio/metro_station-paris-12-3-b.wav", EDITIONS["tau2020"])
    assert name == Name("metro_station", "paris", "paris-12", "b")


@pytest.mark.parametrize(
    "filename",
    ["audio/park-lyon-1-2-0-a.wav", "park-lyon-1-2-z.wav", "forest-lyon-1-2-a.wav", "park.wav"],
)
def test_a_name_of_another_form_is_refused(filename: str) -> None:
    with pytest.raises(DataError, match="is no name of TAU Urban Acoustic Scenes 2020 Mobile"):
        parse(filename, EDITIONS["tau2020"])


def small(root: Path) -> None:
    """Three places of two scenes to train on, one to test on, one in neither list."""
    rows = {"train": [("filename", "scene_label")], "test": [("filename",)]}
    meta: list[tuple[str, ...]] = [("filename", "scene_label", "identifier", "source_label")]
    for scene in ("park", "metro_station"):
        for place in range(5):
            for device in ("a", "b"):
                where = f"lyon-{place}{len(scene)}"
                name = f"audio/{scene}-{where}-{place}-{device}.wav"
                meta.append((name, scene, where, device))
                if place < 3:
                    rows["train"].append((name, scene))
                elif place == 3:
                    rows["test"].append((name,))
    write(root / "meta.csv", meta)
    write(root / "evaluation_setup" / "fold1_train.csv", rows["train"])
    write(root / "evaluation_setup" / "fold1_test.csv", rows["test"])
    stand_in(root, root / "meta.csv")


def test_the_small_one_on_paper(tmp_path: Path) -> None:
    small(tmp_path)
    scenes = tau2020(tmp_path, holdout=0.3)
    assert {part: len(scenes.part(part)) for part in scenes.parts.values()} == {
        "train": 8,
        "validation": 4,
        "test": 4,
    }
    assert scenes.left_out == {"in neither list": 4}
    assert scenes.path is not None and scenes.path(scenes.clips[0]).is_file()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("listing", "old", "new", "words"),
    [
        ("evaluation_setup/fold1_train.csv", "\tpark", "\tbus", "scene_label is 'bus'"),
        ("meta.csv", "lyon-04\ta", "lyon-04\ts1", "source_label is 's1'"),
        ("meta.csv", "lyon-04\ta", "lyon-0\ta", "identifier is 'lyon-0', its name says 'lyon-04'"),
        ("evaluation_setup/fold1_train.csv", "-0-a.wav", "-9-a.wav", "-9-a.wav is not there"),
    ],
)
def test_a_bad_clip_stops_or_is_listed(
    tmp_path: Path, listing: str, old: str, new: str, words: str
) -> None:
    small(tmp_path)
    edit(tmp_path / listing, old, new)
    with pytest.raises(DataError, match=rf"fold1_train\.csv, line 2: .*{words}"):
        tau2020(tmp_path)
    scenes = tau2020(tmp_path, on_bad="skip")
    assert len(scenes.clips) == 15 and len(scenes.skipped) == 1
    assert words in scenes.skipped[0].why


def test_what_would_leak_is_refused_whatever_is_chosen(tmp_path: Path) -> None:
    small(tmp_path)
    train = tmp_path / "evaluation_setup" / "fold1_train.csv"
    test = tmp_path / "evaluation_setup" / "fold1_test.csv"
    before, tested = train.read_text(), test.read_text()
    for place in range(3):
        test.write_text(f"{tested}audio/park-lyon-{place}4-9-s4.wav\n")
        (tmp_path / "audio" / f"park-lyon-{place}4-9-s4.wav").write_bytes(b".")
        with pytest.raises(DataError, match=f"location 'lyon-{place}4' leaks"):
            tau2020(tmp_path, on_bad="skip")
    test.write_text(tested)
    train.write_text(before + f"{test.read_text().splitlines()[1]}\tpark\n")
    with pytest.raises(
        DataError, match=r"fold1_test\.csv, line 2: .* is listed already \(.*fold1_train\.csv"
    ):
        tau2020(tmp_path, on_bad="skip")


def test_misuse_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no TAU Urban .*fold1_train\.csv is not there"):
        tau2019(tmp_path)
    with pytest.raises(DataError, match="split5"):
        tau2022(tmp_path, 5)
    with pytest.raises(DataError, match=r"share=7 .*: give 5, 10, 25, 50, 100"):
        tau2022(tmp_path, 7)
    with pytest.raises(DataError, match="holdout=1: give 0"):
        tau2020(tmp_path, holdout=1)
