"""Selection: scores, channel map and budget in, plan out. Loads no torch.

Channels go in one fixed order, lowest score first, ties by group and index, the same share from
every class of groups; selections differ in what a class is, and a budget in how far along that
order it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.channels.cost import cost
from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.criteria.scores import Scores
from secateur.errors import PlanError, unknown_name
from secateur.plan.budget import Budget
from secateur.plan.normalise import NORMALISATIONS, Normalisation, normalised
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import asked, check_reach, limits, reached, spent
from secateur.plan.room import Room, limited, rooms, rounded
from secateur.plan.structure import filter_size, structure

Values = NDArray[np.float64]
Counts = dict[str, int]


def uniform(scores: Scores, channels: ChannelMap, budget: Budget) -> PruningPlan:
    """Take the same share from every group, lowest scores first.

    Groups that the criterion cannot score are left alone and stand in the plan's `held_back`.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
    """
    how = "uniform"
    return _select(scores, channels, budget, lambda group: group.name, "none", how)


def global_(
    scores: Scores,
    channels: ChannelMap,
    budget: Budget,
    normalisation: Normalisation = "none",
) -> PruningPlan:
    """Sort the channels of all groups together and take the lowest scores.

    Groups that the criterion cannot score are left alone and stand in the plan's `held_back`.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
        PlanError: there is no such normalisation.
    """
    how = f"global, normalisation {normalisation}"
    return _select(scores, channels, budget, lambda _: "all", normalisation, how)


def isomorphic(
    scores: Scores,
    channels: ChannelMap,
    budget: Budget,
    normalisation: Normalisation = "none",
) -> PruningPlan:
    """Sort channels together among groups of the same structure; take the same share of each kind.

    Groups have the same structure if they hold the same kinds of layers in the same roles, with
    the same kernels, whatever their widths (see `plan.structure`). Groups that the criterion cannot
    score are left alone and stand in the plan's `held_back`.

    Reference: Fang et al., Isomorphic Pruning for Vision Models, 2024.

    Raises:
        BudgetError: the budget cannot be met; the nearest reachable is named.
        PlanError: there is no such normalisation.
    """
    how = f"isomorphic, normalisation {normalisation}"
    key = structure(channels)
    return _select(scores, channels, budget, key, normalisation, how)


def manual(channels: ChannelMap, remove: Mapping[str, Sequence[int]]) -> PruningPlan:
    """A plan of channels named one by one: group name to the indices that go.

    Raises:
        PlanError: a group or channel is not there, or a group would be emptied.
    """
    gone = {name: tuple(sorted(map(int, indices))) for name, indices in remove.items()}
    plan = PruningPlan(
        remove={name: indices for name, indices in gone.items() if indices},
        fingerprint=channels.fingerprint,
        before=cost(channels),
        after=cost(channels),
        asked={},
        reached={},
        how="manual",
        held_back={},
    )
    plan.check(channels)
    nothing = Budget(pruning_ratio=0.0)
    return replace(
        plan,
        after=cost(channels, plan.remove),
        reached=reached(channels, nothing, plan.remove),
    )


BALANCED = "balanced"
"""A scope of `prune` alone, which has the inputs that it needs; see `plan.balanced`."""

SCOPES: Mapping[str, Callable[[Scores, ChannelMap, Budget], PruningPlan]] = {
    "uniform": uniform,
    "global": global_,
    "isomorphic": isomorphic,
}


def selection(
    scope: str, normalisation: str = "none"
) -> Callable[[Scores, ChannelMap, Budget], PruningPlan]:
    """The selection of a name, to be called with scores, channel map and budget.

    Raises:
        PlanError: there is no such scope or normalisation, or they do not go together.
    """
    check_scope(scope, normalisation)
    if scope != "uniform":
        among: Any = SCOPES[scope]
        chosen: Callable[..., PruningPlan] = partial(among, normalisation=normalisation)
        return chosen
    return SCOPES[scope]


def check_scope(scope: str, normalisation: str = "none") -> None:
    """Refuse a scope or normalisation that there is not, or that do not go together.

    Raises:
        PlanError: naming it, and what there is.
    """
    if scope not in (*SCOPES, BALANCED):
        raise PlanError(unknown_name("scope", scope, (*SCOPES, BALANCED)))
    if normalisation not in NORMALISATIONS:
        raise PlanError(unknown_name("normalisation", normalisation, NORMALISATIONS))
    if normalisation != "none" and scope in ("uniform", BALANCED):
        raise PlanError(
            f"normalisation {normalisation!r} makes groups comparable, and scope {scope!r} never "
            "compares them; choose scope 'global' or 'isomorphic'"
        )


@dataclass(frozen=True)
class _Class:
    """Groups whose channels are sorted together.

    `owner` is the group of every channel, an index into `names`, lowest score first; `free` are
    the positions in it that may go: those beyond what a group may lose are skipped.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]
    free: NDArray[np.int64]

    def take(self, share: float) -> tuple[Counts, Counts]:
        """How many channels go with a share of the class; and how many would without skipping."""
        n = rounded(share * len(self.owner))
        free = self.free[:n]
        passed = int(free[-1]) + 1 if len(free) else 0
        if n > len(free):
            passed = max(passed, n)
        return self._counts(self.owner[free]), self._counts(self.owner[:passed])

    def _counts(self, owner: NDArray[np.int64]) -> Counts:
        counts = np.bincount(owner, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))


def _select(
    scores: Scores,
    channels: ChannelMap,
    budget: Budget,
    key: Callable[[ChannelGroup], object],
    normalisation: Normalisation,
    how: str,
) -> PruningPlan:
    """Walk along the order until every limit holds.

    Costs fall with every channel, so the place is found by halving. Groups that the criterion
    cannot score are held back.
    """
    given: Any = scores
    if not isinstance(given, Scores):
        names = f"; take one, scores[{next(iter(given))!r}]" if isinstance(given, dict) else ""
        raise PlanError(f"scores are a {type(given).__name__}, not those of one criterion{names}")
    found = rooms(channels, budget, scores.left_out)
    values = {}
    for name, room in found.items():
        if not room.left_alone:
            size = scores.sizes.get(name) or filter_size(room.group, channels)
            values[name] = normalised(_checked(scores, room.group), size, normalisation)
    check_reach(channels, budget, scores.left_out)
    classes = _classes(values, found, key)
    order = {name: np.argsort(value, kind="stable") for name, value in values.items()}
    allowed = {name: at_most for name, (at_most, _) in limits(channels, budget).items()}

    def removal(taken: Counts) -> dict[str, Sequence[int]]:
        return {name: order[name][:n].tolist() for name, n in taken.items() if n}

    def within(taken: Counts) -> bool:
        now = spent(channels, budget, removal(taken))
        return all(now[name] <= at_most for name, at_most in allowed.items())

    shares = _shares(classes, budget.pruning_ratio or 0.0)
    at = _first(lambda share: within(_taken(classes, found, share)[0]), shares) if allowed else 0
    taken, wanted = _taken(classes, found, shares[at])
    if at and budget.round_to > 1:
        before = _taken(classes, found, shares[at - 1])
        taken, wanted = _as_few(before, (taken, wanted), within)
    remove = {name: tuple(sorted(gone)) for name, gone in removal(taken).items()}
    given = f"{scores.criterion}, {how}", limited(found, wanted, taken, budget)
    return planned(channels, budget, found, remove, *given)


def planned(
    channels: ChannelMap,
    budget: Budget,
    found: Mapping[str, Room],
    remove: Mapping[str, tuple[int, ...]],
    how: str,
    why_fewer: Mapping[str, str],
) -> PruningPlan:
    """The plan of a removal, with what it costs and what it reaches of a budget."""
    return PruningPlan(
        remove=remove,
        fingerprint=channels.fingerprint,
        before=cost(channels),
        after=cost(channels, remove),
        asked=asked(channels, budget),
        reached=reached(channels, budget, remove),
        how=how,
        held_back={n: room.held_back for n, room in found.items() if room.held_back is not None},
        limited=why_fewer,
    )


def _classes(
    values: Mapping[str, Values],
    found: Mapping[str, Room],
    key: Callable[[ChannelGroup], object],
) -> list[_Class]:
    """Classes of the groups that go with the others, in the order of the channel map."""
    members: dict[object, list[str]] = {}
    for name, room in found.items():
        if not room.left_alone and room.asked is None:
            members.setdefault(key(room.group), []).append(name)
    classes = []
    for names in members.values():
        sizes = [len(values[name]) for name in names]
        ascending = np.argsort(np.concatenate([values[name] for name in names]), kind="stable")
        owner = np.repeat(np.arange(len(names)), sizes)[ascending]
        may_go = np.zeros(len(owner), dtype=bool)
        for k, name in enumerate(names):
            may_go[np.flatnonzero(owner == k)[: found[name].most]] = True
        classes.append(_Class(tuple(names), owner, np.flatnonzero(may_go)))
    return classes


def _taken(
    classes: Iterable[_Class], found: Mapping[str, Room], share: float
) -> tuple[Counts, Counts]:
    """What goes of every group at a share, by the budget's rules and without them."""
    wanted: Counts = {name: room.asked for name, room in found.items() if room.asked is not None}
    taken = dict(wanted)
    for one in classes:
        within, without = one.take(share)
        taken |= within
        wanted |= without
    return {name: found[name].nearest(n) for name, n in taken.items()}, wanted


def _shares(classes: Iterable[_Class], least: float) -> list[float]:
    """Every share from `least` at which one channel more goes, ascending."""
    sizes = {len(one.owner) for one in classes}
    steps = [np.arange(0.5, n) / n for n in sizes]
    shares = np.unique(np.concatenate(steps)) if steps else np.zeros(0)
    return [least, *shares[shares > least].tolist()]


def _first(within: Callable[[float], bool], shares: Sequence[float]) -> int:
    """The place of the first share that is within the budget; the last one is."""
    low, high = 0, len(shares) - 1
    while low < high:
        middle = (low + high) // 2
        if within(shares[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def _as_few(
    before: tuple[Counts, Counts], after: tuple[Counts, Counts], within: Callable[[Counts], bool]
) -> tuple[Counts, Counts]:
    """Of the groups that lose a whole multiple at one share, as many as the budget needs.

    Many do at the same share, where groups are as wide; they go in the order of the channel map.
    """
    taken, wanted = dict(before[0]), dict(before[1])
    for name, count in after[0].items():
        if taken[name] != count:
            taken[name], wanted[name] = count, after[1][name]
            if within(taken):
                break
    return taken, wanted


def _checked(scores: Scores, group: ChannelGroup) -> Values:
    """The scores of a group's channels, as many as there are, and numbers."""
    found = scores.of(group.name)
    if len(found) != group.n_channels:
        raise PlanError(
            f"the scores have no {group.n_channels} values for group {group.name!r}; "
            "score this network with this channel map"
        )
    if not np.isfinite(found).all():
        raise PlanError("scores hold NaN or infinite values; score a network with finite weights")
    return found
