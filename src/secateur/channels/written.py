"""A channel map out of a file, held against itself before anybody relies on it. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.channels.groups import (
    ChannelGroup,
    ChannelMap,
    Layer,
    Member,
    Mixing,
    Pinned,
    Product,
    Role,
    fingerprint,
)
from secateur.errors import ChannelMapError, ReadError, shown
from secateur.reading import parse_json
from secateur.typed import as_fields

_FIELDS: Mapping[str, Any] = {
    "groups": tuple[Any, ...],
    "layers": tuple[Layer, ...],
    "products": tuple[Product, ...],
    "pinned": tuple[Pinned, ...],
    "mixing": tuple[Mixing, ...],
    "unknown": tuple[str, ...],
    "shapes": Mapping[str, tuple[int, ...]],
    "buffers": tuple[str, ...],
    "aliases": Mapping[str, str],
    "fingerprint": str,
}
_WIDEST = 1 << 26
"""Numbers along one dimension of a parameter, at most: a map says how much is set apart for it."""


def read(text: str) -> ChannelMap:
    """The map that `ChannelMap.to_json` wrote.

    Raises:
        ChannelMapError: the text is not a channel map, or one that contradicts itself.
    """
    try:
        raw = parse_json(text)
        found = as_fields(_FIELDS, raw)
        found["groups"] = tuple(_group(one, f"groups[{k}]") for k, one in enumerate(raw["groups"]))
        channels = ChannelMap(**found)
    except ReadError as error:
        raise ChannelMapError(
            f"this is not a channel map: {error}; write one with ChannelMap.to_json"
        ) from error
    if (why := next(_contradictions(channels), None)) is not None:
        raise ChannelMapError(
            f"this channel map contradicts itself: {why}; write it again with ChannelMap.to_json"
        )
    return channels


_GROUP = {"name": str, "n_channels": int, "members": tuple[Any, ...], "reading": int}
_MEMBER = {"parameter": str, "dim": int, "role": Role, "index": Any}


def _group(raw: Any, where: str) -> ChannelGroup:
    """One group; positions that several members share are one array again."""
    found = as_fields(_GROUP, raw, where)
    if not found["members"]:
        raise ReadError("", f"{where} has no members")
    same: dict[tuple[object, ...], NDArray[np.int64]] = {}
    members = []
    for k, one in enumerate(found["members"]):
        own = as_fields(_MEMBER, one, f"{where}.members[{k}]")
        index = _index(own["index"], f"{where}.members[{k}].index")
        index = same.setdefault((index.shape, index.tobytes()), index)
        members.append(Member(**own | {"index": index}))
    return ChannelGroup(**found | {"members": tuple(members)})


def _index(rows: Any, where: str) -> NDArray[np.int64]:
    try:
        index = np.array(rows)
    except (ValueError, TypeError, OverflowError):
        index = np.empty(0)
    if index.ndim != 2 or not index.size or index.dtype != np.int64:
        raise ReadError("", f"{where}: {shown(rows)} is no row of positions a channel")
    index.setflags(write=False)
    return index


def _contradictions(channels: ChannelMap) -> Iterator[str]:
    """In words, what cannot be together."""
    shapes = channels.shapes
    for name, shape in shapes.items():
        if not all(0 <= n <= _WIDEST for n in shape):
            yield f"{shown(name)} has shape {shown(shape)}, of at most {_WIDEST:,} a dimension"
    for kind, names in (("buffer", channels.buffers), ("alias", channels.aliases.values())):
        for name in names:
            if name not in shapes:
                yield f"{kind} {shown(name)} has no shape"
    for name in channels.aliases.keys() & shapes.keys():
        yield f"{shown(name)} is both an alias and a parameter"
    if len(channels.by_name) < len(channels.groups):
        yield "two groups have the same name"
    for group in channels.groups:
        yield from _of_group(channels, group)
    yield from _twice(channels)
    for layer in channels.layers:
        yield from _of_layer(channels, layer)
    for product in channels.products:
        yield from _of_product(channels, product)
    for row in channels.pinned:
        what = f"pinned channels of {shown(row.parameter)}"
        yield from _of_place(channels, row.parameter, (row.dim,), what)
    for name in chain.from_iterable(row.groups for row in channels.mixing):
        if name not in channels.by_name:
            yield f"an operator across channels has group {shown(name)}, which is not there"
    if channels.fingerprint != fingerprint(shapes, channels.groups):
        yield "its fingerprint is that of other shapes or groups"


def _of_place(
    channels: ChannelMap, parameter: str, dims: tuple[int, ...], what: str
) -> Iterator[str]:
    if parameter not in channels.shapes:
        yield f"{what}: there is no {shown(parameter)}"
        return
    n = len(channels.shapes[parameter])
    for dim in dims:
        if not 0 <= dim < n:
            yield f"{what}: {shown(parameter)} has {n} dimensions and no dimension {dim}"


def _of_group(channels: ChannelMap, group: ChannelGroup) -> Iterator[str]:
    what = f"group {shown(group.name)}"
    if group.n_channels < 1 or group.reading not in (0, 1, 2):
        yield f"{what} has {group.n_channels} channels and reading {group.reading}"
    for member in group.members:
        place = list(_of_place(channels, member.parameter, (member.dim,), what))
        yield from place
        if place:
            continue
        size = channels.shapes[member.parameter][member.dim]
        if len(member.index) != group.n_channels:
            yield (
                f"{what} has {group.n_channels} channels, and {len(member.index)} rows of "
                f"positions in {shown(member.parameter)}"
            )
        if member.index.min() < 0 or member.index.max() >= size:
            yield (
                f"{what} has positions {member.index.min()} to {member.index.max()} of "
                f"{shown(member.parameter)}, which has {size} along dimension {member.dim}"
            )


def _twice(channels: ChannelMap) -> Iterator[str]:
    """Positions that two channels have, but for those of a head and of a place in it."""
    of: dict[tuple[str, int], list[tuple[int, NDArray[np.int64]]]] = {}
    for group in channels.groups:
        for member in group.members:
            entry = (group.reading, member.index.ravel())
            of.setdefault((member.parameter, member.dim), []).append(entry)
    for (parameter, dim), entries in of.items():
        for reading in (1, 2):
            own = [index for k, index in entries if k in (0, reading)]
            taken = np.concatenate(own) if own else np.empty(0)
            if len(np.unique(taken)) < len(taken):
                yield f"two channels have the same position of {shown(parameter)}, dimension {dim}"
                break


def _of_layer(channels: ChannelMap, layer: Layer) -> Iterator[str]:
    what = f"layer {shown(layer.name)}"
    yield from _of_place(channels, layer.weight, (layer.out_dim, layer.in_dim), what)
    if layer.conv_groups < 1 or layer.positions < 0:
        yield f"{what} has {layer.conv_groups} groups and {layer.positions} positions"
    yield from _of_along(channels, layer.per_channel, layer.positions, what)


def _of_product(channels: ChannelMap, product: Product) -> Iterator[str]:
    what = f"product {shown(product.name)}"
    if product.examples < 1 or len(product.sizes) != len(product.per_channel):
        yield (
            f"{what} is of {product.examples} examples, {len(product.sizes)} sizes and "
            f"{len(product.per_channel)} rows of groups"
        )
        return
    for size, along in zip(product.sizes, product.per_channel, strict=True):
        yield from _of_along(channels, along, size, what)


def _of_along(
    channels: ChannelMap, along: Mapping[str, int], size: int, what: str
) -> Iterator[str]:
    for name, each in along.items():
        group = channels.by_name.get(name)
        if group is None:
            yield f"{what} has group {shown(name)}, which is not there"
        elif not 0 <= each * group.n_channels <= size:
            yield f"{what} has {each} of {size} positions for each channel of group {shown(name)}"
