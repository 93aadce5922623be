"""Mel filters, and the power of every mel band of every frame, in blocks that fit the cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

MelScale = Literal["slaney", "htk"]
Padding = Literal["constant", "reflect"]

_BLOCK_BYTES = 1 << 20
"""Bytes of windowed frames transformed at a time: a larger block leaves the processor's cache."""

_BANDS = 16
"""Bands multiplied at a time: neighbours share bins, and all the others' zeros are skipped."""


@dataclass(frozen=True)
class Framing:
    """Windows of `window` samples, zero-padded on both sides to `n_fft`, every `hop` samples."""

    n_fft: int
    window: int
    hop: int
    padding: Padding


@dataclass(frozen=True)
class Bank:
    """What mel filters are drawn from: frequencies in Hz.

    `unit_area` divides every triangle by half its width in Hz, otherwise its peak is 1.
    """

    rate: int
    n_fft: int
    n_mels: int
    f_min: float
    f_max: float
    scale: MelScale
    unit_area: bool


@lru_cache(maxsize=8)
def filters(bank: Bank) -> Tensor:
    """Triangles, straight in Hz, (n_mels, n_fft // 2 + 1) float64.

    Reference: Slaney, "Auditory Toolbox", 1998; Young et al., "The HTK Book", 2006 (the scales).
    """
    to_mel, to_hz = (_slaney_mel, _slaney_hz) if bank.scale == "slaney" else (_htk_mel, _htk_hz)
    ends = to_mel(np.array([bank.f_min, bank.f_max]))
    corners = to_hz(np.linspace(ends[0], ends[1], bank.n_mels + 2))
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    bins = np.arange(bank.n_fft // 2 + 1) * (bank.rate / bank.n_fft)
    triangles = np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak))
    area = 2.0 / (high - low) if bank.unit_area else 1.0
    return torch.from_numpy(np.maximum(triangles, 0.0) * area)


def band_powers(waveforms: Tensor, framing: Framing, bank: Bank) -> Tensor:
    """Power in every mel band of every centred frame, (n, samples) -> (n, n_frames, n_mels).

    Periodic Hann window, double precision. Clip after clip in buffers that are used again: fresh
    memory for a whole batch costs more time than the transform.
    """
    n, n_samples = waveforms.shape
    n_fft, half = framing.n_fft, framing.n_fft // 2
    n_frames = 1 + (n_samples + 2 * half - n_fft) // framing.hop
    window, pieces = _window(framing), _pieces(bank)
    at_once = max(1, min(n_frames, _BLOCK_BYTES // (8 * n_fft)))
    windowed = torch.empty(at_once, n_fft, dtype=torch.float64)
    bands = torch.empty(n, n_frames, bank.n_mels, dtype=torch.float64)
    for waveform, found in zip(waveforms, bands, strict=True):
        padded = pad(waveform.to(torch.float64)[None], (half, half), mode=framing.padding)[0]
        frames = padded.unfold(0, n_fft, framing.hop)
        for step in range(0, n_frames, at_once):
            some = frames[step : step + at_once]
            spectra = torch.fft.rfft(torch.mul(some, window, out=windowed[: len(some)]))
            parts = torch.view_as_real(spectra).flatten(1)
            squares = torch.mul(parts, parts, out=parts)
            for first, low, piece in pieces:
                height, width = piece.shape
                found[step : step + at_once, first : first + width] = (
                    squares[:, low : low + height] @ piece
                )
    return bands


@lru_cache(maxsize=8)
def _window(framing: Framing) -> Tensor:
    window = torch.zeros(framing.n_fft, dtype=torch.float64)
    first = (framing.n_fft - framing.window) // 2
    window[first : first + framing.window] = torch.hann_window(framing.window, dtype=torch.float64)
    return window


@lru_cache(maxsize=8)
def _pieces(bank: Bank) -> tuple[tuple[int, int, Tensor], ...]:
    """Blocks of the filters without the zeros around: first band, first row, (rows, bands).

    Every bin has two equal rows, one for the square of its real and one of its imaginary part.
    """
    found = []
    for first in range(0, bank.n_mels, _BANDS):
        some = filters(bank)[first : first + _BANDS]
        used = some.any(dim=0).nonzero()
        low, high = int(used[0]), int(used[-1]) + 1
        rows = some[:, low:high].repeat_interleave(2, dim=1).T
        found.append((first, 2 * low, rows.contiguous()))
    return tuple(found)


# Slaney's scale: linear up to 1 kHz (15 mel), then 27 mel to a factor of 6.4.
_HZ_A_MEL, _KNEE_HZ, _KNEE_MEL = 200.0 / 3.0, 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27.0


def _slaney_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _HZ_A_MEL, above)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * np.maximum(mel - _KNEE_MEL, 0.0))
    return np.where(mel < _KNEE_MEL, mel * _HZ_A_MEL, above)


def _htk_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 2595.0 * np.log10(1.0 + hz / 700.0)
    return mel


def _htk_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    hz: NDArray[np.float64] = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return hz
