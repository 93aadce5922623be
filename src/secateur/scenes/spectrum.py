"""The power of every mel band of every frame, in blocks that fit the processor's cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from secateur.scenes.logmel import Padding
from secateur.scenes.mel import Bank, filters

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
    padded = torch.zeros(n_samples + 2 * half, dtype=torch.float64)
    frames = padded.unfold(0, n_fft, framing.hop)
    windowed = torch.empty(at_once, n_fft, dtype=torch.float64)
    bands = torch.empty(n, n_frames, bank.n_mels, dtype=torch.float64)
    for waveform, found in zip(waveforms, bands, strict=True):
        _fill(padded, waveform, half, framing.padding)
        for step in range(0, n_frames, at_once):
            some = frames[step : step + at_once]
            spectra = torch.fft.rfft(torch.mul(some, window, out=windowed[: len(some)]))
            parts = torch.view_as_real(spectra).flatten(1)
            squares = torch.mul(parts, parts, out=parts)
            here = found[step : step + at_once]
            for first, low, piece in pieces:
                height, width = piece.shape
                here[:, first : first + width] = squares[:, low : low + height] @ piece
    return bands


def _fill(padded: Tensor, waveform: Tensor, half: int, padding: Padding) -> None:
    """Put a waveform in the middle of `padded`, whose ends stay zero or become its reflection."""
    n = len(waveform)
    padded[half : half + n].copy_(waveform)
    if padding == "reflect" and half:
        padded[:half] = waveform[1 : half + 1].flip(0)
        padded[half + n :] = waveform[n - half - 1 : n - 1].flip(0)


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
        some = torch.tensor(filters(bank))[first : first + _BANDS]
        used = some.any(dim=0).nonzero()
        low, high = int(used[0]), int(used[-1]) + 1
        rows = some[:, low:high].repeat_interleave(2, dim=1).T
        found.append((first, 2 * low, rows.contiguous()))
    return tuple(found)
