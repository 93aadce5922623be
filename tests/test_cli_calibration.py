"""Calibration data from files and names, and `secateur sensitivity`, which needs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from secateur.cli.calibration import LOSSES, loss_of, read_calibration
from secateur.cli.main import main
from secateur.errors import DataError, SecateurError
from secateur.plan.sensitivity import Sensitivity

VGG = "secateur.networks.vgg:vgg"
EXAMPLE = torch.zeros(1, 1, 8, 9)
X = np.arange(3 * 72, dtype=np.float64).reshape(3, 1, 8, 9)
Y = np.array([0, 2, 1], dtype=np.int32)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_inputs_and_targets_come_from_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    np.savez(path, input=X, target=Y) if kind == "npz" else save_file(
        {"input": X, "target": Y}, path
    )
    inputs, targets, what = read_calibration(str(path), EXAMPLE)
    assert inputs.dtype == torch.float32 and torch.equal(inputs, torch.from_numpy(X).float())
    assert targets is not None and targets.dtype == torch.int64 and targets.tolist() == [0, 2, 1]
    assert what == str(path)


def test_inputs_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    inputs, targets, _ = read_calibration(str(tmp_path / "x.npy"), EXAMPLE)
    assert len(inputs) == 3 and targets is None


def test_targets_of_a_regression_stay_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", input=X, target=np.array([0.5, 1.5, 2.5]))
    _, targets, _ = read_calibration(str(tmp_path / "d.npz"), EXAMPLE)
    assert targets is not None and targets.dtype == torch.float32


def test_generated_scenes_have_the_networks_shape() -> None:
    inputs, targets, what = read_calibration("scenes", torch.zeros(1, 1, 24, 51))
    assert inputs.shape == (80, 1, 24, 51) and "generated" in what
    assert targets is not None and sorted(set(targets.tolist())) == list(range(10))
    again, _, _ = read_calibration("scenes", torch.zeros(1, 1, 24, 51))
    assert torch.equal(inputs, again)
    other, _, _ = read_calibration("scenes", torch.zeros(1, 1, 24, 51), seed=1)
    assert not torch.equal(inputs, other)
    for shape in ((1, 3, 32, 32), (1, 10), (1, 1, 24, 9999)):
        with pytest.raises(DataError, match="such as 1x64x101, and the network's input is"):
            read_calibration("scenes", torch.zeros(*shape))


BAD = {
    "no calibration file": lambda p: None,
    "is no .npz, .npy or .safetensors": lambda p: (p / "d").write_text("x"),
    "cannot be read": lambda p: (p / "d.npz").write_text("no archive"),
    "pickle": lambda p: np.savez(p / "d.npz", input=np.array([{}, {}], dtype=object)),
    "holds a, b and no `input`": lambda p: np.savez(p / "d.npz", a=X, b=Y),
    "inputs of shape 8x9, the network's is 1x8x9": lambda p: np.savez(p / "d.npz", input=X[:, 0]),
    "holds 0 inputs": lambda p: np.savez(p / "d.npz", input=X[:0]),
    "inputs of .* hold NaN": lambda p: np.savez(p / "d.npz", input=X * np.nan),
    "inputs of .* beyond float32": lambda p: np.savez(p / "d.npz", input=X * 1e300),
    "inputs of .* are complex128, not real": lambda p: np.savez(p / "d.npz", input=X * 1j),
    r"holds 0 inputs of shape \(\)": lambda p: np.save(p / "d.npy", np.float64(3)),
    "3 inputs and 0 targets": lambda p: np.savez(p / "d.npz", input=X, target=np.int64(3)),
    "3 inputs and 2 targets": lambda p: np.savez(p / "d.npz", input=X, target=Y[:2]),
    "targets of .* hold NaN or values beyond": lambda p: np.savez(
        p / "d.npz", input=X, target=np.array([0.0, np.inf, 1])
    ),
}


@pytest.mark.parametrize("says", BAD)
def test_what_is_no_calibration_is_refused(tmp_path: Path, says: str) -> None:
    BAD[says](tmp_path)
    made = [*tmp_path.iterdir(), tmp_path / "nowhere.npz"]
    with pytest.raises(DataError, match=says):
        read_calibration(str(made[0]), EXAMPLE)


def test_targets_that_are_yes_or_no_are_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", input=X, target=np.array([True, False, True]))
    _, targets, _ = read_calibration(str(tmp_path / "d.npz"), EXAMPLE)
    assert targets is not None and targets.dtype == torch.float32 and targets.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["prune", VGG, "--macs", "50%", "--loss", "none"], "no loss 'none'"),
        (["sensitivity", VGG, "--calibration", "scenes", "--tolerance", "-1"], "--tolerance is a"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["secateur", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and said in error
    assert not list(tmp_path.iterdir())


def test_losses_by_name() -> None:
    outputs = torch.tensor([[2.0, 0.0]])
    assert loss_of("mse")(outputs, torch.zeros(1, 2)).item() == 2
    for name in LOSSES:
        assert loss_of(name) is not None
    with pytest.raises(SecateurError, match=r"did you mean 'cross_entropy'\?"):
        loss_of("cross_entrop")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_sensitivity_is_measured_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("d.npz", input=rng.normal(size=(6, 1, 32, 33)), target=np.arange(6))
    command = ["sensitivity", VGG, "--arg", "width=4", "--input", "1x32x33"]
    data = ["--calibration", "d.npz", "--ratio", 0.5, "--tolerance", 0.01]
    torch.manual_seed(0)
    assert run(monkeypatch, *command, *data, "-o", "s.json") == 0
    said = capsys.readouterr().out
    assert "not prunable: classifier: " in said and "--ratio conv1.conv=" in said
    found = Sensitivity.from_json(Path("s.json").read_text())
    assert (found.measure, found.better) == ("cross_entropy", "lower")
    assert len(found.curves) == 6
    torch.manual_seed(0)
    assert run(monkeypatch, *command, *data, "--json", "-o", "s.json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert Sensitivity.from_json(json.dumps(answer["sensitivity"])) == found
    assert set(answer["ratios"]) == {curve.group for curve in found.curves}
    assert run(monkeypatch, *command, "-o", "t.json") == 2
    assert "give --calibration" in capsys.readouterr().err
    np.save("x.npy", np.zeros((2, 1, 32, 33)))
    assert run(monkeypatch, *command, "--calibration", "x.npy", "-o", "t.json") == 2
    assert "holds no `target`" in capsys.readouterr().err
    assert not Path("t.json").exists()
