"""The examples run as a reader runs them, in an empty folder, and print what can be checked."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient

import secateur as sc
from secateur.deploy.device import DEVICES
from secateur.networks.resnet import resnet

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(name: str, folder: Path) -> str:
    """What a script prints in an empty folder, with warnings as errors in it and what it starts."""
    script = EXAMPLES / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert_shown(script, done.stdout)
    return done.stdout


def assert_shown(script: Path, printed: str) -> None:
    """What the docstring shows is printed, in that order, but for digits that training decides."""
    said = ast.get_docstring(ast.parse(script.read_text())) or ""
    shown = re.findall(r"^    (.+)$", said.partition("It prints")[2], flags=re.M)
    assert shown, f"{script.name} shows nothing of what it prints"
    lines = iter(masked(line) for line in printed.splitlines())
    for line in shown:
        assert masked(line) in lines, f"{script.name} does not print {line!r}"


def masked(line: str) -> str:
    """A line without its numbers and the spaces that align them.

    >>> masked("l1   34.2%  +5.8%")
    'l1 # #'
    """
    line = re.sub(r"(?<!\w)[+-]?\d[\d,.]*(e[+-]?\d+)?%?", "#", line)
    return " ".join(re.sub(r"\b(tie|higher|lower)\b", "verdict", line).split())


def row(printed: str, name: str, nth: int = 0) -> list[float]:
    """The numbers of the nth line that begins with a name; 5 % is 0.05."""
    line = re.findall(rf"^{re.escape(name)} +(.*)$", printed, flags=re.M)[nth]
    found = re.findall(r"(?<![\w.])([+-]?\d[\d,]*\.?\d*)(%?)", line)
    return [float(n.replace(",", "")) / (100 if percent else 1) for n, percent in found]


@pytest.mark.slow
def test_a_cnn_of_ones_own_at_half_the_macs(tmp_path: Path) -> None:
    printed = run("prune_your_own_cnn", tmp_path)
    assert "pinned: classifier.weight dim 0 (10): is an output of the network" in printed
    assert "wider.0, depthwise.filters.0" in printed, "depthwise filters move with their input"
    assert "stem.0, residual.second.0" in printed, "what is added moves together"
    (error,) = re.findall(r"largest difference ([\d.e+-]+)", printed)
    assert float(error) <= 1e-10

    trained, macs, params = row(printed, "as trained")
    tuned, macs_left, params_left = row(printed, "fine-tuned")
    cut, estimated = row(printed, "cut")[0], row(printed, "batch norm re-estimated")[0]
    assert (macs, params) == (2_078_336, 12_698)
    assert 0.4 * macs < macs_left <= 0.5 * macs and params_left < params
    assert 0.5 < trained < 0.95
    assert cut < estimated < tuned and tuned > trained - 0.1
    assert "loads back, the same answers" in printed

    spec = spec_from_file_location("prune_your_own_cnn", EXAMPLES / "prune_your_own_cnn.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    example = torch.zeros(1, 1, 32, 26)
    small = sc.load(tmp_path / "out/examples/small.safetensors", module.SceneNet, example)
    found = sc.cost(sc.trace(small, example))
    assert (found.macs, found.params) == (macs_left, params_left)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="the extra onnx is away"
)
def test_a_loop_of_ones_own_in_three_steps(tmp_path: Path) -> None:
    printed = run("your_own_loop", tmp_path)
    lefts = [row(printed, f"cut {step}:")[0] for step in (1, 2, 3)]
    assert lefts == sorted(lefts, reverse=True) and 0.4 < lefts[-1] <= 0.5
    assert row(printed, "epoch 15:")[0] > row(printed, "cut 3:")[1], "training on helps"
    assert not (tmp_path / "out/examples/loop.pt").exists()
    assert "is the whole network with the removed channels silent" in printed
    widths = re.findall(r"^\S+ +(\d+) +(\d+) +\S+ +\S+ +█", printed, flags=re.M)
    assert widths and all(int(after) % 8 == 0 for _, after in widths)
    times = re.findall(r"^(?:torch, eager|ONNX Runtime, .*onnx) +(\S+) .* (\S+) \(", printed, re.M)
    assert len(times) == 3 and min(float(ms) for pair in times for ms in pair) > 0

    spec = spec_from_file_location("your_own_loop", EXAMPLES / "your_own_loop.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    example = torch.zeros(1, 1, 32, 26)
    small = sc.load(tmp_path / "out/examples/loop.safetensors", module.build, example)
    whole = sc.cost(sc.trace(module.build(), example)).macs
    assert sc.cost(sc.trace(small, example)).macs / whole == pytest.approx(lefts[-1], abs=1e-3)
    folder = tmp_path / "out/examples/loop"
    assert (folder / "model.int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


@pytest.mark.slow
def test_criteria_compared_with_their_ties(tmp_path: Path) -> None:
    printed = run("compare_criteria", tmp_path)
    names = ["l1", "l2", "gm", "bn_scale", "mean_activation", "taylor_fo"]
    for square in range(2):  # agreement, then removed channels
        assert row(printed, "l1", square)[0] == row(printed, "l2", square)[0] > 0.7
    assert all(abs(rho) < 0.4 for rho in row(printed, "random"))
    ceilings = re.findall(r"^  (mean_activation|taylor_fo) +(\d\.\d\d)$", printed, flags=re.M)
    assert len(ceilings) == 2 and all(0.5 < float(rho) <= 1 for _, rho in ceilings)
    flagged, rows = map(int, *re.findall(r"cannot choose: (\d+) of (\d+)", printed))
    assert rows == 6 * len([*names, "random"])
    assert printed.count("is not applicable in layer") == flagged
    for table in (2, 3):
        control = row(printed, "random", table)[0]
        for name in names:
            mean, gain, low, high = row(printed, name, table)
            assert gain == pytest.approx(mean - control, abs=2e-3) and low <= gain <= high
            said = re.findall(rf"^{name} .*\)  (\w+)$", printed, flags=re.M)[table - 2]
            assert said in ("tie", "higher", "lower")
            assert said == "tie" or (low > 0) == (said == "higher")
    assert row(printed, "l1", 3)[0] > row(printed, "l1", 2)[0], "fine-tuning helps"
    assert printed.count("would have shown four times in five") == 2


@pytest.mark.slow
def test_skewness_along_training_and_its_picture(tmp_path: Path) -> None:
    printed = run("skewness_along_training", tmp_path)
    table = [row(printed, shrink) for shrink in ("0", "0.5", "1", "2")]
    right, _, _, gini, hoyer, pq, inactive, dead, macs = zip(*table, strict=True)
    for index in (gini, hoyer, pq, inactive, dead):
        assert list(index) == sorted(index), "a stronger penalty makes channels sparser"
    assert gini[0] < gini[3] and inactive[0] == dead[0] == 0 and macs[0] == 1
    assert dead[3] > 0 and macs[3] < 1 and min(right) > 0.5
    picture = (tmp_path / "out/examples/skewness.svg").read_text()
    assert picture.startswith("<svg")
    for title in ("Weight Skewness", "Gini index", "share inactive", "epoch"):
        assert title in picture


@pytest.mark.slow
@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="the extra onnx is not installed")
def test_a_scene_classifier_in_128_kb(tmp_path: Path) -> None:
    printed = run("asc_network_into_128_kb", tmp_path)
    device = DEVICES["dcase2022"]
    assert "dcase2022: does not fit; parameters 480,450 of 128,000" in printed
    (trained,) = re.findall(r"^as trained, ([\d.]+)% right", printed, flags=re.M)
    (tuned,) = re.findall(r"^fine-tuned, ([\d.]+)% right", printed, flags=re.M)
    assert float(trained) > 50 and float(tuned) > float(trained) - 10

    out, example = tmp_path / "out/examples", torch.zeros(1, 1, 64, 101)
    small = sc.load(out / "asc.safetensors", lambda: resnet(width=40), example)
    channels = sc.trace(small, example)
    assert device.check(sc.cost(channels)).fits
    assert all(group.n_channels % 8 == 0 for group in channels.groups)
    card = json.loads((out / "asc/card.json").read_text())
    int8 = {file["name"]: file for file in card["files"]}["model.int8.onnx"]
    assert {fit["device"]: fit["fits"] for fit in int8["fits"]}["dcase2022"]
    assert int8["bytes"] == (out / "asc/model.int8.onnx").stat().st_size
    assert int8["same_answer"] > 0.8
    assert int8["accuracy"] == pytest.approx(float(tuned) / 100, abs=0.1)
    assert card["cuts"][-1]["plan"]["after"]["params"] == card["params"]
    assert (out / "asc/card.md").read_text().startswith("# Model card")


@pytest.mark.slow
def test_a_criterion_of_ones_own(tmp_path: Path) -> None:
    printed = run("criterion_of_your_own", tmp_path)
    assert printed.startswith("refused: criterion 'first_try' gave NaN or infinite scores")
    assert "peak keeps every contract" in printed and "spread keeps every contract" in printed
    assert printed.count("the same channels as from Python: True") == 2
    for name in ("peak", "spread"):
        plan = sc.PruningPlan.from_json((tmp_path / f"out/examples/{name}/plan.json").read_text())
        assert plan.how == f"{name}, uniform" and plan.after.macs <= plan.before.macs / 2


def execute(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The code cells of a notebook with their outputs, run with warnings as errors."""
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(folder / variable.lower()))
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    strict = nbformat.v4.new_code_cell(
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "warnings.filterwarnings('ignore', module='ipykernel')  # what it says of itself at the end"
    )
    notebook.cells.insert(0, strict)
    client = NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(folder)}})
    client.execute()
    return [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]


def printed_by(cells: list[Any]) -> str:
    return "".join(out.text for cell in cells for out in cell.outputs if "text" in out)


def shown_by(cells: list[Any]) -> list[dict[str, Any]]:
    return [out.data for cell in cells for out in cell.outputs if "data" in out]


def pictures(cells: list[Any]) -> list[str]:
    return [data["image/svg+xml"] for data in shown_by(cells) if "image/svg+xml" in data]


@pytest.mark.slow
def test_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("tour.ipynb", tmp_path, monkeypatch)
    printed = printed_by(cells)
    assert "pinned: classifier.weight dim 0 (10)" in printed
    assert "as the plan said: True" in printed and "cannot be met" in printed
    (asked, reached), *_ = re.findall(r"asked {'macs': (\d+)}.*'macs': (\d+)", printed)
    assert 0 < int(reached) <= int(asked)
    (error,) = re.findall(r"largest difference ([\d.e+-]+)", printed)
    assert float(error) <= 1e-10
    (picture,) = pictures(cells)
    for text in ("as it was", "by the plan", "MACs", "classifier"):
        assert text in picture
    assert shown_by(cells)[-1]["text/plain"] == "True"


@pytest.mark.slow
def test_the_inspection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("is_my_criterion_applicable.ipynb", tmp_path, monkeypatch)
    printed = printed_by(cells)
    assert float(shown_by(cells)[0]["text/plain"]) > 0.4
    flags = re.findall(r"^(\w+) is not applicable in layer '([\w.]+)'", printed, flags=re.M)
    assert flags and len(flags) == len(set(flags))
    answers = dict(re.findall(r"^(\w+) +can choose (.*); .*$", printed, flags=re.M))
    assert len(answers) > 15 and "random" not in answers
    assert {name for name, said in answers.items() if said != "everywhere"} == {
        name for name, _ in flags
    } - {"random"}
    (gaussian,) = re.findall(r"^gaussian +(\d+)% of coordinates pass", printed, flags=re.M)
    (uniform,) = re.findall(r"^uniform +(\d+)% of coordinates pass", printed, flags=re.M)
    assert int(gaussian) > 90 > int(uniform)
    assert re.search(r"l1 and l2 +\+0\.\d\d, expected 0\.9", printed)
    (picture,) = pictures(cells)
    assert picture.count("×") >= len(flags)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and all(not c.outputs and c.execution_count is None for c in code)


def test_every_example_is_listed_with_its_command() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert len(SCRIPTS) == 6 and len(NOTEBOOKS) == 2
    for path in (*SCRIPTS, *NOTEBOOKS):
        assert f"]({path.name})" in listed
    for path in SCRIPTS:
        command = f"python examples/{path.name}"
        assert command in listed and command in path.read_text()
