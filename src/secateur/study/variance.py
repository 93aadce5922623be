"""Whose doing is it? Shares of the variance of a result by sparsity, method, family and scope.

Every repetition holds the whole grid of cells, and methods are tried on the same base networks: a
split-plot design. Family and sparsity are judged against how base networks vary from repetition to
repetition, methods and scopes against how cuts of one base network vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod, sqrt
from typing import TypeVar

import numpy as np
from scipy import optimize, stats

from secateur.study.grid import Block, is_control
from secateur.study.measures import TOLERANCE, Floats
from secateur.study.regression import narrow, ratios_of
from secateur.study.resampling import ALPHA

BETWEEN_BASES = ("family", "sparsity")
"""Factors that differ between base networks; all others differ inside one."""

_LARGE_F = 1e4
"""Beyond this the noncentral F is as good as Gaussian, and its distribution hard to compute."""

_T = TypeVar("_T")

FACTORS = ("family", "sparsity", "method", "scope")


@dataclass(frozen=True)
class VarianceShare:
    """Share of the variance that a factor, or an interaction of factors, accounts for.

    omega^2 = (SS - df MS_error) / N over the sum of all components, so that noise alone gives 0 on
    average; it may come out below. `low` and `high` bound it at 95 %, the other components held.
    `p` is that of F(df, df_error). For `repetition`, `base network` and `rest`, the errors, there
    is a share only.
    """

    effect: str
    share: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    df: int | None = None
    df_error: int | None = None


def prunable_by_seed(
    blocks: Sequence[Block], epsilon: float
) -> tuple[Floats, Mapping[str, tuple[object, ...]]] | str:
    """Prunable ratio of every seed alone: (seeds, family, sparsity, method, scope), and the levels.

    On the families, strengths, criteria (the control left out), scopes and seeds that all blocks
    share; a reason in words where they share too little.
    """
    if not blocks:
        return "there is nothing to compare"
    families = tuple(dict.fromkeys(block.network for block in blocks))
    scopes = tuple(dict.fromkeys(block.scope for block in blocks))
    found = {(block.network, block.scope): block for block in blocks}
    if len(found) < len(families) * len(scopes):
        return "not every family has every scope"
    seeds = _shared([block.seeds for block in blocks])
    strengths = _shared([block.strengths for block in blocks])
    criteria = _shared([[c for c in block.criteria if not is_control(c)] for block in blocks])
    if len(seeds) < 2:
        return f"{len(seeds)} seed has every cell of every family; 2 are needed"
    if not strengths or not criteria:
        return "the families share no strength, or no criterion"
    y = np.empty((len(seeds), len(families), len(strengths), len(criteria), len(scopes)))
    for (i, family), (k, scope) in ((a, b) for a in enumerate(families) for b in enumerate(scopes)):
        block = narrow(found[family, scope], seeds, strengths)
        own = [block.criteria.index(name) for name in criteria]
        ratios = ratios_of(block, epsilon, np.eye(len(seeds)))[own]
        y[:, i, :, :, k] = ratios.transpose(2, 1, 0)
    return y, dict(zip(FACTORS, (families, strengths, criteria, scopes), strict=True))


def variance_shares(y: Floats, factors: Sequence[str] = FACTORS) -> tuple[VarianceShare, ...]:
    """Split the variance of `y`, shape (repetitions, one axis a factor), complete and balanced.

    Main effects, interactions of two, and those of more together; factors with one level are left
    out. Nothing where y does not vary or there is one repetition.

    Reference: Olejnik and Algina, Psychological Methods 8(4), 2003, for omega^2; Steiger,
    Psychological Methods 9(2), 2004, for its interval by the noncentral F.
    """
    kept = [k for k, name in enumerate(factors, 1) if y.shape[k] > 1]
    names = {place: factors[k - 1] for place, k in enumerate(kept, 1)}
    y = y.reshape(y.shape[0], *(y.shape[k] for k in kept))
    if y.shape[0] < 2 or not kept or np.ptp(y) < TOLERANCE:
        return ()
    between = {k for k, name in names.items() if name in BETWEEN_BASES}
    errors: dict[str, _Sum] = {}
    effects: dict[str, tuple[_Sum, str]] = {}
    for subset, found in _sums_of_squares(y).items():
        own = set(subset) - {0}
        stratum = "base network" if own <= between else "rest"
        if 0 in subset:
            name = stratum if own else "repetition"
            errors[name] = errors.get(name, _Sum(0.0, 0)) + found
        else:
            label = " x ".join(names[k] for k in subset) if len(own) < 3 else "more together"
            effects[label] = (effects[label][0] + found if label in effects else found, stratum)
    parts = {
        label: (own.squares - own.df * errors[stratum].mean) / y.size
        for label, (own, stratum) in effects.items()
    }
    noise = _noise(errors, y.size, y.shape[0] * prod(y.shape[k] for k in between))
    total = sum(parts.values()) + sum(noise.values())
    return (
        *(
            _share(label, own, errors[stratum], parts[label], total, y.size)
            for label, (own, stratum) in effects.items()
        ),
        *(VarianceShare(name, part / total) for name, part in noise.items()),
    )


@dataclass(frozen=True)
class _Sum:
    """Sum of squares and its degrees of freedom."""

    squares: float
    df: int

    @property
    def mean(self) -> float:
        return self.squares / self.df

    def __add__(self, other: _Sum) -> _Sum:
        return _Sum(self.squares + other.squares, self.df + other.df)


def _sums_of_squares(y: Floats) -> dict[tuple[int, ...], _Sum]:
    """Sum of squares of every set of axes: what its cell means add to those of smaller sets."""
    axes = range(y.ndim)
    subsets = [own for size in range(y.ndim + 1) for own in combinations(axes, size)]
    effects: dict[tuple[int, ...], Floats] = {}
    found = {}
    for subset in subsets:
        own = y.mean(axis=tuple(k for k in axes if k not in subset), keepdims=True)
        for smaller in subsets:
            if set(smaller) < set(subset):
                own = own - effects[smaller]
        effects[subset] = own
        if subset:
            squares = float((own**2).sum()) * y.size / own.size
            found[subset] = _Sum(squares, prod(y.shape[k] - 1 for k in subset))
    return found


def _noise(errors: Mapping[str, _Sum], size: int, n_bases: int) -> dict[str, float]:
    """Variance components of the strata of error, by the method of moments, at least 0."""
    rest = errors["rest"].mean if "rest" in errors else 0.0
    base = errors["base network"].mean if "base network" in errors else rest
    n = errors["repetition"].df + 1
    found = {"repetition": max(0.0, errors["repetition"].mean - base) / (size / n)}
    if "base network" in errors:
        found["base network"] = max(0.0, base - rest) / (size / n_bases)
    if "rest" in errors:
        found["rest"] = rest
    return found


def _share(
    label: str, own: _Sum, error: _Sum, part: float, total: float, size: int
) -> VarianceShare:
    rest = max(total - part, 0.0)
    low = high = part
    p = 0.0
    if error.mean > 0:
        f = own.mean / error.mean
        p = float(stats.f.sf(f, own.df, error.df))
        low, high = (
            noncentral * error.mean / size for noncentral in _noncentral(f, own.df, error.df)
        )
    return VarianceShare(
        effect=label,
        share=part / total,
        low=low / (low + rest) if low > 0 else 0.0,
        high=high / (high + rest) if high > 0 else 0.0,
        p=p,
        df=own.df,
        df_error=error.df,
    )


def _noncentral(f: float, df: int, df_error: int) -> tuple[float, float]:
    """95 % interval of the noncentrality of an F statistic, at least 0."""
    if f > _LARGE_F:
        spread = float(stats.norm.ppf(1 - ALPHA / 2)) * sqrt(2 * df * (1 + 2 * f))
        return df * f - spread, df * f + spread

    def bound(probability: float) -> float:
        def above(value: float) -> float:
            return float(stats.ncf.cdf(f, df, df_error, value)) - probability

        if stats.f.cdf(f, df, df_error) <= probability:
            return 0.0
        high = 2.0 * (f + 1) * df
        while above(high) > 0:
            high *= 2
        return float(optimize.brentq(above, 0, high, xtol=1e-6 * high))

    return bound(1 - ALPHA / 2), bound(ALPHA / 2)


def _shared(found: Sequence[Sequence[_T]]) -> tuple[_T, ...]:
    """What all hold, in the order of the first."""
    return tuple(one for one in found[0] if all(one in other for other in found[1:]))
