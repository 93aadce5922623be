"""Prediction and accuracy against a naive loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.train.evaluate import evaluate, predict


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def test_it_equals_a_naive_loop() -> None:
    network = _network()
    x, y = torch.randn(11, 1, 6, 6), torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1])
    found = evaluate(network, x, y, batch_size=4)
    network.eval()
    right: dict[int, list[bool]] = {0: [], 1: []}
    losses = []
    for example, label in zip(x, y.tolist(), strict=True):
        logits = network(example[None])[0].tolist()
        right[label].append(logits.index(max(logits)) == label)
        losses.append(math.log(sum(math.exp(v) for v in logits)) - logits[label])
    assert found.n == 11
    assert found.accuracy == pytest.approx(sum(right[0] + right[1]) / 11)
    assert found.log_loss == pytest.approx(sum(losses) / 11, rel=1e-5)
    assert found.per_class[:2] == pytest.approx([sum(right[k]) / len(right[k]) for k in (0, 1)])
    assert found.per_class[2] is None


def test_modes_are_given_back_even_after_an_error() -> None:
    network = _network().train()
    network[3].eval()
    modes = [m.training for m in network.modules()]
    predict(network, torch.randn(2, 1, 6, 6))
    assert [m.training for m in network.modules()] == modes
    with pytest.raises(RuntimeError):
        predict(network, torch.randn(2, 1, 9, 9))
    assert [m.training for m in network.modules()] == modes


def test_predictions_do_not_depend_on_the_batch_size() -> None:
    network, x = _network(), torch.randn(7, 1, 6, 6)
    logits = predict(network, x)
    assert logits.shape == (7, 3)
    assert not logits.requires_grad
    assert torch.allclose(logits, predict(network, x, batch_size=2), atol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.ones(0, 1, 6, 6), torch.ones(0, dtype=torch.int64), "0 examples"),
        (torch.ones(2, 1, 6, 6), torch.zeros(3, dtype=torch.int64), "2 examples need 2 int64"),
        (torch.ones(2, 1, 6, 6), torch.zeros(2), "got torch.float32 of shape"),
        (torch.ones(2, 1, 6, 6), torch.tensor([0, 3]), "label 3 of example 1 is out of range"),
        (torch.ones(2, 1, 6, 6), torch.tensor([-1, 0]), "label -1 of example 0"),
    ],
)
def test_bad_data_is_refused(x: Tensor, y: Tensor, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        evaluate(_network(), x, y)


def test_nothing_to_predict_is_refused() -> None:
    with pytest.raises(TrainingError, match="0 examples; give at least one"):
        predict(_network(), torch.ones(0, 1, 6, 6))
