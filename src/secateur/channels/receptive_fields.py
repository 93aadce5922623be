"""What a convolution reads at some places of its output, whatever its kernel is like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Kernel:
    """A convolution but for its weights; a number a dimension of space.

    `before` is what is padded with zeros in front; in `groups` parts the channels are read.
    """

    size: Sequence[int]
    stride: Sequence[int]
    before: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    groups: int


def read_at(kernel: Kernel, x: Tensor, sizes_out: Sequence[int], at: Tensor) -> Tensor:
    """What is read to give an output at these places, (conv_groups, places, d).

    d runs over the kernel's elements, and within each over the input channels of the group.

    Args:
        kernel: of the convolution.
        x: its inputs, (n, channels, ...).
        sizes_out: of its output, behind the channels.
        at: numbers of places, counted over all examples and `sizes_out`.

    >>> kernel = Kernel((2,), (1,), (1,), (1,), transposed=False, groups=1)
    >>> read_at(kernel, torch.tensor([[[5.0, 6.0, 7.0]]]), (4,), torch.tensor([0, 1, 3]))
    tensor([[[0., 5.],
             [5., 6.],
             [7., 0.]]])
    """
    sizes = x.shape[2:]
    where = torch.zeros(len(at), 1, dtype=torch.long, device=x.device)
    inside = torch.ones(len(at), 1, dtype=torch.bool, device=x.device)
    places_left = at
    spots = []
    for size in reversed(sizes_out):
        spots.append(places_left % size)
        places_left = places_left // size
    for k, spot in enumerate(reversed(spots)):
        read, valid = _read_along(kernel, k, spot, sizes[k])
        where = (where[:, :, None] * sizes[k] + read[:, None, :]).flatten(1)
        inside = (inside[:, :, None] & valid[:, None, :]).flatten(1)
    where = where + places_left[:, None] * math.prod(sizes)
    rows = x.flatten(2).mT.reshape(-1, x.shape[1])
    rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])  # what lies outside
    found = rows[torch.where(inside, where, len(rows) - 1)]
    grouped = found.reshape(*found.shape[:2], kernel.groups, -1)
    return grouped.permute(2, 0, 1, 3).flatten(2)


def _read_along(kernel: Kernel, k: int, spot: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Along one dimension: where each element of the kernel reads, and whether that is inside."""
    steps = torch.arange(kernel.size[k], device=spot.device) * kernel.dilation[k]
    if kernel.transposed:
        far = spot[:, None] + kernel.before[k] - steps
        read, valid = far // kernel.stride[k], far % kernel.stride[k] == 0
    else:
        read = spot[:, None] * kernel.stride[k] - kernel.before[k] + steps
        valid = torch.ones_like(read, dtype=torch.bool)
    valid = valid & (read >= 0) & (read < size)
    return read.clamp(0, size - 1), valid


def rows_of_weight(weight: Tensor, groups: int, *, transposed: bool) -> Tensor:
    """A convolution's weights, (conv_groups, outputs, d), with d as in `read_at`.

    `weight` is (out, in / groups, ...), or (in, out / groups, ...) of a transposed one.

    >>> rows_of_weight(torch.arange(4.0).reshape(1, 2, 2), 1, transposed=False)
    tensor([[[0., 2., 1., 3.]]])
    """
    parts = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    order = (0, 2, 3, 1) if transposed else (0, 1, 3, 2)
    return torch.flatten(parts.permute(order), 2)
