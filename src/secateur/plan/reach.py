"""Whether a budget can be met, and what a network costs in its terms. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from secateur.channels.cost import Cost, Removal, cost
from secateur.channels.groups import ChannelMap
from secateur.errors import BudgetError
from secateur.plan.budget import Budget, amount, meant, milliseconds, stored
from secateur.plan.room import Room, matching, rooms

_UNITS = {"params": "parameters", "macs": "MACs", "latency_ms": "ms"}

RATIO_OF = "ratio of "
"""Stands before a pattern of `Budget.ratios` where it is asked or reached."""


@dataclass(frozen=True)
class Reach:
    """One limit of a budget beside what the network costs now and what it could cost at least.

    `least` has everything removed that the budget's rules let go.
    """

    name: str
    at_most: float
    whole: float
    least: float

    @property
    def met(self) -> bool:
        """Whether the limit can be met."""
        return self.least <= self.at_most

    def __str__(self) -> str:
        unit = unit_of(self.name)
        share = self.least / self.whole if self.whole else 0.0
        if self.whole <= self.at_most:
            return f"{_number(self.at_most)} {unit} are met already, by {_number(self.whole)}"
        if self.met:
            return (
                f"{_number(self.at_most)} {unit} of {_number(self.whole)} can be met; the least "
                f"would be {_number(self.least)}"
            )
        return (
            f"{_number(self.at_most)} {unit} cannot be met; the nearest reachable is "
            f"{_number(self.least)} of {_number(self.whole)} ({share:.1%})"
        )


def reach(
    channels: ChannelMap, budget: Budget, held_back: Mapping[str, str] | None = None
) -> tuple[Reach, ...]:
    """Every limit of a budget, whether it can be met or not; needs no scores.

    `held_back` maps groups that cannot go, whatever the budget says, to the reason: `left_out` of
    the scores, say.

    Raises:
        BudgetError: a name of the budget matches nothing.
    """
    return _reach(channels, budget, rooms(channels, budget, held_back))


def check_reach(
    channels: ChannelMap, budget: Budget, held_back: Mapping[str, str] | None = None
) -> None:
    """Refuse a budget that cannot be met, naming the nearest that can and what stands in the way.

    `held_back` are groups that cannot go, as for `reach`.

    Raises:
        BudgetError: naming the limit, what can be reached and the next step.
    """
    held_back = held_back or {}
    found = rooms(channels, budget, held_back)
    _check_any(channels, budget, found, held_back)
    rows = _reach(channels, budget, found)
    missed = [row for row in rows if not row.met]
    if missed:
        said = "; ".join(map(str, missed))
        way = f"{_way_out(channels, budget, held_back)}{_left(found)}"
        raise BudgetError(f"{said}. {way}{_meant(missed, budget)}")
    for row in rows:
        _check_unit(row, budget)


def limits(channels: ChannelMap, budget: Budget) -> dict[str, tuple[float, float]]:
    """By name of each limit: what is allowed, and what the whole network costs."""
    whole = cost(channels)
    found: dict[str, tuple[float, float]] = {}
    if budget.params is not None:
        found["params"] = amount(budget.params, whole.params), whole.params
    if budget.macs is not None:
        found["macs"] = amount(budget.macs, whole.macs), whole.macs
    if budget.bytes is not None:
        asked, dtype = stored(budget.bytes)
        size = whole.bytes_at(dtype)
        found[f"bytes_{dtype}"] = amount(asked, size), size
    if budget.latency_ms is not None and budget.latency_table is not None:
        size_ms = budget.latency_table.estimate(channels)
        found["latency_ms"] = milliseconds(budget.latency_ms, size_ms), size_ms
    return found


def spent(channels: ChannelMap, budget: Budget, remove: Removal) -> dict[str, float]:
    """What is left after a removal, by name of each limit of the budget."""
    after = cost(channels, remove)
    found: dict[str, float] = {}
    if budget.params is not None:
        found["params"] = after.params
    if budget.macs is not None:
        found["macs"] = after.macs
    if budget.bytes is not None:
        dtype = stored(budget.bytes)[1]
        found[f"bytes_{dtype}"] = after.bytes_at(dtype)
    if budget.latency_ms is not None and budget.latency_table is not None:
        found["latency_ms"] = budget.latency_table.estimate(channels, remove)
    return found


def asked(channels: ChannelMap, budget: Budget) -> dict[str, float]:
    """The budget as numbers, by the names that `reached` uses."""
    found: dict[str, float] = {}
    if budget.pruning_ratio is not None:
        found["pruning_ratio"] = budget.pruning_ratio
    found |= {name: at_most for name, (at_most, _) in limits(channels, budget).items()}
    return found | {RATIO_OF + name: ratio for name, ratio in budget.ratios.items()}


def reached(channels: ChannelMap, budget: Budget, remove: Removal) -> dict[str, float]:
    """What a removal comes to, in the terms of `asked`; share of channels, MACs and params too."""
    before, after = cost(channels), cost(channels, remove)
    found: dict[str, float] = {
        "pruning_ratio": share_gone(before, after),
        "macs": after.macs,
        "params": after.params,
    }
    found |= spent(channels, budget, remove)
    return found | {RATIO_OF + p: share_gone_of(p, channels, remove) for p in budget.ratios}


def share_gone(before: Cost, after: Cost) -> float:
    """Share of the prunable channels that are gone."""
    return 1 - after.channels / before.channels if before.channels else 0.0


def share_gone_of(pattern: str, channels: ChannelMap, remove: Removal) -> float:
    """Share gone of all channels that a name or pattern of `Budget.ratios` matches.

    Raises:
        BudgetError: no group and no layer has such a name.
    """
    names = matching(pattern, channels)
    n = sum(channels.by_name[name].n_channels for name in names)
    gone = sum(len(remove.get(name, ())) for name in names)
    return gone / n if n else 0.0


def unit_of(name: str) -> str:
    """How a limit is said aloud.

    >>> unit_of("macs"), unit_of("bytes_int8")
    ('MACs', 'bytes at int8')
    """
    if name.startswith("bytes_"):
        return name.replace("_", " at ", 1)
    return _UNITS.get(name, name)


def _reach(channels: ChannelMap, budget: Budget, found: Mapping[str, Room]) -> tuple[Reach, ...]:
    least = spent(channels, budget, _all_of(found))
    return tuple(
        Reach(name, at_most, whole, least[name])
        for name, (at_most, whole) in limits(channels, budget).items()
    )


def _all_of(found: Mapping[str, Room]) -> Removal:
    """Everything that may go; a group with a ratio of its own loses that and no more."""
    gone = {
        name: room.most if room.asked is None else room.nearest(room.asked)
        for name, room in found.items()
    }
    return {name: range(n) for name, n in gone.items() if n}


def _meant(missed: Iterable[Reach], budget: Budget) -> str:
    """What the numbers of limits that cannot be met may have been meant as, in words to come last.

    It is a unit that was forgotten: `50` for `50%`.
    """
    texts: list[str] = []
    for row in missed:
        given = getattr(budget, row.name.partition("_")[0], None)  # bytes_int8 is asked by `bytes`
        if given is not None:
            texts += meant(given, row.least, int(row.whole))
    return f"; did you mean {' or '.join(map(repr, texts))}?" if texts else ""


def _check_unit(row: Reach, budget: Budget) -> None:
    """Refuse a bare number in a text that leaves next to nothing, though it could be met.

    Raises:
        BudgetError: with what it may have been meant as, and how to ask for so little.
    """
    text = getattr(budget, row.name.partition("_")[0], None)
    if not isinstance(text, str) or row.at_most > min(_SMALL, row.whole / _SMALL):
        return
    if re.fullmatch(r"\s*[\d.]+\s*", text):
        raise BudgetError(
            f"{text.strip()} {unit_of(row.name)} are {row.at_most / row.whole:.2g} of "
            f"{_number(row.whole)}{_meant([row], budget) or '; was a unit forgotten?'} For so "
            f"little write '{100 * row.at_most / row.whole:.3g}%'"
        )


_SMALL = 100
"""A number up to this, and its share of a network's cost, that a unit may have been left out of."""


def _left(found: Mapping[str, Room]) -> str:
    """The groups that are left alone whatever the budget says, in a sentence to come last."""
    held = {name: room.held_back for name, room in found.items() if room.held_back is not None}
    if not held:
        return ""
    name, why = next(iter(held.items()))
    if len(held) == 1:
        return f". Group {name!r} is left alone: {why}"
    return f". {len(held)} groups are left alone, {name!r} first: {why}"


def _check_any(
    channels: ChannelMap, budget: Budget, found: Mapping[str, Room], held_back: Mapping[str, str]
) -> None:
    """Refuse a budget that asks for channels where none can go."""
    if not budget.limited and not budget.pruning_ratio and not any(budget.ratios.values()):
        return
    if all(room.left_alone for room in found.values()):
        if left := _left(found):
            raise BudgetError(
                f"no group of channels can be pruned: ignore names all others{left}; ignore fewer, "
                "or choose another criterion"
            )
        if channels.groups:
            raise BudgetError("no group of channels can be pruned: ignore names all; ignore fewer")
        why = "; ".join(f"{p.parameter} {p.reason}" for p in channels.pinned[:3])
        raise BudgetError(
            f"no group of channels can be pruned ({why}); "
            "print the channel map to see what is pinned where"
        )
    if budget.pruning_ratio and all(room.most == 0 for room in found.values()):
        widest = max(r.group.n_channels for r in found.values() if not r.left_alone)
        way = f"{_way_out(channels, budget, held_back)}{_left(found)}"
        raise BudgetError(f"no channel can go: the widest group has {widest}. {way}")


_RULES: Mapping[str, tuple[str, Callable[[Budget], Budget]]] = {
    "min_channels": ("lower min_channels", lambda b: replace(b, min_channels=1)),
    "max_ratio": ("raise max_ratio", lambda b: replace(b, max_ratio=1.0)),
    "round_to": ("lower round_to", lambda b: replace(b, round_to=1)),
    "ratios": ("drop some of ratios", lambda b: replace(b, ratios={})),
    "ignore": ("ignore fewer groups", lambda b: replace(b, ignore=())),
}


def _way_out(channels: ChannelMap, budget: Budget, held_back: Mapping[str, str]) -> str:
    """What to do about a budget that cannot be met: the rules whose end alone would help first."""
    if not budget.limited and budget.pruning_ratio is None:
        return "Drop some of ratios"
    binding = {name: loose(budget) for name, (_, loose) in _RULES.items()}
    binding = {name: loose for name, loose in binding.items() if loose != budget}
    steps = {name: f"{_RULES[name][0]} ({_given(budget, name)})" for name in binding}
    alone = [steps[name] for name, loose in binding.items() if _can(channels, loose, held_back)]
    if held_back and _can(channels, budget, {}):
        alone.append("choose a criterion that scores every group")
    if alone:
        return f"To meet it, {' or '.join(alone)}"
    loosest = budget
    for name in binding:
        loosest = _RULES[name][1](loosest)
    if len(binding) > 1 and _can(channels, loosest, held_back):
        return f"To meet it, {' and '.join(steps.values())} together"
    return "Ask for that, or start from a smaller network"


def _can(channels: ChannelMap, budget: Budget, held_back: Mapping[str, str]) -> bool:
    found = rooms(channels, budget, held_back)
    rows = _reach(channels, budget, found)
    return all(row.met for row in rows) and any(room.most for room in found.values())


def _given(budget: Budget, name: str) -> str:
    value = getattr(budget, name)
    return f"{len(value)} given" if name in ("ratios", "ignore") else f"it is {value}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.4g}"
