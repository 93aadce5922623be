"""What the parts of a recipe are made of: fields with their ranges, and a strict frozen base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)

from secateur.errors import ReadError, shown
from secateur.reading import resolved


def _plain_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not allowed; give a number")
    if isinstance(value, int) and abs(value) > _MOST:
        raise ValueError(f"{shown(value)} is not allowed; give a number up to 2^53")
    return value


_MOST = 2**53


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as they are; a ValueError names the first that is given twice."""
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"{_text(twice[0])} is given twice; give each once")
    return values


def _text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ", ".join(f"{name} {part}" for name, part in value)
    return str(value)


def _dense_among(strengths: tuple[float, ...]) -> tuple[float, ...]:
    if 0 not in strengths:
        raise ValueError("0, the dense network, is not among them; all are measured against it")
    return strengths


def _absolute(path: Path, info: ValidationInfo) -> Path:
    folder: Path = (info.context or {}).get("folder", Path())
    try:
        return resolved(path, folder)
    except ReadError as error:
        raise ValueError(str(error)) from error


NUMBER = BeforeValidator(_plain_number)
UNSIGNED_ZERO = AfterValidator(lambda value: value + 0.0)

Count = Annotated[int, Field(ge=1), NUMBER]
CountOrNone = Annotated[int, Field(ge=0), NUMBER]
NotNegative = Annotated[float, Field(ge=0), NUMBER, UNSIGNED_ZERO]
Positive = Annotated[float, Field(gt=0), NUMBER]
Share = Annotated[float, Field(gt=0, lt=1), NUMBER]
ShareOrNone = Annotated[float, Field(ge=0, lt=1), NUMBER, UNSIGNED_ZERO]
Times = Annotated[float, Field(gt=1), NUMBER]
Folder = Annotated[Path, AfterValidator(_absolute)]
Strengths = Annotated[
    tuple[NotNegative, ...],
    Field(min_length=1),
    AfterValidator(each_once),
    AfterValidator(_dense_among),
]


class Part(BaseModel):
    """A frozen part of a recipe; unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """What of this part determines a result: everything but where files lie."""
        return {
            name: value for name, value in self.model_dump().items() if not isinstance(value, Path)
        }
