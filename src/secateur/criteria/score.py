"""Apply criteria to a network: filters first, then one score a coupled channel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap, Layer
from secateur.criteria.base import Criterion, filter_matrix
from secateur.criteria.scores import Reduction, Scores
from secateur.errors import CriterionError, unknown_name

Values = NDArray[np.float64]

REDUCTIONS: Mapping[Reduction, Callable[[Values], Values]] = {
    "sum": lambda layers: layers.sum(0),
    "mean": lambda layers: layers.mean(0),
    "max": lambda layers: layers.max(0),
    "first": lambda layers: layers[0],
}
"""How the scores of coupled filters, (n_layers, n_channels), become one a channel."""


def score(
    model: nn.Module,
    channels: ChannelMap,
    criteria: Sequence[Criterion],
    *,
    reduction: Reduction = "sum",
    seed: int = 0,
) -> dict[str, Scores]:
    """Score every convolution's filters and every group's channels under each criterion.

    A criterion that needs nothing (the random control) draws for channels anew, so that coupled
    channels are as likely to go as others.

    Raises:
        CriterionError: a weight is not finite, or a criterion lacks what it needs.
    """
    if reduction not in REDUCTIONS:
        raise CriterionError(unknown_name("reduction", str(reduction), REDUCTIONS))
    for criterion in criteria:
        if not isinstance(criterion, Criterion):
            raise CriterionError(
                f"{criterion!r} is not a criterion; pass an object such as secateur.l1 "
                "(names are for the command line and recipes)"
            )
    named = dict(model.named_parameters())
    _check_finite(named)
    prunable = {m.parameter for g in channels.groups for m in g.members if m.role == "out"}
    layers = [
        layer
        for weight, layer in channels.by_weight.items()
        if layer.kind != "linear" or weight in prunable
    ]
    matrices = {}
    if any(criterion.needs == "filters" for criterion in criteria):
        matrices = {la.name: filter_matrix(named[la.weight], la.out_dim) for la in layers}
    return {
        criterion.name: _scores(criterion, layers, matrices, named, channels, reduction, seed)
        for criterion in criteria
    }


def _scores(
    criterion: Criterion,
    layers: Sequence[Layer],
    matrices: Mapping[str, Tensor],
    named: Mapping[str, Tensor],
    channels: ChannelMap,
    reduction: Reduction,
    seed: int,
) -> Scores:
    filters: dict[str, Values] = {}
    for layer in layers:
        match criterion.needs:
            case "filters":
                value = criterion.formula(matrices[layer.name])
            case "bn_scale":
                scale = named.get(f"{layer.norm}.weight") if layer.norm else None
                if scale is None:
                    continue
                value = criterion.formula(scale.detach().to("cpu", torch.float64))
            case "nothing":
                n_filters = channels.shapes[layer.weight][layer.out_dim]
                value = criterion.formula(n_filters, _generator(seed, layer.name))
        filters[layer.name] = value.numpy().astype(np.float64)
    by_weight = {layer.weight: layer.name for layer in layers}
    groups = {
        group.name: criterion.formula(
            group.n_channels, _generator(seed, f"group {group.name}")
        ).numpy()
        if criterion.needs == "nothing"
        else _group_score(criterion, group, filters, by_weight, named, reduction)
        for group in channels.groups
    }
    return Scores(criterion.name, reduction, filters, groups)


def _group_score(
    criterion: Criterion,
    group: ChannelGroup,
    filters: Mapping[str, Values],
    by_weight: Mapping[str, str],
    named: Mapping[str, Tensor],
    reduction: Reduction,
) -> Values:
    parts = [
        filters[by_weight[member.parameter]][member.index].sum(1)
        for member in group.members
        if member.role == "out" and by_weight.get(member.parameter) in filters
    ]
    if not parts and criterion.needs == "bn_scale":
        parts = [
            criterion.formula(named[m.parameter].detach().double()).numpy()[m.index].sum(1)
            for m in group.members
            if m.role == "norm" and m.parameter in named and m.parameter.endswith(".weight")
        ]
    if not parts:
        lacks = "batch norm" if criterion.needs == "bn_scale" else "convolution"
        raise CriterionError(
            f"criterion {criterion.name!r} cannot score group {group.name!r}: it has no {lacks}; "
            "ignore the group or choose another criterion"
        )
    return REDUCTIONS[reduction](np.stack(parts))


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _check_finite(named: Mapping[str, Tensor]) -> None:
    for name, tensor in named.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CriterionError(
                f"parameter {name!r} holds NaN or infinite values; such a network cannot be "
                "scored. Train it again, or start from an earlier checkpoint"
            )
