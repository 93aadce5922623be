"""The border value of this stage: a written decision which channels go. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from secateur.channels.cost import Cost, cost
from secateur.channels.groups import ChannelMap
from secateur.channels.tabular import (
    MOST,
    Table,
    by_reason,
    clipped,
    notebook,
    paragraph,
    wrapped,
)
from secateur.errors import PlanError, ReadError, shown
from secateur.plan.names import Names
from secateur.plan.wording import asked_and_reached, costs
from secateur.reading import parse_json
from secateur.typed import as_fields

FORMAT = "secateur.plan/1"

Numbers = int | tuple["Numbers", ...]
"""A whole number, a row of them, a row of rows."""

Rescaled = Mapping[str, tuple[tuple[int, float, tuple[int, ...]], ...]]
"""Parameter -> (dimension, factor, positions along it before the cut) that are multiplied."""


@dataclass(frozen=True)
class PruningPlan:
    """Which channels go, decided before anything is cut.

    `remove` maps a group's name to the ascending indices of the channels that go. `before` and
    `after` are predicted; `asked` and `reached` state the budget in the user's words and numbers.
    `held_back` lists groups that were wanted but could not be scored or cut, with the reason;
    `limited` those that a rule of the budget left alone or gave another count, with the rule.
    `attributes` are sizes in the network's code that the cut changes, `module:name` to the value;
    `rescaled` are parts of parameters that the cut multiplies by a number, so that attention which
    is scaled by the width of its heads keeps its temperature;
    `made_biases` names the biases that a repair of the cut gave to layers that had none, which the
    costs do not count.
    """

    remove: Mapping[str, tuple[int, ...]]
    fingerprint: str
    before: Cost
    after: Cost
    asked: Mapping[str, float]
    reached: Mapping[str, float]
    how: str
    held_back: Mapping[str, str]
    limited: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Numbers] = field(default_factory=dict)
    made_biases: tuple[str, ...] = ()
    rescaled: Rescaled = field(default_factory=dict)

    def __str__(self) -> str:
        """Before and after, asked and reached, what was limited or held back: a table to read."""
        lines = [*costs(self.before, self.after).lines(), ""]
        if self.asked:
            lines += [*asked_and_reached(self.asked, self.reached).lines(), ""]
        return "\n".join([*lines, *self.remarks()])

    def _repr_html_(self) -> str:
        """The same for a notebook, with how many channels go from which group."""
        parts = [costs(self.before, self.after).html()]
        if self.asked:
            parts.append(asked_and_reached(self.asked, self.reached).html())
        more = len(self.remove) - MOST
        if self.remove:
            gone = Table(
                "Channels that go",
                ("group", "channels that go"),
                [(clipped(n, MOST), f"{len(gone):,}") for n, gone in self.remove.items()][:MOST],
                below=f"… and {more} more groups: plan.remove holds all" if more > 0 else "",
            )
            parts.append(gone.html())
        return notebook(*parts, paragraph("\n".join(self.remarks())))

    def remarks(self) -> list[str]:
        """How the plan was made, what was limited or held back and why, which sizes change."""
        lines = [f"how: {self.how}"]
        if not self.remove:
            lines.append("no channel goes: the network as it is comes nearest to the budget")
        lines += by_reason("limited", self.limited) + by_reason("held back", self.held_back)
        if self.attributes:
            named = sorted((name.lstrip(":"), value) for name, value in self.attributes.items())
            changed = [f"{name} = {value}" for name, value in named]
            rest = f" and {len(changed) - 3} more (see the plan)" if len(changed) > 3 else ""
            lines.append(f"sizes in the network's code: {', '.join(changed[:3])}{rest}")
        return wrapped(lines)

    def to_json(self) -> str:
        """The plan as JSON text; `from_json` gives an equal plan back."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1, sort_keys=True) + "\n"

    def plain(self) -> dict[str, Any]:
        """What `to_json` writes, as plain values."""
        value: dict[str, Any] = parse_json(self.to_json())
        return value

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """The plan that `to_json` wrote.

        Raises:
            PlanError: the text is not a plan.
        """
        try:
            found = as_fields(_WRITTEN, parse_json(text), optional=_LATER)
            if found.pop("format") != FORMAT:
                raise ReadError("", f"its format is not {FORMAT!r}")
            if "attributes" in found:
                found["attributes"] = {n: as_numbers(v) for n, v in found["attributes"].items()}
            plan = cls(**found)
            for name, gone in plan.remove.items():
                if list(gone) != sorted(set(gone)) or gone[:1] < (0,):
                    raise ReadError("", f"{shown(gone)} of {shown(name)} do not ascend from 0")
            if lacking := sorted(plan.asked.keys() - plan.reached.keys()):
                raise ReadError("", f"it does not say what is reached of {shown(lacking[0])}")
            if min(*asdict(plan.before).values(), *asdict(plan.after).values()) < 0:
                raise ReadError("", "a cost is negative")
        except (ReadError, TypeError) as error:
            text = f"this is not a pruning plan: {error}; write one with plan.to_json()"
            raise PlanError(text) from error
        return plan

    def check(self, channels: ChannelMap) -> None:
        """Refuse a plan that was made for another network or would empty a group.

        Raises:
            PlanError: naming the group and what is wrong.
        """
        if self.fingerprint != channels.fingerprint:
            raise PlanError(
                f"the plan was made for network {self.fingerprint[:12]}, this one is "
                f"{channels.fingerprint[:12]}; trace this network and plan again"
            )
        for name, gone in self.remove.items():
            if name not in channels.by_name:
                raise PlanError(Names(channels).unknown(name))
            n = channels.by_name[name].n_channels
            known = all(isinstance(channel, int) and 0 <= channel < n for channel in gone)
            if not known or list(gone) != sorted(set(gone)):
                raise PlanError(f"group {name!r} has channels 0 to {n - 1}, each once; got {gone}")
            if len(gone) == n:
                raise PlanError(f"the plan would empty group {name!r}; keep at least one of {n}")
        for name, rows in self.rescaled.items():
            shape = channels.shapes.get(name, ())
            for dim, factor, at in rows:
                n = shape[dim] if 0 <= dim < len(shape) else 0
                if not (at and min(at) >= 0 and max(at) < n and factor > 0):
                    raise PlanError(
                        f"the plan multiplies positions {shown(at)} of {shown(name)} along "
                        f"dimension {dim} by {factor}, where it has {n}; plan again"
                    )

    def restated(self, channels: ChannelMap) -> PruningPlan:
        """The plan with the costs that this network has before and after it.

        MACs are those of the example's size, which need not be the one it was planned with.

        Raises:
            PlanError: it states others, saying both.
        """
        before, after = cost(channels), cost(channels, self.remove)
        same_size = self.before.macs == before.macs
        for when, stated, found in (("before", self.before, before), ("after", self.after, after)):
            fits = replace(stated, macs=found.macs) == found
            if not fits or (same_size and stated.macs != found.macs):
                raise PlanError(
                    f"the plan states {_numbers(stated)} {when} the cut, and this network has "
                    f"{_numbers(found)}: the plan was changed by hand or is torn; plan again"
                )
        return self if same_size else replace(self, before=before, after=after)


_WRITTEN: Mapping[str, Any] = {
    "format": str,
    "remove": Mapping[str, tuple[int, ...]],
    "fingerprint": str,
    "before": Cost,
    "after": Cost,
    "asked": Mapping[str, float],
    "reached": Mapping[str, float],
    "how": str,
    "held_back": Mapping[str, str],
    "limited": Mapping[str, str],
    "attributes": Mapping[str, Any],
    "made_biases": tuple[str, ...],
    "rescaled": Mapping[str, tuple[tuple[int, float, tuple[int, ...]], ...]],
}
_LATER = ("limited", "attributes", "made_biases", "rescaled")
"""Fields that a plan need not have."""


def _numbers(of: Cost) -> str:
    return f"{of.params:,} parameters, {of.macs:,} MACs and {of.channels:,} channels"


def as_numbers(value: Any) -> Numbers:
    """Whole numbers, in lists of any depth, as tuples.

    Raises:
        TypeError: something else is among them.

    >>> as_numbers([4, [2, 2]])
    (4, (2, 2))
    """
    if isinstance(value, list | tuple):
        return tuple(map(as_numbers, value))
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{shown(value)} is not a whole number")
    return int(value)
