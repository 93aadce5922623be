"""`secateur prune` and `secateur latency` as a user meets them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from secateur.channels.cost import cost, layer_costs
from secateur.channels.trace import trace
from secateur.cli.main import main
from secateur.networks.vgg import vgg
from secateur.plan.budget import Budget
from secateur.plan.latency import LatencyTable
from secateur.plan.picture import picture
from secateur.plan.plan import PruningPlan
from secateur.plan.reach import reach
from secateur.surgery.package import load, save

VGG = "secateur.networks.vgg:vgg"
MOBILENET = "secateur.networks.mobilenet:mobilenet"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The exit code of `secateur ARGUMENTS`, run in a folder of its own."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "factories"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return call


def test_several_limits_and_multiples(run, tmp_path, capsys):
    torch.manual_seed(0)
    save(vgg(width=16), tmp_path / "w.safetensors")
    command = ["prune", VGG, "--weights", "w.safetensors", "--macs", "50%", "--params", "40k"]
    assert run(*command, "--criterion", "l1", "--round-to", 8, "-o", "out") == 0
    said = capsys.readouterr().out
    assert "40000 parameters of 72666 can be met" in said
    assert "asked" in said and "reached" in said
    plan = PruningPlan.from_json(Path("out/plan.json").read_text())
    assert plan.asked == {"params": 40_000, "macs": plan.before.macs // 2}
    assert all(plan.reached[name] <= asked for name, asked in plan.asked.items())
    small = load("out/network.safetensors", lambda: vgg(width=16))
    assert cost(trace(small, torch.zeros(1, 1, 64, 101))) == plan.after
    widths = [m.out_channels for m in small.modules() if isinstance(m, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths)
    rows = list(csv.DictReader(Path("out/costs.csv").read_text().splitlines()))
    for name in ("params", "macs"):
        assert sum(int(row[f"{name}_before"]) for row in rows) == getattr(plan.before, name)
        assert sum(int(row[f"{name}_after"]) for row in rows) == getattr(plan.after, name)
    assert [row["layer"] for row in rows] == [
        row.name for row in layer_costs(trace(vgg(width=16), torch.zeros(1, 1, 64, 101)))
    ]


def test_the_command_of_the_manual(run, tmp_path, capsys):
    torch.manual_seed(0)
    save(vgg(), tmp_path / "w.safetensors")
    command = ["prune", VGG, "--weights", "w.safetensors", "--macs", "50%", "--params", "128k"]
    assert run(*command, "--criterion", "taylor_fo", "--round-to", 8) == 0
    said = capsys.readouterr().out
    assert "cannot choose" not in said
    assert "calibrated on 80 generated scene clips; --calibration names your own" in said
    assert "128000 parameters are met already, by 72666" in said
    assert "taylor_fo, uniform" in said
    files = {path.name for path in Path("out/prune").iterdir()}
    assert files == {"plan.json", "network.safetensors", "costs.csv", "network.svg"}
    plan = PruningPlan.from_json(Path("out/prune/plan.json").read_text())
    assert all(plan.reached[name] <= asked for name, asked in plan.asked.items())
    channels = trace(vgg(), torch.zeros(1, 1, 64, 101))
    assert Path("out/prune/network.svg").read_text() == picture([(channels, plan)])


@pytest.mark.filterwarnings("ignore:the calibration inputs are not like")
@pytest.mark.parametrize("criterion", ["taylor_fo", "apoz", "l1"])
def test_a_criterion_is_given_the_data_that_are_named(run, capsys, criterion):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 32, 33))
    np.savez("d.npz", input=x, target=rng.integers(0, 10, 40))
    torch.manual_seed(0)
    save(vgg(width=4), "w.safetensors")
    network = ["--arg", "width=4", "--input", "1x32x33", "-w", "w.safetensors"]
    options = ["--macs", "50%", "--criterion", criterion, "--calibration", "d.npz", "--json"]
    assert run("prune", VGG, *network, *options) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["calibration"] == (None if criterion == "l1" else "d.npz")
    removed = answer["plan"]["remove"]
    if criterion != "l1":
        from secateur.criteria.score import score
        from secateur.criteria.table import CRITERIA
        from secateur.plan.budget import Budget
        from secateur.plan.select import uniform

        model = load("w.safetensors", lambda: vgg(width=4)).eval()
        channels = trace(model, torch.zeros(1, 1, 32, 33))
        inputs = torch.from_numpy(x).float()
        targets = torch.from_numpy(np.load("d.npz")["target"])
        batches = [(inputs[:32], targets[:32]), (inputs[32:], targets[32:])]
        loss_fn = torch.nn.functional.cross_entropy
        options = {"calibration": batches, "loss_fn": loss_fn}
        scores = score(channels, [CRITERIA[criterion]], **options)[criterion]
        plan = uniform(scores, channels, Budget(macs="50%"))
        assert {name: tuple(gone) for name, gone in removed.items()} == plan.remove


def test_a_criterion_that_cannot_choose_is_named(run, capsys):
    options = ["--arg", "width=4", "--criterion", "bn_scale", "--pruning-ratio", 0.5]
    assert run("prune", VGG, *options) == 0  # every scale of a new network is the same
    assert "bn_scale scores all filters the same, and cannot choose, in conv1.conv" in (
        capsys.readouterr().out
    )


def test_data_that_are_of_no_use_are_refused(run, capsys, tmp_path):
    network = [VGG, "--arg", "width=4", "--input", "1x32x33", "--macs", "50%", "-o", "out"]
    np.save("x.npy", np.zeros((2, 1, 32, 33)))
    np.savez("far.npz", input=np.zeros((2, 1, 32, 33)), target=np.array([3, 99]))
    for options, says in (
        (["--calibration", "x.npy"], "'taylor_fo' needs targets, and x.npy has none"),
        (["--calibration", "far.npz"], "loss_fn failed on batch 1"),
        (["--calibration", "none.npz"], "no calibration file none.npz"),
        (["--loss", "crossentropy"], "did you mean 'cross_entropy'?"),
    ):
        assert run("prune", *network, "--criterion", "taylor_fo", *options) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1
    assert not Path("out").exists()


def test_json_says_all_of_it(run, capsys):
    options = ["--bytes", "10kB@int8", "--scope", "isomorphic", "--normalisation", "mean"]
    rules = ["--max-ratio", 0.9, "--ratio", "conv1*=0.25", "--ignore", "conv2.*"]
    assert run("prune", VGG, "--arg", "width=8", *options, *rules, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    plan = PruningPlan.from_json(json.dumps(answer["plan"]))
    assert plan.asked["bytes_int8"] == 10_000 >= plan.reached["bytes_int8"] == plan.after.params
    assert plan.reached["ratio of conv1*"] == plan.asked["ratio of conv1*"] == 0.25
    assert plan.limited["conv2.conv"] == "left alone: ignore has 'conv2.*'"
    assert len(plan.remove["conv1.conv"]) == 2 and "conv2.conv" not in plan.remove
    assert sum(row["params_after"] for row in answer["costs"]) == plan.after.params
    before, after = answer["latency"]["torch, eager"]
    assert 0 < after["median_ms"] < 10 * before["median_ms"]


def test_milliseconds_by_a_table(run, capsys):
    network = [VGG, "--arg", "width=4"]
    assert run("latency", *network, "--repetitions", 3, "-o", "t.json") == 0
    assert "convolution 3x3 on" in capsys.readouterr().out
    table = LatencyTable.from_json(Path("t.json").read_text())
    channels = trace(vgg(width=4), torch.zeros(1, 1, 64, 101))
    (row,) = reach(channels, Budget(latency_ms=1, latency_table=table))
    between = (row.least + row.whole) / 2  # how far apart they are depends on the machine
    options = ["--latency-ms", between, "--latency-table", "t.json", "--json"]
    assert run("prune", *network, *options) == 0
    answer = json.loads(capsys.readouterr().out)
    plan = PruningPlan.from_json(json.dumps(answer["plan"]))
    assert plan.asked["latency_ms"] == between
    assert plan.reached["latency_ms"] == table.estimate(channels, plan.remove)
    assert plan.reached["latency_ms"] <= plan.asked["latency_ms"]
    assert answer["latency"]["torch, eager"][1]["median_ms"] > 0
    assert run("latency", *network, "--repetitions", 1, "--json", "-o", "t.json") == 0
    assert json.loads(capsys.readouterr().out)["estimated_ms"] > 0


def test_what_is_held_back_other_groups_make_up_for(run, capsys):
    options = ["--input", "1x8x8", "--macs", "50%", "--scope", "global"]
    assert run("prune", "unusual:hard_coded", *options) == 0
    said = capsys.readouterr().out
    plan = PruningPlan.from_json(Path("out/prune/plan.json").read_text())
    assert set(plan.held_back) == {"first", "first:2"} and "first" not in plan.remove
    assert "held back: first, first:2: " in said
    assert plan.reached["macs"] <= plan.asked["macs"] and not plan.limited.get("first")
    assert run("prune", "unusual:hard_coded", *options[:2], "--macs", "10%") == 2
    assert "Of the ignored groups 2 do not fit the network's code" in capsys.readouterr().err


def test_sizes_in_the_code_change_and_the_budget_still_holds(run, capsys):
    options = ["--input", "1x8x8"]
    for limit in (["--macs", "40%"], ["--bytes", "1500@int8"], ["--params", "50%"]):
        assert run("prune", "unusual:equal_halves", *options, *limit) == 0
        said = capsys.readouterr().out
        plan = PruningPlan.from_json(Path("out/prune/plan.json").read_text())
        (asked,) = plan.asked
        assert plan.reached[asked] <= plan.asked[asked] and not plan.held_back
        gone = sum(len(n) for name, n in plan.remove.items() if name.startswith("first"))
        assert plan.attributes == {":width": (24 - gone) // 2}
        assert f"sizes in the network's code: width = {plan.attributes[':width']}" in said
    from unusual import equal_halves

    small = load("out/prune/network.safetensors", equal_halves)
    assert small.width < 12 and small(torch.zeros(1, 1, 8, 8)).shape == (1, 2, 6, 6)


BAD = [
    ([], "asks for nothing"),
    (["--params", "128kb"], "cannot read the amount '128kb'"),
    (["--macs", "101"], "101 MACs cannot be met; the nearest reachable is"),
    (["--bytes", "9kB@int4"], "no storage type 'int4'"),
    (["--latency-ms", "5"], "needs a latency_table"),
    (["--latency-ms", "5", "--latency-table", "none.json"], "cannot read the latency table"),
    (["--macs", "50%", "--ratio", "conv1"], "is not NAME=SHARE"),
    (["--macs", "50%", "--ratio", "conv1.conv=half"], "is not NAME=SHARE"),
    (["--macs", "50%", "--ratio", "conv1.conv=1.5"], "in [0, 1)"),
    (["--macs", "50%", "--ratio", "conv9*=0.5"], "no channel group 'conv9*'"),
    (["--macs", "50%", "--max-ratio", "0"], "max_ratio"),
    (["--macs", "50%", "--round-to", "0"], "round_to is a whole number from 1"),
    (["--macs", "20%", "--round-to", "16"], "lower round_to (it is 16)"),
    (["--macs", "50%", "--scope", "isomorph"], "did you mean 'isomorphic'?"),
    (["--macs", "50%", "--scope", "global", "--normalisation", "men"], "did you mean 'mean'?"),
    (["--macs", "50%", "--normalisation", "mean"], "scope 'uniform' never compares them"),
]


@pytest.mark.parametrize(("options", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, capsys, options, says):
    assert run("prune", VGG, "--arg", "width=8", *options) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []
