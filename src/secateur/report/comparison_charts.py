"""Charts of methods beside each other: the heat-map by network, differences from both controls."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from secateur.report import comparison_figures, figures
from secateur.report.drawing import COLOURS, Control, Figure, Key, colour, spec, tooltip
from secateur.report.figures import ALL_RATIOS, Data
from secateur.report.findings import MAIN_EPSILON, Findings
from secateur.report.front_charts import COSTS, MEASURES
from secateur.report.measure_figures import MEASURES as OF_CURVES
from secateur.report.wording import level, loss
from secateur.study.claims import CONTROL
from secateur.study.methods import SCRATCH

_FORM = "what === 'netscore' ? '.1f' : test(/^(area|f_beta|hypervolume)/, what) ? '.2f' : '.0%'"
"""How the numbers shown are written: shares as percentages, measures as plain numbers."""


def methods(findings: Findings) -> Figure:
    """Heat-map of method by network: the prunable ratio, accuracy at a budget, or a measure."""
    data = comparison_figures.heat_map(findings)
    kinds = list(dict.fromkeys(row["what"] for row in data))
    strengths = sorted({row["strength"] for row in data})
    first = f"prunable {MAIN_EPSILON:g}"
    first = first if first in kinds else next(iter(kinds), "")
    names = [*findings.criteria, SCRATCH]
    panels = []
    for scope in findings.scopes:
        own = [row for row in data if row["scope"] == scope]
        if not own:
            continue
        layered = _heat_map(own, names, findings.networks).add_params(
            alt.param(name="what", value=first),
            alt.param(name="strength", value=strengths[0]),
        )
        height = 40 + 34 * len({row["criterion"] for row in own})
        panels.append(spec(layered, scope, height=height, datasets={"own": own}))
    return Figure(
        "methods-by-network",
        "Method by network",
        "Each number is a mean over seeds; colours run from the lowest to the highest number shown "
        "in a panel. An empty place was not measured, or no network was that small: nothing is "
        "extrapolated. Area, F-beta, hypervolume and NetScore sum up the whole curve of accuracy "
        "over a cost, higher is better; the curve of training from scratch is not summed up. The "
        "intervals are in the tables and under the pointer.",
        tuple(panels),
        controls=(
            Control("what", "Shown", tuple((k, _kind(k)) for k in kinds), first),
            Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
        )
        if panels
        else (),
    )


def _heat_map(
    rows: Data, criteria: list[str], networks: Sequence[str]
) -> alt.LayerChart | alt.FacetChart:
    """Squares with their numbers, coloured from the lowest to the highest of what is shown."""
    tiles = (
        alt.Chart(alt.NamedData("own"))
        .transform_filter(
            f"datum.what === what && "
            f"(datum.strength === strength || datum.criterion === '{SCRATCH}')"
        )
        .transform_joinaggregate(least="min(value)", most="max(value)")
        .transform_calculate(
            share="datum.most > datum.least ? "
            "(datum.value - datum.least) / (datum.most - datum.least) : 0.3",
            text=f"format(datum.value, {_FORM})",
            interval="datum.low === null ? 'none' : "
            f"format(datum.low, {_FORM}) + ' to ' + format(datum.high, {_FORM})",
        )
        .encode(
            x=alt.X(
                "network:N",
                sort=list(networks),
                title=None,
                axis=alt.Axis(labelAngle=0),
            ),
            y=alt.Y("criterion:N", sort=criteria, title=None),
            tooltip=[
                *tooltip(rows, "network", "criterion", "scope"),
                alt.Tooltip("text:N", title="value"),
                alt.Tooltip("interval:N", title="interval"),
            ],
        )
    )
    squares = tiles.mark_rect(cursor="pointer").encode(
        color=alt.Color("share:Q", legend=None, scale=alt.Scale(scheme="blues", domain=[-0.2, 1]))
    )
    words = tiles.mark_text(fontSize=12, cursor="pointer").encode(
        text="text:N",
        color=alt.condition("datum.share > 0.5", alt.value("white"), alt.value("#1b1e22")),
    )
    return alt.layer(squares, words)


def differences(findings: Findings) -> Figure:
    """Accuracy of every criterion minus that of a control: random pruning, or from scratch."""
    data = figures.differences(findings) + comparison_figures.scratch_differences(findings)
    ratios = [ALL_RATIOS, *sorted({r["ratio"] for r in data} - {ALL_RATIOS}, key=float)]
    references = [name for name in (CONTROL, SCRATCH) if name in {r["reference"] for r in data}]
    bound = max((abs(row[side]) for row in data for side in ("low", "high")), default=0.01) * 1.05
    colours = dict(zip(MEASURES, (COLOURS[0], COLOURS[1]), strict=True))
    panels = []
    for network in findings.networks:
        own = [{**row, "points": 100 * row["mean"]} for row in data if row["network"] == network]
        if not own:
            continue
        names = [name for name in findings.criteria if name in {r["criterion"] for r in own}]
        layered = _points_and_spans(names, bound, colours).add_params(
            alt.param(name="ratio", value=ALL_RATIOS),
            alt.param(name="scope", value=findings.scopes[0]),
            alt.param(name="reference", value=references[0]),
        )
        named = {"own": own, "zero": [{"zero": 0}]}
        panels.append(spec(layered, network, height=60 + 36 * len(names), datasets=named))
    labels = {r: r if r == ALL_RATIOS else level(float(r), findings.by_macs) for r in ratios}
    return Figure(
        "differences",
        "Criteria against the controls",
        "Mean difference over pairs that share base network, scope and level, with its interval "
        "over seeds, for this comparison alone. From scratch: the same size with new weights, "
        "trained as the dense network was; of uniform cuts alone, after fine-tuning alone. Which "
        "differences hold for all of them together (Holm's correction), and which are ties, is in "
        "the tables.",
        tuple(panels),
        controls=(
            Control("reference", "Against", tuple((r, r) for r in references), references[0]),
            Control("ratio", _level_name(findings), tuple(labels.items()), ALL_RATIOS),
            Control("scope", "Scope", tuple((s, s) for s in findings.scopes), findings.scopes[0]),
        )
        if panels
        else (),
        legend=tuple(
            Key(words, colours[name], mark)
            for (name, words), mark in zip(MEASURES.items(), ("dot", "square"), strict=True)
        ),
    )


def _points_and_spans(
    criteria: list[str], bound: float, colours: dict[str, str]
) -> alt.LayerChart | alt.FacetChart:
    """A line at zero; for each criterion two means with their intervals, up to `bound` away."""
    base = (
        alt.Chart(alt.NamedData("own"))
        .transform_filter(
            "datum.ratio === ratio && datum.reference === reference && "
            f"datum.scope === (reference === '{SCRATCH}' ? 'uniform' : scope)"
        )
        .transform_calculate(low="100 * datum.low", high="100 * datum.high")
        .encode(
            y=alt.Y("criterion:N", sort=criteria, title=None),
            yOffset=alt.YOffset("measure:N", sort=list(MEASURES)),
            color=colour("measure", colours),
        )
    )
    scale = alt.Scale(domain=[-100 * bound, 100 * bound])
    dots = base.mark_point(size=60, filled=True, opacity=1, cursor="pointer").encode(
        x=alt.X("points:Q", title="Points of accuracy above the control", scale=scale),
        shape=alt.Shape(
            "measure:N",
            legend=None,
            scale=alt.Scale(domain=list(MEASURES), range=["circle", "square"]),
        ),
        tooltip=[
            "criterion:N",
            "reference:N",
            "scope:N",
            "ratio:N",
            "measure:N",
            alt.Tooltip("points:Q", format="+.1f"),
            alt.Tooltip("low:Q", format="+.1f"),
            alt.Tooltip("high:Q", format="+.1f"),
            "verdict:N",
            alt.Tooltip("macs_ratio:Q", format=".2f"),
            "n_seeds:Q",
        ],
    )
    spans = base.mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color="currentColor", opacity=0.5)
    return alt.layer(zero.encode(x="zero:Q"), spans, dots)


def _kind(what: str) -> str:
    """A kind of number in words.

    >>> _kind("prunable 0.02"), _kind("macs 4")
    ('prunable ratio, loss of 2 points', 'accuracy at 4× fewer MACs')
    >>> _kind("area params"), _kind("netscore")
    ('area to 4× fewer parameters', 'NetScore')
    """
    name, _, rest = what.partition(" ")
    if name == "prunable":
        return f"prunable ratio, loss of {loss(float(rest))}"
    if name == "area":
        return f"{OF_CURVES[name]} {COSTS[rest]}"
    if name in OF_CURVES:
        return OF_CURVES[name] + (f" over {COSTS[rest]}" if rest else "")
    return f"accuracy at {rest}× fewer {COSTS[name]}"


def _level_name(findings: Findings) -> str:
    return "Budget" if findings.by_macs else "Pruning ratio"
