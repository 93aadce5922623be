"""Clusters of criteria and what explains their agreement."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.cluster import hierarchy

from filter_scores import as_layers, by_criterion
from secateur.analysis.clusters import cluster_criteria
from secateur.analysis.explain import explain, predicted_rho
from secateur.analysis.similarity import SimilaritySummary, rank_correlations, summary
from secateur.analysis.weights import LayerWeights, layer_shapes
from secateur.errors import CriterionError


def families() -> dict[str, dict[str, np.ndarray]]:
    """Six criteria in two families and one alone."""
    rng = np.random.default_rng(0)
    scores: dict[str, dict[str, np.ndarray]] = {}
    for k in range(4):
        norms, gradients, lone = rng.normal(size=(3, 64))
        own = {"l1": norms, "l2": norms, "gm": norms, "fisher": gradients, "taylor_l1": gradients}
        for name, values in {**own, "cosine": lone}.items():
            noise = 0.0 if name == "cosine" else 0.2 * rng.normal(size=64)
            scores.setdefault(name, {})[f"conv{k}"] = values + noise
    return scores


def test_families_come_out_as_clusters_and_stand_together_in_the_order() -> None:
    pairs = summary(rank_correlations(families()))
    found = cluster_criteria(pairs)
    assert {frozenset(c) for c in found.clusters} == {
        frozenset({"l1", "l2", "gm"}),
        frozenset({"fisher", "taylor_l1"}),
        frozenset({"cosine"}),
    }
    assert [name for group in found.clusters for name in group] == list(found.order)
    assert len(found.joins) == 5 and found.undefined_pairs == ()
    rho = {frozenset((p.first, p.second)): p.mean for p in pairs}
    for group in found.clusters:
        for pair in combinations(group, 2):
            assert rho[frozenset(pair)] > 0.8
    json.dumps(asdict(found), allow_nan=False)


def test_joins_are_scipys_tree() -> None:
    pairs = summary(rank_correlations(families()))
    names = list(dict.fromkeys(n for p in pairs for n in (p.first, p.second)))
    rho = {frozenset((p.first, p.second)): p.mean for p in pairs}
    condensed = [1 - rho[frozenset(pair)] for pair in combinations(names, 2)]
    links = hierarchy.linkage(condensed, "average")
    joins = cluster_criteria(pairs).joins
    assert sorted(join.distance for join in joins) == pytest.approx(sorted(links[:, 2]))
    assert joins[-1].left_from <= joins[-1].distance >= joins[-1].right_from
    places = {place for join in joins for place in (join.left, join.right)}
    assert set(range(6)) <= places and min(places) == 0 and max(places) == 5


def test_undefined_pairs_count_as_unrelated_and_are_named() -> None:
    rows = [
        SimilaritySummary("a", "b", 0.95, None, None, None, 1, 0),
        SimilaritySummary("a", "flat", None, None, None, None, 0, 1),
        SimilaritySummary("b", "flat", None, None, None, None, 0, 1),
    ]
    found = cluster_criteria(rows)
    assert found.undefined_pairs == (("a", "flat"), ("b", "flat"))
    assert found.joins[-1].distance == 1.0
    with pytest.raises(CriterionError, match="were not compared"):
        cluster_criteria([*rows[:1], SimilaritySummary("c", "a", 0.1, None, None, None, 1, 0)])
    with pytest.raises(CriterionError, match="together_from"):
        cluster_criteria(rows, 1.5)
    assert cluster_criteria([]).order == ()


def layers_of_two_properties() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    layers = {}
    for k in range(24):
        tau, tails = rng.uniform(0, 0.15), rng.uniform(0, 1)
        gaussian, heavy = rng.normal(size=(96, 144)), rng.laplace(size=(96, 144))
        kind = rng.random((96, 144)) < tails
        scale = np.exp(tau * rng.normal(size=(96, 1)))
        layers[f"conv{k}"] = scale * np.where(kind, heavy, gaussian)
    return layers


def test_spread_raises_and_tails_lower_the_agreement_of_l1_and_l2() -> None:
    layers = layers_of_two_properties()
    shapes = layer_shapes(as_layers(layers))
    rows = rank_correlations(by_criterion(layers))
    found = next(e for e in explain(rows, shapes) if (e.first, e.second) == ("l1", "l2"))
    rho = {r.layer: r.rho for r in rows if (r.first, r.second) == ("l1", "l2")}
    table = np.array([[rho[s.layer], s.spread, s.tails, s.shapes] for s in shapes])
    assert found.n_layers == 24
    assert found.with_spread == pytest.approx(stats.spearmanr(table[:, 0], table[:, 1]).statistic)
    assert found.with_tails == pytest.approx(stats.spearmanr(table[:, 0], table[:, 2]).statistic)
    assert found.with_shapes == pytest.approx(stats.spearmanr(table[:, 0], table[:, 3]).statistic)
    assert found.spread_alone > 0.5 and found.tails_alone < -0.3
    # partial correlation: correlation of what the other leaves over
    ranks = stats.rankdata(table[:, :3], axis=0) - 12.5
    left = [
        ranks[:, k] - ranks[:, 2] * (ranks[:, k] @ ranks[:, 2]) / (ranks[:, 2] @ ranks[:, 2])
        for k in (0, 1)
    ]
    assert found.spread_alone == pytest.approx(np.corrcoef(left)[0, 1])


def test_spread_and_tails_predict_rho_where_filters_are_alike() -> None:
    layers = layers_of_two_properties()
    rows = rank_correlations(by_criterion(layers))
    rho = {r.layer: r.rho for r in rows if (r.first, r.second) == ("l1", "l2")}
    predicted = predicted_rho(as_layers(layers))
    errors = [rho[row.layer] - row.rho for row in predicted]
    assert np.abs(errors).mean() < 0.03
    assert (
        np.corrcoef([rho[row.layer] for row in predicted], [r.rho for r in predicted])[0, 1] > 0.9
    )


def test_what_explains_nothing_says_why() -> None:
    layers = {"a": np.random.default_rng(0).normal(size=(16, 9))}
    few = explain(rank_correlations(by_criterion(layers)), layer_shapes(as_layers(layers)))
    assert all(row.with_spread is None and "needs 5" in row.undefined for row in few)
    same = {f"c{k}": layers["a"] for k in range(6)}
    flat = explain(rank_correlations(by_criterion(same)), layer_shapes(as_layers(same)))
    assert all(row.with_tails is None and "same in every layer" in row.undefined for row in flat)
    json.dumps([asdict(row) for row in (*few, *flat)], allow_nan=False)
    zero, equal = predicted_rho(
        [LayerWeights("zero", np.zeros((4, 2, 2))), LayerWeights("equal", np.ones((4, 2, 2)))]
    )
    assert zero.rho is None and "zero" in zero.undefined
    assert equal.rho is None and "equal" in equal.undefined
