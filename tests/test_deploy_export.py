"""A network as files with a card, from Python."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

import secateur as sc
from secateur.deploy.session import Session
from secateur.errors import DeployError, ExportError
from secateur.networks.vgg import vgg

if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
    pytest.skip("the extra onnx is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return vgg(width=4).train()


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(12, 1, 32, 33, generator=torch.Generator().manual_seed(1))


def test_a_file_and_its_card(model: torch.nn.Module, x: torch.Tensor, tmp_path: Path) -> None:
    said: list[str] = []
    card = sc.export(model, x[:1], tmp_path / "out", repetitions=3, on_progress=said.append)
    assert said == ["exporting", "measuring model.onnx"]
    assert model.training
    (file,) = card.files
    assert file.accuracy is None and file.relative_error < 1e-4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "card.json",
        "card.md",
        "model.onnx",
    ]
    written = json.loads((tmp_path / "out" / "card.json").read_text())
    assert written == json.loads(json.dumps(card.as_json()))
    assert written["calibration"] == "none: there is no INT8 file"
    assert written["network"] == written["data"] == written["weights"] == "unknown"
    assert written["cuts"] == [] and written["params"] == sc.cost(sc.trace(model, x[:1])).params


def test_what_was_cut_several_times_brings_its_cuts(
    model: torch.nn.Module, x: torch.Tensor, tmp_path: Path
) -> None:
    *_, last = sc.prune_steps(model, x[:1], macs="40%", steps=2)
    card = sc.export(last, x[:1], tmp_path, repetitions=3, origin=sc.Origin(data="noise"))
    assert [cut.plan for cut in card.origin.cuts] == [step.plan for step in last.steps]
    assert card.macs == last.plan.after.macs and card.origin.data == "noise"
    assert all(cut.verification and cut.verification.exact for cut in card.origin.cuts)


@pytest.mark.filterwarnings("ignore:the calibration inputs are not like")
def test_a_card_says_what_a_repair_did(
    model: torch.nn.Module, x: torch.Tensor, tmp_path: Path
) -> None:
    pruned = sc.prune(model, x[:1], macs="60%", calibration=[x])
    card = sc.export(pruned, x[:1], tmp_path, repetitions=3)
    (cut,), found = card.as_json()["cuts"], pruned.reconstruction
    assert found is not None and cut["repair"]["kept"] == found.kept
    assert cut["repair"]["errors"][found.kept] == pytest.approx(found.error_after)
    said = f"differ from the uncut network's by {found.error_after:.3g}"
    assert said in card.as_markdown() and said in " ".join(str(card).split())


def test_int8_and_what_is_known_of_it(
    model: torch.nn.Module, x: torch.Tensor, tmp_path: Path
) -> None:
    classes = torch.arange(12) % 10
    origin = sc.Origin(network="vgg", data="noise of seed 1", calibration="the same noise")
    arrays = x.numpy(), classes.numpy()  # as good as tensors
    card = sc.export(
        model,
        x[:1],
        str(tmp_path),
        calibration=arrays[0],
        labelled=arrays,
        origin=origin,
        repetitions=3,
    )
    assert [file.name for file in card.files] == ["model.onnx", "model.int8.onnx"]
    assert card.origin == origin
    for file in card.files:
        answers = Session(tmp_path / file.name).predict(x.numpy()).argmax(1)
        assert file.accuracy == (answers == classes.numpy()).mean()
    read = (tmp_path / "card.md").read_text()
    assert "| data | noise of seed 1 |" in read and "| the same noise |" in read


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"repetitions": 0}, DeployError, "got 0 and 0.0001"),
        ({"tolerance": float("nan")}, DeployError, "got 50 and nan"),
        ({"tolerance": 0.0}, ExportError, "allowed 0"),
        ({"labelled": 10}, DeployError, "targets 10 to 10 do not fit outputs of shape"),
    ],
    ids=["repetitions", "tolerance", "answers", "classes"],
)
def test_what_fails_leaves_the_folder_as_it_was(
    model: torch.nn.Module, x: torch.Tensor, tmp_path: Path, options, error, says: str
) -> None:
    if "labelled" in options:
        options = {"labelled": (x, torch.full((12,), options["labelled"]))}
    (tmp_path / "model.onnx").write_text("an earlier one")
    with pytest.raises(error, match=says):
        sc.export(model, x[:1], tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "an earlier one"
