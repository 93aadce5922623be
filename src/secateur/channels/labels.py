"""Labels: one integer for every index along a parameter's dimension, and who meets whom.

A tensor carries *fields*: for every dimension that can shrink, an integer tensor with the tensor's
number of dimensions that says which channel an element belongs to. A field has full size along its
own dimension and elsewhere size 1, unless the label varies there too (after a view that splits
channels into parts, say). A dimension without a field has a fixed size. This module knows nothing
of operators; `rules` does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

Fields = Mapping[int, Tensor]
"""Dimension -> labels along it."""


@dataclass(frozen=True)
class Meeting:
    """Labels that an operator brought together: `first[i]` meets `second[i]`.

    `call` is the operator's number in the run.
    """

    first: Tensor
    second: Tensor
    operator: str
    source: str
    call: int = -1


@dataclass(frozen=True)
class Pin:
    """Labels that cannot go, because of an operator or of the network's interface."""

    labels: Tensor
    reason: str
    source: str
    silent: bool = False
    call: int = -1


@dataclass
class Notebook:
    """What one run of a network writes down: labels of parameters, meetings, pins and parts.

    `labels` maps (parameter, dim) to the labels along it, (size,), in the order of first use. A
    parameter that takes in what another gives out has the other's labels. `parts` are labels that
    a slice took from beside others; `sliced` are those that it took them from, of a parameter, with
    the operator and the line.
    """

    labels: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    meetings: list[Meeting] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    parts: list[Tensor] = field(default_factory=list)
    sliced: list[tuple[Tensor, str, str]] = field(default_factory=list)
    roles: dict[tuple[str, int], str] = field(default_factory=dict)
    n_labels: int = 0
    _first_of: list[tuple[int, tuple[str, int]]] = field(default_factory=list)
    _distinct: dict[tuple[int, ...], tuple[bool, Tensor]] = field(default_factory=dict)
    _pinned: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    _pins_seen: int = 0

    def fresh(self, size: int, parameter: str = "", dim: int = 0) -> Tensor:
        """Labels that nobody has had, (size,); those of a parameter are kept as its own."""
        first = self.n_labels
        self.n_labels += size
        labels = torch.arange(first, first + size)
        self._distinct[labels.data_ptr(), size, 1] = True, labels
        if parameter:
            self.labels[parameter, dim] = labels
        self._first_of.append((first, (parameter, dim)))
        return labels

    def owner(self, label: int) -> tuple[str, int]:
        """The parameter and dimension that a label was made for."""
        at = bisect_right(self._first_of, label, key=lambda entry: entry[0]) - 1
        return self._first_of[at][1] if at >= 0 else ("", 0)

    def distinct(self, labels: Tensor) -> bool:
        """Whether no label stands twice in a vector."""
        key = labels.data_ptr(), labels.numel(), labels.stride(0)
        if (known := self._distinct.get(key)) is None:
            ordered = np.sort(labels.numpy())
            known = bool((ordered[1:] != ordered[:-1]).all()), labels
            self._distinct[key] = known
        return known[0]

    def is_pinned(self, labels: Tensor) -> bool:
        """Whether all of some labels have been pinned by now."""
        if len(self._pinned) < self.n_labels:
            grown = np.zeros(self.n_labels - len(self._pinned), dtype=bool)
            self._pinned = np.concatenate([self._pinned, grown])
        for pin in self.pins[self._pins_seen :]:
            self._pinned[pin.labels.numpy()] = True
        self._pins_seen = len(self.pins)
        return bool(self._pinned[labels.numpy()].all())

    def pin_silently(self, tensors: Iterable[Fields], reason: str) -> None:
        """Pin all that some tensors carry, without a word in the table."""
        for fields in tensors:
            for labels in fields.values():
                self.pins.append(Pin(labels.reshape(-1), reason, "", silent=True))

    def pin_unreached(self) -> None:
        """Pin what of a parameter no slice takes and nothing meets: another input may reach it.

        Of a table of positions, say, the example is as long as it is.
        """
        if not self.sliced:
            return
        beside = np.ones(self.n_labels, dtype=bool)
        for part in self.parts:
            beside[part.numpy()] = False
        for met in meeting_pairs(self.meetings):
            beside[met] = False
        for labels, operator, source in self.sliced:
            if len(left := labels[torch.from_numpy(beside[labels.numpy()])]):
                reason = f"lies beyond what the example reaches in {operator}"
                self.pins.append(Pin(left, reason, source))

    def blank(self) -> Notebook:
        """A notebook that knows whose labels are whose, and nothing else."""
        return Notebook(n_labels=self.n_labels, _first_of=list(self._first_of))

    def components(self) -> NDArray[np.int64]:
        """Which channel every label belongs to, numbered by first appearance, (n_labels,)."""
        first, second = meeting_pairs(self.meetings)
        if not len(first):
            return np.arange(self.n_labels)
        links = coo_array((np.ones(len(first), bool), (first, second)), shape=(self.n_labels,) * 2)
        n_channels, component = connected_components(links, directed=False)
        appearance = np.empty(n_channels, dtype=np.int64)
        appearance[component[::-1]] = np.arange(self.n_labels)[::-1]  # the last to write is first
        rank = np.empty(n_channels, dtype=np.int64)
        rank[np.argsort(appearance)] = np.arange(n_channels)
        numbered: NDArray[np.int64] = rank[component]
        return numbered


def meeting_pairs(meetings: list[Meeting]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All meetings as two equally long arrays of labels."""
    if not meetings:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first = torch.cat([meeting.first for meeting in meetings]).numpy()
    second = torch.cat([meeting.second for meeting in meetings]).numpy()
    return first, second


def varying(labels: Tensor) -> tuple[int, ...]:
    """Dimensions along which a field varies.

    >>> varying(torch.arange(3).view(1, 3, 1))
    (1,)
    """
    return tuple(dim for dim, size in enumerate(labels.shape) if size > 1)


def as_field(labels: Tensor, dim: int, ndim: int) -> Tensor:
    """Lay a vector of labels, (n,), along dimension `dim` of `ndim`.

    >>> as_field(torch.arange(3), 1, 4).shape
    torch.Size([1, 3, 1, 1])
    """
    shape = [1] * ndim
    shape[dim] = -1
    return labels.view(shape)


def regroup(
    labels: Tensor, dim: int, before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """What a view from shape `before` to shape `after` does to the field of dimension `dim`.

    Dimensions are matched into runs of equal product; only runs in which the label varies are
    expanded, reshaped as the data is, and collapsed again where the label does not vary. Also
    gives the dimensions that may take the place of `dim`.

    >>> labels, dims = regroup(torch.tensor([[[5]], [[7]]]).view(1, 2, 1), 1, (4, 2, 3), (4, 6))
    >>> labels.tolist(), dims
    ([[5, 5, 5, 7, 7, 7]], (1,))
    """
    runs = _runs(before, after)
    if labels.numel() == labels.shape[dim]:
        alone = next(new for old, new in runs if dim in old)
        if len(alone) == 1 and after[alone[0]] == before[dim]:
            return as_field(labels.flatten(), alone[0], len(after)), alone
    sizes: list[int] = []
    expand: list[int] = []
    moved: list[int] = []
    heirs: list[int] = []
    for old, new in runs:
        if dim in old or any(labels.shape[k] > 1 for k in old):
            expand += [before[k] for k in old]
            sizes += [after[k] for k in new]
            moved += new
        else:
            expand += [1] * len(old)
            sizes += [1] * len(new)
        heirs += new if dim in old else ()
    out = labels.expand(expand).reshape(sizes)
    for k in moved:
        if out.shape[k] > 1 and bool((out == out.narrow(k, 0, 1)).all()):
            out = out.narrow(k, 0, 1)
    return out, tuple(heirs)


@lru_cache(maxsize=1024)
def _runs(
    before: tuple[int, ...], after: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Split two shapes of equal product into the shortest runs of equal product.

    Where nothing is left of a dimension all products are zero, and all is one run.
    """
    if 0 in before:
        return [(tuple(range(len(before))), tuple(range(len(after))))]
    runs = []
    i = j = 0
    while i < len(before) or j < len(after):
        start = i, j
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while (left := prod(before[start[0] : i])) != (right := prod(after[start[1] : j])):
            if left < right:
                i += 1
            else:
                j += 1
        runs.append((tuple(range(start[0], i)), tuple(range(start[1], j))))
    return runs
