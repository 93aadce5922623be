"""Which criteria are one criterion under several names? Clustering on 1 - rho, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from secateur.analysis.similarity import SimilaritySummary
from secateur.errors import CriterionError

TOGETHER_FROM = 0.8
"""Mean rank correlation from which groups of criteria count as one cluster (ours)."""


@dataclass(frozen=True)
class Join:
    """One joint of a dendrogram, a bracket open below.

    It stands on two branches at `left` and `right`, in places of the order of criteria (0, 1, ...,
    a joint being halfway between its branches), that reach up from the distances `left_from` and
    `right_from` to `distance`, 1 - the mean rho between the two groups.
    """

    left: float
    right: float
    left_from: float
    right_from: float
    distance: float


@dataclass(frozen=True)
class Clusters:
    """Criteria in an order that puts like beside like, their clusters, and the dendrogram.

    Pairs without a defined rho count as unrelated (distance 1) and stand in `undefined_pairs`.
    """

    order: tuple[str, ...]
    clusters: tuple[tuple[str, ...], ...]
    joins: tuple[Join, ...]
    together_from: float
    undefined_pairs: tuple[tuple[str, str], ...]


def clusters_of(
    criteria: tuple[str, ...],
    similarity: tuple[SimilaritySummary, ...],
    together_from: float = TOGETHER_FROM,
) -> Clusters:
    """Clusters of all criteria; two that share no layer count as unrelated."""
    if len(criteria) < 2:
        return Clusters(criteria, tuple((name,) for name in criteria), (), together_from, ())
    known = {frozenset((row.first, row.second)) for row in similarity}
    apart = [
        SimilaritySummary(first, second, None, None, None, None, 0, 0)
        for first, second in combinations(criteria, 2)
        if frozenset((first, second)) not in known
    ]
    return cluster_criteria([*similarity, *apart], together_from)


def cluster_criteria(
    pairs: Iterable[SimilaritySummary], together_from: float = TOGETHER_FROM
) -> Clusters:
    """Average linkage on 1 - the mean rho over layers, cut at 1 - `together_from`.

    >>> rows = [("l1", "l2", 0.9), ("l1", "apoz", 0.1), ("l2", "apoz", 0.3)]
    >>> found = cluster_criteria(
    ...     SimilaritySummary(a, b, rho, None, None, None, 1, 0) for a, b, rho in rows
    ... )
    >>> found.clusters, round(found.joins[-1].distance, 2)
    ((('apoz',), ('l2', 'l1')), 0.8)

    Raises:
        CriterionError: a pair is missing, or the threshold lies outside [-1, 1].
    """
    if not -1 <= together_from <= 1:
        raise CriterionError(f"together_from is a rank correlation in [-1, 1], got {together_from}")
    rows = {(row.first, row.second): row.mean for row in pairs}
    names = list(dict.fromkeys(name for pair in rows for name in pair))
    if len(names) < 2:
        return Clusters(tuple(names), tuple((n,) for n in names), (), together_from, ())
    distances = np.zeros((len(names),) * 2)
    undefined = []
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            pair = (first, names[j])
            key = pair if pair in rows else pair[::-1]
            if key not in rows:
                raise CriterionError(
                    f"criteria {first!r} and {names[j]!r} were not compared; give every pair once"
                )
            rho = rows[key]
            if rho is None:
                undefined.append(key)
            distances[i, j] = distances[j, i] = 1.0 if rho is None else max(0.0, 1 - rho)
    condensed = squareform(distances, checks=False)
    links = hierarchy.optimal_leaf_ordering(hierarchy.linkage(condensed, "average"), condensed)
    drawn = hierarchy.dendrogram(links, no_plot=True)
    order = [names[k] for k in drawn["leaves"]]
    labels = hierarchy.fcluster(links, 1 - together_from + 1e-12, criterion="distance")
    members: dict[int, list[str]] = {}
    for name in order:
        members.setdefault(int(labels[names.index(name)]), []).append(name)
    return Clusters(
        order=tuple(order),
        clusters=tuple(tuple(group) for group in members.values()),
        joins=tuple(_joins(drawn["icoord"], drawn["dcoord"])),
        together_from=together_from,
        undefined_pairs=tuple(undefined),
    )


def _joins(places: list[list[float]], heights: list[list[float]]) -> list[Join]:
    """Brackets as scipy draws them, whose leaves stand at 5, 15, 25, ..., lowest first."""
    joins = [
        Join((x[0] - 5) / 10, (x[3] - 5) / 10, float(h[0]), float(h[3]), float(h[1]))
        for x, h in zip(places, heights, strict=True)
    ]
    return sorted(joins, key=lambda join: (join.distance, join.left))
