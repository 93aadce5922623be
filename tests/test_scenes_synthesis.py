"""The synthesiser: every clip a function of settings and name, and a task that can be learned."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest

from secateur.errors import DataError
from secateur.scenes.palette import SCENES
from secateur.scenes.sounds import ANCHORS_HZ, EVENTS, noise_bed, room_response, unit_power
from secateur.scenes.synthesis import Synthesis, render, synthetic_scenes

NAME = "metro_station-3-1-s2"


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
    assert rest["a"] == 360 and all(rest[name] == 72 for name in set(rest) - {"a"})


def test_the_same_clip_in_another_process_order_and_thread_count() -> None:
    program = (
        "from hashlib import sha256\n"
        "from secateur.scenes.synthesis import Synthesis, render\n"
        "settings = Synthesis(seed=5)\n"
        "render(settings, 'park-0-0-a'), render(settings, 'tram-3-1-s6')\n"
        f"print(sha256(render(settings, {NAME!r}).tobytes()).hexdigest())"
    )
    here = digest(render(Synthesis(seed=5), NAME))
    for threads in ("1", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        there = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert there.stdout.strip() == here, there.stderr


def test_more_locations_or_clips_leave_a_clip_as_it_is() -> None:
    few = render(Synthesis(n_locations=4, clips_per_location=2), NAME)
    many = render(Synthesis(n_locations=20, clips_per_location=9, n_folds=5), NAME)
    assert np.array_equal(few, many)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"difficulty": 0.41}, {"seconds": 1.2}, {"rate": 16002}]
)
def test_a_changed_setting_changes_clips_and_content(change: dict[str, float]) -> None:
    assert not np.array_equal(render(Synthesis(), NAME), render(Synthesis(**change), NAME))
    assert synthetic_scenes().content != synthetic_scenes(**change).content


def test_takes_and_recorders_differ() -> None:
    names = ("bus-0-0-a", "bus-0-1-a", "bus-1-0-a", "bus-0-0-s1", "tram-0-0-a")
    assert len({digest(render(Synthesis(), name)) for name in names}) == 5


@pytest.mark.parametrize("scene", SCENES)
def test_a_clip_is_a_16_bit_recording(scene: str) -> None:
    for recorder in ("a", "s3", "s6"):
        clip = render(Synthesis(seconds=0.5), f"{scene}-1-0-{recorder}")
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
        "nowhere-0-0-a",
        "park-0-0",
        "park-0-0-z9",
        "park-12-0-a",
        "park-0-8-a",
        "park--1-0-a",
        "park-x-0-a",
        "park-0-0-a-b",
    ],
)
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"no synthetic clip .*locations 0 to 11, takes 0 to 7"):
        render(Synthesis(), name)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n_folds": 1}, "n_folds=1: give at least 2"),
        ({"n_locations": 3}, "n_locations=3 in 4 folds: give at least 4"),
        ({"clips_per_location": 0}, "clips_per_location=0"),
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
