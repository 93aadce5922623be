"""Heads and their widths in one plan: cut one after the other, each proved and verified.

Groups of a map's second reading share positions with those of the first, and labels are of one
reading. So what a plan takes by the first goes first; the network that this leaves is traced again,
and what it takes by the second goes then. The answer speaks of both as of one cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.channels.cost import cost, kept_positions
from secateur.channels.groups import ChannelGroup, ChannelMap
from secateur.channels.run import Run
from secateur.channels.trace import Example, recorded, trace
from secateur.plan.plan import PruningPlan, Rescaled
from secateur.surgery import prove, verify
from secateur.surgery.prove import Proof, Settled
from secateur.surgery.rebuild import shrink
from secateur.surgery.verification import Verification

Value = TypeVar("Value")

_LOST = "what else goes leaves no more of its channels than must stay"


def settled(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
    *,
    lines_up: bool = False,
) -> Settled:
    """As `prove.settled`, of plans that take channels by either reading, or by both.

    Raises:
        VerificationError: a cut network does not run.
    """
    first, second = _parts(plan, channels)
    if not second.remove or not first.remove:
        run = _run_of(second, original)
        return prove.settled(model, plan, example_input, run, channels, lines_up=lines_up)
    one = prove.settled(model, first, example_input, original, channels)
    run, now = recorded(
        one.network, example_input, trace(one.network, example_input, original.rules)
    )
    names = _carried(second, channels, one.plan, now)
    moved = _renamed(second, names, now)
    two = settled(one.network, moved, example_input, run, now)
    back = {name: own for own, name in names.items()}
    lost = {name: _LOST for name in second.remove if name not in names}
    found = replace(
        one.plan,
        remove={**one.plan.remove, **_by(two.plan.remove, back)},
        held_back={**one.plan.held_back, **_by(two.plan.held_back, back), **lost},
        limited={**one.plan.limited, **_by(two.plan.limited, back)},
        attributes={**one.plan.attributes, **two.plan.attributes},
        rescaled=_rescaled(one.plan, two.plan, channels),
    )
    checked = _both(one.verification, two.verification, back)
    return Settled(_counted(found, channels), two.network, checked)


def lined_up(proof: Proof, plan: PruningPlan) -> PruningPlan:
    """As `prove.lined_up`, of each reading by itself; `settled` takes the one after the other."""
    first, second = _parts(plan, proof.channels)
    if not second.remove or (other := proof.second) is None:
        return prove.lined_up(proof, plan)
    if not first.remove:
        return prove.lined_up(other, plan)
    one, two = prove.lined_up(proof, first), prove.lined_up(other, second)
    found = replace(
        plan,
        remove={**one.remove, **two.remove},
        held_back={**one.held_back, **two.held_back},
        limited={**one.limited, **two.limited},
        attributes={**one.attributes, **two.attributes},
        rescaled={**two.rescaled, **one.rescaled},
    )
    return _counted(found, proof.channels)


def proved(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
) -> PruningPlan:
    """As `prove.prove`, of plans that take channels by either reading, or by both.

    Raises:
        ProofError: naming the operator and the line of the network's code that does not line up.
    """
    first, second = _parts(plan, channels)
    if not second.remove or not first.remove:
        return prove.prove(model, plan, example_input, _run_of(second, original), channels)
    one = prove.prove(model, first, example_input, original, channels)
    left = shrink(model, one, channels)
    run, now = recorded(left, example_input, trace(left, example_input, original.rules))
    moved = _renamed(second, _carried(second, channels, one, now), now)
    two = proved(left, moved, example_input, run, now)
    attributes = {**one.attributes, **two.attributes}
    return replace(plan, attributes=attributes, rescaled=_rescaled(one, two, channels))


def _rescaled(one: PruningPlan, two: PruningPlan, channels: ChannelMap) -> Rescaled:
    """What two plans multiply, of positions as they are before the first."""
    kept = kept_positions(channels, one.remove)
    found = {name: list(rows) for name, rows in one.rescaled.items()}
    for name, rows in two.rescaled.items():
        for dim, factor, at in rows:
            stays = kept.get((name, dim))
            moved = at if stays is None else tuple(stays[list(at)].tolist())
            found.setdefault(name, []).append((dim, factor, moved))
    return {name: tuple(rows) for name, rows in found.items()}


def verified(
    model: nn.Module,
    small: nn.Module,
    plan: PruningPlan,
    channels: ChannelMap,
    example_input: Example,
) -> Verification:
    """As `verify.verified`, of plans that take channels by either reading, or by both.

    Raises:
        PlanError: the plan was made for another network.
        VerificationError: they differ.
    """
    original, channels = recorded(model, example_input, channels)
    plan.check(channels)
    first, second = _parts(plan, channels)
    if not second.remove or not first.remove:
        run = _run_of(second, original)
        return verify.verified(model, small, plan, channels, example_input, run)
    fit = Proof(model, example_input, original, channels).of(first)
    first = replace(first, attributes=fit.attributes, rescaled=fit.rescaled)
    left = shrink(model, first, channels)
    one = verify.verified(model, left, first, channels, example_input, original)
    now = trace(left, example_input, original.rules)
    names = _carried(second, channels, first, now)
    two = verified(left, small, _renamed(second, names, now), now, example_input)
    return _both(one, two, {name: own for own, name in names.items()})


def _parts(plan: PruningPlan, channels: ChannelMap) -> tuple[PruningPlan, PruningPlan]:
    """What a plan takes by each reading: all by one of them if that has all of its groups.

    Else a group of both goes with the widths of the heads that it is multiplied in.
    """
    readings = {name: channels.by_name[name].reading for name in plan.remove}
    if 2 not in readings.values():
        return plan, replace(plan, remove={})
    if 1 not in readings.values():
        return replace(plan, remove={}), plan
    for product in channels.products:
        if any(channels.by_name[name].reading == 1 for name in product.per_channel[0]):
            beside = {name for along in product.per_channel[1:] for name in along}
            readings |= {name: 2 for name in beside if readings.get(name) == 0}
    nothing = replace(plan, remove={}, attributes={}, rescaled={})
    first = {name: gone for name, gone in plan.remove.items() if readings[name] < 2}
    second = {name: gone for name, gone in plan.remove.items() if readings[name] == 2}
    return (
        replace(nothing, remove=first),
        replace(nothing, remove=second, held_back={}, limited={}),
    )


def _run_of(second: PruningPlan, original: Run) -> Run:
    """The run that has the labels of a plan of one reading, of which this is the second part."""
    return original.second if second.remove and original.second is not None else original


def _carried(
    plan: PruningPlan, channels: ChannelMap, cut: PruningPlan, now: ChannelMap
) -> dict[str, str]:
    """The names that a plan's groups have in the map of the network that another plan left."""
    kept = kept_positions(channels, cut.remove)
    groups = {_places(group, {}): group.name for group in now.groups}
    names = {name: groups.get(_places(channels.by_name[name], kept)) for name in plan.remove}
    return {name: found for name, found in names.items() if found is not None}


def _places(
    group: ChannelGroup, kept: Mapping[tuple[str, int], NDArray[np.int64]]
) -> frozenset[tuple[str, int, tuple[tuple[int, ...], ...]]]:
    """Where every channel of a group lies once no more than what is kept is there."""
    found = []
    for member in group.members:
        stays = kept.get((member.parameter, member.dim))
        rows = [
            row if stays is None else np.flatnonzero(np.isin(stays, row)) for row in member.index
        ]
        found.append((member.parameter, member.dim, tuple(tuple(sorted(r.tolist())) for r in rows)))
    return frozenset(found)


def _renamed(plan: PruningPlan, names: Mapping[str, str], now: ChannelMap) -> PruningPlan:
    """A plan for the network that another plan left."""
    remove = {names[name]: gone for name, gone in plan.remove.items() if name in names}
    before, after = cost(now), cost(now, remove)
    return replace(plan, remove=remove, fingerprint=now.fingerprint, before=before, after=after)


def _by(of_groups: Mapping[str, Value], names: Mapping[str, str]) -> dict[str, Value]:
    return {names.get(name, name): value for name, value in of_groups.items()}


def _counted(plan: PruningPlan, channels: ChannelMap) -> PruningPlan:
    reached = prove.reached(plan, channels, plan.remove)
    return replace(plan, after=cost(channels, plan.remove), reached=reached)


def _both(one: Verification, two: Verification, names: Mapping[str, str]) -> Verification:
    """What was verified of two cuts, one after the other, as of one."""
    if not one.groups or not two.groups:
        return one if one.groups else replace(two, groups=_by(two.groups, names))

    def larger(first: float | None, second: float | None) -> float | None:
        known = [error for error in (first, second) if error is not None]
        return max(known, default=None)

    return replace(
        one,
        relative_error=max(one.relative_error, two.relative_error),
        groups={**one.groups, **_by(two.groups, names)},
        operators=tuple(dict.fromkeys((*one.operators, *two.operators))),
        silence_error=larger(one.silence_error, two.silence_error),
        permutation_error=larger(one.permutation_error, two.permutation_error),
        tells=one.tells and two.tells,
    )
