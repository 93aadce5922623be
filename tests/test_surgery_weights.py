"""Weights as others write them: wrapped, averaged, compiled, torn, of another width, pickled."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import secateur as sc
from secateur.errors import PackageError
from secateur.surgery.weights import load_weights

State = dict[str, Tensor]


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


def state(seed: int = 1, width: int = 4) -> State:
    torch.manual_seed(seed)
    return net(width).state_dict()


def under(prefix: str, tensors: State) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def compiled(tensors: State) -> State:
    return {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (lambda s: s, ""),
        (lambda s: under("module.", s), "took names without 'module.'"),
        (lambda s: under("model.", s), "took names without 'model.'"),
        (lambda s: under("_orig_mod.", s), "took names without '_orig_mod.'"),
        (compiled, "took names without '_orig_mod.'"),
        (lambda s: under("net.backbone.", s), "took names without 'net.backbone.'"),
        (lambda s: {"state_dict": s, "epoch": 3}, "took 'state_dict'"),
        (lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
         "took 'model'"),
        (lambda s: {"model_state_dict": under("module._orig_mod.", s)},
         "took 'model_state_dict', names without 'module.' and '_orig_mod.'"),
        (lambda s: {"model": {"state_dict": s}}, "took 'state_dict' in 'model'"),
        (lambda s: under("module.", s) | {"n_averaged": torch.tensor(3)},
         "took names without 'module.'; left out beside them: n_averaged"),
        (lambda s: {"state_dict": state(2), "state_dict_ema": s}, "took 'state_dict_ema'"),
        (lambda s: under("model.", state(2)) | under("model_ema.", s),
         "took names without 'model_ema.'; left out beside them: model.0.weight, model.0.bias, "),
        (lambda s: {"a": s, "b": s}, "took 'a'"),  # the same twice
    ],
)  # fmt: skip
def test_what_is_wrapped_is_unwrapped_and_said(
    tmp_path: Path, wrap: Callable[[State], Any], says: str
) -> None:
    torch.save(wrap(state()), tmp_path / "w.pth")
    model = net()
    said = load_weights(model, tmp_path / "w.pth")
    assert (says in said) if says else not said
    assert all(torch.equal(model.state_dict()[name], t) for name, t in state().items())


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".tar"])
def test_every_suffix_of_torch(tmp_path: Path, suffix: str) -> None:
    torch.save(state(), tmp_path / f"w{suffix}")
    model = net()
    assert not load_weights(model, tmp_path / f"w{suffix}")
    assert torch.equal(model[0].weight, state()["0.weight"])


def test_safetensors_are_unwrapped_too(tmp_path: Path) -> None:
    save_file(under("module.", state()), tmp_path / "w.safetensors")
    model = net()
    assert load_weights(model, tmp_path / "w.safetensors").endswith("names without 'module.'")
    assert torch.equal(model[0].weight, state()["0.weight"])


def test_a_prefix_that_is_the_network_s_own_stays(tmp_path: Path) -> None:
    torch.save(under("module.", state()), tmp_path / "w.pth")
    wrapper = nn.ModuleDict({"module": net()})
    assert not load_weights(wrapper, tmp_path / "w.pth")


def test_a_shared_tensor_may_be_there_under_either_name(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.head.weight = self.embed.weight

    for name in ("embed.weight", "head.weight"):
        save_file({name: torch.full((3, 3), 2.0)}, tmp_path / "w.safetensors")
        model = Tied()
        load_weights(model, tmp_path / "w.safetensors")
        assert bool((model.embed.weight == 2).all()) and model.head.weight is model.embed.weight


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (state(width=8),
         r"'0.weight' is \(8, 1, 3, 3\), the network's is \(4, 1, 3, 3\); give the fa"),
        ({"epoch": torch.ones(1), "state_dict": {"a": torch.ones(1), "b": torch.ones(1)}},
         r"it lacks 0.bias, 0.weight, 1.bias and 5 more and has a, b, which the network has not"),
        (under("module.", {k: v for k, v in state().items() if k != "2.bias"}), "lacks 2.bias;"),
        (state() | {"3.weight": torch.ones(1)}, "it has 3.weight, which the network has not"),
        (state() | {"0.bias": torch.tensor([1.0, torch.nan, 0, 0])}, "'0.bias' holds NaN"),
        (under("student.", state()) | under("teacher.", state(2)),
         "holds 2 sets of weights that fit as well: names without 'student.'; names without 'teac"),
        (torch.ones(3), "holds a Tensor and no tensors by name"),
        ({"epoch": 3}, "holds a dict and no tensors by name"),
        ({"state_dict": state(), "best": np.float64(0.3)},
         r"holds more than tensors \(numpy.*scalar\), and to unpickle that could run any code; "
         r"read it where you trust it, write the weights alone, torch.save\(model.state_dict\(\)"),
        (net(), r"holds more than tensors \(torch.nn.modules.container.Sequential\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_changes_nothing(
    tmp_path: Path, content: Any, says: str
) -> None:
    torch.save(content, tmp_path / "w.pth")
    model = net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PackageError, match=says):
        load_weights(model, tmp_path / "w.pth")
    assert all(torch.equal(model.state_dict()[name], t) for name, t in before.items())


class Marks:
    """Leaves a mark where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"state_dict": state(), "x": Marks(str(mark))}, tmp_path / "w.pth")
    with pytest.raises(PackageError, match="could run any code"):
        load_weights(net(), tmp_path / "w.pth")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Marks(str(mark))))  # it would have
    assert mark.exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x04\x95"])
def test_a_torn_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(PackageError, match=r"w.pth (is not a readable file|holds more than)"):
        load_weights(net(), tmp_path / "w.pth")
    with pytest.raises(PackageError, match="no file"):
        load_weights(net(), tmp_path / "gone.pth")


def test_a_cut_network_and_a_factory_of_another_width(tmp_path: Path) -> None:
    x = torch.zeros(1, 1, 8, 8)
    pruned = sc.prune(net(8), x, ratio=0.5)
    path = pruned.save(tmp_path / "small.safetensors")
    assert sc.load(path, lambda: net(8), x)
    says = r"'0.weight' is \(4, 1, 3, 3\); the factory makes \(12, 1, 3, 3\), of which its plan wou"
    with pytest.raises(PackageError, match=says):
        sc.load(path, lambda: net(12), x)
