"""Charts of a network's weights: the Gaussian picture, sparsity, what explains agreement."""

from __future__ import annotations

import altair as alt

from secateur.report import inspection_figures as figures
from secateur.report.drawing import (
    COLOURS,
    CONTROL_COLOUR,
    Control,
    Figure,
    Key,
    Spec,
    colour,
    spec,
    tooltip,
    values,
)
from secateur.report.figures import Data
from secateur.report.inspection_figures import Analyses, own
from secateur.report.inspection_score_charts import layer_axis, reference, rho_scale
from secateur.report.wording import percent

_WHERE = {
    "inside a kernel": COLOURS[1],
    "between kernels": COLOURS[0],
    "if independent": CONTROL_COLOUR,
}
_DEFINITIONS = {
    "bn_scale": "absolute batch-norm scale",
    "filter_l1": "l1 norm of the filter over its layer's mean",
}


def pass_rates(analyses: Analyses) -> Figure:
    """Pass rates by layer against the nominal rate, and correlations of coordinates."""
    data = figures.pass_rates(analyses)
    correlations = figures.kernel_correlations(analyses)
    panels: list[Spec] = []
    chosen = alt.param(name="test", value="normal")
    for one in analyses:
        layers = [row.layer for row in one.distribution]
        rows = own(data, network=one.name)
        if rows:
            base = (
                alt.Chart(values(rows))
                .transform_filter("datum.test === test")
                .encode(x=layer_axis(layers))
            )
            points = base.mark_point(filled=True, size=45, color=COLOURS[0]).encode(
                y=alt.Y("rate:Q", title="Pass rate", scale=alt.Scale(domain=[0, 1])),
                tooltip=tooltip(rows, "layer", "kind", "test", "rate", "low", "high", "verdict"),
            )
            spans = base.mark_rule(color=COLOURS[0], opacity=0.6).encode(y="low:Q", y2="high:Q")
            nominal = (
                alt.Chart(values([{"nominal": rows[0]["nominal"]}]))
                .mark_rule(strokeDash=[5, 4], color=CONTROL_COLOUR)
                .encode(y="nominal:Q")
            )
            chart = alt.layer(nominal, spans, points).add_params(chosen)
            panels.append(spec(chart, f"{one.name}: coordinates that pass"))
        if within := own(correlations, network=one.name):
            lines = (
                alt.Chart(values(within))
                .mark_line(point={"size": 22})
                .encode(
                    x=layer_axis(layers),
                    y=alt.Y("r:Q", title="Mean |correlation|"),
                    color=colour("where", _WHERE),
                    tooltip=tooltip(within, "layer", "where", "r"),
                )
                .add_params(chosen)
            )
            panels.append(spec(lines, f"{one.name}: correlation of coordinates"))
    return Figure(
        "gaussian",
        "Is the Gaussian picture true of these weights?",
        "Every point is a layer: the share of its weight coordinates, each taken across the "
        "filters, that pass a test at 5 %, with Wilson's interval. If filters were drawn from a "
        "Gaussian it would be the dashed line. The picture allows correlation inside a kernel, "
        "and none between kernels. Layers with fewer than 8 filters are too small to be tested.",
        tuple(panels),
        controls=(
            Control(
                "test",
                "Test",
                (("normal", "normality (Shapiro–Wilk)"), ("mean 0", "mean 0 (t)")),
                "normal",
            ),
        )
        if panels
        else (),
        legend=(
            Key("nominal", CONTROL_COLOUR, "line"),
            *(Key(where, tone, "dot") for where, tone in _WHERE.items()),
        ),
        wide=True,
    )


def quantiles(analyses: Analyses) -> Figure:
    """Q-Q plots of the least and the most normal layer."""
    data = figures.quantiles(analyses)
    panels = []
    for one in analyses:
        for plot in one.qq:
            rows = own(data, network=one.name, layer=plot.layer)
            base = alt.Chart(values(rows)).encode(
                x=alt.X("theoretical:Q", title="Gaussian quantile")
            )
            band = base.mark_area(opacity=0.2, color=COLOURS[0]).encode(
                y=alt.Y("low:Q", title="Observed quantile"), y2="high:Q"
            )
            points = base.mark_line(color=COLOURS[0], point={"size": 18}).encode(
                y="observed:Q", tooltip=tooltip(rows, "theoretical", "observed")
            )
            ends = [min(row["theoretical"] for row in rows), max(r["theoretical"] for r in rows)]
            same = (
                alt.Chart(values([{"theoretical": x, "observed": x} for x in ends]))
                .mark_line(strokeDash=[5, 4], color=CONTROL_COLOUR)
                .encode(x="theoretical:Q", y="observed:Q")
            )
            name = f"{one.name}: " if len(analyses) > 1 else ""
            title = f"{name}{plot.layer}, {percent(plot.rate, 0)} pass"
            panels.append(spec(alt.layer(band, same, points), title))
    return Figure(
        "quantiles",
        "How far from Gaussian is the worst layer, and the best?",
        "Standardised coordinates of the layer with the lowest and of that with the highest pass "
        "rate, sorted, against a Gaussian's quantiles. The line is the mean over coordinates, the "
        "band holds nine in ten; on the dashed line they are Gaussian. Ends that leave it "
        "steeply are heavy tails.",
        tuple(panels),
    )


def covariance(analyses: Analyses) -> Figure:
    """Correlation matrices of a few coordinates in whole kernels."""
    data = figures.covariance(analyses)
    panels = []
    for one in analyses:
        for picture in one.covariance:
            rows = own(data, network=one.name, layer=picture.layer)
            step = f"values each of {picture.n_channels} input channels"
            axis = alt.Axis(
                values=[k * picture.kernel for k in range(picture.n_channels)], labels=False
            )
            cells = (
                alt.Chart(values(own(rows, kernel=picture.kernel)))
                .mark_rect()
                .encode(
                    x=alt.X("column:O", title=f"{picture.kernel} {step}", axis=axis),
                    y=alt.Y("row:O", title=None, axis=axis),
                    color=alt.Color(
                        "r:Q",
                        title="Correlation",
                        scale=alt.Scale(scheme="blueorange", domain=[-1, 1]),
                        legend=alt.Legend(values=[-1, 0, 1], gradientLength=120),
                    ),
                    tooltip=tooltip(rows, "row", "column", "r"),
                )
            )
            name = f"{one.name}: " if len(analyses) > 1 else ""
            panels.append(spec(cells, f"{name}{picture.layer}", height=300))
    return Figure(
        "covariance",
        "Are weights correlated inside a kernel only?",
        "Correlation across filters of a few coordinates, kernel after kernel, in the layer where "
        "they are most correlated inside a kernel and in that where they are least. The Gaussian "
        "picture has blocks on the diagonal, one an input channel, and noise elsewhere.",
        tuple(panels),
    )


def skewness(analyses: Analyses) -> Figure:
    """Weight Skewness by layer with its companions."""
    data = figures.skewness(analyses)
    kinds = list(dict.fromkeys(row["definition"] for row in data))
    panels: list[Spec] = []
    for one in analyses:
        rows = own(data, network=one.name)
        names = [row["layer"] for row in rows]
        layers = [shape.layer for shape in one.layers if shape.layer in names]
        for field, title, form in (
            ("ws", "Weight Skewness", ".1f"),
            ("gini", "Gini index", ".2f"),
            ("inactive_share", "Inactive channels", "%"),
        ):
            if any(row[field] is not None for row in rows):
                panels.append(_sparse(rows, layers, field, f"{one.name}: {title}", form, kinds[0]))
    return Figure(
        "skewness",
        "How sparse are the channels, layer by layer?",
        "Weight Skewness with its standard error, above 0 where a few channels stand out above "
        "many weak ones; read it with the Gini index and the share of inactive channels, those "
        "below 1 % of the network's largest weight. A layer without a point is undefined.",
        tuple(panels),
        controls=(
            Control(
                "definition",
                "Of the",
                tuple((kind, _DEFINITIONS[kind]) for kind in kinds),
                kinds[0],
            ),
        )
        if panels
        else (),
    )


def _sparse(
    rows: Data, layers: list[str], field: str, title: str, form: str, definition: str
) -> Spec:
    base = (
        alt.Chart(values(rows))
        .transform_filter("datum.definition === definition")
        .transform_filter(f"isValid(datum.{field})")
        .encode(x=layer_axis(layers))
    )
    points = base.mark_point(filled=True, size=45, color=COLOURS[0]).encode(
        y=alt.Y(
            f"{field}:Q",
            title=None,
            axis=alt.Axis(format=form),
            scale=_covering(rows, ["ws_low", "ws_high"] if field == "ws" else [field], 0.0),
        ),
        tooltip=tooltip(rows, "layer", "n", "ws", "gini", "inactive_share"),
    )
    layered = [reference(field, 0.0), points]
    if field == "ws":
        layered.insert(1, base.mark_rule(opacity=0.6).encode(y="ws_low:Q", y2="ws_high:Q"))
    chart = alt.layer(*layered).add_params(alt.param(name="definition", value=definition))
    return spec(chart, title)


def explanation(analyses: Analyses) -> Figure:
    """Agreement of a pair against spread of norms and heaviness of tails, a point a layer."""
    data = figures.explanation(analyses)
    pairs = figures.pairs_of(data)
    panels = []
    for one in analyses:
        rows = own(data, network=one.name)
        for field, title, iid in (
            ("spread", "Spread of filter norms over its iid value", 1.0),
            ("tails", "Excess kurtosis of weights within filters", 0.0),
        ):
            some = [row for row in rows if row[field] is not None]
            if not some:
                continue
            points = (
                alt.Chart(values(some))
                .transform_filter("datum.pair === pair")
                .mark_point(size=45, color=COLOURS[0 if field == "spread" else 1])
                .encode(
                    x=alt.X(f"{field}:Q", title=title, scale=_covering(some, [field], iid)),
                    y=alt.Y("rho:Q", title="Rank correlation", scale=rho_scale(some, pairs)),
                    tooltip=tooltip(some, "layer", "pair", "n", "rho", "spread", "tails"),
                )
                .add_params(alt.param(name="pair", value=pairs[0]))
            )
            rules = (reference(field, iid, "x"), reference("rho", 1.0))
            panels.append(spec(alt.layer(*rules, points), one.name))
    return Figure(
        "explained",
        "What explains the agreement?",
        "Every point is a layer. Filters that differ in norm put all criteria of norms into one "
        "order; heavy tails part l1 from l2. At a spread of 1 and a kurtosis of 0 filters look "
        "as if drawn from one Gaussian (the upright rule).",
        tuple(panels),
        controls=(Control("pair", "Pair", tuple((p, p) for p in pairs), pairs[0]),)
        if panels
        else (),
    )


def _covering(rows: Data, fields: list[str], value: float) -> alt.Scale:
    """A scale that holds every number of these fields, whatever is chosen, and `value`."""
    numbers = [row[field] for row in rows for field in fields if row[field] is not None]
    return alt.Scale(domain=[min([value, *numbers]), max([value + 0.05, *numbers])], zero=False)
