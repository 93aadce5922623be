"""From a recipe's data section to standardised tensors of one fold. Imports torch when called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.study.recipe import Recipe
from secateur.study.sources import (
    Data,
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

    from secateur.scenes.datasets import OnBad, SceneSet
    from secateur.scenes.features import Features
    from secateur.scenes.split import Split


def scene_set(recipe: Recipe) -> SceneSet:
    """The clips a recipe names."""
    return scenes_of(recipe.data)


def scenes_of(data: Data, on_bad: OnBad | None = None) -> SceneSet:
    """The clips of a recipe's data section.

    `on_bad` says what is done with files that are missing or mislabelled; with None, as the section
    says, or it stops at the first.

    Raises:
        DataError: they are not there, or not whole.
    """
    from secateur.scenes import datasets, tau
    from secateur.scenes.folders import by_expression, folder_per_class
    from secateur.scenes.synthesis import synthetic_scenes

    own = {} if on_bad is None else {"on_bad": on_bad}
    match data:
        case Esc10(root=root):
            return datasets.esc10(root, **own)
        case Esc50(root=root):
            return datasets.esc50(root, **own)
        case Tau2019(root=root) | Tau2020(root=root) | Tau2022(root=root):
            return tau.tau(root, tau.EDITIONS[data.kind], **data.arguments() | own)
        case FolderPerClass(root=root, n_folds=n_folds, location=location, seed=seed):
            location_of = None if location is None else by_expression(root, location)
            return folder_per_class(root, n_folds, location_of, seed)
        case Synthetic():
            return synthetic_scenes(**data.arguments())


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
    from secateur.scenes.features import prepare
    from secateur.scenes.split import split_of

    scenes, settings = scene_set(recipe), recipe.features.settings()
    table = prepare(scenes, settings, cache)
    train, test = scenes.divided(fold, getattr(recipe.data, "test_on", "validation"))
    devices = tuple(
        clip.device for clip, held_out in zip(scenes.clips, test, strict=True) if held_out
    )
    return replace(split_of(table, train, test)[0], devices=devices)


def drawn(data: Split, n: int, seed: int) -> Tensor:
    """Places of n clips of the training part, drawn by the seed; of all where there are fewer."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(data.x_train), generator=generator)[:n]
