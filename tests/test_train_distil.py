"""Distillation: the formula, the teacher left alone, the student nearer to it, repeatable."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.train.distil import Distillation, distillation, soft_loss
from secateur.train.fit import Epoch, fit, predict
from secateur.train.schedule import Training

TRAINING = Training(epochs=20, batch_size=16, lr=0.1)


def data(seed: int = 0, n: int = 48) -> tuple[Tensor, Tensor]:
    """Classes that overlap: few examples mislead, and many tell how unsure to be."""
    y = torch.arange(n) % 3
    noise = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return 4 * noise + y.float().reshape(-1, 1, 1, 1), y


def network(width: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 3)),
    )


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    model = network(16, seed=1)
    fit(model, *data(seed=9, n=480), TRAINING, seed=1)
    return model


def rolled(x: Tensor, generator: torch.Generator) -> Tensor:
    return x.roll(int(torch.randint(0, 8, (), generator=generator)), dims=3)


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in a.state_dict().items())


def soft_distance(model: nn.Module, teacher: nn.Module) -> float:
    """Between answers to data that neither has seen."""
    x, _ = data(seed=7)
    return float(soft_loss(predict(model, x), predict(teacher, x), 1.0))


def test_the_soft_loss_is_the_formula() -> None:
    logits, wanted = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    p, q = (wanted / 3).softmax(1), (logits / 3).softmax(1)
    manual = 9 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(soft_loss(logits, wanted, 3.0), manual)
    assert float(soft_loss(wanted, wanted, 3.0).detach()) == pytest.approx(0.0, abs=1e-12)


def test_weight_zero_is_the_hard_loss_and_weight_one_the_soft(teacher: nn.Module) -> None:
    loss, logits = torch.tensor(2.0), torch.randn(4, 3)
    targets = torch.randn(4, 3)
    soft = soft_loss(logits, targets, 5.0)
    for weight, wanted in ((0.0, loss), (1.0, soft), (0.25, 0.75 * loss + 0.25 * soft)):
        made = distillation(teacher, temperature=5.0, weight=weight)
        torch.testing.assert_close(made.mixed(loss, logits, targets), wanted)


@pytest.mark.parametrize("augment", [None, rolled])
def test_a_distilled_student_is_nearer_to_its_teacher(teacher: nn.Module, augment: Any) -> None:
    near, far = [], []
    for seed in range(3):
        alone, distilled = network(8, seed), network(8, seed)
        fit(alone, *data(), TRAINING, seed=seed, augment=augment)
        distil = distillation(teacher, temperature=4.0, weight=0.9)
        fit(distilled, *data(), TRAINING, seed=seed, augment=augment, distil=distil)
        near.append(soft_distance(distilled, teacher))
        far.append(soft_distance(alone, teacher))
    assert max(near) < min(far)
    assert sum(near) < 0.7 * sum(far)


def test_answers_kept_are_the_answers_given_batch_by_batch(teacher: nn.Module) -> None:
    models = [network(8), network(8)]
    for model, augment in zip(models, (None, lambda x, _: x), strict=True):
        fit(model, *data(), TRAINING, seed=0, augment=augment, distil=distillation(teacher))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def mixed(x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    other = torch.randperm(len(x), generator=generator)
    shares = F.one_hot(y, 3).float()
    return 0.7 * x + 0.3 * x[other], 0.7 * shares + 0.3 * shares[other]


@pytest.mark.parametrize("change", [{"augment": rolled}, {"mix": mixed}])
def test_the_teacher_sees_the_batch_as_it_is_trained_on(change: dict[str, Any]) -> None:
    seen: list[Tensor] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                seen.append(x)
            answer: Tensor = self.linear(x.flatten(1))
            return answer

    teacher, student = Watched(), Watched()
    fit(
        student,
        *data(),
        replace(TRAINING, epochs=1),
        seed=0,
        **change,
        distil=distillation(teacher),
    )
    assert len(seen) == 6  # three batches, each seen by both
    for own, theirs in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(own, theirs)


@pytest.mark.parametrize("augment", [None, rolled])
def test_it_is_repeatable_resumes_and_leaves_the_teacher_alone(
    teacher: nn.Module, augment: Any, tmp_path: Path
) -> None:
    before = copy.deepcopy(teacher.train())
    modes = [m.training for m in teacher.modules()]
    stored: dict[str, Any] = {"checkpoint": tmp_path / "c", "checkpoint_seconds": 0.0}
    training = replace(TRAINING, epochs=4)

    def made() -> Distillation:
        return distillation(teacher, temperature=2.0, weight=0.7)

    def interrupt(row: Epoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    def train(distil: Distillation | None, **more: Any) -> nn.Module:
        model = network(8)
        fit(model, *data(), training, seed=0, augment=augment, distil=distil, **more)
        return model

    whole = train(made())
    assert same(whole, train(made()))
    assert not same(whole, train(None))
    with pytest.raises(KeyboardInterrupt):
        train(made(), **stored, on_epoch=interrupt)
    assert same(whole, train(made(), **stored))
    assert same(teacher, before)
    assert [m.training for m in teacher.modules()] == modes
    assert all(p.requires_grad and p.grad is None for p in before.parameters())
    assert all(p.requires_grad for p in teacher.parameters())
    for other, words in (
        (None, "None here"),
        (distillation(network(16)), "T 2, weight 0.7, teacher "),
    ):
        with pytest.raises(TrainingError, match="distil") as caught:
            train(other, **stored)
        assert words in str(caught.value)


def test_later_changes_to_the_teacher_do_not_matter(teacher: nn.Module) -> None:
    changed = copy.deepcopy(teacher)
    distil = distillation(changed)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.zero_()
    a, b = network(8), network(8)
    fit(a, *data(), TRAINING, seed=0, distil=distil)
    fit(b, *data(), TRAINING, seed=0, distil=distillation(teacher))
    assert same(a, b)


def test_it_goes_with_label_smoothing_and_low_precision(teacher: nn.Module) -> None:
    from lightning_fabric import Fabric

    model = network(8)
    history = fit(
        model,
        *data(),
        replace(TRAINING, label_smoothing=0.1),
        seed=0,
        augment=rolled,
        distil=distillation(teacher, weight=0.9),
        fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"),
    )
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert soft_distance(model, teacher) < 0.5


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_out_of_range_are_refused(temperature: float) -> None:
    with pytest.raises(TrainingError, match="temperature is"):
        distillation(network(2), temperature=temperature)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(TrainingError, match="weight is"):
        distillation(network(2), weight=weight)


def test_a_teacher_of_other_classes_is_refused() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(TrainingError, match=r"shape \(1, 5\), the network with \(1, 3\)"):
        fit(network(2), *data(), TRAINING, seed=0, distil=distillation(other))


def test_no_weight_decay_or_hook_of_the_teacher_enters(teacher: nn.Module) -> None:
    """With weight 0 the teacher changes nothing."""
    a, b = network(8), network(8)
    fit(a, *data(), TRAINING, seed=0)
    fit(b, *data(), TRAINING, seed=0, distil=distillation(teacher, weight=0.0))
    assert same(a, b)
    assert F.mse_loss(predict(a, data()[0]), predict(b, data()[0])) == 0
