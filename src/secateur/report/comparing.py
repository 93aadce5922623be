"""Methods beside each other, computed once from the rows: ranks, controls, budgets, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.study.cheaper import BdRow, bd_rates
from secateur.study.claims import LITTLE_PRUNABLE, Claim, methods_claim
from secateur.study.comparison import (
    Measured,
    MeasureDifference,
    measure_differences,
    measured,
    sample,
)
from secateur.study.fairness import Fairness, fairness
from secateur.study.grid import CONTROL, Block, Table, is_control
from secateur.study.methods import MethodDifference, scratch_differences
from secateur.study.ranking import Difference, Ranking, ranking
from secateur.study.tradeoff import Row
from secateur.study.variance import VarianceShare, prunable_by_seed, variance_shares

OVER_LEVELS, PRUNABLE = "accuracy over all levels", "prunable ratio"
"""What methods are ranked by."""

REFERENCES = (CONTROL, "l1")
"""Criteria that others are held against at equal accuracy."""


@dataclass(frozen=True)
class Ranked:
    """The ranking of the methods of one network and scope by one measure."""

    network: str
    scope: str
    by: str
    ranking: Ranking


@dataclass(frozen=True)
class Comparison:
    """What is said of methods against each other, on the seeds that hold every cell.

    `scratch` are differences from training from scratch, over all levels and at each; `prunable`
    are those of prunable ratios at the main loss, `claims` what they say at each accepted loss;
    `cheaper` are BD-rates. `no_shares` says why there are no shares of variance.
    """

    fairness: Fairness
    rankings: tuple[Ranked, ...]
    scratch: tuple[MethodDifference, ...]
    measured: tuple[Measured, ...]
    cheaper: tuple[BdRow, ...]
    prunable: tuple[MeasureDifference, ...]
    claims: Mapping[float, Claim]
    shares: tuple[VarianceShare, ...]
    no_shares: str | None


def compare(
    recipe: Mapping[str, Any],
    rows: Sequence[Row],
    cells: Sequence[Table],
    fair: Sequence[Block],
    differences: Sequence[MethodDifference],
    epsilon: float,
    losses: Sequence[float],
) -> Comparison:
    """Compare the methods of a study; `differences` are those over all levels.

    `losses` are those at which prunable ratios are compared; methods are ranked, and variance is
    shared out, at a loss of `epsilon`, one of them.
    """
    found: list[Measured] = []
    gains: dict[float, list[MeasureDifference]] = {loss: [] for loss in losses}
    chance = chance_of(rows)
    for block in fair:
        sampled = sample(block, chance, epsilons=losses)
        found += measured(sampled)
        own = measure_differences(sampled)
        for loss, known in gains.items():
            known += [row for row in own if row.measure == f"prunable_{loss:g}"]
    by_seed = prunable_by_seed(fair, epsilon)
    shares = () if isinstance(by_seed, str) else variance_shares(by_seed[0])
    no_shares = by_seed if isinstance(by_seed, str) else None
    if not shares and no_shares is None:
        no_shares = "the prunable ratio does not vary"
    return Comparison(
        fairness=fairness(rows, recipe),
        rankings=_rankings(fair, differences, gains[epsilon]),
        scratch=(*scratch_differences(cells), *scratch_differences(cells, per_ratio=True)),
        measured=tuple(found),
        cheaper=tuple(
            row
            for block in fair
            for reference in REFERENCES
            for row in bd_rates(block, reference)
            if not is_control(row.criterion)
        ),
        prunable=tuple(gains[epsilon]),
        claims={
            loss: methods_claim(known, LITTLE_PRUNABLE, PRUNABLE) for loss, known in gains.items()
        },
        shares=shares,
        no_shares=no_shares,
    )


def chance_of(rows: Sequence[Row]) -> float | None:
    """Accuracy of guessing, one over the number of classes; None where no base network holds it.

    All rows of a study come from one data set, so one that holds it speaks for former ones.
    """
    told = {row["n_classes"] for row in rows if row["kind"] == "base" and "n_classes" in row}
    return 1 / told.pop() if len(told) == 1 else None


def _rankings(
    fair: Sequence[Block],
    differences: Sequence[MethodDifference],
    gains: Sequence[MeasureDifference],
) -> tuple[Ranked, ...]:
    by: Mapping[str, Sequence[Difference]] = {OVER_LEVELS: differences, PRUNABLE: gains}
    return tuple(
        Ranked(block.network, block.scope, name, ranking(_of(found, block)))
        for name, found in by.items()
        for block in fair
    )


def _of(found: Sequence[Difference], block: Block) -> list[Difference]:
    return [d for d in found if (d.network, d.scope) == (block.network, block.scope)]
