"""Augmentations of log-mel batches: pure functions of a batch and a random generator."""

from __future__ import annotations

import numpy as np
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


def mask_frames(x: Tensor, generator: Generator, *, widest: int = 16) -> Tensor:
    """Set one run of frames an example, 0 to `widest` long, to zero (the mean, if standardised).

    (n, 1, n_mels, n_frames) -> the same shape.

    Raises:
        DataError: `widest` is not between 0 and n_frames.

    Reference: Park et al., "SpecAugment", 2019 (time masking).
    """
    if not 0 <= widest <= x.shape[3]:
        raise DataError(f"mask_frames widest={widest}: give 0 to n_frames = {x.shape[3]} frames")
    return mask_bands(x.transpose(2, 3), generator, widest=widest).transpose(2, 3)


def gain(
    x: Tensor, generator: Generator, *, most_db: float = 6.0, per_db: Tensor | float = 1.0
) -> Tensor:
    """Add one number of decibels an example, uniform in ± `most_db`, to log-mels.

    (n, 1, n_mels, n_frames) -> the same shape. `per_db` is what one decibel is in x: 1 for log-mels
    in dB; where bands were scaled, (n_mels,). Waveforms are multiplied by 10 ** (dB / 20) instead.
    """
    by = (2 * torch.rand(len(x), 1, 1, 1, generator=generator) - 1) * most_db
    unit = per_db.view(-1, 1) if isinstance(per_db, Tensor) else torch.tensor(per_db)
    return x + by.to(x) * unit.to(x)


def mixup(
    x: Tensor, targets: Tensor, generator: Generator, *, alpha: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Mix every example with another: λ x + (1 - λ) x', and the targets alike.

    x (n, ...), targets (n, n_classes) of shares; λ is drawn from Beta(alpha, alpha), an example.

    Raises:
        DataError: alpha is not positive, or targets are no shares of classes.

    Reference: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018.
    """
    if targets.ndim != 2 or len(targets) != len(x):
        raise DataError(f"mixup targets have shape {tuple(targets.shape)}; give (n, n_classes)")
    other = torch.randperm(len(x), generator=generator)
    share = _beta(len(x), alpha, generator, "mixup").to(x)
    wide = share.view(-1, *[1] * (x.ndim - 1))
    tall = share.to(targets)[:, None]
    return (
        wide * x + (1 - wide) * x[other.to(x.device)],
        tall * targets + (1 - tall) * targets[other.to(targets.device)],
    )


def frequency_mixstyle(
    x: Tensor, generator: Generator, *, alpha: float = 0.4, p: float = 0.8
) -> Tensor:
    """Give a batch's bands the means and deviations, mixed, of other examples: other recorders.

    (n, 1, n_mels, n_frames) -> the same shape; a batch is changed with probability `p`.

    Raises:
        DataError: alpha is not positive, or p is not in [0, 1].

    Reference: Kim et al., "Domain Generalization with Relaxed Instance Frequency-wise
    Normalization", 2022; Schmid et al., "CP-JKU Submission to DCASE22", 2022.
    """
    if not 0 <= p <= 1:
        raise DataError(f"frequency_mixstyle p={p}: give a probability, 0 to 1")
    weight = _beta(len(x), alpha, generator, "frequency_mixstyle").to(x)[:, None, None, None]
    other = torch.randperm(len(x), generator=generator).to(x.device)
    if torch.rand(1, generator=generator).item() >= p:
        return x.clone()
    mean = x.mean(dim=(1, 3), keepdim=True)
    sd = (x.var(dim=(1, 3), keepdim=True, unbiased=False) + 1e-6).sqrt()
    new_mean = weight * mean + (1 - weight) * mean[other]
    new_sd = weight * sd + (1 - weight) * sd[other]
    return (x - mean) / sd * new_sd + new_mean


def convolve(waveforms: Tensor, responses: Tensor, generator: Generator) -> Tensor:
    """Play every waveform through a response drawn for it; its energy is kept.

    waveforms (n, samples), responses (k, taps) at the same rate -> (n, samples).

    Raises:
        DataError: there is no response, or a shape is another.
    """
    if waveforms.ndim != 2 or responses.ndim != 2 or not responses.numel():
        raise DataError(
            f"convolve got waveforms {tuple(waveforms.shape)} and responses "
            f"{tuple(responses.shape)}; give (n, samples) and (k, taps), k at least 1"
        )
    chosen = responses[torch.randint(len(responses), (len(waveforms),), generator=generator)]
    n = waveforms.shape[1]
    size = n + responses.shape[1] - 1
    spectrum = torch.fft.rfft(waveforms, size) * torch.fft.rfft(chosen.to(waveforms), size)
    heard = torch.fft.irfft(spectrum, size)[:, :n]
    before, after = (part.square().sum(dim=1, keepdim=True) for part in (waveforms, heard))
    return torch.where(after > 0, heard * (before / after.clamp_min(1e-30)).sqrt(), heard)


def _beta(n: int, alpha: float, generator: Generator, who: str) -> Tensor:
    """Draws from Beta(alpha, alpha), (n,) float64, seeded by one number of `generator`."""
    if not alpha > 0:
        raise DataError(f"{who} alpha={alpha}: give a number above 0")
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n))
