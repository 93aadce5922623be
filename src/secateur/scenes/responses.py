"""Impulse responses of recorders: read from a folder, or made up. Loads no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.audio import fit, read_audio
from secateur.scenes.folders import SUFFIXES


def read_responses(folder: Path, rate: int, n_taps: int = 2048) -> NDArray[np.float32]:
    """Every audio file of a folder, by name, resampled and cut to (k, n_taps).

    Raises:
        DataError: there is none, or one cannot be read or is silent.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(f"{folder} holds no impulse response ({', '.join(SUFFIXES)}); name another")
    responses = np.stack([fit(*read_audio(file), rate, n_taps) for file in files])
    for file, response in zip(files, responses, strict=True):
        if not response.any():
            raise DataError(f"impulse response {file} is silent in {n_taps} taps; remove it")
    return responses


def made_up_responses(k: int, rate: int, seed: int = 0, n_taps: int = 512) -> NDArray[np.float32]:
    """Minimum-phase responses whose gain wanders with frequency by some 6 dB, (k, n_taps)."""
    rng = np.random.default_rng(seed)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(2 * n_taps, 1 / rate), 20.0) / 20.0)
    knots = np.arange(np.ceil(octaves[-1]) + 2)
    db = np.stack([np.interp(octaves, knots, rng.normal(0, 6, len(knots))) for _ in range(k)])
    cepstrum = np.fft.irfft(db * (np.log(10) / 20), axis=1)
    cepstrum[:, 1:n_taps] *= 2
    cepstrum[:, n_taps + 1 :] = 0
    response: NDArray[np.float64] = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), axis=1)
    return response[:, :n_taps].astype(np.float32)
