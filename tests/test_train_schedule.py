"""Learning rates, optimizers and training settings."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from secateur.errors import TrainingError
from secateur.train.schedule import Training, course, lr_at, make_optimizer, steps_per_epoch


def test_one_cycle_rises_from_a_25th_and_falls_to_zero() -> None:
    training = Training(lr=1.0, schedule="one_cycle", warmup=0.2)
    assert lr_at(training, 0.0) == pytest.approx(0.04)
    assert lr_at(training, 0.1) == pytest.approx(0.52)
    assert lr_at(training, 0.2) == 1.0
    assert lr_at(training, 0.6) == pytest.approx(0.5)
    assert lr_at(training, 1.0) == pytest.approx(0.0)


def test_constant_rises_on_a_line_and_stays() -> None:
    training = Training(lr=1.0, schedule="constant", warmup=0.5)
    assert [lr_at(training, p) for p in (0.0, 0.25, 0.5, 0.9)] == [0.0, 0.5, 1.0, 1.0]


def test_a_cosine_without_warmup_averages_half_the_rate() -> None:
    training = Training(epochs=10, batch_size=4, lr=0.2, schedule="cosine", warmup=0.0)
    rates = [lr for _, lr in course(training, 40)]
    assert len(rates) == 100
    assert rates == sorted(rates, reverse=True)
    assert math.fsum(rates) / 100 == pytest.approx(0.1)


def test_progress_is_taken_at_the_middle_of_steps() -> None:
    training = Training(epochs=2, batch_size=5, schedule="constant", warmup=0.0)
    assert [p for p, _ in course(training, 10)] == [0.125, 0.375, 0.625, 0.875]
    assert steps_per_epoch(training, 11) == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_spares_scales_shifts_and_biases(optimizer: Any) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    made = make_optimizer(model, Training(optimizer=optimizer, weight_decay=0.1, momentum=0.8))
    decay = {id(p): g["weight_decay"] for g in made.param_groups for p in g["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.1,
        "2.bias": 0.0,
    }


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    made = make_optimizer(model, Training())
    assert sum(len(g["params"]) for g in made.param_groups) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"optimizer": "adam"}, "no optimizer 'adam'; there are adamw, sgd; did you mean"),
        ({"schedule": "onecycle"}, "did you mean 'one_cycle'"),
        ({"epochs": 0}, "epochs 0; it must be 1 or more"),
        ({"batch_size": 0}, "batch_size 0; it must be 1 or more"),
        ({"lr": 0.0}, "lr 0.0; it must be a positive number"),
        ({"lr": math.nan}, "lr nan; it must be a positive number"),
        ({"momentum": 1.0}, "momentum 1.0; it must be in"),
        ({"weight_decay": -0.1}, "weight_decay -0.1; it must be 0 or more"),
        ({"warmup": 1.0}, "warmup 1.0; it must be in"),
        ({"label_smoothing": 1.0}, "label_smoothing 1.0; it must be in"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(TrainingError, match=words.replace("[", r"\[")):
        Training(**wrong)
