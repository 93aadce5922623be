"""What a log-mel spectrogram is made with. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from secateur.errors import DataError
from secateur.scenes.mel import Bank, MelScale, filters

Padding = Literal["constant", "reflect"]


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
        if not (math.isfinite(self.seconds) and self.seconds * self.rate >= 1):
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
        n_empty = 0 if too_many else int((filters(self.bank) == 0).all(axis=1).sum())
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
    def per_db(self) -> float:
        """What one decibel is in the unit of the features."""
        return 1.0 if self.log == "db" else math.log(10) / 10

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
