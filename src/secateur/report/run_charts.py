"""Charts of runs: the course of training, what was deployed, where the time went."""

from __future__ import annotations

import altair as alt

from secateur.report import run_figures
from secateur.report.drawing import COLOURS, Control, Figure, Key, Spec, colour, spec, tooltip
from secateur.report.figures import Data
from secateur.report.findings import Findings
from secateur.report.run_figures import COURSE, UNPRUNED
from secateur.study.methods import SCRATCH

_CHOSEN = (
    f"datum.criterion === '{UNPRUNED}' ? datum.strength === strength : "
    f"datum.criterion === criterion && (criterion === '{SCRATCH}' || "
    "(datum.strength === strength && datum.scope === scope))"
)
_FORMS = {"float32": COLOURS[0], "int8": COLOURS[1]}


def course(findings: Findings) -> Figure:
    """Weight Skewness and its companions after every epoch of the base networks."""
    data = run_figures.course(findings)
    kinds = [name for name in COURSE if any(row["what"] == name for row in data)]
    strengths = sorted({row["strength"] for row in data})
    colours = {f"{s:g}": COLOURS[k % len(COLOURS)] for k, s in enumerate(strengths)}
    panels = []
    for network in findings.networks:
        own = [
            row | {"strength_name": f"{row['strength']:g}"}
            for row in data
            if row["network"] == network
        ]
        if not own:
            continue
        base = (
            alt.Chart(alt.NamedData("own"))
            .transform_filter("datum.what === what")
            .encode(
                x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(format="d", tickCount=5)),
                color=colour("strength_name", colours),
            )
        )
        line = base.mark_line(point={"size": 22}).encode(
            y=alt.Y("mean:Q", title="Mean over base networks", scale=alt.Scale(zero=False)),
            tooltip=tooltip(own, "network", "strength", "epoch", "mean", "least", "most", "n"),
        )
        band = base.mark_area(opacity=0.15).encode(y="least:Q", y2="most:Q")
        layered = alt.layer(band, line).add_params(alt.param(name="what", value=kinds[0]))
        panels.append(spec(layered, network, datasets={"own": own}))
    return Figure(
        "course",
        "Sparsity along training",
        "After every epoch of training the base networks, one line a strength of sparsification: "
        "means, and bands from the lowest to the highest base network. Weight Skewness is that of "
        "the batch-norm scales of all prunable channels, pooled.",
        tuple(panels),
        controls=(
            Control("what", "Shown", tuple((name, COURSE[name]) for name in kinds), kinds[0]),
        )
        if panels
        else (),
        legend=tuple(Key(f"strength {name}", value, "line") for name, value in colours.items())
        if panels
        else (),
    )


def deployed(findings: Findings) -> Figure:
    """Accuracy over the size of the file, as float32 and as INT8."""
    data = [row | {"kilobytes": row["file_bytes"] / 1000} for row in run_figures.deployed(findings)]
    x = alt.X(
        "kilobytes:Q",
        title="File, kilobytes (log scale)",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    return Figure(
        "deployed",
        "What was deployed",
        "Every network as an ONNX file, in float32 and quantised to INT8, answering the test set "
        "in ONNX Runtime. Lines run from the unpruned network, right, to the smallest. Bars: "
        "interval over seeds. Files hold their graph beside the weights. Speed is not measured in "
        "a study, where runs share the machine.",
        _lines_of_a_method(findings, data, x, "form", _FORMS, "Accuracy in ONNX Runtime"),
        controls=_controls(findings, data),
        legend=tuple(Key(name, value, "line") for name, value in _FORMS.items()),
    )


def devices(findings: Findings) -> Figure:
    """Accuracy by recording device, over how much was asked to go."""
    data = run_figures.by_device(findings)
    recorders = sorted({row["device"] for row in data})
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(recorders)}
    asked = "Share of MACs asked to go" if findings.by_macs else "Share of channels asked to go"
    x = alt.X("ratio:Q", title=asked, axis=alt.Axis(format="%", tickCount=5))
    return Figure(
        "devices",
        "Accuracy by recording device",
        "Test clips by the recorder they were made with, after fine-tuning; what was not asked to "
        "go lies left. A line that falls faster than the others belongs to a recorder that pays "
        "for the cut. Bars: interval over seeds. Few clips of a recorder make it uncertain.",
        _lines_of_a_method(findings, data, x, "device", colours, "Accuracy"),
        controls=_controls(findings, data),
        legend=tuple(Key(name, value, "line") for name, value in colours.items()),
    )


def _lines_of_a_method(
    findings: Findings, data: Data, x: alt.X, by: str, colours: dict[str, str], title: str
) -> tuple[Spec, ...]:
    """Accuracy of the chosen cells, a panel a network and a line for each value of `by`."""
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        base = (
            alt.Chart(alt.NamedData("own"))
            .transform_filter(_CHOSEN)
            .encode(x=x, color=colour(by, colours))
        )
        line = base.mark_line(point={"size": 36}).encode(
            y=alt.Y(
                "accuracy:Q",
                title=title,
                scale=alt.Scale(zero=False),
                axis=alt.Axis(format="%"),
            ),
            order="ratio:Q",
            tooltip=tooltip(
                own,
                *(by, "criterion", "scope", "ratio", "accuracy", "low", "high"),
                *(name for name in ("kilobytes",) if name in own[0]),
                "n_seeds",
            ),
        )
        spans = base.mark_rule(opacity=0.45).encode(y="low:Q", y2="high:Q")
        layered = alt.layer(spans, line).add_params(
            *(alt.param(name=c.name, value=c.value) for c in _controls(findings, data))
        )
        panels.append(spec(layered, network, datasets={"own": own}))
    return tuple(panels)


def _controls(findings: Findings, data: Data) -> tuple[Control, ...]:
    """Criteria, strengths and scopes of cells that can be chosen; none without data."""
    if not data:
        return ()
    found = {row["criterion"] for row in data}
    names = [name for name in (*findings.criteria, SCRATCH) if name in found] or [UNPRUNED]
    strengths = sorted({row["strength"] for row in data})
    there = {row["scope"] for row in data if row["criterion"] not in (UNPRUNED, SCRATCH)}
    scopes = [scope for scope in findings.scopes if scope in there] or [""]
    return (
        Control("criterion", "Criterion", tuple((n, n) for n in names), names[0]),
        Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
        Control("scope", "Scope", tuple((s, s) for s in scopes), scopes[0]),
    )


def seconds(findings: Findings) -> Figure:
    """Time by network and stage, summed over workers."""
    data = run_figures.seconds(findings)
    stages = list(dict.fromkeys(row["stage"] for row in data))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(stages)}
    longest = sum(row["seconds"] for row in data)
    unit, size = ("hours", 3600.0) if longest > 7200 else ("minutes", 60.0)
    own = [row | {"time": row["seconds"] / size} for row in data]
    bars = (
        alt.Chart(alt.NamedData("own"))
        .mark_bar()
        .encode(
            x=alt.X("sum(time):Q", title=f"Time of one core, {unit}"),
            y=alt.Y("network:N", sort=list(findings.networks), title=None),
            color=colour("stage", colours),
            tooltip=tooltip(own, "network", "stage", "cells", "seconds"),
        )
    )
    height = 50 + 34 * len(findings.networks)
    return Figure(
        "seconds",
        "What the study cost",
        "Seconds that every finished run recorded, summed by network and stage. Workers run beside "
        "each other, so the clock on the wall showed less; what failed or was stopped is not in "
        "it.",
        (spec(bars, "Time by stage", height=height, datasets={"own": own}),) if own else (),
        legend=tuple(Key(name, value, "square") for name, value in colours.items()),
        wide=True,
    )
