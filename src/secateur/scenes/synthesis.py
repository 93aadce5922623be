"""The scene synthesiser: ten acoustic scenes, several recorders, no data needed. Loads no torch.

A clip is a function of the settings and its name alone. All randomness comes from generators
seeded by a hash of what they stand for (a place, a recorder, a clip), arithmetic is in double
precision without matrix products, and the result is rounded to 16 bits like a real recording.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from hashlib import sha256
from math import isfinite

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.palette import SCENES
from secateur.scenes.sounds import (
    ANCHORS_HZ,
    Wave,
    events,
    harmonic,
    noise_bed,
    room_response,
    shaped,
    slow,
    unit_power,
)

_VERSION = 1
"""Raised when clips change, so that features of the older ones are not taken for theirs."""

TRAINING_RECORDERS = ("a", "b", "a", "c", "a", "s1", "a", "s2", "a", "s3")
"""Recorders of all folds but the last, in turn: half of the clips are from `a`."""

TEST_RECORDERS = ("a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6")
"""Recorders of the last fold, in turn: `s4` to `s6` are heard nowhere else."""


@dataclass(frozen=True)
class Synthesis:
    """Settings of a synthetic set: every scene has `n_locations` of `clips_per_location` clips.

    Locations are dealt to the folds in turn. `difficulty` in [0, 1] says how much scenes differ
    within themselves, resemble each other and leak into each other.

    Raises:
        DataError: a setting is out of range.
    """

    n_locations: int = 12
    clips_per_location: int = 8
    seconds: float = 1.0
    rate: int = 16000
    n_folds: int = 4
    difficulty: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise DataError(f"n_folds={self.n_folds}: give at least 2, one of them to test on")
        if self.n_locations < self.n_folds:
            raise DataError(
                f"n_locations={self.n_locations} in {self.n_folds} folds: give at least "
                f"{self.n_folds}, for no location may be in two folds"
            )
        if self.clips_per_location < 1:
            raise DataError(f"clips_per_location={self.clips_per_location}: give at least 1")
        if not (isfinite(self.seconds) and 0.1 <= self.seconds <= 60):
            raise DataError(f"seconds={self.seconds}: give 0.1 to 60")
        if not 4000 <= self.rate <= 192000:
            raise DataError(f"rate={self.rate}: give 4000 to 192000 Hz")
        if not 0 <= self.difficulty <= 1:
            raise DataError(f"difficulty={self.difficulty}: give 0 (easy) to 1 (hard)")

    @property
    def n_samples(self) -> int:
        """Length of a clip, rounded to an even number of samples."""
        return 2 * round(self.seconds * self.rate / 2)


def synthetic_scenes(
    n_locations: int = 12,
    clips_per_location: int = 8,
    seconds: float = 1.0,
    rate: int = 16000,
    n_folds: int = 4,
    difficulty: float = 0.4,
    seed: int = 0,
) -> SceneSet:
    """A set of generated clips of ten scenes: 10 * n_locations * clips_per_location of them.

    Names read `<scene>-<location>-<take>-<recorder>`. Nothing is generated before it is read.

    Raises:
        DataError: a setting is out of range.
    """
    settings = Synthesis(n_locations, clips_per_location, seconds, rate, n_folds, difficulty, seed)
    described = json.dumps({"version": _VERSION} | asdict(settings), sort_keys=True)
    return SceneSet(
        name="synthetic",
        classes=tuple(SCENES),
        clips=_clips(settings),
        read=partial(_read, settings),
        content=sha256(described.encode()).hexdigest(),
    )


def render(settings: Synthesis, name: str) -> NDArray[np.float32]:
    """The clip of this name, (n_samples,) in full-scale units, a multiple of 1 / 32768.

    Raises:
        DataError: no scene, location, take or recorder is called so.
    """
    scene_name, location, recorder = _parse(settings, name)
    rng = _generator(settings.seed, "clip", name)
    scene = SCENES[scene_name]
    sound = _scene_sound(rng, settings, scene_name, location)
    other = scene.neighbours[int(rng.integers(len(scene.neighbours)))]
    leak_db = -24.0 + 24.0 * settings.difficulty + rng.uniform(-6, 3)
    sound = sound + 10 ** (leak_db / 20) * _scene_sound(rng, settings, other, location)
    recorded = _record(rng, settings, unit_power(sound) * 10 ** (rng.uniform(-6, 6) / 20), recorder)
    return (np.clip(np.round(recorded * 32768), -32768, 32767) / 32768).astype(np.float32)


def _clips(settings: Synthesis) -> tuple[Clip, ...]:
    clips = []
    for label, scene in enumerate(SCENES):
        for location in range(settings.n_locations):
            fold = location % settings.n_folds + 1
            pool = TEST_RECORDERS if fold == settings.n_folds else TRAINING_RECORDERS
            for take in range(settings.clips_per_location):
                turn = label + location * settings.clips_per_location + take
                recorder = pool[turn % len(pool)]
                name = f"{scene}-{location}-{take}-{recorder}"
                clips.append(Clip(name, label, fold, recorder, f"{scene}-{location}"))
    return tuple(clips)


def _read(settings: Synthesis, clip: Clip) -> tuple[NDArray[np.float32], int]:
    return render(settings, clip.name), settings.rate


def _parse(settings: Synthesis, name: str) -> tuple[str, int, str]:
    """Scene, location and recorder of a clip's name."""
    parts = name.split("-")
    if len(parts) == 4 and parts[1].isdecimal() and parts[2].isdecimal():
        scene, location, recorder = parts[0], int(parts[1]), parts[3]
        in_range = location < settings.n_locations and int(parts[2]) < settings.clips_per_location
        if scene in SCENES and in_range and recorder in TEST_RECORDERS:
            return scene, location, recorder
    raise DataError(
        f"no synthetic clip {name!r}; names read <scene>-<location>-<take>-<recorder>, with "
        f"locations 0 to {settings.n_locations - 1}, takes 0 to {settings.clips_per_location - 1} "
        f"and recorders {', '.join(TEST_RECORDERS)}"
    )


def _generator(seed: int, *what: str | int) -> Generator:
    digest = sha256("/".join(map(str, (seed, *what))).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))


@dataclass(frozen=True)
class _Place:
    """What is always the same at one location of one scene."""

    curve_db: Wave
    pitch_hz: float
    amplitudes: Wave
    phases: Wave
    engine_db: float
    busyness: Wave
    room: NDArray[np.complex128]


@lru_cache(maxsize=256)
def _place(settings: Synthesis, scene_name: str, location: int) -> _Place:
    rng = _generator(settings.seed, "place", scene_name, location)
    scene, difficulty = SCENES[scene_name], settings.difficulty
    bed = np.array(scene.bed_db)
    curve = bed + 0.6 * difficulty * (_mean_bed() - bed)
    engine = scene.engine
    harmonics = np.arange(1.0, 25.0)
    n = settings.n_samples
    room = room_response(
        rng, n, settings.rate, scene.decay_s * np.exp(rng.normal(0, 0.3)), scene.wet
    )
    return _Place(
        curve_db=curve + _smooth_db(rng, 1.0 + 7.0 * difficulty),
        pitch_hz=float(np.exp(rng.uniform(np.log(engine.low_hz), np.log(engine.high_hz)))),
        amplitudes=harmonics**-engine.rolloff * 10 ** (rng.normal(0, 4, len(harmonics)) / 20),
        phases=rng.uniform(0, 2 * np.pi, len(harmonics)),
        engine_db=engine.level_db + rng.normal(0, 1.0 + 6.0 * difficulty),
        busyness=np.exp(rng.normal(0, 0.1 + 0.8 * difficulty, len(scene.events))),
        room=np.fft.rfft(room, 2 * n),
    )


def _scene_sound(rng: Generator, settings: Synthesis, scene_name: str, location: int) -> Wave:
    """Bed, engine and events of a scene at one of its locations, in its room, (n_samples,)."""
    n, rate = settings.n_samples, settings.rate
    scene, place = SCENES[scene_name], _place(settings, scene_name, location)
    curve = place.curve_db + rng.normal(0, 1.5, len(ANCHORS_HZ))
    sway = 10 ** (scene.sway_db * slow(rng, n, rate, scene.sway_hz) / 20)
    bed = noise_bed(rng, n, rate, curve) * sway
    track = place.pitch_hz * np.exp(0.02 * slow(rng, n, rate, 3.0) + rng.normal(0, 0.06))
    tone = unit_power(harmonic(track, rate, place.amplitudes, place.phases))
    dry = np.zeros(n)
    for event, busyness in zip(scene.events, place.busyness, strict=True):
        level = 10 ** (event.level_db / 20)
        dry += level * events(rng, n, rate, event.kind, event.per_second * float(busyness))
    wet = np.fft.irfft(np.fft.rfft(dry, 2 * n) * place.room, 2 * n)[:n]
    return bed + 10 ** (place.engine_db / 20) * tone + wet


@dataclass(frozen=True)
class _Recorder:
    """A recorder: frequency response, how hard it compresses, its own noise."""

    response_db: Wave
    drive: float
    noise_db: float


@lru_cache(maxsize=64)
def _recorder(seed: int, name: str, difficulty: float) -> _Recorder:
    rng = _generator(seed, "recorder", name)
    spread = 0.0 if name == "a" else 2.0 + 4.0 * difficulty
    return _Recorder(
        response_db=_smooth_db(rng, spread),
        drive=1.0 if name == "a" else float(rng.uniform(1.0, 4.0)),
        noise_db=-75.0 if name == "a" else float(rng.uniform(-68, -52)),
    )


def _record(rng: Generator, settings: Synthesis, sound: Wave, name: str) -> Wave:
    """The sound as a recorder takes it down: coloured, compressed, with noise, at most 1."""
    recorder = _recorder(settings.seed, name, settings.difficulty)
    n = len(sound)
    heard = np.fft.irfft(shaped(np.fft.rfft(sound), settings.rate, recorder.response_db), n)
    pressed = np.tanh(0.1 * recorder.drive * heard) / recorder.drive
    return pressed + 10 ** (recorder.noise_db / 20) * rng.standard_normal(n)


def _smooth_db(rng: Generator, spread_db: float) -> Wave:
    """A random curve at the anchors that changes slowly with frequency, without overall level."""
    rough = rng.normal(0, 1, len(ANCHORS_HZ) + 2)
    curve = (rough[:-2] + rough[1:-1] + rough[2:]) / np.sqrt(3)
    centred: Wave = spread_db * (curve - curve.mean())
    return centred


@lru_cache(maxsize=1)
def _mean_bed() -> Wave:
    mean: Wave = np.array([scene.bed_db for scene in SCENES.values()]).mean(axis=0)
    return mean
