"""From a notebook to groups: who is connected, who is pinned, who touches the same parameters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from secateur.channels.call import layer_name
from secateur.channels.groups import ChannelGroup, ChannelMap, Layer, Member, Mixing, Pinned, Role
from secateur.channels.labels import Notebook

if TYPE_CHECKING:
    from secateur.channels.trace import Run

Indices = NDArray[np.int64]


def collect(notebook: Notebook, run: Run, digest: Any) -> ChannelMap:
    """Turn one run's notebook into the channel map."""
    component = notebook.components()
    owner_of = _owner_of_labels(notebook)
    pinned, reasons = _pinned(notebook, component)
    groups, in_group = _groups(notebook, component, owner_of, ~pinned[component])
    for group in groups:
        for member in group.members:
            digest.update(f"{group.name} {member.parameter} {member.dim}".encode())
            digest.update(member.index.tobytes())
    return ChannelMap(
        groups=groups,
        layers=_layers(run, component, groups, in_group),
        pinned=_pinned_rows(run, component, in_group, pinned, reasons),
        mixing=_mixing_rows(run, component, in_group),
        unknown=tuple(f"{name} ({source})" for name, source in run.unknown.items()),
        shapes=run.shapes,
        buffers=tuple(run.buffers),
        aliases=run.aliases,
        fingerprint=digest.hexdigest(),
    )


def _owner_of_labels(notebook: Notebook) -> Indices:
    starts = np.array([first for _, _, first in notebook.owners], dtype=np.int64)
    return np.searchsorted(starts, np.arange(notebook.n_labels), side="right") - 1


def _pinned(notebook: Notebook, component: Indices) -> tuple[NDArray[np.bool_], dict[int, int]]:
    """Which channels are pinned, and the first pin that says why (a spoken one if there is)."""
    pinned = np.zeros(component.max(initial=-1) + 1, dtype=bool)
    reasons: dict[int, int] = {}
    for silent in (False, True):
        for k, pin in enumerate(notebook.pins):
            if pin.silent == silent:
                hit = np.unique(component[pin.labels.numpy()])
                for channel in hit[~pinned[hit]].tolist():
                    reasons[channel] = k
                pinned[hit] = True
    return pinned, reasons


def _groups(
    notebook: Notebook, component: Indices, owner_of: Indices, free: NDArray[np.bool_]
) -> tuple[tuple[ChannelGroup, ...], dict[int, str]]:
    """The groups, in order of first appearance, and the group of every channel in one.

    A channel that is alone of its kind makes no group: one must always stay.
    """
    labels = np.flatnonzero(free)
    if not len(labels):
        return (), {}
    labels = labels[np.argsort(component[labels], kind="stable")]
    kind = _kinds(component[labels], owner_of[labels])
    labels = labels[np.argsort(kind, kind="stable")]
    _, starts = np.unique(np.sort(kind), return_index=True)
    first_label = np.array([first for _, _, first in notebook.owners], dtype=np.int64)
    taken: dict[str, int] = {}
    groups: list[ChannelGroup] = []
    in_group: dict[int, str] = {}
    for rows in np.split(labels, starts[1:]):
        channels = np.unique(component[rows])
        members = []
        for owner in np.unique(owner_of[rows]):
            parameter, dim, _ = notebook.owners[owner]
            positions = rows[owner_of[rows] == owner] - first_label[owner]
            role = cast(Role, notebook.roles.get((parameter, dim), "free"))
            members.append(Member(parameter, dim, role, positions.reshape(len(channels), -1)))
        if len(channels) == 1:
            continue
        name = _group_name(members)
        taken[name] = taken.get(name, 0) + 1
        name = name if taken[name] == 1 else f"{name}:{taken[name]}"
        groups.append(ChannelGroup(name, len(channels), tuple(members)))
        in_group |= dict.fromkeys(channels.tolist(), name)
    return tuple(groups), in_group


def _kinds(channel: Indices, owner: Indices) -> Indices:
    """A number for every label, equal for channels that touch the same owners equally often.

    Kinds are numbered by first appearance; `channel` is ascending.
    """
    (channels, owners), count = np.unique(np.stack([channel, owner]), axis=1, return_counts=True)
    mixed = owners.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= count.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    _, first = np.unique(channels, return_index=True)
    signature = np.add.reduceat(mixed, first)
    _, appearance, inverse = np.unique(signature, return_index=True, return_inverse=True)
    rank = np.empty(len(appearance), dtype=np.int64)
    rank[np.argsort(appearance)] = np.arange(len(appearance))
    return rank[inverse][np.unique(channel, return_inverse=True)[1]]


def _group_name(members: list[Member]) -> str:
    return layer_name(next((m for m in members if m.role == "out"), members[0]).parameter)


def _pinned_rows(
    run: Run,
    component: Indices,
    in_group: dict[int, str],
    pinned: NDArray[np.bool_],
    reasons: dict[int, int],
) -> tuple[Pinned, ...]:
    """Filters and free parameters that cannot go, one row for each reason."""
    notebook = run.notebook
    line_of = {layer.weight: layer.source for layer in run.layers}
    rows: Counter[tuple[str, int, str, str]] = Counter()
    starts = [first for _, _, first in notebook.owners] + [notebook.n_labels]
    for k, (parameter, dim, first) in enumerate(notebook.owners):
        if not parameter or notebook.roles.get((parameter, dim), "free") not in ("out", "free"):
            continue
        for channel in component[first : starts[k + 1]].tolist():
            if pinned[channel]:
                pin = notebook.pins[reasons[channel]]
                if not pin.silent:
                    rows[parameter, dim, pin.reason, pin.source] += 1
            elif channel not in in_group and parameter in line_of:
                alone = "all move together, and one must stay"
                rows[parameter, dim, alone, line_of[parameter]] += 1
    return tuple(Pinned(p, dim, n, reason, at) for (p, dim, reason, at), n in rows.items())


def _layers(
    run: Run, component: Indices, groups: tuple[ChannelGroup, ...], in_group: dict[int, str]
) -> tuple[Layer, ...]:
    """The layers, with the share of their positions that goes with each channel of a group."""
    layers = list(run.layers)
    n_channels = {group.name: group.n_channels for group in groups}
    for at, labels in run.rows.items():
        names = Counter(in_group.get(c, "") for c in component[labels.numpy()].tolist())
        positions = layers[at].positions
        per_channel = {
            name: positions * n // len(labels) // n_channels[name]
            for name, n in names.items()
            if name
        }
        layers[at] = replace(layers[at], per_channel=per_channel)
    return tuple(layers)


def _mixing_rows(run: Run, component: Indices, in_group: dict[int, str]) -> tuple[Mixing, ...]:
    rows = []
    for labels, operator, reason, source in run.mixings:
        names = {in_group.get(c) for c in np.unique(component[labels.numpy()]).tolist()}
        if touched := tuple(sorted(name for name in names if name)):
            rows.append(Mixing(operator, touched, reason, source))
    return tuple(rows)
