"""The table of docs/train.md is that of the code, and the penalty of docs/extend.md works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateur
import secateur.errors
from secateur.train.penalties import PENALTIES

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "train.md").read_text()


def test_the_penalty_of_the_recipe_works() -> None:
    (code,) = re.findall(
        r"^```python\n((?:(?!^```).)*class BnL2.*?)^```$",
        (DOCS / "extend.md").read_text(),
        re.S | re.M,
    )
    names: dict[str, Any] = {}
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


def test_every_penalty_has_its_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\(s, (\w+)\(", TEXT, flags=re.M)
    assert [name for name, _, _ in rows] == list(PENALTIES)
    for _, kind, finder in rows:
        assert {kind, finder} <= set(dir(secateur))
