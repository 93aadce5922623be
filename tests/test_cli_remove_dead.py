"""`secateur prune --remove-dead`, what was dead of any prune, and `--re-estimate`."""

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
from secateur.train.batch_norm import reestimate_batch_norm

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


def test_re_estimation_changes_statistics_only(run, capsys):
    x = np.random.default_rng(0).normal(size=(40, 1, 32, 33)).astype(np.float32)
    np.savez("d.npz", input=x)
    options = ["--macs", "50%", "--calibration", "d.npz"]
    assert run("prune", *NETWORK, *options, "-o", "plain") == 0
    assert run("prune", *NETWORK, *options, "-o", "anew", "--re-estimate") == 0
    assert "batch-norm statistics estimated anew on 40 examples" in capsys.readouterr().out
    plain, anew = (load(f"{folder}/network.safetensors", built) for folder in ("plain", "anew"))
    changed = {
        name
        for name, tensor in plain.state_dict().items()
        if not torch.equal(tensor, anew.state_dict()[name])
    }
    statistics = {n for n, _ in plain.named_buffers()}
    assert changed and changed <= statistics
    assert {n for n in statistics if "running" in n} <= changed
    reestimate_batch_norm(plain, torch.from_numpy(x))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, anew.state_dict()[name])


BAD = [
    (["--remove-dead", "--macs", "50%"], "so --macs has no say"),
    (["--remove-dead", "--ignore", "conv1*"], "so --ignore has no say"),
    (["--remove-dead", "--round-to", "8"], "so --round-to has no say"),
    (["--macs", "50%", "--re-estimate"], "--re-estimate needs data"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_line(run, capsys, options, says):
    assert run("prune", *NETWORK, *options) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not Path("out").exists()
