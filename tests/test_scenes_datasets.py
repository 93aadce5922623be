"""One contract for every reader, and every way in which a layout on disk can be wrong."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.errors import DataError
from secateur.scenes.datasets import Clip, SceneSet, esc10
from secateur.scenes.synthesis import synthetic_scenes

ROOT = Path(__file__).parent.parent
DATA = ROOT / os.environ.get("SECATEUR_DATA", "../shared/data")

ESC10_TARGETS = {0: "dog", 1: "rain", 2: "sea", 3: "baby"}
ESC50_TARGETS = {0: "dog", 1: "rooster", 10: "rain", 41: "chainsaw"}


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_audio(root: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    for name in names:
        soundfile.write(root / "audio" / name, rng.normal(0, 0.1, 800), 8000)


def own_rows() -> list[dict[str, object]]:
    """Two takes of one source recording for each of four classes, in reverse order of target."""
    return [
        {
            "filename": f"{fold}-{fold}{target}-{take}.flac",
            "target": target,
            "category": ESC10_TARGETS[target],
            "fold": fold,
            "freesound_id": f"{fold}{target}",
            "take": take,
        }
        for target in reversed(ESC10_TARGETS)
        for fold in (1, 2)
        for take in "AB"
    ]


def own_layout(root: Path) -> SceneSet:
    rows = own_rows()
    write_table(root / "meta.csv", rows)
    write_audio(root, [str(row["filename"]) for row in rows])
    return esc10(root)


def original_layout(root: Path) -> SceneSet:
    rows: list[dict[str, object]] = [
        {
            "filename": f"{fold}-{fold}{target}-A-{target}.wav",
            "fold": fold,
            "target": target,
            "category": category,
            "esc10": esc10_too,
            "src_file": f"{fold}{target}",
            "take": "A",
        }
        for target, category, esc10_too in (
            *((target, category, "True") for target, category in ESC50_TARGETS.items()),
            (7, "washing_machine", "False"),
        )
        for fold in (1, 2)
    ]
    write_table(root / "meta" / "esc50.csv", rows)
    write_audio(root, [str(row["filename"]) for row in rows if row["esc10"] == "True"])
    return esc10(root)


def real(_: Path) -> SceneSet:
    if not (DATA / "esc10").is_dir():
        pytest.skip(f"the real ESC-10 is not at {DATA / 'esc10'}")
    return esc10(DATA / "esc10")


def generated(_: Path) -> SceneSet:
    return synthetic_scenes(n_locations=4, clips_per_location=2, seconds=0.2, n_folds=2)


@pytest.fixture(params=[own_layout, original_layout, real, generated], ids=lambda f: f.__name__)
def scenes(request: pytest.FixtureRequest, tmp_path: Path) -> SceneSet:
    build: Callable[[Path], SceneSet] = request.param
    return build(tmp_path)


# The contract: every reader of a data set meets it.


def test_labels_folds_and_names_are_in_order(scenes: SceneSet) -> None:
    assert {clip.label for clip in scenes.clips} == set(range(len(scenes.classes)))
    assert len(set(scenes.classes)) == len(scenes.classes)
    assert scenes.folds == tuple(range(1, len(scenes.folds) + 1))
    assert len({clip.name for clip in scenes.clips}) == len(scenes.clips)


def test_every_fold_has_every_class(scenes: SceneSet) -> None:
    for fold in scenes.folds:
        here = {clip.label for clip in scenes.clips if clip.fold == fold}
        assert here == set(range(len(scenes.classes)))


def test_no_location_is_in_two_folds(scenes: SceneSet) -> None:
    homes: dict[str, set[int]] = {}
    for clip in scenes.clips:
        assert clip.location
        homes.setdefault(clip.location, set()).add(clip.fold)
    assert all(len(folds) == 1 for folds in homes.values())


def test_read_gives_a_finite_mono_waveform(scenes: SceneSet) -> None:
    for clip in scenes.clips[:: max(1, len(scenes.clips) // 10)]:
        waveform, rate = scenes.read(clip)
        assert waveform.ndim == 1 and waveform.size and waveform.dtype == np.float32
        assert rate > 0 and np.isfinite(waveform).all() and waveform.std() > 0
        again, _ = scenes.read(clip)
        assert np.array_equal(waveform, again)


def test_content_is_stable(scenes: SceneSet, request: pytest.FixtureRequest) -> None:
    build = request.node.callspec.params["scenes"]
    if build in (real, generated):
        assert build(Path()).content == scenes.content
    assert len(scenes.content) == 64


# The real one.


def test_real_esc10_is_as_described() -> None:
    scenes = real(Path())
    assert len(scenes.clips) == 398 and scenes.folds == (1, 2, 3, 4, 5)
    assert scenes.classes[0] == "dog_bark" and scenes.classes[9] == "fire_crackling"
    per_fold = [sum(clip.fold == fold for clip in scenes.clips) for fold in scenes.folds]
    assert per_fold == [79, 79, 80, 80, 80]
    assert len({clip.location for clip in scenes.clips}) == 302


@pytest.mark.slow
def test_every_real_file_is_whole() -> None:
    scenes = real(Path())
    lengths = {len(scenes.read(clip)[0]) / scenes.read(clip)[1] for clip in scenes.clips}
    assert 3.5 < min(lengths) < max(lengths) < 7.3


# Details of the layouts.


def test_own_layout_in_detail(tmp_path: Path) -> None:
    scenes = own_layout(tmp_path)
    assert scenes.classes == ("dog", "rain", "sea", "baby")
    assert scenes.clips[0] == Clip("1-13-A.flac", label=3, fold=1, device="a", location="13")


def test_original_layout_takes_esc10_only_and_renumbers(tmp_path: Path) -> None:
    scenes = original_layout(tmp_path)
    assert scenes.classes == ("dog", "rooster", "rain", "chainsaw")
    assert len(scenes.clips) == 8
    assert scenes.clips[-1] == Clip("2-241-A-41.wav", label=3, fold=2, location="241")


def test_content_follows_the_files(tmp_path: Path) -> None:
    before = own_layout(tmp_path)
    file = tmp_path / "audio" / before.clips[0].name
    assert esc10(tmp_path).content == before.content
    facts = file.stat()
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    touched = esc10(tmp_path).content
    soundfile.write(file, np.zeros(900), 8000)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    resized = esc10(tmp_path).content
    assert len({before.content, touched, resized}) == 3


# What can be wrong. Each row: what is changed in the table's sixth row (line 7), what is said.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": 10}, r"line 7: target 10 is out of range 0 to 9"),
        ({"target": -1}, r"line 7: target -1 is out of range"),
        ({"target": "two"}, r"line 7: target 'two' is not a whole number"),
        ({"fold": 6}, r"line 7: fold 6 is out of range 1 to 5"),
        ({"fold": 0}, r"line 7: fold 0 is out of range"),
        ({"fold": "1.5"}, r"line 7: fold '1\.5' is not a whole number"),
        ({"category": "rain"}, r"line 7: target 2 is 'rain' here and 'sea' above"),
        ({"category": ""}, r"line 7: no category"),
        ({"filename": "gone.flac"}, r"line 7: audio file .*gone\.flac is not there"),
        ({"filename": "1-13-A.flac"}, r"'1-13-A\.flac' is listed twice"),
        ({"fold": 2}, r"location '12' leaks: .* fold 1, .* fold 2; put both in one fold"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    own_layout(tmp_path)
    rows = own_rows()
    rows[5] |= change
    write_table(tmp_path / "meta.csv", rows)
    with pytest.raises(DataError, match=words) as caught:
        esc10(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_or_listing_is_named(tmp_path: Path) -> None:
    for root in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError, match=r"no ESC-10 in .*neither meta\.csv nor"):
            esc10(root)


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "fold"} for row in own_rows()]
    write_table(tmp_path / "meta.csv", rows)
    with pytest.raises(DataError, match=r"meta\.csv has columns filename.*missing: fold;"):
        esc10(tmp_path)
    (tmp_path / "meta.csv").write_text("")
    with pytest.raises(DataError, match=r"has columns none; missing: filename"):
        esc10(tmp_path)
    (tmp_path / "meta.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read .*meta\.csv"):
        esc10(tmp_path)


def test_a_listing_without_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("filename,target,category,fold,freesound_id,take\n")
    with pytest.raises(DataError, match="lists no clip of ESC-10"):
        esc10(tmp_path)


def test_a_broken_file_is_named_when_it_is_read(tmp_path: Path) -> None:
    scenes = own_layout(tmp_path)
    (tmp_path / "audio" / scenes.clips[2].name).write_bytes(b"")
    with pytest.raises(DataError, match=scenes.clips[2].name):
        scenes.read(scenes.clips[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 2}, "label 2 of clip 'y' is out of range; its 2 classes have labels 0 to 1"),
        ({"label": -1}, "label -1"),
        ({"fold": 0}, "fold 0 of clip 'y'"),
        ({"name": "x"}, "clip 'x' is listed twice"),
        ({"location": "here", "fold": 2}, "location 'here' leaks"),
    ],
)
def test_a_scene_set_refuses_what_breaks_the_contract(
    change: dict[str, object], words: str
) -> None:
    first = Clip("x", 0, 1, location="here")
    second = dataclasses.replace(Clip("y", 1, 1), **change)
    with pytest.raises(DataError, match=words):
        SceneSet("toy", ("p", "q"), (first, second), lambda clip: (np.zeros(1), 1), "0")


@pytest.mark.parametrize("part", ["classes", "clips"])
def test_an_empty_scene_set_is_refused(part: str) -> None:
    whole = {"classes": ("p",), "clips": (Clip("x", 0, 1),)}
    with pytest.raises(DataError, match=f"toy has no {part}"):
        SceneSet("toy", **(whole | {part: ()}), read=lambda clip: (np.zeros(1), 1), content="0")
