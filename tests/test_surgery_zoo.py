"""A sample of a public zoo: half the channels of every group go, and the cut is checked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

ZOO = {
    "test_resnet": ("exact", 1.0),
    "test_byobnet": ("exact", 1.0),
    "test_convnext3": ("mixing", 1.0),
    "test_nfnet": ("mixing", 1.0),
    "test_mambaout": ("mixing", 1.0),
    "ghostnet_050": ("exact", 1.0),
    "tinynet_e": ("exact", 1.0),
    "regnety_002": ("exact", 1.0),
    "mixnet_s": ("exact", 1.0),
    "mobilevit_xxs": ("mixing", 1.0),
}
"""Architecture -> verdict, and the share of parameters that stay prunable at least."""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize("name", ZOO)
def test_an_architecture_of_the_zoo(name: str) -> None:
    from zoo import examine

    row = examine(name)
    verdict, kept = ZOO[name]
    assert row["verdict"] == verdict, row
    assert row["prunable_kept"] >= kept - 0.01 and row["prunable"] >= 0.9
    assert row["after"] == row["params_after"] and row["agree"]
    assert not row["unknown"]
