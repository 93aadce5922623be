"""The chart of what can be pruned: prunable ratio against sparsity."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from secateur.report import figures
from secateur.report.drawing import (
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
from secateur.report.findings import EPSILONS, MAIN_EPSILON, Findings
from secateur.report.wording import loss


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


_SCOPE_SHAPES = {"uniform": ("circle", "dot"), "global": ("square", "square")}


def _shape(scopes: Sequence[str]) -> alt.Shape:
    shapes = [_SCOPE_SHAPES.get(scope, ("diamond", "dot"))[0] for scope in scopes]
    return alt.Shape("scope:N", legend=None, scale=alt.Scale(domain=list(scopes), range=shapes))


def _scope_keys(scopes: Sequence[str]) -> tuple[Key, ...]:
    keys = [Key(s, "currentColor", _SCOPE_SHAPES.get(s, ("diamond", "dot"))[1]) for s in scopes]
    return (*keys, Key("at least", "currentColor", "hollow"))
