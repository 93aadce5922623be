"""From rows to one self-contained HTML page that works offline, on a phone, in the dark, on paper.

The Vega bundle stands in the page once; every panel is a JSON spec beside it. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from secateur.files import write_text
from secateur.report import comparison_tables, gaps, losses, run_tables, summary, tables
from secateur.report.comparison_charts import differences, methods
from secateur.report.comparison_figures import fairness
from secateur.report.drawing import Figure
from secateur.report.findings import Findings, find
from secateur.report.frame import render_page
from secateur.report.front_charts import front
from secateur.report.network_charts import layers, removed, sensitivity, similarity, sparsity
from secateur.report.pruning_charts import prunable
from secateur.report.run_charts import course, deployed, devices, seconds
from secateur.report.run_panel import run_panel
from secateur.report.wording import minus
from secateur.study.claims import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from secateur.study.tradeoff import Row

_MAKERS = (
    *(sparsity, layers, course, sensitivity, prunable, front, methods, differences),
    *(similarity, removed, devices, deployed, seconds),
)
_TABLES = (
    tables.base_networks,
    tables.layers,
    tables.sensitivity,
    tables.prunable,
    tables.regressions,
    losses.relative,
    losses.by_method,
    tables.curves,
    tables.differences,
    tables.differences_by_ratio,
    tables.similarity,
    tables.asked_and_reached,
    comparison_tables.ranks,
    comparison_tables.at_budgets,
    comparison_tables.measures,
    comparison_tables.bd_rates,
    comparison_tables.controls,
    comparison_tables.shares,
    gaps.failures,
    gaps.undefined,
    run_tables.deployed,
    run_tables.seconds,
)
_TONES = {SUPPORTED: "yes", NOT_SUPPORTED: "no", UNDECIDED: "open", NOT_TESTED: "open"}


def build(recipe: Mapping[str, Any], rows: Iterable[Row], out: Path) -> Path:
    """Write the report of a study, finished or not, to `out`, and give `out` back.

    Raises:
        ReportError: there are no rows, or one of them lacks a value.
        StorageError: the page could not be written.
    """
    write_text(out, render(find(recipe, rows)))
    return out


def draw(findings: Findings) -> dict[str, Figure]:
    """All figures for which there are rows, by their id."""
    figures = (make(findings) for make in _MAKERS)
    return {figure.id: figure for figure in figures if figure.panels}


def render(findings: Findings) -> str:
    """The page as text."""
    return render_page(
        "study.html.j2",
        draw(findings).values(),
        recipe=findings.recipe,
        main_settings=summary.main_lines(findings.recipe),
        settings=summary.recipe_lines(findings.recipe),
        warnings=summary.warnings(findings),
        sentences=summary.sentences(findings),
        claims=[
            (
                *(c.statement, c.verdict),
                *map(minus, (c.because, losses.at_other_losses(findings, c), c.visible)),
            )
            for c in findings.claims
        ],
        tones=_TONES,
        tables={make.__name__: make(findings) for make in _TABLES},
        fairness=fairness(findings),
        relative_warning=losses.RELATIVE,
        no_shares=findings.comparison.no_shares,
        absent=gaps.absent(findings),
        runs=run_panel(findings),
        tracebacks=gaps.tracebacks(findings),
        n_seeds=findings.n_seeds,
        n_rows=findings.n_rows,
    )
