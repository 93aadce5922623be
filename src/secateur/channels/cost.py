"""Parameters and multiply-accumulates of a network, before and after a plan. Loads no torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Literal, get_args

import numpy as np

from secateur.channels.groups import ChannelGroup, ChannelMap, Layer, Product
from secateur.channels.tabular import Table
from secateur.errors import PlanError, unknown_name

Removal = Mapping[str, Sequence[int]]
"""Group name -> indices of the channels that go."""

Dtype = Literal["float64", "float32", "float16", "bfloat16", "int8"]
"""How a parameter is stored."""

_BYTES: Mapping[str, int] = dict(zip(get_args(Dtype), (8, 4, 2, 2, 1), strict=True))


@dataclass(frozen=True)
class Cost:
    """What one example costs.

    `macs` counts convolutions, linear layers and products of two feature maps, not bias or norm.
    """

    params: int
    macs: int
    channels: int

    def bytes_at(self, dtype: Dtype) -> int:
        """Bytes of all parameters stored as `dtype`; buffers and scales of a quantiser not counted.

        >>> Cost(params=100, macs=0, channels=0).bytes_at("float16")
        200

        Raises:
            PlanError: there is no such type.
        """
        if dtype not in _BYTES:
            raise PlanError(unknown_name("storage type", dtype, _BYTES))
        return self.params * _BYTES[dtype]

    def __str__(self) -> str:
        """Three rows with what they count.

        >>> print(Cost(params=16_410, macs=1_321_056, channels=392))
        channels          392  that can be removed
        parameters     16,410  65.6 kB in float32
        MACs        1,321,056  of one example
        """
        rows = (
            ("channels", f"{self.channels:,}", "that can be removed"),
            (
                "parameters",
                f"{self.params:,}",
                f"{self.bytes_at('float32') / 1000:,.1f} kB in float32",
            ),
            ("MACs", f"{self.macs:,}", "of one example"),
        )
        return "\n".join(Table("Cost", ("", "", ""), rows, (0, 2)).lines())


@dataclass(frozen=True)
class LayerCost:
    """What one module's own parameters cost; a weight used twice counts its MACs twice."""

    name: str
    params: int
    macs: int


def remaining_shapes(channels: ChannelMap, remove: Removal) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and buffer once the channels in `remove` are gone."""
    shapes = {name: list(shape) for name, shape in channels.shapes.items()}
    for name, gone in remove.items():
        for member in channels.by_name[name].members:
            if (member.parameter, member.dim) not in channels.shared:
                shapes[member.parameter][member.dim] -= len(gone) * member.index.shape[1]
    if channels.shared:
        for (name, dim), positions in kept_positions(channels, remove, channels.shared).items():
            shapes[name][dim] = len(positions)
    return {name: tuple(shape) for name, shape in shapes.items()}


def kept_positions(
    channels: ChannelMap, remove: Removal, only: Collection[tuple[str, int]] | None = None
) -> dict[tuple[str, int], np.ndarray]:
    """For every (parameter, dim) that shrinks: the positions along it that stay, ascending.

    With `only`, for those among them.
    """
    gone: dict[tuple[str, int], list[np.ndarray]] = {}
    for name, indices in remove.items():
        rows = np.asarray(indices, dtype=np.int64)
        taken: dict[int, np.ndarray] = {}  # of positions that several members share, once
        for member in channels.by_name[name].members:
            if only is not None and (member.parameter, member.dim) not in only:
                continue
            key = id(member.index)
            if key not in taken:
                taken[key] = member.index[rows].ravel()
            gone.setdefault((member.parameter, member.dim), []).append(taken[key])
    kept: dict[tuple[str, int], np.ndarray] = {}
    same: dict[tuple[int, ...], np.ndarray] = {}
    for (parameter, dim), positions in gone.items():
        size = channels.shapes[parameter][dim]
        own = (size, *map(id, positions))
        if own not in same:
            stays = np.ones(size, dtype=bool)
            for part in positions:
                stays[part] = False
            same[own] = np.flatnonzero(stays)
        kept[parameter, dim] = same[own]
    return kept


def cost(channels: ChannelMap, remove: Removal | None = None) -> Cost:
    """Cost of the network once the channels in `remove` are gone (none by default).

    `channels` of the answer counts prunable channels that stay.

    Raises:
        PlanError: there is no group of this name.
    """
    remove = remove or {}
    for name in remove:
        if name not in channels.by_name:
            raise PlanError(unknown_name("channel group", str(name), channels.by_name))
    shapes = remaining_shapes(channels, remove)
    buffers = set(channels.buffers)
    return Cost(
        params=sum(prod(shape) for name, shape in shapes.items() if name not in buffers),
        macs=sum(_positions(la, remove) * prod(shapes[la.weight]) for la in _counted(channels))
        + sum(_product_macs(channels, product, remove) for product in channels.products),
        channels=sum(g.n_channels for g in channels.groups) - sum(map(len, remove.values())),
    )


def layer_costs(channels: ChannelMap, remove: Removal | None = None) -> tuple[LayerCost, ...]:
    """Cost of every module with parameters of its own once the channels in `remove` are gone.

    Rows stand in the order of the network's parameters and add up to `cost`; a parameter of the
    outermost module is a row of its own, and so is a module that multiplies feature maps.
    """
    remove = remove or {}
    shapes = remaining_shapes(channels, remove)
    buffers = set(channels.buffers)
    params: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in buffers:
            params[owner_module(name)] = params.get(owner_module(name), 0) + prod(shape)
    macs = dict.fromkeys(params, 0)
    for weight, count in weight_macs(channels, remove).items():
        macs[owner_module(weight)] = macs.get(owner_module(weight), 0) + count
    for product in channels.products:
        macs[product.name] = macs.get(product.name, 0) + _product_macs(channels, product, remove)
    return tuple(LayerCost(name, params.get(name, 0), count) for name, count in macs.items())


def weight_macs(channels: ChannelMap, remove: Removal | None = None) -> dict[str, int]:
    """Multiply-accumulates of every weight, all its uses, once the channels in `remove` are gone.

    With those of products of two feature maps they add up to `cost`.
    """
    remove = remove or {}
    shapes = remaining_shapes(channels, remove)
    macs: dict[str, int] = {}
    for layer in _counted(channels):
        uses = _positions(layer, remove) * prod(shapes[layer.weight])
        macs[layer.weight] = macs.get(layer.weight, 0) + uses
    return macs


def group_costs(channels: ChannelMap) -> dict[str, Cost]:
    """What would go with all channels of each group: the most that the group can give."""
    uses: dict[str, list[Layer]] = {}
    for layer in _counted(channels):
        for key in {layer.weight, *layer.per_channel}:
            uses.setdefault(key, []).append(layer)
    products: dict[str, list[Product]] = {}
    for product in channels.products:
        for name in {name for along in product.per_channel for name in along}:
            products.setdefault(name, []).append(product)
    buffers = set(channels.buffers)
    return {
        group.name: _group_cost(channels, group, uses, products.get(group.name, ()), buffers)
        for group in channels.groups
    }


def _group_cost(
    channels: ChannelMap,
    group: ChannelGroup,
    uses: Mapping[str, list[Layer]],
    products: Sequence[Product],
    buffers: set[str],
) -> Cost:
    shapes = {member.parameter: list(channels.shapes[member.parameter]) for member in group.members}
    for member in group.members:
        shapes[member.parameter][member.dim] -= member.index.size
    full = channels.shapes
    params = sum(prod(full[name]) - prod(s) for name, s in shapes.items() if name not in buffers)
    touched = {id(la): la for key in (group.name, *shapes) for la in uses.get(key, ())}
    macs = 0
    for layer in touched.values():
        gone = layer.per_channel.get(group.name, 0) * group.n_channels
        left = (layer.positions - gone) * prod(shapes.get(layer.weight, full[layer.weight]))
        macs += layer.positions * prod(full[layer.weight]) - left
    everything = {group.name: range(group.n_channels)}
    for product in products:
        macs += _product_macs(channels, product, {}) - _product_macs(channels, product, everything)
    return Cost(params, macs, group.n_channels)


def owner_module(parameter: str) -> str:
    """The module a parameter belongs to; a parametrised weight belongs to its layer.

    >>> owner_module("stem.conv.bias"), owner_module("scale")
    ('stem.conv', 'scale')
    >>> owner_module("fc.parametrizations.weight.original0")
    'fc'
    """
    layer, parametrised, _ = parameter.partition(".parametrizations.")
    return layer if parametrised else parameter.rpartition(".")[0] or parameter


def _counted(channels: ChannelMap) -> list[Layer]:
    return [layer for layer in channels.layers if layer.counted]


def _positions(layer: Layer, remove: Removal) -> int:
    gone = sum(n * len(remove.get(group, ())) for group, n in layer.per_channel.items())
    return layer.positions - gone


def _product_macs(channels: ChannelMap, product: Product, remove: Removal) -> int:
    along = zip(product.sizes, product.per_channel, strict=True)
    return prod(_left(channels, *one, remove) for one in along) // product.examples


def _left(channels: ChannelMap, size: int, along: Mapping[str, int], remove: Removal) -> int:
    """What is left of a dimension; what goes with a head and with a width of it goes once."""
    gone = {name: n * len(remove.get(name, ())) for name, n in along.items()}
    left = size - sum(gone.values())
    for pair in combinations(along, 2):
        if frozenset(pair) in channels.crossing:
            one, other = pair
            covered = along[one] * channels.by_name[one].n_channels
            left += gone[one] * gone[other] // covered
    return left
