"""The recipe of a study: what is trained, sparsified, pruned and compared. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from secateur.errors import RecipeError
from secateur.study.augmentations import Augmentation, MaskBands, TimeRoll, kinds_once
from secateur.study.compose import INCLUDE, compose
from secateur.study.features import Features
from secateur.study.networks import Network, names_once
from secateur.study.parse import listing, problems
from secateur.study.part import (
    NUMBER,
    UNSIGNED_ZERO,
    Count,
    CountOrNone,
    NotNegative,
    Part,
    Positive,
    Share,
    ShareOrNone,
    Strengths,
    Times,
    each_once,
)
from secateur.study.sources import Data


class Sparsity(Part):
    """How channels are made to matter less before pruning.

    `total_shrink` is how far the penalty alone would move what it pushes in a whole training, as a
    multiple of where that starts: `bn_init` for batch-norm scales, the mean norm for filters.
    `growing_l2` and `group_norm` take shares of what is left, e times less a unit. 0 is dense
    training. The penalty grows from nothing over the first share `ramp` of the steps.
    """

    penalty: Literal[
        "bn_l1",
        "bn_l1_proximal",
        "polarization",
        "group_lasso",
        "group_lasso_proximal",
        "deep_hoyer",
        "growing_l2",
        "group_norm",
    ] = "bn_l1_proximal"
    total_shrink: Strengths
    ramp: Annotated[float, Field(ge=0, le=1), NUMBER, UNSIGNED_ZERO] = 0.5
    bn_init: Positive = 0.5


class Training(Part):
    """How a base network is trained; the fields of the trainer's own settings."""

    epochs: Count = 40
    batch_size: Count = 32
    lr: Positive = 0.1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: ShareOrNone = 0.9
    weight_decay: NotNegative = 5e-4
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warmup: ShareOrNone = 0.3
    label_smoothing: ShareOrNone = 0.0


class Distil(Part):
    """Fine-tuning also pulls towards the answers of the network that was cut, whole as it was.

    The loss is (1 - weight) * cross-entropy + weight * temperature^2 * KL at that temperature.
    """

    temperature: Positive = 4.0
    weight: Annotated[float, Field(ge=0, le=1), NUMBER, UNSIGNED_ZERO] = 0.5


class FineTuning(Training):
    """How a cut network is trained on; with 0 epochs it is not."""

    epochs: CountOrNone = 3
    lr: Positive = 0.01
    distil: Distil | None = None

    def identity(self) -> dict[str, Any]:
        """All of it; distillation only where there is some."""
        return self.model_dump(exclude={"distil"} if self.distil is None else None)


OfWeights = Literal["l1", "l2", "gm", "fermat", "bn_scale", "bn_shift", "lamp", "cosine", "random"]
OfGradients = Literal["taylor_l1", "taylor_l2", "taylor_fo", "taylor_gate", "snip", "fisher"]
OfActivations = Literal["apoz", "mean_activation", "entropy", "hrank", "chip"]
OfReads = Literal["compensated"]
Repair = Literal["none", "batch_norm", "bias", "reconstruct"]

MOST_CELLS = 1_000_000
"""More base networks and cuts no study would end with."""

NEED_DATA = frozenset(get_args(OfGradients) + get_args(OfActivations) + get_args(OfReads))
"""Criteria of gradients, of activations and of what layers read."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Pruning(Part):
    """The grid of cuts: every criterion and scope at every ratio, or at every budget of MACs.

    A ratio is the share of channels that is removed; `fewer_macs` are numbers above 1, by which the
    MACs are divided. Groups are left with multiples of `round_to` channels, which runtimes
    compute faster. Criteria that need data look at `calibration` examples of the training part,
    drawn by the run's seed; all of them where there are fewer. Every cut is made once for each
    `repair`, one or a list, which comes before fine-tuning and looks at `repair_inputs` examples,
    drawn likewise, and at no label. With `from_scratch` each size that a uniform cut of the dense
    network comes to is also trained from new weights, as the dense network was.
    """

    criteria: Annotated[
        tuple[Literal[OfWeights, OfGradients, OfActivations, OfReads], ...],
        Field(min_length=1),
        AfterValidator(each_once),
    ]
    scopes: Annotated[
        tuple[Literal["uniform", "global", "isomorphic"], ...],
        Field(min_length=1),
        AfterValidator(each_once),
    ] = ("uniform", "global")
    ratios: Annotated[tuple[Share, ...], AfterValidator(each_once)] = ()
    fewer_macs: Annotated[tuple[Times, ...], AfterValidator(each_once)] = ()
    round_to: Count = 1
    reduction: Literal["sum", "mean", "max", "first"] = "sum"
    normalisation: Literal["none", "mean", "max", "gaussian", "sqrt_d"] = "none"
    calibration: Count = 256
    repair: Annotated[
        tuple[Repair, ...],
        Field(min_length=1),
        BeforeValidator(_listed),
        AfterValidator(each_once),
    ] = ("none",)
    repair_inputs: Annotated[int, Field(ge=2), NUMBER] = 250
    from_scratch: bool = False

    @model_validator(mode="after")
    def _ratios_or_macs(self) -> Self:
        if bool(self.ratios) == bool(self.fewer_macs):
            given = "both" if self.ratios else "neither"
            raise ValueError(
                f"{given} of ratios and fewer_macs given; give ratios, shares of channels to "
                "remove such as 0.5, or fewer_macs, such as 2 for half the MACs"
            )
        if self.from_scratch and "uniform" not in self.scopes:
            raise ValueError(
                "from_scratch trains the sizes of uniform cuts; give uniform among the scopes"
            )
        return self

    def levels(self) -> tuple[Level, ...]:
        """How much is cut, one after the other."""
        rounded = {"round_to": self.round_to}
        return (
            *(Level(ratio=ratio, **rounded) for ratio in self.ratios),
            *(Level(fewer_macs=times, **rounded) for times in self.fewer_macs),
        )


@dataclass(frozen=True)
class Level:
    """How much is cut: a share of channels, or so many times fewer MACs; the other is None.

    Every group is left with a multiple of `round_to` channels.
    """

    ratio: float | None = None
    fewer_macs: float | None = None
    round_to: int = 1

    @property
    def asked(self) -> float:
        """The share that was asked to go, of channels or of MACs, in (0, 1).

        >>> Level(fewer_macs=4).asked
        0.75
        """
        if self.ratio is not None:
            return self.ratio
        return 1 - 1 / (self.fewer_macs or 1)

    def content(self) -> dict[str, float]:
        """What is given, by name."""
        given = {"ratio": self.ratio, "fewer_macs": self.fewer_macs}
        found = {name: value for name, value in given.items() if value is not None}
        if self.round_to > 1:
            found["round_to"] = self.round_to
        return found

    def __str__(self) -> str:
        return f"{self.ratio:g}" if self.ratio is not None else f"MACs/{self.fewer_macs:g}"


class Deployment(Part):
    """Every network as ONNX, and quantised to INT8 by `calibration` clips of the training part."""

    calibration: Count = 256


class Run(Part):
    """One repetition: the fold that is held out for testing (from 1) and the seed."""

    fold: Count
    seed: CountOrNone


class Recipe(Part):
    """A whole study. `runs`, or `seeds` for that many runs: run i holds out fold i with seed i.

    `left_out` says in words what the recipe leaves out; the report shows it.
    """

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    data: Data
    features: Features = Features()
    networks: Annotated[tuple[Network, ...], Field(min_length=1), AfterValidator(names_once)]
    sparsity: Sparsity
    augmentations: Annotated[tuple[Augmentation, ...], AfterValidator(kinds_once)] = (
        TimeRoll(kind="time_roll"),
        MaskBands(kind="mask_bands"),
    )
    training: Training = Training()
    pruning: Pruning
    fine_tuning: FineTuning = FineTuning()
    deployment: Deployment | None = None
    runs: Annotated[tuple[Run, ...], Field(min_length=1), AfterValidator(each_once)] | None = None
    seeds: Count | None = None
    left_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _runs_or_seeds(self) -> Self:
        if (self.runs is None) == (self.seeds is None):
            given = "neither" if self.runs is None else "both"
            raise ValueError(
                f"{given} of runs and seeds given; give runs, a list of fold and seed, "
                "or seeds, how many"
            )
        for place, run in enumerate(self.runs or ()):
            if run.fold > self.data.folds:
                raise ValueError(
                    f"runs.{place}.fold: {run.fold} is not allowed; "
                    f"the data has folds 1 to {self.data.folds}"
                )
        return self

    @model_validator(mode="after")
    def _a_size_that_ends(self) -> Self:
        pruning, shared = self.pruning, self.sparsity.total_shrink
        levels = max(len(pruning.ratios), len(pruning.fewer_macs))
        cuts = len(pruning.criteria) * len(pruning.scopes) * len(pruning.repair) * levels
        bases = sum(len(network.total_shrink or shared) for network in self.networks)
        n = (len(self.runs) if self.runs else self.seeds or 0) * bases * (1 + cuts)
        if n > MOST_CELLS:
            raise ValueError(
                f"the grid has {n:,} cells; give fewer seeds, criteria or ratios, at most "
                f"{MOST_CELLS:,} in all"
            )
        return self

    def repetitions(self) -> tuple[Run, ...]:
        """The runs, written out; beyond the last fold they begin again at the first."""
        if self.runs is not None:
            return self.runs
        return tuple(
            Run(fold=(seed - 1) % self.data.folds + 1, seed=seed)
            for seed in range(1, (self.seeds or 0) + 1)
        )


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a YAML or JSON recipe; relative paths in a file start at its folder.

    `include` names recipes it starts from; `changes` are set last, each written `key.key=value`.

    Raises:
        RecipeError: listing every problem, one a line, with its path in the file.
    """
    return recipe_from(compose(path, changes), folder=path.parent, where=str(path))


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe file, by which editors check and complete one."""
    schema = Recipe.model_json_schema()
    paths = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    said = "Recipes this one starts from; what stands here counts over what stands there."
    schema["properties"][INCLUDE] = paths | {"title": "Include", "description": said}
    chosen = schema["properties"]["augmentations"]
    names = {"enum": sorted(chosen["items"]["discriminator"]["mapping"]), "type": "string"}
    chosen["items"] = {"anyOf": [names, chosen["items"]]}  # a name alone stands for its defaults
    repair = schema["$defs"]["Pruning"]["properties"]["repair"]
    several = {name: repair.pop(name) for name in ("type", "items", "minItems")}
    repair["anyOf"] = [several["items"], several]  # one stands for a list of one
    schema.pop("required", None)  # an included recipe may give what is missing here
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def recipe_from(
    mapping: Mapping[str, Any], *, folder: Path = Path(), where: str = "given as a mapping"
) -> Recipe:
    """Make a recipe of plain values; relative paths start at `folder`.

    Raises:
        RecipeError: listing every problem, one a line, with its path in the mapping.
    """
    try:
        return Recipe.model_validate(dict(mapping), context={"folder": folder})
    except ValidationError as error:
        found = problems(error, mapping, Recipe.model_json_schema())
        raise RecipeError(listing(where, found)) from error
