"""Augmentations of log-mel batches: pure functions of a batch and a random generator."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from secateur.errors import DataError


def time_roll(x: Tensor, generator: Generator) -> Tensor:
    """Roll every example along time by its own random number of frames.

    (n, 1, n_mels, n_frames) -> the same shape; the end of a clip comes before its start.
    """
    n, _, _, n_frames = x.shape
    by = torch.randint(n_frames, (n, 1), generator=generator)
    source = (torch.arange(n_frames) - by) % n_frames
    return x.gather(3, source[:, None, None, :].to(x.device).expand_as(x))


def mask_bands(x: Tensor, generator: Generator, *, widest: int = 8) -> Tensor:
    """Set one run of mel bands an example, 0 to `widest` wide, to zero (the mean, if standardised).

    (n, 1, n_mels, n_frames) -> the same shape.

    Raises:
        DataError: `widest` is not between 0 and n_mels.

    Reference: Park et al., "SpecAugment", 2019 (frequency masking).
    """
    n, _, n_mels, _ = x.shape
    if not 0 <= widest <= n_mels:
        raise DataError(f"mask_bands widest={widest}: give 0 to n_mels = {n_mels} bands")
    width = torch.randint(widest + 1, (n, 1), generator=generator)
    first = (torch.rand(n, 1, generator=generator) * (n_mels - width + 1)).long()
    band = torch.arange(n_mels)
    masked = (band >= first) & (band < first + width)
    return x.masked_fill(masked[:, None, :, None].to(x.device), 0.0)
