"""The penalties by name, for the command line and the recipe reader only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secateur.channels.groups import ChannelMap
from secateur.train.penalty import Penalty
from secateur.train.penalty_filters import (
    DeepHoyer,
    GroupLasso,
    GroupLassoProximal,
    GrowingL2,
    lowest_filters,
    prunable_filters,
)
from secateur.train.penalty_groups import GroupNorm, coupled_groups
from secateur.train.penalty_scales import BnL1, BnL1Proximal, Polarization, prunable_scales

Make = Callable[[float, ChannelMap, float], Penalty]
"""(strength, a network's channels, ramp) -> a penalty on everything that can be pruned."""


def _on(kind: Callable[..., Penalty], chosen: Callable[[ChannelMap], Any]) -> Make:
    """A penalty on what `chosen` finds in the channel map."""
    return lambda strength, channels, ramp: kind(strength, chosen(channels), ramp=ramp)


PENALTIES: dict[str, Make] = {
    "bn_l1": _on(BnL1, prunable_scales),
    "bn_l1_proximal": _on(BnL1Proximal, prunable_scales),
    "polarization": _on(Polarization, prunable_scales),
    "group_lasso": _on(GroupLasso, prunable_filters),
    "group_lasso_proximal": _on(GroupLassoProximal, prunable_filters),
    "deep_hoyer": _on(DeepHoyer, prunable_filters),
    "growing_l2": lambda strength, channels, ramp: GrowingL2(
        strength, lowest_filters(channels), ramp=ramp
    ),
    "group_norm": _on(GroupNorm, coupled_groups),
}
