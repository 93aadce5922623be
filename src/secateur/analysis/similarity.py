"""Do two criteria put filters into the same order? Rank correlation by layer and over all filters.

The correlation is taken of average ranks. Correlating the lists that `argsort` returns is a
different and meaningless number: two scores that differ by 1 % noise correlate to 1.00 by their
ranks and to almost nothing by their `argsort` lists.

Reference: Huang et al., "Rethinking the Pruning Criteria for Convolutional Neural Network",
arXiv 2004.11627 (the question).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np

from secateur.analysis.gaussian import expected_global_rho, expected_rho, expected_tau
from secateur.analysis.ranks import kendall, resampled_spearman, spearman
from secateur.analysis.tables import (
    GLOBAL,
    Floats,
    LayerScores,
    constant_rows,
    score_tables,
    why_undefined,
)
from secateur.analysis.weights import LayerShape
from secateur.errors import CriterionError, unknown_name

Method = Literal["spearman", "kendall"]
"""Spearman's rho of average ranks, or Kendall's tau-b."""


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlation of two criteria over one layer's filters, or over all (layer `global`).

    `rho` is Spearman's rho, or Kendall's tau-b where `method` says so. `expected` is its value if
    filters were iid Gaussian, None where no closed form is known; `low` and `high` bound `rho` by
    bootstrap over filters where that was asked. Where `undefined` holds a reason, `rho` is None.
    """

    first: str
    second: str
    layer: str
    n: int
    rho: float | None
    undefined: str | None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    method: Method = "spearman"


@dataclass(frozen=True)
class SimilaritySummary:
    """Rank correlations of one pair of criteria over a network.

    `mean`, `minimum` and `expected_mean` are over the `n_layers` layers with a defined rho;
    `n_undefined` layers had none. `low`, `high` bound the global rho. A number that nothing
    defines is None.
    """

    first: str
    second: str
    mean: float | None
    minimum: float | None
    minimum_layer: str | None
    global_rho: float | None
    n_layers: int
    n_undefined: int
    expected_mean: float | None = None
    expected_global: float | None = None
    low: float | None = None
    high: float | None = None
    method: Method = "spearman"


def rank_correlations(
    scores: Mapping[str, LayerScores],
    *,
    method: Method = "spearman",
    shapes: Iterable[LayerShape] = (),
    resamples: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[RankCorrelation, ...]:
    """Rank correlation for every pair of criteria, every layer and all filters.

    Args:
        scores: a criterion's name to its scores by layer; the same layers under each.
        method: "spearman" or "kendall" (tau-b).
        shapes: of the layers; with them, the global row gets its expected value too.
        resamples: bootstrap samples of filters for intervals (200 do); 0 for none. Spearman only.
        confidence: of the intervals.
        seed: of the resampling and of the expected global value.

    >>> two = {"l1": {"a": np.array([1.0, 2.0, 3.0])}, "l2": {"a": np.array([1.0, 4.0, 2.0])}}
    >>> [(row.layer, row.rho) for row in rank_correlations(two)]
    [('a', 0.5), ('global', 0.5)]

    Raises:
        CriterionError: criteria score different layers or filters, a score is not finite, or the
            method is not known or has no intervals.
    """
    if method not in get_args(Method):
        raise CriterionError(unknown_name("rank correlation", str(method), get_args(Method)))
    if resamples and method != "spearman":
        raise CriterionError(f"no intervals for {method}; ask for spearman, or resamples=0")
    criteria = list(scores)
    by_layer = {shape.layer: shape for shape in shapes}
    rng = np.random.default_rng(seed)
    rows = []
    for layer, table in score_tables(scores).items():
        n = table.shape[1]
        constant = constant_rows(table)
        rho = (spearman if method == "spearman" else kendall)(table)
        bounds = _bounds(table, resamples, confidence, rng) if resamples and n > 2 else None
        expected = _expected(criteria, layer, n, method, scores, by_layer, seed)
        for i, j in combinations(range(len(criteria)), 2):
            why = why_undefined(n, [criteria[k] for k in (i, j) if constant[k]])
            low, high = (None, None) if why or bounds is None else _pair(bounds, i, j)
            rows.append(
                RankCorrelation(
                    first=criteria[i],
                    second=criteria[j],
                    layer=layer,
                    n=n,
                    rho=None if why else float(rho[i, j]),
                    undefined=why,
                    expected=expected.get((criteria[i], criteria[j])),
                    low=low,
                    high=high,
                    method=method,
                )
            )
    return tuple(rows)


def summary(rows: Iterable[RankCorrelation]) -> tuple[SimilaritySummary, ...]:
    """Mean and minimum over layers, and the global rho, of every pair of criteria in `rows`."""
    pairs: dict[tuple[str, str], list[RankCorrelation]] = {}
    for row in rows:
        pairs.setdefault((row.first, row.second), []).append(row)
    return tuple(_summary(pair, members) for pair, members in pairs.items())


def _bounds(
    table: Floats, resamples: int, confidence: float, rng: np.random.Generator
) -> Floats | None:
    """Percentile bounds of rho, (2, n_criteria, n_criteria); NaN where too few are defined."""
    tail = 50 * (1 - confidence)
    # ranks of a criterion that is constant, here or in a resample, are NaN: such draws are left out
    drawn = np.concatenate(list(resampled_spearman(table, resamples, rng)))
    defined = np.isfinite(drawn)
    enough = defined.sum(axis=0) >= resamples / 2
    if not enough.any():
        return None
    if defined.all():
        return np.asarray(np.percentile(drawn, [tail, 100 - tail], axis=0))
    bounds = np.full((2, *drawn.shape[1:]), np.nan)
    bounds[:, enough] = np.nanpercentile(drawn[:, enough], [tail, 100 - tail], axis=0)
    return bounds


def _pair(bounds: Floats, i: int, j: int) -> tuple[float | None, float | None]:
    low, high = (float(bound) for bound in bounds[:, i, j])
    return (low, high) if np.isfinite(low) else (None, None)


def _expected(
    criteria: list[str],
    layer: str,
    n: int,
    method: Method,
    scores: Mapping[str, LayerScores],
    shapes: Mapping[str, LayerShape],
    seed: int,
) -> dict[tuple[str, str], float]:
    if layer == GLOBAL:
        own = [shapes[name] for name in scores[criteria[0]] if name in shapes]
        whole = sum(shape.n for shape in own) == n
        return (
            expected_global_rho(own, criteria, seed=seed) if whole and method != "kendall" else {}
        )
    formula = expected_rho if method == "spearman" else expected_tau
    found = {pair: formula(*pair, n) for pair in combinations(criteria, 2)}
    return {pair: value for pair, value in found.items() if value is not None}


def _summary(pair: tuple[str, str], rows: list[RankCorrelation]) -> SimilaritySummary:
    layers = [row for row in rows if row.layer != GLOBAL]
    defined = [(row.rho, row.layer) for row in layers if row.rho is not None]
    minimum, minimum_layer = min(defined, default=(None, None))
    expected = [row.expected for row in layers if row.rho is not None]
    known = [value for value in expected if value is not None]
    whole = next((row for row in rows if row.layer == GLOBAL), None)
    return SimilaritySummary(
        first=pair[0],
        second=pair[1],
        mean=float(np.mean([rho for rho, _ in defined])) if defined else None,
        minimum=minimum,
        minimum_layer=minimum_layer,
        global_rho=whole.rho if whole else None,
        n_layers=len(defined),
        n_undefined=len(layers) - len(defined),
        expected_mean=float(np.mean(known)) if known and len(known) == len(expected) else None,
        expected_global=whole.expected if whole else None,
        low=whole.low if whole else None,
        high=whole.high if whole else None,
        method=rows[0].method,
    )
