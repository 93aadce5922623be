"""Mel filters, numpy only: what they are drawn from, and the triangles. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MelScale = Literal["slaney", "htk"]


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
def filters(bank: Bank) -> NDArray[np.float64]:
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
    found: NDArray[np.float64] = np.maximum(triangles, 0.0) * area
    found.flags.writeable = False
    return found


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
