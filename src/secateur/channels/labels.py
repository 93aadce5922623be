"""Labels: one integer for every index along a parameter's dimension, and who meets whom.

A tensor carries *fields*: for every dimension that can shrink, an integer tensor with the tensor's
number of dimensions that says which channel an element belongs to. A field has full size along its
own dimension and elsewhere size 1, unless the label varies there too (after a view that splits
channels into parts, say). A dimension without a field has a fixed size. This module knows nothing
of operators; `rules` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """What one run of a network writes down: owners of labels, meetings and pins."""

    owners: list[tuple[str, int, int]] = field(default_factory=list)  # parameter, dim, first label
    meetings: list[Meeting] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    roles: dict[tuple[str, int], str] = field(default_factory=dict)
    n_labels: int = 0

    def label(self, parameter: str, dim: int, size: int) -> Tensor:
        """Fresh labels for one dimension, (size,)."""
        first = self.n_labels
        self.owners.append((parameter, dim, first))
        self.n_labels += size
        return torch.arange(first, first + size)

    def owner(self, label: int) -> tuple[str, int]:
        """The parameter and dimension that a label was made for."""
        low, high = 0, len(self.owners)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.owners[middle][2] <= label else (low, middle)
        return self.owners[low][:2]

    def components(self) -> NDArray[np.int64]:
        """Which channel every label belongs to, numbered by first appearance, (n_labels,)."""
        if not self.n_labels:
            return np.zeros(0, dtype=np.int64)
        first, second = meeting_pairs(self.meetings)
        links = coo_array((np.ones(len(first), bool), (first, second)), shape=(self.n_labels,) * 2)
        _, component = connected_components(links, directed=False)
        _, appearance, inverse = np.unique(component, return_index=True, return_inverse=True)
        rank = np.empty(len(appearance), dtype=np.int64)
        rank[np.argsort(appearance)] = np.arange(len(appearance))
        return rank[inverse]


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
    sizes: list[int] = []
    expand: list[int] = []
    moved: list[int] = []
    heirs: list[int] = []
    for old, new in _runs(before, after):
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


def _runs(
    before: tuple[int, ...], after: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Split two shapes of equal product into the shortest runs of equal product."""
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
