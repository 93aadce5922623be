"""Tiny, flat and sparse layers: every row still becomes JSON, without a NaN and a warning."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import prod

import numpy as np
import pytest

from secateur.analysis.applicability import applicability
from secateur.analysis.ceiling import noise_ceilings
from secateur.analysis.clusters import cluster_criteria
from secateur.analysis.controls import control_weights, covariance_blocks, qq_plots
from secateur.analysis.distribution import distribution, distribution_summary
from secateur.analysis.explain import explain, predicted_rho
from secateur.analysis.global_pruning import global_pruning, layer_gaps
from secateur.analysis.overlap import bottom_overlaps
from secateur.analysis.similarity import rank_correlations, summary
from secateur.analysis.weights import LayerWeights, kind_of, layer_shapes


def as_json(*rows: object) -> None:
    json.dumps([asdict(row) for row in rows if row is not None], allow_nan=False)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_layers_of_few_filters(n: int) -> None:
    scores = {name: {"conv": np.arange(float(n))} for name in ("l1", "gm", "fermat", "apoz")}
    rows = rank_correlations(scores, resamples=20)
    assert all((row.rho is None) == (n < 3) for row in rows)
    as_json(*rows, *summary(rows), cluster_criteria(summary(rows)))
    as_json(*rank_correlations(scores, method="kendall"), *bottom_overlaps(scores))
    as_json(*applicability(scores), *global_pruning(scores), *layer_gaps(scores))
    as_json(*noise_ceilings(scores, scores))


@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 1, 1), (8, 1), (9, 1, 3, 3), (64, 3, 1, 1), (16, 2, 512), (1, 5)], ids=str
)
@pytest.mark.parametrize("fill", ["ones", "zeros", "one in a row", "drawn"])
def test_weights_of_every_shape(shape: tuple[int, ...], fill: str) -> None:
    drawn = np.random.default_rng(0).normal(size=shape)
    values = {
        "ones": np.ones(shape),
        "zeros": np.zeros(shape),
        "one in a row": np.eye(shape[0], prod(shape[1:])).reshape(shape),
        "drawn": drawn,
    }[fill]
    weights = [LayerWeights("conv", values, kind_of(shape))]
    rows = distribution(weights)
    as_json(*rows, distribution_summary(rows), *distribution(weights, test="lilliefors"))
    as_json(*qq_plots(weights, rows), covariance_blocks(weights[0]))
    shapes = layer_shapes(weights)
    as_json(*shapes, *predicted_rho(weights), *explain([], shapes))
    for control in ("gaussian", "uniform", "shuffled"):
        as_json(*distribution(control_weights(weights, control)))
