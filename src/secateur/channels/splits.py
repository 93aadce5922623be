"""Views that split channels into heads and widths, which can both shrink.

A run takes one of the two for the channels. Where the other varies as well in a product of feature
maps, as heads do in attention, a second run takes that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

Choices = dict[tuple[int, int], int]
"""Number of an operator in a run, and a dimension that it views -> the one that takes its place."""


class Split(NamedTuple):
    """A view that made several dimensions, `dims`, of one of channels, and which was `chosen`.

    `at` tells it from others; `labels` is the field as it lies in the output.
    """

    at: tuple[int, int]
    labels: Tensor
    dims: tuple[int, ...]
    chosen: int


def agreeing(splits: Sequence[Split], clashes: Sequence[Tensor]) -> Choices:
    """The last dimension wherever a split went into a product that could not pair its channels.

    As of queries whose heads were taken for channels, and keys whose widths were.

    Args:
        splits: the views of a run that had a choice.
        clashes: labels that a product pinned, as the other side had none there.
    """
    found: Choices = {}
    if splits and clashes:
        pinned = np.concatenate([labels.numpy() for labels in clashes])
        for split in splits:
            if split.chosen != split.dims[-1] and np.isin(split.labels.numpy(), pinned).any():
                found[split.at] = split.dims[-1]
    return found


def other_choices(splits: Sequence[Split], crossings: Sequence[Tensor]) -> Choices:
    """The other dimension wherever a split goes into a product in which that varies too.

    Args:
        splits: the views of a run that had a choice.
        crossings: labels along the dimensions of products that were not chosen.
    """
    if not splits or not crossings:
        return {}
    found: Choices = {}
    first = np.array([int(labels[0]) for labels in crossings])
    for split in splits:
        grid = split.labels.numpy()
        for k in np.flatnonzero(np.isin(first, grid)).tolist():
            at = np.nonzero(np.isin(grid, crossings[k].numpy()))
            varying = [dim for dim in split.dims if np.ptp(at[dim]) > 0]
            if len(varying) == 1 and varying[0] != split.chosen:
                found[split.at] = varying[0]
                break
    return found
