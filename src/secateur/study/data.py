"""From a recipe's data section to standardised tensors of one fold. Imports torch when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.study.recipe import Recipe
from secateur.study.sources import Esc10

if TYPE_CHECKING:
    from torch import Tensor

    from secateur.scenes.datasets import SceneSet
    from secateur.scenes.features import Features


@dataclass(frozen=True)
class Split:
    """One fold held out: inputs (n, 1, n_mels, n_frames) float32, labels (n,) int64.

    `features` identifies the recordings and their transform.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int
    features: str


def scene_set(recipe: Recipe) -> SceneSet:
    """The clips a recipe names.

    Raises:
        DataError: they are not there, or not whole.
    """
    if isinstance(recipe.data, Esc10):
        from secateur.scenes.datasets import esc10

        return esc10(recipe.data.root)
    from secateur.scenes.synthesis import synthetic_scenes

    return synthetic_scenes(**recipe.data.arguments())


def features(
    recipe: Recipe, cache: Path, on_progress: Callable[[int, int], None] | None = None
) -> Features:
    """The log-mels of a recipe's clips, from the cache or made and kept there."""
    from secateur.scenes.features import LogMel, prepare

    settings = LogMel(**recipe.features.model_dump())
    return prepare(scene_set(recipe), settings, cache, on_progress)


@lru_cache(maxsize=2)
def split(recipe: Recipe, cache: Path, fold: int) -> Split:
    """Everything but `fold` for training, `fold` for testing, standardised by the training part."""
    import torch

    from secateur.scenes.features import standardise

    table = features(recipe, cache)
    held_out = table.folds == fold
    x_train, x_test = standardise(table.x[~held_out], table.x[held_out])
    return Split(
        x_train=torch.from_numpy(x_train),
        y_train=torch.from_numpy(table.labels[~held_out]),
        x_test=torch.from_numpy(x_test),
        y_test=torch.from_numpy(table.labels[held_out]),
        n_classes=len(table.classes),
        features=table.id,
    )
