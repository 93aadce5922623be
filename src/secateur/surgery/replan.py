"""Plan, prove, and plan again without what the network's code cannot follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.trace import Example, recorded
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import asked, limits, reached, spent
from secateur.surgery.prove import settled


def plan_that_fits(
    model: nn.Module,
    example_input: Example,
    budget: Budget,
    select: Callable[[ChannelMap, Budget], PruningPlan],
    *,
    channels: ChannelMap | None = None,
) -> PruningPlan:
    """A plan that meets a budget and is proved; what is held back, other groups make up for.

    `select` makes a plan of a channel map and a budget. Groups that the proof holds back are
    ignored and the rest is planned again, until nothing is held back; where channels stay so that
    sizes in the network's code fit, the rest is planned to a tighter budget. Where that meets no
    budget, groups that were held back in one plan may yet be cut in a tighter one, as those are of
    which as many channels must go as of another.

    `channels`, the map that `trace` made of this network, spares tracing it again and brings the
    rules it was traced by.

    Raises:
        BudgetError: the budget cannot be met, at all or without the groups that are held back.
    """
    run, channels = recorded(model, example_input, channels)

    def proved(plan: PruningPlan) -> PruningPlan:
        return settled(model, plan, example_input, run, channels).plan

    try:
        return _planned(channels, budget, select, proved, ignoring=True)
    except BudgetError as error:
        if not limits(channels, budget):  # a share of channels: there is nothing to tighten
            raise
        try:
            return _planned(channels, budget, select, proved, ignoring=False)
        except BudgetError:
            raise error from None


def _planned(
    channels: ChannelMap,
    budget: Budget,
    select: Callable[[ChannelMap, Budget], PruningPlan],
    proved: Callable[[PruningPlan], PruningPlan],
    *,
    ignoring: bool,
) -> PruningPlan:
    """Select and prove until the budget is met: ignoring what is held back, or only tightening."""
    held: dict[str, str] = {}
    tight = budget
    for _ in range(len(channels.groups) * ignoring + _TRIES):
        try:
            plan = select(channels, replace(tight, ignore=(*budget.ignore, *held)))
        except BudgetError as error:
            if held:
                name, why = next(iter(held.items()))
                raise BudgetError(
                    f"{error}. Of the ignored groups {len(held)} do not fit the network's code "
                    f"once they are cut, {name!r} first: {why}"
                ) from error
            if tight is not budget:
                raise BudgetError(f"{error}. {_TIGHT}") from error
            raise
        chosen, unscored = spent(channels, budget, plan.remove), plan.held_back
        plan = proved(plan)
        new = {name: why for name, why in plan.held_back.items() if name not in unscored}
        if new and ignoring:
            held |= new
            continue
        now = spent(channels, budget, plan.remove)
        over = {name: most / now[name] for name, (most, _) in limits(channels, budget).items()}
        if all(share >= 1 for share in over.values()):
            break
        tight = _tighter(tight, channels, over, chosen)
    else:
        raise BudgetError(f"no plan within the budget was found. {_TIGHT}")
    held |= plan.held_back
    return replace(
        plan,
        held_back=held,
        limited={name: why for name, why in plan.limited.items() if name not in held},
        asked=asked(channels, budget),
        reached=reached(channels, budget, plan.remove),
    )


_TRIES = 12
"""Rounds in which a budget is tightened for channels that stay so that sizes fit."""

_TIGHT = (
    "Some channels stay so that sizes in the network's code fit, which asked for a tighter budget "
    "elsewhere; ask for more, or plan from Python with secateur.settle and take what it reaches"
)


def _tighter(
    budget: Budget, channels: ChannelMap, shares: Mapping[str, float], chosen: Mapping[str, float]
) -> Budget:
    """A budget whose limits are lower by these shares, where they are below 1.

    They are below what was chosen last, or the same would be chosen again.
    """
    changed: dict[str, Any] = {}
    for name, (most, _) in limits(channels, budget).items():
        if (share := shares[name]) < 1:
            key, _, dtype = name.partition("_") if name.startswith("bytes_") else (name, "", "")
            number = max(1, int(min(most * share, chosen[name])) - 1)
            changed[key] = f"{number}@{dtype}" if dtype else number
            if name == "latency_ms":
                changed[key] = min(most * share, math.nextafter(chosen[name], 0))
    return replace(budget, **changed)
