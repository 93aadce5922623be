"""Every criterion at every place that it scores, before channels are made of filters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.criteria.base import Criterion, Sums
from secateur.criteria.compensated import readings_of
from secateur.criteria.relation import Pairs
from secateur.criteria.sites import Sites, filter_rows, input_rows
from secateur.errors import CriterionError, brief

Values = NDArray[np.float64]

OF_NORMS = ("bn_scale", "bn_shift", "gate_gradients")
"""Needs that a batch norm fills: the layer in front of it has its scores."""


@dataclass(frozen=True)
class Found:
    """One criterion's scores by site: filters of layers, norms, weights that read channels.

    `groups` are those of a criterion that scores channels, of which filters then have theirs.
    """

    filters: dict[str, Values]
    norms: dict[str, Values]
    inputs: dict[str, Values]
    groups: dict[str, Values] = field(default_factory=dict)


def at_sites(
    criteria: Sequence[Criterion],
    sites: Sites,
    named: Mapping[str, Tensor],
    sums: Mapping[str, Mapping[str, Sums]],
    seed: int,
) -> dict[str, Found]:
    """Scores of all criteria, one site after another, so that one layer's matrix is held.

    `sums` are those of the streamed criteria, by name and site.
    """
    found = {criterion.name: Found({}, {}, {}) for criterion in criteria}
    of_weights = [criterion for criterion in criteria if criterion.needs in ("filters", "pairs")]
    if of_weights:
        _of_weights(of_weights, sites, named, found)
    for criterion in criteria:
        own = found[criterion.name]
        if criterion.needs == "nothing":
            _drawn(criterion, sites, seed, own)
        elif criterion.needs == "reads":
            _of_reads(criterion, sites, sums[criterion.name], own)
        elif criterion.update is not None:
            _of_sums(criterion, sites, sums[criterion.name], own)
        elif criterion.needs in OF_NORMS:
            _of_norms(criterion, sites, named, own)
        if criterion.needs in OF_NORMS:
            for name, layer in sites.layers.items():
                if layer.norm in own.norms:
                    own.filters[name] = own.norms[layer.norm]
        if criterion.shares:
            found[criterion.name] = _shares(own)
    return found


def _of_weights(
    criteria: Sequence[Criterion],
    sites: Sites,
    named: Mapping[str, Tensor],
    found: Mapping[str, Found],
) -> None:
    room = _Room()
    for name, layer in sites.layers.items():
        rows = filter_rows(layer, named[layer.weight])
        for criterion, value in room.scored(criteria, rows, name):
            found[criterion.name].filters[name] = checked(criterion, name, value, len(rows))
    for site, member in sites.inputs.items():
        rows = input_rows(member, named[member.parameter])
        for criterion, value in room.scored(criteria, rows, site):
            found[criterion.name].inputs[site] = checked(criterion, site, value, len(rows))


def _drawn(criterion: Criterion, sites: Sites, seed: int, own: Found) -> None:
    for name in sites.layers:
        n_filters = sites.n_filters(name)
        value = worked_out(criterion, name, n_filters, generator(seed, name))
        own.filters[name] = checked(criterion, name, value, n_filters)


def _of_norms(criterion: Criterion, sites: Sites, named: Mapping[str, Tensor], own: Found) -> None:
    leaf = "weight" if criterion.needs == "bn_scale" else "bias"
    for norm in sites.norms:
        if (tensor := named.get(f"{norm}.{leaf}")) is not None:
            numbers = tensor.detach().to("cpu", torch.float64)
            value = worked_out(criterion, norm, numbers)
            own.norms[norm] = checked(criterion, norm, value, len(tensor))


_PART = 2**18
"""Numbers that are turned into float64 at a time where filters may come in parts: 2 MB."""


class _Room:
    """Memory for one layer's filters in float64, used again for the next.

    New memory for every layer, or more than a processor's cache holds, takes longer than the norms.
    """

    def __init__(self) -> None:
        self._numbers = torch.empty(0, dtype=torch.float64)

    def scored(
        self, criteria: Sequence[Criterion], rows: Tensor, site: str
    ) -> Iterator[tuple[Criterion, Tensor]]:
        """The criteria, and what each gives for a layer's filters, (n, d) -> (n,)."""
        if all(criterion.by_row for criterion in criteria):
            parts = torch.split(rows, max(1, _PART // max(1, rows.shape[1])))
            found = [
                [worked_out(one, site, part) for one in criteria] for part in map(self._put, parts)
            ]
            yield from zip(criteria, map(torch.cat, zip(*found, strict=True)), strict=True)
            return
        matrix = self._put(rows)
        pairs = Pairs(matrix)
        for criterion in criteria:
            given = pairs if criterion.needs == "pairs" else matrix
            yield criterion, worked_out(criterion, site, given)

    def _put(self, rows: Tensor) -> Tensor:
        """The numbers in float64; they stand until the next call."""
        if self._numbers.numel() < rows.numel():
            self._numbers = torch.empty(rows.numel(), dtype=torch.float64)
        return self._numbers[: rows.numel()].view(rows.shape).copy_(rows.detach())


def _of_sums(criterion: Criterion, sites: Sites, sums: Mapping[str, Sums], own: Found) -> None:
    for site, known in sums.items():
        value = worked_out(criterion, site, known)
        if site in sites.layers:
            own.filters[site] = checked(criterion, site, value, sites.n_filters(site))
        elif site in sites.inputs:
            n_channels = len(sites.inputs[site].index)
            own.inputs[site] = checked(criterion, site, value, n_channels)
        elif site in sites.norms:
            n_channels = sites.channels.shapes[f"{site}.weight"][0]
            own.norms[site] = checked(criterion, site, value, n_channels)


def _of_reads(criterion: Criterion, sites: Sites, sums: Mapping[str, Sums], own: Found) -> None:
    """Scores of groups, and of the layers whose filters all make channels of them."""
    filters: dict[str, Values] = {}
    for group in sites.channels.groups:
        if not (readings := readings_of(group.name, sites, sums)):
            continue
        value = worked_out(criterion, group.name, readings)
        own.groups[group.name] = checked(criterion, group.name, value, group.n_channels)
        for member in group.members:
            if member.role == "out" and (name := sites.layer_of.get(member.parameter)):
                of_layer = filters.setdefault(name, np.full(sites.n_filters(name), np.nan))
                of_layer[member.index] = own.groups[group.name][:, None]
    own.filters.update({n: values for n, values in filters.items() if np.isfinite(values).all()})


def _shares(own: Found) -> Found:
    """Scores over their sum over the filters of the network."""
    total = sum(float(values.sum()) for values in own.filters.values()) or 1.0
    parts = (own.filters, own.norms, own.inputs)
    return Found(*({site: values / total for site, values in part.items()} for part in parts))


def worked_out(criterion: Criterion, site: str, *given: Any) -> Tensor:
    """What a criterion's formula gives for one site.

    Raises:
        CriterionError: the formula failed.
    """
    try:
        return criterion.formula(*given)
    except Exception as error:
        raise CriterionError(
            f"the formula of criterion {criterion.name!r} failed for {site!r}: {brief(error)}; "
            "secateur.testing.check_criterion tries it on a small network"
        ) from error


def checked(criterion: Criterion, site: str, value: Tensor, n: int) -> Values:
    """One criterion's scores at one site as an array, (n,).

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
        cause = "check its formula on filters of zeros and of one value"
        if criterion.update is not None:
            cause = "the calibration gave gradients or activations there that are not finite"
        raise CriterionError(
            f"criterion {criterion.name!r} gave NaN or infinite scores for {site!r}; {cause}"
        )
    return values


def generator(seed: int, name: str) -> torch.Generator:
    """The source of a place's random numbers."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
