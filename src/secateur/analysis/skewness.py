"""How sparse the channels of a network are: Weight Skewness and the indices it needs beside it.

Weight Skewness (WS) is the skewness of non-negative channel weights. Cai and Li named and used it;
their formula is not public, so the definition here is ours: the adjusted Fisher-Pearson skewness
G1 of either weight below, for every layer and pooled over the network.

* `bn_scale`: the absolute scale of the batch norm in front of a prunable channel, as it is.
* `filter_l1`: the l1 norm of a channel's filter divided by the mean of its layer, for networks
  without batch norm and so that layers of different width can be pooled.

Limits, to be told wherever the number is shown:

* WS is not monotone at light sparsity. When a share p of channels is dead and the others are
  equal, g1 = (2p - 1) / sqrt(p (1 - p)): negative until one half is dead.
* It is blind to a shift: adding the same amount to every weight leaves it as it was.
* Pooled and per-layer values may differ in sign, because layers differ in scale.

So it is never reported alone: Gini, Hoyer and PQ-index and the share of inactive channels stand in
the same row.

Reference: Cai and Li, arXiv 2210.15960 (the idea); Hurley and Rickard, arXiv 0811.4706 (Gini,
Hoyer); Diao et al., arXiv 2302.05601 (PQ-index).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from secateur.analysis.jackknife import (
    gini_without_each,
    hoyer_without_each,
    pq_index_without_each,
    skewness_without_each,
    standard_error,
)
from secateur.errors import CriterionError, unknown_name

Definition = Literal["bn_scale", "filter_l1"]
"""Which channel weight the skewness is taken of."""

POOLED = "pooled"
"""Name of the row that holds all layers together."""

LIMITS = (
    "Weight Skewness falls before it rises: it is lowest at light sparsity, and of channels that "
    "are dead or else equal it is negative until one half is dead.",
    "It does not see an amount that is added to every weight.",
    "Pooled over layers and within layers it may differ in sign, because layers differ in scale.",
)
"""What is to be told wherever Weight Skewness is shown."""

INACTIVE_BELOW = 0.01
"""A channel is inactive below this share of the largest weight in the pool, the network."""

_CONSTANT = 1e-12


@dataclass(frozen=True)
class SkewnessRow:
    """Sparsity of one layer's channels, or of all together (layer `pooled`).

    `ws` is G1 and `ws_se` its standard error under normality, sqrt(6 / n). `gini`, `hoyer` and
    `pq_index` lie in [0, 1), 0 = all equal. `inactive_share` counts channels below 1 % of the
    largest weight of the whole pool, also in a layer's row, and exact zeros. The standard errors
    at the end are jackknife ones and assume no distribution; None where one weight decides all.
    Where `undefined` holds a reason, the other numbers are None; only an empty row has no
    `inactive_share`.
    """

    layer: str
    definition: Definition
    n: int
    ws: float | None
    ws_se: float | None
    gini: float | None
    hoyer: float | None
    pq_index: float | None
    inactive_share: float | None
    undefined: str | None
    ws_jackknife_se: float | None = None
    gini_se: float | None = None
    hoyer_se: float | None = None
    pq_index_se: float | None = None


@dataclass(frozen=True)
class SkewnessSummary:
    """Weight Skewness of a network in one definition: pooled beside the mean of its layers.

    `mean_ws` is over the `n_layers` layers where it is defined. `cautions` says which of the
    limits bite here.
    """

    definition: Definition
    n: int
    n_layers: int
    pooled_ws: float | None
    mean_ws: float | None
    inactive_share: float | None
    cautions: tuple[str, ...]


def skewness_rows(
    weights: Mapping[str, NDArray[np.floating]], definition: Definition
) -> tuple[SkewnessRow, ...]:
    """Sparsity of every layer's channel weights, each of shape (n_channels,), and of the pool.

    The limits of `ws` are told at the head of this module. Leave out channels that cannot be
    pruned before calling.

    >>> layer, pooled = skewness_rows({"a": np.array([0.0, 0.0, 0.0, 1.0])}, "bn_scale")
    >>> layer.ws, layer.gini, layer.hoyer, layer.inactive_share
    (2.0, 0.75, 1.0, 0.75)

    Raises:
        CriterionError: a weight is negative or not finite, or a name is not allowed.
    """
    if definition not in get_args(Definition):
        raise CriterionError(
            unknown_name("definition of channel weights", definition, get_args(Definition))
        )
    if POOLED in weights:
        raise CriterionError(f"no layer may be named {POOLED!r}: that row holds all layers")
    layers = {name: _channel_weights(name, w, definition) for name, w in weights.items()}
    pool = np.concatenate([np.empty(0), *layers.values()])
    threshold = INACTIVE_BELOW * pool.max(initial=0.0)
    return tuple(
        _row(name, definition, values, threshold)
        for name, values in [*layers.items(), (POOLED, pool)]
    )


def skewness_summary(rows: Iterable[SkewnessRow]) -> tuple[SkewnessSummary, ...]:
    """Pooled value and mean of layers for every definition in `rows`, with what limits them.

    >>> small, large = np.array([1.0, 2.0, 4.0]), np.array([20.0, 40.0, 50.0])
    >>> (row,) = skewness_summary(skewness_rows({"a": small, "b": large}, "bn_scale"))
    >>> round(row.pooled_ws, 2), round(abs(row.mean_ws), 2)
    (0.68, 0.0)
    """
    definitions: dict[Definition, list[SkewnessRow]] = {}
    for row in rows:
        definitions.setdefault(row.definition, []).append(row)
    return tuple(_summary(definition, own) for definition, own in definitions.items())


def gini(weights: NDArray[np.float64]) -> float:
    """Gini index of non-negative weights of shape (n,), not all zero.

    >>> gini(np.array([1.0, 1.0, 1.0])), gini(np.array([0.0, 1.0]))
    (0.0, 0.5)

    Reference: Hurley and Rickard, arXiv 0811.4706, table I.
    """
    n = len(weights)
    share = np.sort(weights) / weights.sum()
    return float(1 - 2 * share @ (n - np.arange(1, n + 1) + 0.5) / n)


def hoyer(weights: NDArray[np.float64]) -> float:
    """Hoyer index (sqrt(n) - l1 / l2) / (sqrt(n) - 1) of at least two weights, not all zero.

    >>> hoyer(np.array([0.0, 0.0, 0.0, 2.0]))
    1.0
    """
    root = sqrt(len(weights))
    return float((root - weights.sum() / np.sqrt(weights @ weights)) / (root - 1))


def pq_index(weights: NDArray[np.float64], p: float = 0.5, q: float = 1.0) -> float:
    """PQ-index 1 - n^(1/q - 1/p) · norm_p / norm_q of non-negative weights, not all zero; p < q.

    >>> pq_index(np.array([0.0, 0.0, 0.0, 2.0]))
    0.75

    Reference: Diao et al., arXiv 2302.05601, definition 3.1.
    """
    norm_p, norm_q = (float(np.sum(weights**k)) ** (1 / k) for k in (p, q))
    return float(1 - len(weights) ** (1 / q - 1 / p) * norm_p / norm_q)


def _channel_weights(
    layer: str, weights: NDArray[np.floating], definition: Definition
) -> NDArray[np.float64]:
    values = np.asarray(weights, dtype=np.float64)
    if values.ndim != 1:
        raise CriterionError(
            f"layer {layer!r} has channel weights of shape {values.shape}; "
            "give one number a channel"
        )
    wrong = values[~(np.isfinite(values) & (values >= 0))]
    if len(wrong):
        raise CriterionError(
            f"layer {layer!r} has {len(wrong)} channel weights that are negative or not finite, "
            f"the first {wrong[0]}; take absolute values, and look for a diverged training"
        )
    mean = values.mean() if len(values) else 0.0
    return values / mean if definition == "filter_l1" and mean > 0 else values


def _row(
    layer: str, definition: Definition, weights: NDArray[np.float64], threshold: float
) -> SkewnessRow:
    n = len(weights)
    inactive = (weights < threshold) | (weights == 0)
    share = float(inactive.mean()) if n else None
    why = _why_undefined(weights)
    if why:
        return SkewnessRow(layer, definition, n, None, None, None, None, None, share, why)
    scaled = weights / weights.max()
    return SkewnessRow(
        layer=layer,
        definition=definition,
        n=n,
        ws=float(stats.skew(scaled, bias=False)),
        ws_se=sqrt(6 / n),
        gini=gini(scaled),
        hoyer=hoyer(scaled),
        pq_index=pq_index(scaled),
        inactive_share=share,
        undefined=None,
        ws_jackknife_se=standard_error(skewness_without_each(scaled)),
        gini_se=standard_error(gini_without_each(scaled)),
        hoyer_se=standard_error(hoyer_without_each(scaled)),
        pq_index_se=standard_error(pq_index_without_each(scaled)),
    )


def _summary(definition: Definition, rows: list[SkewnessRow]) -> SkewnessSummary:
    pooled = next(row for row in rows if row.layer == POOLED)
    layers = [row.ws for row in rows if row.layer != POOLED and row.ws is not None]
    mean = float(np.mean(layers)) if layers else None
    return SkewnessSummary(
        definition=definition,
        n=pooled.n,
        n_layers=len(layers),
        pooled_ws=pooled.ws,
        mean_ws=mean,
        inactive_share=pooled.inactive_share,
        cautions=_cautions(pooled, mean),
    )


def _cautions(pooled: SkewnessRow, mean: float | None) -> tuple[str, ...]:
    if pooled.ws is None or pooled.ws_se is None or pooled.inactive_share is None:
        return (pooled.undefined or "undefined",)
    found = []
    if pooled.inactive_share < 0.5:
        found.append(
            f"{pooled.inactive_share:.0%} of the channels are inactive: below one half, Weight "
            "Skewness can fall while sparsity grows"
        )
    if abs(pooled.ws) < 2 * pooled.ws_se:
        found.append(
            f"{pooled.ws:.2f} is within two standard errors ({pooled.ws_se:.2f}) of 0, the value "
            "of a symmetric distribution"
        )
    if mean is not None and mean * pooled.ws < 0:
        found.append(
            f"pooled it is {pooled.ws:+.2f} and within layers {mean:+.2f} on average: layers "
            "differ in scale"
        )
    return tuple(found)


def _why_undefined(weights: NDArray[np.float64]) -> str | None:
    if len(weights) < 3:
        return f"undefined because there are {len(weights)} channels and skewness needs 3"
    if not weights.any():
        return f"undefined because all {len(weights)} weights are zero"
    if np.ptp(weights) <= _CONSTANT * weights.max():
        return f"undefined because all {len(weights)} weights are equal"
    return None
