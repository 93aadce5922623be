"""A criterion is a small frozen value: a pure formula and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Need = Literal["filters", "bn_scale", "nothing"]


@dataclass(frozen=True)
class Criterion:
    """Values the filters of one layer, higher = keep.

    `formula` takes what `needs` names and returns one score a filter, (n,):
    `filters`: the layer's weight, one row a filter, (n, d);
    `bn_scale`: the scale of the batch norm that follows it, (n,);
    `nothing`: the number of filters and a seeded generator.
    """

    name: str
    needs: Need
    formula: Callable[..., Tensor]
    reference: str


def filter_matrix(weight: Tensor, out_dim: int) -> Tensor:
    """One row a filter: (out, in, kh, kw) -> (out, in * kh * kw), in float64 on the CPU.

    >>> filter_matrix(torch.zeros(2, 3, 1, 1), 0).shape
    torch.Size([2, 3])
    """
    return weight.detach().to("cpu", torch.float64).movedim(out_dim, 0).flatten(1)
