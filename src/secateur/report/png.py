"""A picture of numbers as a PNG file with a palette: nothing but zlib is needed. Loads no torch."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_ANCHORS = (
    *((10, 14, 32), (44, 24, 88), (104, 31, 110), (168, 48, 99), (220, 85, 70)),
    *((246, 141, 50), (252, 202, 98), (252, 250, 214)),
)
N_COLOURS = 128


def palette() -> NDArray[np.uint8]:
    """Colours from dark blue over red to pale yellow, ever lighter, (N_COLOURS, 3)."""
    at = np.linspace(0, len(_ANCHORS) - 1, N_COLOURS)
    channels = [np.interp(at, np.arange(len(_ANCHORS)), one) for one in np.transpose(_ANCHORS)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def heat_map(values: NDArray[np.floating], low: float, high: float) -> bytes:
    """A PNG of values (height, width), the first row at the top; `low` is dark, `high` light."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return encode((share * (N_COLOURS - 1)).round().astype(np.uint8), palette())


def encode(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """A PNG of indices (height, width) into colours (at most 256, 3).

    Reference: W3C, Portable Network Graphics (PNG) Specification, third edition.
    """
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    lines = np.zeros((height, width + 1), dtype=np.uint8)
    lines[:, 1:] = indices
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", colours.astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
