"""What a channel is worth after the best compensation: what the layers that read it would lack.

Of one layer that reads by weights W, (outputs, d), what is read having the second moments G,
(d, d), about its mean, the best least-squares fit of the others to what the columns K gave lacks
tr(W_K [(G⁻¹)_KK]⁻¹ W_Kᵀ). Channels go one by one, those first that are lacked least, and what went
before stays compensated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secateur.channels.groups import ChannelMap
from secateur.criteria.base import Criterion, Sums
from secateur.criteria.reads import Read
from secateur.criteria.sites import Sites

RIDGE = {torch.float64: 1e-10}
"""What is added to G's diagonal, of its mean, by the precision in which numbers are read."""
RIDGE_OF_OTHERS = 1e-6


@dataclass(frozen=True)
class Reading:
    """What is known of one layer that reads a group's channels.

    `columns` are those of every channel, (conv_groups, n_channels, k): k numbers that are read.
    """

    sums: Sums
    columns: Tensor


def moments_update(sums: Sums | None, read: Read) -> Sums:
    """Sum what is read and its products, (conv_groups, d) and (conv_groups, d, d), in float64.

    Products within a batch are in the precision of what is read, or in float32 if that is less.
    """
    rows = read.rows if read.rows.dtype == torch.float64 else read.rows.float()
    now = {
        "count": torch.tensor(rows.shape[1]),
        "total": rows.sum(1).double().cpu(),
        "products": (rows.mT @ rows).double().cpu(),
        "weight": read.weight.to("cpu", rows.dtype, copy=True),
    }
    return now if sums is None else moments_added(sums, now)


def moments_added(one: Sums, other: Sums) -> Sums:
    """Sums over two sets of batches; the weight is the same."""
    added = {name: one[name] + other[name] for name in ("count", "total", "products")}
    return added | {"weight": one["weight"]}


def compensated_losses(readings: Sequence[Reading], order: Sequence[int] | None = None) -> Tensor:
    """What the readers of a group lack once a channel and all before it are gone, (n_channels,).

    The sum over readers of the squared error that is left by the best compensation, over the energy
    of the reader's output. Channels go in the order that is given, else the one that costs least
    goes next; of several, the first.

    Reference: Hassibi & Stork, Optimal Brain Surgeon, 1993, equation 5, for all weights of a
    channel at once, as Meng et al., OSSCAR, 2024, have it.

    >>> read = Read(torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]]).double(),
    ...             torch.tensor([[[1.0, 1.0]]]).double())
    >>> reading = Reading(moments_update(None, read), torch.tensor([[[0], [1]]]))
    >>> compensated_losses([reading]).round(decimals=6)
    tensor([0.2000, 1.0000], dtype=torch.float64)
    """
    n_channels = readings[0].columns.shape[1]
    layers = [layer for layer in map(_Layer, readings) if layer.gives]
    losses = torch.zeros(n_channels, dtype=torch.float64)
    left = list(range(n_channels))
    lacking = 0.0
    for step in range(n_channels):
        asked = left if order is None else [int(order[step])]
        rises = torch.zeros(len(asked), dtype=torch.float64)
        for layer in layers:
            rises += layer.rises(asked)
        best = int(rises.argmin())
        channel = asked[best]
        for layer in layers:
            layer.remove(channel)
        lacking += float(rises[best].clamp(min=0))
        losses[channel] = lacking
        left.remove(channel)
    return losses


class _Layer:
    """Inverse moments and weights of a layer, as channels are removed and compensated."""

    def __init__(self, reading: Reading) -> None:
        sums, self.columns = reading.sums, reading.columns
        n, total, weight = sums["count"], sums["total"], sums["weight"]
        centred = sums["products"] - total[:, :, None] * total[:, None, :] / n
        self.weight = weight.double().mT.clone()
        raw, self.energy = (
            float((self.weight * (moments @ self.weight)).sum())
            for moments in (sums["products"], centred)
        )
        # what varies by no more than products are rounded is a constant
        self.gives = not self.energy <= 100 * torch.finfo(weight.dtype).eps * raw
        if self.gives:
            self.inverse = _inverse(centred, RIDGE.get(weight.dtype, RIDGE_OF_OTHERS))

    def rises(self, channels: Sequence[int]) -> Tensor:
        """By how much the loss rises with each of these channels, (n,)."""
        at = self.columns[:, channels]
        groups = torch.arange(len(at))[:, None, None]
        blocks = self.inverse[groups[..., None], at[..., :, None], at[..., None, :]]
        own = self.weight[groups, at]
        rises: Tensor = (own * torch.linalg.solve_ex(blocks, own)[0]).sum((0, 2, 3))
        return rises / self.energy

    def remove(self, channel: int) -> None:
        """Compensate one channel, which has neither weight nor moments then."""
        at = self.columns[:, channel]
        groups = torch.arange(len(at))[:, None]
        across = self.inverse[groups, at].mT
        block = across[groups, at]
        self.weight -= across @ torch.linalg.solve_ex(block, self.weight[groups, at])[0]
        self.inverse -= across @ torch.linalg.solve_ex(block, across.mT)[0]
        self.weight[groups, at] = 0.0
        self.inverse[groups, at] = 0.0
        self.inverse.mT[groups, at] = 0.0


def _inverse(moments: Tensor, ridge: float) -> Tensor:
    """With the ridge on the diagonal, or as much more as makes it positive definite."""
    scale = moments.diagonal(dim1=1, dim2=2).mean(1)
    scale = torch.where(scale > 0, scale, 1.0)[:, None]
    while ridge <= 1:
        raised = moments.clone()
        raised.diagonal(dim1=1, dim2=2).add_(ridge * scale)
        factor, failed = torch.linalg.cholesky_ex(raised)
        if not failed.any():
            return torch.cholesky_inverse(factor)
        ridge *= 10
    return torch.full_like(moments, torch.nan)  # as numbers are that are not finite


def readings_of(group: str, sites: Sites, sums: Mapping[str, Sums]) -> list[Reading]:
    """What is known of the layers that read a group, one a weight that was seen to be applied.

    A transposed convolution in groups is left out unless each reads one number of every channel.
    """
    columns: dict[str, list[Tensor]] = {}
    for member in sites.readers[group]:
        if (known := sums.get(member.parameter)) is None:
            continue
        layer = sites.channels.by_weight.get(member.parameter)
        n_in = sites.channels.shapes[member.parameter][member.dim]
        groups, _, d = known["weight"].shape
        at = torch.tensor(member.index)[None].expand(groups, -1, -1)
        if layer is not None and layer.kind == "transposed" and groups > 1:
            n_in //= groups
            if not bool((at[0] // n_in == torch.arange(groups)).all()):
                continue
            at = (at[0] % n_in).T[:, :, None]
        steps = torch.arange(0, d, n_in)
        columns.setdefault(member.parameter, []).append((at[..., None] + steps).flatten(2))
    return [Reading(sums[name], torch.cat(parts, 2)) for name, parts in columns.items()]


def losses_along(
    channels: ChannelMap, sums: Mapping[str, Sums], order: Mapping[str, Sequence[int]]
) -> dict[str, NDArray[np.float64]]:
    """What readers lack once 1 to all channels of a group are gone, in an order that is given.

    Args:
        channels: what `trace` found out about the network.
        sums: those of `compensated`, `calibration.sums["compensated"]`.
        order: by group, its channels, the first to go first; groups that nothing reads by a weight
            are not in the answer.
    """
    sites = Sites(channels, "producer")
    found = {}
    for name, one in order.items():
        if readings := readings_of(name, sites, sums):
            found[name] = compensated_losses(readings, one)[list(one)].numpy()
    return found


compensated = Criterion(
    "compensated",
    "reads",
    compensated_losses,
    "Hassibi & Stork 1993, eq. 5, for channels as Meng et al. 2024, arXiv 2403.12983",
    moments_update,
    moments_added,
)
