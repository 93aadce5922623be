"""Proof before the cut: the same run on the shapes that would be left, label by label.

Where the run fails or labels meet others than before, the groups at that place are to blame;
`settled` holds them back until the rest is proved. Then the rest is cut and verified; groups that
make the cut network differ from its reference are found by halving, and held back too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.channels.cost import Dtype, Removal, cost, kept_positions, remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.channels.notes import repeating
from secateur.channels.run import Run
from secateur.channels.trace import Example, record
from secateur.errors import ProofError
from secateur.plan.plan import Numbers, PruningPlan, Rescaled
from secateur.plan.reach import RATIO_OF, share_gone, share_gone_of
from secateur.surgery.objections import Objection, groups_of_places, objections
from secateur.surgery.rebuild import shrink
from secateur.surgery.sizes import Survey, survey, told_its_width
from secateur.surgery.temperature import Rescaling, factors
from secateur.surgery.verification import TOLERANCE, Verification
from secateur.surgery.verify import Check
from secateur.surgery.widths import names_of_widths

_PATIENCE = 60
"""Rounds after which every group that is still in the way is held back at once."""

_SECONDS = 30.0
"""How long it is looked for which groups make a difference, before all in question stay."""


@dataclass(frozen=True)
class Settled:
    """The part of a plan that holds, the network cut by it, and how that was verified."""

    plan: PruningPlan
    network: nn.Module
    verification: Verification


def settled(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
    *,
    lines_up: bool = False,
) -> Settled:
    """The part of a plan that can be cut rightly, cut; the rest is in `held_back` with the reason.

    Where a plan does not line up, the sizes that the network's code reads from its modules'
    attributes are changed, if that helps (`attributes`); then the removals of the groups at every
    failing place are dropped and the rest is proved again, until it holds. Costs are those of what
    is left. A plan that `lines_up` has been proved.

    Raises:
        VerificationError: a cut network does not run, as it still reaches into the one that came
            in.
    """
    proof = Proof(model, example_input, original, channels)
    check = Check(model, channels, original, example_input)
    found = _verified(proof, check, plan) if lines_up else _cut(proof, check, plan)
    for less in (replace(proof, values=False), replace(proof, sizes=False, values=False)):
        if not found.verification.holds and (found.plan.attributes or found.plan.rescaled):
            proof = less  # a number was more than a size
            found = _cut(proof, check, plan)
    if found.verification.holds:
        return found
    permuted = found.verification.relative_error <= TOLERANCE
    end = time.monotonic() + _SECONDS
    blamed = _to_blame(proof, check, found.plan, end, permuted=permuted)
    found = _cut(proof, check, _holding_back(found, blamed))
    if not found.verification.holds:  # they differ together, each alone does not
        found = _cut(proof, check, _holding_back(found, list(found.plan.remove)))
    return found


def _cut(proof: Proof, check: Check, plan: PruningPlan) -> Settled:
    """Prove a plan, cut what of it lines up, and verify that."""
    return _verified(proof, check, lined_up(proof, plan))


def _verified(proof: Proof, check: Check, plan: PruningPlan) -> Settled:
    small = shrink(proof.model, plan, proof.channels)
    return Settled(plan, small, check.of(plan, small))


def _to_blame(
    proof: Proof, check: Check, plan: PruningPlan, end: float, *, permuted: bool
) -> list[str]:
    """The groups whose removal, of half of the plan or of a half of that, makes a difference."""
    names = list(plan.remove)
    if len(names) == 1 or time.monotonic() > end:
        return names
    blamed = []
    for half in (names[: len(names) // 2], names[len(names) // 2 :]):
        part = replace(plan, remove={name: plan.remove[name] for name in half})
        part = lined_up(proof, part)
        if check.differs(part, shrink(proof.model, part, proof.channels), permuted=permuted):
            blamed += _to_blame(proof, check, part, end, permuted=permuted)
    return blamed


def _holding_back(found: Settled, names: Sequence[str]) -> PruningPlan:
    """A plan without some groups, which say how far the cut network was off."""
    far = found.verification.largest_error
    why = (
        "the network without its channels is not the whole one with these channels silent (they "
        f"differ by {far:.2g}, in float64)"
    )
    rest = {name: gone for name, gone in found.plan.remove.items() if name not in names}
    held_back = {**found.plan.held_back, **dict.fromkeys(names, why)}
    return replace(found.plan, remove=rest, held_back=held_back)


def prove(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
) -> PruningPlan:
    """Run the shrunken network on shapes; labels may only meet whom they met in the original.

    The answer is the plan with the attributes that have to change for this.

    Raises:
        ProofError: naming the operator and the line of the network's code that does not line up.
    """
    found = Proof(model, example_input, original, channels).of(plan)
    for objection in found.objections:
        names = ", ".join(map(repr, objection.groups)) or "the groups this line works on"
        raise ProofError(
            f"{objection.text}; ignore {names}, write sizes from the tensors' own shapes, "
            "or let cut hold them back"
        )
    return replace(plan, attributes=found.attributes, rescaled=found.rescaled)


@dataclass(frozen=True)
class Fit:
    """What a plan has to change beside shapes, and what stands against it nevertheless."""

    attributes: Mapping[str, Numbers]
    rescaled: Rescaled
    objections: list[Objection]


def _before_the_cut(
    rescaled: Iterable[Rescaling], kept: Mapping[tuple[str, int], NDArray[np.int64]]
) -> Rescaled:
    """Rescalings as a plan has them, of positions as they are before the cut."""
    found: dict[str, list[tuple[int, float, tuple[int, ...]]]] = {}
    for one in rescaled:
        stays = kept.get((one.parameter, one.dim))
        at = one.positions if stays is None else stays[one.positions]
        row = one.dim, one.factor, tuple(at.tolist())
        found.setdefault(one.parameter, []).append(row)
    return {name: tuple(rows) for name, rows in found.items()}


@dataclass
class Proof:
    """What plans of one network are proved with.

    Whether `sizes` in attributes may change, and those too whose `values` are computed with.
    """

    model: nn.Module
    example: Example
    original: Run
    channels: ChannelMap
    sizes: bool = True
    values: bool = True

    def of(self, plan: PruningPlan) -> Fit:
        """The attributes that a plan has to change, and the objections that there still are.

        They follow from what goes alone: those that the plan came with may be of more than that.
        """
        if not self.sizes:
            return self._fit(plan.remove, {})
        told, _ = names_of_widths(self.model, remaining_shapes(self.channels, plan.remove))
        if told:  # unless the network's code computes with one of them
            found = self._surveyed(plan.remove, told)
            if not found.objections:
                return found
        return self._surveyed(plan.remove, {})

    def _surveyed(self, remove: Removal, told: Mapping[str, Numbers]) -> Fit:
        """The same with these attributes, and what the survey adds where it is needed."""
        attributes = told
        if "survey" in vars(self) or told_its_width(self.model):
            attributes = {**told, **self.survey.attributes(self.channels, remove)}
        found = self._fit(remove, attributes)
        for values in (False, True)[: 1 + self.values]:
            if not found.objections:
                break
            of_survey = self.survey.attributes(self.channels, remove, values=values)
            if (changed := {**told, **of_survey}) != attributes:
                attributes, other = changed, self._fit(remove, changed)
                found = other if not values or not other.objections else found
        return found

    def _fit(self, remove: Removal, attributes: Mapping[str, Numbers]) -> Fit:
        """What these attributes come to: numbers that are made up for are no objection."""
        found = self._objections(remove, attributes)
        if self.values and found and all(objection.remedy for objection in found):
            rescaled = factors([one for objection in found for one in objection.remedy])
            if rescaled is not None:
                kept = kept_positions(self.channels, remove)
                return Fit(attributes, _before_the_cut(rescaled, kept), [])
        return Fit(attributes, {}, found)

    @cached_property
    def second(self) -> Proof | None:
        """What is proved of groups of the second reading, if there is one."""
        run = self.original.second
        return None if run is None else replace(self, original=run)

    @cached_property
    def survey(self) -> Survey:
        """Where the network's code gives sizes."""
        return survey(self.model, self.example, self.original)

    def balanced(self, remove: Removal) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        """What is left of a removal when sizes that must be equal are, and for which lines."""
        for values in (True, False)[1 - self.values :]:
            evened, lines = self.survey.balanced(self.channels, remove, values=values)
            if evened != remove:
                break
        return evened, lines

    @cached_property
    def users(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """Which groups every place in the network's code works on."""
        return groups_of_places(self.model, self.example, self.original, self.channels)

    def guilty(self, objection: Objection, remove: Removal) -> tuple[str, ...]:
        """Those of an objection's groups that it stands against if they go alone, or all."""
        if not objection.one_of or len(objection.groups) < 2:
            return objection.groups
        where = _where(objection)
        alone = [
            name
            for name in objection.groups
            if any(where == _where(one) for one in self._objections({name: remove[name]}, {}))
        ]
        return tuple(alone) or objection.groups

    def _objections(self, remove: Removal, attributes: Mapping[str, Numbers]) -> list[Objection]:
        given = self.model, remove, self.example
        found = objections(*given, self.original, self.channels, attributes)
        if found and not self.original.calls:  # which are needed to say who is to blame
            again = repeating(self.original.decisions)
            self.original = record(self.model, self.example, self.original.rules, again)
            found = objections(*given, self.original, self.channels, attributes)
        return found


def _where(objection: Objection) -> str:
    """Operator and line of a number that has changed."""
    return objection.text.partition(" computes ")[0]


def lined_up(proof: Proof, plan: PruningPlan) -> PruningPlan:
    """The plan, with channels or whole groups held back until nothing objects."""
    remove, held_back = dict(plan.remove), dict(plan.held_back)
    uneven: dict[str, str] = {}
    places: Counter[tuple[str, ...]] = Counter()
    for round_ in count():
        fit = proof.of(replace(plan, remove=remove))
        found = fit.objections
        if not found or not remove:
            break
        if proof.sizes and round_ < _PATIENCE:
            evened, lines = proof.balanced(remove)
            uneven |= lines
            if evened != remove:
                remove = evened
                continue
        n_groups = len(remove)
        for objection in found:
            places[objection.place] += 1
            blamed = list(proof.guilty(objection, remove))
            if objection.place and places[objection.place] > 1:  # so will it in other blocks
                blamed += proof.users.get(objection.place, ())
            if round_ >= _PATIENCE:
                blamed += remove
            for name in blamed:
                if remove.pop(name, ()):
                    held_back[name] = objection.text
        if len(remove) == n_groups:  # nobody can be named
            held_back |= dict.fromkeys(remove, found[0].text)
            remove.clear()
    after = cost(proof.channels, remove)
    changed = remove, fit.attributes, fit.rescaled, after
    if changed == (plan.remove, plan.attributes, plan.rescaled, plan.after):
        return plan
    limited = dict(plan.limited)
    for name, line in uneven.items():
        if gone := remove.get(name):
            n, of = len(plan.remove[name]) - len(gone), len(plan.remove[name])
            limited[name] = f"{n} of {of} channels stay, or sizes at {line} would not fit"
        elif name not in held_back:
            held_back[name] = f"all of its channels are needed for sizes at {line} to fit"
    return replace(
        plan,
        remove=remove,
        after=after,
        reached=reached(plan, proof.channels, remove),
        held_back=held_back,
        limited=limited,
        attributes=fit.attributes,
        rescaled=fit.rescaled,
    )


def reached(plan: PruningPlan, channels: ChannelMap, remove: Removal) -> dict[str, float]:
    """What a plan reached, with another removal; an estimated latency stands as it was."""
    before, after = cost(channels), cost(channels, remove)
    now: dict[str, float] = {
        "pruning_ratio": share_gone(before, after),
        "macs": after.macs,
        "params": after.params,
    }
    now |= {f"bytes_{dtype}": after.bytes_at(dtype) for dtype in get_args(Dtype)}
    for name in plan.reached:
        if name.startswith(RATIO_OF):
            now[name] = share_gone_of(name.removeprefix(RATIO_OF), channels, remove)
    return {name: now.get(name, value) for name, value in plan.reached.items()}
