"""The trainer: right, repeatable, resumed after a kill, clear about bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.analysis.skewness import skewness_rows
from secateur.channels.trace import trace
from secateur.errors import StorageError, TrainingError
from secateur.train.fit import Epoch, evaluate, fit
from secateur.train.penalty_scales import BnL1
from secateur.train.schedule import Training, course

TRAINING = Training(epochs=6, batch_size=8, lr=0.1)


def data() -> tuple[Tensor, Tensor]:
    y = torch.arange(27) % 3
    noise = torch.randn(27, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return noise + y.float().reshape(-1, 1, 1, 1), y


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def rolled(x: Tensor, generator: torch.Generator) -> Tensor:
    return x.roll(int(torch.randint(0, 8, (), generator=generator)), dims=3)


def settings(**changes: Any) -> dict[str, Any]:
    return {"seed": 3, "augment": rolled, "penalty": BnL1(0.05, {"1.weight": (0, 2)})} | changes


def same(a: nn.Module, b: nn.Module) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in a.state_dict().items())


def test_it_learns() -> None:
    model, (x, y) = network(), data()
    seen: list[Epoch] = []
    history = fit(model, x, y, replace(TRAINING, epochs=30), seed=0, on_epoch=seen.append)
    assert history.epochs == tuple(seen)
    assert [row.epoch for row in history.epochs] == list(range(1, 31))
    assert history.epochs[-1].loss < 0.5 * history.epochs[0].loss
    assert history.epochs[-1].accuracy > 0.8
    assert evaluate(model, x, y).accuracy > 0.9
    assert history.epochs[-1].lr == list(course(replace(TRAINING, epochs=30), 27))[-1][1]
    assert history.seconds == sum(row.seconds for row in history.epochs) > 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_equals_a_plain_loop(optimizer: Any) -> None:
    training = Training(epochs=3, batch_size=8, lr=0.02, optimizer=optimizer, weight_decay=0.1)
    training = replace(training, label_smoothing=0.1)
    x, y = data()

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 5, bias=False), nn.Linear(5, 3, bias=False)
        )

    fitted, plain = build(), build()
    history = fit(fitted, x, y, training, seed=4)
    made: torch.optim.Optimizer
    if optimizer == "sgd":
        made = torch.optim.SGD(plain.parameters(), momentum=0.9, weight_decay=0.1)
    else:
        made = torch.optim.AdamW(plain.parameters(), betas=(0.9, 0.999), weight_decay=0.1)
    generator = torch.Generator().manual_seed(4)
    rates = iter(course(training, 27))
    for _ in range(3):
        total = 0.0
        for batch in torch.randperm(27, generator=generator).tensor_split(4):
            made.param_groups[0]["lr"] = next(rates)[1]
            loss = F.cross_entropy(plain(x[batch]), y[batch], label_smoothing=0.1)
            made.zero_grad()
            loss.backward()
            made.step()
            total += loss.item() * len(batch)
    assert same(fitted, plain)
    assert history.epochs[-1].loss == pytest.approx(total / 27)


@pytest.mark.parametrize("width", [1, 5, 15])
def test_a_strided_point_of_few_channels_learns_what_it_should(width: int) -> None:
    """With channels last oneDNN writes past its workspace there, and the process aborts.

    https://github.com/uxlfoundation/oneDNN/issues/6035
    """

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.Conv2d(width, 10, 1, stride=2),
            nn.Conv2d(10, 3, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    x, y = data()
    training = Training(epochs=2, batch_size=27, lr=0.1, weight_decay=0)
    ours, plain = build(), build()
    fit(ours, x, y, training, seed=0)
    optimizer = torch.optim.SGD(plain.parameters(), momentum=0.9)
    for _, lr in course(training, len(x)):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimizer.step()
    for (name, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)
        assert a.stride() == b.stride()
    assert not any(module._forward_pre_hooks for module in ours.modules())


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        torch.rand(seed)  # the global generator's state must not matter
        fit(model, *data(), TRAINING, **settings(seed=seed))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_every_epoch_says_how_sparse_the_channels_are() -> None:
    def watched(**changes: Any) -> tuple[nn.Module, list[Any]]:
        model = network()
        channels = trace(model, data()[0][:1])
        history = fit(model, *data(), TRAINING, **settings(channels=channels) | changes)
        return model, [row.sparsity for row in history.epochs]

    dense, course = watched(penalty=None)
    scales = {"1.weight": dense[1].weight.detach().abs().numpy()}  # type: ignore[index]
    pooled = skewness_rows(scales, "bn_scale")[-1]
    assert course[-1] == {"ws": pooled.ws, "inactive": pooled.inactive_share, "gini": pooled.gini}
    assert len({row["ws"] for row in course}) == TRAINING.epochs
    sparse, other = watched()
    assert other[-1]["gini"] > course[-1]["gini"]
    unwatched = network()
    history = fit(unwatched, *data(), TRAINING, **settings())
    assert same(unwatched, sparse)
    assert history.epochs[-1].sparsity == {}


def test_without_batch_norm_there_are_no_scales_to_be_sparse() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 3))
    channels = trace(model, data()[0][:1])
    history = fit(model, *data(), replace(TRAINING, epochs=1), seed=0, channels=channels)
    assert history.epochs[0].sparsity == {"ws": None, "inactive": None, "gini": None}


def test_it_leaves_nothing_behind() -> None:
    model = network().eval()
    attributes = [sorted(vars(m)) for m in model.modules()]
    state = torch.get_rng_state()
    fit(model, *data(), TRAINING, **settings())
    assert torch.equal(torch.get_rng_state(), state)
    assert [sorted(vars(m)) for m in model.modules()] == attributes
    assert not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.is_contiguous() for p in model.parameters())


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    killed = subprocess.run([sys.executable, __file__, str(path)], check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    undisturbed, resumed = network(), network()
    whole = fit(undisturbed, *data(), TRAINING, **settings())
    ran: list[Epoch] = []
    history = fit(resumed, *data(), TRAINING, **settings(), checkpoint=path, on_epoch=ran.append)
    assert [row.epoch for row in ran] == [4, 5, 6]
    assert same(resumed, undisturbed)
    assert [replace(row, seconds=0) for row in history.epochs] == [
        replace(row, seconds=0) for row in whole.epochs
    ]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_training_goes_on_to_the_same_weights(
    optimizer: Any, tmp_path: Path
) -> None:
    training = replace(TRAINING, optimizer=optimizer, lr=0.01)

    def interrupt(row: Epoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    channels = trace(network(), data()[0][:1])
    arguments = settings(checkpoint=tmp_path / "c", checkpoint_seconds=0.0, channels=channels)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), *data(), training, **arguments, on_epoch=interrupt)
    resumed, undisturbed = network(), network()
    fit(resumed, *data(), training, **arguments)
    fit(undisturbed, *data(), training, **settings())
    assert same(resumed, undisturbed)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first, second = network(), network()
    history = fit(first, *data(), TRAINING, **settings(), checkpoint=tmp_path / "c")
    again = fit(second, *data(), TRAINING, **settings(), checkpoint=tmp_path / "c")
    assert same(first, second)
    assert again == history


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": replace(TRAINING, lr=0.2)}, "lr 0.1 there, 0.2 here"),
        ({"seed": 9}, "seed 3 there, 9 here"),
        ({"augment": None}, "augment <function rolled> there, None here"),
        ({"penalty": BnL1(0.06, {"1.weight": (0, 2)})}, "penalty BnL1"),
        ({"x": data()[0] + 1}, "data "),
        ({"y": data()[1].flip(0)}, "data "),
        ({"loss_fn": F.multi_margin_loss}, "loss_fn "),
        ({"shift": 1.0}, "network at the start "),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    x, y = data()
    path = tmp_path / "c"
    fit(network(), x, y, TRAINING, **settings(), checkpoint=path)
    model = network()
    with torch.no_grad():
        model[6].bias += changes.pop("shift", 0.0)
    arguments = {"x": x, "y": y, "training": TRAINING} | settings(checkpoint=path) | changes
    with pytest.raises(TrainingError, match="of another training: ") as caught:
        fit(model, **arguments)
    assert words in str(caught.value)
    assert str(caught.value).count(" here") == 1


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        fit(network(), *data(), TRAINING, seed=0, checkpoint=path)
    torch.save({"model": {}}, path)
    with pytest.raises(TrainingError, match="not a checkpoint of this version"):
        fit(network(), *data(), TRAINING, seed=0, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        fit(network(), *data(), TRAINING, seed=0, checkpoint=tmp_path / "file" / "c")


def test_another_precision_comes_with_the_fabric(tmp_path: Path) -> None:
    from lightning_fabric import Fabric

    model, full = network(), network()
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    history = fit(model, *data(), TRAINING, **settings(), fabric=fabric, checkpoint=tmp_path / "c")
    fit(full, *data(), TRAINING, **settings())
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert not same(model, full)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    with pytest.raises(TrainingError, match="precision bf16-mixed there, 32-true here"):
        fit(network(), *data(), TRAINING, **settings(), checkpoint=tmp_path / "c")


def test_a_loss_that_becomes_non_finite_is_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3))
    training = Training(epochs=3, batch_size=9, lr=1e30, schedule="constant", warmup=0.0)
    with pytest.raises(TrainingError, match=r"epoch 1, step \d, at learning rate 1e\+30; lower lr"):
        fit(model, *data(), training, seed=0)


def test_weights_that_become_non_finite_in_the_last_step_are_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    training = Training(epochs=1, batch_size=27, lr=1e38, schedule="constant", warmup=0.0)
    with pytest.raises(TrainingError, match=r"1\.weight became non-finite in epoch 1, step 1"):
        fit(model, data()[0] * 1e6, data()[1], training, seed=0)


X, Y = data()


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X[:0], Y[:0], "0 examples"),
        (X, Y[:5], "27 examples need 27 int64 labels"),
        (X, Y.float(), "got torch.float32"),
        (X, Y + 1, "label 3 of example 2 is out of range; the network has 3 classes, 0 to 2"),
        (X, Y - 1, "label -1 of example 0"),
        (X.index_fill(0, torch.tensor([4]), torch.nan), Y, "example 4 holds a value that is not"),
    ],
)
def test_bad_data_is_refused(x: Tensor, y: Tensor, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        fit(network(), x, y, TRAINING, seed=0)


def test_weights_that_are_not_finite_are_refused() -> None:
    model = network()
    with torch.no_grad():
        model[1].running_var[2] = torch.inf
    with pytest.raises(TrainingError, match=r"1\.running_var is not finite before training"):
        fit(model, *data(), TRAINING, seed=0)


def test_label_smoothing_belongs_to_cross_entropy() -> None:
    training = replace(TRAINING, label_smoothing=0.1)
    with pytest.raises(TrainingError, match=r"label_smoothing 0\.1 is for cross_entropy"):
        fit(network(), *data(), training, seed=0, loss_fn=F.multi_margin_loss)


def _train_until_killed(path: Path) -> None:
    model = network()
    runs = iter(range(1000))

    def kill_in_the_middle_of_epoch_4(*_: object) -> None:
        if model.training and next(runs) == 3 * 4 + 2:
            os.kill(os.getpid(), signal.SIGKILL)

    model.register_forward_hook(kill_in_the_middle_of_epoch_4)
    fit(model, *data(), TRAINING, **settings(), checkpoint=path, checkpoint_seconds=0.0)


if __name__ == "__main__":
    _train_until_killed(Path(sys.argv[1]))
