"""Parameters and multiply-accumulates of a network, before and after a plan. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.channels.groups import ChannelMap, Layer

Removal = Mapping[str, Sequence[int]]
"""Group name -> indices of the channels that go."""


@dataclass(frozen=True)
class Cost:
    """What one example costs; `macs` counts convolutions and linear layers, not bias or norm."""

    params: int
    macs: int
    channels: int


def remaining_shapes(channels: ChannelMap, remove: Removal) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and buffer once the channels in `remove` are gone."""
    shapes = {name: list(shape) for name, shape in channels.shapes.items()}
    for name, gone in remove.items():
        for member in channels.by_name[name].members:
            shapes[member.parameter][member.dim] -= len(gone) * member.index.shape[1]
    return {name: tuple(shape) for name, shape in shapes.items()}


def kept_positions(channels: ChannelMap, remove: Removal) -> dict[tuple[str, int], np.ndarray]:
    """For every (parameter, dim) that shrinks: the positions along it that stay, ascending."""
    gone: dict[tuple[str, int], list[np.ndarray]] = {}
    for name, indices in remove.items():
        for member in channels.by_name[name].members:
            rows = member.index[np.asarray(indices, dtype=np.int64)]
            gone.setdefault((member.parameter, member.dim), []).append(rows.ravel())
    kept = {}
    for (parameter, dim), positions in gone.items():
        stays = np.ones(channels.shapes[parameter][dim], dtype=bool)
        stays[np.concatenate(positions)] = False
        kept[parameter, dim] = np.flatnonzero(stays)
    return kept


def cost(channels: ChannelMap, remove: Removal | None = None) -> Cost:
    """Cost of the network once the channels in `remove` are gone (none by default).

    `channels` of the answer counts prunable channels that stay.
    """
    remove = remove or {}
    shapes = remaining_shapes(channels, remove)
    buffers = set(channels.buffers)
    return Cost(
        params=sum(prod(shape) for name, shape in shapes.items() if name not in buffers),
        macs=sum(_positions(la, remove) * prod(shapes[la.weight]) for la in channels.layers),
        channels=sum(g.n_channels for g in channels.groups) - sum(map(len, remove.values())),
    )


def _positions(layer: Layer, remove: Removal) -> int:
    gone = sum(n * len(remove.get(group, ())) for group, n in layer.per_channel.items())
    return layer.positions - gone
