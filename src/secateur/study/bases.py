"""Train a base network as its cell says, and measure it before any cut."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.errors import CriterionError, TrainingError
from secateur.scenes.split import Split
from secateur.study.augmentations import Augmentation, by_name
from secateur.study.build import FIRST_ANSWERS, build, first_answers
from secateur.study.cells import BaseCell
from secateur.study.networks import OwnNetwork
from secateur.study.recipe import Training as TrainingPart

if TYPE_CHECKING:
    from torch import nn

    from secateur.channels.groups import ChannelMap
    from secateur.criteria.scores import Scores
    from secateur.train.penalty import Penalty
    from secateur.train.schedule import Training

NETWORK = "network.safetensors"
"""Name of a network's file in the folder of its cell."""


def train_base(cell: BaseCell, data: Split, folder: Path) -> dict[str, Any]:
    """Train a network as its cell says, keep its weights in `folder`, and measure it.

    It goes on from a checkpoint that a kill left there, unless that cannot be trusted.
    """
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        with suppress(TrainingError):
            return _trained(cell, data, folder, checkpoint)
        checkpoint.unlink(missing_ok=True)
    return _trained(cell, data, folder, checkpoint)


def _trained(cell: BaseCell, data: Split, folder: Path, checkpoint: Path) -> dict[str, Any]:
    import torch

    from secateur.channels.cost import cost
    from secateur.channels.trace import trace
    from secateur.surgery.package import save
    from secateur.train.fit import fit
    from secateur.version import __version__

    model = build(cell, data.n_classes)
    channels = trace(model, data.x_train[:1])
    own = isinstance(cell.network, OwnNetwork)
    first = {FIRST_ANSWERS: first_answers(model, data.x_train.shape[1:])} if own else {}
    training = training_of(cell.training)
    strength, penalty = _penalty(cell, model, channels, training, len(data.x_train))
    history = fit(
        model,
        data.x_train,
        data.y_train,
        training,
        seed=cell.seed,
        penalty=penalty,
        **augment_of(cell.augmentations, data),
        channels=channels,
        checkpoint=checkpoint,
    )
    save(model, folder / NETWORK)
    checkpoint.unlink(missing_ok=True)
    started = time.perf_counter()
    measures = measure(channels) | {"sensitivity": sensitivity(channels, data)}
    total = cost(channels)
    return {
        "kind": "base",
        "id": cell.id,
        "network": cell.network.name,
        "strength": cell.total_shrink,
        "seed": cell.seed,
        "fold": cell.fold,
        **tested(model, data),
        "n_classes": data.n_classes,
        "train_accuracy": history.epochs[-1].accuracy,
        "params": total.params,
        "macs": total.macs,
        "channels": total.channels,
        "penalty": cell.penalty,
        "bn_lambda": strength,
        "epochs": [
            {"epoch": e.epoch, "loss": e.loss, "accuracy": e.accuracy, "lr": e.lr, **e.sparsity}
            for e in history.epochs
        ],
        "features": data.features,
        **first,
        "versions": {"secateur": __version__, "torch": torch.__version__},
        **measures,
        "seconds": {"train": history.seconds, "measure": time.perf_counter() - started},
    }


def tested(model: nn.Module, data: Split) -> dict[str, Any]:
    """Accuracy and log loss on the test clips; accuracy by recorder, where there are several."""
    from secateur.train.evaluate import accuracy_of, predict

    logits = predict(model, data.x_test)
    whole = accuracy_of(logits, data.y_test)
    found: dict[str, Any] = {"accuracy": whole.accuracy, "log_loss": whole.log_loss}
    if len(set(data.devices)) > 1:
        right = (logits.argmax(1) == data.y_test).tolist()
        by_device: dict[str, list[bool]] = {}
        for device, hit in zip(data.devices, right, strict=True):
            by_device.setdefault(device, []).append(hit)
        found["by_device"] = {name: sum(own) / len(own) for name, own in sorted(by_device.items())}
    return found


def measure(channels: ChannelMap) -> dict[str, Any]:
    """Channel sparsity by both definitions, and rank agreement of the criteria, as rows.

    Criteria are compared over the layers that all of them score.
    """
    from secateur.analysis.similarity import rank_correlations
    from secateur.train.sparsity import skewness

    sparse = [
        *skewness(channels, "bn_scale"),
        *skewness(channels, "filter_l1"),
    ]
    filters = {name: values.filters for name, values in _scores(channels).items()}
    common = {  # layers that no batch norm follows are scored by some only
        name: {layer: own[layer] for layer in own if all(layer in o for o in filters.values())}
        for name, own in filters.items()
    }
    similarity = rank_correlations(common)
    pooled = next(r for r in sparse if (r.layer, r.definition) == ("pooled", "bn_scale"))
    return {
        "inactive": pooled.inactive_share,
        "skewness": [asdict(row) for row in sparse],
        "similarity": [asdict(row) for row in similarity],
    }


def _scores(channels: ChannelMap) -> Mapping[str, Scores]:
    """By l1, l2, gm and, if batch norms follow what can be pruned everywhere, bn_scale."""
    from secateur.criteria.relation import gm
    from secateur.criteria.score import score
    from secateur.criteria.weight import bn_scale, l1, l2

    try:
        found = score(channels, [l1, l2, gm, bn_scale])
    except CriterionError:
        return score(channels, [l1, l2, gm])
    return {name: scores for name, scores in found.items() if not scores.left_out}


def sensitivity(channels: ChannelMap, data: Split) -> list[dict[str, Any]]:
    """Test accuracy without the filters of one group that are lowest by l1, as rows by group.

    Zeroed, nothing re-estimated; `whole` is the accuracy of the whole network. It describes: no cut
    of a study looks at it.

    Reference: Li et al. 2017 (1608.08710) section 3.2.
    """
    from secateur.criteria.score import score
    from secateur.criteria.weight import l1
    from secateur.train.evaluate import evaluate
    from secateur.train.sensitivity import measure_sensitivity

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, data.x_test, data.y_test).accuracy

    found = measure_sensitivity(channels, score(channels, [l1])["l1"], accuracy)
    return [{"whole": found.whole, **asdict(curve)} for curve in found.curves]


def load_network(cell: BaseCell, data: Split, file: Path) -> nn.Module:
    """A network of this cell, cut or not, from its file."""
    from secateur.surgery.package import load

    return load(file, lambda: build(cell, data.n_classes))


def training_of(settings: TrainingPart) -> Training:
    """A recipe's settings as the trainer takes them."""
    from secateur.train.schedule import Training

    return Training(**settings.model_dump(include=set(TrainingPart.model_fields)))


def augment_of(chosen: tuple[Augmentation, ...], data: Split) -> dict[str, Any]:
    """What the trainer is to do to inputs, and to inputs and targets, as its keyword arguments."""
    from secateur.scenes.chain import chain

    augment, mix = chain(by_name(chosen), data.n_classes, data.per_db)
    return {"augment": augment, "mix": mix}


def _penalty(
    cell: BaseCell, model: nn.Module, channels: ChannelMap, training: Training, n_examples: int
) -> tuple[float, Penalty | None]:
    """The penalty's strength per step (lambda) and the penalty; none for a dense network."""
    from secateur.train.penalties import PENALTIES
    from secateur.train.shrink import strength_for_shrink

    if cell.total_shrink == 0:
        return 0.0, None
    penalty = PENALTIES[cell.penalty](1.0, channels, cell.ramp)
    strength = strength_for_shrink(
        cell.total_shrink * penalty.distance(dict(model.named_parameters())),
        training,
        n_examples,
        cell.ramp,
        proximal=penalty.proximal,
    )
    return strength, replace(penalty, strength=strength)
