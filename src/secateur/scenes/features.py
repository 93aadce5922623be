"""Log-mel features: one transform, and the cached table of a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.errors import DataError
from secateur.scenes import cache as array_cache
from secateur.scenes.audio import LOOK_AHEAD, fit
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.logmel import LogMel
from secateur.scenes.spectrum import Framing, band_powers

__all__ = ["Features", "LogMel", "Standard", "log_mel", "prepare", "standardise"]

_VERSION = 2
"""Raised when the transform changes, so that older caches are not taken for new ones."""

_BLOCK = 16
"""Clips transformed and written at a time."""

_FLOOR = 1e-10
"""Least power before the logarithm: silence is -100 dB."""

_OFFSET = 1e-5
"""Added to power before the natural logarithm, in place of a floor."""


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
    `why` says in words why they were made, and is empty if the cache had them; `remade` says the
    same where a cache was there and could not be trusted, else it is empty. `file` is the cache's.
    """

    x: NDArray[np.float16]
    labels: NDArray[np.int64]
    folds: NDArray[np.int64]
    classes: tuple[str, ...]
    settings: LogMel
    id: str
    remade: str = ""
    why: str = ""
    file: Path | None = None


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
    x, fault = array_cache.look(cache, key)
    file = cache / f"{array_cache.name_of(key)}.npy"
    why = remade = ""
    if x is None:
        remade = f"{file} was {fault}; it was made again" if fault else ""
        why = remade or _why_not(key, array_cache.others(cache))
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
        why=why,
        file=file,
    )


def _why_not(key: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> str:
    """Why none of the arrays that are there will do, by the one that comes nearest."""
    same = [other for other in others if _alike(other, key, "content", "clips")]
    for other in (one for one in same if one.get("version") == key["version"]):
        there, here = other.get("settings", {}), key["settings"]
        differing = [
            f"{name} {there.get(name)} there, {value} here"
            for name, value in here.items()
            if there.get(name) != value
        ]
        return f"those in the cache have other settings: {', '.join(differing)}"
    if same:
        return "those in the cache were made by another version of the transform"
    if any(_alike(other, key, "settings", "clips") for other in others):
        return "the recordings have changed since those in the cache were made"
    if any(_alike(other, key, "settings", "content") for other in others):
        return "those in the cache are of other clips of the set"
    return "none of these recordings were in the cache"


def _alike(a: Mapping[str, Any], b: Mapping[str, Any], *names: str) -> bool:
    return all(a.get(name) == b[name] for name in names)


@dataclass(frozen=True)
class Standard:
    """Shift and scale of every mel band, (n_mels,) float32 each: what is taken for 0 and for 1."""

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Standard:
        """Mean and sd of every band of x (n, 1, n_mels, n_frames); 1 where a band does not vary."""
        train = np.asarray(x, dtype=np.float32)
        mean = train.mean(axis=(0, 1, 3), dtype=np.float64)
        sd = train.std(axis=(0, 1, 3), dtype=np.float64)
        return cls(mean.astype(np.float32), np.where(sd > 0, sd, 1.0).astype(np.float32))

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Shifted and scaled, (n, 1, n_mels, n_frames) -> the same shape."""
        found: NDArray[np.float32] = np.asarray(x, dtype=np.float32) - self.shift[:, None]
        found /= self.scale[:, None]
        return found


def standardise(
    x_train: NDArray[np.floating], x_test: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shift and scale every mel band by its mean and sd over the training part only.

    Both (n, 1, n_mels, n_frames). A band that does not vary in training is only shifted.

    >>> train, test = np.array([[[[1.0, 3.0]]]]), np.array([[[[5.0, 2.0]]]])
    >>> [part.ravel().tolist() for part in standardise(train, test)]
    [[-1.0, 1.0], [3.0, 0.0]]
    """
    standard = Standard.of(x_train)
    return standard(x_train), standard(x_test)


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
    waveform, rate = scenes.start(clip, settings.seconds + LOOK_AHEAD / settings.rate)
    if waveform.ndim != 1 or not waveform.size:
        raise DataError(
            f"{scenes.name}: clip {clip.name!r} reads as shape {waveform.shape}; "
            "a reader gives a mono waveform (samples,) of at least one sample"
        )
    return fit(waveform, rate, settings.rate, settings.n_samples)
