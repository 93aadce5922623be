"""Ridge regression of what a layer's outputs lack on what it reads, from sums over a stream.

Rows are (conv_groups, n, d) numbers that a layer reads and (conv_groups, n, outputs) that it lacks;
every group of a grouped convolution has weights of its own and is solved on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_EXACT = 1e-14
"""Sums of squares below this share of the lack's are rounding: the error is nought."""


class Gram:
    """First and second moments about an origin, summed in float64; memory of d x d numbers."""

    def __init__(self, origin: tuple[Tensor, Tensor]) -> None:
        self._origin = origin
        groups, d, n_out = *origin[0].shape[::2], origin[1].shape[2]
        self.n, self.raw = 0, 0.0
        self._x = torch.zeros(groups, 1, d, dtype=torch.float64)
        self._r = torch.zeros(groups, 1, n_out, dtype=torch.float64)
        self._xx = torch.zeros(groups, d, d, dtype=torch.float64)
        self._xr = torch.zeros(groups, d, n_out, dtype=torch.float64)
        self._rr = 0.0

    def add(self, x: Tensor, r: Tensor) -> None:
        """Take rows in; products are made in their precision and on their device."""
        self.n += x.shape[1]
        self.raw += float(r.double().square().sum())
        x, r = x - self._origin[0].to(x), r - self._origin[1].to(r)
        self._x += x.sum(1, keepdim=True).double().cpu()
        self._r += r.sum(1, keepdim=True).double().cpu()
        self._xx += (x.mT @ x).double().cpu()
        self._xr += (x.mT @ r).double().cpu()
        self._rr += float(r.double().square().sum())

    def means(self) -> tuple[Tensor, Tensor]:
        """Of what is read and of what lacks, less the origin."""
        return self._x / self.n, self._r / self.n

    def spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """Eigenvalues of the centred Gram matrix, its basis, and the cross moments in that."""
        x, r = self.means()
        values, basis = torch.linalg.eigh(self._xx - self.n * x.mT @ x)
        return values.clamp(min=0), basis, basis.mT @ (self._xr - self.n * x.mT @ r)

    def error(self, change: Tensor, x: Tensor, r: Tensor) -> float:
        """Sum of squares that lack with `change` (groups, d, outputs), means being x and r."""
        n, n_x, n_r = self.n, self._x, self._r
        xx = self._xx - n_x.mT @ x - x.mT @ n_x + n * x.mT @ x
        xr = self._xr - n_x.mT @ r - x.mT @ n_r + n * x.mT @ r
        rr = self._rr - 2 * float((n_r * r).sum()) + n * float(r.square().sum())
        return rr - 2 * float((change * xr).sum()) + float((change * (xx @ change)).sum())


class Rows:
    """The same for fewer rows than numbers in a row, which are kept as they are."""

    def __init__(self, origin: tuple[Tensor, Tensor]) -> None:
        self._origin = origin
        self.n, self.raw = 0, 0.0
        self._parts: list[tuple[Tensor, Tensor]] = []

    def add(self, x: Tensor, r: Tensor) -> None:
        """Take rows in."""
        self.n += x.shape[1]
        self.raw += float(r.double().square().sum())
        self._parts.append(
            (x.cpu() - self._origin[0].to(x.dtype), r.cpu() - self._origin[1].to(r.dtype))
        )

    def _whole(self) -> tuple[Tensor, Tensor]:
        x, r = (torch.cat(parts, 1).double() for parts in zip(*self._parts, strict=True))
        return x, r

    def means(self) -> tuple[Tensor, Tensor]:
        """Of what is read and of what lacks, less the origin."""
        x, r = self._whole()
        return x.mean(1, keepdim=True), r.mean(1, keepdim=True)

    def spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """As of `Gram`, in the space that the rows span: the dual form."""
        x, r = (rows - rows.mean(1, keepdim=True) for rows in self._whole())
        values, turned = torch.linalg.eigh(x @ x.mT)
        values = values.clamp(min=0)
        spans = values > values.amax(1, keepdim=True) * self.n * torch.finfo(x.dtype).eps
        root = torch.where(spans, values.sqrt(), math.inf)[:, None, :]
        basis = (x.mT @ turned) / root
        return values * spans, basis, basis.mT @ (x.mT @ r)

    def error(self, change: Tensor, x: Tensor, r: Tensor) -> float:
        """Sum of squares that lack with `change` (groups, d, outputs), means being x and r."""
        rows, lack = self._whole()
        return float(((lack - r) - (rows - x) @ change).square().sum())


Moments = Gram | Rows


@dataclass(frozen=True)
class Fit:
    """What to add to a layer's weights and outputs.

    Attributes:
        ridge: the regularisation, a multiple of the mean variance of what is read; infinite where
            only the shift is to be added, None where nothing is.
        change: (conv_groups, outputs, d), to be added to the weights.
        shift: (conv_groups, outputs), to be added to the outputs then.
        before: sum of squares that lacks on held-out rows with nothing added.
        after: the same with both added.
        rank: of what is read, numerically, over all groups.
        constant: how many of the numbers that are read never vary.
    """

    ridge: float | None
    change: Tensor
    shift: Tensor
    before: float
    after: float
    rank: int
    constant: int


def ridges(precision: torch.dtype, n_inputs: int) -> tuple[float, ...]:
    """Which regularisations are tried: all by half decades, or one where inputs are few.

    The few that are held out then cannot choose, least of all the shift alone.
    """
    if n_inputs < 20:
        return (max(0.1, 2.5 / n_inputs),)
    first = -28 if precision == torch.float64 else -20
    return (math.inf, *(10 ** (k / 2) for k in range(first, 3)))


def fit(
    fitted: Moments, held: Moments, origin: tuple[Tensor, Tensor], tried: Sequence[float]
) -> Fit:
    """Solve on the rows of one set, and take what lacks least on the rows of the other, if any.

    Minimises |lack - x change - shift|² + ridge · (mean variance of x) · n · |change|² for every
    ridge, by one eigendecomposition. Ties go to nothing, the shift alone, then the smallest ridge.
    """
    x, r = fitted.means()
    values, basis, cross = fitted.spectrum()
    d = basis.shape[1]
    scale = values.sum(1)[:, None, None] / d
    floor = _EXACT * held.raw

    def change_of(ridge: float) -> Tensor:
        if math.isinf(ridge):
            return torch.zeros(basis.shape[0], d, cross.shape[2], dtype=torch.float64)
        weighted = values[:, :, None] + ridge * scale
        return basis @ torch.where(weighted > 0, cross / weighted, torch.zeros_like(cross))

    best, least, change = None, max(held.raw, floor), change_of(math.inf)
    for ridge in tried:
        made = change_of(ridge)
        error = max(held.error(made, x, r), floor) if held.n else 0.0
        if error < least or not held.n:
            best, least, change = ridge, error, made
    mean_x, mean_r = x + origin[0].cpu().double(), r + origin[1].cpu().double()
    eps = torch.finfo(torch.float64 if origin[0].dtype == torch.float64 else torch.float32).eps
    variances = ((basis * values[:, None, :]) * basis).sum(2)
    energy = variances + fitted.n * mean_x[:, 0].square()
    shift = mean_r - mean_x @ change if best is not None else torch.zeros_like(mean_r)
    return Fit(
        best,
        change.mT,
        shift[:, 0],
        held.raw,
        least if best is not None else held.raw,
        int((values > d * eps * values.amax(1, keepdim=True)).sum()),
        int((variances <= fitted.n * eps * energy).sum()),
    )
