"""What one unit of a study does: train the base network once, then make every cut of it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.errors import StudyError
from secateur.study.cells import BaseCell, PrunedCell, Unit
from secateur.study.data import Split, split
from secateur.study.recipe import Recipe
from secateur.study.recipe import Training as TrainingPart
from secateur.study.store import BASE_FAILED, Row, Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from secateur.channels.groups import ChannelMap
    from secateur.train.fit import Augment
    from secateur.train.penalties import Penalty
    from secateur.train.schedule import Training

FEATURES = "features"
"""Folder of a study that holds the log-mels all its runs share."""


def run_unit(unit: Unit, folder: Path, recipe: Recipe) -> None:
    """Write the rows of `unit` that the study in `folder` does not have yet."""
    from secateur.channels.trace import trace

    store = Store(folder)
    todo = [cell for cell in unit.cells if not store.has(cell.id)]
    if not todo:
        return
    data = split(recipe, folder / FEATURES, unit.base.fold)
    if not store.has(unit.base.id):
        with store.attempt(unit.base):
            store.write(unit.base.id, train_base(unit.base, data, store.path(unit.base.id)))
        if not store.has(unit.base.id):
            for cell in todo:
                if cell != unit.base:
                    store.fail(cell, BASE_FAILED, "")
            return
    _check_features(store.row(unit.base.id), data)
    base = _load_base(unit.base, data, store.path(unit.base.id))
    channels = trace(base, data.x_train[:1])
    for cell in unit.pruned:
        if not store.has(cell.id):
            with store.attempt(cell):
                store.write(cell.id, prune_and_tune(cell, unit.base, base, channels, data))


def train_base(cell: BaseCell, data: Split, folder: Path) -> dict[str, Any]:
    """Train a network as its cell says, keep its weights in `folder`, and measure it."""
    import torch

    from secateur.channels.cost import cost
    from secateur.channels.trace import trace
    from secateur.surgery.package import save
    from secateur.train.fit import evaluate, fit
    from secateur.version import __version__

    model = _build(cell, data)
    channels = trace(model, data.x_train[:1])
    training = _training(cell.training)
    strength, penalty = _penalty(cell, channels, training, len(data.x_train))
    checkpoint = folder / "checkpoint.pt"
    history = fit(
        model,
        data.x_train,
        data.y_train,
        training,
        seed=cell.seed,
        penalty=penalty,
        augment=_augment(cell.augmentations),
        checkpoint=checkpoint,
    )
    save(model, folder / "network.safetensors")
    checkpoint.unlink(missing_ok=True)
    started = time.perf_counter()
    measures = measure(model, channels)
    total = cost(channels)
    accuracy = evaluate(model, data.x_test, data.y_test)
    return {
        "kind": "base",
        "id": cell.id,
        "network": cell.network.kind,
        "strength": cell.total_shrink,
        "seed": cell.seed,
        "fold": cell.fold,
        "accuracy": accuracy.accuracy,
        "log_loss": accuracy.log_loss,
        "train_accuracy": history.epochs[-1].accuracy,
        "params": total.params,
        "macs": total.macs,
        "channels": total.channels,
        "bn_lambda": strength,
        "features": data.features,
        "versions": {"secateur": __version__, "torch": torch.__version__},
        **measures,
        "seconds": {"train": history.seconds, "measure": time.perf_counter() - started},
    }


def measure(model: nn.Module, channels: ChannelMap) -> dict[str, Any]:
    """Channel sparsity by both definitions, and rank agreement of the criteria, as rows."""
    from secateur.analysis.similarity import rank_correlations
    from secateur.analysis.skewness import skewness_rows
    from secateur.criteria.channel_weights import channel_weights
    from secateur.criteria.relation import gm
    from secateur.criteria.score import score
    from secateur.criteria.weight import bn_scale, l1, l2

    skewness = [
        *skewness_rows(channel_weights(model, channels, "bn_scale"), "bn_scale"),
        *skewness_rows(channel_weights(model, channels, "filter_l1"), "filter_l1"),
    ]
    scores = score(model, channels, [l1, l2, gm, bn_scale])
    similarity = rank_correlations({name: values.filters for name, values in scores.items()})
    pooled = next(r for r in skewness if (r.layer, r.definition) == ("pooled", "bn_scale"))
    return {
        "inactive": pooled.inactive_share,
        "skewness": [asdict(row) for row in skewness],
        "similarity": [asdict(row) for row in similarity],
    }


def prune_and_tune(
    cell: PrunedCell, base_cell: BaseCell, base: nn.Module, channels: ChannelMap, data: Split
) -> dict[str, Any]:
    """Cut the base as the cell says, re-estimate batch norm, measure, fine-tune, measure again."""
    import torch.nn.functional as F

    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA
    from secateur.plan.budget import Budget
    from secateur.plan.select import global_, isomorphic, uniform
    from secateur.surgery.cut import cut
    from secateur.train.batch_norm import reestimate_batch_norm
    from secateur.train.fit import evaluate, fit

    started = time.perf_counter()
    criterion = CRITERIA[cell.criterion]
    scores = score(
        base,
        channels,
        [criterion],
        calibration=_calibration(cell, base_cell.seed, data),
        loss_fn=F.cross_entropy,
        reduction=cell.reduction,
        seed=base_cell.seed,
    )
    budget = Budget(pruning_ratio=cell.ratio)
    if cell.scope == "uniform":
        plan = uniform(scores[cell.criterion], channels, budget)
    else:
        select = {"global": global_, "isomorphic": isomorphic}[cell.scope]
        plan = select(scores[cell.criterion], channels, budget, cell.normalisation)
    small = cut(base, plan, data.x_train[:1], channels=channels, hold_back=False)
    reestimate_batch_norm(small, data.x_train)
    accuracy_cut = evaluate(small, data.x_test, data.y_test).accuracy
    cut_seconds = time.perf_counter() - started
    tuned, tune_seconds = accuracy_cut, 0.0
    if cell.fine_tuning.epochs:
        history = fit(
            small,
            data.x_train,
            data.y_train,
            _training(cell.fine_tuning),
            seed=base_cell.seed,
            augment=_augment(cell.augmentations),
        )
        tuned = evaluate(small, data.x_test, data.y_test).accuracy
        tune_seconds = history.seconds
    return {
        "kind": "pruned",
        "id": cell.id,
        "base": cell.base,
        "network": base_cell.network.kind,
        "strength": base_cell.total_shrink,
        "seed": base_cell.seed,
        "fold": base_cell.fold,
        "criterion": cell.criterion,
        "scope": cell.scope,
        "ratio_asked": cell.ratio,
        "ratio_reached": plan.reached["pruning_ratio"],
        "params": plan.after.params,
        "macs": plan.after.macs,
        "channels": plan.after.channels,
        "accuracy_cut": accuracy_cut,
        "accuracy": tuned,
        "seconds": {"cut": cut_seconds, "fine-tune": tune_seconds},
    }


_CALIBRATION_BATCH = 32


def _calibration(cell: PrunedCell, seed: int, data: Split) -> list[tuple[Tensor, Tensor]] | None:
    """Batches of the training part for criteria that need data, the same for every such cell."""
    import torch

    if cell.calibration is None:
        return None
    order = torch.randperm(len(data.x_train), generator=torch.Generator().manual_seed(seed))
    batches = torch.split(order[: cell.calibration], _CALIBRATION_BATCH)
    return [(data.x_train[batch], data.y_train[batch]) for batch in batches]


def _check_features(base: Row, data: Split) -> None:
    if base.get("features", data.features) != data.features:
        raise StudyError(
            f"the rows there are were made from other features ({base['features'][:12]} there, "
            f"{data.features[:12]} here): recordings or their transform have changed. Restore "
            "them, or name another folder"
        )


def _build(cell: BaseCell, data: Split) -> nn.Module:
    import torch

    from secateur.networks.families import NETWORKS

    factory = NETWORKS[cell.network.kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cell.seed)
        return factory(data.n_classes, cell.network.width, bn_init=cell.bn_init)


def _load_base(cell: BaseCell, data: Split, folder: Path) -> nn.Module:
    from secateur.surgery.package import load

    return load(folder / "network.safetensors", lambda: _build(cell, data))


def _training(settings: TrainingPart) -> Training:
    from secateur.train.schedule import Training

    return Training(**settings.model_dump())


def _penalty(
    cell: BaseCell, channels: ChannelMap, training: Training, n_examples: int
) -> tuple[float, Penalty | None]:
    """The penalty's strength per step (lambda) and the penalty; none for a dense network."""
    from secateur.train.penalties import (
        BnL1,
        BnL1Proximal,
        prunable_scales,
        strength_for_shrink,
    )

    if cell.total_shrink == 0:
        return 0.0, None
    proximal = cell.penalty == "bn_l1_proximal"
    strength = strength_for_shrink(
        cell.total_shrink * cell.bn_init, training, n_examples, cell.ramp, proximal=proximal
    )
    kind = BnL1Proximal if proximal else BnL1
    return strength, kind(strength, prunable_scales(channels), cell.ramp)


def _augment(names: tuple[str, ...]) -> Augment | None:
    from secateur.scenes.augment import mask_bands, time_roll

    chosen = [{"time_roll": time_roll, "mask_bands": mask_bands}[name] for name in names]
    if not chosen:
        return None

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        for one in chosen:
            x = one(x, generator)
        return x

    return augment
