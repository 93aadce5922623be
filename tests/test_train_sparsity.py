"""Weight Skewness of a network: whose weights are taken."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import secateur as sc
from secateur.errors import CriterionError


def test_of_a_network_only_what_can_be_pruned_counts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4)
            self.b, self.last = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)

        def forward(self, x):
            return self.last(self.b(self.norm(self.a(x))))  # the output: nothing of b can go

    torch.manual_seed(0)
    model, example = Net(), torch.zeros(1, 1, 8, 8)
    scales = [0.1, -0.5, 2.0, 0.0]
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor(scales))
    channels = sc.trace(model, example)
    layer, pooled = sc.skewness(channels)
    assert (layer.layer, layer.n, pooled.n) == ("a", 4, 4)
    assert layer.ws == pytest.approx(stats.skew(np.abs(scales), bias=False), rel=1e-6)
    assert pooled.inactive_share == 0.25
    norms = model.a.weight.detach().double().flatten(1).abs().sum(1).numpy()
    of_filters, _ = sc.skewness(channels, "filter_l1")
    assert of_filters.ws == pytest.approx(stats.skew(norms, bias=False), abs=1e-4)
    with pytest.raises(CriterionError, match="no definition of channel weights 'l1'"):
        sc.skewness(channels, "l1")


def test_a_network_without_batch_norms_has_one_undefined_row():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    (row,) = sc.skewness(sc.trace(model, torch.zeros(1, 1, 8, 8)))
    assert (row.layer, row.n, row.ws) == ("pooled", 0, None) and row.undefined
