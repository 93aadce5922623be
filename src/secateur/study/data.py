"""From a recipe's data section to standardised tensors of one fold. Imports torch when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.study.recipe import Recipe
from secateur.study.sources import (
    Esc10,
    Esc50,
    FolderPerClass,
    Synthetic,
    Tau2019,
    Tau2020,
    Tau2022,
)

if TYPE_CHECKING:
    from torch import Tensor

    from secateur.scenes.datasets import SceneSet
    from secateur.scenes.features import Features


@dataclass(frozen=True)
class Split:
    """One fold held out: inputs (n, 1, n_mels, n_frames) float32, labels (n,) int64.

    `features` identifies the recordings and their transform, `per_db` is what one decibel is in
    every band of the inputs.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    n_classes: int
    features: str
    per_db: tuple[float, ...]


def scene_set(recipe: Recipe) -> SceneSet:
    """The clips a recipe names.

    Raises:
        DataError: they are not there, or not whole.
    """
    from secateur.scenes import datasets, tau
    from secateur.scenes.folders import by_expression, folder_per_class
    from secateur.scenes.synthesis import synthetic_scenes

    match recipe.data:
        case Esc10(root=root):
            return datasets.esc10(root)
        case Esc50(root=root):
            return datasets.esc50(root)
        case Tau2019(root=root) | Tau2020(root=root) | Tau2022(root=root):
            return tau.tau(root, tau.EDITIONS[recipe.data.kind], **recipe.data.arguments())
        case FolderPerClass(root=root, n_folds=n_folds, location=location, seed=seed):
            location_of = None if location is None else by_expression(root, location)
            return folder_per_class(root, n_folds, location_of, seed)
        case Synthetic():
            return synthetic_scenes(**recipe.data.arguments())


def features(
    recipe: Recipe, cache: Path, on_progress: Callable[[int, int], None] | None = None
) -> Features:
    """The log-mels of a recipe's clips, from the cache or made and kept there."""
    from secateur.scenes.features import prepare

    return prepare(scene_set(recipe), recipe.features.settings(), cache, on_progress)


@lru_cache(maxsize=2)
def split(recipe: Recipe, cache: Path, fold: int) -> Split:
    """Everything but `fold` for training, `fold` for testing, standardised by the training part.

    Data with official lists are divided by them.
    """
    import torch

    from secateur.scenes.features import Standard, prepare

    scenes, settings = scene_set(recipe), recipe.features.settings()
    table = prepare(scenes, settings, cache)
    train, test = scenes.divided(fold, getattr(recipe.data, "test_on", "validation"))
    standard = Standard.of(table.x[train])
    return Split(
        x_train=torch.from_numpy(standard(table.x[train])),
        y_train=torch.from_numpy(table.labels[train]),
        x_test=torch.from_numpy(standard(table.x[test])),
        y_test=torch.from_numpy(table.labels[test]),
        n_classes=len(table.classes),
        features=table.id,
        per_db=tuple((settings.per_db / standard.scale).tolist()),
    )
