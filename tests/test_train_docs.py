"""What stands in docs/train.md runs as it is printed, and its table is that of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateur
import secateur.errors
from secateur.train.penalties import PENALTIES
from secateur.train.penalty import known

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "train.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$\n\n^```\n(.*?)^```$", TEXT, flags=re.S | re.M)


def _printed(code: str, folder: Path) -> str:
    script = folder / "script.py"
    script.write_text(code)
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_and_distilling_run_as_printed(tmp_path: Path) -> None:
    (train, said), (distil, also_said), _ = CODE
    assert _printed(train + distil, tmp_path) == said + also_said


def test_the_penalty_of_the_recipe_works() -> None:
    (code,) = re.findall(
        r"^```python\n(@dataclass.*?class BnL2.*?)^```$",
        (DOCS / "extend.md").read_text(),
        re.S | re.M,
    )
    names: dict[str, Any] = {
        "dataclass": dataclass,
        "Mapping": Mapping,
        "known": known,
        "torch": torch,
        "Penalty": secateur.Penalty,
        "Parameters": dict,
    }
    exec(code, names)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.randn(6, 1, 2, 2), torch.arange(6) % 3
    penalty = names["BnL2"](30.0, {"1.weight": (0, 2)}, ramp=0.0)
    training = secateur.Training(epochs=20, lr=0.01, momentum=0.0, schedule="constant")
    secateur.fit(model, x, y, training, seed=0, penalty=penalty)
    scales: Any = model[1].weight
    assert (scales[[0, 2]].abs() < 0.05).all()
    assert (scales[[1, 3]].abs() > 0.5).all()
    with pytest.raises(secateur.errors.TrainingError, match=r"did you mean '1\.weight'"):
        secateur.fit(model, x, y, training, seed=0, penalty=names["BnL2"](1.0, {"1.weigth": None}))


def test_two_processes_run_as_printed(tmp_path: Path) -> None:
    *_, (code, said) = CODE
    assert _printed(code, tmp_path).endswith(said)
    assert (tmp_path / "network.safetensors").exists()


def test_every_penalty_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\(s, (\w+)\(", TEXT, flags=re.M)
    assert [name for name, _, _ in rows] == list(PENALTIES)
    for _, kind, finder in rows:
        assert {kind, finder} <= set(dir(secateur))


@pytest.mark.parametrize("target", re.findall(r"\]\(([\w-]+\.md)", TEXT))
def test_pages_named_are_there(target: str) -> None:
    assert (DOCS / target).exists()
