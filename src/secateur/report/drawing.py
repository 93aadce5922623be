"""What every chart of the page shares: figures and their controls, colours, marks and the theme.

A figure is a row of small panels that the page lays out by its own grid, so that they stack on a
phone. What a reader can choose is a parameter of every panel, set by the page. Text and rules are
drawn in `currentColor`: they follow the page into dark mode and onto paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from secateur.report.figures import Data
from secateur.study.claims import CONTROL
from secateur.study.methods import SCRATCH

Spec = dict[str, Any]

COLOURS = ("#3b7dd8", "#d9772b", "#2c9c69", "#a45fc4", "#c9485b", "#2aa5b5", "#b08a1e")
CONTROL_COLOUR = "#868c96"
CONTROL_COLOURS = {CONTROL: CONTROL_COLOUR, SCRATCH: "#9a7b66"}
HEIGHT = 230


THEME: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "domainColor": "currentColor",
        "tickColor": "currentColor",
        "gridColor": "currentColor",
        "gridOpacity": 0.12,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelOverlap": True,
    },
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "titleFontWeight": "normal",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "bottom",
    },
    "title": {
        "color": "currentColor",
        "anchor": "start",
        "fontSize": 14,
        "fontWeight": 600,
        "offset": 8,
    },
}
"""Vega-Lite configuration that the page gives to every panel."""


@dataclass(frozen=True)
class Control:
    """A choice of the reader: the parameter it sets, its label, values with labels, the first."""

    name: str
    label: str
    options: tuple[tuple[Any, str], ...]
    value: Any


@dataclass(frozen=True)
class Key:
    """One entry of a figure's legend: `mark` is `dot`, `square`, `hollow`, `line` or `dashes`."""

    label: str
    colour: str
    mark: str


@dataclass(frozen=True)
class Figure:
    """A titled row of panels with what the reader can choose, and how to read it.

    Panels of a `wide` figure take the width of the page each.
    """

    id: str
    title: str
    caption: str
    panels: tuple[Spec, ...]
    controls: tuple[Control, ...] = ()
    legend: tuple[Key, ...] = ()
    wide: bool = False


def spec(
    chart: alt.Chart | alt.LayerChart | alt.FacetChart,
    title: str,
    height: int = HEIGHT,
    datasets: Mapping[str, Data] | None = None,
) -> Spec:
    """A panel as a plain spec that takes the width of its place on the page.

    `datasets` are the rows of a chart of `alt.NamedData`: put in last, they cost no checking.
    """
    fitted: Any = chart.properties(
        width="container",
        height=height,
        title=title,
        description=f"{title}; the numbers stand in the table below the figure",
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )
    spec: Spec = fitted.to_dict()
    spec.pop("config", None)
    if datasets is not None:
        spec["datasets"] = {name: _rounded(rows) for name, rows in datasets.items()}
    return spec


def values(rows: Iterable[dict[str, Any]]) -> alt.InlineData:
    """Rows put into the spec, floats rounded to what a figure can show."""
    return alt.InlineData(values=_rounded(rows))


def _rounded(rows: Iterable[dict[str, Any]]) -> Data:
    return [{key: _short(value) for key, value in row.items()} for row in rows]


def _short(value: Any) -> Any:
    """Five significant digits are more than a figure shows, and a third of the bytes."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """A colour a name, the same in every figure; controls are dull."""
    known = [name for name in names if name not in CONTROL_COLOURS]
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(known)}
    return colours | {name: own for name, own in CONTROL_COLOURS.items() if name in names}


def colour(field: str, colours: dict[str, str], channel: str = "color") -> Any:
    """Colour (or fill) by a field, without a legend: the page shows one for all panels."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    kind = alt.Fill if channel == "fill" else alt.Color
    return kind(f"{field}:N", legend=None, scale=scale)


def keys(names: Sequence[str], colours: dict[str, str]) -> tuple[Key, ...]:
    """Legend of names with their colours."""
    return tuple(Key(name, colours[name], "line") for name in names)


def tooltip(rows: Data, *names: str) -> list[alt.Tooltip]:
    """What a pointer shows of a mark; shares as percentages."""
    shares = {"ratio", "low", "high", "accuracy", "accuracy_cut", "inactive_share", "value"}
    tips = []
    for name in names:
        value = next((row[name] for row in rows if row[name] is not None), "")
        title = name.replace("_", " ")
        if isinstance(value, str):
            tips.append(alt.Tooltip(f"{name}:N", title=title))
        else:
            form = ".1%" if name in shares else ".4~g"
            tips.append(alt.Tooltip(f"{name}:Q", title=title, format=form))
    return tips
