"""Where a study's recordings come from, and what is made of them. Loads no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from secateur.study.part import (
    NUMBER,
    UNSIGNED_ZERO,
    Count,
    CountOrNone,
    Folder,
    NotNegative,
    Part,
    Positive,
)

ESC10_FOLDS = 5


class Esc10(Part):
    """Real recordings: the ESC-10 layout at `root`, five official folds."""

    kind: Literal["esc10"]
    root: Folder

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return ESC10_FOLDS


class Synthetic(Part):
    """Generated acoustic scenes, the same everywhere for one `seed`."""

    kind: Literal["synthetic"]
    n_locations: Count = 12
    clips_per_location: Count = 8
    seconds: Annotated[float, Field(ge=0.1, le=60), NUMBER] = 1.0
    rate: Annotated[int, Field(ge=4000, le=192000), NUMBER] = 16000
    n_folds: Annotated[int, Field(ge=2), NUMBER] = 4
    difficulty: Annotated[float, Field(ge=0, le=1), NUMBER, UNSIGNED_ZERO] = 0.4
    seed: CountOrNone = 0

    @model_validator(mode="after")
    def _a_location_a_fold(self) -> Self:
        if self.n_locations < self.n_folds:
            raise ValueError(
                f"n_locations {self.n_locations} is too few for n_folds {self.n_folds}; "
                "no location may be in two folds, give at least one a fold"
            )
        return self

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return self.n_folds

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the synthesiser."""
        return self.model_dump(exclude={"kind"})


Data = Annotated[Esc10 | Synthetic, Field(discriminator="kind")]


class Features(Part):
    """Log-mel settings: lengths in samples, frequencies in Hz, `seconds` in s.

    `f_max` null is half the rate.
    """

    rate: Count = 44100
    n_fft: Count = 4096
    hop: Count = 2205
    n_mels: Count = 64
    f_min: NotNegative = 50.0
    f_max: Positive | None = None
    seconds: Positive = 5.0

    @model_validator(mode="after")
    def _bands_below_half_the_rate(self) -> Self:
        top = self.rate / 2 if self.f_max is None else self.f_max
        if not self.f_min < top <= self.rate / 2:
            raise ValueError(
                f"f_min {self.f_min:g} and f_max {top:g} do not fit rate {self.rate}; "
                f"give f_min < f_max <= {self.rate / 2:g}"
            )
        return self
