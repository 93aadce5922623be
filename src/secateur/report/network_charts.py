"""Charts of the unpruned networks: how sparse and sensitive they are, and do the criteria agree."""

from __future__ import annotations

import altair as alt

from secateur.report import figures, removed_figures, sensitivity_figures
from secateur.report.drawing import Control, Figure, Key, colour, colours_of, spec, tooltip, values
from secateur.report.findings import Findings
from secateur.report.wording import level


def sparsity(findings: Findings) -> Figure:
    """Weight Skewness, Gini index and inactive share by strength."""
    data = figures.sparsity(findings)
    colours = colours_of(findings.networks)
    panels = []
    for index, title, form in (
        ("ws", "Weight Skewness", ".1f"),
        ("gini", "Gini index", ".2f"),
        ("inactive_share", "Inactive channels", "%"),
    ):
        own = [row for row in data if row["index"] == index]
        if not own:
            continue
        base = alt.Chart(values(own)).encode(
            x=alt.X(
                "strength:Q",
                title="Strength (total shrink of the scales)",
                axis=alt.Axis(tickCount=5),
            ),
            color=colour("network", colours),
        )
        mean = base.mark_line(point={"size": 45}).encode(
            y=alt.Y("mean:Q", title=title, axis=alt.Axis(format=form)),
            tooltip=tooltip(own, "network", "strength", "mean", "least", "most", "n"),
        )
        span = base.mark_rule(opacity=0.5).encode(y="least:Q", y2="most:Q")
        panels.append(spec(span + mean, title))
    return Figure(
        "sparsity",
        "Sparsity by strength",
        "Pooled over all prunable channels, from the absolute batch-norm scales. Dots are means "
        "over base networks, bars run from the lowest to the highest. Weight Skewness is not "
        "monotone at light sparsity and is blind to a common shift: read it with its companions.",
        tuple(panels),
        legend=tuple(Key(name, colours[name], "dot") for name in findings.networks),
    )


def layers(findings: Findings) -> Figure:
    """Weight Skewness and inactive share of every layer."""
    data = figures.layers(findings)
    largest = max((abs(row["ws"]) for row in data if row["ws"] is not None), default=1.0)
    bound = min(max(largest, 1.0), 4.0)
    marks = {
        "ws": alt.Color(
            "ws:Q",
            title="Weight Skewness",
            scale=alt.Scale(scheme="purpleorange", domain=[-bound, bound], clamp=True),
        ),
        "inactive_share": alt.Color(
            "inactive_share:Q",
            title="Inactive channels",
            scale=alt.Scale(scheme="viridis", domain=[0, 1]),
            legend=alt.Legend(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
        ),
    }
    panels = []
    for index, mark in marks.items():
        for network in findings.networks:
            own = [row for row in data if row["network"] == network and row[index] is not None]
            if not own:
                continue
            own.sort(key=lambda row: int(row["order"]))
            shared = _shared_ending([row["layer"] for row in own])
            own = [row | {"layer": row["layer"].removesuffix(shared)} for row in own]
            order = list(dict.fromkeys(row["layer"] for row in own))
            tiles = (
                alt.Chart(values(own))
                .mark_rect()
                .encode(
                    x=alt.X("strength:O", title="Strength", axis=alt.Axis(labelAngle=0)),
                    y=alt.Y("layer:N", sort=order, title=None, axis=alt.Axis(labelLimit=140)),
                    color=mark,
                    tooltip=tooltip(own, "layer", "n", "strength", "ws", "inactive_share"),
                )
            )
            height = max(90, 19 * len(order))
            panels.append(spec(tiles, network, height=height))
    return Figure(
        "layers",
        "Sparsity by layer",
        "Rows are layers in the order they were measured. Weight Skewness above 0 (orange) means a "
        "few channels stand out above many weak ones, below 0 (purple) the reverse. An "
        "empty cell is a layer whose skewness is undefined because its channels are all equal.",
        tuple(panels),
    )


def sensitivity(findings: Findings) -> Figure:
    """Heat-map of the accuracy lost without a share of one group's filters."""
    data = sensitivity_figures.sensitivity(findings)
    strengths = sorted({row["strength"] for row in data})
    most = max([0.01, *(row["lost"] for row in data)])
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        shared = _shared_ending([row["group"] for row in own])
        own = [row | {"group": row["group"].removesuffix(shared)} for row in own]
        order = list(dict.fromkeys(row["group"] for row in own))
        cells = (
            alt.Chart(alt.NamedData("own"))
            .transform_filter("datum.strength === strength")
            .transform_calculate(
                points="100 * datum.lost",
                span="format(100 * datum.least, '.1f') + ' to ' + format(100 * datum.most, '.1f')",
            )
            .encode(
                y=alt.Y("group:N", sort=order, title=None, axis=alt.Axis(labelLimit=140)),
                tooltip=[
                    alt.Tooltip("group:N"),
                    alt.Tooltip("n_channels:Q", title="channels"),
                    alt.Tooltip("ratio:Q", title="zeroed", format=".0%"),
                    alt.Tooltip("points:Q", title="points lost", format=".1f"),
                    alt.Tooltip("span:N", title="lowest to highest"),
                    alt.Tooltip("n:Q", title="base networks"),
                ],
            )
        )
        tiles = cells.mark_rect().encode(
            x=alt.X(
                "from:Q",
                title="Share of the group's filters zeroed",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], grid=False),
            ),
            x2="upto:Q",
            color=alt.Color(
                "lost:Q",
                legend=None,
                scale=alt.Scale(scheme="oranges", domain=[0, most], clamp=True),
            ),
        )
        dark = f"datum.lost > {0.6 * most:.4g}"
        texts = cells.mark_text(fontSize=11).encode(
            x="ratio:Q",
            text=alt.Text("points:Q", format=".1f"),
            color=alt.condition(dark, alt.value("white"), alt.value("#1b1e22")),
        )
        layered = alt.layer(tiles, texts).add_params(alt.param(name="strength", value=strengths[0]))
        height = max(90, 22 * len(order))
        panels.append(spec(layered, network, height=height, datasets={"own": own}))
    return Figure(
        "sensitivity",
        "What each group of channels is good for",
        "Points of test accuracy lost when the filters of one group that are lowest by l1 are set "
        "to zero, nothing re-estimated or trained: means over base networks, groups in the order "
        "of the network. One scale of colours for all networks and strengths. A group that loses "
        "much should keep its channels; one that loses nothing could go far. It describes: no cut "
        "of the study looked at it.",
        tuple(panels),
        controls=(
            Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
        )
        if panels
        else (),
    )


def similarity(findings: Findings) -> Figure:
    """Heat-map of the rank correlations between criteria."""
    data = figures.similarity(findings)
    strengths = sorted({row["strength"] for row in data})
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        names = list(dict.fromkeys(row["first"] for row in own))
        cells = (
            alt.Chart(values(own))
            .transform_filter("datum.strength === strength && datum.over === over")
            .encode(
                x=alt.X("second:N", sort=names, title=None, axis=alt.Axis(labelAngle=0)),
                y=alt.Y("first:N", sort=names, title=None),
                tooltip=tooltip(own, "first", "second", "over", "rho"),
            )
        )
        tiles = cells.mark_rect().encode(
            color=alt.Color(
                "rho:Q",
                legend=None,
                scale=alt.Scale(scheme="blues", domain=[0, 1], clamp=True),
            )
        )
        # An undefined correlation stands in its own words; dark tiles carry white figures.
        texts = (
            cells.transform_calculate(text="datum.rho === null ? '–' : format(datum.rho, '.2f')")
            .mark_text(fontSize=12)
            .encode(
                text="text:N",
                color=alt.condition("datum.rho > 0.55", alt.value("white"), alt.value("#1b1e22")),
            )
        )
        layered = alt.layer(tiles, texts).add_params(
            alt.param(name="strength", value=strengths[0]), alt.param(name="over", value="mean")
        )
        panels.append(spec(layered, network, height=max(120, 46 * len(names))))
    return Figure(
        "similarity",
        "Do the criteria put channels into the same order?",
        "Spearman's rank correlation of filter scores in the unpruned networks, averaged over base "
        "networks: 1 is the same order, 0 none. High values inside layers need not hold for all "
        "filters together, because criteria scale differently with the size of a filter.",
        tuple(panels),
        controls=(
            Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
            Control(
                "over",
                "Over",
                (
                    ("mean", "mean of layers"),
                    ("minimum", "worst layer"),
                    ("global", "all filters together"),
                ),
                "mean",
            ),
        )
        if panels
        else (),
    )


def removed(findings: Findings) -> Figure:
    """Heat-map of the share of removed channels that two criteria have in common."""
    data = removed_figures.removed(findings)
    strengths = sorted({row["strength"] for row in data})
    ratios = sorted({row["ratio"] for row in data})
    scopes = [scope for scope in findings.scopes if scope in {row["scope"] for row in data}]
    panels = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        if not own:
            continue
        names = list(findings.criteria)
        tilted = alt.Axis(labelAngle=-40 if len(names) > 5 else 0, labelOverlap=False)
        cells = (
            alt.Chart(alt.NamedData("own"))
            .transform_filter(
                "datum.strength === strength && datum.scope === scope && "
                "abs(datum.ratio - ratio) < 0.0001"
            )
            .encode(
                x=alt.X("first:N", sort=names, title=None, axis=tilted),
                y=alt.Y("second:N", sort=names, title=None),
                tooltip=tooltip(own, "first", "second", "shared", "least", "most", "n"),
            )
        )
        tiles = cells.mark_rect().encode(
            color=alt.Color("shared:Q", legend=None, scale=alt.Scale(scheme="blues", domain=[0, 1]))
        )
        texts = cells.mark_text(fontSize=12).encode(
            text=alt.Text("shared:Q", format=".2f"),
            color=alt.condition("datum.shared > 0.55", alt.value("white"), alt.value("#1b1e22")),
        )
        layered = alt.layer(tiles, texts).add_params(
            alt.param(name="ratio", value=ratios[0]),
            alt.param(name="strength", value=strengths[0]),
            alt.param(name="scope", value=scopes[0]),
        )
        height = max(90, 40 * len(names))
        panels.append(spec(layered, network, height=height, datasets={"own": own}))
    return Figure(
        "removed",
        "Do the criteria remove the same channels?",
        "Channels that both removed from the same base network, over those that either removed, "
        "averaged over base networks: 1 is the same set, 0 none in common. Pairs with random show "
        "what chance gives, which grows with how much goes.",
        tuple(panels),
        controls=(
            Control(
                "ratio",
                "Budget" if findings.by_macs else "Pruning ratio",
                tuple((r, level(r, findings.by_macs)) for r in ratios),
                ratios[0],
            ),
            Control("strength", "Strength", tuple((s, f"{s:g}") for s in strengths), strengths[0]),
            Control("scope", "Scope", tuple((s, s) for s in scopes), scopes[0]),
        )
        if panels
        else (),
    )


def _shared_ending(names: list[str]) -> str:
    """The last dotted part where all names have it: it tells nothing and takes room.

    >>> _shared_ending(["stem.conv", "block1.conv"]), _shared_ending(["conv", "block1.conv"])
    ('.conv', '')
    """
    endings = {f".{name.rpartition('.')[2]}" if "." in name else "" for name in names}
    return endings.pop() if len(endings) == 1 else ""
