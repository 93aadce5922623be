"""`secateur export` as a user meets it."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.cli.main import main
from secateur.deploy.session import Session
from secateur.networks.vgg import vgg
from secateur.surgery.package import load, save

VGG = "secateur.networks.vgg:vgg"
SHAPE = ("--arg", "width=4", "--input", "1x32x33")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save(vgg(width=4), "w.safetensors")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1, 32, 33)).astype(np.float32)
    np.savez("d.npz", input=x, target=rng.integers(0, 10, 20))
    np.savez("far.npz", input=x, target=np.full(20, 10))
    np.save("x.npy", x)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return call


def test_from_prune_to_card(run, capsys):
    assert run("prune", VGG, *SHAPE, "-w", "w.safetensors", "--macs", "50%") == 0
    capsys.readouterr()
    command = ["export", VGG, *SHAPE, "-w", "out/prune/network.safetensors", "--int8"]
    options = ["--calibration", "d.npz", "--device", "dcase2022", "--data", "noise | of a seed"]
    assert run(*command, *options, "--repetitions", 5, "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads(Path("out/export/card.json").read_text())
    plan = json.loads(Path("out/prune/plan.json").read_text())
    assert card["cuts"] == [{"plan": plan, "verification": None, "repair": None}]
    assert card["params"] == plan["after"]["params"] and card["macs"] == plan["after"]["macs"]
    assert card["training"] == "unknown" and card["data"] == "noise | of a seed"
    float32, int8 = card["files"]
    assert float32["relative_error"] < 1e-4 and float32["compared_with"] == "torch"
    assert int8["compared_with"] == "model.onnx" and int8["stored"]["bytes"] < 12_000
    assert [fit["fits"] for fit in float32["fits"]] == [False, True]  # 2022 wants INT8
    assert [fit["fits"] for fit in int8["fits"]] == [True, True]
    data = np.load("d.npz")
    for file in card["files"]:
        path = Path("out/export") / file["name"]
        right = Session(path).predict(data["input"]).argmax(1) == data["target"]
        assert file["accuracy"] == right.mean() and file["bytes"] == path.stat().st_size
    small = load("out/prune/network.safetensors", lambda: vgg(width=4)).eval()
    with torch.no_grad():
        wanted = small(torch.from_numpy(data["input"])).numpy()
    found = Session(Path("out/export/model.onnx")).predict(data["input"])
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    read = Path("out/export/card.md").read_text()
    assert "| training | unknown |" in read and r"noise \| of a seed" in read
    assert "| l2, uniform |" in read and "| unknown |" in read
    assert {path.name for path in Path("out/export").iterdir()} == {
        "model.onnx",
        "model.int8.onnx",
        "card.md",
        "card.json",
    }


def test_what_does_not_fit_is_exit_code_1_and_written_all_the_same(run, capsys):
    command = ["export", VGG, *SHAPE, "--device", "dcase2022", "--repetitions", 2, "-o", "e"]
    assert run(*command) == 1
    said = capsys.readouterr().out
    assert "dcase2022: does not fit" in said and "this type is not allowed" in said
    assert "dcase2023: fits" in said
    read = Path("e/card.md").read_text()
    assert "whether it was pruned is unknown" in read and "| labelled data | unknown |" in read


def test_answers_beyond_the_tolerance_are_exit_code_1_and_write_nothing(run, capsys):
    assert run("export", VGG, *SHAPE, "--tolerance", 0) == 1
    assert "(allowed 0)" in capsys.readouterr().err
    assert not Path("out").exists()


BAD = [
    (["--int8"], "--int8 needs inputs"),
    (["--device", "dcase2024"], "no device 'dcase2024'"),
    (["--repetitions", "0"], "repetitions must be a whole number from 1"),
    (["--weights", "none.safetensors"], "no file none.safetensors"),
    (["--test", "x.npy"], "--test x.npy holds no class for each input"),
    (["--calibration", "none.npz"], "no calibration file none.npz"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_line_and_writes_nothing(run, capsys, options, says):
    assert run("export", VGG, *SHAPE, *options) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and "Traceback" not in said
    assert not Path("out").exists()


def test_targets_that_do_not_fit_the_outputs(run, capsys):
    assert run("export", VGG, *SHAPE, "--test", "far.npz") == 2
    assert "targets 10 to 10 do not fit outputs of shape (10,)" in capsys.readouterr().err
    assert not Path("out").exists()


def test_without_the_extra(run, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "secateur.deploy.session.find_spec", lambda name: None if "onnx" in name else found(name)
    )
    assert run("export", VGG, *SHAPE) == 2
    said = capsys.readouterr().err
    assert "pip install '.[onnx]' in the folder" in said and said.count("\n") == 1
