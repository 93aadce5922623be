"""Where a study's recordings come from. Loads no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from secateur.errors import ReadError
from secateur.reading import compiled
from secateur.study.part import (
    NUMBER,
    UNSIGNED_ZERO,
    Count,
    CountOrNone,
    Folder,
    Part,
    ShareOrNone,
)

ESC_FOLDS = 5


class Esc10(Part):
    """Real recordings: the ESC-10 layout at `root`, five official folds."""

    kind: Literal["esc10"]
    root: Folder

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return ESC_FOLDS


class Esc50(Part):
    """Real recordings: the ESC-50 layout at `root`, five official folds."""

    kind: Literal["esc50"]
    root: Folder

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return ESC_FOLDS


class _Tau(Part):
    """TAU Urban Acoustic Scenes at `root`, by its official lists: one split, so one fold.

    `holdout` is the share of every scene's training locations that are held out as "validation",
    drawn by `seed`. It is trained on what is left, and tested on `test_on`: the official test list
    is used only where a recipe says so.
    """

    kind: str
    root: Folder
    holdout: ShareOrNone = 0.15
    seed: CountOrNone = 0
    test_on: Literal["validation", "test"] = "validation"
    on_bad: Literal["raise", "skip"] = "raise"

    @model_validator(mode="after")
    def _something_to_test_on(self) -> Self:
        if self.test_on == "validation" and not self.holdout:
            raise ValueError(
                "holdout 0 leaves nothing to validate on; give a share such as 0.15, or say "
                "test_on: test to train on the whole training list"
            )
        return self

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return 1

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the reader."""
        return self.model_dump(exclude={"kind", "root", "test_on"})


class Tau2019(_Tau):
    """TAU Urban Acoustic Scenes 2019, development set."""

    kind: Literal["tau2019"]


class Tau2020(_Tau):
    """TAU Urban Acoustic Scenes 2020 Mobile, development set."""

    kind: Literal["tau2020"]


class Tau2022(_Tau):
    """TAU Urban Acoustic Scenes 2022 Mobile; `share` is the percentage of the training list."""

    kind: Literal["tau2022"]
    share: Literal[5, 10, 25, 50, 100] = 100


class FolderPerClass(Part):
    """A folder per class at `root`, with audio files.

    `location` is a regular expression, found in a file's path below `root`; files alike in what it
    finds (in its first group, if it has one) share a location, and no location is in two folds.
    Without it every file is on its own, but for those whose names say that they are pieces of one
    recording. Locations are dealt to `n_folds` folds, class by class, in
    an order drawn by `seed`.
    """

    kind: Literal["folder"]
    root: Folder
    n_folds: Annotated[int, Field(ge=2), NUMBER] = 5
    location: str | None = None
    seed: CountOrNone = 0

    @model_validator(mode="after")
    def _an_expression(self) -> Self:
        try:
            compiled(self.location or "")
        except ReadError as error:
            raise ValueError(f"location {error.why}") from error
        return self

    @property
    def folds(self) -> int:
        """Number of folds, numbered from 1."""
        return self.n_folds


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
    parts: Count = 1
    every_recorder: bool = False

    @model_validator(mode="after")
    def _whole_segments(self) -> Self:
        if self.clips_per_location % self.parts:
            raise ValueError(
                f"parts {self.parts} do not divide clips_per_location {self.clips_per_location}; "
                "segments are whole, give a divisor"
            )
        return self

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

    def identity(self) -> dict[str, Any]:
        """All of it, and which version of the synthesiser makes the clips."""
        from secateur.scenes.synthesis import VERSION

        return self.model_dump() | {"version": VERSION}


Data = Annotated[
    Esc10 | Esc50 | Tau2019 | Tau2020 | Tau2022 | FolderPerClass | Synthetic,
    Field(discriminator="kind"),
]
