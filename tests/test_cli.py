"""The command line as a user meets it: real processes where it must be light, else calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from secateur.channels.cost import cost
from secateur.channels.trace import trace
from secateur.cli.main import main
from secateur.networks.vgg import vgg
from secateur.plan.plan import PruningPlan
from secateur.surgery.package import load, save

VGG = "secateur.networks.vgg:vgg"
MOBILENET = "secateur.networks.mobilenet:mobilenet"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of `secateur ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def random_vgg(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = vgg(width=4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.1, 1)
            module.running_mean.normal_()
    return model


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("criterion", ["l1", "gm", "bn_scale", "random"])
def test_prune_writes_a_plan_and_a_network_that_agree(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    criterion: str,
    scope: str,
) -> None:
    save(random_vgg(), tmp_path / "w.safetensors")
    out = tmp_path / "out"
    options = ["--criterion", criterion, "--scope", scope, "--arg", "width=4", "-o", out]
    weights = ["-w", tmp_path / "w.safetensors"]
    assert run(monkeypatch, "prune", VGG, *weights, "--macs", "50%", *options) == 0
    said = capsys.readouterr().out
    assert "asked" in said and "reached" in said
    plan = PruningPlan.from_json((out / "plan.json").read_text())
    small = load(out / "network.safetensors", lambda: vgg(width=4))
    reached = cost(trace(small, torch.zeros(1, 1, 64, 101)))
    assert (reached.params, reached.macs) == (plan.after.params, plan.after.macs)
    assert plan.after.macs <= plan.before.macs / 2


def test_what_mixes_channels_is_not_called_equal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "factories"))
    command = ["prune", "unusual:mixing", "--pruning-ratio", "0.5", "--input", "1x8x8"]
    assert run(monkeypatch, *command, "-o", tmp_path / "a") == 0
    said = capsys.readouterr().out
    assert "counted as zeros it differs by" in said and "_softmax at unusual.py" in said
    assert "is as its references say" in said and "is the whole network" not in said
    assert run(monkeypatch, *command, "-o", tmp_path / "b", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verified"]["exact"] is False
    assert answer["verified"]["holds"] and answer["verified"]["silence_error"] > 1e-6


@pytest.mark.parametrize(("width", "code"), [(4, 0), (40, 1)])
def test_a_device_is_held_against_the_cut_network(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    width: int,
    code: int,
) -> None:
    options = ["--arg", f"width={width}", "--macs", "90%", "-o", tmp_path, "--json"]
    assert run(monkeypatch, "prune", VGG, *options, "--device", "dcase2023") == code
    device = json.loads(capsys.readouterr().out)["device"]
    assert device["fits"] == (code == 0)
    plan = PruningPlan.from_json((tmp_path / "plan.json").read_text())
    assert device["bytes"] == 4 * plan.after.params


def nan_file(path: Path) -> Path:
    state = {name: tensor.clone() for name, tensor in random_vgg().state_dict().items()}
    next(iter(state.values())).view(-1)[0] = float("nan")
    save_file(state, path)
    return path


BAD = [
    (["prune", "no.such.module:f", "--macs", "50%"], "cannot import"),
    (["prune", "secateur.networks.vgg:vgh", "--macs", "50%"], "no function 'vgh'"),
    (["prune", VGG, "--macs", "50%", "--arg", "wide=4"], "unexpected keyword"),
    (["prune", VGG], "a budget asks for nothing"),
    (["prune", VGG, "--macs", "much"], "cannot read the amount 'much'"),
    (["prune", VGG, "--macs", "101"], "nearest reachable"),
    (["prune", VGG, "--params", "90"], "did you mean '90%'? For so little write '0.124%'"),
    (
        ["prune", VGG, "--params", "100"],
        "0.0014 of 72666; was a unit forgotten?",
    ),
    (["prune", VGG, "--pruning-ratio", "1"], "in [0, 1)"),
    (["prune", VGG, "--macs", "50%", "--criterion", "l1norm"], "did you mean 'l1'?"),
    (["prune", "unusual:explodes", "--macs", "50%"], "RuntimeError: no such size"),
    (
        ["prune", "unusual:two_inputs", "--macs", "50%"],
        "which takes x, y, and there is no",
    ),
    (
        ["prune", "unusual:mixing", "--macs", "50%"],
        "which takes x, and there is no --input",
    ),
    (["prune", VGG, "--macs", "50%", "--arg", "width=[8"], "cannot read the value"),
    (["prune", VGG, "--macs", "50%", "--arg", "width=-3"], "failed"),
    (["prune", VGG, "--pruning-ratio", "0.5", "--min-channels", "1000"], "lower min_channels"),
    (["prune", VGG, "--macs", "50%", "--device", "dcase2032"], "did you mean"),
    (["prune", VGG, "--macs", "50%", "--input", "64"], "failed on shapes"),
    (["prune", VGG, "--macs", "50%", "--input", "a"], "is not a shape"),
    (["prune", VGG, "--macs", "50%", "--ignore", "conv9"], "no channel group 'conv9'"),
    (["prune", VGG, "--macs", "50%", "-w", "nowhere.safetensors"], "no file"),
    (["study", "nowhere.yaml"], "nowhere.yaml"),
    (["report", "nowhere"], "holds no study"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_clear_line_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "factories"))
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: save(vgg(width=8), p), "give the factory the arguments"),
        (lambda p: save(torch.nn.Linear(2, 2), p), "does not fit"),
        (lambda p: p.write_bytes(b"no tensors here"), "not a readable safetensors file"),
        (nan_file, "holds NaN"),
    ],
    ids=["other width", "other network", "not safetensors", "NaN"],
)
def test_weights_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    make: object,
    says: str,
) -> None:
    file = tmp_path / "w.safetensors"
    make(file)  # type: ignore[operator]
    out = tmp_path / "out"
    code = run(
        monkeypatch, "prune", VGG, "--arg", "width=4", "-w", file, "--macs", "50%", "-o", out
    )
    assert code == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--debug", "prune", VGG) == 2
    assert "Traceback" in capsys.readouterr().err
