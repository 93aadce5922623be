"""The border value of this stage: which channels of a network move together. Loads no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ChannelMapError, shown

if TYPE_CHECKING:
    from torch import nn

Role = Literal["out", "in", "norm", "free"]
"""What a group's channels are to a parameter: filters of a convolution (`out`), inputs of one
(`in`), scales, shifts and statistics of a normalisation (`norm`), or anything else (`free`)."""


@dataclass(frozen=True)
class Member:
    """Where a group's channels lie along one dimension of one parameter or buffer.

    `index` has shape (n_channels, k): row j holds the k positions that belong to channel j.
    """

    parameter: str
    dim: int
    role: Role
    index: NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that touch the same parameters: removing channel j removes row j of every member.

    A row of a weight may be of one head, and have one place in its head: heads and widths share
    positions. Then they are of different readings, the first or the second; groups of one reading,
    and those of both, `reading` 0, share none.
    """

    name: str
    n_channels: int
    members: tuple[Member, ...]
    reading: int = 0


@dataclass(frozen=True)
class Layer:
    """One use of a weight in a contraction: what a criterion scores and what the cost counts.

    `positions` is how many times the whole weight is applied to one example, so that
    MACs = positions * weight.numel(). `norm` names the batch norm that directly follows. Where the
    weight is applied to every channel on its own, `per_channel` maps these channels' group to the
    positions that go with each channel. Where what is applied is computed of more, fewer or other
    elements (stacked, expanded, an outer product), it is not `counted`: a `Product` is instead.
    """

    name: str
    kind: Literal["convolution", "transposed", "linear"]
    weight: str
    out_dim: int
    in_dim: int
    conv_groups: int
    positions: int
    source: str
    norm: str | None = None
    per_channel: Mapping[str, int] = field(default_factory=dict)
    counted: bool = True


@dataclass(frozen=True)
class Product:
    """One product of two feature maps (attention, an einsum) or with a computed weight.

    It is a cost that no parameter's size stands for.

    MACs of one example = product of `sizes` // `examples`. Along dimension d of `sizes`,
    `per_channel[d]` maps a group to the positions that go with each of its channels. `name` is the
    module that multiplies.
    """

    name: str
    operator: str
    sizes: tuple[int, ...]
    per_channel: tuple[Mapping[str, int], ...]
    examples: int
    source: str


@dataclass(frozen=True)
class Pinned:
    """Channels that cannot be removed, why, and the line of the network's code that causes it."""

    parameter: str
    dim: int
    n_channels: int
    reason: str
    source: str


@dataclass(frozen=True)
class Mixing:
    """An operator across channels, with the groups it concerns.

    `silent` holds where a channel of zeros adds nothing to it, as in a sum: removing it is then the
    same as silencing it. Else it takes a statistic of the channels there are (a layer norm, a
    softmax). With `weights` it computes a weight, from the part of it that stays.
    """

    operator: str
    groups: tuple[str, ...]
    reason: str
    source: str
    silent: bool = False
    weights: bool = False


@dataclass(frozen=True)
class ChannelMap:
    """What tracing finds out about a network. Plain data; `to_json` and `from_json` round-trip.

    `model` and `example_input` are what was traced, not copies, so that `score`, `cut` and `mask`
    need no more than the map; `of` gives the map of another network of the same shapes.

    `shapes` holds every parameter and buffer once, under its first name; `aliases` maps the other
    names of shared ones to it. `fingerprint` depends on names, shapes and groups, not on values.
    `recording` is what `cut` needs to prove a plan without tracing again: labels, no
    tensors of the network; it goes into no file.
    """

    groups: tuple[ChannelGroup, ...]
    layers: tuple[Layer, ...]
    pinned: tuple[Pinned, ...]
    mixing: tuple[Mixing, ...]
    unknown: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    buffers: tuple[str, ...]
    aliases: Mapping[str, str]
    fingerprint: str
    products: tuple[Product, ...] = ()
    recording: object = field(default=None, repr=False, compare=False)
    model: nn.Module | None = field(default=None, repr=False, compare=False)
    example_input: Any = field(default=None, repr=False, compare=False)

    def of(self, model: nn.Module, example_input: Any = None) -> ChannelMap:
        """This map, of another network of the same shapes: one with other weights, or of a file.

        `example_input` need not be given where the map knows one.

        Raises:
            ChannelMapError: a parameter or buffer has another shape than in the map, or is missing
                there or here.
        """
        self._check(model)
        example = self.example_input if example_input is None else example_input
        return replace(self, model=model, example_input=example)

    def _check(self, model: nn.Module) -> None:
        if not hasattr(model, "named_parameters"):
            raise ChannelMapError(
                f"a channel map is of a network, and this is a {type(model).__name__}; give a "
                "torch.nn.Module"
            )
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for name, shape in self.shapes.items():
            found = tuple(own[name].shape) if name in own else "missing"
            if found != shape:
                raise ChannelMapError(
                    f"the channel map is of another network: there {name!r} is {shape}, in this "
                    f"{type(model).__name__} it is {found}; trace this network"
                )
        if more := sorted(own.keys() - self.shapes.keys() - self.aliases.keys()):
            raise ChannelMapError(
                f"the channel map is of another network: it does not know {shown(more[0])} of this "
                f"{type(model).__name__}; trace this network"
            )

    @property
    def network(self) -> nn.Module:
        """The network that was traced.

        Raises:
            ChannelMapError: the map comes from a file and knows none, or it was changed in its
                shapes since.
        """
        if self.model is None:
            raise ChannelMapError(
                "this channel map comes from a file or a copy and knows no network; give it one "
                "by channels.of(model, example_input)"
            )
        self._check(self.model)
        return self.model

    @cached_property
    def by_name(self) -> dict[str, ChannelGroup]:
        """Groups by their name."""
        return {group.name: group for group in self.groups}

    @cached_property
    def shared(self) -> frozenset[tuple[str, int]]:
        """The (parameter, dimension)s along which groups share positions."""
        second = [group for group in self.groups if group.reading == 2]
        return frozenset((m.parameter, m.dim) for group in second for m in group.members)

    @cached_property
    def crossing(self) -> frozenset[frozenset[str]]:
        """Pairs of a group of widths and one of heads that share positions."""
        first, second = ([g for g in self.groups if g.reading == k] for k in (1, 2))
        return frozenset(frozenset((a.name, b.name)) for a in first for b in second if _cross(a, b))

    @cached_property
    def by_weight(self) -> dict[str, Layer]:
        """First use of every contraction weight, in the order of use."""
        first: dict[str, Layer] = {}
        for layer in self.layers:
            first.setdefault(layer.weight, layer)
        return first

    def to_json(self) -> str:
        """The whole map as JSON text."""
        raw = asdict(replace(self, recording=None, model=None, example_input=None))
        for name in _NOT_KEPT:
            del raw[name]
        return json.dumps(raw, default=_plain, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ChannelMap:
        """The map that `to_json` wrote.

        Raises:
            ChannelMapError: the text is not a channel map, or one that contradicts itself.
        """
        from secateur.channels.written import read  # it makes what this module defines

        return read(text)

    def __getstate__(self) -> dict[str, object]:
        """What a copy and a pickle hold: all but the network and what was recorded of it."""
        return vars(self) | dict.fromkeys(_NOT_KEPT)

    def __str__(self) -> str:
        """A table of groups, then what was left out and why; see `channels.table`."""
        from secateur.channels.table import table  # it counts with `cost`, which needs this module

        return table(self)

    def _repr_html_(self) -> str:
        """The same table for a notebook."""
        from secateur.channels.table import table_html

        return table_html(self)


_NOT_KEPT = ("recording", "model", "example_input")
"""Fields that go into no file."""


def _cross(one: ChannelGroup, other: ChannelGroup) -> bool:
    places = {(m.parameter, m.dim): m.index for m in one.members}
    return any(
        np.isin(m.index, places[m.parameter, m.dim]).any()
        for m in other.members
        if (m.parameter, m.dim) in places
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value)} is not JSON")


def fingerprint(shapes: Mapping[str, tuple[int, ...]], groups: Iterable[ChannelGroup]) -> str:
    """SHA-256 of names, shapes and groups; positions that several members share count once."""
    digest = hashlib.sha256(repr(sorted(shapes.items())).encode())
    for group in groups:
        number: dict[tuple[tuple[int, ...], bytes], int] = {}
        lines = [group.name]
        for member in group.members:
            positions = (member.index.shape, member.index.tobytes())
            k = number.setdefault(positions, len(number))
            lines.append(f"{member.parameter} {member.dim} {k}")
        digest.update("\n".join(lines).encode())
        for _, content in number:
            digest.update(content)
    return digest.hexdigest()
