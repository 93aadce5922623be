"""Export of networks with several inputs and outputs, of any size where they run with any."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.deploy.session import Session
from secateur.errors import DeployError, ExportError

if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
    pytest.skip("the extra onnx is not installed", allow_module_level=True)


class Several(nn.Module):
    """Two inputs and a keyword in; a dict with a list in it, an input among it, out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 6, 3, padding=1), nn.BatchNorm1d(6)
        self.words, self.head = nn.Embedding(7, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor, words: Tensor, *, mask: Tensor) -> dict[str, Any]:
        features = self.norm(self.conv(x)).relu() * mask[:, None]
        mean = features.mean(2) + self.words(words).sum(1)
        return {"logits": self.head(mean), "aux": [features.mean(1), None], "mask": mask}


def example(n: int = 1, frames: int = 12, words: int = 5) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(n + frames)
    return {
        "mask": torch.rand(n, frames, generator=drawn),
        "x": torch.randn(n, 2, frames, generator=drawn),
        "words": torch.randint(0, 7, (n, words), generator=drawn),
    }


@pytest.fixture(scope="module")
def pruned() -> sc.Pruned:
    torch.manual_seed(0)
    return sc.prune(Several().eval(), example(), ratio=0.5)


@pytest.fixture(scope="module")
def exported(pruned: sc.Pruned, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sc.export_onnx(pruned, example(), tmp_path_factory.mktemp("file") / "m.onnx")


def test_names_and_axes(exported: Any) -> None:
    assert [(i.name, i.varies, i.dtype) for i in exported.inputs] == [
        ("mask", (0, 1), "float32"),
        ("x", (0, 2), "float32"),
        ("words", (0, 1), "int64"),
    ]
    assert exported.outputs == ("logits", "aux.0", "mask_output")
    assert exported.any_batch and exported.relative_error < 1e-5


@pytest.mark.parametrize("sizes", [(1, 12, 5), (4, 31, 9), (3, 2, 1)])
def test_every_output_at_sizes_it_never_saw(exported: Any, pruned: Any, sizes: Any) -> None:
    given = example(*sizes)
    with torch.no_grad():
        wanted = pruned.network.eval()(**given)
    found = Session(exported.path).run(given)
    flat = {"logits": wanted["logits"], "aux.0": wanted["aux"][0], "mask_output": wanted["mask"]}
    assert set(found) == set(flat)
    for name, tensor in flat.items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-4, atol=1e-5)


def test_int8_of_several_inputs(exported: Any, tmp_path: Path) -> None:
    given = example(9)
    done = sc.quantise(exported.path, tmp_path / "q.onnx", given)
    assert done.n_calibration == 9 and 0 < done.relative_error < 0.5
    before, after = Session(exported.path).answers(given), Session(done.path).answers(given)
    assert done.same_answer == np.mean(before["logits"].argmax(1) == after["logits"].argmax(1))
    assert (after["mask_output"] == given["mask"].numpy()).all()
    in_order = tuple(given[name.name] for name in exported.inputs)
    again = sc.quantise(exported.path, tmp_path / "r.onnx", in_order)
    assert again.relative_error == done.relative_error
    with pytest.raises(
        DeployError, match=r"do not fit .*m\.onnx: the file takes mask \(any, any\)"
    ):
        sc.quantise(exported.path, tmp_path / "q.onnx", given["x"])


def test_the_card_has_both_latencies_and_the_plan(pruned: sc.Pruned, tmp_path: Path) -> None:
    labelled = (example(6), torch.tensor([0, 1, 2, 0, 1, 2]))
    given = {"calibration": example(6), "labelled": labelled, "repetitions": 3}
    card = sc.export(pruned, example(), tmp_path, **given)
    assert card.origin.cuts[-1].plan == pruned.plan and card.latency is not None
    assert list(card.latency.rows) == [
        "torch, eager",
        "ONNX Runtime, model.onnx",
        "ONNX Runtime, model.int8.onnx",
    ]
    for before, after in card.latency.rows.values():
        assert after is not None and 0 < after.median_ms < 20 * before.median_ms
        assert before.repetitions == after.repetitions == 3
    read = (tmp_path / "card.md").read_text()
    assert "| latency of one example, ms | uncut network | this network |" in read
    assert "| output | logits, aux.0, mask_output |" in read
    assert "words (any, any) int64" in read
    printed = str(card.latency).splitlines()
    assert printed[0].split() == ["latency,", "ms", "before", "after", "left"]
    assert printed[1].startswith("torch, eager") and printed[1].endswith("%")


class Tuple(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3)

    def forward(self, pair: tuple[Tensor, Tensor], scale: float = 1.0) -> tuple[Tensor, Tensor]:
        out = self.layer(pair[0]) * scale
        return out, (out + pair[1]).argmax(1)


def test_nested_inputs_numbers_and_tuples(tmp_path: Path) -> None:
    pair = torch.randn(1, 1, 8, 9), torch.ones(1, 3, 1, 1)
    done = sc.export_onnx(Tuple(), (pair, 2.0), tmp_path / "m.onnx", dynamic="batch")
    assert [(i.name, i.varies) for i in done.inputs] == [("pair.0", (0,)), ("pair.1", (0,))]
    assert done.outputs == ("output.0", "output.1")


class Unused(nn.Module):
    """Does not look at one of its inputs, and gives another as it is, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, n: Tensor, mask: Tensor) -> dict[str, Tensor]:
        return {"y": self.layer(x), "same": n, "again": n}


def test_inputs_that_are_not_used_and_outputs_that_are_one(tmp_path: Path) -> None:
    given = torch.randn(1, 3), torch.arange(4).view(1, 4), torch.ones(1, 5)
    done = sc.export_onnx(Unused(), given, tmp_path / "m.onnx", dynamic="batch")
    assert done.outputs == ("y", "same", "again")
    found = Session(done.path).run(given)
    assert (found["same"] == given[1].numpy()).all() and (found["again"] == found["same"]).all()


@dataclass
class Answer:
    logits: Tensor
    note: str = "in words"


class Odd(nn.Module):
    """Gives whatever the function gives."""

    def __init__(self, gives: Any) -> None:
        super().__init__()
        self.layer, self.gives = nn.Conv2d(1, 2, 1), gives

    def forward(self, x: Tensor) -> Any:
        return self.gives(self.layer(x))


REFUSED = [
    (lambda y: Answer(y), DeployError, "gives str as 'note', and an ONNX file gives tensors only"),
    (lambda y: {"n": 3, "y": y}, DeployError, "gives int as 'n'"),
    (lambda y: torch.complex(y, y), DeployError, "output 'output' is a complex64 tensor"),
    (lambda y: None, DeployError, "gives nothing"),
    (lambda y: y + torch.rand_like(y), ExportError, "another 'output' each time"),
    (lambda y: y @ y[:, :1, :1], DeployError, "failed on random input of the example's size"),
]


@pytest.mark.parametrize(("gives", "error", "says"), REFUSED, ids=[r[2][:20] for r in REFUSED])
def test_what_cannot_be_exported_is_said_at_once(gives, error, says: str, tmp_path: Path) -> None:
    began = time.thread_time()
    with pytest.raises(error, match=says):
        sc.export_onnx(Odd(gives), torch.zeros(1, 1, 4, 4), tmp_path / "m.onnx")
    assert time.thread_time() - began < 1
    assert not list(tmp_path.iterdir())


def image() -> Tensor:
    return torch.zeros(1, 1, 12, 16)


WAYS = [("none", ()), ("batch", (0,)), ("auto", (0, 2, 3)), ({"input": (3,)}, (3,))]


@pytest.mark.parametrize(("dynamic", "varies"), WAYS, ids=str)
def test_the_axes_that_are_asked_for_vary(dynamic: Any, varies: Any, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3))
    done = sc.export_onnx(model, image(), tmp_path / "m.onnx", dynamic=dynamic)
    assert done.inputs[0].varies == varies


def test_axes_that_cannot_vary(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 10 * 14, 3))
    done = sc.export_onnx(model, image(), tmp_path / "m.onnx")
    assert done.inputs[0].varies == (0,)
    for dynamic, says in (
        ({"input": (2,)}, r"fails with every other size tried along the dynamic axes input \(2,\)"),
        ({"image": (2,)}, "no input 'image'; there are input"),
        ({"input": (4,)}, "axis 4 of input 'input', which has axes 0 to 3"),
        ("all", "no way to choose the dynamic axes 'all'; there are auto, batch, none"),
    ):
        with pytest.raises(DeployError, match=says):
            sc.export_onnx(model, image(), tmp_path / "n.onnx", dynamic=dynamic)


def test_latency_of_a_network_of_keywords(pruned: sc.Pruned) -> None:
    found = sc.compare_latency(pruned.model, pruned.network, example(), repetitions=3)
    (row,) = found.rows.values()
    assert all(time is not None and time.median_ms > 0 for time in row)
    assert sc.measured_latency_ms(pruned.network, example(), 2) > 0
    with pytest.raises(DeployError, match="0 calls after 3 to warm up cannot be timed"):
        sc.compare_latency(pruned.model, pruned.network, example(), repetitions=0)
