"""The synthesiser: every clip a function of settings and name, and a task that can be learned."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import secateur.study
from secateur.errors import DataError
from secateur.scenes.datasets import Clip
from secateur.scenes.palette import SCENES
from secateur.scenes.recorders import RECORDERS, Recorder, record
from secateur.scenes.sounds import (
    ANCHORS_HZ,
    EVENTS,
    harmonic,
    noise_bed,
    room_response,
    unit_power,
)
from secateur.scenes.synthesis import (
    SYNTHESES,
    Synthesis,
    recorder_of,
    render,
    scene_set,
    synthesis,
    synthetic_scenes,
)
from secateur.study.recipe import read_recipe
from secateur.study.sources import Synthetic

NAME = "metro_station-3-1-0-s2"
WHOLE = Synthesis(n_locations=4, clips_per_location=6, parts=3, every_recorder=True)


def digest(waveform: np.ndarray) -> str:
    return sha256(waveform.tobytes()).hexdigest()


def test_names_are_those_of_tau() -> None:
    assert tuple(SCENES) == (
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
    assert synthetic_scenes().classes == tuple(SCENES)


def test_the_set_is_balanced_and_unseen_recorders_are_in_the_last_fold_only() -> None:
    scenes = synthetic_scenes(n_locations=12, clips_per_location=8, n_folds=4)
    assert len(scenes.clips) == 960
    assert set(Counter((clip.label, clip.fold) for clip in scenes.clips).values()) == {24}
    last = Counter(clip.device for clip in scenes.clips if clip.fold == 4)
    rest = Counter(clip.device for clip in scenes.clips if clip.fold != 4)
    assert set(last) == {"a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"}
    assert set(rest) == {"a", "b", "c", "s1", "s2", "s3"}
    assert rest["a"] == 480 and all(40 <= rest[name] <= 56 for name in set(rest) - {"a"})


def test_parts_of_a_segment_share_place_recorder_and_segment() -> None:
    segments: dict[str, list[Clip]] = {}
    for clip in scene_set(WHOLE).clips:
        assert clip.segment
        segments.setdefault(clip.segment, []).append(clip)
    for name, parts in segments.items():
        assert len({(clip.label, clip.fold, clip.device, clip.location) for clip in parts}) == 1
        before, _, device = name.rpartition("-")
        assert [clip.name for clip in parts] == [f"{before}-{k}-{device}" for k in range(3)]
    assert len(segments) == 10 * (3 * 2 + 1 * 2 * len(RECORDERS))


def test_every_recorder_hears_every_segment_of_the_last_fold_and_one_those_of_others() -> None:
    heard: dict[str, set[str]] = {}
    folds = {}
    for clip in scene_set(WHOLE).clips:
        moment = clip.segment.rpartition("-")[0]
        heard.setdefault(moment, set()).add(clip.device)
        folds[moment] = clip.fold
    for moment, recorders in heard.items():
        assert recorders == set(RECORDERS) if folds[moment] == 4 else len(recorders) == 1


def test_parts_are_pieces_of_one_recording() -> None:
    """A steady tone goes on from one part to the next: seams are as smooth as the inside."""
    parts = [render(WHOLE, f"tram-1-0-{k}-a") for k in range(3)]
    whole = np.concatenate(parts)
    jumps = np.abs(np.diff(whole))
    seams = [jumps[len(parts[0]) * k - 1] for k in (1, 2)]
    assert max(seams) < np.quantile(jumps, 0.999)
    assert not np.array_equal(parts[0], parts[1])


def test_recorders_at_one_place_hear_the_same_moment() -> None:
    settings = dataclasses.replace(WHOLE, difficulty=0.2)
    a, b, other = (
        render(settings, name).astype(np.float64)
        for name in ("park-3-1-0-a", "park-3-1-0-b", "park-3-0-0-b")
    )
    assert abs(np.corrcoef(a, b)[0, 1]) > 0.7 > 0.2 > abs(np.corrcoef(a, other)[0, 1])


def test_a_recorder_colours_by_its_response_and_a_does_not() -> None:
    settings = Synthesis(difficulty=0.8)
    assert not recorder_of(settings, "a").response_db.any()
    for name, spread in (("b", 0.7 * 6.0), ("s5", 6.0)):
        response = recorder_of(settings, name).response_db
        assert np.sqrt(np.mean(response**2)) == pytest.approx(spread)
    recorder = dataclasses.replace(recorder_of(settings, "s5"), squeeze=0.0, noise_db=-200.0)
    sound = noise_bed(np.random.default_rng(0), 1 << 17, 16000, np.zeros(8))
    taken = record(np.random.default_rng(0), recorder, 0.01 * sound, 16000)
    hz = np.fft.rfftfreq(1 << 17, 1 / 16000)
    gain = 20 * np.log10(np.abs(np.fft.rfft(taken)) / np.abs(np.fft.rfft(0.001 * sound)))
    for anchor, wanted in zip(ANCHORS_HZ, recorder.response_db, strict=True):
        near = (hz > anchor / 1.01) & (hz < anchor * 1.01)
        assert np.median(gain[near]) == pytest.approx(wanted, abs=0.2)


def test_compression_brings_loud_and_quiet_moments_together() -> None:
    flat = Recorder(response_db=np.zeros(8), drive=0.01, squeeze=0.5, noise_db=-200.0)
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(32000) * np.repeat([0.1, 1.0], 16000)
    levels = [
        20 * np.log10(wave[16000 + 2000 :].std() / wave[: 16000 - 2000].std())
        for wave in (sound, record(rng, flat, sound, 16000))
    ]
    assert levels[0] == pytest.approx(20, abs=0.3) and levels[1] == pytest.approx(10, abs=0.3)


def test_presets_are_whole_and_named() -> None:
    assert set(SYNTHESES) == {"demo", "normal", "hard"}
    for name in ("normal", "hard"):
        settings = synthesis(name)
        assert settings.parts == 10 and settings.seconds == 1.0 and settings.every_recorder
        assert len(scene_set(settings).clips) == 14400
    demo = read_recipe(Path(secateur.study.__path__[0]) / "demo.yaml")
    assert isinstance(demo.data, Synthetic) and Synthesis(**demo.data.arguments()) == synthesis(
        "demo"
    )
    assert {run.fold for run in demo.repetitions()} == {demo.data.n_folds}
    with pytest.raises(DataError, match=r"'hrad'; there are .*did you mean 'hard'"):
        synthesis("hrad")


DIGESTS = {
    "airport-3-1-2-s1": "fe0c306b28f9e1fb",
    "metro-3-1-2-b": "f68b584ee0a804a5",
    "park-3-1-2-s5": "83d8d4162c82973b",
    "tram-3-1-2-a": "5db58d2a3be0670b",
}
"""Of `WHOLE`. When clips change on purpose, raise `VERSION` and pin the new ones."""


@pytest.mark.parametrize("name", DIGESTS)
def test_these_clips_are_the_same_on_every_machine(name: str) -> None:
    assert digest(render(WHOLE, name))[:16] == DIGESTS[name]


def test_clips_do_not_depend_on_the_processor() -> None:
    """Without vector instructions numpy's functions differ in their last bit; clips do not."""
    program = (
        "from hashlib import sha256\n"
        "from secateur.scenes.synthesis import Synthesis, render\n"
        f"settings = {WHOLE!r}\n"
        f"for name in {list(DIGESTS)!r}:\n"
        "    print(sha256(render(settings, name).tobytes()).hexdigest()[:16])"
    )
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    plain = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(found)},
    )
    assert plain.stdout.split() == list(DIGESTS.values()), plain.stderr


@pytest.mark.parametrize("scene", SCENES)
def test_a_clip_is_a_16_bit_recording(scene: str) -> None:
    for recorder in ("a", "s3", "s6"):
        clip = render(Synthesis(seconds=0.5), f"{scene}-1-0-0-{recorder}")
        assert clip.shape == (8000,) and clip.dtype == np.float32
        levels = clip.astype(np.float64) * 32768
        assert np.array_equal(levels, np.round(levels))
        assert clip.std() > 0.005 and np.abs(clip).max() <= 1


@pytest.mark.parametrize("rate", [4000, 8000, 44100])
def test_other_rates_and_lengths(rate: int) -> None:
    settings = Synthesis(rate=rate, seconds=0.33)
    clip = render(settings, NAME)
    assert len(clip) == settings.n_samples and abs(len(clip) / rate - 0.33) < 2 / rate


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nowhere-0-0-0-a",
        "park-0-0-a",
        "park-0-0-0-z9",
        "park-12-0-0-a",
        "park-0-8-0-a",
        "park-0-0-1-a",
        "park--1-0-0-a",
        "park-x-0-0-a",
        "park-0-0-0-a-b",
    ],
)
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"no synthetic clip .*locations 0 to 11, segments 0 to 7"):
        render(Synthesis(), name)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_folds": 1}, "n_folds=1: give at least 2"),
        ({"n_locations": 3}, "n_locations=3 in 4 folds: give at least 4"),
        ({"clips_per_location": 0}, "clips_per_location=0"),
        ({"parts": 3}, "parts=3: give a divisor of clips_per_location=8"),
        ({"parts": 0}, "parts=0"),
        ({"seconds": 0.0}, "seconds=0.0: give 0.1 to 60"),
        ({"seconds": float("inf")}, "seconds=inf"),
        ({"rate": 100}, "rate=100"),
        ({"difficulty": 1.1}, "difficulty=1.1: give 0"),
        ({"difficulty": float("nan")}, "difficulty=nan"),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        synthetic_scenes(**wrong)


def test_every_event_and_neighbour_in_the_palette_exists() -> None:
    used = {event.kind for scene in SCENES.values() for event in scene.events}
    assert used == set(EVENTS)
    for name, scene in SCENES.items():
        assert scene.neighbours and set(scene.neighbours) <= set(SCENES) - {name}


@pytest.mark.parametrize("kind", EVENTS)
@pytest.mark.parametrize("rate", [4000, 16000])
def test_an_event_is_short_and_finite(kind: str, rate: int) -> None:
    for seed in range(10):
        sound = EVENTS[kind](np.random.default_rng(seed), rate)
        assert sound.ndim == 1 and 0.02 * rate < len(sound) < 1.5 * rate
        assert np.isfinite(sound).all() and sound.std() > 0


def test_a_noise_bed_has_the_spectrum_that_was_asked_for() -> None:
    rate, n = 16000, 1 << 16
    curve = np.array([0.0, -3, -6, -12, -9, -15, -24, -30])
    bed = noise_bed(np.random.default_rng(0), n, rate, curve)
    assert np.mean(bed**2) == pytest.approx(1)
    power = np.abs(np.fft.rfft(bed)) ** 2
    hz = np.fft.rfftfreq(n, 1 / rate)
    levels = np.array(
        [10 * np.log10(power[(hz > a / 1.03) & (hz < a * 1.03)].mean()) for a in ANCHORS_HZ]
    )
    assert np.abs((levels - levels[0]) - (curve - curve[0])).max() < 2.5


def test_a_tone_is_the_sum_of_its_harmonics_without_steps() -> None:
    rate, amplitudes, phases = 8000, np.array([1.0, 0.5, 0.25]), np.array([0.1, 2.0, 4.0])
    track = 200 + 20 * np.sin(np.arange(4000) / 500)
    turns = np.cumsum(track) / rate
    wanted = sum(
        2 * a * np.cos(2 * np.pi * k * turns + p)
        for k, a, p in zip((1, 2, 3), amplitudes, phases, strict=True)
    )
    assert np.allclose(harmonic(track, rate, amplitudes, phases), wanted, atol=1e-4)


def test_a_room_falls_by_60_db_in_its_decay_time() -> None:
    rate = 8000
    room = room_response(np.random.default_rng(0), 2 * rate, rate, decay_s=1.0, wet=1.0)
    early, late = (np.mean(room[at : at + 800] ** 2) for at in (400, 400 + rate))
    assert 10 * np.log10(early / late) == pytest.approx(60, abs=2)
    assert room[0] > 0.5
    assert unit_power(np.zeros(4)).tolist() == [0, 0, 0, 0]


def spectra(difficulty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Octave-band levels in dB of a small set, labels, and folds."""
    scenes = synthetic_scenes(n_locations=6, clips_per_location=2, n_folds=2, difficulty=difficulty)
    rows = []
    for clip in scenes.clips:
        waveform, rate = scenes.read(clip)
        power = np.abs(np.fft.rfft(waveform)) ** 2
        edges = np.searchsorted(np.fft.rfftfreq(len(waveform), 1 / rate), 40 * 2 ** np.arange(8))
        rows.append(10 * np.log10(np.add.reduceat(power, edges) + 1e-9))
    labels, folds = ([getattr(clip, what) for clip in scenes.clips] for what in ("label", "fold"))
    levels = np.array(rows)
    return levels - levels.mean(axis=1, keepdims=True), np.array(labels), np.array(folds)


def test_a_plain_spectrum_tells_easy_scenes_better_than_hard_ones_but_not_all() -> None:
    accuracy = {}
    for difficulty in (0.0, 1.0):
        x, labels, folds = spectra(difficulty)
        centres = np.stack([x[(folds == 1) & (labels == k)].mean(axis=0) for k in range(10)])
        distances = ((x[folds == 2][:, None] - centres) ** 2).sum(axis=2)
        accuracy[difficulty] = np.mean(distances.argmin(axis=1) == labels[folds == 2])
    assert 0.1 < accuracy[1.0] < accuracy[0.0] - 0.2 < 0.75, accuracy


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Synthesis().seed = 1  # type: ignore[misc]
