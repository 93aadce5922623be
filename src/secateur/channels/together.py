"""The channel maps of two readings of one network as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secateur.channels.groups import (
    ChannelGroup,
    ChannelMap,
    Layer,
    Mixing,
    Product,
    fingerprint,
)

Names = Mapping[str, str]
"""Groups of the second map alone -> the names that they go by."""


def together(first: ChannelMap, second: ChannelMap) -> ChannelMap:
    """The first map with the groups that only the second has.

    They are named as the layer and `:heads`, or `:widths` where the first map's are the heads.
    """
    names = _names(first, second)
    of_both = set(map(_places, second.groups))
    groups = [replace(g, reading=int(_places(g) not in of_both)) for g in first.groups]
    for group in reversed([group for group in second.groups if group.name in names]):
        beside = {member.parameter for member in group.members}
        places = [k for k, own in enumerate(groups) if own.members[0].parameter in beside]
        added = replace(group, name=names[group.name], reading=2)
        groups.insert(places[-1] + 1 if places else len(groups), added)
    own = {(m.parameter, m.dim) for g in second.groups if g.name in names for m in g.members}
    return replace(
        first,
        groups=tuple(groups),
        layers=_layers(first.layers, second.layers, names),
        products=_products(first.products, second.products, names),
        pinned=tuple(row for row in first.pinned if (row.parameter, row.dim) not in own),
        mixing=(*first.mixing, *_mixing(second, names)),
        unknown=tuple(dict.fromkeys((*first.unknown, *second.unknown))),
        fingerprint=fingerprint(first.shapes, groups),
    )


def _names(first: ChannelMap, second: ChannelMap) -> dict[str, str]:
    known = set(map(_places, first.groups))
    batches = [along for product in second.products for along in product.per_channel[:-3]]
    heads = {name for along in batches for name in along}
    taken = {group.name for group in first.groups}
    names: dict[str, str] = {}
    for group in second.groups:
        if _places(group) not in known:
            name = f"{group.name}:{'heads' if group.name in heads else 'widths'}"
            while name in taken:
                name += "'"
            taken.add(name)
            names[group.name] = name
    return names


def _places(group: ChannelGroup) -> frozenset[tuple[str, int, bytes]]:
    """Where the channels of a group lie, which tells it from all others."""
    return frozenset((m.parameter, m.dim, m.index.tobytes()) for m in group.members)


def _also(first: Mapping[str, int], second: Mapping[str, int], names: Names) -> dict[str, int]:
    return {**first, **{names[name]: n for name, n in second.items() if name in names}}


def _layers(first: tuple[Layer, ...], second: tuple[Layer, ...], names: Names) -> tuple[Layer, ...]:
    return tuple(
        replace(one, per_channel=_also(one.per_channel, other.per_channel, names))
        for one, other in zip(first, second, strict=True)
    )


def _products(
    first: tuple[Product, ...], second: tuple[Product, ...], names: Names
) -> tuple[Product, ...]:
    return tuple(
        replace(
            one,
            per_channel=tuple(
                _also(*along, names)
                for along in zip(one.per_channel, other.per_channel, strict=True)
            ),
        )
        for one, other in zip(first, second, strict=True)
    )


def _mixing(second: ChannelMap, names: Names) -> list[Mixing]:
    rows = []
    for row in second.mixing:
        if own := tuple(sorted(names[name] for name in row.groups if name in names)):
            rows.append(replace(row, groups=own))
    return rows
