"""Recordings of three classes that a small network tells apart in seconds: tones in noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
TONES = {"bus": 300.0, "park": 900.0, "tram": 2700.0}
"""Class and its tone in Hz."""


def write_recordings(root: Path, n: int = 10, seconds: float = 1.0) -> None:
    """Write n recordings a class, a folder per class."""
    rng = np.random.default_rng(0)
    t = np.arange(round(RATE * seconds)) / RATE
    for name, tone in TONES.items():
        (root / name).mkdir(parents=True)
        for i in range(n):
            hz = tone * (1 + 0.02 * rng.standard_normal())
            wave = 0.3 * np.sin(2 * np.pi * hz * t) + 0.05 * rng.standard_normal(len(t))
            soundfile.write(root / name / f"{i}.wav", wave, RATE)
