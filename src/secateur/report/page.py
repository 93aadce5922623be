"""From rows to one self-contained HTML page that works offline, on a phone, in the dark, on paper.

The Vega bundle stands in the page once; every panel is a JSON spec beside it. Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from secateur.files import write_text
from secateur.report import gaps, summary, tables
from secateur.report.drawing import THEME, Figure
from secateur.report.findings import Findings, find
from secateur.report.network_charts import layers, similarity, sparsity
from secateur.report.pruning_charts import differences, macs, params, prunable
from secateur.report.wording import minus
from secateur.study.claims import NOT_SUPPORTED, NOT_TESTED, SUPPORTED, UNDECIDED
from secateur.study.tradeoff import Row
from secateur.version import __version__

_MAKERS = (sparsity, layers, prunable, macs, params, differences, similarity)
_TABLES = (
    tables.base_networks,
    tables.layers,
    tables.prunable,
    tables.regressions,
    tables.curves,
    tables.differences,
    tables.differences_by_ratio,
    tables.similarity,
    tables.budgets,
    tables.asked_and_reached,
    gaps.failures,
    gaps.undefined,
    tables.seconds,
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
    figures = draw(findings)
    specs = {
        figure.id: {
            "panels": figure.panels,
            "signals": {control.name: control.value for control in figure.controls},
        }
        for figure in figures.values()
    }
    environment = Environment(
        loader=PackageLoader("secateur.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("study.html.j2").render(
        recipe=findings.recipe,
        main_settings=summary.main_lines(findings.recipe),
        settings=summary.recipe_lines(findings.recipe),
        warnings=summary.warnings(findings),
        sentences=summary.sentences(findings),
        claims=[(c.statement, c.verdict, minus(c.because)) for c in findings.claims],
        tones=_TONES,
        figures=figures,
        tables={make.__name__: make(findings) for make in _TABLES},
        tracebacks=gaps.tracebacks(findings),
        n_seeds=findings.n_seeds,
        n_rows=len(findings.bases) + len(findings.pruned),
        version=__version__,
        specs=_script_json(specs),
        theme=_script_json(THEME),
        bundle=_bundle(),
    )


def _script_json(value: Any) -> Markup:
    r"""JSON that can stand in a script element: no `<` can end or open one.

    >>> print(_script_json("</script>"))
    "\u003c/script>"
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c"))


@cache
def _bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return Markup(script.replace("</script", r"<\/script"))
