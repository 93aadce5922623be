"""Selection: scores, channel map and budget in, plan out. Loads no torch.

Channels are taken in one fixed order, lowest score first, ties by group and index; a budget decides
how far along that order to go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur.channels.cost import Cost, cost
from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.criteria.scores import Scores
from secateur.errors import BudgetError, PlanError, unknown_name
from secateur.plan.budget import Budget
from secateur.plan.plan import PruningPlan

Values = NDArray[np.float64]
Normalisation = Literal["none", "mean", "max"]

NORMALISATIONS: Mapping[Normalisation, Callable[[Values], Values]] = {
    "none": lambda scores: scores,
    "mean": lambda scores: scores / (scores.mean() or 1.0),
    "max": lambda scores: scores / (scores.max() or 1.0),
}
"""How the scores of different groups are made comparable before global selection."""


def uniform(scores: Scores, channels: ChannelMap, budget: Budget) -> PruningPlan:
    """Take the same share from every group, lowest scores first.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
    """
    groups = _groups(scores, channels, budget)
    order = {group.name: _ascending(scores.groups[group.name]) for group in groups}

    def remove(share: float) -> dict[str, tuple[int, ...]]:
        taken = {}
        for group in groups:
            n = _rounded(share * group.n_channels)
            n = min(n, group.n_channels - budget.min_channels)
            if n > 0:
                taken[group.name] = tuple(sorted(order[group.name][:n].tolist()))
        return taken

    if budget.pruning_ratio is not None:
        chosen = remove(budget.pruning_ratio)
    else:
        sizes = {group.n_channels for group in groups}
        shares = sorted({0.0} | {k / n for n in sizes for k in np.arange(0.5, n)})
        chosen = _first_within(lambda step: remove(shares[step]), len(shares) - 1, channels, budget)
    return _plan(chosen, groups, channels, budget, f"{scores.criterion}, uniform")


def global_(
    scores: Scores,
    channels: ChannelMap,
    budget: Budget,
    normalisation: Normalisation = "none",
) -> PruningPlan:
    """Sort the channels of all groups together and take the lowest scores.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
    """
    groups = _groups(scores, channels, budget)
    normalise = NORMALISATIONS[normalisation]
    values = [normalise(scores.groups[group.name]) for group in groups]
    flat = np.concatenate(values) if values else np.zeros(0)
    owner = np.repeat(np.arange(len(groups)), [group.n_channels for group in groups])
    index = np.concatenate([np.arange(len(v)) for v in values]) if values else np.zeros(0, int)
    left = np.array([group.n_channels - budget.min_channels for group in groups])
    order = []
    for position in _ascending(flat):
        if left[owner[position]] > 0:
            left[owner[position]] -= 1
            order.append(position)

    def remove(n: int) -> dict[str, tuple[int, ...]]:
        taken: dict[str, list[int]] = {}
        for position in order[:n]:
            taken.setdefault(groups[owner[position]].name, []).append(int(index[position]))
        return {name: tuple(sorted(gone)) for name, gone in taken.items()}

    if budget.pruning_ratio is not None:
        chosen = remove(_rounded(budget.pruning_ratio * len(flat)))
    else:
        chosen = _first_within(remove, len(order), channels, budget)
    how = f"{scores.criterion}, global, normalisation {normalisation}"
    return _plan(chosen, groups, channels, budget, how)


SCOPES = {"uniform": uniform, "global": global_}


def _groups(scores: Scores, channels: ChannelMap, budget: Budget) -> list[ChannelGroup]:
    for name in budget.ignore:
        if name not in channels.by_name:
            raise BudgetError(unknown_name("channel group", name, channels.by_name))
    for group in channels.groups:
        if len(scores.groups.get(group.name, ())) != group.n_channels:
            raise PlanError(
                f"the scores have no {group.n_channels} values for group {group.name!r}; "
                "score this network with this channel map"
            )
    groups = [g for g in channels.groups if g.name not in budget.ignore]
    if not groups and budget.pruning_ratio != 0:
        why = "; ".join(f"{p.parameter} {p.reason}" for p in channels.pinned[:3])
        why = "all are ignored" if channels.groups else why
        raise BudgetError(
            f"no group of channels can be pruned ({why}); "
            "print the channel map to see what is pinned where"
        )
    return groups


def _rounded(n: float) -> int:
    """To the nearest whole number, halves up; a product that misses a half by rounding is one."""
    return int(np.floor(n + 0.5 + 1e-9))


def _ascending(values: Values) -> NDArray[np.int64]:
    if not np.isfinite(values).all():
        raise PlanError("scores hold NaN or infinite values; score a network with finite weights")
    return np.argsort(values, kind="stable")


def _first_within(
    remove: Callable[[int], dict[str, tuple[int, ...]]],
    most: int,
    channels: ChannelMap,
    budget: Budget,
) -> dict[str, tuple[int, ...]]:
    """The smallest removal whose MACs are within the budget."""
    before = cost(channels).macs
    limit = budget.macs_limit(before)
    nearest = cost(channels, remove(most)).macs
    if nearest > limit:
        raise BudgetError(
            f"{limit} MACs cannot be met; the nearest reachable is {nearest} of {before} "
            f"({nearest / before:.1%}). Ask for that, lower min_channels, or ignore fewer groups"
        )
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if cost(channels, remove(middle)).macs <= limit:
            high = middle
        else:
            low = middle + 1
    return remove(low)


def _plan(
    chosen: dict[str, tuple[int, ...]],
    groups: list[ChannelGroup],
    channels: ChannelMap,
    budget: Budget,
    how: str,
) -> PruningPlan:
    before, after = cost(channels), cost(channels, chosen)
    if (
        budget.pruning_ratio
        and before.channels
        and all(group.n_channels <= budget.min_channels for group in groups)
    ):
        raise BudgetError(
            f"no channel can go: min_channels is {budget.min_channels} and the widest group has "
            f"{max(group.n_channels for group in groups)}; lower min_channels"
        )
    asked: dict[str, float] = {}
    if budget.pruning_ratio is not None:
        asked["pruning_ratio"] = budget.pruning_ratio
    else:
        asked["macs"] = budget.macs_limit(before.macs)
    return PruningPlan(
        remove=chosen,
        fingerprint=channels.fingerprint,
        before=before,
        after=after,
        asked=asked,
        reached={
            "pruning_ratio": _share_gone(before, after),
            "macs": after.macs,
            "params": after.params,
        },
        how=how,
        held_back={},
    )


def _share_gone(before: Cost, after: Cost) -> float:
    return 1 - after.channels / before.channels if before.channels else 0.0
