"""Proof before the cut: the same run on the shapes that would be left, label by label.

Where the run fails or labels meet others than before, the groups at that place are to blame;
`settle` holds them back until the rest is proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import get_args

from torch import nn

from secateur.channels.cost import Dtype, Removal, cost
from secateur.channels.groups import ChannelMap
from secateur.channels.run import Run
from secateur.channels.trace import Example, record, recorded
from secateur.errors import ProofError, VerificationError
from secateur.plan.plan import Numbers, PruningPlan
from secateur.plan.reach import RATIO_OF, share_gone, share_gone_of
from secateur.surgery.objections import Objection, groups_of_places, objections
from secateur.surgery.rebuild import shrink
from secateur.surgery.sizes import Survey, survey, told_its_width
from secateur.surgery.verify import verify

_PATIENCE = 60
"""Rounds after which every group that is still in the way is held back at once."""


def settle(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    channels: ChannelMap | None = None,
) -> PruningPlan:
    """The part of a plan that can be cut, proved; the rest is in `held_back` with the reason.

    A plan that lines up comes back as it is. Otherwise the sizes that the network's code reads from
    its modules' attributes are changed, if that makes it line up (`attributes` of the answer); then
    the removals of the groups at every failing place are dropped and the rest is proved again,
    until it holds. Costs are those of what is left. `channels`, the map that `trace` made of this
    network, spares tracing it again and brings the rules it was traced by.

    Raises:
        PlanError: the plan was made for another network.
    """
    run, channels = recorded(model, example_input, channels)
    plan.check(channels)
    return settled(model, plan, example_input, run, channels)


def settled(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
) -> PruningPlan:
    """As `settle`, for a network that has been recorded."""
    proof = _Proof(model, example_input, original, channels)
    made = _without_objections(proof, plan)
    if made.attributes and made != plan:
        try:
            verify(model, shrink(model, made, channels), made, channels, example_input)
        except VerificationError:  # a number was more than a size
            return _without_objections(replace(proof, sizes=False), plan)
    return made


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
    attributes, found = _Proof(model, example_input, original, channels).of(plan)
    for objection in found:
        names = ", ".join(map(repr, objection.groups)) or "the groups this line works on"
        raise ProofError(
            f"{objection.text}; ignore {names}, write sizes from the tensors' own shapes, "
            "or let cut hold them back"
        )
    return replace(plan, attributes=attributes)


@dataclass
class _Proof:
    """What plans of one network are proved with; whether sizes in attributes may change."""

    model: nn.Module
    example: Example
    original: Run
    channels: ChannelMap
    sizes: bool = True

    def of(self, plan: PruningPlan) -> tuple[Mapping[str, Numbers], list[Objection]]:
        """The attributes that a plan has to change, and the objections that there still are."""
        attributes = plan.attributes if self.sizes else {}
        if self.sizes and ("survey" in vars(self) or told_its_width(self.model)):
            attributes = self.survey.attributes(self.channels, plan.remove)
        found = self._objections(plan.remove, attributes)
        if found and self.sizes:
            changed = self.survey.attributes(self.channels, plan.remove)
            if changed != attributes:
                attributes, found = changed, self._objections(plan.remove, changed)
        return attributes, found

    @cached_property
    def survey(self) -> Survey:
        """Where the network's code gives sizes."""
        return survey(self.model, self.example, self.original.rules)

    @cached_property
    def users(self) -> Mapping[tuple[str, ...], tuple[str, ...]]:
        """Which groups every place in the network's code works on."""
        return groups_of_places(self.model, self.example, self.original, self.channels)

    def _objections(self, remove: Removal, attributes: Mapping[str, Numbers]) -> list[Objection]:
        given = self.model, remove, self.example
        found = objections(*given, self.original, self.channels, attributes)
        if found and not self.original.calls:  # which are needed to say who is to blame
            self.original = record(self.model, self.example, self.original.rules)
            found = objections(*given, self.original, self.channels, attributes)
        return found


def _without_objections(proof: _Proof, plan: PruningPlan) -> PruningPlan:
    """The plan, with channels or whole groups held back until nothing objects."""
    remove, held_back = dict(plan.remove), dict(plan.held_back)
    uneven: dict[str, str] = {}
    places: Counter[tuple[str, ...]] = Counter()
    for round_ in count():
        attributes, found = proof.of(replace(plan, remove=remove))
        if not found or not remove:
            break
        if proof.sizes:
            evened, lines = proof.survey.balanced(proof.channels, remove)
            uneven |= lines
            if evened != remove:
                remove = evened
                continue
        n_groups = len(remove)
        for objection in found:
            places[objection.place] += 1
            blamed = list(objection.groups)
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
    if remove == plan.remove and attributes == plan.attributes:
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
        after=cost(proof.channels, remove),
        reached=_reached(plan, proof.channels, remove),
        held_back=held_back,
        limited=limited,
        attributes=attributes,
    )


def _reached(plan: PruningPlan, channels: ChannelMap, remove: Removal) -> dict[str, float]:
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
