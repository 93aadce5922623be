"""Pieces of one recording stay together, and how much of a clip is taken is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.cli.scenes_source import Prepared, prepared_json, prepared_lines
from secateur.errors import DataError
from secateur.scenes.audio import duration
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.folders import folder_per_class, recording_of

RATE = 8000
SETTINGS = LogMel(rate=RATE, n_fft=256, hop=80, n_mels=8, seconds=0.5)


def folder(root: Path, names: list[str], seconds: float) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, noise, RATE)
    return root


def test_takes_of_one_recording_lie_in_one_fold(tmp_path: Path) -> None:
    names = [f"dog/1-{100 + k}-{take}-0.wav" for k in range(6) for take in "ABC"]
    names += [f"rain/storm{k}_part{n}.wav" for k in range(6) for n in range(3)]
    names += [f"bus/ride-{k}.wav" for k in range(6)]
    scenes = folder_per_class(folder(tmp_path, names, 0.1), n_folds=3)
    folds: dict[str, set[int]] = {}
    for clip in scenes.clips:
        folds.setdefault(clip.location, set()).add(clip.fold)
    assert len(folds) == 18 and all(len(own) == 1 for own in folds.values())
    for fold in (1, 2, 3):
        train, test = scenes.divided(fold)
        there = {clip.location for clip, mine in zip(scenes.clips, train, strict=True) if mine}
        here = {clip.location for clip, mine in zip(scenes.clips, test, strict=True) if mine}
        assert not there & here and test.sum() == 14


@pytest.mark.parametrize(
    "name, recording",
    [
        ("a/b/ride take 3.flac", "a/b/ride"),
        ("a/ride.Chunk_12.wav", "a/ride"),
        ("dog/5-9-Z-49.ogg", "9"),
        ("dog/6-9-Z-49.ogg", "dog/6-9-Z-49.ogg"),
        ("a/party1.wav", "a/party1.wav"),
        ("a/part1.wav", "a/part1.wav"),
        ("a/depart-1.wav", "a/depart-1.wav"),
        ("a/12.wav", "a/12.wav"),
    ],
)
def test_what_a_name_tells(name: str, recording: str) -> None:
    assert recording_of(name) == recording


def test_how_much_of_each_clip_is_taken_is_said(tmp_path: Path) -> None:
    names = [f"{label}/{k}.wav" for label in ("one", "two") for k in range(3)]
    for seconds, said in ((2.5, True), (0.5, False)):
        root = folder(tmp_path / str(seconds), names, seconds)
        scenes = folder_per_class(root, n_folds=2)
        done = Prepared(scenes, prepare(scenes, SETTINGS, tmp_path / "cache"), 0.1)
        line = "of each clip the first 0.5 s, of 2.5 (the median); --seconds 2.5 takes all"
        assert (line in prepared_lines(done)) is said
        assert prepared_json(done)["features"]["of_each_clip"] == [0.5, seconds]


def test_a_length_that_is_a_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(RATE), RATE)
    assert duration(path) == 1.0
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cut off: it claims \d+ samples and has \d+ bytes"):
        duration(path)
