"""Published trained networks: traced, planned by every criterion, cut and verified."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts import check_cost, check_permutation, same_state, state_of
from real_networks import DATA, REAL
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA
from secateur.plan.budget import Budget
from secateur.plan.select import SCOPES
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified
from secateur.surgery.restore import remember, restore
from secateur.surgery.weights import load_weights

WITHOUT_DATA = [criterion for criterion in CRITERIA.values() if criterion.update is None]

pytestmark = pytest.mark.skipif(
    not (DATA / "weights").is_dir(),
    reason=f"no trained networks in {DATA / 'weights'}; set SECATEUR_DATA to their folder",
)


def _trained(name: str) -> tuple[nn.Module, Tensor]:
    build, shape = REAL[name]
    torch.manual_seed(0)
    model = build().eval()
    load_weights(model, DATA / "weights" / f"{name}.safetensors")
    return model, torch.zeros(2, *shape)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "cifar10_resnet56" else n for n in REAL],
)
def test_it_is_cut_exactly_under_every_criterion(name: str, scope: str) -> None:
    model, example = _trained(name)
    channels = trace(model, example)
    assert channels.groups and not channels.unknown and not channels.mixing
    model, exact = model.double(), example.double()
    check_cost(model, exact, cost(channels))
    check_permutation(model, exact, channels)
    model.float()
    before = state_of(model)
    scores = score(channels, WITHOUT_DATA)
    for criterion in (one.name for one in WITHOUT_DATA):
        plan = SCOPES[scope](scores[criterion], channels, Budget(pruning_ratio=0.3))
        small = cut(channels, plan).network
        result = verified(model, small, plan, channels, example)
        assert result.exact and not result.operators
        assert plan.after.params == sum(p.numel() for p in small.parameters())
        assert abs(plan.reached["pruning_ratio"] - 0.3) < 0.06
    assert same_state(model, before)
    assert same_state(restore(small, remember(model, plan, channels)), before)


def _accuracy(model: nn.Module) -> float:
    with np.load(DATA / "cifar10" / "cifar10_sample.npz") as file:
        images = torch.from_numpy(file["x_test"]).permute(0, 3, 1, 2) / 255
        labels = torch.from_numpy(file["y_test"]).flatten()
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        answers = model((images - mean.view(3, 1, 1)) / sd.view(3, 1, 1)).argmax(1)
    return float((answers == labels).double().mean())


def test_resnet20_is_as_accurate_as_recorded_and_loses_more_the_more_goes() -> None:
    model, example = _trained("cifar10_resnet20")
    assert 0.78 < _accuracy(model) < 0.86
    channels = trace(model, example)
    scores = score(channels, [CRITERIA["l1"]])["l1"]
    accuracies = []
    for ratio in (0.0, 0.1, 0.3):
        plan = SCOPES["uniform"](scores, channels, Budget(pruning_ratio=ratio))
        accuracies.append(_accuracy(cut(channels, plan).network))
    assert accuracies[0] == _accuracy(model)
    assert accuracies[0] > accuracies[1] > accuracies[2]
