"""Would two criteria prune the same filters? Overlap of the bottom sets at given ratios.

A high rank correlation does not mean equal bottom sets: for iid Gaussian filters l1 and l2 have
rho .93 and share .83 of the lowest 30 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.gaussian import expected_overlap
from secateur.analysis.tables import (
    GLOBAL,
    Floats,
    LayerScores,
    bottom_size,
    check_ratio,
    constant_rows,
    score_tables,
    why_undefined,
)
from secateur.errors import CriterionError

RATIOS = (0.1, 0.3, 0.5, 0.7)
"""Pruning ratios at which bottom sets are compared."""


@dataclass(frozen=True)
class BottomOverlap:
    """Share of one criterion's `size` lowest filters that are also the other's lowest.

    `layer` is a layer, or `global` where the filters of all layers are sorted together. `expected`
    is the value for iid Gaussian filters, None where no closed form is known, and `chance` that of
    two unrelated orders. Where `undefined` holds a reason, `overlap` is None.
    """

    first: str
    second: str
    layer: str
    ratio: float
    size: int
    overlap: float | None
    expected: float | None
    chance: float | None
    undefined: str | None


@dataclass(frozen=True)
class OverlapSummary:
    """Bottom-set overlaps of one pair at one ratio: mean and minimum over layers, and global."""

    first: str
    second: str
    ratio: float
    mean: float | None
    minimum: float | None
    minimum_layer: str | None
    global_overlap: float | None
    expected_mean: float | None
    n_layers: int
    n_undefined: int


def bottom_overlaps(
    scores: Mapping[str, LayerScores], ratios: Sequence[float] = RATIOS
) -> tuple[BottomOverlap, ...]:
    """Overlap of bottom sets, for every pair of criteria, ratio, layer and over all filters.

    The bottom set holds floor(ratio · n) filters, ties broken by index.

    >>> two = {"l1": {"a": np.arange(4.0)}, "l2": {"a": np.array([0.0, 2.0, 1.0, 3.0])}}
    >>> [row.overlap for row in bottom_overlaps(two, [0.5])]
    [0.5, 0.5]

    Raises:
        CriterionError: criteria score different layers or filters, a score is not finite, or a
            ratio lies outside [0, 1).
    """
    for ratio in ratios:
        check_ratio(ratio)
    criteria = list(scores)
    rows = []
    for layer, table in score_tables(scores).items():
        n = table.shape[1]
        constant = constant_rows(table)
        order = np.argsort(table, axis=1, kind="stable")
        for ratio in ratios:
            size = bottom_size(n, ratio)
            shared = _shared(order[:, :size], n) if size else np.zeros((len(table),) * 2)
            for i, j in combinations(range(len(criteria)), 2):
                first, second = criteria[i], criteria[j]
                why = _why_undefined(n, size, ratio, [criteria[k] for k in (i, j) if constant[k]])
                form = None
                if size and layer != GLOBAL:
                    form = expected_overlap(first, second, n, size / n)
                rows.append(
                    BottomOverlap(
                        first=first,
                        second=second,
                        layer=layer,
                        ratio=ratio,
                        size=size,
                        overlap=None if why else float(shared[i, j]) / size,
                        expected=form,
                        chance=size / n if n else None,
                        undefined=why,
                    )
                )
    return tuple(rows)


def overlap_summary(rows: Iterable[BottomOverlap]) -> tuple[OverlapSummary, ...]:
    """Mean and minimum over layers, and the global overlap, of every pair and ratio in `rows`."""
    sets: dict[tuple[str, str, float], list[BottomOverlap]] = {}
    for row in rows:
        sets.setdefault((row.first, row.second, row.ratio), []).append(row)
    return tuple(_summary(*key, members) for key, members in sets.items())


def bottom_overlap(a: NDArray[np.floating], b: NDArray[np.floating], ratio: float) -> float | None:
    """Share of the lowest filters under `a` that are also lowest under `b`; scores (n_filters,).

    The bottom set holds floor(ratio · n) filters, ties broken by index; None where it is empty.

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
    check_ratio(ratio)
    size = bottom_size(len(a), ratio)
    if size == 0:
        return None
    lowest = np.stack([np.argsort(scores, kind="stable")[:size] for scores in (a, b)])
    return float(_shared(lowest, len(a))[0, 1]) / size


def _shared(lowest: NDArray[np.intp], n: int) -> Floats:
    """How many filters the bottom sets (n_criteria, size) share, (n_criteria, n_criteria)."""
    member = np.zeros((len(lowest), n))
    np.put_along_axis(member, lowest, 1.0, axis=1)
    return member @ member.T


def _why_undefined(n: int, size: int, ratio: float, constant: list[str]) -> str | None:
    if size == 0:
        return f"undefined because {ratio:g} of {n} filters is less than one"
    return why_undefined(max(n, 3), constant)


def _summary(first: str, second: str, ratio: float, rows: list[BottomOverlap]) -> OverlapSummary:
    layers = [row for row in rows if row.layer != GLOBAL]
    defined = [(row.overlap, row.layer) for row in layers if row.overlap is not None]
    minimum, minimum_layer = min(defined, default=(None, None))
    known = [r.expected for r in layers if r.overlap is not None and r.expected is not None]
    return OverlapSummary(
        first=first,
        second=second,
        ratio=ratio,
        mean=float(np.mean([overlap for overlap, _ in defined])) if defined else None,
        minimum=minimum,
        minimum_layer=minimum_layer,
        global_overlap=next((row.overlap for row in rows if row.layer == GLOBAL), None),
        expected_mean=float(np.mean(known)) if known and len(known) == len(defined) else None,
        n_layers=len(defined),
        n_undefined=len(layers) - len(defined),
    )
