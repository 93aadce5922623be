"""Everything the page says, computed once from the rows. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from secateur.errors import ReportError, shown
from secateur.report.comparing import Comparison, compare
from secateur.study.claims import (
    Claim,
    Regression,
    family_claim,
    methods_claim,
    networks_with_inactive_channels,
    sparsity_claim,
    ws_regression,
)
from secateur.study.grid import blocks, by_method, method_name, repairs_in, tables
from secateur.study.methods import Measure, MethodDifference, method_differences
from secateur.study.regression import Against, lines, lines_by_method
from secateur.study.rows import NEEDED, fault
from secateur.study.tradeoff import Curve, PrunableRatio, Row, curves, prunable_rows

EPSILONS = (0.01, 0.02, 0.05)
"""Losses of accuracy at which the prunable ratio is shown."""

MAIN_EPSILON = 0.02
"""The loss of accuracy at which the claims are judged; their verdicts at the others are told."""

_MEASURES: tuple[Measure, ...] = ("accuracy", "accuracy_cut")


@dataclass(frozen=True)
class Findings:
    """A study's rows by kind, and what was computed from them.

    The criterion of a row is its method, a criterion and a repair, where `repairs` are several.
    `expected` is the number of rows the recipe asks for, None where it cannot be told. `prunable`
    and `regressions` are keyed by epsilon, the latter also by what the line is drawn against;
    `differences` by the measure (`accuracy`, `accuracy_cut`), over all ratios and for each.
    `relative` are the slopes on Weight Skewness with each network's own accuracy as the reference,
    by epsilon; `by_method` those of every network, scope and criterion at the main epsilon;
    `claims_at` the claims that depend on epsilon.
    """

    recipe: Mapping[str, Any]
    bases: tuple[Row, ...]
    pruned: tuple[Row, ...]
    scratch: tuple[Row, ...]
    deployed: tuple[Row, ...]
    failed: tuple[Row, ...]
    expected: int | None
    curves: tuple[Curve, ...]
    prunable: Mapping[float, tuple[PrunableRatio, ...]]
    regressions: Mapping[tuple[float, str], tuple[Regression, ...]]
    relative: Mapping[float, tuple[Regression, ...]]
    by_method: Mapping[tuple[str, str, str], Regression]
    differences: Mapping[str, tuple[MethodDifference, ...]]
    tested: tuple[str, ...]
    claims: tuple[Claim, ...]
    claims_at: Mapping[float, tuple[Claim, ...]]
    comparison: Comparison
    repairs: tuple[str, ...] = ()

    @property
    def by_macs(self) -> bool:
        """Whether cuts were asked for as budgets of MACs, and not as shares of channels."""
        return bool(self.recipe.get("pruning", {}).get("fewer_macs"))

    @property
    def n_rows(self) -> int:
        """Number of rows of finished cells."""
        return len(self.bases) + len(self.pruned) + len(self.scratch) + len(self.deployed)

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks in the order the recipe gives them, then any other."""
        asked = [one.get("name", one["kind"]) for one in self.recipe.get("networks", ())]
        return _in_order(asked, {base["network"] for base in self.bases})

    @property
    def criteria(self) -> tuple[str, ...]:
        """Criteria in the order the recipe gives them, then any other; of each, its repairs."""
        criteria = self.recipe.get("pruning", {}).get("criteria", ())
        named = self.repairs if len(self.repairs) > 1 else ("none",)
        asked = [method_name(criterion, repair) for criterion in criteria for repair in named]
        return _in_order(asked, {row["criterion"] for row in self.pruned})

    @property
    def scopes(self) -> tuple[str, ...]:
        """Scopes in the order the recipe gives them, then any other."""
        asked = self.recipe.get("pruning", {}).get("scopes", ())
        return _in_order(asked, {row["scope"] for row in self.pruned})

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths of the base networks there are, ascending."""
        return tuple(sorted({base["strength"] for base in self.bases}))

    @property
    def n_seeds(self) -> int:
        """Number of seeds with at least one base network."""
        return len({base["seed"] for base in self.bases})


def find(recipe: Mapping[str, Any], rows: Iterable[Row]) -> Findings:
    """Compute everything the page says.

    Raises:
        ReportError: there are no rows, or one of them lacks a value.
    """
    rows = list(rows)
    if not rows:
        raise ReportError(
            "there are no rows to report on; run the study first, or name the folder that holds it"
        )
    for row in rows:
        _check(row)
    repairs, rows = repairs_in(rows), by_method(rows)
    kinds = {kind: tuple(row for row in rows if row["kind"] == kind) for kind in NEEDED}
    cells = tables(rows)
    fair = blocks(cells)
    sparsities: tuple[Against, ...] = ("ws", "inactive")
    fits = {(e, against): lines(fair, e, against) for e in EPSILONS for against in sparsities}
    differences: dict[str, tuple[MethodDifference, ...]] = {
        measure: (
            *method_differences(cells, measure),
            *method_differences(cells, measure, per_ratio=True),
        )
        for measure in _MEASURES
    }
    tested = networks_with_inactive_channels(rows)
    over_all = [d for d in differences["accuracy"] if d.ratio is None]
    comparison = compare(recipe, rows, cells, fair, over_all, MAIN_EPSILON, EPSILONS)
    regressions: dict[tuple[float, str], tuple[Regression, ...]] = {
        key: tuple(map(ws_regression, found)) for key, found in fits.items()
    }
    claims_at = {
        epsilon: (
            sparsity_claim(regressions[epsilon, "ws"], tested),
            comparison.claims[epsilon],
            family_claim(fits[epsilon, "ws"], tested),
        )
        for epsilon in EPSILONS
    }
    sparsity, methods, family = claims_at[MAIN_EPSILON]
    return Findings(
        recipe=recipe,
        bases=kinds["base"],
        pruned=kinds["pruned"],
        scratch=kinds["scratch"],
        deployed=kinds["deployed"],
        failed=kinds["failed"],
        expected=_expected(recipe),
        curves=curves(cells),
        prunable={epsilon: prunable_rows(cells, epsilon) for epsilon in EPSILONS},
        regressions=regressions,
        relative={
            epsilon: tuple(map(ws_regression, lines(fair, epsilon, reference="own")))
            for epsilon in EPSILONS
        },
        by_method={
            method: ws_regression(line)
            for method, line in lines_by_method(fair, MAIN_EPSILON).items()
        },
        differences=differences,
        tested=tested,
        claims=(
            sparsity,
            methods_claim(d for d in differences["accuracy"] if d.ratio is not None),
            methods,
            family,
        ),
        claims_at=claims_at,
        comparison=comparison,
        repairs=repairs,
    )


def _check(row: Row) -> None:
    if wrong := fault(row, whole=True):
        raise ReportError(
            f"row {shown(row.get('id'))} is not whole: {wrong}. Was it written by another version? "
            "Remove it and run the study again"
        )


def _expected(recipe: Mapping[str, Any]) -> int | None:
    """Rows the recipe asks for: base networks, their cuts, the controls, what is deployed."""
    try:
        repetitions = len(recipe["runs"]) if recipe.get("runs") else recipe["seeds"]
        pruning = recipe["pruning"]
        levels = len(pruning["ratios"]) + len(pruning.get("fewer_macs", ()))
        methods = len(pruning["criteria"]) * len(pruning.get("repair", ("none",)))
        cuts = methods * len(pruning["scopes"]) * levels
        shared = recipe["sparsity"]["total_shrink"]
        bases = sum(len(own.get("total_shrink") or shared) for own in recipe["networks"])
        controls = len(recipe["networks"]) * levels if pruning.get("from_scratch") else 0
        networks = repetitions * (bases * (1 + cuts) + controls)
        return int(networks * (2 if recipe.get("deployment") else 1))
    except (KeyError, TypeError):
        return None


def _in_order(asked: Iterable[str], there: set[str]) -> tuple[str, ...]:
    known = [name for name in asked if name in there]
    return (*known, *sorted(there - set(known)))
