"""A network cut in steps while Lightning's Trainer trains it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc
from secateur.errors import TrainingError
from secateur.train.lightning import PruneCallback

if importlib.util.find_spec("lightning") is None:
    pytest.skip("the package lightning is not installed", allow_module_level=True)

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Lightning's advice on loaders and loggers
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

IMAGE = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def network() -> nn.Sequential:
    layers = [nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


class Task(L.LightningModule):
    """The network in an attribute, with a parameter of its own beside it that is trained too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = network()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]) * self.scale, batch[1])
        self.log("loss", loss)
        return loss

    def test_step(self, batch: Any, index: int) -> None:
        self.log("right", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)]


class Itself(Task):
    """The LightningModule is the network."""

    def __init__(self) -> None:
        super().__init__()
        layers = list(self.model)
        self.first, self.rest = layers[0], nn.Sequential(*layers[1:])
        del self.model

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x)) * self.scale


def loader() -> DataLoader:
    drawn = torch.Generator().manual_seed(1)
    x, y = torch.randn(24, 1, 8, 8, generator=drawn), torch.arange(24) % 3
    return DataLoader(TensorDataset(x, y), batch_size=8)


def callback(of: type[Task] = Task, **words: Any) -> PruneCallback:
    words = {"macs": "40%", "steps": 2, "every_n_epochs": 2} | words
    return PruneCallback(IMAGE, network="" if of is Itself else "model", **words)


def trainer(folder: Path, prune: PruneCallback | None, epochs: int = 6, **words: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    saved = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, every_n_epochs=1)
    callbacks = [saved, *([prune] if prune else []), *words.pop("callbacks", [])]
    options = quiet | {"accelerator": "cpu", "max_epochs": epochs, "callbacks": callbacks} | words
    return L.Trainer(default_root_dir=folder, **options)


def widths(module: nn.Module) -> list[int]:
    return [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("of", [Task, Itself])
def test_it_is_cut_between_epochs_and_trained_on(of: type[Task], tmp_path: Path) -> None:
    prune, seen = callback(of), []

    class Watch(L.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            optimizer = trainer.optimizers[0]
            stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
            assert stepped == {id(p) for p in pl_module.parameters()}
            shapes = [optimizer.state[p]["exp_avg"].shape for p in pl_module.parameters()]
            assert shapes == [p.shape for p in pl_module.parameters()]
            counts = {int(state["step"]) for state in optimizer.state.values()}
            rate = optimizer.param_groups[0]["lr"]
            seen.append((widths(pl_module), counts, round(rate, 6)))

    task = of()
    trainer(tmp_path, prune, callbacks=[Watch()]).fit(task, loader())
    sizes, counts, rates = zip(*seen, strict=True)
    assert [len(set(map(tuple, pair))) for pair in (sizes[:2], sizes[2:4], sizes[4:])] == [1, 1, 1]
    assert sizes[0] == [12, 8] and sum(sizes[0]) > sum(sizes[2]) > sum(sizes[4])
    assert list(counts) == [{3 * epoch} for epoch in range(1, 7)]  # no step is forgotten
    wanted = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(wanted, 8)
    for rate in rates:
        wanted.step()
        course.step()
        assert rate == pytest.approx(wanted.param_groups[0]["lr"], abs=1e-6)
    pruned = prune.pruned
    assert pruned is not None and len(pruned.steps) == 2
    assert pruned.plan.after.macs <= 0.4 * pruned.steps[0].plan.before.macs
    assert "on_load_checkpoint" not in vars(task)
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(task.eval()(x), pruned.network.eval()(x))
    build = network if of is Task else Itself
    again = sc.load(pruned.save(tmp_path / "small.safetensors"), build, IMAGE)
    torch.testing.assert_close(again.eval()(x), pruned.network(x))


@pytest.mark.parametrize("of", [Task, Itself])
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    of: type[Task], epoch: int, tmp_path: Path
) -> None:
    whole = of()
    prune = callback(of)
    trainer(tmp_path / "whole", prune, 7).fit(whole, loader())
    resumed, other = of(), callback(of)
    path = tmp_path / "whole" / f"epoch={epoch}.ckpt"
    trainer(tmp_path / "again", other, 7).fit(resumed, loader(), ckpt_path=str(path))
    assert prune.pruned is not None and other.pruned is not None
    for mine, its in zip(prune.pruned.steps, other.pruned.steps, strict=True):
        assert mine.plan == its.plan
    state = resumed.state_dict()
    assert state.keys() == whole.state_dict().keys()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(state[name], tensor)


def test_any_checkpoint_can_be_tested(tmp_path: Path) -> None:
    task, prune = Task(), callback()
    fitted = trainer(tmp_path, prune)
    fitted.fit(task, loader())
    for epoch, wanted in ((0, [12, 8]), (5, None), (1, [12, 8])):
        (answer,) = fitted.test(
            task, loader(), ckpt_path=str(tmp_path / f"epoch={epoch}.ckpt"), verbose=False
        )
        assert 0 <= answer["right"] <= 1
        assert widths(task) == wanted or (wanted is None and sum(widths(task)) < 20)


def test_without_the_callback_a_checkpoint_does_not_fit(tmp_path: Path) -> None:
    trainer(tmp_path, callback()).fit(Task(), loader())
    path = str(tmp_path / "epoch=5.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch"):
        trainer(tmp_path, None).fit(Task(), loader(), ckpt_path=path)


class Wide(Task):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3))


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    trainer(tmp_path, callback()).fit(Task(), loader())
    path = str(tmp_path / "epoch=5.ckpt")
    average = WeightAveraging()
    for build, says in (
        (
            lambda: (Task(), trainer(tmp_path, callback(), 4)),
            "need more than 4 epochs and .* has 4",
        ),
        (lambda: (Task(), trainer(tmp_path, callback(), callbacks=[average])), "keeps an average"),
        (
            lambda: (Task(), trainer(tmp_path, PruneCallback(IMAGE, network="net", macs="50%"))),
            "has no network 'net'; there are model",
        ),
        (
            lambda: (Task(), trainer(tmp_path, callback(), strategy="ddp")),
            "is DDPStrategy; give the",
        ),
    ):
        module, fitting = build()
        with pytest.raises(TrainingError, match=says) as caught:
            fitting.fit(module, loader())
        assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match="the cuts in the checkpoint do not fit this network"):
        trainer(tmp_path, callback()).fit(Wide(), loader(), ckpt_path=path)
    with pytest.raises(TrainingError, match="every_n_epochs is 0; give a whole number"):
        callback(every_n_epochs=0)
