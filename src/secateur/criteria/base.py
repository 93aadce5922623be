"""A criterion is a small frozen value: a pure formula and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Need = Literal[
    "filters",
    "pairs",
    "bn_scale",
    "bn_shift",
    "nothing",
    "gradients",
    "gate_gradients",
    "activations",
    "reads",
]

STREAMED: Mapping[Need, str] = {
    "gradients": "calibration batches (input, target) and loss_fn",
    "gate_gradients": "calibration batches (input, target) and loss_fn",
    "activations": "calibration batches, input or (input, target)",
    "reads": "calibration batches, input or (input, target)",
}
"""Needs that only data can fill, and what `score` is then to be given."""

Sums = Mapping[str, Tensor]
"""What a streamed criterion knows of one layer after some batches."""


def added(one: Sums, other: Sums) -> dict[str, Tensor]:
    """Sums over two sets of batches: entry by entry.

    >>> added({"count": torch.tensor(2)}, {"count": torch.tensor(3)})
    {'count': tensor(5)}
    """
    return {name: one[name] + other[name] for name in one}


@dataclass(frozen=True)
class Criterion:
    """Values the filters of one layer, higher = keep.

    `formula` takes what `needs` names and returns one score a filter, (n,):
    `filters`: the layer's weight, one row a filter, (n, d), float64;
    `pairs`: the same as `relation.Pairs`, whose inner products are shared;
    `bn_scale`, `bn_shift`: scale or shift of the batch norm that follows it, (n,);
    `nothing`: the number of filters and a seeded generator.

    With data the work is cut in two: `update(sums | None, batch) -> sums` takes in one batch of
    what `needs` names and `formula(sums)` ends it:
    `gradients`: `gradient.WeightGradients` of the layer's filters;
    `gate_gradients`: `gradient.GateGradients` of its batch norm's scale and shift;
    `activations`: what its channels are after the activation, (images, n, ...);
    `reads`: a `reads.Read` of every layer that reads channels; its formula takes a
    `compensated.Reading` of each layer that reads a group and gives one score a channel.
    `merge` makes one of the sums over two sets of batches. With `shares` the scores are divided by
    their sum over the network. `by_row` says that a filter's score depends on that filter alone, so
    that the filters of a layer may come in parts.
    """

    name: str
    needs: Need
    formula: Callable[..., Tensor]
    reference: str
    update: Callable[[Any, Any], Sums] | None = None
    merge: Callable[[Sums, Sums], Sums] = added
    shares: bool = False
    by_row: bool = False


def filter_matrix(weight: Tensor, out_dim: int) -> Tensor:
    """One row a filter: (out, in, kh, kw) -> (out, in * kh * kw), in float64 on the CPU.

    >>> filter_matrix(torch.zeros(2, 3, 1, 1), 0).shape
    torch.Size([2, 3])
    """
    return weight.detach().to("cpu", torch.float64).movedim(out_dim, 0).flatten(1)
