"""The penalties by name, for the command line and the recipe reader only."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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

Make = Callable[[float, nn.Module, ChannelMap, float], Penalty]
"""(strength, model, its channels, ramp) -> a penalty on everything that can be pruned."""

PENALTIES: dict[str, Make] = {
    "bn_l1": lambda strength, _, channels, ramp: BnL1(
        strength, prunable_scales(channels), ramp=ramp
    ),
    "bn_l1_proximal": lambda strength, _, channels, ramp: BnL1Proximal(
        strength, prunable_scales(channels), ramp=ramp
    ),
    "polarization": lambda strength, _, channels, ramp: Polarization(
        strength, prunable_scales(channels), ramp=ramp
    ),
    "group_lasso": lambda strength, _, channels, ramp: GroupLasso(
        strength, prunable_filters(channels), ramp=ramp
    ),
    "group_lasso_proximal": lambda strength, _, channels, ramp: GroupLassoProximal(
        strength, prunable_filters(channels), ramp=ramp
    ),
    "deep_hoyer": lambda strength, _, channels, ramp: DeepHoyer(
        strength, prunable_filters(channels), ramp=ramp
    ),
    "growing_l2": lambda strength, model, channels, ramp: GrowingL2(
        strength, lowest_filters(model, channels), ramp=ramp
    ),
    "group_norm": lambda strength, _, channels, ramp: GroupNorm(
        strength, coupled_groups(channels), ramp=ramp
    ),
}
