"""Measure what a network loses when channels of one group are zeroed; nothing is cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, get_args

import numpy as np
from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.criteria.scores import Scores
from secateur.errors import TrainingError, unknown_name
from secateur.plan.room import rounded
from secateur.plan.select import manual
from secateur.plan.sensitivity import Better, Curve, Sensitivity
from secateur.surgery.mask import mask


def measure_sensitivity(
    model: nn.Module,
    channels: ChannelMap,
    scores: Scores,
    evaluate: Callable[[nn.Module], float],
    *,
    ratios: Sequence[float] = (0.25, 0.5, 0.75),
    measure: str = "accuracy",
    better: Better = "higher",
    on_progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Zero the lowest-scored channels of one group at a time and evaluate.

    A zeroed channel equals a removed one wherever nothing mixes channels; `channels.mixing` says
    where something does. Groups that the criterion cannot score are not measured, and are listed.

    Args:
        model: the network; it is left untouched.
        channels: its channel map.
        scores: which channels go first.
        evaluate: what a network is worth, such as its accuracy or loss on held-out data.
        ratios: shares of a group's channels, in (0, 1); to the nearest channel, one stays.
        measure: what `evaluate` gives, in a word.
        better: whether higher or lower values are.
        on_progress: called with evaluations done and in all.

    Raises:
        TrainingError: a ratio or `better` is out of range, or `evaluate` gave no finite number.
    """
    if better not in get_args(Better):
        raise TrainingError(unknown_name("better", str(better), get_args(Better)))
    for ratio in ratios:
        if not 0 < ratio < 1:
            raise TrainingError(f"ratios are shares of a group's channels in (0, 1); got {ratio!r}")
    counts = {
        group.name: sorted(
            {max(1, min(rounded(r * group.n_channels), group.n_channels - 1)) for r in ratios}
        )
        for group in channels.groups
        if group.name not in scores.left_out
    }
    total, done = 1 + sum(map(len, counts.values())), 0

    def value(network: nn.Module, what: str) -> float:
        nonlocal done
        given: Any = evaluate(network)
        try:
            found = float(given)
        except (TypeError, ValueError) as error:
            raise TrainingError(
                f"evaluate gave {given!r} for {what}; it must give a finite number"
            ) from error
        if not isfinite(found):
            raise TrainingError(f"evaluate gave {found} for {what}; it must give a finite number")
        done += 1
        if on_progress is not None:
            on_progress(done, total)
        return found

    whole = value(model, "the whole network")
    curves = []
    for name, numbers in counts.items():
        n, order = channels.by_name[name].n_channels, np.argsort(scores.of(name), kind="stable")
        values = []
        for k in numbers:
            plan = manual(channels, {name: order[:k].tolist()})
            masked = mask(model, plan, channels)
            values.append(value(masked, f"group {name!r} without {k} of {n} channels"))
        curves.append(Curve(name, n, tuple(k / n for k in numbers), tuple(values)))
    not_measured = _not_prunable(channels) | dict(scores.left_out)
    return Sensitivity(measure, better, whole, tuple(curves), not_measured)


def _not_prunable(channels: ChannelMap) -> dict[str, str]:
    """Layers whose filters are pinned, or that have one only, with the reason."""
    pins = {(pinned.parameter, pinned.dim): pinned for pinned in channels.pinned}
    found = {}
    for layer in channels.by_weight.values():
        pinned = pins.get((layer.weight, layer.out_dim))
        if pinned is not None:
            found[layer.name] = f"{pinned.reason}, {pinned.source}"
        elif channels.shapes[layer.weight][layer.out_dim] == 1:
            found[layer.name] = "it has one filter only"
    return found
