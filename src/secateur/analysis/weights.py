"""A layer's weights as they come in, and what of their shape explains how criteria agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, lgamma, pi, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur.errors import CriterionError

Kind = Literal["ordinary", "depthwise", "pointwise", "linear"]
"""What a layer's filters look like. Only in `ordinary` layers is a filter several kernels."""


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer's filters: `values` of shape (n_filters, in_per_group, kernel sizes ...).

    A linear layer has shape (n_filters, n_inputs). Weights that come in another axis order
    (transposed convolutions) are turned by the caller.

    Raises:
        CriterionError: fewer than two dimensions, an empty one, or a weight that is not finite.
    """

    layer: str
    values: NDArray[np.floating]
    kind: Kind = "ordinary"

    def __post_init__(self) -> None:
        if self.values.ndim < 2 or not self.values.size:
            raise CriterionError(
                f"layer {self.layer!r} has weights of shape {self.values.shape}; give "
                "(n_filters, in_per_group, kernel sizes ...), none of them 0"
            )
        if not np.isfinite(self.values).all():
            raise CriterionError(
                f"layer {self.layer!r} holds NaN or infinite weights; look for a diverged training"
            )

    @property
    def filters(self) -> NDArray[np.float64]:
        """Filters as rows, (n_filters, d)."""
        return self.values.reshape(len(self.values), -1).astype(np.float64)

    @property
    def kernel_size(self) -> int:
        """Numbers in one kernel: what a filter holds for one input channel."""
        return int(np.prod(self.values.shape[2:], dtype=int))


def kind_of(shape: tuple[int, ...], conv_groups: int = 1) -> Kind:
    """Kind of a layer by its weight's shape (n_filters, in_per_group, ...) and its groups.

    >>> kind_of((32, 1, 3, 3), 32), kind_of((64, 32, 1, 1)), kind_of((16, 1, 3, 3)), kind_of((9, 4))
    ('depthwise', 'pointwise', 'ordinary', 'linear')
    """
    if len(shape) == 2:
        return "linear"
    if shape[1] == 1 and conv_groups > 1:
        return "depthwise"
    return "pointwise" if np.prod(shape[2:]) == 1 else "ordinary"


@dataclass(frozen=True)
class LayerShape:
    """What the closed forms need to know of a layer, and what explains a departure from them.

    `n` filters of `d` numbers; `scale` is their root mean square. `spread` is the coefficient of
    variation of the filters' l2 norms over its value for iid Gaussian weights: 1 = as iid, more =
    filters differ in scale. `tails` is the excess kurtosis of weights within filters, every filter
    divided by its own root mean square and the iid Gaussian value taken off: 0 = Gaussian, more =
    heavier tails. `shapes` is the coefficient of variation of l1 over l2 norm, over its iid
    Gaussian value: more = some filters are peaked and others flat. Where `undefined` holds a
    reason, what it concerns is None.
    """

    layer: str
    kind: Kind
    n: int
    d: int
    scale: float
    spread: float | None
    tails: float | None
    undefined: str | None
    shapes: float | None = None


def layer_shapes(weights: Iterable[LayerWeights]) -> tuple[LayerShape, ...]:
    """Size, scale, spread of filter norms and heaviness of tails of every layer.

    >>> rng = np.random.default_rng(0)
    >>> (row,) = layer_shapes([LayerWeights("conv", rng.normal(0, 0.1, (64, 32, 3, 3)))])
    >>> row.n, row.d, round(row.scale, 2), round(row.spread), round(row.tails, 1) + 0.0
    (64, 288, 0.1, 1, 0.0)
    """
    return tuple(_shape(one) for one in weights)


def norm_mean(d: int) -> float:
    """Mean of the l2 norm of d iid standard Gaussian numbers, about sqrt(d).

    >>> round(norm_mean(2), 6) == round((np.pi / 2) ** 0.5, 6)
    True
    """
    return sqrt(2) * exp(lgamma((d + 1) / 2) - lgamma(d / 2))


def norm_variation(d: int) -> float:
    """Coefficient of variation of the l2 norm of d iid Gaussian numbers, about 1 / sqrt(2 d).

    >>> round(norm_variation(576) * 576**0.5, 3)
    0.707
    """
    return sqrt(d - norm_mean(d) ** 2) / norm_mean(d)


def _shape(one: LayerWeights) -> LayerShape:
    filters = one.filters
    n, d = filters.shape
    powers = filters * filters
    squares = powers.mean(axis=1)
    norms = np.sqrt(squares)
    spread = tails = shapes = None
    why = None
    alive = squares > 0
    if n < 3:
        why = f"undefined because there are {n} filters and a spread needs 3"
    elif not squares.any():
        why = "undefined because every weight is zero"
    else:
        spread = float(norms.std(ddof=1) / norms.mean() / norm_variation(d))
    if squares.any() and d > 1:
        fourth = (powers[alive] * powers[alive]).mean(axis=1) / squares[alive] ** 2
        tails = float(fourth.mean() * (d + 2) / d - 3)
        if alive.sum() > 2:
            flatness = np.abs(filters[alive]).mean(axis=1) / norms[alive]
            shapes = float(flatness.std(ddof=1) / flatness.mean() / sqrt((pi / 2 - 1.5) / d))
    elif why is None:
        why = "tails are undefined because a filter holds one number"
    scale = float(sqrt(squares.mean()))
    return LayerShape(one.layer, one.kind, n, d, scale, spread, tails, why, shapes)
