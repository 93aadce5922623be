"""Sources of the synthesiser: noise beds, engines, rooms and short events. Loads no torch.

Every function is pure: what varies comes from the `numpy.random.Generator` it is given, in a
fixed order of draws. Lengths are in samples, frequencies in Hz, levels in dB, times in s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Wave = NDArray[np.float64]

ANCHORS_HZ = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0)
"""Frequencies at which spectral curves are given, in dB; between them dB is linear in log f."""


def shaped(spectrum: NDArray[np.complex128], rate: int, curve_db: Wave) -> NDArray[np.complex128]:
    """Filter a one-sided spectrum by a curve of gains at `ANCHORS_HZ`."""
    n = 2 * (len(spectrum) - 1)
    return spectrum * 10 ** (np.interp(_octaves(n, rate), _ANCHOR_OCTAVES, curve_db) / 20)


def noise_bed(rng: Generator, n: int, rate: int, curve_db: Wave) -> Wave:
    """Stationary noise of unit power with the spectrum `curve_db`, (n,); n is even."""
    white = rng.standard_normal((2, n // 2 + 1))
    bed = np.fft.irfft(shaped(white[0] + 1j * white[1], rate, curve_db), n)
    return unit_power(bed)


def slow(rng: Generator, n: int, rate: int, changes_hz: float) -> Wave:
    """A random line through unit-variance points, about `changes_hz` of them a second, (n,)."""
    n_points = max(2, round(changes_hz * n / rate) + 1)
    points = rng.standard_normal(n_points)
    return np.interp(np.linspace(0, n_points - 1, n), np.arange(n_points), points)


def harmonic(track_hz: Wave, rate: int, amplitudes: Wave, phases: Wave) -> Wave:
    """A periodic tone that follows `track_hz` (n,), with one amplitude and phase a harmonic."""
    size = 2048
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    n = min(len(amplitudes), int(rate / 2 / max(float(track_hz.max()), 1.0)))
    spectrum[1 : n + 1] = amplitudes[:n] * np.exp(1j * phases[:n])
    period = np.fft.irfft(spectrum, size) * size
    step = np.diff(period, append=period[0])
    place = (np.cumsum(track_hz) / rate % 1.0) * size
    before = place.astype(np.int64)
    tone: Wave = period[before] + (place - before) * step[before]
    return tone


def room_response(rng: Generator, n: int, rate: int, decay_s: float, wet: float) -> Wave:
    """Direct sound and an exponential tail of noise that falls by 60 dB in `decay_s`, (n,)."""
    t = np.arange(n) / rate
    tail = rng.standard_normal(n) * 10 ** (-3 * t / decay_s)
    response: Wave = wet * tail / np.sqrt(np.sum(tail**2))
    response[0] += 1.0
    return response


def unit_power(wave: Wave) -> Wave:
    """The wave scaled to a mean square of one; silence stays silence."""
    power = float(np.mean(wave**2))
    return wave / np.sqrt(power) if power > 0 else wave


def step(rng: Generator, rate: int) -> Wave:
    """A footstep: a low thud and a scrape."""
    t = _time(0.12, rate)
    thud = np.sin(2 * np.pi * rng.uniform(70, 140) * t) * _fall(t, 0.02)
    scrape = _band_noise(rng, t, rate, rng.uniform(600, 2500)) * _fall(t, rng.uniform(0.01, 0.03))
    return thud + rng.uniform(0.3, 1.0) * scrape


def voice(rng: Generator, rate: int) -> Wave:
    """A few syllables: a falling glottal tone through three formants."""
    pitch = float(np.exp(rng.uniform(np.log(95), np.log(260))))
    syllables = []
    for _ in range(int(rng.integers(1, 5))):
        t = _time(rng.uniform(0.08, 0.2), rate)
        hz = pitch * np.arange(1, 61)
        gain = sum(
            level / (1 + ((hz - centre) / width) ** 2)
            for centre, width, level in (
                (rng.uniform(280, 800), 80, 1.0),
                (rng.uniform(900, 2300), 120, 0.5),
                (rng.uniform(2400, 3300), 200, 0.25),
            )
        )
        track = pitch * (1 + rng.uniform(-0.2, 0.1) * t / t[-1])
        tone = harmonic(track, rate, gain / np.arange(1, 61) ** 0.5, rng.uniform(0, 6.28, 60))
        syllables += [tone * _swell(t) ** 0.7, np.zeros(int(0.04 * rate))]
    return np.concatenate(syllables)


def bird(rng: Generator, rate: int) -> Wave:
    """A phrase of sweeping whistles."""
    start, sweep = rng.uniform(2200, 5000), rng.uniform(-0.4, 0.5)
    t = _time(rng.uniform(0.04, 0.12), rate)
    whistle = np.sin(2 * np.pi * start * (t + sweep * t**2 / t[-1] / 2)) * _swell(t)
    pause = np.zeros(int(rng.uniform(0.02, 0.08) * rate))
    return np.concatenate([whistle, pause] * int(rng.integers(2, 5)))


def beep(rng: Generator, rate: int) -> Wave:
    """A ticket gate or a scanner: one or two steady tones."""
    t = _time(rng.uniform(0.06, 0.18), rate)
    pitch = rng.uniform(900, 2800)
    tone = np.sin(2 * np.pi * pitch * t) + 0.3 * np.sin(4 * np.pi * pitch * t)
    tone = tone * np.minimum(1.0, np.minimum(t, t[-1] - t) / 0.005)
    return np.concatenate([tone, np.zeros(int(0.05 * rate))] * int(rng.integers(1, 3)))


def chime(rng: Generator, rate: int) -> Wave:
    """The notes before an announcement, falling and ringing on."""
    t = _time(0.35, rate)
    base = rng.uniform(450, 800)
    notes = [
        np.sin(2 * np.pi * base * ratio * t) * _fall(t, 0.15)
        for ratio in (1.5, 1.25, 1.0)[: int(rng.integers(2, 4))]
    ]
    return np.concatenate(notes)


def clack(rng: Generator, rate: int) -> Wave:
    """Two axles over a rail joint."""
    t = _time(0.1, rate)
    pitch = rng.uniform(110, 320)
    hit = np.sin(2 * np.pi * pitch * t) * _fall(t, 0.025)
    hit = hit + 0.5 * _band_noise(rng, t, rate, rng.uniform(500, 1500)) * _fall(t, 0.008)
    gap = np.zeros(int(rng.uniform(0.02, 0.1) * rate))
    return np.concatenate([hit, gap, rng.uniform(0.6, 1.0) * hit])


def squeal(rng: Generator, rate: int) -> Wave:
    """Wheels in a curve or brakes: a wavering high tone with its octave."""
    t = _time(rng.uniform(0.25, 0.7), rate)
    waver = 1 + 0.02 * np.sin(2 * np.pi * rng.uniform(4, 9) * t) + rng.uniform(-0.1, 0.1) * t
    turns = np.cumsum(rng.uniform(1700, 3600) * waver) / rate
    return (np.sin(2 * np.pi * turns) + 0.4 * np.sin(4 * np.pi * turns)) * _swell(t)


def hiss(rng: Generator, rate: int) -> Wave:
    """A pneumatic door or brake: bright noise that dies away."""
    t = _time(rng.uniform(0.2, 0.5), rate)
    return _band_noise(rng, t, rate, rng.uniform(3000, 6000)) * _fall(t, t[-1] / 3)


def clink(rng: Generator, rate: int) -> Wave:
    """Cups, coins or keys: ringing partials."""
    t = _time(0.15, rate)
    pitches = rng.uniform(2000, 7000, 4)
    return _partials(t, pitches, np.ones(4)) * _fall(t, rng.uniform(0.02, 0.05))


def passing(rng: Generator, rate: int) -> Wave:
    """A car driving by: noise that swells and fades."""
    t = _time(rng.uniform(0.5, 1.2), rate)
    return _band_noise(rng, t, rate, rng.uniform(300, 1100)) * _swell(t) ** 2


def horn(rng: Generator, rate: int) -> Wave:
    """Two horns a third apart."""
    t = _time(rng.uniform(0.15, 0.4), rate)
    pitch = rng.uniform(300, 480)
    amplitudes, phases = 1 / np.arange(1.0, 13.0), np.zeros(12)
    return sum(
        (harmonic(np.full(len(t), pitch * r), rate, amplitudes, phases) for r in (1.0, 1.25)),
        start=np.zeros(len(t)),
    )


def bell(rng: Generator, rate: int) -> Wave:
    """A tram's gong: inharmonic partials, struck twice."""
    t = _time(0.3, rate)
    pitch = rng.uniform(700, 1300)
    strike = _partials(t, pitch * np.array([1.0, 2.76, 4.2]), np.array([1.0, 0.6, 0.3]))
    strike = strike * _fall(t, rng.uniform(0.06, 0.12))
    return np.concatenate([strike, strike])


EVENTS: Mapping[str, Callable[[Generator, int], Wave]] = MappingProxyType(
    {
        sound.__name__: sound
        for sound in (
            step, voice, bird, beep, chime, clack, squeal, hiss, clink, passing, horn, bell
        )
    }
)  # fmt: skip
"""Short sounds by name: (generator, rate) -> (samples,)."""


def events(rng: Generator, n: int, rate: int, kind: str, per_second: float) -> Wave:
    """Events of one kind at the times of a Poisson process, each of its own loudness, (n,).

    An event may have begun before the clip and may outlast it.
    """
    lead = rate // 2
    sound = np.zeros(n + lead)
    for _ in range(int(rng.poisson(per_second * (n + lead) / rate))):
        start = int(rng.integers(n + lead))
        wave = unit_power(EVENTS[kind](rng, rate)) * 10 ** (rng.uniform(-9, 3) / 20)
        end = min(len(sound), start + len(wave))
        sound[start:end] += wave[: end - start]
    heard: Wave = sound[lead:]
    return heard


def _time(seconds: float, rate: int) -> Wave:
    return np.arange(max(2, int(seconds * rate)), dtype=np.float64) / rate


def _swell(t: Wave) -> Wave:
    """Up and down again over the length of `t`: half a sine."""
    half_sine: Wave = np.maximum(np.sin((np.pi / t[-1]) * t), 0.0)
    return half_sine


def _fall(t: Wave, seconds: float) -> Wave:
    """Exponential decay to 1 / e in `seconds`."""
    decay: Wave = np.exp(-t / seconds)
    return decay


def _partials(t: Wave, pitches_hz: Wave, levels: Wave) -> Wave:
    """A sum of sines, (samples,)."""
    tones: Wave = (levels[:, None] * np.sin(2 * np.pi * pitches_hz[:, None] * t)).sum(axis=0)
    return tones


def _band_noise(rng: Generator, t: Wave, rate: int, centre_hz: float) -> Wave:
    """Noise of about unit power around a frequency, falling by 12 dB an octave."""
    size = 1 << (len(t) - 1).bit_length()
    curve = -12.0 * np.abs(np.log2(np.array(ANCHORS_HZ) / centre_hz))
    noise: Wave = noise_bed(rng, size, rate, curve)[: len(t)]
    return noise


_ANCHOR_OCTAVES = np.log2(np.array(ANCHORS_HZ))


@lru_cache(maxsize=64)
def _octaves(n: int, rate: int) -> Wave:
    """log2 of the frequencies of an n-point real transform; 0 Hz counts as 1 Hz."""
    octaves: Wave = np.log2(np.maximum(np.arange(n // 2 + 1) * (rate / n), 1.0))
    octaves.setflags(write=False)
    return octaves
