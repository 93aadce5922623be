"""Do two criteria put filters into the same order? Spearman's rank correlation and bottom sets.

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

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from secateur.errors import CriterionError

GLOBAL = "global"
"""Name of the row that ranks the filters of all layers together."""

LayerScores = Mapping[str, NDArray[np.floating]]
"""One criterion's scores: a layer's name to one number a filter, shape (n_filters,)."""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho of two criteria over one layer's filters, or over all (layer `global`).

    Where `undefined` holds a reason, `rho` is None.
    """

    first: str
    second: str
    layer: str
    n: int
    rho: float | None
    undefined: str | None


@dataclass(frozen=True)
class SimilaritySummary:
    """Rank correlations of one pair of criteria over a network.

    `mean` and `minimum` are over the `n_layers` layers with a defined rho; `n_undefined` layers had
    none. A number that nothing defines is None.
    """

    first: str
    second: str
    mean: float | None
    minimum: float | None
    minimum_layer: str | None
    global_rho: float | None
    n_layers: int
    n_undefined: int


def rank_correlations(scores: Mapping[str, LayerScores]) -> tuple[RankCorrelation, ...]:
    """Spearman's rho with average ranks, for every pair of criteria, every layer and all filters.

    >>> two = {"l1": {"a": np.array([1.0, 2.0, 3.0])}, "l2": {"a": np.array([1.0, 4.0, 2.0])}}
    >>> [(row.layer, row.rho) for row in rank_correlations(two)]
    [('a', 0.5), ('global', 0.5)]

    Raises:
        CriterionError: criteria score different layers or filters, or a score is not finite.
    """
    criteria = list(scores)
    rows = []
    for layer, table in _tables(scores).items():
        rho, constant = _spearman(table)
        for i, j in combinations(range(len(criteria)), 2):
            why = _why_undefined(table.shape[1], [criteria[k] for k in (i, j) if constant[k]])
            rows.append(
                RankCorrelation(
                    first=criteria[i],
                    second=criteria[j],
                    layer=layer,
                    n=table.shape[1],
                    rho=None if why else float(rho[i, j]),
                    undefined=why,
                )
            )
    return tuple(rows)


def summary(rows: Iterable[RankCorrelation]) -> tuple[SimilaritySummary, ...]:
    """Mean and minimum over layers, and the global rho, of every pair of criteria in `rows`."""
    pairs: dict[tuple[str, str], list[RankCorrelation]] = {}
    for row in rows:
        pairs.setdefault((row.first, row.second), []).append(row)
    return tuple(_summary(pair, members) for pair, members in pairs.items())


def bottom_overlap(a: NDArray[np.floating], b: NDArray[np.floating], ratio: float) -> float | None:
    """Share of the lowest filters under `a` that are also lowest under `b`; scores (n_filters,).

    The bottom set holds floor(ratio · n) filters, ties broken by index; None where it is empty.
    A high rank correlation does not mean equal bottom sets.

    >>> bottom_overlap(np.array([1, 2, 3, 4]), np.array([1, 3, 2, 4]), 0.5)
    0.5

    Raises:
        CriterionError: the scores differ in length or the ratio lies outside [0, 1).
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1:
        raise CriterionError(
            f"scores of shapes {np.shape(a)} and {np.shape(b)} cannot be compared; "
            "give one number a filter, the same filters twice"
        )
    if not 0 <= ratio < 1:
        raise CriterionError(f"ratio must lie in [0, 1), got {ratio}")
    size = int(ratio * len(a) + 1e-9)
    if size == 0:
        return None
    lowest_a, lowest_b = (np.argsort(scores, kind="stable")[:size] for scores in (a, b))
    return len(np.intersect1d(lowest_a, lowest_b)) / size


def _tables(scores: Mapping[str, LayerScores]) -> dict[str, NDArray[np.float64]]:
    """Scores of every layer, and of all, as one array (n_criteria, n_filters)."""
    if not scores:
        return {}
    reference, layers = next(iter(scores.items()))
    if GLOBAL in layers:
        raise CriterionError(f"no layer may be named {GLOBAL!r}: that row holds all filters")
    for criterion, own in scores.items():
        for layer in sorted(set(layers) ^ set(own)):
            raise CriterionError(
                f"layer {layer!r} is scored by only one of {reference!r} and {criterion!r}; "
                "score the same layers with every criterion"
            )
    tables = {}
    for layer in layers:
        columns = {name: np.asarray(own[layer], dtype=np.float64) for name, own in scores.items()}
        for criterion, values in columns.items():
            if values.ndim != 1 or values.shape != columns[reference].shape:
                raise CriterionError(
                    f"layer {layer!r} has scores of shape {values.shape} under {criterion!r} and "
                    f"{columns[reference].shape} under {reference!r}; give one number a filter"
                )
            if not np.isfinite(values).all():
                raise CriterionError(
                    f"criterion {criterion!r} gives scores that are not finite in layer {layer!r}; "
                    "ranks of them mean nothing, look for a diverged training"
                )
        tables[layer] = np.stack(list(columns.values()))
    if tables:
        tables[GLOBAL] = np.concatenate(list(tables.values()), axis=1)
    return tables


def _spearman(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rank correlations (n_criteria, n_criteria), and which criteria are constant."""
    ranks = stats.rankdata(table, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    products = centred @ centred.T
    squares = np.diag(products)
    constant = squares == 0
    norms = np.sqrt(np.outer(squares, squares))
    rho = products / np.where(norms == 0, 1.0, norms)
    return np.clip(rho, -1.0, 1.0), constant


def _why_undefined(n: int, constant: list[str]) -> str | None:
    if n < 3:
        return f"undefined because there are {n} filters and a rank correlation needs 3"
    if constant:
        return f"undefined because {' and '.join(constant)} gives every filter the same score"
    return None


def _summary(pair: tuple[str, str], rows: list[RankCorrelation]) -> SimilaritySummary:
    layers = [row for row in rows if row.layer != GLOBAL]
    defined = [(row.rho, row.layer) for row in layers if row.rho is not None]
    minimum, minimum_layer = min(defined, default=(None, None))
    return SimilaritySummary(
        first=pair[0],
        second=pair[1],
        mean=float(np.mean([rho for rho, _ in defined])) if defined else None,
        minimum=minimum,
        minimum_layer=minimum_layer,
        global_rho=next((row.rho for row in rows if row.layer == GLOBAL), None),
        n_layers=len(defined),
        n_undefined=len(layers) - len(defined),
    )
