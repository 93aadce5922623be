"""How well a criterion that needs data agrees with itself over two disjoint calibration sets.

No two criteria can be asked to agree better than that: the rank correlation of two noisy scores is
bounded by about the root of the product of their ceilings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from secateur.analysis.ranks import spearman
from secateur.analysis.tables import (
    GLOBAL,
    Floats,
    LayerScores,
    constant_rows,
    score_tables,
    why_undefined,
)
from secateur.errors import CriterionError


@dataclass(frozen=True)
class NoiseCeiling:
    """Agreement of a criterion with itself over one layer's filters, or over all (`global`).

    `rho` is Spearman's between the scores of the two halves, `whole_rho` what it would be for
    scores of both halves together (Spearman-Brown), `noise_cv` the standard deviation of a half's
    noise over the mean score. Where `undefined` holds a reason, the numbers it concerns are None.
    """

    criterion: str
    layer: str
    n: int
    rho: float | None
    whole_rho: float | None
    noise_cv: float | None
    undefined: str | None


def noise_ceilings(
    first_half: Mapping[str, LayerScores], second_half: Mapping[str, LayerScores]
) -> tuple[NoiseCeiling, ...]:
    """Rank correlation of every criterion with itself, from scores of two disjoint data sets.

    >>> halves = [{"apoz": {"a": np.array(v)}} for v in ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])]
    >>> [(row.layer, round(row.rho, 9)) for row in noise_ceilings(*halves)]
    [('a', 1.0), ('global', 1.0)]

    Raises:
        CriterionError: the halves hold other criteria, layers or filters, or a score is not finite.
    """
    for criterion in sorted(set(first_half) ^ set(second_half)):
        raise CriterionError(
            f"criterion {criterion!r} was scored over one half of the calibration only; "
            "score both with the same criteria"
        )
    rows = []
    for criterion, layers in first_half.items():
        both = score_tables({"first half": layers, "second half": second_half[criterion]})
        rows += [_row(criterion, layer, table) for layer, table in both.items()]
    return tuple(rows)


def attainable_rho(first: NoiseCeiling | None, second: NoiseCeiling | None) -> float | None:
    """The highest rank correlation two noisy criteria can be expected to show in a layer.

    None stands for a criterion without noise; the answer is None where a ceiling is undefined.

    >>> attainable_rho(NoiseCeiling("apoz", "a", 9, 0.6, 0.81, 0.1, None), None)
    0.9
    """
    whole = [1.0 if row is None else row.whole_rho for row in (first, second)]
    if whole[0] is None or whole[1] is None:
        return None
    return sqrt(max(0.0, whole[0]) * max(0.0, whole[1]))


def _row(criterion: str, layer: str, table: Floats) -> NoiseCeiling:
    n = table.shape[1]
    flat = constant_rows(table)
    why = why_undefined(n, [criterion] if flat.any() else [])
    if why:
        return NoiseCeiling(criterion, layer, n, None, None, None, why)
    rho = float(spearman(table)[0, 1])
    mean = abs(table.mean())
    difference = table[0] - table[1]
    if layer == GLOBAL:  # across layers of different scale one noise says nothing
        why = "noise is undefined over layers of different scale"
    elif mean <= 1e-12 * np.abs(table).max():
        why = f"noise is undefined because the scores of layer {layer!r} have mean 0"
    return NoiseCeiling(
        criterion=criterion,
        layer=layer,
        n=n,
        rho=rho,
        whole_rho=2 * rho / (1 + rho) if rho > 0 else rho,
        noise_cv=None if why else float(difference.std(ddof=1) / sqrt(2) / mean),
        undefined=why,
    )
