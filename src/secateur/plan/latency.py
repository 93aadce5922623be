"""Milliseconds of a network, estimated layer by layer from a measured table. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from secateur.channels.cost import Removal, remaining_shapes
from secateur.channels.groups import ChannelMap, Layer
from secateur.errors import PlanError, ReadError
from secateur.reading import parse_json
from secateur.typed import as_type

FORMAT = "secateur.latency/1"
_MEASURE = "measure this network with `secateur latency`, or secateur.measure_latencies from Python"


@dataclass(frozen=True)
class Kind:
    """What layers share that cost the same at the same widths.

    `kind` is that of `Layer`, `kernel` the weight's size in space, `positions` how often the weight
    is applied to one example. `grouping` says how filters see the inputs: "plain", "depthwise" with
    the filters an input, or "groups" with their number.
    """

    kind: str
    kernel: tuple[int, ...]
    grouping: str
    positions: int

    def __str__(self) -> str:
        kernel = "x".join(map(str, self.kernel))
        words = (self.kind, kernel, "" if self.grouping == "plain" else self.grouping)
        return f"{' '.join(word for word in words if word)} on {self.positions} positions"


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of one kind of layer over widths.

    `ms[i][j]` is that of a weight with `in_widths[i]` and `out_widths[j]` numbers along its input
    and output dimension; both ascend.
    """

    kind: Kind
    in_widths: tuple[int, ...]
    out_widths: tuple[int, ...]
    ms: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        shape = (len(self.in_widths), len(self.out_widths))
        widths = (self.in_widths, self.out_widths)
        if {len(row) for row in self.ms} - {shape[1]}:
            raise PlanError(f"the timing of {self.kind} needs a row of ms for each of its widths")
        values = np.asarray(self.ms, dtype=np.float64)
        if values.shape != shape or not values.size or not np.isfinite(values).all():
            raise PlanError(f"the timing of {self.kind} needs finite ms for {shape} widths")
        if (values < 0).any() or any(list(w) != sorted(set(w)) or w[0] < 1 for w in widths):
            raise PlanError(f"the timing of {self.kind} needs ascending widths and ms from 0")

    @cached_property
    def rising(self) -> NDArray[np.float64]:
        """The times with each at least that of every narrower layer, (in_widths, out_widths)."""
        values = np.asarray(self.ms, dtype=np.float64)
        return np.maximum.accumulate(np.maximum.accumulate(values, axis=0), axis=1)

    def at(self, n_in: int, n_out: int) -> float:
        """Milliseconds at widths between the measured ones, linear in both; below the first, its.

        Raises:
            PlanError: the widths are beyond the measured ones.
        """
        if n_in > self.in_widths[-1] or n_out > self.out_widths[-1]:
            raise PlanError(
                f"the latency table knows {self.kind} up to {self.in_widths[-1]} -> "
                f"{self.out_widths[-1]} wide, not {n_in} -> {n_out}; {_MEASURE}"
            )
        rows = [np.interp(n_out, self.out_widths, row) for row in self.rising]
        return float(np.interp(n_in, self.in_widths, rows))


@dataclass(frozen=True)
class LatencyTable:
    """Measured times of layers on one machine, from which those of narrower networks follow.

    An estimate is the sum over layers of their time at their widths, linear between measured widths
    and never falling with them. All else (normalisations, activations, calls) is `rest_ms`, and
    `rest_ns` nanoseconds for every number that a layer puts out.
    `machine` says in words where and how the times were taken.

    Raises:
        PlanError: the rest is negative or not a number.
    """

    machine: str
    timings: tuple[Timing, ...]
    rest_ms: float
    rest_ns: float

    def __post_init__(self) -> None:
        if not (0 <= self.rest_ms < inf and 0 <= self.rest_ns < inf):
            raise PlanError(
                f"the rest of a latency table is from 0; got {self.rest_ms} ms, {self.rest_ns} ns"
            )

    def estimate(self, channels: ChannelMap, remove: Removal | None = None) -> float:
        """Milliseconds of one example once the channels in `remove` are gone.

        Raises:
            PlanError: the table does not know a layer, naming it and how to measure it.
        """
        remove = remove or {}
        shapes = remaining_shapes(channels, remove)
        total = self.rest_ms + 1e-6 * self.rest_ns * numbers_put_out(channels, remove)
        for layer in channels.layers:
            timing = self._by_kind.get(kind_of(layer, channels))
            if timing is None:
                raise PlanError(
                    f"the latency table of {self.machine!r} has no {kind_of(layer, channels)}, "
                    f"which layer {layer.name!r} is; {_MEASURE}"
                )
            shape = shapes[layer.weight]
            gone = sum(n * len(remove.get(name, ())) for name, n in layer.per_channel.items())
            ms = timing.at(shape[layer.in_dim], shape[layer.out_dim])
            total += ms * (layer.positions - gone) / layer.positions
        return total

    @cached_property
    def _by_kind(self) -> Mapping[Kind, Timing]:
        return {timing.kind: timing for timing in self.timings}

    def to_json(self) -> str:
        """The table as JSON text; `from_json` gives an equal table back."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """The table that `to_json` wrote.

        Raises:
            PlanError: the text is not a latency table.
        """
        try:
            raw = parse_json(text)
            if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
                raise ReadError("", f"its format is not {FORMAT!r}")
            table: LatencyTable = as_type(cls, raw)
        except ReadError as error:
            raise PlanError(f"this is not a latency table: {error}; {_MEASURE}") from error
        if len(table._by_kind) < len(table.timings):
            raise PlanError(f"this latency table has two timings of one kind of layer; {_MEASURE}")
        return table


def numbers_put_out(channels: ChannelMap, remove: Removal | None = None) -> int:
    """How many numbers all layers put out for one example, without the channels in `remove`."""
    shapes = remaining_shapes(channels, remove or {})
    return sum(la.positions * shapes[la.weight][la.out_dim] for la in channels.layers)


def kind_of(layer: Layer, channels: ChannelMap) -> Kind:
    """The kind of a layer, as the whole network has it: pruning changes widths only."""
    shape = channels.shapes[layer.weight]
    space = tuple(n for dim, n in enumerate(shape) if dim not in (layer.in_dim, layer.out_dim))
    grouping = grouping_of(layer.conv_groups, shape[layer.in_dim], shape[layer.out_dim])
    if layer.kind == "transposed":
        grouping = grouping_of(layer.conv_groups, shape[layer.out_dim], shape[layer.in_dim])
    return Kind(layer.kind, space, grouping, layer.positions)


def grouping_of(conv_groups: int, per_group: int, n_filters: int) -> str:
    """How the filters of a convolution see its inputs.

    >>> grouping_of(1, 16, 32), grouping_of(32, 1, 32), grouping_of(4, 8, 32)
    ('plain', 'depthwise 1', 'groups 4')
    """
    if conv_groups == 1:
        return "plain"
    if per_group == 1:
        return f"depthwise {n_filters // conv_groups}"
    return f"groups {conv_groups}"
