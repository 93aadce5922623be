"""What repairs give back is measured once, and shown as means over draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from real_networks import DATA, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import repair


def row(method: str, draw: int, accuracy: float) -> dict[str, object]:
    cell = {"network": "ResNet-20", "macs": 50, "images": 25, "draw": draw, "dense": 0.81}
    cell |= {"criterion": "l1", "scope": "uniform"}
    return cell | {"method": method, "accuracy": accuracy, "agreement": accuracy, "seconds": 3.0}


def test_a_line_is_the_mean_over_draws() -> None:
    rows = [row("none", 0, 0.2), row("reconstruct", 0, 0.5), row("reconstruct", 1, 0.6)]
    assert repair.tables(rows).splitlines()[2] == (
        "| ResNet-20 (81.0) | 50 % | 25 | `l1` | 2 | 20.0 |  |  | 55.0 | 55.0 | 3 |"
    )


@pytest.mark.skipif(not (DATA / "weights").is_dir(), reason=f"no trained networks in {DATA}")
def test_the_short_form_measures_once(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    command = [sys.executable, str(ROOT / "benchmarks" / "repair.py"), "--short", "--rows", rows]
    said = [subprocess.check_output(command, text=True) for _ in range(2)]
    assert said[0] == said[1] and "ResNet-20 (81.0) | 50 % | 25 | `l1` | 1 |" in said[0]
    for choice in repair.CHOICES:
        mine = [r for r in repair.known(rows) if (r["criterion"], r["scope"]) == choice]
        found = {r["method"]: r["accuracy"] for r in mine}
        assert tuple(found) == repair.methods_of(choice[1])
        assert found["reconstruct"] > 0.5
        if len(found) > 1:
            assert found["reconstruct"] > found["batch_norm"] + 0.05 > found["none"]
