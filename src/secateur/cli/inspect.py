"""`secateur inspect`: what a network's channels and the criteria's scores look like."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.network import Arguments, Factory, InputShape, Weights, build_network, example_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secateur.analysis.similarity import SimilaritySummary
    from secateur.analysis.skewness import SkewnessRow


def inspect(
    factory: Factory,
    weights: Weights = None,
    arg: Arguments = None,
    input_shape: InputShape = "1x64x101",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show channel groups, what is pinned and why, channel sparsity, and whether criteria agree."""
    from secateur.analysis.similarity import rank_correlations, summary
    from secateur.analysis.skewness import skewness_rows
    from secateur.channels.cost import cost
    from secateur.channels.trace import trace
    from secateur.criteria.channel_weights import channel_weights
    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA

    model = build_network(factory, weights, arg)
    channels = trace(model, example_of(input_shape))
    skewness = [
        row
        for definition in ("bn_scale", "filter_l1")
        if (found := channel_weights(model, channels, definition))
        for row in skewness_rows(found, definition)
    ]
    has_norm = any(row.definition == "bn_scale" for row in skewness)
    criteria = [
        criterion
        for criterion in CRITERIA.values()
        if criterion.update is None and (has_norm or not criterion.needs.startswith("bn_"))
    ]
    scores = score(model, channels, criteria)
    filters = {name: values.filters for name, values in scores.items()}
    shared = set.intersection(*(set(layers) for layers in filters.values()))
    filters = {
        name: {layer: v for layer, v in layers.items() if layer in shared}
        for name, layers in filters.items()
    }
    correlations = rank_correlations(filters)
    if as_json:
        answer = {
            "cost": asdict(cost(channels)),
            "channels": json.loads(channels.to_json()),
            "skewness": [asdict(row) for row in skewness],
            "similarity": [asdict(row) for row in correlations],
        }
        typer.echo(json.dumps(answer, allow_nan=False))
        return
    typer.echo(str(channels))
    typer.echo(_skewness_table(skewness))
    typer.echo(_similarity_table(summary(correlations)))


def _skewness_table(rows: Iterable[SkewnessRow]) -> str:
    lines = [
        "",
        "channel sparsity, pooled over prunable channels (WS is blind to a shift and not monotone "
        "at light sparsity: read it with its companions)",
        f"{'definition':<12}{'n':>6}{'WS':>8}{'± SE':>7}{'Gini':>7}{'Hoyer':>7}{'inactive':>10}",
    ]
    for row in rows:
        if row.layer == "pooled":
            cells = (row.ws, row.ws_se, row.gini, row.hoyer, row.inactive_share)
            ws, se, gini, hoyer, inactive = (_number(cell) for cell in cells)
            lines.append(
                f"{row.definition:<12}{row.n:>6}{ws:>8}{se:>7}{gini:>7}{hoyer:>7}{inactive:>10}"
            )
            if row.undefined:
                lines.append(f"  {row.undefined}")
    return "\n".join(lines)


def _similarity_table(rows: Iterable[SimilaritySummary]) -> str:
    lines = [
        "",
        "rank agreement of criteria (Spearman; mean and minimum over layers, all filters together)",
        f"{'pair':<22}{'mean':>7}{'min':>7}{'global':>8}",
    ]
    for row in rows:
        mean, low, whole = (_number(v) for v in (row.mean, row.minimum, row.global_rho))
        lines.append(f"{row.first + ' ~ ' + row.second:<22}{mean:>7}{low:>7}{whole:>8}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
