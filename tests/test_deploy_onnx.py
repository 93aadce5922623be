"""Export, quantisation and what ONNX Runtime says, against torch and numpy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts import plan_as_cut, random_plan
from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.deploy.device import DEVICES, Stored
from secateur.deploy.onnx import export_onnx
from secateur.deploy.quantise import quantise
from secateur.deploy.session import Session, relative_error, stored
from secateur.errors import DeployError, ExportError, SecateurError
from secateur.networks.bc_resnet import SubSpectralNorm
from secateur.networks.families import NETWORKS
from secateur.networks.vgg import vgg
from secateur.surgery.cut import cut

EXAMPLE = torch.zeros(1, 1, 32, 25)


def small(name: str) -> nn.Module:
    """A family's network with random statistics, cut."""
    torch.manual_seed(0)
    model = NETWORKS[name](width=32 if name == "tf_sepnet" else 4).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    plan = plan_as_cut(trace(model, EXAMPLE), random_plan(trace(model, EXAMPLE), seed=1))
    return cut(trace(model, EXAMPLE), plan, hold_back=False).network


DEEP = {"dcase_baseline", "cp_mobile", "tf_sepnet", "bc_resnet"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in DEEP else []) for name in NETWORKS]


@pytest.mark.parametrize("name", NAMES)
def test_export_and_quantise(name: str, tmp_path: Path) -> None:
    model = small(name)
    path = tmp_path / "model.onnx"
    done = export_onnx(model, EXAMPLE, path)
    assert done.relative_error < 1e-4 and done.any_batch
    assert done.bytes == path.stat().st_size
    x = torch.randn(7, *EXAMPLE.shape[1:])
    with torch.no_grad():
        wanted = model(x).numpy()
    np.testing.assert_allclose(Session(path).predict(x.numpy(), 3), wanted, rtol=1e-3, atol=1e-4)
    found = quantise(path, tmp_path / "int8.onnx", x.numpy())
    assert found.n_calibration == 7 and found.bytes == (tmp_path / "int8.onnx").stat().st_size
    assert 0 < found.relative_error < 0.5
    again = Session(found.path).predict(x.numpy())
    assert found.relative_error == relative_error(again, Session(path).predict(x.numpy()))
    assert found.same_answer == np.mean(again.argmax(1) == wanted.argmax(1))
    before, after = stored(path), stored(found.path)
    assert (before.dtype, after.dtype) == ("float32", "int8")
    assert before.bytes == 4 * before.params
    apart = [m for m in model.modules() if isinstance(m, SubSpectralNorm)]
    statistics = sum(2 * m.bn.num_features for m in apart)  # other batch norms are folded
    assert before.params <= cost(trace(model, EXAMPLE)).params + statistics
    assert after.bytes < before.bytes
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx", "int8.onnx"}


def test_parameters_on_paper(tmp_path: Path) -> None:
    # 3 * 1 * 3 * 3 + 3 and 2 * 3 * 1 * 1 + 2 numbers; quantised, weights take a byte, biases four
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    export_onnx(model, torch.zeros(1, 1, 8, 8), tmp_path / "m.onnx")
    assert stored(tmp_path / "m.onnx") == Stored("float32", 38, 152)
    quantise(tmp_path / "m.onnx", tmp_path / "q.onnx", np.ones((1, 1, 8, 8), np.float32))
    found = stored(tmp_path / "q.onnx")
    assert (found.dtype, found.params) == ("int8", 38)
    # for each of 5 filters the scales and zero points of its weight (4 + 1) and bias (4 + 4), and
    # for each of 3 activations a scale and a zero point (4 + 1)
    assert found.bytes == 33 + 4 * 5 + 5 * (5 + 8) + 3 * 5


class Noisy(nn.Module):
    """Gives another answer at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.rand_like(x)


class OneAtATime(nn.Module):
    """Writes the number of examples as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.view(1, 4))
        return out


class Unfollowed(nn.Module):
    """Depends on the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_answers_that_differ_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an earlier one")
    with pytest.raises(ExportError, match="differ from torch's by") as refused:
        export_onnx(Noisy(), torch.zeros(1, 1, 4, 4), path)
    assert refused.value.exit_code == 1
    assert path.read_bytes() == b"an earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_for_one_example_at_a_time(tmp_path: Path) -> None:
    done = export_onnx(OneAtATime(), torch.zeros(1, 2, 2), tmp_path / "m.onnx")
    assert not done.any_batch
    x = np.ones((3, 2, 2), np.float32)
    assert Session(done.path).predict(x).shape == (3, 2)
    assert quantise(done.path, tmp_path / "q.onnx", x).n_calibration == 3


def test_what_cannot_be_quantised_is_one_error(tmp_path: Path) -> None:
    done = export_onnx(vgg(width=4).eval(), torch.zeros(1, 1, 32, 33), str(tmp_path / "m.onnx"))
    path = tmp_path / "q.onnx"
    with pytest.raises(DeployError, match=r"cannot quantise .*m\.onnx: .*deploy the float32 file"):
        quantise(str(done.path), str(path), np.ones((4, 3, 32, 33), np.float32))
    assert not path.exists()


def test_what_cannot_be_exported_is_one_error(tmp_path: Path) -> None:
    # an older torch takes the branch that its own input takes, and is found out
    said = "torch cannot export Unfollowed to ONNX|answers for Unfollowed differ"
    with pytest.raises(SecateurError, match=said):
        export_onnx(Unfollowed(), torch.zeros(1, 1, 4, 4), tmp_path / "m.onnx")
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(DeployError, match="ONNX Runtime cannot run"):
        Session(tmp_path / "no.onnx")
    with pytest.raises(DeployError, match="there are 0"):
        quantise(tmp_path / "no.onnx", tmp_path / "q.onnx", np.zeros((0, 1), np.float32))


def test_modes_come_back(tmp_path: Path) -> None:
    model = small("vgg").train()
    next(model.children()).eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    export_onnx(model, EXAMPLE, tmp_path / "m.onnx")
    assert [module.training for module in model.modules()] == modes


def test_latency(tmp_path: Path) -> None:
    export_onnx(small("vgg"), EXAMPLE, tmp_path / "m.onnx")
    session = Session(tmp_path / "m.onnx")
    found = session.latency(EXAMPLE.numpy(), repetitions=9, warm_up=2)
    assert 0 < found.lower_quartile_ms <= found.median_ms <= found.upper_quartile_ms
    assert (found.repetitions, found.warm_up) == (9, 2) and "1 thread" in found.machine
    with pytest.raises(DeployError, match="cannot be timed"):
        session.latency(EXAMPLE.numpy(), repetitions=0)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "secateur.deploy.session.find_spec",
        lambda name: None if name == "onnxruntime" else found(name),
    )
    with pytest.raises(DeployError, match=r"onnxruntime.*pip install '\.\[onnx\]'"):
        export_onnx(small("vgg"), EXAMPLE, tmp_path / "m.onnx")


def test_devices_on_paper() -> None:
    old, new = DEVICES["dcase2022"], DEVICES["dcase2023"]
    float32, int8 = Stored("float32", 32_001, 128_004), Stored("int8", 32_001, 36_000)
    assert not new.hold(float32, 30_000_000).fits and new.hold(int8, 30_000_000).fits
    assert not new.hold(int8, 30_000_001).fits
    assert new.hold(Stored("float32", 32_000, 128_000), 1).fits
    assert not old.hold(float32, 1).fits and "not allowed" in str(old.hold(float32, 1))
    assert old.hold(Stored("int8", 128_000, 140_000), 1).fits  # a byte each; scales are none
    assert not old.hold(Stored("int8", 128_001, 1), 1).fits
