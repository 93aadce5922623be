"""The scene synthesiser: ten acoustic scenes, several recorders, no data needed. Loads no torch.

A clip is a function of the settings and its name alone. All randomness comes from generators
seeded by a hash of what they stand for (a place, a recorder, a recording), arithmetic is in double
precision without matrix products, and the result is rounded to 16 bits like a real recording.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from hashlib import sha256
from math import isfinite
from types import MappingProxyType

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from secateur.errors import DataError, unknown_name
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.palette import SCENES
from secateur.scenes.recorders import (
    RECORDERS,
    TEST_RECORDERS,
    TRAINING_RECORDERS,
    Recorder,
    draw_recorder,
    record,
    smooth_curve,
)
from secateur.scenes.sounds import (
    ANCHORS_HZ,
    Wave,
    events,
    harmonic,
    noise_bed,
    room_response,
    slow,
    unit_power,
)

VERSION = 2
"""Raised when clips change, so that features of the older ones are not taken for theirs."""

_ROOM_SECONDS = 2.0
"""How much of a room's response is heard."""


@dataclass(frozen=True)
class Synthesis:
    """Settings of a synthetic set: every scene has `n_locations` of `clips_per_location` clips.

    Locations are dealt to the folds in turn. `parts` clips at a time are consecutive pieces of one
    recording, a segment. Recorders take turns; with `every_recorder` all nine record every segment
    of the last fold, as in TAU, which makes it nine times as large. `difficulty` in [0, 1] says how
    much scenes differ within themselves, resemble each other and leak into each other, and how far
    apart recorders are.

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
    parts: int = 1
    every_recorder: bool = False

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
        if not (self.parts >= 1 and self.clips_per_location % self.parts == 0):
            raise DataError(
                f"parts={self.parts}: give a divisor of clips_per_location="
                f"{self.clips_per_location}, for segments are whole"
            )
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

    @property
    def n_segments(self) -> int:
        """Recordings of a location."""
        return self.clips_per_location // self.parts


SYNTHESES: Mapping[str, Synthesis] = MappingProxyType(
    {
        "demo": Synthesis(difficulty=0.3),
        "normal": Synthesis(
            n_locations=24, clips_per_location=20, parts=10, every_recorder=True, difficulty=0.4
        ),
        "hard": Synthesis(
            n_locations=24, clips_per_location=20, parts=10, every_recorder=True, difficulty=0.8
        ),
    }
)
"""Settings by name; docs/synthesis.md says how networks do on them."""


def synthesis(name: str) -> Synthesis:
    """The settings of this name.

    Raises:
        DataError: there are none.
    """
    if name not in SYNTHESES:
        raise DataError(unknown_name("preset of the synthesiser", name, SYNTHESES))
    return SYNTHESES[name]


def synthetic_scenes(
    n_locations: int = 12,
    clips_per_location: int = 8,
    seconds: float = 1.0,
    rate: int = 16000,
    n_folds: int = 4,
    difficulty: float = 0.4,
    seed: int = 0,
    parts: int = 1,
    every_recorder: bool = False,
) -> SceneSet:
    """A set of generated clips of ten scenes: see `Synthesis` for the settings, `scene_set`.

    Raises:
        DataError: a setting is out of range.
    """
    return scene_set(
        Synthesis(
            n_locations,
            clips_per_location,
            seconds,
            rate,
            n_folds,
            difficulty,
            seed,
            parts,
            every_recorder,
        )
    )


def scene_set(settings: Synthesis) -> SceneSet:
    """The clips of these settings; nothing is generated before it is read.

    Names read `<scene>-<location>-<segment>-<part>-<recorder>`. The last fold is the one to test
    on: the others have not heard all recorders.
    """
    described = json.dumps({"version": VERSION} | asdict(settings), sort_keys=True)
    return SceneSet(
        name="synthetic",
        classes=tuple(SCENES),
        clips=_clips(settings),
        read=partial(_read, settings),
        content=sha256(described.encode()).hexdigest(),
    )


def render(settings: Synthesis, name: str) -> NDArray[np.float32]:
    """The clip of this name, (n_samples,) in full-scale units, a multiple of 1 / 32768.

    Any recorder may be asked for what any place sounds like; the set holds some of these clips.

    Raises:
        DataError: no scene, location, segment, part or recorder is called so.
    """
    scene, location, segment, part, recorder = _parse(settings, name)
    recording = _recording(settings, scene, location, segment, recorder)
    return recording[part * settings.n_samples : (part + 1) * settings.n_samples].copy()


def recorder_of(settings: Synthesis, name: str) -> Recorder:
    """The recorder of this name: one and the same for all clips of a seed and a difficulty."""
    return _recorder(settings.seed, name, settings.difficulty)


def _clips(settings: Synthesis) -> tuple[Clip, ...]:
    clips = []
    for label, scene in enumerate(SCENES):
        for location in range(settings.n_locations):
            fold = location % settings.n_folds + 1
            test = fold == settings.n_folds
            pool = TEST_RECORDERS if test else TRAINING_RECORDERS
            place = f"{scene}-{location}"
            for segment in range(settings.n_segments):
                turn = label + location * settings.n_segments + segment
                every = test and settings.every_recorder
                for recorder in pool if every else (pool[turn % len(pool)],):
                    whole = f"{place}-{segment}"
                    for part in range(settings.parts):
                        name = f"{whole}-{part}-{recorder}"
                        clips.append(
                            Clip(name, label, fold, recorder, place, segment=f"{whole}-{recorder}")
                        )
    return tuple(clips)


def _read(settings: Synthesis, clip: Clip) -> tuple[NDArray[np.float32], int]:
    return render(settings, clip.name), settings.rate


def _parse(settings: Synthesis, name: str) -> tuple[str, int, int, int, str]:
    """Scene, location, segment, part and recorder of a clip's name."""
    parts = name.split("-")
    if len(parts) == 5 and all(number.isdecimal() for number in parts[1:4]):
        scene, recorder = parts[0], parts[4]
        location, segment, part = map(int, parts[1:4])
        in_range = (
            location < settings.n_locations
            and segment < settings.n_segments
            and part < settings.parts
        )
        if scene in SCENES and in_range and recorder in RECORDERS:
            return scene, location, segment, part, recorder
    raise DataError(
        f"no synthetic clip {name!r}; names read <scene>-<location>-<segment>-<part>-<recorder>, "
        f"with locations 0 to {settings.n_locations - 1}, segments 0 to "
        f"{settings.n_segments - 1}, parts 0 to {settings.parts - 1} and recorders "
        f"{', '.join(RECORDERS)}"
    )


def _generator(seed: int, *what: str | int) -> Generator:
    digest = sha256("/".join(map(str, (seed, *what))).encode()).digest()
    return Generator(PCG64(int.from_bytes(digest[:16], "big")))


@lru_cache(maxsize=4)
def _recording(
    settings: Synthesis, scene: str, location: int, segment: int, recorder: str
) -> NDArray[np.float32]:
    """A whole segment as one recorder takes it down, rounded to 16 bits."""
    rng = _generator(settings.seed, "recording", scene, location, segment, recorder)
    sound = _sound(settings, scene, location, segment)
    taken = record(rng, recorder_of(settings, recorder), sound, settings.rate)
    rounded = np.clip(np.round(taken * 32768), -32768, 32767) / 32768
    recording: NDArray[np.float32] = rounded.astype(np.float32)
    recording.setflags(write=False)
    return recording


@lru_cache(maxsize=2)
def _sound(settings: Synthesis, scene_name: str, location: int, segment: int) -> Wave:
    """What is to be heard at a place during one segment, a neighbour's leakage in it."""
    rng = _generator(settings.seed, "segment", scene_name, location, segment)
    scene = SCENES[scene_name]
    sound = _scene_sound(rng, settings, scene_name, location)
    other = scene.neighbours[int(rng.integers(len(scene.neighbours)))]
    leak_db = -24.0 + 24.0 * settings.difficulty + rng.uniform(-6, 3)
    sound = sound + 10 ** (leak_db / 20) * _scene_sound(rng, settings, other, location)
    sound = unit_power(sound) * 10 ** (rng.uniform(-6, 6) / 20)
    sound.setflags(write=False)
    return sound


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


@lru_cache(maxsize=16)
def _place(settings: Synthesis, scene_name: str, location: int) -> _Place:
    rng = _generator(settings.seed, "place", scene_name, location)
    scene, difficulty = SCENES[scene_name], settings.difficulty
    bed = np.array(scene.bed_db)
    curve = bed + 0.6 * difficulty * (_mean_bed() - bed)
    engine = scene.engine
    harmonics = np.arange(1.0, 25.0)
    return _Place(
        curve_db=curve + (1.0 + 7.0 * difficulty) * smooth_curve(rng),
        pitch_hz=float(np.exp(rng.uniform(np.log(engine.low_hz), np.log(engine.high_hz)))),
        amplitudes=harmonics**-engine.rolloff * 10 ** (rng.normal(0, 4, len(harmonics)) / 20),
        phases=rng.uniform(0, 2 * np.pi, len(harmonics)),
        engine_db=engine.level_db + rng.normal(0, 1.0 + 6.0 * difficulty),
        busyness=np.exp(rng.normal(0, 0.1 + 0.8 * difficulty, len(scene.events))),
        room=_room(rng, settings, scene.decay_s * np.exp(rng.normal(0, 0.3)), scene.wet),
    )


def _room(
    rng: Generator, settings: Synthesis, decay_s: float, wet: float
) -> NDArray[np.complex128]:
    """The transform of a room's response, for segments of these settings."""
    n = settings.parts * settings.n_samples
    taps = min(n, 2 * round(_ROOM_SECONDS * settings.rate / 2))
    response = room_response(rng, taps, settings.rate, decay_s, wet)
    transform: NDArray[np.complex128] = np.fft.rfft(response, n + taps)
    return transform


def _scene_sound(rng: Generator, settings: Synthesis, scene_name: str, location: int) -> Wave:
    """Bed, engine and events of a scene at one of its locations, in its room, (samples,)."""
    n, rate = settings.parts * settings.n_samples, settings.rate
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
    padded = 2 * (len(place.room) - 1)
    wet = np.fft.irfft(np.fft.rfft(dry, padded) * place.room, padded)[:n]
    return bed + 10 ** (place.engine_db / 20) * tone + wet


@lru_cache(maxsize=64)
def _recorder(seed: int, name: str, difficulty: float) -> Recorder:
    return draw_recorder(_generator(seed, "recorder", name), name, 2.0 + 5.0 * difficulty)


@lru_cache(maxsize=1)
def _mean_bed() -> Wave:
    mean: Wave = np.array([scene.bed_db for scene in SCENES.values()]).mean(axis=0)
    return mean
