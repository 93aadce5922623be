"""One training on scenes, in the words of a recipe: checked, and kept beside what it made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from secateur.cli.network import keywords
from secateur.cli.scenes_source import fitting
from secateur.errors import DataError, ReadError, SecateurError, brief, shown
from secateur.files import write_json
from secateur.reading import read_json
from secateur.study.augmentations import Augmentation
from secateur.study.features import Features
from secateur.study.parse import problems
from secateur.study.part import Count, CountOrNone, NotNegative, Part
from secateur.study.recipe import Training
from secateur.study.sources import Data

if TYPE_CHECKING:
    from secateur.scenes.features import Standard

FORMAT = "secateur.scenes/1"
TASK = "task.json"
NETWORK = "network.safetensors"


class Inputs(Part):
    """Which recordings, and what is made of them."""

    data: Data
    features: Features


class Task(Inputs):
    """A whole training: `network` is a family or package.module:factory, with its arguments.

    `teacher` is the file of the weights that are distilled from, if any.
    """

    network: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    augmentations: tuple[Augmentation, ...] = ()
    training: Training = Training()
    penalty: str | None = None
    strength: NotNegative = 0.0
    ramp: float = Field(default=0.5, ge=0, le=1)
    teacher: str | None = None
    fold: Count = 1
    seed: CountOrNone = 0


@dataclass(frozen=True)
class Trained:
    """What must be known to use a trained network: its task, its classes and its standard."""

    task: Task
    classes: tuple[str, ...]
    standard: Standard

    def write(self, folder: Path) -> None:
        """Write it to `folder`, whole or not at all."""
        content = {
            "format": FORMAT,
            "task": self.task.model_dump(mode="json"),
            "classes": list(self.classes),
            "shift": self.standard.shift.tolist(),
            "scale": self.standard.scale.tolist(),
        }
        write_json(folder / TASK, content)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote.

        Raises:
            DataError: it is not there or not whole.
        """
        from secateur.scenes.features import Standard

        path = folder / TASK
        try:
            content = read_json(path)
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r}")
            standard = Standard(_numbers(content["shift"]), _numbers(content["scale"]))
            if standard.shift.shape != standard.scale.shape or not (standard.scale > 0).all():
                raise ValueError("shift and scale are not one number a band, the scale above 0")
            classes = content["classes"]
            if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
                raise TypeError("classes are not a list of names")
            return cls(Task(**content["task"]), tuple(classes), standard)
        except (ReadError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise DataError(
                f"{path} cannot be read ({brief(error)}); name a folder that "
                "`secateur scenes train` wrote, or train again"
            ) from error


def _numbers(values: Any) -> NDArray[np.float32]:
    """Numbers of a file, (n,).

    Raises:
        ValueError: they are others, or not finite.
    """
    found = np.array(values, dtype=np.float64)
    if found.ndim != 1 or not found.size or not (np.abs(found) < 1e30).all():
        raise ValueError(f"{shown(values)} are not finite numbers")
    return found.astype(np.float32)


def inputs_of(data: Mapping[str, Any], preset: str, seconds: float | None) -> Inputs:
    """Which recordings and features are asked for, checked.

    Raises:
        SecateurError: naming every wrong value.
    """
    features = features_of(preset, seconds)
    return checked(Inputs, {"data": fitting(data, features), "features": features.model_dump()})


def features_of(preset: str, seconds: float | None) -> Features:
    """A preset's features, for clips of `seconds`."""
    section: dict[str, Any] = {"preset": preset}
    if seconds is not None:
        section["seconds"] = seconds
    return checked(_OnlyFeatures, {"features": section}).features


class _OnlyFeatures(Part):
    features: Features


AnyPart = TypeVar("AnyPart", bound=Part)


def checked(kind: type[AnyPart], mapping: Mapping[str, Any]) -> AnyPart:
    """A part of plain values; every problem in one line.

    Raises:
        SecateurError: a value is wrong.
    """
    try:
        return kind.model_validate(dict(mapping), context={"folder": Path.cwd()})
    except ValidationError as error:
        found = problems(error, mapping, kind.model_json_schema())
        raise SecateurError("; ".join(found)) from error


def augmentations_of(texts: Sequence[str]) -> list[Any]:
    """Names or mappings from texts such as `mixup` and `mixup:alpha=0.2`.

    >>> augmentations_of(["time_roll", "mixup:alpha=0.2"])
    ['time_roll', {'kind': 'mixup', 'alpha': 0.2}]
    """
    found: list[Any] = []
    for text in texts:
        name, colon, arguments = text.partition(":")
        given = keywords(arguments.split(","), "--augment") if colon else {}
        found.append({"kind": name} | given if given else name)
    return found
