"""A network cut in steps while Hugging Face's Trainer trains it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.errors import TrainingError
from secateur.train.transformers import PruneCallback

if any(importlib.util.find_spec(name) is None for name in ("transformers", "accelerate")):
    pytest.skip("transformers and accelerate are not installed", allow_module_level=True)

from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

EXAMPLE = {"pixel_values": torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(2))}


def build() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"num_channels": 1, "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    return ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic", num_labels=3))


class Data(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.x = torch.randn(24, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, k: int) -> dict[str, Tensor]:
        return {"pixel_values": self.x[k], "labels": torch.tensor(k % 3)}


def callback(**words: Any) -> PruneCallback:
    return PruneCallback(EXAMPLE, **{"macs": "50%", "steps": 2, "every_n_epochs": 2} | words)


def trainer(
    folder: Path, model: nn.Module, callbacks: list[Any], epochs: int = 6, **words: Any
) -> Trainer:
    options = {"save_strategy": "epoch", "report_to": [], "disable_tqdm": True, "use_cpu": True}
    options |= {"per_device_train_batch_size": 8, "learning_rate": 1e-3, "seed": 3}
    arguments = TrainingArguments(str(folder), num_train_epochs=epochs, **options | words)
    return Trainer(model=model, args=arguments, train_dataset=Data(), callbacks=callbacks)


def widths(module: nn.Module) -> list[int]:
    return [m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("network", ["", "resnet"])
def test_it_is_cut_between_epochs_and_trained_on(network: str, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Watch(TrainerCallback):
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            optimizer, model = kwargs["optimizer"].optimizer, kwargs["model"]
            stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
            assert stepped == {id(p) for p in model.parameters()}
            assert all(optimizer.state[p]["exp_avg"].shape == p.shape for p in model.parameters())
            counts = {int(state["step"]) for state in optimizer.state.values()}
            seen.append((sum(widths(model)), counts, kwargs["lr_scheduler"].get_last_lr()[0]))

    prune, model = callback(network=network), build()
    before = sum(widths(model))
    trainer(tmp_path, model, [prune, Watch()], bf16=network == "").train()
    sizes, counts, rates = zip(*seen, strict=True)
    assert sizes[0] == sizes[1] == before and before > sizes[2] == sizes[3] > sizes[4] == sizes[5]
    assert list(counts) == [{3 * epoch} for epoch in range(1, 7)]
    assert rates == pytest.approx([1e-3 * (1 - k / 6) for k in range(1, 7)])
    pruned = prune.pruned
    assert pruned is not None and pruned.plan.reached["macs"] <= pruned.plan.asked["macs"]
    given = {"pixel_values": torch.randn(2, 1, 16, 16)}
    if not network:
        path = pruned.save(tmp_path / "small.safetensors")
        again = sc.load(path, build, EXAMPLE).eval()
        wanted = pruned.network.eval()(**given)["logits"]
        torch.testing.assert_close(again(**given)["logits"], wanted)


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_killed_run_goes_on_as_if_it_had_not_been(epoch: int, tmp_path: Path) -> None:
    whole, resumed = build(), build()
    prune, other = callback(), callback()
    trainer(tmp_path / "whole", whole, [prune]).train()
    checkpoint = tmp_path / "whole" / f"checkpoint-{3 * epoch}"
    going_on = trainer(tmp_path / "again", resumed, [other])
    other.resume(resumed, checkpoint)
    going_on.train(resume_from_checkpoint=str(checkpoint))
    assert prune.pruned is not None and other.pruned is not None
    assert [s.plan for s in prune.pruned.steps] == [s.plan for s in other.pruned.steps]
    state = resumed.state_dict()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(state[name], tensor)


def test_what_goes_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="need more than 4 epochs and the training has 4"):
        trainer(tmp_path, build(), [callback()], 4).train()
    best = {"load_best_model_at_end": True, "eval_strategy": "epoch", "eval_dataset": Data()}
    with pytest.raises(TrainingError, match="load_best_model_at_end=True goes with no"):
        arguments = TrainingArguments(
            str(tmp_path), load_best_model_at_end=True, eval_strategy="epoch", save_strategy="epoch"
        )
        Trainer(
            model=build(), args=arguments, callbacks=[callback()], eval_dataset=best["eval_dataset"]
        )
    with pytest.raises(TrainingError, match=r"trainer_state.json cannot be read as the state of"):
        callback().resume(build(), tmp_path)
    prune = callback()
    model = build()
    trainer(tmp_path, model, [prune], 5).train()
    assert not model._load_state_dict_pre_hooks
    with pytest.raises(TrainingError, match=r"call callback\.resume.* on the uncut network before"):
        again = trainer(tmp_path, build(), [callback()], 5)
        again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-15"))
    with pytest.raises(TrainingError, match=r"every_n_epochs is 1\.5; give a whole number"):
        callback(every_n_epochs=1.5)
