"""From a notebook to groups: who is connected, who is pinned, who touches the same parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.channels.call import layer_name
from secateur.channels.groups import (
    ChannelGroup,
    ChannelMap,
    Layer,
    Member,
    Mixing,
    Pinned,
    Product,
    fingerprint,
)
from secateur.channels.labels import Notebook, Pin

if TYPE_CHECKING:
    from secateur.channels.run import Run

Indices = NDArray[np.int64]


def collect(run: Run) -> ChannelMap:
    """The channel map of a recorded run."""
    notebook = run.notebook
    component = notebook.components()
    tracks = _tracks(notebook, component)
    reason = _reasons(notebook, component)
    if _pin_as_wide(run, component, reason):
        reason = _reasons(notebook, component)
    parts = [component[labels.numpy()] for labels in notebook.parts]
    kind = _kinds([track.channels for track in tracks] + parts, reason < 0)
    groups, group_of = _groups(notebook, tracks, kind)
    return ChannelMap(
        groups=groups,
        layers=_layers(run, component, groups, group_of),
        products=_products(run, component, groups, group_of),
        pinned=_pinned_rows(run, tracks, reason, group_of),
        mixing=_mixing_rows(run, component, groups, group_of),
        unknown=tuple(f"{name} ({source})" for name, source in run.unknown.items()),
        shapes=run.shapes,
        buffers=tuple(run.buffers),
        aliases=run.aliases,
        fingerprint=fingerprint(run.shapes, groups),
    )


@dataclass(frozen=True)
class _Track:
    """Dimensions of parameters along which the same labels run, and the channels they stand for.

    `owners` are (number in order of first use, parameter, dim); `channels` has shape (size,).
    """

    owners: list[tuple[int, str, int]]
    channels: Indices


def _tracks(notebook: Notebook, component: Indices) -> list[_Track]:
    found: dict[tuple[int, ...], _Track] = {}
    for number, ((parameter, dim), labels) in enumerate(notebook.labels.items()):
        key = labels.data_ptr(), labels.numel(), labels.stride(0)
        if key not in found:
            found[key] = _Track([], component[labels.numpy()])
        found[key].owners.append((number, parameter, dim))
    return list(found.values())


def _reasons(notebook: Notebook, component: Indices) -> Indices:
    """For every channel the first pin that says why it stays (a spoken one if there is), or -1."""
    reason = np.full(component.max(initial=-1) + 1, -1)
    for silent in (False, True):
        for k, pin in enumerate(notebook.pins):
            if pin.silent == silent:
                hit = component[pin.labels.numpy()]
                reason[hit[reason[hit] < 0]] = k
    return reason


def _pin_as_wide(run: Run, component: Indices, reason: Indices) -> bool:
    """Pin what must have as many channels as something of which none can go; whether there is."""
    n_pins = len(run.notebook.pins)
    for rows, source in run.equally_many:
        stays = [bool((reason[component[row.numpy()]] >= 0).all()) for row in rows]
        if any(stays) and not all(stays):
            text = "is as many as in another layer or direction, of which none can go"
            run.notebook.pins += [Pin(row, text, source) for row in rows]
    return len(run.notebook.pins) > n_pins


def _kinds(tracks: list[Indices], free: NDArray[np.bool_]) -> Indices:
    """A number for every channel, equal for those that run along the same tracks equally often.

    Tracks are parameters' dimensions and slices, as channels. Kinds are numbered by first
    appearance; what is not free has -1.
    """
    signature = np.zeros(len(free), dtype=np.uint64)
    if tracks:
        number = np.arange(1, len(tracks) + 1, dtype=np.uint64)
        number *= np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            number = (number ^ (number >> np.uint64(shift))) * np.uint64(factor)
        lengths = [len(channels) for channels in tracks]
        np.add.at(signature, np.concatenate(tracks), np.repeat(number, lengths))
    _, first, inverse = np.unique(signature[free], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    kind = np.full(len(free), -1)
    kind[free] = rank[inverse]
    return kind


def _groups(
    notebook: Notebook, tracks: list[_Track], kind: Indices
) -> tuple[tuple[ChannelGroup, ...], Indices]:
    """The groups, in order of first appearance, and for every channel its group's number or -1.

    A channel that is alone of its kind makes no group: one must always stay.
    """
    n_of_kind = np.bincount(kind[kind >= 0])
    members: dict[int, list[tuple[int, Member]]] = {}
    for track in tracks:
        for k, index in _rows(kind[track.channels], track.channels, n_of_kind):
            for number, parameter, dim in track.owners:
                role: Any = notebook.roles.get((parameter, dim), "free")
                member = Member(parameter, dim, role, index)
                members.setdefault(k, []).append((number, member))
    taken: dict[str, int] = {}
    groups: list[ChannelGroup] = []
    number_of_kind = np.full(len(n_of_kind) + 1, -1)  # the last stands for -1, no kind
    for k in sorted(members):
        own = tuple(member for _, member in sorted(members[k], key=lambda entry: entry[0]))
        name = _group_name(own)
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}:{taken[name]}"
        number_of_kind[k] = len(groups)
        groups.append(ChannelGroup(name, int(n_of_kind[k]), own))
    return tuple(groups), number_of_kind[kind]


def _rows(kinds: Indices, channels: Indices, n_of_kind: Indices) -> Iterator[tuple[int, Indices]]:
    """Of each kind along one track: where its channels lie, (n_channels, k), channels ascending."""
    order = np.lexsort((channels, kinds))
    ends = [*(np.flatnonzero(np.diff(kinds[order])) + 1).tolist(), len(order)]
    start = 0
    for end in ends:
        k = int(kinds[order[start]])
        if k >= 0 and n_of_kind[k] > 1:
            index = order[start:end].reshape(n_of_kind[k], -1)
            index.setflags(write=False)
            yield k, index
        start = end


def _group_name(members: tuple[Member, ...]) -> str:
    return layer_name(next((m for m in members if m.role == "out"), members[0]).parameter)


def _pinned_rows(
    run: Run, tracks: list[_Track], reason: Indices, group_of: Indices
) -> tuple[Pinned, ...]:
    """Filters and free parameters that cannot go, one row for each reason."""
    notebook = run.notebook
    line_of = {layer.weight: layer.source for layer in run.layers}
    rows: list[tuple[int, Pinned]] = []
    for track in tracks:
        left_out = track.channels[group_of[track.channels] < 0]
        if not len(left_out):
            continue
        why, first, counts = np.unique(reason[left_out], return_index=True, return_counts=True)
        order = np.argsort(first)
        for number, parameter, dim in track.owners:
            if notebook.roles.get((parameter, dim), "free") not in ("out", "free"):
                continue
            for k, n in zip(why[order].tolist(), counts[order].tolist(), strict=True):
                if k < 0 and parameter in line_of:
                    alone = "all move together, and one must stay"
                    rows.append((number, Pinned(parameter, dim, n, alone, line_of[parameter])))
                elif k >= 0 and not (pin := notebook.pins[k]).silent:
                    rows.append((number, Pinned(parameter, dim, n, pin.reason, pin.source)))
    return tuple(_merged(row for _, row in sorted(rows, key=lambda entry: entry[0])))


def _merged(rows: Iterable[Pinned]) -> list[Pinned]:
    """One row where several pins give the same reason at the same line."""
    count: Counter[tuple[str, int, str, str]] = Counter()
    for row in rows:
        count[row.parameter, row.dim, row.reason, row.source] += row.n_channels
    return [Pinned(p, dim, n, reason, at) for (p, dim, reason, at), n in count.items()]


def _layers(
    run: Run, component: Indices, groups: tuple[ChannelGroup, ...], group_of: Indices
) -> tuple[Layer, ...]:
    """The layers, with the share of their positions that goes with each channel of a group."""
    layers = list(run.layers)
    for at, labels in run.rows.items():
        numbers = group_of[component[labels.numpy()]]
        per_channel = _per_channel(numbers, layers[at].positions, groups)
        layers[at] = replace(layers[at], per_channel=per_channel)
    return tuple(layers)


def _products(
    run: Run, component: Indices, groups: tuple[ChannelGroup, ...], group_of: Indices
) -> tuple[Product, ...]:
    """The products of feature maps, with what goes along each size with each channel of a group."""
    products = []
    for product, along in run.products:
        per_channel = tuple(
            {}
            if labels is None
            else _per_channel(group_of[component[labels.numpy()]], size, groups)
            for size, labels in zip(product.sizes, along, strict=True)
        )
        products.append(replace(product, per_channel=per_channel))
    return tuple(products)


def _per_channel(
    numbers: Indices, positions: int, groups: tuple[ChannelGroup, ...]
) -> dict[str, int]:
    """How many of `positions` go with one channel of each group, given each label's group."""
    counts = np.bincount(numbers + 1)[1:]  # those of no group are -1
    found = {}
    for k in np.flatnonzero(counts).tolist():
        share = positions * int(counts[k]) // len(numbers)
        found[groups[k].name] = share // groups[k].n_channels
    return found


def _mixing_rows(
    run: Run, component: Indices, groups: tuple[ChannelGroup, ...], group_of: Indices
) -> tuple[Mixing, ...]:
    rows = []
    for labels, across in run.mixings:
        counts = np.bincount(group_of[component[labels.numpy()]] + 1)[1:]
        if touched := tuple(sorted(groups[k].name for k in np.flatnonzero(counts).tolist())):
            rows.append(
                Mixing(
                    across.operator,
                    touched,
                    across.reason,
                    across.source,
                    silent=across.silent,
                    weights=across.weights,
                )
            )
    return tuple(rows)
