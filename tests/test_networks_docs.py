"""docs/networks.md: its code runs, and its table is what its command gives now."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from networks import PAGE, table

from secateur.networks.families import NETWORKS


def test_the_table_is_what_the_command_gives() -> None:
    page = PAGE.read_text()
    missing = [line for line in table().splitlines() if line not in page]
    assert not missing, "renew it with `python benchmarks/networks.py`"
    section = page.partition("<!-- begin networks -->")[2].partition("<!-- end networks -->")[0]
    assert section.count("\n| `") == 3 * len(NETWORKS)
    assert "Made by `python benchmarks/networks.py`" in section


def test_its_code_runs_and_every_network_is_described() -> None:
    page = PAGE.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, torch.nn.Module] = {}
    exec(code, names)
    sizes = [sum(p.numel() for p in names[name].parameters()) for name in ("model", "smaller")]
    assert sizes == [61_148, 5_722]
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) and set(NETWORKS) == set(
        re.findall(r"^\| `(\w+)` \|", page, re.M)
    )
