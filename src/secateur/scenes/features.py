"""Log-mel features: one transform, and the cached table of a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import DataError
from secateur.scenes import cache as array_cache
from secateur.scenes.audio import fit
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.mel import Bank, Framing, MelScale, Padding, band_powers, filters

_VERSION = 2
"""Raised when the transform changes, so that older caches are not taken for new ones."""

_BLOCK = 16
"""Clips transformed and written at a time."""

_FLOOR = 1e-10
"""Least power before the logarithm: silence is -100 dB."""

_OFFSET = 1e-5
"""Added to power before the natural logarithm, in place of a floor."""


@dataclass(frozen=True)
class LogMel:
    """Settings of a log-mel spectrogram: lengths in samples, frequencies in Hz, length in s.

    `f_max` None is half the rate, `window` None is `n_fft`; a shorter window is centred in it.
    `mel` is the scale, `unit_area` says whether a band is divided by half its width in Hz,
    `padding` what lies beyond the edges, `log` what is given: "db" is 10 log10(max(power, 1e-10)),
    "ln" is ln(power + 1e-5). `pre_emphasis` c > 0 makes x[t] of x[t + 1] - c x[t], one sample less.
    Defaults give (64, 101) for 5 s at 44.1 kHz: windows of 93 ms, a step of 50 ms.

    Raises:
        DataError: a setting is out of range, or a band would hold no bin of the transform.
    """

    rate: int = 44100
    n_fft: int = 4096
    hop: int = 2205
    n_mels: int = 64
    f_min: float = 50.0
    f_max: float | None = None
    seconds: float = 5.0
    window: int | None = None
    mel: MelScale = "slaney"
    unit_area: bool = True
    padding: Padding = "constant"
    pre_emphasis: float = 0.0
    log: Literal["db", "ln"] = "db"

    def __post_init__(self) -> None:
        for name in ("rate", "n_fft", "hop", "n_mels", "window"):
            value = self.n_fft if getattr(self, name) is None else getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"LogMel {name}={value!r}: give a whole number of at least 1")
        if self.window is not None and self.window > self.n_fft:
            raise DataError(f"LogMel window={self.window}: give at most n_fft={self.n_fft}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise DataError(
                    f"LogMel {name}={getattr(self, name)!r}: give {' or '.join(map(repr, allowed))}"
                )
        if not 0 <= self.pre_emphasis < 1:
            raise DataError(f"LogMel pre_emphasis={self.pre_emphasis!r}: give 0 (none) to below 1")
        if not (isfinite(self.seconds) and self.seconds * self.rate >= 1):
            raise DataError(f"LogMel seconds={self.seconds!r}: give at least one sample's length")
        least = self.n_fft // 2 + 1 if self.padding == "reflect" else 1
        if self._n_framed < least:
            raise DataError(
                f"LogMel seconds={self.seconds!r}: {self._n_framed} samples are left to frame; "
                f"give {least} at least (padding={self.padding!r}, n_fft={self.n_fft})"
            )
        if not 0 <= self.f_min < self.f_top <= self.rate / 2:
            raise DataError(
                f"LogMel f_min={self.f_min!r}, f_max={self.f_max!r}: give "
                f"0 <= f_min < f_max <= rate / 2 = {self.rate / 2:g} Hz"
            )
        too_many = self.n_mels > self.n_fft  # then do not even draw the bank
        n_empty = 0 if too_many else int((filters(self.bank) == 0).all(dim=1).sum())
        if too_many or n_empty:
            raise DataError(
                f"LogMel n_mels={self.n_mels}: {n_empty or 'some'} of its bands hold no bin of the "
                f"transform with n_fft={self.n_fft}; lower n_mels or raise n_fft"
            )

    @property
    def f_top(self) -> float:
        """Upper end of the highest band in Hz."""
        return self.rate / 2 if self.f_max is None else self.f_max

    @property
    def n_samples(self) -> int:
        """Length every waveform is padded or trimmed to."""
        return round(self.seconds * self.rate)

    @property
    def n_frames(self) -> int:
        """Frames of a spectrogram: windows are centred on every `hop`-th sample, from the first.

        >>> LogMel().n_frames
        101
        """
        return 1 + self._n_framed // self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one clip's features: (1, n_mels, n_frames)."""
        return (1, self.n_mels, self.n_frames)

    @property
    def bank(self) -> Bank:
        """What its mel filters are drawn from."""
        return Bank(
            self.rate, self.n_fft, self.n_mels, self.f_min, self.f_top, self.mel, self.unit_area
        )

    @property
    def _n_framed(self) -> int:
        """Samples that are left after pre-emphasis."""
        return self.n_samples - bool(self.pre_emphasis)


_CHOICES = {"mel": ("slaney", "htk"), "padding": ("constant", "reflect"), "log": ("db", "ln")}


def log_mel(waveforms: Tensor, settings: LogMel) -> Tensor:
    """Log-mel power, (n, samples) -> (n, 1, n_mels, n_frames), float32.

    Equal to librosa's `melspectrogram` with the same settings. Worked out in double precision:
    in single precision, bands far below the loudest one are off by up to 1 dB.

    Raises:
        DataError: the waveforms are not two-dimensional.
    """
    if waveforms.ndim != 2:
        raise DataError(f"waveforms have shape {tuple(waveforms.shape)}; give (n, samples)")
    if settings.pre_emphasis:
        waveforms = waveforms.to(torch.float64)
        waveforms = waveforms[:, 1:] - settings.pre_emphasis * waveforms[:, :-1]
    framing = Framing(
        settings.n_fft, settings.window or settings.n_fft, settings.hop, settings.padding
    )
    bands = band_powers(waveforms, framing, settings.bank)
    if settings.log == "db":
        values = bands.clamp_min_(_FLOOR).log10_().mul_(10.0)
    else:
        values = bands.add_(_OFFSET).log_()
    return values.to(torch.float32).transpose(1, 2).unsqueeze(1).contiguous()


@dataclass(frozen=True)
class Features:
    """Log-mels of a data set, in the order of its clips, not standardised.

    `x` is a read-only float16 memory map (n, 1, n_mels, n_frames) in dB; `labels` and `folds`
    have shape (n,), folds count from 1. `id` is a hash of the clips and their transform.
    `remade` says in words that a cache was there and could not be trusted; else it is empty.
    """

    x: NDArray[np.float16]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    classes: tuple[str, ...]
    settings: LogMel
    id: str
    remade: str = ""


def prepare(
    scenes: SceneSet,
    settings: LogMel,
    cache: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Log-mels of every clip, from the folder `cache` if they are there, else made and kept there.

    Clips are resampled to `settings.rate` and padded with silence or trimmed to
    `settings.seconds`. `on_progress(done, total)` is called as clips are done.

    Raises:
        DataError: a clip cannot be read or its features are not finite.
        StorageError: the cache cannot be written.
    """
    names = sha256("\n".join(clip.name for clip in scenes.clips).encode()).hexdigest()
    key = {
        "version": _VERSION,
        "settings": asdict(settings),
        "content": scenes.content,
        "clips": names,
    }
    x = array_cache.stored(cache, key)
    remade = ""
    if x is None:
        file = cache / f"{array_cache.name_of(key)}.npy"
        if file.exists() or file.with_suffix(".json").exists():
            remade = f"{file} was damaged, half-written or of another making; it was made again"
        shape = (len(scenes.clips), 1, settings.n_mels, settings.n_frames)
        x = array_cache.store(cache, key, shape, _blocks(scenes, settings, on_progress))
    elif on_progress is not None:
        on_progress(len(scenes.clips), len(scenes.clips))
    return Features(
        x=x,
        labels=np.array([clip.label for clip in scenes.clips], dtype=np.int64),
        folds=np.array([clip.fold for clip in scenes.clips], dtype=np.int64),
        classes=scenes.classes,
        settings=settings,
        id=array_cache.name_of(key),
        remade=remade,
    )


def standardise(
    x_train: NDArray[np.floating], x_test: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift and scale every mel band by its mean and sd over the training part only.

    Both (n, 1, n_mels, n_frames). A band that does not vary in training is only shifted.

    >>> train, test = np.array([[[[1.0, 3.0]]]]), np.array([[[[5.0, 2.0]]]])
    >>> [part.ravel().tolist() for part in standardise(train, test)]
    [[-1.0, 1.0], [3.0, 0.0]]
    """
    train = np.asarray(x_train, dtype=np.float32)
    mean = train.mean(axis=(0, 1, 3), keepdims=True, dtype=np.float64)
    sd = train.std(axis=(0, 1, 3), keepdims=True, dtype=np.float64)
    scale = np.where(sd > 0, sd, 1.0).astype(np.float32)
    shift = mean.astype(np.float32)
    return (train - shift) / scale, (np.asarray(x_test, dtype=np.float32) - shift) / scale


def _blocks(
    scenes: SceneSet, settings: LogMel, on_progress: Callable[[int, int], None] | None
) -> Iterator[NDArray[np.float16]]:
    total = len(scenes.clips)
    for start in range(0, total, _BLOCK):
        clips = scenes.clips[start : start + _BLOCK]
        waveforms = np.stack([_waveform(scenes, clip, settings) for clip in clips])
        block = log_mel(torch.from_numpy(waveforms), settings).numpy().astype(np.float16)
        for clip, one in zip(clips, block, strict=True):
            if not np.isfinite(one).all():
                raise DataError(
                    f"{scenes.name}: features of clip {clip.name!r} are not finite; its samples "
                    "are non-finite or far beyond full scale: replace the clip"
                )
        yield block
        if on_progress is not None:
            on_progress(start + len(clips), total)


def _waveform(scenes: SceneSet, clip: Clip, settings: LogMel) -> NDArray[np.float32]:
    waveform, rate = scenes.read(clip)
    if waveform.ndim != 1 or not waveform.size:
        raise DataError(
            f"{scenes.name}: clip {clip.name!r} reads as shape {waveform.shape}; "
            "a reader gives a mono waveform (samples,) of at least one sample"
        )
    return fit(waveform, rate, settings.rate, settings.n_samples)
