"""Cut a base network as a cell says and train it on; train the same size from new weights."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from secateur.scenes.split import Split
from secateur.study.bases import NETWORK, augment_of, tested, training_of
from secateur.study.build import build, draw_anew
from secateur.study.cells import BaseCell, PrunedCell, ScratchCell
from secateur.study.data import drawn
from secateur.study.recipe import Level

if TYPE_CHECKING:
    from torch import Tensor, nn

    from secateur.channels.groups import ChannelMap
    from secateur.plan.budget import Budget
    from secateur.plan.plan import PruningPlan
    from secateur.surgery.pruned import Pruned
    from secateur.surgery.reconstruction import Method
    from secateur.train.distil import Distillation


def prune_and_tune(
    cell: PrunedCell,
    base_cell: BaseCell,
    base: nn.Module,
    channels: ChannelMap,
    data: Split,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Cut the base as the cell says, re-estimate batch norm, measure, fine-tune, measure again.

    A repair is made of the cut as it was before batch norm was re-estimated, and what is fine-tuned
    is then the repaired network, whose own statistics are left alone. The network that results is
    kept in the folder `keep`, if one is given.
    """
    import torch.nn.functional as F

    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA
    from secateur.plan.select import global_, isomorphic, uniform
    from secateur.surgery.prune import prune_to_budget
    from secateur.train.batch_norm import reestimate_batch_norm
    from secateur.train.fit import fit

    started = time.perf_counter()
    criterion = CRITERIA[cell.criterion]
    scores = score(
        channels,
        [criterion],
        calibration=_calibration(cell, base_cell.seed, data),
        loss_fn=F.cross_entropy,
        reduction=cell.reduction,
        seed=base_cell.seed,
    )

    def select(channels: ChannelMap, budget: Budget) -> PruningPlan:
        if cell.scope == "uniform":
            return uniform(scores[cell.criterion], channels, budget)
        among = {"global": global_, "isomorphic": isomorphic}[cell.scope]
        return among(scores[cell.criterion], channels, budget, cell.normalisation)

    pruned = prune_to_budget(channels, budget_of(cell.level, channels), select)
    cut, cut_seconds = pruned.network, time.perf_counter() - started
    of_repair: dict[str, Any] = {}
    repair_seconds: dict[str, float] = {}
    tuned: dict[str, Any] = {}
    if cell.repair != "none":
        began = time.perf_counter()
        pruned, of_repair = _repaired(cell, pruned, base_cell.seed, data)
        tuned = tested(pruned.network, data)
        of_repair["accuracy_repaired"] = tuned["accuracy"]
        repair_seconds["repair"] = time.perf_counter() - began
    started = time.perf_counter()
    reestimate_batch_norm(cut, data.x_train)
    after_cut = tested(cut, data)
    cut_seconds += time.perf_counter() - started
    small, tuned, tune_seconds = pruned.network, tuned or after_cut, 0.0
    if cell.fine_tuning.epochs:
        history = fit(
            small,
            data.x_train,
            data.y_train,
            training_of(cell.fine_tuning),
            seed=base_cell.seed,
            distil=_distillation(cell, base),
            **augment_of(cell.augmentations, data),
        )
        tuned = tested(small, data)
        tune_seconds = history.seconds
    if keep is not None:
        pruned.save(keep / NETWORK)
    return {
        "kind": "pruned",
        "id": cell.id,
        "base": cell.base,
        "network": base_cell.network.name,
        "strength": base_cell.total_shrink,
        "seed": base_cell.seed,
        "fold": base_cell.fold,
        "criterion": cell.criterion,
        "scope": cell.scope,
        **_size(cell.level, pruned),
        "accuracy_cut": after_cut["accuracy"],
        **of_repair,
        **tuned,
        "removed": {name: list(gone) for name, gone in pruned.plan.remove.items()},
        "seconds": {"cut": cut_seconds, **repair_seconds, "fine-tune": tune_seconds},
    }


def train_from_scratch(
    cell: ScratchCell, base_cell: BaseCell, data: Split, keep: Path | None = None
) -> dict[str, Any]:
    """Train the size of a uniform cut from new weights, with the settings of the dense base.

    A uniform cut's size does not depend on which channels go.
    """
    from secateur.channels.trace import trace
    from secateur.criteria.score import score
    from secateur.criteria.weight import l1
    from secateur.plan.select import uniform
    from secateur.surgery.prune import prune_to_budget
    from secateur.train.fit import fit

    large = build(base_cell, data.n_classes)
    channels = trace(large, data.x_train[:1])
    scores = score(channels, [l1])
    select = partial(uniform, scores["l1"])
    pruned = prune_to_budget(channels, budget_of(cell.level, channels), select)
    small = pruned.network
    draw_anew(small, base_cell)
    history = fit(
        small,
        data.x_train,
        data.y_train,
        training_of(base_cell.training),
        seed=base_cell.seed,
        **augment_of(base_cell.augmentations, data),
    )
    if keep is not None:
        pruned.save(keep / NETWORK)
    return {
        "kind": "scratch",
        "id": cell.id,
        "base": cell.base,
        "network": base_cell.network.name,
        "strength": base_cell.total_shrink,
        "seed": base_cell.seed,
        "fold": base_cell.fold,
        **_size(cell.level, pruned),
        **tested(small, data),
        "seconds": {"train": history.seconds},
    }


def budget_of(level: Level, channels: ChannelMap) -> Budget:
    """A level of a recipe as the planner takes it."""
    from secateur.channels.cost import cost
    from secateur.plan.budget import Budget

    multiple = level.round_to
    if level.fewer_macs is None:
        return Budget(pruning_ratio=level.ratio, round_to=multiple)
    macs = int(cost(channels).macs / level.fewer_macs)
    return Budget(macs=macs, round_to=multiple)


def _size(level: Level, pruned: Pruned) -> dict[str, Any]:
    """What was asked and reached, and what is left, with the biases that a repair made."""
    plan = pruned.plan
    made = sum(pruned.network.get_parameter(name).numel() for name in plan.made_biases)
    return {
        "ratio_asked": level.asked,
        "ratio_reached": plan.reached["pruning_ratio"],
        "params": plan.after.params + made,
        "macs": plan.after.macs,
        "channels": plan.after.channels,
    }


def _distillation(cell: PrunedCell, base: nn.Module) -> Distillation | None:
    from secateur.train.distil import distillation

    asked = cell.fine_tuning.distil
    if asked is None:
        return None
    return distillation(base, temperature=asked.temperature, weight=asked.weight)


def _repaired(
    cell: PrunedCell, pruned: Pruned, seed: int, data: Split
) -> tuple[Pruned, dict[str, Any]]:
    """Repair a cut on clips of the training part without labels; what of it goes into the row."""
    import torch

    from secateur.surgery.reconstruct import reconstruct

    n = cell.repair_inputs or 0
    batches = torch.split(data.x_train[drawn(data, n, seed)], _CALIBRATION_BATCH)
    method = cast("Method", cell.repair)
    repaired = reconstruct(pruned, batches, method=method, seed=seed, most=n)
    found = repaired.reconstruction
    assert found is not None
    return repaired, {
        "repair": cell.repair,
        "repair_kept": found.kept,
        "repair_inputs": found.n_inputs,
        "output_error_cut": _finite(found.error_before),
        "output_error_repaired": _finite(found.error_after),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_CALIBRATION_BATCH = 32


def _calibration(cell: PrunedCell, seed: int, data: Split) -> list[tuple[Tensor, Tensor]] | None:
    """Batches of the training part for criteria that need data, the same for every such cell."""
    import torch

    if cell.calibration is None:
        return None
    batches = torch.split(drawn(data, cell.calibration, seed), _CALIBRATION_BATCH)
    return [(data.x_train[batch], data.y_train[batch]) for batch in batches]
