"""What stands against a plan: one run of the shrunken network on shapes, label by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.channels.call import Call
from secateur.channels.cost import Removal, kept_positions, remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.channels.labels import meeting_pairs
from secateur.channels.notes import Given, repeating
from secateur.channels.run import TAKES_PARTS, Run
from secateur.channels.trace import Example, replay, without_collections
from secateur.channels.walk import modules_of
from secateur.errors import TraceError
from secateur.plan.plan import Numbers
from secateur.surgery.numbers import set_attributes
from secateur.surgery.temperature import Rescaling, remedy
from secateur.surgery.widths import follow, mirror
from secateur.surgery.witness import Witness

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Objection:
    """One place where a plan does not line up: what is wrong, whose groups, and where.

    `place` is the operator and the lines of the network's code, where an operator raised. With
    `one_of` not all of the groups need be to blame. A `remedy` makes up for what is wrong.
    """

    text: str
    groups: tuple[str, ...]
    place: tuple[str, ...] = ()
    one_of: bool = False
    remedy: tuple[Rescaling, ...] = ()


@without_collections()
def objections(
    model: nn.Module,
    remove: Removal,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
    attributes: Mapping[str, Numbers],
) -> list[Objection]:
    """Every place seen in one run of the shrunken network that does not line up, or none."""
    book = original.notebook
    kept = kept_positions(channels, remove)
    labels = {}
    for owner, own in book.labels.items():
        stays = kept.get(owner)
        labels[owner] = own if stays is None else own[torch.from_numpy(stays)]
    mirrors = [mirror(module) for _, module in modules_of(model)]

    def change() -> None:
        follow(model, mirrors)
        set_attributes(model, attributes)

    shapes = remaining_shapes(channels, remove)
    given = Given(labels, kept, shapes, change, book.blank(), original.decisions, original.numbers)
    run = Run(model, original.rules, given, with_values=original.with_values)
    witness = Witness(original, channels, remove)
    try:
        replay(run, model, example_input)
    except TraceError as error:
        if found := _misalignments(run, original, witness):
            return found  # what failed later may have come of it
        said = str(error).rpartition("; ")[0]
        text = f"the plan does not fit the network's code: {said}"
        blamed = witness.last_groups(run)
        return [Objection(text, blamed, _place(run.failed, run.place))]
    return _misalignments(run, original, witness)


def _place(call: Call | None, lines: tuple[str, ...]) -> tuple[str, ...]:
    """Operator and lines of a call, to find its like in other blocks."""
    return () if call is None else (str(call.function._schema.name), *lines)


def groups_of_places(
    model: nn.Module, example_input: Example, original: Run, channels: ChannelMap
) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    """Which groups every place in the network's code works on."""
    witness = Witness(original, channels, {group.name: (0,) for group in channels.groups})
    again = repeating(original.decisions)
    run = Run(model, original.rules, again, note_places=True, with_values=original.with_values)
    replay(run, model, example_input)
    labels: dict[tuple[str, ...], list[Labels]] = {}
    for call, lines in zip(run.calls, run.places, strict=True):
        for tensor in call.tensors:
            if not call.is_weight(tensor):
                fields = call.fields(tensor).values()
                known = labels.setdefault(_place(call, lines), [])
                known.extend(f.reshape(-1).numpy() for f in fields)
    return {
        place: witness.groups(np.concatenate(found)) for place, found in labels.items() if found
    }


def _misalignments(run: Run, original: Run, witness: Witness) -> list[Objection]:
    """Labels that met others than before, or were pinned though they could go."""
    n_labels = original.notebook.n_labels
    channel = original.notebook.components()
    pinned = np.zeros(channel.max(initial=-1) + 1, dtype=bool)
    for pin in original.notebook.pins:
        pinned[channel[pin.labels.numpy()]] = True
    known = np.unique(_numbered(*meeting_pairs(original.notebook.meetings), n_labels))
    meetings = run.notebook.meetings
    first, second = meeting_pairs(meetings)
    at = np.repeat(np.arange(len(meetings)), [len(meeting.first) for meeting in meetings])
    fresh = (first >= n_labels) | (second >= n_labels)
    wrong = ~fresh & (first != second)
    wrong[wrong] = ~np.isin(_numbered(first[wrong], second[wrong], n_labels), known)
    old = np.where(first >= n_labels, second, first)
    is_old = fresh & (old < n_labels)
    wrong[is_old] = ~pinned[channel[old[is_old]]]
    found = [
        *_wrong_pieces(run, original, witness, channel),
        *_other_numbers(run, original, witness),
    ]
    for k in np.unique(at[wrong]).tolist():
        here = wrong & (at == k)
        text = (
            f"after the cut {meetings[k].operator} at {meetings[k].source} brings channels "
            "together that did not meet before"
        )
        labels = np.concatenate([first[here], second[here]])
        groups = witness.groups(labels) or witness.groups_before(run, meetings[k].call)
        found.append(Objection(text, groups))
    for pin in run.notebook.pins:
        own = pin.labels.numpy()
        own = own[own < n_labels]
        if not pinned[channel[own]].all():
            text = f"after the cut a prunable dimension {pin.reason} at {pin.source}"
            groups = witness.groups(own) or witness.groups_before(run, pin.call)
            found.append(Objection(text, groups))
    return found if all(one.remedy for one in found) else list(_apart(found))


def _other_numbers(run: Run, original: Run, witness: Witness) -> Iterable[Objection]:
    """Numbers that meet channels and were others before: a width that is used as a value."""
    if run.failed_at or len(run.numbers) != len(original.numbers):
        return
    for now, before in zip(run.numbers, original.numbers, strict=True):
        if now.operator == before.operator and now.numbers != before.numbers:
            one, other = next(
                pair
                for pair in zip(now.numbers, before.numbers, strict=False)
                if pair[0] != pair[1]
            )
            text = (
                f"after the cut {now.operator} at {now.source} computes with {one:.6g}, not "
                f"{other:.6g}: a width is used as a value there"
            )
            cure = remedy(run, now, before)
            yield Objection(text, witness.groups_at(run, now.call), one_of=True, remedy=cure)


def _wrong_pieces(
    run: Run, original: Run, witness: Witness, channel: Labels
) -> Iterable[Objection]:
    """Parts of a dimension that hold other channels than those that are left of the original's."""
    taken: dict[tuple[str, str], list[Call]] = {}
    for call in run.calls:
        if call.name in TAKES_PARTS:
            taken.setdefault((call.name, call.source), []).append(call)
    for before in original.calls:
        if before.name not in TAKES_PARTS:
            continue
        calls = taken.get((before.name, before.source), [])
        if not calls:  # torch leaves out a slice that takes all
            if not run.failed_at and (lost := _left_out(before)):
                text = f"after the cut {before.name} at {before.source} takes all channels"
                yield Objection(text, witness.groups(np.concatenate(lost)))
            continue
        call = calls.pop(0)
        if len(call.outputs) != len(before.outputs):
            text = f"gives {len(call.outputs)} parts, not {len(before.outputs)}"
            fields = before.fields(before.tensors[0]).values()
            labels = np.concatenate([field.reshape(-1).numpy() for field in fields])
            yield Objection(
                f"after the cut {call.name} at {call.source} {text}", witness.groups(labels)
            )
            continue
        yield from _wrong_parts(call, before, witness, channel)


def _wrong_parts(
    call: Call, before: Call, witness: Witness, channel: Labels
) -> Iterable[Objection]:
    """Parts of one call that hold other channels than what is left of the original call's."""
    for out, old in zip(call.outputs, before.outputs, strict=True):
        for dim, field in before.fields(old).items():
            labels = field.reshape(-1).numpy()
            left = labels[witness.stays[labels]]
            found = call.fields(out).get(dim)
            here = left[:0] if found is None else found.reshape(-1).numpy()
            if (here < len(channel)).all() and not np.array_equal(channel[left], channel[here]):
                text = (
                    f"after the cut {call.name} at {call.source} gives {len(here)} channels, "
                    f"not the {len(left)} that are left of its {len(labels)}"
                )
                both = np.concatenate([labels, here])
                beside = before.fields(before.tensors[0])[dim].reshape(-1).numpy()
                groups = witness.groups(both) or witness.groups(beside)
                yield Objection(text, groups, _place(call, call.lines))


def _left_out(call: Call) -> list[Labels]:
    """What lies beside each part that a call took."""
    parts = [call.fields(out) for out in call.outputs]
    found = []
    for dim, whole in call.fields(call.tensors[0]).items():
        for fields in parts:
            part = fields[dim].reshape(-1).numpy()
            if len(part) < whole.numel():
                found.append(np.setdiff1d(whole.reshape(-1).numpy(), part))
    return found


def _apart(found: list[Objection]) -> Iterable[Objection]:
    """Leave out what an earlier objection may have caused: those that share a group with it."""
    seen: set[str] = set()
    for objection in found:
        if seen.isdisjoint(objection.groups):
            yield objection
        seen.update(objection.groups)


def _numbered(first: Labels, second: Labels, n_labels: int) -> Labels:
    """One number for every pair of labels, whichever stands first."""
    return np.minimum(first, second) * n_labels + np.maximum(first, second)
