"""Criteria on networks that others trained; they are found beside the project or not at all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_model
from scipy.stats import spearmanr
from torch import Tensor, nn

from real_networks import DATA, REAL
from secateur.channels.trace import trace
from secateur.criteria.activation import apoz, hrank, mean_activation
from secateur.criteria.gradient import fisher, taylor_gate, taylor_l1, taylor_l2
from secateur.criteria.relation import fermat, gm
from secateur.criteria.score import score
from secateur.criteria.scores import Scores
from secateur.criteria.weight import l1, l2


def trained(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    file = DATA / "weights" / f"{name}.safetensors"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    make, shape = REAL[name]
    model = make().eval()
    load_model(model, file)
    return model, shape


def photographs(n: int) -> list[tuple[Tensor, Tensor]]:
    file = DATA / "cifar10" / "cifar10_sample.npz"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    with np.load(file) as sample:
        x, y = sample["x_train"][:n], sample["y_train"][:n]
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((torch.from_numpy(x) / 255 - mean) / sd).permute(0, 3, 1, 2)
    return list(zip(images.split(32), torch.from_numpy(y).long().split(32), strict=True))


def rho(one: Scores, other: Scores) -> list[float]:
    return [
        spearmanr(values, other.filters[name]).statistic for name, values in one.filters.items()
    ]


@pytest.mark.parametrize(
    ("name", "means", "least"),
    [
        ("cifar10_resnet20", (0.964, 0.986, 0.981, 0.997), 0.748),
        ("cifar10_resnet56", (0.978, 0.989, 0.985, 0.997), 0.822),
    ],
)
def test_norms_and_distances_agree_as_measured_before(
    name: str, means: tuple[float, ...], least: float
) -> None:
    model, shape = trained(name)
    found = score(trace(model, torch.zeros(1, *shape)), [l1, l2, fermat, gm])
    pairs = (("l1", "l2"), ("l2", "fermat"), ("l2", "gm"), ("fermat", "gm"))
    for (one, other), mean in zip(pairs, means, strict=True):
        assert np.mean(rho(found[one], found[other])) == pytest.approx(mean, abs=0.002)
    assert min(rho(found["l1"], found["l2"])) == pytest.approx(least, abs=0.002)


def test_criteria_of_gradients_and_of_activations_are_clusters() -> None:
    model, shape = trained("cifar10_resnet20")
    clusters = (
        (taylor_l1, taylor_l2, fisher, taylor_gate),
        (apoz, mean_activation, hrank),
    )
    criteria = [criterion for cluster in clusters for criterion in cluster]
    channels = trace(model, torch.zeros(1, *shape))
    found = score(channels, criteria, calibration=photographs(96), loss_fn=F.cross_entropy)
    within = [
        np.mean(rho(found[one.name], found[other.name]))
        for cluster in clusters
        for one, other in pairwise(cluster)
    ]
    between = [
        np.mean(rho(found[one.name], found[other.name]))
        for one in clusters[0]
        for other in clusters[1]
    ]
    assert min(within) > 0.6 and max(between) < min(within)
