"""Plan, prove, and plan again without what the network's code cannot follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.rules import RULES
from secateur.channels.trace import Example, channel_map, record
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import reached
from secateur.surgery.prove import settled


def plan_that_fits(
    model: nn.Module,
    example_input: Example,
    budget: Budget,
    select: Callable[[ChannelMap, Budget], PruningPlan],
) -> PruningPlan:
    """A plan that meets a budget and is proved; what is held back, other groups make up for.

    `select` makes a plan of a channel map and a budget. Groups that the proof holds back are
    ignored and the rest is planned again, until nothing is held back.

    Raises:
        BudgetError: the budget cannot be met, at all or without the groups that are held back.
    """
    run = record(model, example_input, RULES)
    channels = channel_map(run)
    held: dict[str, str] = {}
    for _ in range(len(channels.groups) + 1):
        left = replace(budget, ignore=(*budget.ignore, *held))
        try:
            plan = select(channels, left)
        except BudgetError as error:
            if not held:
                raise
            name, why = next(iter(held.items()))
            raise BudgetError(
                f"{error}. {len(held)} groups do not fit the network's code once they are cut, "
                f"{name!r} first: {why}"
            ) from error
        plan = settled(model, plan, example_input, run, channels)
        if not plan.held_back:
            break
        held |= plan.held_back
    return replace(
        plan,
        held_back=held,
        limited={name: why for name, why in plan.limited.items() if name not in held},
        reached=reached(channels, budget, plan.remove),
    )
