"""Where channels go that are missed least: an error forecast for every group, traded for its cost.

Loads no torch.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from secateur.channels.cost import Removal
from secateur.channels.groups import ChannelMap
from secateur.criteria.scores import Scores
from secateur.plan.budget import Budget
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import check_reach, limits, spent
from secateur.plan.room import Room, limited, rooms, rounded
from secateur.plan.select import planned

Values = NDArray[np.float64]
Counts = dict[str, int]

STEPS = 64
"""Of a group at most so many counts are looked at; the last step then goes by single channels."""


@dataclass(frozen=True)
class Damage:
    """What a repaired network is forecast to lack without some channels.

    Attributes:
        squares: by group, for 0 to all of its channels gone, lowest scores first, the square of the
            relative error of the network's outputs, (n_channels + 1,).
        left_out: groups of which nothing could be forecast, and why.
    """

    squares: Mapping[str, Values]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def forecast(self, remove: Removal) -> float:
        """Relative root mean square error of the outputs, as if errors of groups were independent.

        >>> Damage({"a": np.array([0.0, 9.0]), "b": np.array([0.0, 16.0])}).forecast(
        ...     {"a": (0,), "b": (0,)}
        ... )
        5.0
        """
        return sqrt(sum(float(self.squares[n][len(gone)]) for n, gone in remove.items()))


def balanced(scores: Scores, damage: Damage, channels: ChannelMap, budget: Budget) -> PruningPlan:
    """Take channels where the forecast error rises least for what their removal saves.

    Within a group the lowest scores go first. Of every group's squared errors the lower convex hull
    counts, so that what the next channel of a group costs never falls; one step at a time is taken
    where it costs least for what is saved then, until the budget is met, and what was taken too
    much is given back. Groups without a score or a forecast are left alone and stand in
    `held_back`.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
    """
    left_out = {**damage.left_out, **scores.left_out}
    found = rooms(channels, budget, left_out)
    check_reach(channels, budget, left_out)
    search = _Search(channels, budget, found, damage)
    taken = search.taken()
    order = {name: np.argsort(scores.of(name), kind="stable") for name, n in taken.items() if n}
    remove = {name: tuple(sorted(order[name][: taken[name]].tolist())) for name in order}
    how = f"{scores.criterion}, balanced, forecast error {damage.forecast(remove):.3g}"
    given = channels, budget, found, remove, how
    return planned(*given, limited(found, taken, taken, budget))


class _Search:
    """How many channels of every group go, until a budget is met."""

    def __init__(
        self, channels: ChannelMap, budget: Budget, found: Mapping[str, Room], damage: Damage
    ) -> None:
        self.channels, self.budget, self.found = channels, budget, found
        self.limits = {name: most for name, (most, _) in limits(channels, budget).items()}
        self.counts = {n: 0 if r.asked is None else r.nearest(r.asked) for n, r in found.items()}
        free = [n for n, room in found.items() if not room.left_alone and room.asked is None]
        n_free = sum(found[name].group.n_channels for name in free)
        self.least = rounded((budget.pruning_ratio or 0.0) * n_free)
        self.free = free
        self.squares = {n: hull(found[n].allowed, damage.squares[n]) for n in free}

    def over(self) -> float:
        """By how much the budget is exceeded, relatively, over all that it limits; 0 if met."""
        remove = {name: range(n) for name, n in self.counts.items() if n}
        now = spent(self.channels, self.budget, remove)
        far = sum(max(0.0, now[name] / most - 1) for name, most in self.limits.items())
        gone = sum(self.counts[name] for name in self.free)
        return far + max(0.0, 1 - gone / self.least if self.least else 0.0)

    def taken(self) -> Counts:
        """The counts of a budget that can be met."""
        over = self.over()
        queue = [(0.0, k, self.counts[name]) for k, name in enumerate(self.free)]
        heapq.heapify(queue)
        while over > 0 and queue:
            _, k, at = heapq.heappop(queue)
            if (step := self._next(self.free[k])) is None:
                continue
            price, after = self._price(k, step, over)
            if not np.isfinite(price):
                continue
            # what a step saves only falls as others go, so an earlier price is a lower bound
            if queue and (price, k) > queue[0][:2]:
                heapq.heappush(queue, (price, k, at))
                continue
            self.counts[self.free[k]] = step
            over = after
            heapq.heappush(queue, (price, k, step))
        self._give_back()
        return self.counts

    def _next(self, name: str) -> int | None:
        """The next count of a group that is looked at; None if there is none."""
        allowed = self.found[name].allowed
        step = -(-(len(allowed) - 1) // STEPS)
        at = int(np.searchsorted(allowed, self.counts[name]))
        return int(allowed[min(at + step, len(allowed) - 1)]) if at < len(allowed) - 1 else None

    def _price(self, k: int, step: int, over: float) -> tuple[float, float]:
        """Squared error for what a step saves, and by how much the budget is exceeded then."""
        name = self.free[k]
        before = self.counts[name]
        self.counts[name] = step
        after = self.over()
        self.counts[name] = before
        rise = self.squares[name][step] - self.squares[name][before]
        return (rise / (over - after) if over > after else np.inf), after

    def _give_back(self) -> None:
        """Of every group, those first whose last channel costs most, what the budget leaves."""

        def last(name: str) -> float:
            n = self.counts[name]
            return float(self.squares[name][n] - self.squares[name][max(0, n - 1)])

        for name in sorted(self.free, key=last, reverse=True):
            allowed = self.found[name].allowed
            while (at := int(np.searchsorted(allowed, self.counts[name]))) > 0:
                before = self.counts[name]
                self.counts[name] = int(allowed[at - 1])
                if self.over() > 0:
                    self.counts[name] = before
                    break


def hull(allowed: NDArray[np.int64], squares: Values) -> Values:
    """The lower convex hull of squared errors over the counts that are allowed, at every count.

    >>> hull(np.array([0, 1, 2, 3]), np.array([0.0, 4.0, 2.0, 6.0]))
    array([0., 1., 2., 6.])
    """
    corners: list[int] = []
    for n in allowed.tolist():
        while len(corners) > 1:
            one, other = corners[-2:]
            rise = (squares[n] - squares[one]) * (other - one)
            if (squares[other] - squares[one]) * (n - one) < rise:
                break
            corners.pop()
        corners.append(n)
    return np.interp(np.arange(len(squares)), corners, squares[corners])
