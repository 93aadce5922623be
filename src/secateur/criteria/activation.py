"""Criteria that need what channels are after the activation: pure updates, one batch at a time.

An update takes a layer's maps, (images, n, ...), with any number of dimensions of space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.criteria.base import Criterion, Sums

N_BINS = 16
"""Into so many bins of equal width `entropy` sorts a channel's pooled activations."""
ENTROPY_IMAGES = 4096
HRANK_IMAGES = 64
CHIP_IMAGES = 8
"""So many images, the first, these criteria look at: `replace(hrank, update=partial(rank_update,
most=500))` looks at more."""
AT_ONCE = 2**22
"""`chip` takes singular values of so many numbers at once."""


def nonzero_update(sums: Sums | None, maps: Tensor) -> Sums:
    """Count what is not zero, and everything, by channel."""
    active = (maps != 0).reshape(*maps.shape[:2], -1).sum(2).sum(0)
    return _added(sums, active, maps.numel() // maps.shape[1])


def absolute_update(sums: Sums | None, maps: Tensor) -> Sums:
    """Sum absolute values, and count everything, by channel."""
    wide = torch.promote_types(maps.dtype, torch.float32)
    rows = maps.reshape(*maps.shape[:2], -1)
    each = torch.linalg.vector_norm(rows, ord=1, dim=2, dtype=wide)
    return _added(sums, each.sum(0, dtype=torch.float64), maps.numel() // maps.shape[1])


def mean_of_sums(sums: Sums) -> Tensor:
    """What was summed over what was counted, -> (n,).

    >>> mean_of_sums({"total": torch.tensor([3, 6]), "count": torch.tensor(6)})
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return sums["total"].double() / sums["count"]


def pooled_update(sums: Sums | None, maps: Tensor, most: int = ENTROPY_IMAGES) -> Sums:
    """Keep the means over space of the first `most` images, (images, n)."""
    if sums is not None and len(sums["images"]) >= most:
        return sums
    maps = maps[: _left(sums, most)]
    pooled = maps.reshape(*maps.shape[:2], -1).mean(2, dtype=torch.float64)
    return _kept(sums, pooled, most)


def first_images(one: Sums, other: Sums) -> Sums:
    """What was kept of the images of one pass, then of those of another, up to the same number."""
    most = int(one["most"])
    return {"images": torch.cat([one["images"], other["images"]])[:most], "most": one["most"]}


def mean_over_images(sums: Sums) -> Tensor:
    """The mean of what was kept of every image, -> (n,)."""
    return sums["images"].mean(0)


def binned_entropy(sums: Sums, n_bins: int = N_BINS) -> Tensor:
    """Entropy in nats of a channel's pooled activations over images, -> (n,).

    Bins of equal width lie between the channel's smallest and largest value; a channel that is the
    same on all images has entropy 0.

    Reference: Luo & Wu, An Entropy-based Pruning Method for CNN Compression, 2017.

    >>> binned_entropy({"images": torch.tensor([[0.0, 1.0], [1.0, 1.0]])})
    tensor([0.6931, 0.0000])
    """
    pooled = sums["images"]
    low, high = pooled.amin(0), pooled.amax(0)
    width = torch.where(high > low, high - low, 1)
    bins = ((pooled - low) / width * n_bins).long().clamp_max(n_bins - 1)
    counts = pooled.new_zeros(pooled.shape[1], n_bins)
    counts.scatter_add_(1, bins.T, torch.ones_like(pooled.T))
    entropies: Tensor = torch.special.entr(counts / len(pooled)).sum(1)
    return entropies.abs()


def rank_update(sums: Sums | None, maps: Tensor, most: int = HRANK_IMAGES) -> Sums:
    """Keep the ranks of the first `most` images' maps.

    A map is a matrix: with one dimension of space a row, with none a number; of more the first
    ones lie below each other. What counts as zero is numpy's and torch's default tolerance.

    Reference: Lin et al., HRank: Filter Pruning using High-Rank Feature Map, 2020.
    """
    if sums is not None and len(sums["images"]) >= most:
        return sums
    maps = maps[: _left(sums, most)]
    rows = maps.reshape(*maps.shape[:2], -1, maps.shape[-1] if maps.ndim > 2 else 1)
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return _kept(sums, torch.linalg.matrix_rank(wide).double(), most)


def independence_update(sums: Sums | None, maps: Tensor, most: int = CHIP_IMAGES) -> Sums:
    """Keep what the nuclear norm of the first `most` images' maps loses without each channel.

    An image's matrix has one row a channel. Rows are turned into as many coordinates as there are
    channels where that is fewer, which changes no singular value.

    Reference: Sui et al., CHIP: CHannel Independence-based Pruning, 2021.
    """
    if sums is not None and len(sums["images"]) >= most:
        return sums
    losses = []
    for image in maps[: _left(sums, most)]:
        rows = image.reshape(len(image), -1).double()
        if rows.shape[1] > rows.shape[0]:
            rows = torch.linalg.qr(rows.T, mode="r").R.T
        losses.append(_nuclear_losses(rows))
    return _kept(sums, torch.stack(losses), most)


def _nuclear_losses(rows: Tensor) -> Tensor:
    """Nuclear norm minus that with each row set to zero, (n, d) -> (n,).

    Of many rows only their triangle R, (d, d), is looked at: with rows = Q R and q a row of Q, what
    is left without that row has the singular values of (1 - q q')^1/2 R.
    """
    n, d = rows.shape
    core = rows
    if n > d:
        basis, core = torch.linalg.qr(rows)
        lengths = basis.square().sum(1).clamp_max(1)
        pull = -1 / (1 + (1 - lengths).sqrt())
    without = []
    for each in torch.split(torch.arange(n, device=rows.device), max(1, AT_ONCE // core.numel())):
        copies = core.repeat(len(each), 1, 1)
        if n > d:
            own = basis[each]
            copies += (pull[each, None] * own)[:, :, None] * (own @ core)[:, None, :]
        else:
            copies[torch.arange(len(each)), each] = 0
        without.append(torch.linalg.svdvals(copies).sum(1))
    whole: Tensor = torch.linalg.svdvals(core).sum()
    return whole - torch.cat(without)


def _left(sums: Sums | None, most: int) -> int:
    return most if sums is None else max(0, most - len(sums["images"]))


def _kept(sums: Sums | None, images: Tensor, most: int) -> dict[str, Tensor]:
    images = images.detach().cpu()
    if sums is not None:
        images = torch.cat([sums["images"], images])
    return {"images": images, "most": torch.tensor(most)}


def _added(sums: Sums | None, total: Tensor, count: int) -> dict[str, Tensor]:
    total = total.detach().cpu()
    if sums is None:
        return {"total": total, "count": torch.tensor(count)}
    return {"total": sums["total"] + total, "count": sums["count"] + count}


apoz = Criterion(
    "apoz", "activations", mean_of_sums, "Hu et al. 2016, arXiv 1607.03250", nonzero_update
)
mean_activation = Criterion(
    "mean_activation",
    "activations",
    mean_of_sums,
    "Molchanov et al. 2017, arXiv 1611.06440, a baseline",
    absolute_update,
)
entropy = Criterion(
    "entropy",
    "activations",
    binned_entropy,
    "Luo & Wu 2017, arXiv 1706.05791; the bins are ours",
    pooled_update,
    first_images,
)
hrank = Criterion(
    "hrank",
    "activations",
    mean_over_images,
    "Lin et al. 2020, arXiv 2002.10179",
    rank_update,
    first_images,
)
chip = Criterion(
    "chip",
    "activations",
    mean_over_images,
    "Sui et al. 2021, arXiv 2110.13981",
    independence_update,
    first_images,
)
