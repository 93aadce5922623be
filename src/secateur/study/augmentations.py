"""Augmentations as a recipe names them. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from secateur.study.part import NUMBER, UNSIGNED_ZERO, CountOrNone, NotNegative, Part, Positive


class _Augmentation(Part):
    """A name, and arguments that are left out of the identity where all are as by default."""

    kind: str

    def arguments(self) -> dict[str, float]:
        """What the augmentation is called with."""
        return self.model_dump(exclude={"kind"})

    def identity(self) -> Any:
        """The name alone, or with its arguments where one differs: as recipes may write it."""
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        plain = all(value == usual[name] for name, value in self.arguments().items())
        return self.kind if plain else self.model_dump()


class TimeRoll(_Augmentation):
    """Roll along time by a random number of frames."""

    kind: Literal["time_roll"]


class MaskBands(_Augmentation):
    """Mask a run of mel bands, 0 to `widest` of them."""

    kind: Literal["mask_bands"]
    widest: CountOrNone = 8


class MaskFrames(_Augmentation):
    """Mask a run of frames, 0 to `widest` of them."""

    kind: Literal["mask_frames"]
    widest: CountOrNone = 16


class Gain(_Augmentation):
    """Make louder or softer by up to `most_db` decibels."""

    kind: Literal["gain"]
    most_db: NotNegative = 6.0


class Mixup(_Augmentation):
    """Mix examples and their labels, by shares from Beta(alpha, alpha)."""

    kind: Literal["mixup"]
    alpha: Positive = 0.3


class FrequencyMixstyle(_Augmentation):
    """Mix the statistics of bands between examples, in a batch with probability `p`."""

    kind: Literal["frequency_mixstyle"]
    alpha: Positive = 0.4
    p: Annotated[float, Field(ge=0, le=1), NUMBER, UNSIGNED_ZERO] = 0.8


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Augmentation = Annotated[
    TimeRoll | MaskBands | MaskFrames | Gain | Mixup | FrequencyMixstyle,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]


def kinds_once(chosen: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
    """The augmentations as they are; a ValueError names the first that is given twice."""
    kinds = [one.kind for one in chosen]
    twice = [kind for place, kind in enumerate(kinds) if kind in kinds[:place]]
    if twice:
        raise ValueError(f"{twice[0]} is given twice; give each once")
    return chosen


def by_name(chosen: tuple[Augmentation, ...]) -> Mapping[str, dict[str, float]]:
    """Arguments by name."""
    return {one.kind: one.arguments() for one in chosen}
