"""Several processes train one network as one does, and several precisions as well as float32."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.channels.trace import trace
from secateur.errors import TrainingError
from secateur.train.distil import distillation
from secateur.train.fit import Epoch, evaluate, fit
from secateur.train.penalties import PENALTIES
from secateur.train.processes import Processes
from secateur.train.schedule import Training

TRAINING = Training(epochs=4, batch_size=9, lr=0.05)


def data() -> tuple[Tensor, Tensor]:
    y = torch.arange(50) % 3
    noise = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return noise + y.float().reshape(-1, 1, 1, 1), y


def network(norm: bool = False, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4) if norm else nn.Identity(),
        *(nn.ReLU(), nn.Dropout(dropout), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
    )


def rolled(x: Tensor, generator: torch.Generator) -> Tensor:
    shifts = torch.randint(0, 8, (len(x),), generator=generator)
    return torch.stack([one.roll(int(s), dims=2) for one, s in zip(x, shifts, strict=True)])


def settings(model: nn.Module) -> dict[str, Any]:
    channels = trace(model, data()[0][:1])
    return {
        "seed": 3,
        "augment": rolled,
        "channels": channels,
        "penalty": PENALTIES["group_lasso"](0.02, channels, 0.3),
        "distil": distillation(network(), weight=0.3),
    }


def train(folder: Path, fabric: Any, *, norm: bool) -> None:
    """What each of two processes does; the outcome goes to a file of its rank."""
    model = network(norm, dropout=0.3 if norm else 0.0)
    rank = 0 if fabric is None else fabric.global_rank
    n = 1 if fabric is None else fabric.world_size
    name = "norm" if norm else "plain"
    history = fit(model, *data(), TRAINING, **settings(model), fabric=fabric)
    rows = [(e.loss, e.accuracy, e.penalty["gini"]) for e in history.epochs]
    torch.save({"state": model.state_dict(), "rows": rows}, folder / f"{name}.{rank}of{n}")
    if fabric is not None and norm:
        _interrupted(folder, fabric, model)


def _interrupted(folder: Path, fabric: Any, undisturbed: nn.Module) -> None:
    def interrupt(row: Epoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    stored: dict[str, Any] = {"checkpoint": folder / "checkpoint", "checkpoint_seconds": 0.0}
    resumed = network(norm=True, dropout=0.3)
    arguments = settings(resumed) | stored | {"fabric": fabric}
    with pytest.raises(KeyboardInterrupt):
        fit(network(norm=True, dropout=0.3), *data(), TRAINING, **arguments, on_epoch=interrupt)
    fabric.barrier()
    ran: list[Epoch] = []
    fit(resumed, *data(), TRAINING, **arguments, on_epoch=ran.append)
    assert [row.epoch for row in ran] == [3, 4]
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    with pytest.raises(TrainingError, match="batches of 1 examples cannot be shared by 2"):
        fit(network(), *data(), replace(TRAINING, batch_size=1), seed=0, fabric=fabric)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("processes")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASTER_", "LOCAL_"))}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        check=False,
        timeout=180,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for norm in (False, True):
        train(folder, None, norm=norm)
    return folder


def test_two_processes_end_with_the_weights_of_one(outcomes: Path) -> None:
    one, first, second = (
        torch.load(outcomes / f"plain.{name}") for name in ("0of1", "0of2", "1of2")
    )
    for name, tensor in one["state"].items():
        assert torch.equal(first["state"][name], second["state"][name])
        torch.testing.assert_close(first["state"][name], tensor, rtol=1e-4, atol=1e-5)
    assert first["rows"] == second["rows"]
    assert [row[1] for row in first["rows"]] == [row[1] for row in one["rows"]]
    for ours, theirs in zip(first["rows"], one["rows"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_with_batch_norm_the_processes_agree_and_learn(outcomes: Path) -> None:
    one, first, second = (
        torch.load(outcomes / f"norm.{name}") for name in ("0of1", "0of2", "1of2")
    )
    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name
    assert not torch.equal(first["state"]["0.weight"], one["state"]["0.weight"])
    assert first["rows"] == second["rows"]
    assert first["rows"][-1][0] == pytest.approx(one["rows"][-1][0], rel=0.3)


def test_only_the_first_process_wrote(outcomes: Path) -> None:
    assert (outcomes / "checkpoint").exists()
    assert {p.name for p in outcomes.iterdir()} == {
        "checkpoint",
        *(f"{n}.{r}" for n in ("plain", "norm") for r in ("0of1", "0of2", "1of2")),
    }


def test_a_fabric_that_was_not_launched_is_refused() -> None:
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    with pytest.raises(TrainingError, match=r"2 processes are not there yet; call fabric\.launch"):
        fit(network(), *data(), TRAINING, seed=0, fabric=fabric)


@pytest.mark.parametrize("n_examples", [2, 3, 8, 17])
@pytest.mark.parametrize("n", [1, 2])
def test_shares_are_even_and_make_up_the_batch(n_examples: int, n: int) -> None:
    class Fabric:
        world_size = n

        def __init__(self, rank: int) -> None:
            self.global_rank = rank

    batch = list(range(n_examples))
    shares = [batch[Processes(Fabric(rank)).share(n_examples)] for rank in range(n)]  # type: ignore[arg-type]
    assert [one for share in shares for one in share] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_bf16_trains_about_as_well_as_float32() -> None:
    from lightning_fabric import Fabric

    right = {}
    for precision in ("32-true", "bf16-mixed"):
        model = network(norm=True)
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
        channels = trace(model, data()[0][:1])
        penalty = PENALTIES["bn_l1"](0.01, channels, 0.5)
        history = fit(
            model,
            *data(),
            replace(TRAINING, epochs=20),
            seed=1,
            fabric=fabric,
            penalty=penalty,
            channels=channels,
        )
        right[precision] = evaluate(model, *data()).accuracy
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in model.parameters())
        assert history.epochs[-1].sparsity == history.epochs[-1].penalty
    assert right["32-true"] > 0.9
    assert right["bf16-mixed"] == pytest.approx(right["32-true"], abs=0.05)


def _launched(folder: Path) -> None:
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    for norm in (False, True):
        train(folder, fabric, norm=norm)


if __name__ == "__main__":
    _launched(Path(sys.argv[1]))
