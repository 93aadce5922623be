"""Weights that are computed over their inputs, kept what they were when inputs go.

A weight norm gives g · v / |v|. When parts of v go, its norm gets smaller and what stays of the
weight would grow: g takes that up, times |what stays of v| / |v|. A spectral norm gives
W / (uᵀ W v), with vectors u and v that training keeps; u is scaled so that the number below is what
it was. In evaluation mode every weight that stays is then the same as before.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.channels.repaired import Site, sites

Kept = Mapping[tuple[str, int], NDArray[np.int64]]
"""The positions that stay along a (parameter, dimension) that shrinks."""


def repair(
    model: nn.Module, named: Mapping[str, Tensor], tensors: dict[str, Tensor], kept: Kept
) -> None:
    """Correct what scales computed weights for what these have lost.

    Args:
        model: the network as it was.
        named: its parameters and buffers.
        tensors: those that were cut, or in which channels were zeroed, by name; magnitudes and
            vectors are replaced in it.
        kept: what was cut; empty where channels were zeroed.
    """
    for site in sites(model):
        if site.direction in tensors:
            correct = _magnitudes if site.kind == "weight norm" else _vectors
            correct(site, named, tensors, kept)


def _magnitudes(
    site: Site, named: Mapping[str, Tensor], tensors: dict[str, Tensor], kept: Kept
) -> None:
    (name,) = site.scales
    whole, left = named[site.direction].detach(), tensors[site.direction]
    if site.dim is not None and (own := kept.get((site.direction, site.dim))) is not None:
        whole = whole.index_select(site.dim, torch.from_numpy(own).to(whole.device))
    before, after = _norm(whole, site.dim), _norm(left, site.dim)
    factor = torch.where(before > 0, after / before, torch.ones_like(after))
    magnitude = tensors.get(name, named[name].detach())
    tensors[name] = (magnitude.double() * factor.reshape(magnitude.shape)).to(magnitude.dtype)
    # a direction of which nothing is left has no norm: any will do, as its magnitude is zero
    tensors[site.direction] = torch.where((after == 0) & (before > 0), torch.ones_like(left), left)


def _norm(direction: Tensor, dim: int | None) -> Tensor:
    """The norm over all dimensions but one, which is kept; over all without one."""
    dims = [k for k in range(direction.ndim) if k != dim]
    norm: Tensor = torch.linalg.vector_norm(direction.double(), dim=dims, keepdim=True)
    return norm


def _vectors(site: Site, named: Mapping[str, Tensor], tensors: dict[str, Tensor], _: Kept) -> None:
    left, right = site.scales
    before = _product(site, named[site.direction], named[right])
    sigma = torch.dot(named[left].detach().double(), before)
    after = _product(site, tensors[site.direction], tensors.get(right, named[right]))
    own = tensors.get(left, named[left].detach()).double()
    now = torch.dot(own, after)
    if bool(now.abs() > 1e-6 * own.norm() * after.norm()):
        own = own * (sigma / now)
    elif bool(after.any()):  # orthogonal: the vector that lies along it does as well
        own = after * (sigma / torch.dot(after, after))
    tensors[left] = own.to(named[left].dtype)


def _product(site: Site, weight: Tensor, right: Tensor) -> Tensor:
    """The weight as a matrix, dimension `dim` first, times the right vector."""
    matrix = weight.detach().movedim(site.dim or 0, 0).flatten(1)
    return matrix.double() @ right.detach().double()
