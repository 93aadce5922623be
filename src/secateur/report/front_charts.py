"""The chart of accuracy against what is left of the cost, over MACs or over parameters."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from secateur.report import figures
from secateur.report.drawing import Control, Figure, Key, colour, colours_of, keys, spec, tooltip
from secateur.report.figures import Data
from secateur.report.findings import MAIN_EPSILON, Findings
from secateur.report.front_figures import fronts
from secateur.report.wording import loss
from secateur.study.methods import SCRATCH

MEASURES = {"accuracy": "after fine-tuning", "accuracy_cut": "right after the cut"}
COSTS = {"macs": "MACs", "params": "parameters"}
_TICKS = [2.0**-k for k in range(11)]
_SHOWN = (
    f"datum.criterion === '{SCRATCH}' || (datum.strength === strength && datum.scope === scope)"
)


def front(findings: Findings) -> Figure:
    """Accuracy over the share of MACs or parameters that is left, with what nothing beats."""
    data = fronts(findings)
    dense = {
        row["network"]: row["accuracy"]
        for row in figures.base_networks(findings)
        if row["strength"] == 0
    }
    scratch = (SCRATCH,) if findings.scratch else ()
    names = (*findings.criteria, *scratch)
    colours = colours_of(names)
    strengths = sorted({row["strength"] for row in data if row["strength"] is not None})
    y = alt.Scale(domain=_range(data, dense))
    panels = []
    for network in findings.networks if strengths else ():
        if own := [row for row in data if row["network"] == network]:
            level = dense.get(network)
            layered = _panel(own, level is not None, colours, y).add_params(
                alt.param(name="cost", value="macs"),
                alt.param(name="strength", value=strengths[0]),
                alt.param(name="scope", value=findings.scopes[0]),
                alt.param(name="measure", value="accuracy"),
            )
            allowed = {} if level is None else {"allowed": [{"level": level - MAIN_EPSILON}]}
            panels.append(spec(layered, network, datasets={"own": own} | allowed))
    beside = (
        "The dashed line is training from scratch: new weights in the sizes of uniform cuts. "
        if scratch
        else ""
    )
    return Figure(
        "front",
        "Accuracy against cost",
        "Every line starts right, at the unpruned network, and moves left as channels go. Up and "
        "left is better. Bars: interval over seeds. Filled marks are the front: no other cut shown "
        "is both cheaper and more accurate; it is picked from many, so expect somewhat less on new "
        f"data. {beside}The dotted line lies {loss(MAIN_EPSILON)} below the dense network trained "
        "without sparsification. A click on a mark lists its runs below.",
        tuple(panels),
        controls=_controls(strengths, findings.scopes) if panels else (),
        legend=(*keys(names, colours), Key("not on the front", "currentColor", "hollow")),
    )


def _panel(
    own: Data, with_level: bool, colours: dict[str, str], y: alt.Scale
) -> alt.LayerChart | alt.FacetChart:
    """The lines of one network, above the level that is still allowed if there is one."""
    chosen = (
        alt.Chart(alt.NamedData("own"))
        .transform_filter(_SHOWN)
        .transform_calculate(
            shown="datum[measure]",
            left="datum[cost + '_left']",
            best="datum['front_' + cost] && measure === 'accuracy'",
        )
        .encode(
            x=alt.X(
                "left:Q",
                title="Cost left, of the unpruned network (log scale)",
                scale=alt.Scale(type="log", base=2, nice=False),
                axis=alt.Axis(format=".0~%", values=_TICKS),
            ),
            color=colour("criterion", colours),
        )
    )
    line = chosen.mark_line().encode(
        y=alt.Y("shown:Q", title="Accuracy", scale=y, axis=alt.Axis(format="%")),
        order="ratio:Q",
        strokeDash=alt.condition(
            f"datum.criterion === '{SCRATCH}'", alt.value([4, 3]), alt.value([1, 0])
        ),
    )
    dots = chosen.mark_point(size=46, strokeWidth=1.5, cursor="pointer").encode(
        y="shown:Q",
        fill=colour("criterion", colours, "fill"),
        fillOpacity=alt.condition("datum.best", alt.value(1), alt.value(0)),
        tooltip=tooltip(
            own,
            *("criterion", "scope", "ratio", "macs", "params"),
            *("accuracy", "low", "high", "accuracy_cut", "n_seeds"),
        ),
    )
    spans = (
        chosen.transform_filter("measure === 'accuracy'")
        .mark_rule(opacity=0.45)
        .encode(y="low:Q", y2="high:Q")
    )
    if not with_level:
        return alt.layer(spans, line, dots)
    rule = alt.Chart(alt.NamedData("allowed"))
    dotted = rule.mark_rule(color="currentColor", strokeDash=[2, 4], opacity=0.6)
    return alt.layer(dotted.encode(y="level:Q"), spans, line, dots)


def _controls(strengths: Sequence[float], scopes: Sequence[str]) -> tuple[Control, ...]:
    return (
        Control("cost", "Cost", tuple(COSTS.items()), "macs"),
        Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
        Control("scope", "Scope", tuple((s, s) for s in scopes), scopes[0]),
        Control("measure", "Accuracy", tuple(MEASURES.items()), "accuracy"),
    )


def _range(data: Data, dense: dict[str, float]) -> list[float]:
    """Accuracies from the lowest to the highest drawn, and a little more."""
    drawn = [row[name] for row in data for name in ("low", "high", "accuracy_cut")]
    known = [value for value in (*drawn, *dense.values()) if value is not None]
    return [max(0.0, min(known, default=0.0) - 0.02), min(1.0, max(known, default=1.0) + 0.02)]
