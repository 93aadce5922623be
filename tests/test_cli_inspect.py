"""`secateur inspect`: what it prints and writes, for one network and several, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.cli.inspect import named_sources
from secateur.cli.main import main
from secateur.errors import SecateurError
from secateur.networks.vgg import vgg
from secateur.study.inspection import Analysis
from secateur.surgery.package import save

VGG = "secateur.networks.vgg:vgg"
SMALL = ["--arg", "width=4", "--input", "1x32x33"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["secateur", "inspect", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="module")
def two_weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        torch.manual_seed(seed)
        save(vgg(width=4), folder / f"epoch{seed}.safetensors")
    return sorted(folder.glob("*.safetensors"))


def test_it_fits_a_screen_and_writes_a_page_and_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, VGG, *SMALL, "-o", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines[:-1])) <= 100
    assert lines[2].startswith("1. ") and "page.html" in lines[-1]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    (row,) = json.loads((tmp_path / "rows.json").read_text())["networks"]
    assert Analysis.from_json(json.dumps(row)).name == "vgg"


def test_json_is_everything_and_groups_are_shown_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, VGG, *SMALL, "-o", tmp_path, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"networks", "page", "rows"}
    assert answer["networks"] == json.loads((tmp_path / "rows.json").read_text())["networks"]
    assert run(monkeypatch, VGG, *SMALL, "-o", tmp_path, "--groups") == 0
    assert "is an output of the network" in capsys.readouterr().out


def test_several_weights_of_one_network_stand_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    two_weights: list[Path],
) -> None:
    options = [part for file in two_weights for part in ("-w", file)]
    assert run(monkeypatch, VGG, *SMALL, *options, "-o", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert [line.split("  ")[0] for line in lines[1:3]] == ["vgg epoch0", "vgg epoch1"]
    rows = json.loads((tmp_path / "rows.json").read_text())["networks"]
    assert rows[0]["similarity"] != rows[1]["similarity"]
    page = (tmp_path / "page.html").read_text()
    assert "vgg epoch0" in page and "vgg epoch1" in page


def test_data_bring_the_criteria_that_need_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 32, 33)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", input=x)
    np.savez(tmp_path / "both.npz", input=x, target=rng.integers(10, size=40))
    given = [VGG, *SMALL, "-o", tmp_path, "--json", "--calibration"]
    assert run(monkeypatch, *given, tmp_path / "inputs.npz") == 0
    (one,) = json.loads(capsys.readouterr().out)["networks"]
    assert "apoz" in one["criteria"] and "fisher" not in one["criteria"]
    assert run(monkeypatch, *given, tmp_path / "both.npz") == 0
    (one,) = json.loads(capsys.readouterr().out)["networks"]
    assert {"apoz", "fisher"} <= set(one["criteria"])
    assert one["calibration"] == "2 batches" and one["ceilings"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--criterion", "l1norm"], "no criterion 'l1norm'"),
        (["--criterion", "taylor_fo"], "needs calibration batches"),
        (["--loss", "l3"], "no loss 'l3'"),
        (["-w", "nowhere.safetensors"], "nowhere.safetensors"),
        (["-w", "a", "-w", "b", VGG], None),
        ([VGG, "-w", "a"], "1 --weights for 2 networks"),
    ],
)
def test_wrong_use_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    said: str | None,
) -> None:
    assert run(monkeypatch, VGG, *SMALL, "-o", tmp_path / "out", *options) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("secateur: ") and "\n" not in told
    assert said is None or said in told
    assert not (tmp_path / "out").exists()


def test_names_and_weights_of_networks() -> None:
    a, b = Path("a.safetensors"), Path("b.safetensors")
    assert named_sources(["m:one@a.safetensors", "m:two"], []) == [
        ("one", "m:one", a),
        ("two", "m:two", None),
    ]
    assert named_sources(["m:one", "n:two"], [a, b]) == [("one", "m:one", a), ("two", "n:two", b)]
    assert [name for name, *_ in named_sources(["m:one"], [a, b])] == ["one a", "one b"]
    same = [Path("x/w.safetensors"), Path("y/w.safetensors")]
    assert [name for name, *_ in named_sources(["m:one"], same)] == ["one w", "one w #2"]
    with pytest.raises(SecateurError, match="use one way for all"):
        named_sources(["m:one@a.safetensors"], [b])
