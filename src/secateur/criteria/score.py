"""Apply criteria to a network: filters first, then one score a coupled channel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.criteria.apply import OF_NORMS, Found, at_sites, generator
from secateur.criteria.base import STREAMED, Criterion, Need, Sums
from secateur.criteria.batches import LossFunction
from secateur.criteria.calibrate import Calibration, calibrate, lacking
from secateur.criteria.scores import Reduction, Scores
from secateur.criteria.sites import Members, Sites, input_site, norm_of
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
    channels: ChannelMap,
    criteria: Sequence[Criterion],
    *,
    calibration: Iterable[Any] | Calibration | None = None,
    loss_fn: LossFunction | None = None,
    reduction: Reduction = "sum",
    members: Members = "producer",
    seed: int = 0,
    device: torch.device | str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Scores]:
    """Score every convolution's filters and every group's channels under each criterion.

    All criteria that need data share one pass over it. A group that a criterion cannot score, as
    `bn_scale` cannot where no batch norm follows, is in its `left_out`; plans leave it alone. A
    criterion that needs nothing (the random control) draws for channels anew, so that coupled
    channels are as likely to go as others.

    Args:
        channels: what `trace` found out about the network.
        criteria: objects such as `secateur.l1`; all are computed together.
        calibration: batches (input, target), or inputs alone where no criterion needs gradients;
            or what `calibrate` made of them, perhaps in several parts put together by `merge`.
        loss_fn: `loss_fn(output, target)`, one number a batch.
        reduction: how the scores of coupled filters become one a channel.
        members: "producer" scores the filters that make a channel; "all" also the weights that
            read it, where the criterion is one of weights or their gradients.
        seed: of criteria that draw.
        device: where batches are moved to first.
        on_progress: called with the number of batches done, after each.

    Raises:
        CriterionError: a weight is not finite, a criterion lacks what it needs or can score no
            group, or the calibration or the loss is of no use.
        ChannelMapError: the map knows no network, or one of other shapes.
    """
    check_criteria(criteria)
    if reduction not in REDUCTIONS:
        raise CriterionError(unknown_name("reduction", str(reduction), REDUCTIONS))
    if members not in ("producer", "all"):
        raise CriterionError(unknown_name("members", str(members), ("producer", "all")))
    named = dict(channels.network.named_parameters())
    check_finite(named)
    sites = Sites(channels, members)
    sums: Mapping[str, Mapping[str, Sums]] = {}
    if streamed := [criterion for criterion in criteria if criterion.update is not None]:
        if calibration is None:
            raise lacking(streamed[0])
        if not isinstance(calibration, Calibration):
            calibration = calibrate(
                channels,
                streamed,
                calibration,
                loss_fn=loss_fn,
                members=members,
                device=device,
                on_progress=on_progress,
            )
        _check_made_for(calibration, channels, members)
        sums = calibration.sums
        for criterion in streamed:
            if criterion not in calibration.criteria:
                raise CriterionError(
                    f"the calibration was made without criterion {criterion.name!r}; make it with "
                    "all criteria that are scored"
                )
    found = at_sites(criteria, sites, named, sums, seed)
    sizes = sites.sizes()
    return {
        criterion.name: _scores(criterion, sites, found[criterion.name], reduction, seed, sizes)
        for criterion in criteria
    }


def _scores(
    criterion: Criterion,
    sites: Sites,
    found: Found,
    reduction: Reduction,
    seed: int,
    sizes: Mapping[str, int],
) -> Scores:
    groups, left_out = _of_groups(criterion, sites, found, reduction, seed)
    constant = _constant(found.filters)
    scores = Scores(criterion.name, reduction, found.filters, groups, sizes, constant, left_out)
    if left_out and not groups:
        scores.of(next(iter(left_out)))
    return scores


def _check_made_for(calibration: Calibration, channels: ChannelMap, members: Members) -> None:
    if calibration.fingerprint != channels.fingerprint:
        raise CriterionError(
            f"the calibration was made for network {calibration.fingerprint[:12]}, this one is "
            f"{channels.fingerprint[:12]}; calibrate this network"
        )
    if calibration.members != members:
        raise CriterionError(
            f"the calibration was made with members {calibration.members!r}, not {members!r}; "
            "give calibrate and score the same"
        )


def check_criteria(criteria: Sequence[Criterion]) -> None:
    """Refuse what is not a criterion or not a whole one, and two of one name.

    Raises:
        CriterionError: naming it.
    """
    if isinstance(criteria, Criterion):
        raise CriterionError(f"criteria is a list; write [{criteria.name}]")
    for criterion in criteria:
        if not isinstance(criterion, Criterion):
            raise CriterionError(
                f"{criterion!r} is not a criterion; pass an object such as secateur.l1 "
                "(names are for the command line and recipes)"
            )
        if criterion.needs not in get_args(Need):
            text = unknown_name("need", str(criterion.needs), get_args(Need))
            raise CriterionError(f"criterion {criterion.name!r}: {text}")
        if criterion.needs in STREAMED and criterion.update is None:
            raise CriterionError(
                f"criterion {criterion.name!r} needs {criterion.needs} and has no update; give it "
                "update(sums | None, batch) -> sums"
            )
    names = [criterion.name for criterion in criteria]
    for name in names:
        if names.count(name) > 1:
            raise CriterionError(f"criterion {name!r} is given twice; give each once")


def _of_groups(
    criterion: Criterion, sites: Sites, found: Found, reduction: Reduction, seed: int
) -> tuple[dict[str, Values], dict[str, str]]:
    """The scores of every group; and what those lack that the criterion cannot score."""
    scored: dict[str, Values] = {}
    left_out: dict[str, str] = {}
    for group in sites.channels.groups:
        if criterion.needs == "nothing":
            draw = generator(seed, f"group {group.name}")
            scored[group.name] = criterion.formula(group.n_channels, draw).numpy()
        elif group.name in found.groups:
            scored[group.name] = found.groups[group.name]
        elif criterion.needs != "reads" and (parts := _parts(group, sites, found)):
            scored[group.name] = REDUCTIONS[reduction](np.stack(parts))
        else:
            left_out[group.name] = _lacks(criterion, sites, group)
    return scored, left_out


def _lacks(criterion: Criterion, sites: Sites, group: ChannelGroup) -> str:
    """Why a group has no score, with the line that reads it, where that is known."""
    if criterion.needs in OF_NORMS:
        why = f"{criterion.name} has no batch norm to score here: none follows these channels"
    elif criterion.needs == "reads":
        return (
            f"{criterion.name} has no layer to score here: no convolution or linear layer that was "
            "seen to run reads these channels"
        )
    else:
        seen = " that was seen to run" if criterion.update else ""
        why = (
            f"{criterion.name} has no filter to score here: no convolution or linear layer{seen} "
            "gives these channels out"
        )
    known = sites.channels.by_weight
    readers = [m.parameter for m in group.members if m.role == "in" and m.parameter in known]
    return f"{why}; they are read at {known[readers[0]].source}" if readers else why


def _parts(group: ChannelGroup, sites: Sites, found: Found) -> list[Values]:
    """A score for each channel from every layer that has one, coupled filters summed."""
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
    return parts


def _constant(filters: Mapping[str, Values]) -> tuple[str, ...]:
    """Layers whose filters score the same, but for rounding."""
    return tuple(
        name
        for name, values in filters.items()
        if len(values) > 1 and np.ptp(values) <= 1e-12 * np.abs(values).max()
    )


def check_finite(named: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are not finite.

    Raises:
        CriterionError: naming the first.
    """
    for name, tensor in named.items():
        if tensor.is_meta:
            raise CriterionError(
                f"parameter {name!r} is on the meta device and has no numbers; load the weights"
            )
        # one pass, and a second only where a sum of finite numbers might have overflowed
        if not (torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all()):
            raise CriterionError(
                f"parameter {name!r} holds NaN or infinite values; such a network cannot be "
                "scored. Train it again, or start from an earlier checkpoint"
            )
