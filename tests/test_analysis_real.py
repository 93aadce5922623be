"""What the statistics say of published networks: figures known beforehand, from other code."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from torch import nn

from real_networks import DATA

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "papers"))

from material import CREPE, MOBILENET, RESNET20, RESNET56, of_kind, published

from secateur.analysis.applicability import applicability
from secateur.analysis.distribution import distribution, distribution_summary
from secateur.analysis.explain import explain
from secateur.analysis.global_pruning import global_pruning
from secateur.analysis.similarity import SimilaritySummary, rank_correlations, summary
from secateur.analysis.skewness import skewness_rows, skewness_summary
from secateur.analysis.weights import layer_shapes

pytestmark = pytest.mark.skipif(
    not (DATA / "weights").is_dir(),
    reason=f"no trained networks in {DATA / 'weights'}; set SECATEUR_DATA to their folder",
)


def agreement(name: str, kind: str | None = None) -> dict[tuple[str, str], SimilaritySummary]:
    one = published(name)
    layers = [w.layer for w in one.weights if kind in (None, w.kind)]
    rows = rank_correlations(of_kind(one.scores(), layers))
    return {tuple(sorted((p.first, p.second))): p for p in summary(rows)}


@pytest.mark.parametrize(
    ("name", "means", "lowest", "whole"),
    [
        (RESNET20, (0.964, 0.986, 0.981, 0.997), 0.748, (0.722, 0.575)),
        (RESNET56, (0.978, 0.989, 0.985, 0.997), 0.822, (0.786, 0.596)),
    ],
)
def test_resnets_agree_within_layers_and_less_over_all(name, means, lowest, whole) -> None:
    found = agreement(name)
    pairs = [("l1", "l2"), ("fermat", "l2"), ("gm", "l2"), ("fermat", "gm")]
    assert [found[pair].mean for pair in pairs] == pytest.approx(means, abs=1e-3)
    assert found["l1", "l2"].minimum == pytest.approx(lowest, abs=1e-3)
    shown = (found["l1", "l2"].global_rho, found["gm", "l2"].global_rho)
    assert shown == pytest.approx(whole, abs=1e-3)


def test_depthwise_layers_and_an_audio_network_do_not_agree() -> None:
    depthwise = agreement(MOBILENET, "depthwise")
    pairs = [("l1", "l2"), ("gm", "l1"), ("gm", "l2"), ("fermat", "gm")]
    shown = [depthwise[pair].mean for pair in pairs]
    assert shown == pytest.approx((0.64, 0.49, 0.60, 0.94), abs=0.006)
    assert depthwise["l1", "l2"].minimum == pytest.approx(-0.19, abs=0.005)
    crepe = agreement(CREPE)
    shown = [crepe[pair].mean for pair in pairs]
    assert shown == pytest.approx((0.35, 0.38, 0.90, 0.998), abs=0.006)
    assert crepe["l1", "l2"].minimum == pytest.approx(-0.25, abs=0.005)


def test_global_pruning_wipes_out_layers_by_some_criteria_and_none_over_the_mean() -> None:
    found = global_pruning(published(RESNET56).scores())
    counts = {
        (criterion, normalisation): tuple(
            row.n_wiped
            for row in found
            if (row.criterion, row.normalisation) == (criterion, normalisation)
        )
        for criterion in ("l1", "l2", "gm")
        for normalisation in ("none", "mean")
    }
    assert counts["l1", "none"] == (4, 19, 35)
    assert counts["l2", "none"] == (0, 1, 4)
    assert counts["gm", "none"] == (18, 36, 40)
    assert counts["l1", "mean"] == (0, 0, 0)


@pytest.mark.parametrize(
    ("name", "normal", "mean"), [(RESNET20, 0.874, 0.917), (RESNET56, 0.828, 0.903)]
)
def test_the_gaussian_picture_is_a_good_approximation_and_not_passed(name, normal, mean) -> None:
    rows = distribution(published(name).weights)
    whole = distribution_summary(rows)
    assert whole.normal == pytest.approx(normal, abs=0.01)
    assert whole.zero_mean == pytest.approx(mean, abs=0.01)
    assert whole.equal_variance_share == 0 and whole.n_unequal_holm == len(rows)
    assert whole.verdict.startswith("normal: a good approximation, not passed")
    assert whole.corr_inside > 1.5 * whole.corr_independent
    assert whole.corr_across < 1.2 * whole.corr_independent


@pytest.mark.parametrize(
    ("name", "pooled", "mean"), [(RESNET20, 1.35, -1.12), (RESNET56, 0.94, -0.64)]
)
def test_skewness_pooled_and_within_layers_differ_in_sign(name, pooled, mean) -> None:
    """The figures known are over all channels, pinned ones too, and their mean is of biased g1."""
    norms = [m for m in published(name).model.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = {f"bn{k}": m.weight.detach().abs().double().numpy() for k, m in enumerate(norms)}
    rows = skewness_rows(scales, "bn_scale")
    (whole,) = skewness_summary(rows)
    assert whole.pooled_ws == pytest.approx(pooled, abs=0.01)
    biased = np.mean([stats.skew(values) for values in scales.values()])
    assert biased == pytest.approx(mean, abs=0.01)
    shrinking = [np.sqrt(row.n * (row.n - 1)) / (row.n - 2) for row in rows[:-1]]
    unbiased = [stats.skew(v) * c for v, c in zip(scales.values(), shrinking, strict=True)]
    assert whole.mean_ws == pytest.approx(np.mean(unbiased))
    assert any("layers differ in scale" in caution for caution in whole.cautions)


def test_spread_of_norms_explains_the_agreement_of_a_mobile_network() -> None:
    one = published(MOBILENET)
    (row,) = explain(rank_correlations(one.scores(("l1", "l2"))), layer_shapes(one.weights))
    assert row.with_spread > 0.79 and row.spread_alone > 0.79
    assert row.tails_alone < 0


def test_trained_filters_are_told_apart_and_an_audio_networks_are_not() -> None:
    resnet = applicability(published(RESNET56).scores(("l1", "l2")))
    assert not any(row.flag for row in resnet)
    crepe = applicability(published(CREPE).scores(("l2",)))
    assert len(crepe) == 6 and all(row.flag and row.layer in row.flag for row in crepe)
