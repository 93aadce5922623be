"""What a budget's rules leave of every group: how many of its channels may go. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.errors import BudgetError
from secateur.plan.budget import Budget
from secateur.plan.names import Names


@dataclass(frozen=True)
class Room:
    """How many channels of one group may go.

    `allowed` holds the counts, ascending, from 0; `asked` is the count the group's own ratio asks
    for, None where it goes with the others; `ignored` says which pattern leaves it alone, and
    `held_back` why it cannot go.
    """

    group: ChannelGroup
    allowed: NDArray[np.int64]
    asked: int | None = None
    ignored: str | None = None
    held_back: str | None = None

    @property
    def left_alone(self) -> bool:
        """Whether no channel of it goes, whatever the budget's rules say of numbers."""
        return self.ignored is not None or self.held_back is not None

    @property
    def most(self) -> int:
        """The largest count."""
        return int(self.allowed[-1])

    def nearest(self, wanted: int) -> int:
        """The allowed count nearest to the wanted one; of two, the smaller.

        >>> group = ChannelGroup("a", 20, ())
        >>> [Room(group, np.array([0, 4, 12])).nearest(n) for n in (1, 2, 3, 8, 9, 19)]
        [0, 0, 4, 4, 12, 12]
        """
        return int(self.allowed[np.argmin(np.abs(self.allowed - wanted))])


def rooms(
    channels: ChannelMap, budget: Budget, held_back: Mapping[str, str] | None = None
) -> dict[str, Room]:
    """The room in every group; there is none in those of `held_back`, which has the reasons.

    Raises:
        BudgetError: a name or pattern of the budget matches nothing, or nothing that can go.
    """
    names_of, held_back = Names(channels), held_back or {}
    ignored = {
        name: f"ignore has {pattern!r}" + (f", and {why}" if why else "")
        for pattern in budget.ignore
        for name, why in names_of.concerned(pattern).items()
    }
    ratio: dict[str, float] = {}
    for pattern, share in budget.ratios.items():
        names = names_of.given(pattern)
        if not names and share > 0:
            raise BudgetError(
                f"{pattern!r} has no channels that can go, so it has no ratio; "
                "print the channel map to see what is pinned where"
            )
        ratio |= dict.fromkeys(names, share)
    found = {}
    for group in channels.groups:
        if group.name in ignored:
            room = Room(group, np.zeros(1, dtype=np.int64), None, ignored[group.name])
        elif group.name in held_back:
            nothing = np.zeros(1, dtype=np.int64)
            room = Room(group, nothing, held_back=held_back[group.name])
        else:
            asked = ratio.get(group.name)
            count = None if asked is None else rounded(asked * group.n_channels)
            room = Room(group, _allowed(group.n_channels, budget), count)
        found[group.name] = room
    return found


def matching(pattern: str, channels: ChannelMap) -> tuple[str, ...]:
    """Groups that a name or pattern means.

    The name of a group means that group alone. Otherwise a layer's name, or a pattern that matches
    names of either, means every group with filters of such a layer too.

    Raises:
        BudgetError: no group and no layer has such a name.
    """
    return Names(channels).given(pattern)


def limited(
    found: Mapping[str, Room],
    wanted: Mapping[str, int],
    taken: Mapping[str, int],
    budget: Budget,
) -> dict[str, str]:
    """In words, where the rules of a budget gave a group another count than it would have had."""
    words = {}
    for name, room in found.items():
        want, n, gone = wanted.get(name, 0), room.group.n_channels, taken.get(name, 0)
        if room.ignored is not None:
            words[name] = f"left alone: {room.ignored}"
        elif room.held_back is not None:
            continue
        elif n < budget.round_to:
            step = budget.round_to
            words[name] = f"left alone: fewer channels than round_to {step}"
        elif want != gone:
            words[name] = _why(room, want, gone, budget)
    return words


def rounded(n: float) -> int:
    """To the nearest whole number, halves up; a product that misses a half by rounding is one."""
    return int(np.floor(n + 0.5 + 1e-9))


def _allowed(n: int, budget: Budget) -> NDArray[np.int64]:
    most = min(n - budget.min_channels, _most_by_ratio(n, budget))
    step = budget.round_to
    if n < step or most < 1:
        return np.zeros(1, dtype=np.int64)
    counts = n - np.arange(step, n + 1, step)[::-1]
    return np.concatenate([[0], counts[(counts > 0) & (counts <= most)]]).astype(np.int64)


def _most_by_ratio(n: int, budget: Budget) -> int:
    return int(np.floor(budget.max_ratio * n + 1e-9))


def _why(room: Room, want: int, gone: int, budget: Budget) -> str:
    n = room.group.n_channels
    said = f"{gone} of {n} channels go, not {want}: "
    by_rule = {
        f"min_channels is {budget.min_channels}": n - budget.min_channels,
        f"max_ratio is {budget.max_ratio}": _most_by_ratio(n, budget),
    }
    rule, most = min(by_rule.items(), key=lambda item: item[1])
    if want > most and (budget.round_to == 1 or most - gone < budget.round_to):
        return said + rule
    return f"{said}round_to is {budget.round_to}"
