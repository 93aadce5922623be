"""The recorders of the synthesiser: how each colours, squeezes and drowns what it hears. No torch.

After TAU Urban Acoustic Scenes Mobile: `a` is a good recorder that made most of the training part,
`b` and `c` are phones, `s1` to `s6` stand for simulated phones, of which the last three are in the
test part only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from secateur.scenes.sounds import ANCHORS_HZ, Wave, shaped


@dataclass(frozen=True)
class Kind:
    """How far recorders of a kind may be from a perfect one; ranges are drawn from evenly.

    `spread` scales the wandering of the response, `drive` says how soon loud samples saturate,
    `squeeze` by which share of its distance from the mean a loud or quiet moment is brought nearer
    to it (both in dB), `noise_db` is the level of its own noise, full scale being 0.
    """

    spread: float
    drive: tuple[float, float]
    squeeze: tuple[float, float]
    noise_db: tuple[float, float]


_GOOD = Kind(spread=0.0, drive=(1.0, 1.0), squeeze=(0.0, 0.0), noise_db=(-75.0, -75.0))
_PHONE = Kind(spread=0.7, drive=(1.0, 2.0), squeeze=(0.0, 0.2), noise_db=(-68.0, -60.0))
_SIMULATED = Kind(spread=1.0, drive=(1.0, 4.0), squeeze=(0.1, 0.4), noise_db=(-66.0, -52.0))

RECORDERS: Mapping[str, Kind] = MappingProxyType(
    {"a": _GOOD, "b": _PHONE, "c": _PHONE}
    | dict.fromkeys(("s1", "s2", "s3", "s4", "s5", "s6"), _SIMULATED)
)
"""The recorders by name: `s4` to `s6` are heard in the last fold only."""

TRAINING_RECORDERS = (
    *("a", "a", "b", "a", "a", "c", "a", "a", "s1", "a", "a", "s2", "a", "a", "s3"),
)
"""Recorders of all folds but the last, in turn: two of three recordings are from `a`."""

TEST_RECORDERS = tuple(RECORDERS)
"""Recorders of the last fold."""


@dataclass(frozen=True)
class Recorder:
    """One recorder: gains in dB at `ANCHORS_HZ`, saturation, compression, its own noise in dB."""

    response_db: Wave
    drive: float
    squeeze: float
    noise_db: float


def draw_recorder(rng: Generator, name: str, spread_db: float) -> Recorder:
    """A recorder whose response wanders by `spread_db` (root mean square) times its kind's."""
    kind = RECORDERS[name]
    wandering = smooth_curve(rng)
    wandering = wandering / np.sqrt(np.mean(wandering**2))
    return Recorder(
        response_db=spread_db * kind.spread * wandering,
        drive=float(rng.uniform(*kind.drive)),
        squeeze=float(rng.uniform(*kind.squeeze)),
        noise_db=float(rng.uniform(*kind.noise_db)),
    )


def record(rng: Generator, recorder: Recorder, sound: Wave, rate: int) -> Wave:
    """The sound (n,), n even, of about unit power, as a recorder takes it down: at most about 1."""
    n = len(sound)
    heard = np.fft.irfft(shaped(np.fft.rfft(sound), rate, recorder.response_db), n)
    level_db = 10 * np.log10(_moving_power(heard, rate // 20) + 1e-6)
    heard = heard * 10 ** (recorder.squeeze * (level_db.mean() - level_db) / 20)
    pressed: Wave = np.tanh(0.1 * recorder.drive * heard) / recorder.drive
    return pressed + 10 ** (recorder.noise_db / 20) * rng.standard_normal(n)


def smooth_curve(rng: Generator) -> Wave:
    """A random curve at the anchors that changes slowly with frequency, without overall level."""
    rough = rng.normal(0, 1, len(ANCHORS_HZ) + 2)
    curve = (rough[:-2] + rough[1:-1] + rough[2:]) / np.sqrt(3)
    centred: Wave = curve - curve.mean()
    return centred


def _moving_power(wave: Wave, width: int) -> Wave:
    """Mean square over `width` samples about each one, fewer at the ends, (n,)."""
    total = np.concatenate([[0.0], np.cumsum(wave**2)])
    at = np.arange(len(wave))
    first, last = np.maximum(at - width // 2, 0), np.minimum(at + width // 2 + 1, len(wave))
    power: Wave = (total[last] - total[first]) / (last - first)
    return power
