"""Apply criteria to a network: filters first, then one score a coupled channel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.criteria.base import Criterion
from secateur.criteria.relation import Pairs
from secateur.criteria.scores import Reduction, Scores
from secateur.criteria.sites import (
    Members,
    Sites,
    filter_rows,
    input_rows,
    input_site,
    norm_of,
    norm_tensor,
)
from secateur.errors import CriterionError, unknown_name

Values = NDArray[np.float64]

REDUCTIONS: Mapping[Reduction, Callable[[Values], Values]] = {
    "sum": lambda layers: layers.sum(0),
    "mean": lambda layers: layers.mean(0),
    "max": lambda layers: layers.max(0),
    "first": lambda layers: layers[0],
}
"""How the scores of coupled filters, (n_layers, n_channels), become one a channel."""

OF_NORMS = {"bn_scale": "weight", "bn_shift": "bias", "gate_gradients": "weight"}
"""Needs that a batch norm fills, and the parameter without which it cannot."""


def score(
    model: nn.Module,
    channels: ChannelMap,
    criteria: Sequence[Criterion],
    *,
    reduction: Reduction = "sum",
    members: Members = "producer",
    seed: int = 0,
) -> dict[str, Scores]:
    """Score every convolution's filters and every group's channels under each criterion.

    A criterion that needs nothing (the random control) draws for channels anew, so that coupled
    channels are as likely to go as others.

    Args:
        model: the network that `channels` was traced from.
        channels: its channel map.
        criteria: objects such as `secateur.l1`; all are computed together.
        reduction: how the scores of coupled filters become one a channel.
        members: "producer" scores the filters that make a channel; "all" also the weights that
            read it, where the criterion is one of weights or their gradients.
        seed: of criteria that draw.

    Raises:
        CriterionError: a weight is not finite, or a criterion lacks what it needs.
    """
    check_criteria(criteria)
    if reduction not in REDUCTIONS:
        raise CriterionError(unknown_name("reduction", str(reduction), REDUCTIONS))
    if members not in ("producer", "all"):
        raise CriterionError(unknown_name("members", str(members), ("producer", "all")))
    named = dict(model.named_parameters())
    _check_finite(named)
    sites = Sites(channels, members)
    found = _at_sites(criteria, sites, named, seed)
    sizes = sites.sizes()
    return {
        criterion.name: Scores(
            criterion.name,
            reduction,
            found[criterion.name].filters,
            _of_groups(criterion, sites, found[criterion.name], reduction, seed),
            sizes,
            _constant(found[criterion.name].filters),
        )
        for criterion in criteria
    }


def check_criteria(criteria: Sequence[Criterion]) -> None:
    """Refuse what is not a criterion, and two of one name.

    Raises:
        CriterionError: naming it.
    """
    for criterion in criteria:
        if not isinstance(criterion, Criterion):
            raise CriterionError(
                f"{criterion!r} is not a criterion; pass an object such as secateur.l1 "
                "(names are for the command line and recipes)"
            )
    names = [criterion.name for criterion in criteria]
    for name in names:
        if names.count(name) > 1:
            raise CriterionError(f"criterion {name!r} is given twice; give each once")


@dataclass(frozen=True)
class _Found:
    """One criterion's scores by site: filters of layers, norms, inputs of weights."""

    filters: dict[str, Values]
    norms: dict[str, Values]
    inputs: dict[str, Values]


def _at_sites(
    criteria: Sequence[Criterion], sites: Sites, named: Mapping[str, Tensor], seed: int
) -> dict[str, _Found]:
    """Every criterion at every site, one site after another, so that one matrix is held."""
    found = {criterion.name: _Found({}, {}, {}) for criterion in criteria}
    for norm in sites.norms:
        for criterion in criteria:
            if criterion.needs in OF_NORMS:
                tensor = norm_tensor(named, norm, OF_NORMS[criterion.needs])
                if tensor is not None:
                    into = found[criterion.name].norms
                    into[norm] = _checked(criterion, norm, criterion.formula(tensor), len(tensor))
    of_weights = [criterion for criterion in criteria if criterion.needs in ("filters", "pairs")]
    for name, layer in sites.layers.items():
        n_filters = sites.channels.shapes[layer.weight][layer.out_dim]
        matrix = _float64(filter_rows(layer, named[layer.weight])) if of_weights else None
        for criterion, value in _of_matrix(of_weights, matrix):
            found[criterion.name].filters[name] = _checked(criterion, name, value, n_filters)
        for criterion in criteria:
            into = found[criterion.name].filters
            if criterion.needs == "nothing":
                value = criterion.formula(n_filters, _generator(seed, name))
                into[name] = _checked(criterion, name, value, n_filters)
            elif criterion.needs in OF_NORMS and layer.norm in found[criterion.name].norms:
                into[name] = found[criterion.name].norms[layer.norm]
    for site, member in sites.inputs.items():
        matrix = _float64(input_rows(member, named[member.parameter])) if of_weights else None
        for criterion, value in _of_matrix(of_weights, matrix):
            checked = _checked(criterion, site, value, len(member.index))
            found[criterion.name].inputs[site] = checked
    return found


def _of_matrix(
    criteria: Sequence[Criterion], matrix: Tensor | None
) -> list[tuple[Criterion, Tensor]]:
    if matrix is None:
        return []
    pairs = Pairs(matrix)
    return [
        (criterion, criterion.formula(pairs if criterion.needs == "pairs" else matrix))
        for criterion in criteria
    ]


def _float64(rows: Tensor) -> Tensor:
    return rows.detach().to("cpu", torch.float64)


def _checked(criterion: Criterion, site: str, value: Tensor, n: int) -> Values:
    """One criterion's scores at one site as an array.

    Raises:
        CriterionError: not one finite number a filter.
    """
    if not isinstance(value, Tensor) or value.shape != (n,):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise CriterionError(
            f"criterion {criterion.name!r} gave {got} for {site!r}; "
            f"its formula must return one score a filter, a tensor of shape ({n},)"
        )
    values: Values = value.detach().cpu().numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise CriterionError(
            f"criterion {criterion.name!r} gave NaN or infinite scores for {site!r}; "
            "check its formula on filters of zeros and of one value"
        )
    return values


def _of_groups(
    criterion: Criterion, sites: Sites, found: _Found, reduction: Reduction, seed: int
) -> dict[str, Values]:
    if criterion.needs == "nothing":
        return {
            group.name: criterion.formula(
                group.n_channels, _generator(seed, f"group {group.name}")
            ).numpy()
            for group in sites.channels.groups
        }
    return {
        group.name: _group_score(criterion, group, sites, found, reduction)
        for group in sites.channels.groups
    }


def _group_score(
    criterion: Criterion, group: ChannelGroup, sites: Sites, found: _Found, reduction: Reduction
) -> Values:
    parts = [
        found.filters[sites.layer_of[member.parameter]][member.index].sum(1)
        for member in group.members
        if member.role == "out" and sites.layer_of.get(member.parameter) in found.filters
    ]
    parts += [
        found.inputs[site]
        for member in group.members
        if (site := input_site(group.name, member)) in found.inputs
    ]
    if not parts:
        parts = [
            found.norms[norm][member.index].sum(1)
            for member in group.members
            if (norm := norm_of(member)) in found.norms
        ]
    if not parts:
        lacks = "batch norm" if criterion.needs in OF_NORMS else "convolution"
        raise CriterionError(
            f"criterion {criterion.name!r} cannot score group {group.name!r}: it has no {lacks}; "
            "ignore the group or choose another criterion"
        )
    return REDUCTIONS[reduction](np.stack(parts))


def _constant(filters: Mapping[str, Values]) -> tuple[str, ...]:
    """Layers whose filters score the same, but for rounding."""
    return tuple(
        name
        for name, values in filters.items()
        if len(values) > 1 and np.ptp(values) <= 1e-12 * np.abs(values).max()
    )


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
