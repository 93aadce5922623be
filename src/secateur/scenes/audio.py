"""Reading one audio file as a mono waveform, and refusing one that is broken. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from secateur.errors import DataError, ReadError, brief
from secateur.reading import opened
from secateur.scenes.containers import cut_off, vorbis_frames

LOOK_AHEAD = 4096
"""Samples of the lower rate behind a place that a resampler's answer there depends on, at most."""

_NEXT_STEP = "copy or download the file again"
_BLOCK = 1 << 18
"""Numbers, of all channels together, that are decoded at a time."""
_RATES = (100, 1_000_000)
_MOST_A_BYTE = 8192
"""Samples of silence that a byte of FLAC stands for, at most."""


def read_audio(path: Path, seconds: float | None = None) -> tuple[NDArray[np.float32], int]:
    """Read a file as a mono waveform (samples,) in full-scale units, and its rate in Hz.

    Channels are averaged. A file that ends early is refused, not read short. With `seconds` no more
    than its first ones are given, and `LOOK_AHEAD` samples; the rest is looked at and not kept.

    Raises:
        DataError: the file is missing, unreadable, empty, cut off, or holds non-finite samples.
    """
    kept: list[NDArray[np.float32]] = []
    n, rate = 0, 0
    for block, rate in mono_blocks(path):
        most = n + len(block) if seconds is None else ceil(seconds * rate) + LOOK_AHEAD
        if n < most:
            kept.append(block[: most - n])
            n += len(kept[-1])
    return np.concatenate(kept), rate


def mono_blocks(path: Path) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The waveform of `read_audio` in pieces (samples,), each with the rate.

    What a header claims decides neither how much memory nor how much time is taken.

    Raises:
        DataError: as `read_audio`, once the place is reached that is at fault.
    """
    try:
        with opened(path) as content:
            if not content.read(1):
                raise DataError(f"audio file {path} is empty (0 bytes); {_NEXT_STEP}")
            missing, promised = cut_off(content), vorbis_frames(content)
    except ReadError as error:
        raise DataError(f"cannot read audio file {path}: {error.why}; {_NEXT_STEP}") from error
    n = 0
    try:
        with _Straight(path) as file:
            rate, promised = int(file.samplerate), max(promised, int(file.frames))
            if not _RATES[0] <= rate <= _RATES[1]:
                raise DataError(
                    f"audio file {path} has a rate of {rate} Hz, and recordings have "
                    f"{_RATES[0]} to {_RATES[1]:,}; {_NEXT_STEP}"
                )
            size = max(1, _BLOCK // int(file.channels))
            while not missing and len(found := file.read(size, dtype="float32", always_2d=True)):
                n += len(found)
                yield _mono(found, path), rate
    except RuntimeError as error:  # the root of soundfile.SoundFileError
        raise DataError(f"cannot decode audio file {path}: {brief(error)}; {_NEXT_STEP}") from error
    if not missing and n < promised:
        missing = f"{n} of {promised} samples can be decoded"
    if missing:
        raise DataError(f"audio file {path} is cut off: {missing}; {_NEXT_STEP}")
    if not n:
        raise DataError(f"audio file {path} holds no samples; {_NEXT_STEP}")


def duration(path: Path) -> float:
    """Seconds of a file as its header says, which a file that is not cut off holds.

    Raises:
        DataError: it cannot be read, is cut off, or claims more than so many bytes can hold.
    """
    try:
        with opened(path) as content:
            missing = cut_off(content)
            n_bytes = content.seek(0, os.SEEK_END)
        with soundfile.SoundFile(path) as file:
            n, rate = int(file.frames), int(file.samplerate)
    except ReadError as error:
        raise DataError(f"cannot read audio file {path}: {error.why}; {_NEXT_STEP}") from error
    except RuntimeError as error:
        raise DataError(f"cannot decode audio file {path}: {brief(error)}; {_NEXT_STEP}") from error
    if missing or n > _MOST_A_BYTE * n_bytes:
        missing = missing or f"it claims {n} samples and has {n_bytes} bytes"
        raise DataError(f"audio file {path} is cut off: {missing}; {_NEXT_STEP}")
    return n / max(rate, 1)


class _Straight(soundfile.SoundFile):  # type: ignore[misc]  # untyped
    """A file read from its start to its end.

    Told that it cannot be sought in, it is not sought in after every block, which would step over
    holes, so that nobody hears of them, and which some broken headers forbid.
    """

    def seekable(self) -> bool:
        return False


def _mono(samples: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Channels averaged, (samples, channels) -> (samples,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        mono: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError(f"audio file {path} holds non-finite samples; {_NEXT_STEP}")
    return mono


def fit(
    waveform: NDArray[np.float32], rate_from: int, rate_to: int, n_samples: int
) -> NDArray[np.float32]:
    """Bring a waveform (samples,) to another rate and to exactly `n_samples`.

    Too long: the end is cut off. Too short: silence is appended.

    >>> fit(np.ones(2, dtype=np.float32), 8000, 8000, 3)
    array([1., 1., 0.], dtype=float32)
    """
    ahead = LOOK_AHEAD * max(1.0, rate_from / rate_to)
    waveform = waveform[: ceil(n_samples * rate_from / rate_to + ahead)]
    if rate_from != rate_to:
        waveform = soxr.resample(waveform, rate_from, rate_to)
    fitted = np.zeros(n_samples, dtype=np.float32)
    n = min(n_samples, len(waveform))
    fitted[:n] = waveform[:n]
    return fitted
