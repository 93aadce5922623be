"""From analyses to one self-contained HTML page, as `page` makes one of a study. Loads no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from secateur.analysis.skewness import LIMITS, skewness_summary
from secateur.errors import ReportError
from secateur.files import write_text
from secateur.report import inspection_tables as tables
from secateur.report.drawing import Figure
from secateur.report.frame import render_page
from secateur.report.inspection_score_charts import (
    dendrogram,
    histograms,
    layer_lines,
    similarity,
    spread,
    wiped,
)
from secateur.report.inspection_weight_charts import (
    covariance,
    explanation,
    pass_rates,
    quantiles,
    skewness,
)
from secateur.report.tables import Table
from secateur.report.wording import listed, minus
from secateur.study.diagnosis import findings
from secateur.study.inspection import Analysis

_MAKERS = (
    *(similarity, dendrogram, layer_lines, histograms, spread, wiped),
    *(pass_rates, quantiles, covariance, skewness, explanation),
)
_TABLES = (
    *(tables.networks, tables.pairs, tables.overlaps, tables.clusters, tables.noise),
    *(tables.applicability, tables.flags, tables.gone, tables.checked, tables.layers),
    *(tables.sparsity, tables.sparsity_by_layer, tables.explained, tables.pinned),
    tables.missing,
)


def build(analyses: Sequence[Analysis], out: Path) -> Path:
    """Write the page of one network, or of several side by side, to `out`, and give `out` back.

    Raises:
        ReportError: there is no analysis, or two have one name.
        StorageError: the page could not be written.
    """
    write_text(out, render(analyses))
    return out


def draw(analyses: Sequence[Analysis]) -> dict[str, Figure]:
    """All figures for which there are rows, by their id."""
    figures = (make(analyses) for make in _MAKERS)
    return {figure.id: figure for figure in figures if figure.panels}


def render(analyses: Sequence[Analysis]) -> str:
    """The page as text."""
    if not analyses:
        raise ReportError("there is no analysis to report on; make one with secateur.analyse")
    names = [one.name for one in analyses]
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ReportError(f"two analyses are named {twice[0]!r}; give each a name of its own")
    return render_page(
        "inspection.html.j2",
        draw(analyses).values(),
        title=listed(names) if len(names) < 4 else f"{len(names)} networks",
        analyses=analyses,
        said=[(one, [minus(finding.text) for finding in findings(one)]) for one in analyses],
        tables={make.__name__: _shown(make(analyses), len(names)) for make in _TABLES},
        limits=LIMITS,
        cautions=[
            (one.name, row.definition, minus(caution))
            for one in analyses
            for row in skewness_summary(one.skewness)
            for caution in row.cautions
        ],
    )


def _shown(table: Table, n_networks: int) -> Table:
    """Without the column that names the network where there is one only."""
    if n_networks > 1 or table.columns[0] != "Network":
        return table
    rows = tuple(row[1:] for row in table.rows)
    return Table(table.caption, table.columns[1:], rows, table.n_labels - 1)
