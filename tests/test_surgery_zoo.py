"""A sample of a public zoo: half the channels of every group go, and the cut is checked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from contracts import EXACT

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

ZOO = {
    "test_resnet": ("exact", 0.99),
    "test_byobnet": ("exact", 0.99),
    "test_convnext3": ("kept statistics", 0.99),
    "test_nfnet": ("computed weight", 0.99),
    "test_mambaout": ("kept statistics", 0.99),
    "test_coatnet": ("kept statistics", 0.99),
    "test_maxvit": ("kept statistics", 0.99),
    "test_efficientnet_ln": ("kept statistics", 0.99),
    "ghostnet_050": ("exact", 0.99),
    "tinynet_e": ("exact", 0.99),
    "regnety_002": ("exact", 0.99),
    "mixnet_s": ("exact", 0.99),
    "mobilevit_xxs": ("kept statistics", 0.99),
    "starnet_s050": ("exact", 0.99),
    "lcnet_035": ("exact", 0.99),
    "cspnext_tiny": ("exact", 0.99),
    "mobilenetv3_small_050": ("exact", 0.99),
    "ese_vovnet19b_slim_dw": ("exact", 0.99),
    "dla46x_c": ("exact", 0.99),
    "mobilenetv2_035": ("exact", 0.99),
    "cs3darknet_focus_s": ("exact", 0.99),
    "efficientvit_b0": ("kept statistics, held back", 0.98),
    "convnextv2_atto": ("kept statistics", 0.99),
    "edgenext_xx_small": ("kept statistics, held back", 0.99),
    "fasternet_t0": ("exact", 0.99),
    "hgnetv2_b0": ("exact", 0.99),
    "iformer_t": ("exact", 0.99),
    "gernet_s": ("exact", 0.99),
    "inception_next_atto": ("kept statistics", 0.99),
    "repghostnet_050": ("exact", 0.99),
    "repvgg_a0": ("exact", 0.99),
    "fastvit_t8": ("exact", 0.99),
    "resnest14d": ("exact", 0.99),
    "mobileone_s1": ("exact", 0.99),
    "swiftformer_xs": ("exact", 0.99),
    "repvit_m1": ("exact", 0.99),
    "skresnet18": ("exact, held back", 0.94),
    "dpn48b": ("exact", 0.99),
    "rexnet_100": ("exact", 0.99),
    "lambda_resnet26t": ("exact, held back", 0.98),
    "levit_128s": ("exact", 0.99),
    "shvit_s1": ("kept statistics", 0.99),
    "efficientvit_m0": ("exact", 0.99),
    "mobilevitv2_050": ("kept statistics", 0.99),
    "pvt_v2_b0": ("kept statistics, held back", 0.99),
    "densenetblur121d": ("exact", 0.99),
}
"""Architecture -> verdict, and the share of parameters that stay prunable at least."""


OFTEN = [
    "test_resnet",
    "test_byobnet",
    "test_convnext3",
    "test_nfnet",
    "test_mambaout",
    "test_coatnet",
    "test_maxvit",
    "test_efficientnet_ln",
    "ghostnet_050",
    "lcnet_035",
    "mobilenetv3_small_050",
    "regnety_002",
    "pvt_v2_b0",
    "levit_128s",
    "efficientvit_m0",
    "skresnet18",
]
"""Looked at in every run, the others nightly."""

EACH = [
    pytest.param(name, marks=pytest.mark.slow if name in OFTEN else pytest.mark.nightly)
    for name in ZOO
]


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", EACH)
def test_an_architecture_of_the_zoo(name: str) -> None:
    from zoo import examine

    row = examine(name, permute=True)
    verdict, kept = ZOO[name]
    assert row["verdict"] == verdict, row
    assert row["permuted"] <= EXACT
    assert row["prunable_kept"] >= kept - 0.01 and row["prunable"] >= 0.9
    assert row["after"] == row["params_after"] and row["agree"]
    assert not row["unknown"]
