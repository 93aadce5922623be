"""What is made of a study's recordings: log-mels by numbers or by a name. Loads no torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from secateur.errors import DataError
from secateur.scenes.logmel import LogMel
from secateur.scenes.presets import preset
from secateur.study.part import Count, NotNegative, Part, Positive, ShareOrNone

_LATER = ("window", "mel", "unit_area", "padding", "pre_emphasis", "log")
"""Settings that recipes had no word for at first: they are part of an identity only if changed."""


class Features(Part):
    """Log-mel settings: lengths in samples, frequencies in Hz, `seconds` in s.

    `preset` takes them from a name; beside it, `seconds` alone may be given. `f_max` null is half
    the rate, `window` null is `n_fft`, `seconds` null is what the preset was made for, else 5.
    """

    preset: Literal["dcase2022", "dcase2024", "cpjku", "fast", "esc"] | None = None
    rate: Count = 44100
    n_fft: Count = 4096
    hop: Count = 2205
    n_mels: Count = 64
    f_min: NotNegative = 50.0
    f_max: Positive | None = None
    seconds: Positive | None = None
    window: Count | None = None
    mel: Literal["slaney", "htk"] = "slaney"
    unit_area: bool = True
    padding: Literal["constant", "reflect"] = "constant"
    pre_emphasis: ShareOrNone = 0.0
    log: Literal["db", "ln"] = "db"

    @model_validator(mode="after")
    def _a_preset_or_numbers(self) -> Self:
        beside = self.model_fields_set - {"preset", "seconds"}
        if self.preset is not None and beside:
            raise ValueError(
                f"preset {self.preset} and {', '.join(sorted(beside))} are given; beside a preset "
                "only seconds may be"
            )
        return self

    @model_validator(mode="after")
    def _bands_below_half_the_rate(self) -> Self:
        top = self.rate / 2 if self.f_max is None else self.f_max
        if not self.f_min < top <= self.rate / 2:
            raise ValueError(
                f"f_min {self.f_min:g} and f_max {top:g} do not fit rate {self.rate}; "
                f"give f_min < f_max <= {self.rate / 2:g}"
            )
        try:
            self.settings()
        except DataError as error:
            raise ValueError(str(error).removeprefix("LogMel ")) from error
        return self

    def settings(self) -> LogMel:
        """The settings, whichever way they were given."""
        if self.preset is not None:
            return preset(self.preset, self.seconds)
        numbers = self.model_dump()
        if self.seconds is None:
            del numbers["seconds"]
        return LogMel(**numbers)

    @model_serializer(mode="wrap")
    def _as_it_was_given(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = fields(self)
        if self.preset is not None:
            return {name: written[name] for name in ("preset", "seconds")}
        del written["preset"]
        return written

    def identity(self) -> dict[str, Any]:
        """The numbers: a preset is one with the settings it stands for."""
        numbers = asdict(self.settings())
        usual = asdict(LogMel())
        return {
            name: value
            for name, value in numbers.items()
            if name not in _LATER or value != usual[name]
        }
