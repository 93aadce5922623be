"""Augmentations by name, one after the other, as values that `fit` takes and that say what they do.

Waveforms are gone when a network is trained, so `convolve` is not among them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from secateur.errors import DataError, unknown_name
from secateur.scenes.augment import (
    frequency_mixstyle,
    gain,
    mask_bands,
    mask_frames,
    mixup,
    time_roll,
)

AUGMENTATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "frequency_mixstyle": frequency_mixstyle,
        "gain": gain,
        "mask_bands": mask_bands,
        "mask_frames": mask_frames,
        "mixup": mixup,
        "time_roll": time_roll,
    }
)
"""Those of log-mels, in the order they are applied in, but for mixup, which comes last."""

Arguments = Mapping[str, float]
"""Arguments of one augmentation by name."""


@dataclass(frozen=True)
class Augmentation:
    """Everything done to inputs alone, for `fit(augment=…)`.

    `per_db` is what one decibel is in every band of a batch, (n_mels,): standardised bands are
    scaled each by its own.
    """

    steps: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    per_db: tuple[float, ...]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """(n, 1, n_mels, n_frames) -> the same shape."""
        for name, arguments in self.steps:
            keywords: dict[str, Any] = dict(arguments)
            if name == "gain":
                keywords["per_db"] = torch.tensor(self.per_db)
            x = AUGMENTATIONS[name](x, generator, **keywords)
        return x


@dataclass(frozen=True)
class Mixing:
    """mixup of labelled batches, for `fit(mix=…)`: labels become shares of `n_classes`."""

    alpha: float
    n_classes: int

    def __call__(self, x: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """(n, …), (n,) -> (n, …), (n, n_classes)."""
        shares = F.one_hot(labels, self.n_classes).to(x)
        return mixup(x, shares, generator, alpha=self.alpha)


def chain(
    chosen: Mapping[str, Arguments], n_classes: int, per_db: Sequence[float]
) -> tuple[Augmentation | None, Mixing | None]:
    """What `fit` takes as `augment` and as `mix`, from arguments by name of the augmentation.

    Raises:
        DataError: there is no augmentation of a name, or it takes no such argument.
    """
    for name, arguments in chosen.items():
        check(name, arguments)
    steps = tuple(
        (name, tuple(sorted(chosen[name].items())))
        for name in AUGMENTATIONS
        if name in chosen and name != "mixup"
    )
    mixing = None
    if "mixup" in chosen:
        mixing = Mixing(chosen["mixup"].get("alpha", arguments_of("mixup")["alpha"]), n_classes)
    return (Augmentation(steps, tuple(per_db)) if steps else None), mixing


def check(name: str, arguments: Arguments) -> None:
    """Refuse a name or an argument that is not there.

    Raises:
        DataError: naming it and what there is.
    """
    if name not in AUGMENTATIONS:
        raise DataError(unknown_name("augmentation", name, AUGMENTATIONS))
    for argument in arguments:
        if argument not in arguments_of(name):
            raise DataError(unknown_name(f"argument of {name}", argument, arguments_of(name)))


def arguments_of(name: str) -> dict[str, Any]:
    """Arguments of an augmentation and what they are if not given.

    >>> arguments_of("mixup")
    {'alpha': 0.3}
    """
    parameters = inspect.signature(AUGMENTATIONS[name]).parameters.values()
    return {
        one.name: one.default
        for one in parameters
        if one.kind is one.KEYWORD_ONLY and one.name != "per_db"
    }
