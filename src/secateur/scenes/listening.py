"""What a page to listen to a data set needs: some clips as sound and as pictures, and the facts.

Loads torch when clips are read, not before.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

import numpy as np
import soundfile
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.audio import LOOK_AHEAD, fit
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.logmel import LogMel
from secateur.scenes.mel import filters
from secateur.scenes.palette import SCENES
from secateur.scenes.recorders import RECORDERS, Recorder
from secateur.scenes.synthesis import Synthesis, recorder_of, render, scene_set

RATE = 16000
"""Highest rate of what is embedded, in Hz."""

MOST_SECONDS = 200.0
"""Sound a page holds at most: at 16 kHz and 16 bits, written as text, not more than 8.6 MB."""

_TICKS_HZ = (100, 1000, 2000, 4000)
_AT_HOME = ("public_square", "metro_station")
"""Scenes of which one place is heard by every recorder."""


@dataclass(frozen=True)
class Heard:
    """A clip as it is heard: FLAC bytes, and its log-mels (n_mels, n_frames) in dB."""

    name: str
    label: str
    place: str
    device: str
    seconds: float
    audio: bytes
    bands_db: NDArray[np.float32]


@dataclass(frozen=True)
class Response:
    """A recorder of the synthesiser with its number of clips in training and test."""

    name: str
    recorder: Recorder
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Listening:
    """Everything a page says and plays.

    `clips` are some of every class, `paired` one place heard by every recorder, a group a place.
    `counts` says how many clips of every class, and of every device, lie in every part of the set.
    `ticks` are frequencies in Hz and their height in a picture, as a share from below.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Heard, ...]
    settings: Mapping[str, object]
    transform: Mapping[str, object]
    ticks: tuple[tuple[int, float], ...]
    parts: tuple[str, ...]
    by_class: Mapping[str, tuple[int, ...]]
    by_device: Mapping[str, tuple[int, ...]]
    paired: tuple[tuple[Heard, ...], ...] = ()
    responses: tuple[Response, ...] = ()
    skipped: tuple[str, ...] = ()


def listen_to_synthesis(
    settings: Synthesis, per_class: int = 3, seconds: float = 4.0, described: str = "synthetic"
) -> Listening:
    """Places of every scene by recorder `a`, and one place of some scenes by every recorder.

    Raises:
        DataError: `per_class` or `seconds` is out of range.
    """
    scenes = scene_set(settings)
    n_paired = len(_AT_HOME) * len(RECORDERS)
    per_class, seconds = _within(per_class, seconds, len(SCENES), n_paired)
    seconds = min(seconds, settings.parts * settings.n_samples / settings.rate)
    transform = _transform(settings.rate, seconds)

    def heard(scene: str, location: int, recorder: str) -> Heard:
        n_parts = int(np.ceil(seconds * settings.rate / settings.n_samples))
        names = [f"{scene}-{location}-0-{part}-{recorder}" for part in range(n_parts)]
        waveform = np.concatenate([render(settings, name) for name in names])
        clip = Clip(names[0], 0, 1, recorder, f"place {location}")
        return _heard(clip, scene, waveform, settings.rate, transform)

    places = range(min(per_class, settings.n_locations))
    scenes = replace(
        scenes,
        parts={fold: "test" if fold == settings.n_folds else "train" for fold in scenes.folds},
    )
    train, test = (Counter(clip.device for clip in scenes.part(p)) for p in ("train", "test"))
    clips = [heard(scene, place, "a") for scene in SCENES for place in places]
    return replace(
        _listening(scenes, described, clips, asdict(settings), transform),
        paired=tuple(
            tuple(heard(scene, settings.n_folds - 1, name) for name in RECORDERS)
            for scene in _AT_HOME
        ),
        responses=tuple(
            Response(name, recorder_of(settings, name), train[name], test[name])
            for name in RECORDERS
        ),
    )


def listen_to(
    scenes: SceneSet, per_class: int = 3, seconds: float = 4.0, seed: int = 0
) -> Listening:
    """Some clips of every class of any data set, of as many devices and locations as can be.

    Raises:
        DataError: `per_class` or `seconds` is out of range, or a clip cannot be read.
    """
    per_class, seconds = _within(per_class, seconds, len(scenes.classes), 0)
    chosen = _some(scenes.clips, per_class, seed)
    read = [(clip, *scenes.start(clip, seconds + LOOK_AHEAD / RATE)) for clip in chosen]
    transform = _transform(min(RATE, *(rate for _, _, rate in read)), seconds)
    clips = [
        _heard(clip, scenes.classes[clip.label], waveform, rate, transform)
        for clip, waveform, rate in read
    ]
    settings = {"clips": len(scenes.clips), "classes": len(scenes.classes), "seed": seed}
    return replace(
        _listening(scenes, scenes.name, clips, settings, transform),
        skipped=tuple(f"{one.name}: {one.why}" for one in scenes.skipped),
    )


def _listening(
    scenes: SceneSet,
    name: str,
    clips: Sequence[Heard],
    settings: Mapping[str, object],
    transform: LogMel,
) -> Listening:
    roles = {fold: scenes.parts.get(fold, f"fold {fold}") for fold in scenes.folds}
    parts = tuple(dict.fromkeys(roles.values()))
    return Listening(
        name=name,
        classes=scenes.classes,
        clips=tuple(clips),
        settings=settings,
        transform=asdict(transform),
        ticks=_ticks(transform),
        parts=parts,
        by_class=_counted(((scenes.classes[c.label], roles[c.fold]) for c in scenes.clips), parts),
        by_device=_counted(((c.device, roles[c.fold]) for c in scenes.clips), parts),
    )


def _within(per_class: int, seconds: float, n_classes: int, n_more: int) -> tuple[int, float]:
    """As many and as long clips as a page may hold: fewer first, then shorter."""
    if per_class < 1:
        raise DataError(f"{per_class} clips a class: give at least 1")
    if not 0.1 <= seconds <= 60:
        raise DataError(f"{seconds} seconds of a clip: give 0.1 to 60")
    fitting = int((MOST_SECONDS / seconds - n_more) / n_classes)
    per_class = max(1, min(per_class, fitting))
    return per_class, min(seconds, MOST_SECONDS / (per_class * n_classes + n_more))


def _transform(rate: int, seconds: float) -> LogMel:
    """A picture of 64 bands with a column every 20 ms."""
    n_fft = 1 << round(np.log2(rate * 0.064))
    hop = max(1, rate // 50)
    return LogMel(rate=rate, n_fft=n_fft, hop=hop, n_mels=64, f_min=50.0, seconds=seconds)


def _heard(
    clip: Clip, label: str, waveform: NDArray[np.float32], rate: int, transform: LogMel
) -> Heard:
    import torch

    from secateur.scenes.features import log_mel

    n = min(transform.n_samples, round(len(waveform) * transform.rate / rate))
    sound = fit(waveform, rate, transform.rate, n)
    picture = log_mel(torch.from_numpy(sound[None]), transform)[0, 0]
    file = io.BytesIO()
    samples = np.clip(np.round(sound * 32768.0), -32768, 32767).astype(np.int16)
    soundfile.write(file, samples, transform.rate, format="FLAC", subtype="PCM_16")
    return Heard(
        name=clip.name,
        label=label,
        place=clip.location,
        device=clip.device,
        seconds=n / transform.rate,
        audio=file.getvalue(),
        bands_db=picture.numpy(),
    )


def _some(clips: Iterable[Clip], per_class: int, seed: int) -> list[Clip]:
    """Of every class some clips, drawn by `seed`, of devices and locations not yet taken first."""
    by_label: dict[int, list[Clip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    chosen = []
    for label in sorted(by_label):
        drawn = sorted(
            by_label[label], key=lambda clip: sha256(f"{seed}/{clip.name}".encode()).digest()
        )
        devices: Counter[str] = Counter()
        places: Counter[str] = Counter()
        for _ in range(min(per_class, len(drawn))):
            best = min(
                range(len(drawn)),
                key=lambda k: (devices[drawn[k].device], places[drawn[k].location], k),
            )
            clip = drawn.pop(best)
            devices[clip.device] += 1
            places[clip.location] += 1
            chosen.append(clip)
    return chosen


def _ticks(transform: LogMel) -> tuple[tuple[int, float], ...]:
    """Where round frequencies lie among the bands."""
    bank = filters(transform.bank)
    hz = np.arange(bank.shape[1]) * (transform.rate / transform.n_fft)
    centres = (bank * hz).sum(axis=1) / bank.sum(axis=1)
    places = (np.arange(len(centres)) + 0.5) / len(centres)
    return tuple(
        (tick, float(np.interp(tick, centres, places)))
        for tick in _TICKS_HZ
        if centres[0] < tick < centres[-1]
    )


def _counted(pairs: Iterable[tuple[str, str]], parts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found = Counter(pairs)
    rows = sorted({row for row, _ in found})
    return {row: tuple(found[row, part] for part in parts) for row in rows}
