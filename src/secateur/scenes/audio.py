"""Reading one audio file as a mono waveform, and refusing one that is broken. Loads no torch."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from secateur.errors import DataError

_NEXT_STEP = "copy or download the file again"


def read_audio(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read a file as a mono waveform (samples,) in full-scale units, and its rate in Hz.

    Channels are averaged. A file that ends early is refused, not read short.

    Raises:
        DataError: the file is missing, unreadable, empty, cut off, or holds non-finite samples.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"cannot read audio file {path}: {why}; {_NEXT_STEP}") from error
    if not content:
        raise DataError(f"audio file {path} is empty (0 bytes); {_NEXT_STEP}")
    try:
        with soundfile.SoundFile(path) as file:
            promised, rate = int(file.frames), int(file.samplerate)
            samples = file.read(dtype="float32", always_2d=True)
    except RuntimeError as error:  # the root of soundfile.SoundFileError
        raise DataError(f"cannot decode audio file {path}: {error}; {_NEXT_STEP}") from error
    missing = _cut_off(content)
    promised = max(promised, _vorbis_frames(content))
    if not missing and len(samples) < promised:
        missing = f"{len(samples)} of {promised} samples can be decoded"
    if missing:
        raise DataError(f"audio file {path} is cut off: {missing}; {_NEXT_STEP}")
    if not len(samples):
        raise DataError(f"audio file {path} holds no samples; {_NEXT_STEP}")
    if not np.isfinite(samples).all():
        raise DataError(f"audio file {path} holds non-finite samples; {_NEXT_STEP}")
    return samples.mean(axis=1, dtype=np.float32), rate


def fit(
    waveform: NDArray[np.float32], rate_from: int, rate_to: int, n_samples: int
) -> NDArray[np.float32]:
    """Bring a waveform (samples,) to another rate and to exactly `n_samples`.

    Too long: the end is cut off. Too short: silence is appended.

    >>> fit(np.ones(2, dtype=np.float32), 8000, 8000, 3)
    array([1., 1., 0.], dtype=float32)
    """
    if rate_from != rate_to:
        waveform = soxr.resample(waveform, rate_from, rate_to)
    fitted = np.zeros(n_samples, dtype=np.float32)
    n = min(n_samples, len(waveform))
    fitted[:n] = waveform[:n]
    return fitted


def _cut_off(content: bytes) -> str:
    """What a RIFF or Ogg container promises and the file does not hold; empty if it is whole."""
    if content[:4] == b"RIFF" and len(content) >= 8:
        (size,) = struct.unpack("<I", content[4:8])
        if size + 8 > len(content):
            return f"{len(content)} of {size + 8} bytes are there"
    if content[:4] == b"OggS" and not _last_ogg_page(content)[0]:
        return "the last page of the Ogg stream is not there"
    return ""


def _vorbis_frames(content: bytes) -> int:
    """Samples that a Vorbis stream says it holds (0 for any other file)."""
    if content[:4] != b"OggS" or b"\x01vorbis" not in content[:64]:
        return 0
    return _last_ogg_page(content)[1]


def _last_ogg_page(content: bytes) -> tuple[bool, int]:
    """Whether the last Ogg page is whole and ends its stream, and the position it states."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False, 0
    (position,) = struct.unpack("<q", page[6:14])
    whole = len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return whole and bool(page[5] & 4), position
