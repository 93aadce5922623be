"""Charts of what criteria do to a network: agreement, clusters, spread, and global pruning."""

from __future__ import annotations

import json

import altair as alt

from secateur.report import inspection_figures as figures
from secateur.report.drawing import (
    COLOURS,
    CONTROL_COLOUR,
    Control,
    Figure,
    Key,
    Spec,
    spec,
    tooltip,
    values,
)
from secateur.report.figures import Data
from secateur.report.inspection_figures import QUANTITIES, Analyses, own

_TEXT_UPTO = 12
"""Criteria up to which a heat-map has room for numbers."""


def similarity(analyses: Analyses) -> Figure:
    """Heat-map of pairs of criteria in the order of their clusters, measured and expected."""
    data = figures.similarity(analyses)
    panels = []
    for one in analyses:
        if len(one.criteria) < 2:
            continue
        rows = own(data, network=one.name)
        names = list(one.clusters.order)
        title = one.name if len(analyses) > 1 else "Measured"
        panels.append(_matrix(rows, names, "value", title))
        known = {row["first"] for row in rows if row["expected"] is not None}
        if known:
            some = [row for row in rows if {row["first"], row["second"]} <= known]
            closed = [name for name in names if name in known]
            panels.append(_matrix(some, closed, "expected", "Expected of Gaussian filters"))
    return Figure(
        "agreement",
        "Do the criteria put filters into the same order?",
        "Spearman's rank correlation: 1 is the same order, 0 none. A high one does not mean equal "
        "pruned sets, so the share of the lowest filters that both name can be chosen as well. "
        "Expected is the value for filters drawn from one Gaussian, where a closed form is known; "
        "a dash is a value that nothing defines. Like stands beside like, by the clusters below.",
        tuple(panels),
        controls=(Control("quantity", "Show", tuple(QUANTITIES.items()), "mean"),)
        if panels
        else (),
    )


def _matrix(rows: Data, names: list[str], field: str, title: str) -> Spec:
    shown = [row for row in rows if row["first"] != row["second"]]
    axis = alt.Axis(labelAngle=0 if len(names) < 6 else -90, labelOverlap=False)
    cells = (
        alt.Chart(values(shown))
        .transform_filter("datum.quantity === quantity")
        .encode(
            x=alt.X("second:N", sort=names, title=None, axis=axis),
            y=alt.Y("first:N", sort=names, title=None, axis=alt.Axis(labelOverlap=False)),
            tooltip=tooltip(shown, "first", "second", "quantity", "value", "expected"),
        )
    )
    tiles = cells.mark_rect().encode(
        color=alt.Color(
            f"{field}:Q", legend=None, scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True)
        )
    )
    texts = (
        cells.transform_calculate(
            text=f"datum.{field} === null ? '–' : format(datum.{field}, '.2f')"
        )
        .mark_text(fontSize=11)
        .encode(
            text="text:N",
            color=alt.condition(f"datum.{field} > 0.55", alt.value("white"), alt.value("#1b1e22")),
        )
    )
    layered = alt.layer(tiles, texts) if len(names) <= _TEXT_UPTO else alt.layer(tiles)
    room = 34 if len(names) <= _TEXT_UPTO else 22
    layered = layered.add_params(alt.param(name="quantity", value="mean"))
    return spec(layered, title, height=max(120, room * len(names)))


def dendrogram(analyses: Analyses) -> Figure:
    """Clusters of criteria: brackets that meet at 1 - the mean rank correlation."""
    data = figures.dendrogram(analyses)
    panels = []
    for one in analyses:
        rows = own(data, network=one.name)
        if not rows:
            continue
        names = list(one.clusters.order)
        place = alt.Y(
            "place:Q",
            title=None,
            scale=alt.Scale(domain=[len(names) - 0.5, -0.5], nice=False, zero=False),
            axis=alt.Axis(
                values=list(range(len(names))),
                labelExpr=f"{json.dumps(names)}[datum.value]",
                grid=False,
                labelOverlap=False,
            ),
        )
        tree = (
            alt.Chart(values(rows))
            .mark_line(color=COLOURS[0], strokeWidth=2)
            .encode(
                x=alt.X(
                    "distance:Q", title="1 − mean rank correlation", scale=alt.Scale(zero=True)
                ),
                y=place,
                detail="joint:N",
                order="corner:Q",
            )
        )
        cut = (
            alt.Chart(values([{"distance": 1 - one.clusters.together_from}]))
            .mark_rule(strokeDash=[4, 4], color=CONTROL_COLOUR)
            .encode(x="distance:Q")
        )
        panels.append(spec(tree + cut, one.name, height=max(110, 22 * len(names))))
    return Figure(
        "clusters",
        "Which criteria are one criterion under several names?",
        "Brackets that meet far to the left join criteria that order filters alike (average "
        "linkage). Those that meet left of the dashed line, at a mean rank correlation of "
        f"{analyses[0].clusters.together_from:g}, count as one cluster.",
        tuple(panels),
    )


def layer_lines(analyses: Analyses) -> Figure:
    """Agreement of a chosen pair, layer by layer."""
    data = figures.layer_lines(analyses)
    pairs = figures.pairs_of(data)
    panels = []
    for one in analyses:
        rows = own(data, network=one.name)
        if not rows:
            continue
        base = (
            alt.Chart(values(rows))
            .transform_filter("datum.pair === pair")
            .encode(x=layer_axis([shape.layer for shape in one.layers]))
        )
        y = alt.Y("rho:Q", title="Rank correlation", scale=rho_scale(rows, pairs))
        measured = base.mark_line(color=COLOURS[0], point={"size": 40, "color": COLOURS[0]}).encode(
            y=y, tooltip=tooltip(rows, "pair", "layer", "n", "rho", "expected", "predicted")
        )
        expected = (
            base.transform_filter("isValid(datum.expected)")
            .mark_line(color=CONTROL_COLOUR, strokeDash=[5, 4])
            .encode(y="expected:Q")
        )
        predicted = (
            base.transform_filter("isValid(datum.predicted)")
            .mark_point(color=COLOURS[1], size=36)
            .encode(y="predicted:Q")
        )
        chart = alt.layer(reference("rho", 1.0), expected, predicted, measured).add_params(
            alt.param(name="pair", value=pairs[0])
        )
        panels.append(spec(chart, one.name))
    return Figure(
        "layers",
        "Where do they agree, and where not?",
        "Layers in the order in which the network uses them. The expectation is that of filters "
        "drawn from one Gaussian; the prediction, for l1 and l2, takes each layer's spread of "
        "norms and its tails into account. A layer without a point is undefined.",
        tuple(panels),
        controls=(Control("pair", "Pair", tuple((p, p) for p in pairs), pairs[0]),)
        if panels
        else (),
        legend=(
            Key("measured", COLOURS[0], "line"),
            Key("expected of Gaussian filters", CONTROL_COLOUR, "line"),
            Key("predicted from spread and tails (l1 ~ l2)", COLOURS[1], "hollow"),
        ),
        wide=True,
    )


def histograms(analyses: Analyses) -> Figure:
    """Scores of a chosen layer, a panel for each criterion."""
    data = figures.histograms(analyses)
    networks = [one.name for one in analyses]
    layers = figures.layers_of(analyses)
    panels = []
    for k, criterion in enumerate(dict.fromkeys(row["criterion"] for row in data)):
        bars = (
            alt.Chart(values(own(data, criterion=criterion)))
            .transform_filter("datum.layer === layer && datum.network === network")
            .transform_flatten(["counts", "place"])
            .transform_calculate(
                start="datum.low + datum.place * datum.step",
                end="datum.low + (datum.place + 1) * datum.step",
            )
            .mark_bar(color=COLOURS[k % len(COLOURS)], binSpacing=1)
            .encode(
                x=alt.X("start:Q", title="Score", scale=alt.Scale(zero=False), axis=_few()),
                x2="end:Q",
                y=alt.Y("counts:Q", title="Filters", axis=alt.Axis(tickMinStep=1, tickCount=4)),
                y2=alt.Y2Datum(0),
                tooltip=[
                    alt.Tooltip("start:Q", title="from", format=".4~g"),
                    alt.Tooltip("end:Q", title="to", format=".4~g"),
                    alt.Tooltip("counts:Q", title="filters"),
                ],
            )
            .add_params(
                alt.param(name="layer", value=layers[0]),
                alt.param(name="network", value=networks[0]),
            )
        )
        panels.append(spec(bars, criterion, height=110))
    return Figure(
        "scores",
        "How do the scores of a layer lie?",
        "Every criterion has its own axis. Filters in one heap cannot be told apart; a few far "
        "to the right are what the criterion would keep. An empty panel is a criterion that does "
        "not score this layer.",
        tuple(panels),
        controls=(
            Control("network", "Network", tuple((n, n) for n in networks), networks[0]),
            Control("layer", "Layer", tuple((n, n) for n in layers), layers[0]),
        )
        if panels
        else (),
    )


def spread(analyses: Analyses) -> Figure:
    """Coefficient of variation by criterion and layer; flagged cells are crossed."""
    data = figures.spread(analyses)
    panels = []
    for one in analyses:
        rows = own(data, network=one.name)
        cells = alt.Chart(values(rows)).encode(
            x=layer_axis([shape.layer for shape in one.layers]),
            y=alt.Y(
                "criterion:N",
                sort=list(one.criteria),
                title=None,
                axis=alt.Axis(labelOverlap=False),
            ),
            tooltip=tooltip(
                rows, "criterion", "layer", "n", "cv", "over_dispersion", "noise_cv", "flag"
            ),
        )
        tiles = (
            cells.transform_filter("isValid(datum.cv)")
            .mark_rect()
            .encode(
                color=alt.Color(
                    "cv:Q",
                    title="Coefficient of variation",
                    scale=alt.Scale(scheme="viridis", type="log", domain=[0.01, 2], clamp=True),
                    legend=alt.Legend(format="%", values=[0.01, 0.05, 0.2, 1], gradientLength=160),
                )
            )
        )
        crosses = (
            cells.transform_filter("datum.flag !== ''")
            .mark_point(
                shape="cross",
                angle=45,
                filled=True,
                fill=COLOURS[4],
                stroke="white",
                strokeWidth=1,
                size=70,
                opacity=1,
            )
            .encode()
        )
        panels.append(spec(tiles + crosses, one.name, height=max(90, 20 * len(one.criteria))))
    return Figure(
        "spread",
        "Can a criterion tell the filters of a layer apart?",
        "Standard deviation of a layer's scores over their mean. A cross is a criterion that is "
        "not applicable there: its scores vary by less than 5 % of their mean, or by less than "
        "between two calibration sets, or not at all. An empty cell is not scored or not defined.",
        tuple(panels),
        wide=True,
    )


def wiped(analyses: Analyses) -> Figure:
    """Layers that global pruning would empty, by criterion and normalisation."""
    data = figures.wiped(analyses)
    ratios = sorted({row["ratio"] for row in data})
    first = 0.5 if 0.5 in ratios else ratios[0]
    panels = []
    for one in analyses:
        rows = own(data, network=one.name)
        kinds = list(dict.fromkeys(row["normalisation"] for row in rows))
        cells = (
            alt.Chart(values(rows))
            .transform_filter("datum.ratio === ratio")
            .encode(
                x=alt.X("normalisation:N", sort=kinds, title=None, axis=alt.Axis(labelAngle=0)),
                y=alt.Y(
                    "criterion:N",
                    sort=list(one.criteria),
                    title=None,
                    axis=alt.Axis(labelOverlap=False),
                ),
                tooltip=tooltip(rows, "criterion", "normalisation", "ratio", "n_wiped", "n_layers"),
            )
        )
        tiles = (
            cells.transform_filter("datum.n_wiped > 0")
            .mark_rect()
            .encode(
                color=alt.Color(
                    "share:Q",
                    legend=None,
                    scale=alt.Scale(range=["#f6d9b8", "#e8862e"], domain=[0, 1]),
                )
            )
        )
        texts = cells.mark_text(fontSize=12).encode(
            text="n_wiped:Q",
            color=alt.condition(
                "datum.n_wiped > 0", alt.value("#1b1e22"), alt.value("currentColor")
            ),
        )
        chart = alt.layer(tiles, texts).add_params(alt.param(name="ratio", value=first))
        title = f"{one.name}: layers wiped out, of {one.facts.n_layers}"
        panels.append(spec(chart, title, height=max(90, 26 * len(one.criteria))))
    return Figure(
        "wiped",
        "What would global pruning do?",
        "Layers that lose every filter when the lowest filters of the whole network go at once, "
        "by raw scores (none) and after making layers comparable. Pruning itself never empties a "
        "group; this counts where it would have to be stopped.",
        tuple(panels),
        controls=(
            Control("ratio", "Filters gone", tuple((r, f"{100 * r:g} %") for r in ratios), first),
        )
        if panels
        else (),
    )


def rho_scale(rows: Data, pairs: list[str]) -> alt.Scale:
    """From a little below the lowest number of the chosen pair up to 1; from 0 if it has none."""
    lows = {}
    for pair in pairs:
        found = [
            value
            for row in rows
            if row["pair"] == pair
            for value in (row["rho"], row.get("expected"), row.get("predicted"))
            if value is not None
        ]
        lowest = min(found, default=0.0)
        lows[pair] = round(max(-1.0, lowest - 0.05 * (1 - lowest)), 3)
    return alt.Scale(domain=[{"expr": f"{json.dumps(lows)}[pair]"}, 1], nice=False, zero=False)


def reference(field: str, value: float, axis: str = "y") -> alt.Chart:
    """A faint rule that is there whatever is chosen: an axis always has something to measure."""
    rule = alt.Chart(values([{field: value}])).mark_rule(color=CONTROL_COLOUR, opacity=0.5)
    drawn: alt.Chart = rule.encode(**{axis: f"{field}:Q"})
    return drawn


def layer_axis(layers: list[str]) -> alt.X:
    """Layers from left to right in their order, with as many names as there is room for."""
    axis = alt.Axis(labelAngle=-60, labelLimit=110, labelOverlap="greedy")
    return alt.X("layer:N", sort=layers, title=None, axis=axis, scale=alt.Scale(domain=layers))


def _few() -> alt.Axis:
    return alt.Axis(tickCount=4, format=".3~g")
