"""The grid: what is trained once, what is pruned from it, and a name for each made of its content.

An `id` is a hash of what determines a cell's result and of nothing else: not of its place in the
recipe, of names and descriptions, or of where data lie. A recipe that grows keeps its old ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from typing import Any

from secateur.criteria.scores import Reduction
from secateur.plan.normalise import Normalisation
from secateur.study.part import Part
from secateur.study.recipe import NEED_DATA, FineTuning, Network, Recipe, Training
from secateur.study.sources import Esc10, Features, Synthetic


@dataclass(frozen=True)
class BaseCell:
    """One trained network: its row holds accuracy, skewness and similarity before any cut."""

    network: Network
    total_shrink: float
    fold: int
    seed: int
    data: Esc10 | Synthetic
    features: Features
    augmentations: tuple[str, ...]
    training: Training
    penalty: str
    ramp: float
    bn_init: float

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for equal content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What determines the result, as plain values."""
        return {"kind": "base"} | _content(self)

    def __str__(self) -> str:
        return f"{self.network.kind} shrink {self.total_shrink:g} fold {self.fold} seed {self.seed}"


@dataclass(frozen=True)
class PrunedCell:
    """One cut of a trained network, and its fine-tuning; `base` is the id of its `BaseCell`.

    `calibration` is the number of examples the criterion looks at, None where it needs no data.
    """

    base: str
    criterion: str
    scope: str
    ratio: float
    reduction: Reduction
    normalisation: Normalisation
    fine_tuning: FineTuning
    augmentations: tuple[str, ...]
    calibration: int | None = None

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for equal content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What determines the result, as plain values."""
        content = {"kind": "pruned"} | _content(self)
        if self.calibration is None:
            del content["calibration"]
        return content

    def __str__(self) -> str:
        return f"{self.criterion} {self.scope} {self.ratio:g} of {self.base}"


Cell = BaseCell | PrunedCell


@dataclass(frozen=True)
class Unit:
    """What one task of a worker does: train the base once, then make every cut of it."""

    base: BaseCell
    pruned: tuple[PrunedCell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The base, then its cuts."""
        return (self.base, *self.pruned)


def units(recipe: Recipe) -> tuple[Unit, ...]:
    """All work of a recipe: run by run, so that a study stopped early holds whole repetitions."""
    return tuple(
        _unit(recipe, run.fold, run.seed, network, strength)
        for run, network, strength in product(
            recipe.repetitions(), recipe.networks, recipe.sparsity.total_shrink
        )
    )


def content_id(content: dict[str, Any]) -> str:
    """First 16 hexadecimal digits of the sha256 of the JSON with sorted keys.

    >>> content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unit(recipe: Recipe, fold: int, seed: int, network: Network, strength: float) -> Unit:
    sparsity, pruning = recipe.sparsity, recipe.pruning
    augmentations = tuple(sorted(recipe.augmentations))
    base = BaseCell(
        network=network,
        total_shrink=strength,
        fold=fold,
        seed=seed,
        data=recipe.data,
        features=recipe.features,
        augmentations=augmentations,
        training=_training(recipe.training, network),
        penalty=sparsity.penalty,
        ramp=sparsity.ramp,
        bn_init=sparsity.bn_init,
    )
    return Unit(
        base,
        tuple(
            PrunedCell(
                base=base.id,
                criterion=criterion,
                scope=scope,
                ratio=ratio,
                reduction=pruning.reduction,
                normalisation=pruning.normalisation,
                fine_tuning=recipe.fine_tuning,
                augmentations=augmentations,
                calibration=pruning.calibration if criterion in NEED_DATA else None,
            )
            for criterion, scope, ratio in product(pruning.criteria, pruning.scopes, pruning.ratios)
        ),
    )


def _training(training: Training, network: Network) -> Training:
    """How a network's base is trained: by its own rate and weight decay, where it has some."""
    own = network.model_dump(include={"lr", "weight_decay"}, exclude_none=True)
    return training.model_copy(update=own)


def _content(cell: Cell) -> dict[str, Any]:
    values = {field.name: getattr(cell, field.name) for field in fields(cell)}
    return {
        name: value.identity() if isinstance(value, Part) else value
        for name, value in values.items()
    }
