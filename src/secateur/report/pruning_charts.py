"""Charts of what pruning does: prunable ratio, accuracy against cost, criteria against random."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from secateur.report import figures
from secateur.report.drawing import (
    COLOURS,
    Control,
    Figure,
    Key,
    colour,
    colours_of,
    keys,
    spec,
    tooltip,
    values,
)
from secateur.report.figures import ALL_RATIOS, Data
from secateur.report.findings import EPSILONS, MAIN_EPSILON, Findings
from secateur.report.wording import loss
from secateur.study.claims import CONTROL

_MEASURES = {"accuracy": "after fine-tuning", "accuracy_cut": "right after the cut"}


def prunable(findings: Findings) -> Figure:
    """Prunable ratio against Weight Skewness and against the inactive share, with fits."""
    data, lines = figures.prunable(findings), figures.fit_lines(findings)
    colours = colours_of(findings.criteria)
    epsilon = alt.param(name="epsilon", value=MAIN_EPSILON)
    at_epsilon = "datum.epsilon === epsilon"
    panels = []
    for against, title, form in (
        ("ws", "Weight Skewness, pooled", ".1f"),
        ("inactive", "Inactive channels", "%"),
    ):
        for network in findings.networks:
            own = [r for r in data if r["network"] == network and r[against] is not None]
            line = [r for r in lines if (r["network"], r["against"]) == (network, against)]
            if not own:
                continue
            points = (
                alt.Chart(values(own))
                .transform_filter(at_epsilon)
                .encode(
                    x=alt.X(
                        f"{against}:Q",
                        title=title,
                        scale=alt.Scale(zero=False, padding=12),
                        axis=alt.Axis(format=form, tickCount=5),
                    ),
                    color=colour("criterion", colours),
                )
            )
            dots = points.mark_point(size=55, strokeWidth=1.5).encode(
                y=alt.Y(
                    "ratio:Q",
                    title="Prunable ratio",
                    scale=alt.Scale(domain=[0, 1]),
                    axis=alt.Axis(format="%"),
                ),
                shape=_shape(findings.scopes),
                fill=colour("criterion", colours, "fill"),
                opacity=alt.condition("datum.base_below", alt.value(0.3), alt.value(1)),
                fillOpacity=alt.condition("datum.beyond", alt.value(0), alt.value(0.85)),
                tooltip=tooltip(
                    own, "criterion", "scope", "strength", "ratio", "low", "high", "n_seeds"
                ),
            )
            spans = points.mark_rule(opacity=0.4).encode(y="low:Q", y2="high:Q")
            fit = (
                alt.Chart(values(line))
                .transform_filter(at_epsilon)
                .mark_line(color="currentColor", strokeWidth=1.5, opacity=0.7, clip=True)
                .encode(x="x:Q", y="ratio:Q")
            )
            layered = alt.layer(spans, dots, fit) if line else alt.layer(spans, dots)
            panels.append(spec(layered.add_params(epsilon), network))
    return Figure(
        "prunable",
        "What can be pruned, against sparsity",
        "Largest share of channels that can go before accuracy falls more than the chosen loss "
        "below the dense network trained without sparsification. Bars: interval over seeds. A "
        "hollow mark held at the largest ratio tried: the true value is at least that. A pale mark "
        "at 0 belongs to a network too inaccurate before any cut: nothing was tested there. The "
        "line is fitted to one point a strength, the mean over criteria other than random.",
        tuple(panels),
        controls=(
            Control(
                "epsilon",
                "Accuracy that may be lost",
                tuple((value, loss(value)) for value in EPSILONS),
                MAIN_EPSILON,
            ),
        ),
        legend=(*keys(findings.criteria, colours), *_scope_keys(findings.scopes)),
    )


def macs(findings: Findings) -> Figure:
    """Accuracy over the MACs of the cut network."""
    return _curves(findings, "macs", "Accuracy against MACs", "MACs, millions (log scale)")


def params(findings: Findings) -> Figure:
    """Accuracy over the parameters of the cut network."""
    return _curves(
        findings, "params", "Accuracy against parameters", "Parameters, thousands (log scale)"
    )


def _curves(findings: Findings, cost: str, title: str, axis: str) -> Figure:
    unit = 1e6 if cost == "macs" else 1e3
    data = [{**row, cost: row[cost] / unit} for row in figures.accuracy_curves(findings)]
    dense = {
        row["network"]: row["accuracy"]
        for row in figures.base_networks(findings)
        if row["strength"] == 0
    }
    colours = colours_of(findings.criteria)
    strengths = sorted({row["strength"] for row in data})
    least = min((min(row["low"], row["accuracy_cut"]) for row in data), default=0.0)
    y = alt.Scale(domain=[max(0.0, least - 0.02), min(1.0, _highest(data, dense) + 0.02)])
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        chosen = (
            alt.Chart(values(own))
            .transform_filter("datum.strength === strength && datum.scope === scope")
            .transform_calculate(shown="datum[measure]", side="measure === 'accuracy'")
            .encode(
                x=alt.X(
                    f"{cost}:Q",
                    title=axis,
                    scale=alt.Scale(type="log", base=2, nice=False),
                    axis=alt.Axis(format="~g", tickCount=5),
                ),
                color=colour("criterion", colours),
            )
        )
        line = chosen.mark_line(point={"size": 32}).encode(
            y=alt.Y("shown:Q", title="Accuracy", scale=y, axis=alt.Axis(format="%")),
            order="ratio:Q",
            tooltip=tooltip(
                own,
                "criterion",
                "scope",
                "ratio",
                cost,
                "accuracy",
                "low",
                "high",
                "accuracy_cut",
                "n_seeds",
            ),
        )
        spans = (
            chosen.transform_filter("datum.side")
            .mark_rule(opacity=0.45)
            .encode(y="low:Q", y2="high:Q")
        )
        parts: list[alt.Chart] = [spans, line]
        if network in dense:
            level = alt.Chart(values([{"level": dense[network] - MAIN_EPSILON}]))
            parts.insert(
                0,
                level.mark_rule(color="currentColor", strokeDash=[2, 4], opacity=0.6).encode(
                    y="level:Q"
                ),
            )
        layered = alt.layer(*parts).add_params(
            alt.param(name="strength", value=strengths[0]),
            alt.param(name="scope", value=findings.scopes[0]),
            alt.param(name="measure", value="accuracy"),
        )
        panels.append(spec(layered, network))
    controls = (
        (
            Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
            Control("scope", "Scope", tuple((s, s) for s in findings.scopes), findings.scopes[0]),
            Control("measure", "Accuracy", tuple(_MEASURES.items()), "accuracy"),
        )
        if panels
        else ()
    )
    return Figure(
        cost,
        title,
        "Every line starts right, at the unpruned network, and moves left as channels go. Up and "
        "left is better. Bars: interval over seeds. The dotted line lies "
        f"{loss(MAIN_EPSILON)} below the dense network trained without sparsification.",
        tuple(panels),
        controls=controls,
        legend=keys(findings.criteria, colours),
    )


def differences(findings: Findings) -> Figure:
    """Accuracy of every criterion minus that of random pruning."""
    data = figures.differences(findings)
    ratios = [ALL_RATIOS, *sorted({r["ratio"] for r in data} - {ALL_RATIOS}, key=float)]
    names = [name for name in findings.criteria if name != CONTROL]
    bound = max((abs(row[side]) for row in data for side in ("low", "high")), default=0.01) * 1.05
    colours = dict(zip(_MEASURES, (COLOURS[0], COLOURS[1]), strict=True))
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        base = (
            alt.Chart(values([{**row, "points": 100 * row["mean"]} for row in own]))
            .transform_filter("datum.ratio === ratio && datum.scope === scope")
            .transform_calculate(low="100 * datum.low", high="100 * datum.high")
            .encode(
                y=alt.Y("criterion:N", sort=names, title=None),
                yOffset=alt.YOffset("measure:N", sort=list(_MEASURES)),
                color=colour("measure", colours),
            )
        )
        scale = alt.Scale(domain=[-100 * bound, 100 * bound])
        dots = base.mark_point(size=60, filled=True, opacity=1).encode(
            x=alt.X("points:Q", title="Points of accuracy above random", scale=scale),
            shape=alt.Shape(
                "measure:N",
                legend=None,
                scale=alt.Scale(domain=list(_MEASURES), range=["circle", "square"]),
            ),
            tooltip=[
                "criterion:N",
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
        zero = alt.Chart(values([{"zero": 0}])).mark_rule(color="currentColor", opacity=0.5)
        layered = alt.layer(zero.encode(x="zero:Q"), spans, dots).add_params(
            alt.param(name="ratio", value=ALL_RATIOS),
            alt.param(name="scope", value=findings.scopes[0]),
        )
        panels.append(spec(layered, network, height=60 + 36 * len(names)))
    return Figure(
        "differences",
        "Criteria against random pruning",
        "Mean difference over pairs that share base network, scope and ratio, with its interval "
        "over seeds, for this comparison alone. Which differences hold for all of them together "
        "(Holm's correction), and which are ties, is in the tables.",
        tuple(panels),
        controls=(
            Control("ratio", "Pruning ratio", tuple((r, r) for r in ratios), ALL_RATIOS),
            Control("scope", "Scope", tuple((s, s) for s in findings.scopes), findings.scopes[0]),
        )
        if panels
        else (),
        legend=tuple(
            Key(words, colours[name], mark)
            for (name, words), mark in zip(_MEASURES.items(), ("dot", "square"), strict=True)
        ),
    )


_SCOPE_SHAPES = {"uniform": ("circle", "dot"), "global": ("square", "square")}


def _shape(scopes: Sequence[str]) -> alt.Shape:
    shapes = [_SCOPE_SHAPES.get(scope, ("diamond", "dot"))[0] for scope in scopes]
    return alt.Shape("scope:N", legend=None, scale=alt.Scale(domain=list(scopes), range=shapes))


def _scope_keys(scopes: Sequence[str]) -> tuple[Key, ...]:
    keys = [Key(s, "currentColor", _SCOPE_SHAPES.get(s, ("diamond", "dot"))[1]) for s in scopes]
    return (*keys, Key("at least", "currentColor", "hollow"))


def _highest(data: Data, dense: dict[str, float]) -> float:
    return max(
        [*(max(row["high"], row["accuracy_cut"]) for row in data), *dense.values()], default=1.0
    )
