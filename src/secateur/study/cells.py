"""The grid: what is trained once, what is pruned from it, and a name for each made of its content.

An `id` is a hash of what determines a cell's result and of nothing else: not of its place in the
recipe, of names and descriptions, or of where data lie. A recipe that grows keeps its old ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any

from secateur.criteria.scores import Reduction
from secateur.plan.normalise import Normalisation
from secateur.study.augmentations import Augmentation
from secateur.study.features import Features
from secateur.study.networks import Network
from secateur.study.part import Part
from secateur.study.recipe import NEED_DATA, FineTuning, Level, Recipe, Training
from secateur.study.sources import Data


@dataclass(frozen=True)
class BaseCell:
    """One trained network: its row holds accuracy, skewness and similarity before any cut."""

    network: Network
    total_shrink: float
    fold: int
    seed: int
    data: Data
    features: Features
    augmentations: tuple[Augmentation, ...]
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
        return f"{self.network.name} shrink {self.total_shrink:g} fold {self.fold} seed {self.seed}"


@dataclass(frozen=True)
class PrunedCell:
    """One cut of a trained network, and its fine-tuning; `base` is the id of its `BaseCell`.

    `calibration` is the number of examples the criterion looks at, None where it needs no data, and
    `repair_inputs` that of the repair, None where there is none.
    """

    base: str
    criterion: str
    scope: str
    level: Level
    reduction: Reduction
    normalisation: Normalisation
    fine_tuning: FineTuning
    augmentations: tuple[Augmentation, ...]
    calibration: int | None = None
    repair: str = "none"
    repair_inputs: int | None = None

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for equal content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What determines the result, as plain values."""
        content = {"kind": "pruned"} | _content(self)
        if self.calibration is None:
            del content["calibration"]
        if self.repair == "none":
            del content["repair"], content["repair_inputs"]
        return content

    def __str__(self) -> str:
        then = "" if self.repair == "none" else f" then {self.repair}"
        return f"{self.criterion} {self.scope} {self.level}{then} of {self.base}"


@dataclass(frozen=True)
class ScratchCell:
    """The control: the size of a uniform cut of the dense network `base`, trained from new weights.

    It is trained just as `base` was.
    """

    base: str
    level: Level

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for equal content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What determines the result, as plain values."""
        return {"kind": "scratch"} | _content(self)

    def __str__(self) -> str:
        return f"from scratch {self.level} of {self.base}"


@dataclass(frozen=True)
class DeployedCell:
    """The network of another cell, `of`, as ONNX and INT8, measured in ONNX Runtime."""

    of: str
    calibration: int

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits, the same for equal content."""
        return content_id(self.content())

    def content(self) -> dict[str, Any]:
        """What determines the result, as plain values."""
        return {"kind": "deployed"} | _content(self)

    def __str__(self) -> str:
        return f"deployment of {self.of}"


Cell = BaseCell | PrunedCell | ScratchCell | DeployedCell


@dataclass(frozen=True)
class Unit:
    """What one task of a worker does: train the base once, then all that is made of it."""

    base: BaseCell
    pruned: tuple[PrunedCell, ...]
    scratch: tuple[ScratchCell, ...] = ()
    deployed: tuple[DeployedCell, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The base, then its cuts, then its controls, then what was deployed of all these."""
        return (self.base, *self.pruned, *self.scratch, *self.deployed)


def units(recipe: Recipe) -> tuple[Unit, ...]:
    """All work of a recipe: run by run, so that a study stopped early holds whole repetitions."""
    return tuple(
        _unit(recipe, run.fold, run.seed, network, strength)
        for run, network in product(recipe.repetitions(), recipe.networks)
        for strength in network.total_shrink or recipe.sparsity.total_shrink
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
    augmentations = tuple(sorted(recipe.augmentations, key=lambda one: one.kind))
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
    pruned = tuple(
        PrunedCell(
            base=base.id,
            criterion=criterion,
            scope=scope,
            level=level,
            reduction=pruning.reduction,
            normalisation=pruning.normalisation,
            fine_tuning=recipe.fine_tuning,
            augmentations=augmentations,
            calibration=pruning.calibration if criterion in NEED_DATA else None,
            repair=repair,
            repair_inputs=None if repair == "none" else pruning.repair_inputs,
        )
        for criterion, scope, level, repair in product(
            pruning.criteria, pruning.scopes, pruning.levels(), pruning.repair
        )
    )
    controls = pruning.from_scratch and strength == 0
    scratch = tuple(ScratchCell(base.id, level) for level in pruning.levels() if controls)
    unit = Unit(base, pruned, scratch)
    if recipe.deployment is None:
        return unit
    calibration = recipe.deployment.calibration
    return replace(unit, deployed=tuple(DeployedCell(c.id, calibration) for c in unit.cells))


def _training(training: Training, network: Network) -> Training:
    """How a network's base is trained: by its own rate and weight decay, where it has some."""
    own = network.model_dump(include={"lr", "weight_decay"}, exclude_none=True)
    return training.model_copy(update=own)


def _content(cell: Cell) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for field in fields(cell):
        value = getattr(cell, field.name)
        content |= value.content() if isinstance(value, Level) else {field.name: _plain(value)}
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.identity() if isinstance(value, Part) else value
