"""Cuts in a training loop of one's own: optimizers in place, averages, resuming, compiling, DDP."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import secateur as sc
from secateur.errors import PackageError, PlanError, SurgeryError, TraceError, TrainingError
from secateur.surgery.package import plans_in

EXAMPLE = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(2))
X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def steps(model: nn.Module, **words: Any) -> Any:
    return sc.prune_steps(model, EXAMPLE, **{"macs": "40%", "steps": 3} | words)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, epochs: int = 2) -> None:
    model.train()
    for _ in range(epochs):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()


def test_an_optimizer_goes_on_in_place_with_all_that_holds_it() -> None:
    model, other = network(), network()
    mine = torch.optim.AdamW(model.parameters(), lr=1e-2)
    its = torch.optim.AdamW(other.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(mine, 0.5)
    train(model, mine)
    train(other, its)
    for step, reference in zip(steps(model), steps(other, optimizer=its), strict=True):
        step.take_along(mine)
        train(step.network, scheduler.optimizer)
        for group in reference.optimizer.param_groups:
            group["lr"] = mine.param_groups[0]["lr"]
        train(reference.network, reference.optimizer)
        pairs = zip(step.network.parameters(), reference.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        scheduler.step()
    assert mine.param_groups[0]["lr"] == pytest.approx(1e-2 / 8)
    assert {int(state["step"]) for state in mine.state.values()} == {8}


def test_an_optimizer_of_an_earlier_network_and_of_others_beside_it() -> None:
    model, scale = network(), nn.Parameter(torch.ones(2))
    groups = [{"params": model.parameters()}, {"params": [scale], "lr": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    F.cross_entropy(model(X) * scale.sum(), Y).backward()
    optimizer.step()
    *_, last = steps(model)
    with pytest.raises(SurgeryError, match=r"shape \(2,\) that is not the model's"):
        last.take_along(optimizer)
    last.take_along(optimizer, beside=[scale])
    assert list(map(id, optimizer.param_groups[0]["params"])) == [
        *map(id, last.network.parameters())
    ]
    assert optimizer.param_groups[1]["params"] == [scale] and optimizer.param_groups[1]["lr"] == 0.5
    assert optimizer.state[scale]["momentum_buffer"].shape == (2,)
    with pytest.raises(SurgeryError, match="that is not the model's"):
        last.take_along(torch.optim.SGD([scale], lr=0.1))


def test_an_average_is_cut_along() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    average = AveragedModel(model, multi_avg_fn=None)
    train(model, optimizer)
    average.update_parameters(model)
    before = {name: p.clone() for name, p in average.module.named_parameters()}
    pruned = sc.prune(model, EXAMPLE, macs="50%")
    average.module = pruned.cut_along(average.module)
    (gone,) = (pruned.plan.remove[name] for name in pruned.plan.remove if name == "0")
    kept = [k for k in range(12) if k not in gone]
    assert torch.equal(average.module[0].weight, before["0.weight"][kept])
    average.update_parameters(pruned.network)
    assert average(X).shape == (12, 3)
    with pytest.raises(PlanError, match="was made for network"):
        pruned.cut_along(pruned.network)


def run(folder: Path, die_at: tuple[int, int] | None = None) -> nn.Module:
    """A training with three cuts that is killed after an epoch of a step, or goes on."""
    torch.manual_seed(5)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    file, state = folder / "step.safetensors", folder / "state.pt"
    resume = file if file.exists() else None
    began = 0
    for step in steps(model, resume=resume):
        step.take_along(optimizer)
        if resume is not None:
            read = torch.load(state, weights_only=True)
            optimizer.load_state_dict(read["optimizer"])
            scheduler.load_state_dict(read["scheduler"])
            began, resume = read["epoch"] + 1, None
        for epoch in range(began, 3):
            train(step.network, optimizer, 1)
            scheduler.step()
            kept = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
            torch.save(kept | {"epoch": epoch}, state)
            step.save(file)
            if (len(step.steps), epoch) == die_at:
                return step.network
        began = 0
    return step.network


@pytest.mark.parametrize("die_at", [(1, 0), (2, 2), (3, 1)])
def test_a_killed_loop_goes_on_as_if_it_had_not_been(die_at: Any, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = run(tmp_path / "whole")
    run(tmp_path / "killed", die_at)
    again = run(tmp_path / "killed")
    for (name, mine), (_, its) in zip(
        whole.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(mine, its), name
    mine, its = (tmp_path / f"{name}/step.safetensors" for name in ("whole", "killed"))
    assert plans_in(mine) == plans_in(its) and len(plans_in(its)) == 3


def test_what_cannot_be_resumed_is_said(tmp_path: Path) -> None:
    *_, last = steps(network())
    path = last.save(tmp_path / "step.safetensors")
    with pytest.raises(PlanError, match="3 steps were made before and 2 are asked for"):
        steps(network(), resume=path, steps=2)
    with pytest.raises(PackageError, match="no file gone"):
        steps(network(), resume="gone")
    wider = nn.Sequential(nn.Conv2d(1, 12, 3), nn.Flatten(), nn.Linear(432, 3))
    with pytest.raises(PlanError, match="the plan was made for network"):
        steps(wider, resume=path)
    sc.save(network(), tmp_path / "bare.safetensors")
    with pytest.raises(PlanError, match="there is no plan to cut by again"):
        steps(network(), resume=tmp_path / "bare.safetensors")


def test_a_cut_network_is_compiled() -> None:
    pruned = sc.prune(network().eval(), EXAMPLE, macs="50%")
    small = pruned.network.eval()
    compiled = torch.compile(small, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        for x in (X, X[:5], torch.randn(2, 1, 13, 9)):
            torch.testing.assert_close(compiled(x), small(x), rtol=1e-5, atol=1e-5)
    with pytest.raises(TraceError, match=r"is a OptimizedModule; give model\._orig_mod") as caught:
        sc.prune(compiled, EXAMPLE, macs="80%")
    assert "\n" not in str(caught.value)


def one_of_two(rank: int, folder: str) -> None:
    """Prune, train a step under DDP on this process's half, and write what came of it."""
    torch.set_num_threads(1)
    store = dist.FileStore(os.path.join(folder, "store"), 2)  # noqa: PTH118
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    pruned = sc.prune(network(), EXAMPLE, macs="50%", criterion="random", seed=7)
    ddp = nn.parallel.DistributedDataParallel(pruned.network)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
    loss = F.cross_entropy(ddp(X[rank::2]), Y[rank::2])
    loss.backward()
    optimizer.step()
    try:
        sc.prune(ddp, EXAMPLE, macs="50%")
    except TraceError as error:
        said = str(error)
    state = {name: tensor.clone() for name, tensor in pruned.network.named_parameters()}
    torch.save({"plan": pruned.plan.to_json(), "state": state, "said": said}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_prune_alike_and_train_together(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert one["plan"] == two["plan"] and sc.PruningPlan.from_json(one["plan"]).remove
    untrained = sc.prune(network(), EXAMPLE, macs="50%", criterion="random", seed=7).network
    for name, before in untrained.named_parameters():
        mine: Tensor = one["state"][name]
        assert torch.equal(mine, two["state"][name]), name
        assert mine.shape == before.shape
    assert any(not torch.equal(one["state"][n], p) for n, p in untrained.named_parameters())
    assert "is a DistributedDataParallel; give model.module" in one["said"]


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_without_the_package_it_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"secateur.train.{name}")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "secateur.train.in_steps.find_spec", lambda of: None if of == name else found(of)
    )
    said = rf"needs the package '{name}', not installed here; run pip install '\.\[{name}\]'"
    with pytest.raises(TrainingError, match=said) as caught:
        module.PruneCallback(EXAMPLE, macs="50%")
    assert "\n" not in str(caught.value)
