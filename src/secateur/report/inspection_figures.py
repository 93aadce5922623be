"""Figures of one or several analyses: what is drawn, as plain lists of dicts.

Every function takes the analyses and gives the rows of one figure; `inspection_score_charts` and
`inspection_weight_charts` draw them. Every row names its `network`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from secateur.analysis.gaussian import CLOSED_FORMS
from secateur.analysis.skewness import POOLED
from secateur.analysis.tables import GLOBAL
from secateur.report.figures import Data
from secateur.study.inspection import CONTROL, Analysis

Analyses = Sequence[Analysis]

QUANTITIES = {
    "mean": "rank correlation, mean of layers",
    "minimum": "rank correlation, worst layer",
    "global": "rank correlation, all filters together",
    "lowest 10 %": "shared of the lowest 10 %, mean of layers",
    "lowest 30 %": "shared of the lowest 30 %, mean of layers",
    "lowest 50 %": "shared of the lowest 50 %, mean of layers",
    "lowest 70 %": "shared of the lowest 70 %, mean of layers",
    "global 30 %": "shared of the lowest 30 %, all filters together",
    "global 50 %": "shared of the lowest 50 %, all filters together",
}
"""What the heat-map can show of a pair of criteria."""


def similarity(analyses: Analyses) -> Data:
    """Both halves of the matrix of criteria, every quantity; 1 on the diagonal.

    `expected` is the value for iid Gaussian filters, `value` None where it is undefined.
    """
    data: Data = []
    for one in analyses:
        for quantity in QUANTITIES:
            data += [
                {
                    "network": one.name,
                    "quantity": quantity,
                    "first": name,
                    "second": name,
                    "value": 1.0,
                    "expected": None,
                }
                for name in one.criteria
            ]
        for first, second, quantity, value, expected in _pairs(one):
            data += [
                {
                    "network": one.name,
                    "quantity": quantity,
                    "first": a,
                    "second": b,
                    "value": value,
                    "expected": expected,
                }
                for a, b in ((first, second), (second, first))
            ]
    return data


def _pairs(one: Analysis) -> Iterator[tuple[str, str, str, float | None, float | None]]:
    for row in one.similarity:
        yield row.first, row.second, "mean", row.mean, row.expected_mean
        yield row.first, row.second, "minimum", row.minimum, None
        yield row.first, row.second, "global", row.global_rho, row.expected_global
    for own in one.overlaps:
        share = f"{100 * own.ratio:.0f} %"
        yield own.first, own.second, f"lowest {share}", own.mean, own.expected_mean
        if f"global {share}" in QUANTITIES:
            yield own.first, own.second, f"global {share}", own.global_overlap, None


def dendrogram(analyses: Analyses) -> Data:
    """Corners of every bracket: four rows a joint, `place` being the criterion's in the order."""
    return [
        {
            "network": one.name,
            "joint": k,
            "corner": corner,
            "distance": distance,
            "place": place,
        }
        for one in analyses
        for k, join in enumerate(one.clusters.joins)
        for corner, (distance, place) in enumerate(
            (
                (join.left_from, join.left),
                (join.distance, join.left),
                (join.distance, join.right),
                (join.right_from, join.right),
            )
        )
    ]


def layer_lines(analyses: Analyses) -> Data:
    """Rank correlation of every pair in every layer, with what is expected and predicted."""
    data: Data = []
    for one in analyses:
        order = {shape.layer: k for k, shape in enumerate(one.layers)}
        predicted = {row.layer: row.rho for row in one.predictions}
        for row in one.correlations:
            if row.layer != GLOBAL and row.rho is not None:
                data.append(
                    {
                        "network": one.name,
                        "pair": f"{row.first} ~ {row.second}",
                        "layer": row.layer,
                        "order": order[row.layer],
                        "n": row.n,
                        "rho": row.rho,
                        "expected": row.expected,
                        "predicted": predicted.get(row.layer)
                        if (row.first, row.second) == ("l1", "l2")
                        else None,
                    }
                )
    return data


def histograms(analyses: Analyses) -> Data:
    """Scores of every criterion, network and layer in bins: one row a histogram.

    Where a criterion does not score a layer, `n` is 0 and one bin holds nothing.
    """
    found = {
        (one.name, row.criterion, row.layer): row for one in analyses for row in one.histograms
    }
    data: Data = []
    for criterion in dict.fromkeys(name for one in analyses for name in one.criteria):
        for network in (one.name for one in analyses):
            for layer in layers_of(analyses):
                row = found.get((network, criterion, layer))
                counts = list(row.counts) if row else [0]
                step = row.step or abs(row.low) / 100 or 0.01 if row else 1.0
                data.append(
                    {
                        "network": network,
                        "criterion": criterion,
                        "layer": layer,
                        "n": row.n if row else 0,
                        "low": row.low if row else 0.0,
                        "step": step,
                        "counts": counts,
                        "place": list(range(len(counts))),
                    }
                )
    return data


def spread(analyses: Analyses) -> Data:
    """Coefficient of variation of every criterion's scores in every layer, and its flag."""
    data: Data = []
    for one in analyses:
        order = {shape.layer: k for k, shape in enumerate(one.layers)}
        data += [
            {
                "network": one.name,
                "criterion": row.criterion,
                "layer": row.layer,
                "order": order[row.layer],
                "n": row.n,
                "cv": row.cv,
                "over_dispersion": row.over_dispersion,
                "noise_cv": row.noise_cv,
                "flag": row.flag or row.undefined or "",
            }
            for row in one.applicability
        ]
    return data


def wiped(analyses: Analyses) -> Data:
    """Layers that global pruning would wipe out, by criterion, normalisation and ratio."""
    return [
        {
            "network": one.name,
            "criterion": row.criterion,
            "normalisation": row.normalisation,
            "ratio": row.ratio,
            "n_wiped": row.n_wiped,
            "n_layers": row.n_layers,
            "share": row.n_wiped / row.n_layers if row.n_layers else 0.0,
        }
        for one in analyses
        for row in one.global_pruning
    ]


def quantiles(analyses: Analyses) -> Data:
    """Points of the Q-Q plots of the layer with the lowest and the highest pass rate."""
    return [
        {
            "network": one.name,
            "layer": plot.layer,
            "rate": plot.rate,
            "theoretical": x,
            "observed": y,
            "low": low,
            "high": high,
        }
        for one in analyses
        for plot in one.qq
        for x, y, low, high in zip(
            plot.theoretical, plot.observed, plot.low, plot.high, strict=True
        )
    ]


def covariance(analyses: Analyses) -> Data:
    """Correlations of a layer's coordinates, cell by cell, and where its kernels begin."""
    return [
        {
            "network": one.name,
            "layer": picture.layer,
            "kernel": picture.kernel,
            "row": i,
            "column": j,
            "r": r,
        }
        for one in analyses
        for picture in one.covariance
        for i, cells in enumerate(picture.correlation)
        for j, r in enumerate(cells)
    ]


def pass_rates(analyses: Analyses) -> Data:
    """Pass rates of every layer that could be tested, with their intervals."""
    data: Data = []
    for one in analyses:
        for order, row in enumerate(one.distribution):
            for test, found in (("normal", row.normal), ("mean 0", row.zero_mean)):
                if found is not None:
                    data.append(
                        {
                            "network": one.name,
                            "layer": row.layer,
                            "order": order,
                            "test": test,
                            "kind": row.kind,
                            "rate": found.rate,
                            "low": found.low,
                            "high": found.high,
                            "nominal": found.nominal,
                            "verdict": row.verdict,
                        }
                    )
    return data


def kernel_correlations(analyses: Analyses) -> Data:
    """Mean |r| of coordinates inside a kernel, between kernels, and of independent ones."""
    return [
        {
            "network": one.name,
            "layer": row.layer,
            "order": order,
            "where": where,
            "r": value,
        }
        for one in analyses
        for order, row in enumerate(one.distribution)
        for where, value in (
            ("inside a kernel", row.corr_inside),
            ("between kernels", row.corr_across),
            ("if independent", row.corr_independent),
        )
        if value is not None
    ]


def skewness(analyses: Analyses) -> Data:
    """Sparsity of every layer's channels, both definitions; layers keep their order."""
    data: Data = []
    for one in analyses:
        order = {shape.layer: k for k, shape in enumerate(one.layers)}
        data += [
            {
                "network": one.name,
                "definition": row.definition,
                "layer": row.layer,
                "order": order.get(row.layer, len(order)),
                "n": row.n,
                "ws": row.ws,
                "ws_low": None if row.ws is None or row.ws_se is None else row.ws - row.ws_se,
                "ws_high": None if row.ws is None or row.ws_se is None else row.ws + row.ws_se,
                "gini": row.gini,
                "inactive_share": row.inactive_share,
            }
            for row in one.skewness
            if row.layer != POOLED
        ]
    return data


def explanation(analyses: Analyses) -> Data:
    """Agreement of pairs with a closed form beside spread of norms and tails, layer by layer."""
    data: Data = []
    for one in analyses:
        shapes = {shape.layer: shape for shape in one.layers}
        for row in one.correlations:
            shape = shapes.get(row.layer)
            known = {row.first, row.second} <= set(CLOSED_FORMS)
            if shape and known and row.rho is not None and shape.spread is not None:
                data.append(
                    {
                        "network": one.name,
                        "pair": f"{row.first} ~ {row.second}",
                        "layer": row.layer,
                        "n": row.n,
                        "rho": row.rho,
                        "spread": shape.spread,
                        "tails": shape.tails,
                    }
                )
    return data


def pairs_of(rows: Data) -> list[str]:
    """Pairs that `rows` hold, those of criteria with closed forms first, the control last."""

    def place(pair: str) -> tuple[bool, bool]:
        names = set(pair.split(" ~ "))
        return CONTROL in names, not names <= set(CLOSED_FORMS)

    return sorted(dict.fromkeys(row["pair"] for row in rows), key=place)


def layers_of(analyses: Analyses) -> list[str]:
    """Names of all layers that are scored, in the order of use, each once."""
    return list(dict.fromkeys(shape.layer for one in analyses for shape in one.layers))


def own(rows: Data, **wanted: Any) -> Data:
    """Rows that hold these values, without the keys asked for."""
    return [
        {key: value for key, value in row.items() if key not in wanted}
        for row in rows
        if all(row[key] == value for key, value in wanted.items())
    ]
