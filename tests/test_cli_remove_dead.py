"""`secateur prune --remove-dead`, what was dead of any prune, and `--repair`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from secateur.cli.main import main
from secateur.networks.vgg import vgg
from secateur.plan.plan import PruningPlan
from secateur.surgery.package import load, save

VGG = "secateur.networks.vgg:vgg"
NETWORK = (VGG, "--arg", "width=4", "--input", "1x32x33", "-w", "w.safetensors")
DEAD = (0, 3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = vgg(width=4)
    with torch.no_grad():
        model.conv1.bn.weight[list(DEAD)] = 0.0
        last = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)][-1]
        last.weight[1], last.bias[1] = 0.0, 0.5  # a constant, averaged, into the classifier's bias
    save(model, "w.safetensors")

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return call


def built() -> nn.Module:
    return vgg(width=4)


def test_it_removes_what_is_dead_and_no_more(run, capsys):
    assert run("prune", *NETWORK, "--remove-dead") == 0
    said = capsys.readouterr().out
    assert "outputs unchanged within" in said and "constants went into the biases of" in said
    assert "dead: of 3 channels that went, 2 gave nothing and 1 a constant" in said
    plan = PruningPlan.from_json(Path("out/prune/plan.json").read_text())
    assert plan.how == "dead channels" and sum(map(len, plan.remove.values())) == 3
    assert plan.remove["conv1.conv"] == DEAD
    before, small = load("w.safetensors", built), load("out/prune/network.safetensors", built)
    x = torch.randn(4, 1, 32, 33)
    with torch.no_grad():
        torch.testing.assert_close(small.eval()(x), before.eval()(x), rtol=1e-5, atol=1e-6)


def test_every_prune_says_how_much_was_dead(run, capsys):
    options = ["--pruning-ratio", 0.5, "--criterion", "bn_scale"]
    assert run("prune", *NETWORK, *options, "--json") == 0
    dead = json.loads(capsys.readouterr().out)["dead"]
    assert dead["nothing"] == 2 and dead["constant"] == 1 and dead["in_network"] == 3
    assert dead["removed"] > 3
    assert run("prune", *NETWORK, *options) == 0
    assert "2 gave nothing and 1 a constant; the network had 3 of these" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the calibration inputs are not like")
def test_repairs_change_what_they_say_and_nothing_else(run, capsys):
    x = np.random.default_rng(0).normal(size=(40, 1, 32, 33)).astype(np.float32)
    np.savez("d.npz", input=x)
    options = ["--macs", "50%", "--calibration", "d.npz"]
    for repair in ("none", "batch_norm", "reconstruct"):
        assert run("prune", *NETWORK, *options, "-o", repair, "--repair", repair) == 0
    said = capsys.readouterr().out
    assert "on 32 inputs without labels: on 8 others the outputs differ" in said
    assert run("prune", *NETWORK, *options, "-o", "default", "--json") == 0
    found = json.loads(capsys.readouterr().out)["repair"]
    assert found["kept"] == "reconstruct"
    cut, statistics, whole, default = (
        load(f"{folder}/network.safetensors", built).state_dict()
        for folder in ("none", "batch_norm", "reconstruct", "default")
    )
    changed = {name for name in cut if not torch.equal(cut[name], statistics[name])}
    assert changed <= {name for name in cut if "running" in name}  # none if the cut was nearer
    assert all(torch.equal(whole[name], default[name]) for name in whole)
    assert any(not torch.equal(cut[name], whole[name]) for name in cut if "weight" in name)


BAD = [
    (["--remove-dead", "--macs", "50%"], "so --macs has no say"),
    (["--remove-dead", "--ignore", "conv1*"], "so --ignore has no say"),
    (["--remove-dead", "--round-to", "8"], "so --round-to has no say"),
    (["--macs", "50%", "--repair", "bias"], "--repair bias needs data"),
    (["--macs", "50%", "--repair", "biases"], "no repair 'biases'; there are batch_norm"),
    (["--remove-dead", "--repair", "bias"], "so --repair has no say"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_line(run, capsys, options, says):
    assert run("prune", *NETWORK, *options) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not Path("out").exists()
