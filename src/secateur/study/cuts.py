"""Cut a base network as a cell says and train it on; train the same size from new weights."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    The network that results is kept in the folder `keep`, if one is given.
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
    small, plan = pruned.network, pruned.plan
    reestimate_batch_norm(small, data.x_train)
    after_cut = tested(small, data)
    cut_seconds = time.perf_counter() - started
    tuned, tune_seconds = after_cut, 0.0
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
        **_size(cell.level, plan),
        "accuracy_cut": after_cut["accuracy"],
        **tuned,
        "removed": {name: list(gone) for name, gone in plan.remove.items()},
        "seconds": {"cut": cut_seconds, "fine-tune": tune_seconds},
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
        **_size(cell.level, pruned.plan),
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


def _size(level: Level, plan: PruningPlan) -> dict[str, Any]:
    return {
        "ratio_asked": level.asked,
        "ratio_reached": plan.reached["pruning_ratio"],
        "params": plan.after.params,
        "macs": plan.after.macs,
        "channels": plan.after.channels,
    }


def _distillation(cell: PrunedCell, base: nn.Module) -> Distillation | None:
    from secateur.train.distil import distillation

    asked = cell.fine_tuning.distil
    if asked is None:
        return None
    return distillation(base, temperature=asked.temperature, weight=asked.weight)


_CALIBRATION_BATCH = 32


def _calibration(cell: PrunedCell, seed: int, data: Split) -> list[tuple[Tensor, Tensor]] | None:
    """Batches of the training part for criteria that need data, the same for every such cell."""
    import torch

    if cell.calibration is None:
        return None
    batches = torch.split(drawn(data, cell.calibration, seed), _CALIBRATION_BATCH)
    return [(data.x_train[batch], data.y_train[batch]) for batch in batches]
