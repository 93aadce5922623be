"""Plan to a budget, prove, and plan again without what the network's code cannot follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import nn

from secateur.channels.groups import ChannelMap
from secateur.channels.run import Run
from secateur.channels.trace import Example
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import asked, limits, reached, spent
from secateur.surgery.in_turn import lined_up, settled
from secateur.surgery.prove import Proof, Settled

Selection = Callable[[ChannelMap, Budget], PruningPlan]
"""Makes a plan of a channel map and a budget: a scope with its scores."""


def settled_to_budget(
    model: nn.Module,
    example_input: Example,
    budget: Budget,
    select: Selection,
    run: Run,
    channels: ChannelMap,
) -> Settled:
    """A plan that meets a budget, the network cut by it, and how it was verified.

    Raises:
        BudgetError: the budget cannot be met, at all or without the groups that are held back.
    """
    proof = Proof(model, example_input, run, channels)

    def verified(plan: PruningPlan) -> Settled:
        return settled(model, plan, example_input, run, channels, lines_up=True)

    given = channels, budget, select, partial(lined_up, proof), verified
    try:
        return _Search(*given, ignoring=True).found()
    except BudgetError as error:
        if not limits(channels, budget):  # a share of channels: there is nothing to tighten
            raise
        try:
            return _Search(*given, ignoring=False).found()
        except BudgetError:
            raise error from None


Proved = Callable[[PruningPlan], PruningPlan]
Verified = Callable[[PruningPlan], Settled]


@dataclass
class _Search:
    """Select and prove until a budget is met: ignoring what is held back, or only tightening.

    `proved` gives the part of a plan that lines up, `verified` the part that also computes what it
    should, and the network cut by it, which is asked of what is given in the end.
    """

    channels: ChannelMap
    budget: Budget
    select: Selection
    proved: Proved
    verified: Verified
    ignoring: bool
    held: dict[str, str] = field(default_factory=dict)

    def found(self) -> Settled:
        """The plan, cut and verified.

        Raises:
            BudgetError: none was found.
        """
        loose = tight = self.budget
        for _ in range(len(self.channels.groups) * self.ignoring + _TRIES):
            plan, chosen = self._selected(tight, self.proved)
            if plan is None:
                continue
            if self._used(plan) <= 1:
                closer = self._closer(plan, tight, loose)
                cut = self.verified(closer)
                if self._without_new(closer, cut.plan) is None:
                    continue
                if self._used(cut.plan) <= 1:
                    return replace(cut, plan=self._stated(cut.plan))
                plan, chosen = cut.plan, spent(self.channels, self.budget, closer.remove)
            loose, tight = tight, self._tighter(tight, plan, chosen)
        raise BudgetError(f"no plan within the budget was found. {_TIGHT}")

    def _selected(
        self, budget: Budget, proved: Proved
    ) -> tuple[PruningPlan | None, Mapping[str, float]]:
        """What is selected, proved, and what it would have cost; None if more is to be ignored."""
        try:
            plan = self.select(
                self.channels, replace(budget, ignore=(*self.budget.ignore, *self.held))
            )
        except BudgetError as error:
            if self.held:
                name, why = next(iter(self.held.items()))
                raise BudgetError(
                    f"{error}. Of the ignored groups {len(self.held)} do not fit the network's "
                    f"code once they are cut, {name!r} first: {why}"
                ) from error
            if budget is not self.budget:
                raise BudgetError(f"{error}. {_TIGHT}") from error
            raise
        chosen = spent(self.channels, self.budget, plan.remove)
        return self._without_new(plan, proved(plan)), chosen

    def _without_new(self, before: PruningPlan, plan: PruningPlan) -> PruningPlan | None:
        new = {n: why for n, why in plan.held_back.items() if n not in before.held_back}
        if new and self.ignoring:
            self.held |= new
            return None
        return plan

    def _used(self, plan: PruningPlan) -> float:
        """What of the budget a plan uses: above 1, more than there is."""
        now = spent(self.channels, self.budget, plan.remove)
        most = limits(self.channels, self.budget)
        return max((now[name] / at_most for name, (at_most, _) in most.items()), default=1.0)

    def _closer(self, plan: PruningPlan, tight: Budget, loose: Budget) -> PruningPlan:
        """Of budgets between one that is met and one that is not, the plan that uses most."""
        for _ in range(_HALVINGS if tight is not self.budget else 0):
            middle = _between(tight, loose, self.channels)
            if middle in (tight, loose):
                break
            held = dict(self.held)
            try:
                tried = self._selected(middle, self.proved)[0]
            except BudgetError:
                tried = None
            self.held = held  # what does not fit in this one may fit in others
            if tried is None or (used := self._used(tried)) > 1:
                loose = middle
                continue
            tight = middle
            plan = tried if used > self._used(plan) else plan
        return plan

    def _tighter(self, budget: Budget, plan: PruningPlan, chosen: Mapping[str, float]) -> Budget:
        """A budget that is lower by what a plan spent too much, and lower than what was chosen."""
        now = spent(self.channels, self.budget, plan.remove)
        asked_for = limits(self.channels, self.budget)
        numbers: dict[str, float] = {}
        for name, (most, _) in limits(self.channels, budget).items():
            if (share := asked_for[name][0] / now[name]) < 1:
                lower = min(most * share, chosen[name])
                whole = name != "latency_ms"
                numbers[name] = (
                    max(1, int(lower) - 1)
                    if whole
                    else min(most * share, math.nextafter(chosen[name], 0))
                )
        return _limited(budget, numbers)

    def _stated(self, plan: PruningPlan) -> PruningPlan:
        held = {**self.held, **plan.held_back}
        return replace(
            plan,
            held_back=held,
            limited={name: why for name, why in plan.limited.items() if name not in held},
            asked=asked(self.channels, self.budget),
            reached=reached(self.channels, self.budget, plan.remove),
        )


_TRIES = 12
"""Rounds in which a budget is tightened for channels that stay so that sizes fit."""

_HALVINGS = 8
"""How often the way from a budget that is met to one that is not is halved."""

_TIGHT = (
    "Some channels stay so that sizes in the network's code fit, which asked for a tighter budget "
    "elsewhere; ask for more, or make a plan of your own and take what secateur.cut reaches"
)


def _limited(budget: Budget, numbers: Mapping[str, float]) -> Budget:
    """A budget with other limits, by the names that `reach.limits` gives them."""
    changed: dict[str, Any] = {}
    for name, number in numbers.items():
        key, _, dtype = name.partition("_") if name.startswith("bytes_") else (name, "", "")
        changed[key] = f"{int(number)}@{dtype}" if dtype else number
    return replace(budget, **changed)


def _between(tight: Budget, loose: Budget, channels: ChannelMap) -> Budget:
    """A budget half way."""
    low, high = limits(channels, tight), limits(channels, loose)
    halves = {name: (low[name][0] + high[name][0]) / 2 for name in low if low[name] != high[name]}
    whole = {name: n if name == "latency_ms" else int(n) for name, n in halves.items()}
    return _limited(tight, whole)
