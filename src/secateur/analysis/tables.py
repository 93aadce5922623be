"""Scores of several criteria as arrays, checked: what every comparison of criteria starts from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from secateur.errors import CriterionError

GLOBAL = "global"
"""Name of the row that ranks the filters of all layers together."""

LayerScores = Mapping[str, NDArray[np.floating]]
"""One criterion's scores: a layer's name to one number a filter, shape (n_filters,)."""

Floats = NDArray[np.float64]


def score_tables(scores: Mapping[str, LayerScores]) -> dict[str, Floats]:
    """Scores of every layer, and last of all filters, as one array (n_criteria, n_filters).

    Raises:
        CriterionError: criteria score different layers or filters, or a score is not finite.
    """
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


def constant_rows(table: Floats) -> NDArray[np.bool_]:
    """Which rows (criteria) of (n_criteria, n_filters) give every filter the same score."""
    if not table.shape[1]:
        return np.ones(len(table), dtype=bool)
    return np.asarray((table == table[:, :1]).all(axis=1))


def why_undefined(n: int, constant: list[str]) -> str | None:
    """Why there is no rank correlation of `n` filters, `constant` naming criteria that are flat."""
    if n < 3:
        return f"undefined because there are {n} filters and a rank correlation needs 3"
    if constant:
        return f"undefined because {' and '.join(constant)} gives every filter the same score"
    return None


def check_ratio(ratio: float) -> None:
    """Refuse a pruning ratio outside [0, 1).

    Raises:
        CriterionError: saying which.
    """
    if not 0 <= ratio < 1:
        raise CriterionError(f"ratio must lie in [0, 1), got {ratio}")


def bottom_size(n: int, ratio: float) -> int:
    """Filters in the bottom set of `n`: floor(ratio · n), 0.1 · 30 being 3.

    >>> bottom_size(30, 0.1), bottom_size(5, 0.1)
    (3, 0)
    """
    return int(ratio * n + 1e-9)
