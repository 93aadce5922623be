"""Batch-norm re-estimation against the closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.errors import TrainingError
from secateur.train.batch_norm import reestimate_batch_norm


def test_one_batch_gives_the_mean_and_unbiased_variance() -> None:
    norm = nn.BatchNorm2d(3)
    x = torch.randn(8, 3, 4, 4) * 2 + 5
    reestimate_batch_norm(norm, x)
    assert torch.allclose(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(norm.running_var, x.var((0, 2, 3)), rtol=1e-5)


def test_batches_are_averaged_alike_on_paper() -> None:
    norm = nn.BatchNorm1d(1)
    x = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    reestimate_batch_norm(norm, x, batch_size=2)
    assert norm.running_mean.tolist() == [6.5]  # (1 + 12) / 2
    assert norm.running_var.tolist() == [5.0]  # (2 + 8) / 2


def test_a_later_layer_sees_normalised_earlier_ones() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.9), nn.BatchNorm2d(2))
    reestimate_batch_norm(network, torch.randn(16, 2, 5, 5) * 3 - 4)
    assert torch.allclose(network[2].running_mean, torch.zeros(2), atol=1e-5)
    assert torch.allclose(network[2].running_var, torch.ones(2), atol=0.01)


def test_weights_modes_and_momenta_stay() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=0.3), nn.Dropout())
    network[2].eval()
    weights = {name: p.clone() for name, p in network.named_parameters()}
    modes = [m.training for m in network.modules()]
    reestimate_batch_norm(network, torch.randn(6, 1, 5, 5), batch_size=4)
    assert network[1].momentum == 0.3
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(p, weights[name]) for name, p in network.named_parameters())
    assert network[1].num_batches_tracked == 2


def test_after_an_error_everything_is_as_before() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(3, 1))
    network[0].running_mean += 3
    before = {name: t.clone() for name, t in network.state_dict().items()}
    network.eval()
    with pytest.raises(RuntimeError):
        reestimate_batch_norm(network, torch.randn(4, 2, 5, 5))
    assert not any(m.training for m in network.modules())
    assert network[0].momentum == 0.1
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_a_network_without_batch_norm_is_left_alone() -> None:
    reestimate_batch_norm(nn.Linear(2, 2), torch.randn(3, 2))
    free = nn.BatchNorm1d(2, track_running_stats=False)
    reestimate_batch_norm(free, torch.randn(3, 2))
    assert free.running_mean is None


def test_no_data_is_refused() -> None:
    with pytest.raises(TrainingError, match="0 calibration examples"):
        reestimate_batch_norm(nn.BatchNorm1d(2), torch.empty(0, 2))
