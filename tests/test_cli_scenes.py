"""`secateur scenes prepare`, `train`, `evaluate`: from recordings to a network and its scores."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from secateur.cli.main import main

RATE = 32000
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command in an empty folder: (exit code, what it printed, what went wrong)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def noise(path: Path, k: int, rate: int = RATE) -> None:
    """Coloured noise that says its class, never the same twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(k)
    t = np.arange(rate // 2) / rate
    hum = 0.3 * np.sin(2 * np.pi * (300 + 900 * (k % 3)) * t + rng.uniform(0, 6))
    soundfile.write(path, hum + rng.normal(0, 0.02, len(t)), rate)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three classes, ten recordings of half a second each, in pairs of one place."""
    for label, name in enumerate(("bus", "park", "tram")):
        for take in range(10):
            noise(tmp_path / "clips" / name / f"{take // 2}-{take}.wav", label + 3 * take)
    return tmp_path / "clips"


FAST = ("--seconds", 0.5, "--epochs", 3, "--width", 4, "--lr", 0.05)
PLACES = ("--data", "location=^(.*)-")


def test_prepare_says_what_the_cache_had_and_why_it_was_made(run: Run, clips: Path) -> None:
    asked = ("scenes", "prepare", clips, "--seconds", 0.5, "--json")
    code, out, _ = run(*asked)
    first = json.loads(out)
    assert code == 0 and first["clips"] == 30 and first["classes"] == ["bus", "park", "tram"]
    assert first["folds"] == {"1": 6, "2": 6, "3": 6, "4": 6, "5": 6}
    assert not first["features"]["from_cache"] and first["features"]["shape"] == [1, 64, 51]
    assert first["features"]["why_made"] == "none of these recordings were in the cache"
    file = Path(first["features"]["file"])
    assert file.stat().st_size == first["features"]["bytes"]
    again = json.loads(run(*asked)[1])
    assert again["features"]["from_cache"] and again["features"]["why_made"] == ""
    code, out, _ = run(*asked[:-1])
    assert "all from the cache" in out and out.startswith("clips: 30 clips of 3 classes; fold 1 6,")

    for spoil, words in (
        (lambda: file.with_suffix(".json").unlink(), "half-written"),
        (lambda: file.write_bytes(file.read_bytes()[:-2]), "damaged: its bytes are not those"),
        (lambda: file.with_suffix(".json").write_text("{"), "damaged: it cannot be read"),
    ):
        spoil()
        why = json.loads(run(*asked)[1])["features"]["why_made"]
        assert words in why and "it was made again" in why
    other = json.loads(run(*asked[:-3], "--seconds", 0.4, "--json")[1])["features"]["why_made"]
    assert other == "those in the cache have other settings: seconds 0.5 there, 0.4 here"
    noise(clips / "bus" / "0-0.wav", 99)
    why = json.loads(run(*asked)[1])["features"]["why_made"]
    assert why == "the recordings have changed since those in the cache were made"


def spoil(kind: str, clips: Path) -> None:
    """One fault in clips/park/1-3.wav, or a second one like it."""
    path = clips / "park" / "1-3.wav"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "not audio":
        path.write_bytes(b"RIFFnonsense")
    elif kind == "silent":
        soundfile.write(path, np.zeros(RATE), RATE)
    elif kind == "clipped":
        soundfile.write(path, np.sign(np.random.default_rng(0).normal(size=RATE)), RATE)
    elif kind == "rate":
        noise(path, 500, 16000)
    elif kind == "channels":
        soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, (RATE, 2)), RATE)
    else:
        shutil.copy(clips / "bus" / "0-0.wav", path)


BAD = [
    ("truncated", "is cut off", ()),
    ("empty", "is empty (0 bytes)", ()),
    ("not audio", "cannot decode audio file", ()),
    ("silent", "it is silent", ("--allow", "silent")),
    ("clipped", "it is clipped: ", ("--allow", "clipped")),
    ("rate", "its rate is 16000 Hz, not 32000", None),
    ("channels", "it has 2 channels, not 1", None),
    ("duplicate", "it is a duplicate of 'bus/0-0.wav'", ("--allow", "duplicate")),
]


@pytest.mark.parametrize(("kind", "words", "tolerated"), BAD, ids=[kind for kind, *_ in BAD])
@pytest.mark.parametrize("command", ["prepare", "train", "evaluate"])
def test_each_bad_clip_is_one_error_or_a_listed_skip(
    run: Run, clips: Path, command: str, kind: str, words: str, tolerated: tuple[str, ...] | None
) -> None:
    demands = {"rate": ("--rate", RATE), "channels": ("--mono",)}.get(kind, ())
    how: tuple[object, ...] = ("--seconds", 0.5)
    if command == "train":
        how = FAST
    elif command == "evaluate":
        assert run("scenes", "train", clips, *FAST, "--epochs", 1, "-o", "t", "--json")[0] == 0
        how = ("--source", clips)
    asked = ("scenes", command, *(("t",) if command == "evaluate" else (clips,)), *how, "--json")
    spoil(kind, clips)
    code, out, err = run(*asked, *demands)
    assert code == 2 and not out
    assert "1 of 30 clips are bad, the first is 'park/1-3.wav'" in err and words in err
    assert "--on-bad skip" in err and err.count("secateur:") == 1 and "Traceback" not in err
    code, out, _ = run(*asked, *demands, "--on-bad", "skip")
    answer = json.loads(out)
    (bad,) = (answer if command == "prepare" else answer["prepared"])["skipped"]
    assert code == 0 and bad["name"] == "park/1-3.wav" and words in bad["why"]
    if demands:  # resampled and averaged, unless the user demands otherwise
        assert run(*asked)[0] == 0
    if tolerated:
        assert run(*asked, *tolerated)[0] == 0


def esc(root: Path, rows: list[str]) -> Path:
    (root / "esc").mkdir()
    head = "filename,target,category,fold,freesound_id"
    (root / "esc" / "meta.csv").write_text("\n".join([head, *rows]) + "\n")
    for k in range(20):
        noise(root / "esc" / "audio" / f"{k}.wav", k)
    return root / "esc"


ROWS = [f"{k}.wav,{k % 3},class{k % 3},{k % 5 + 1},{k}" for k in range(20)]
LISTED = [
    ("missing", [*ROWS, "gone.wav,0,class0,1,77"], "gone.wav is not there"),
    ("mislabelled", [*ROWS[:-1], "19.wav,1,class2,5,19"], "target 1 is 'class2' here and 'class1'"),
]


@pytest.mark.parametrize(("kind", "rows", "words"), LISTED, ids=[kind for kind, *_ in LISTED])
@pytest.mark.parametrize("command", ["prepare", "train"])
def test_a_listing_that_names_what_is_not_there(
    run: Run, tmp_path: Path, command: str, kind: str, rows: list[str], words: str
) -> None:
    root = esc(tmp_path, rows)
    asked = ("scenes", command, root, *(FAST if command == "train" else FAST[:2]), "--json")
    code, _, err = run(*asked)
    assert code == 2 and words in err and err.startswith("secateur: ") and err.count("\n") == 1
    code, out, _ = run(*asked, "--on-bad", "skip")
    answer = json.loads(out)
    (bad,) = (answer if command == "prepare" else answer["prepared"])["skipped"]
    assert code == 0 and words in bad["why"]


MISUSE = [
    (("prepare", "absent"), "absent is no folder"),
    (("prepare", "synthetic", "--dataset", "esc50"), "--dataset is for a folder"),
    (("prepare", "--features", "dcase2023"), "features.preset: no choice 'dcase2023'"),
    (("prepare", "--data", "n_location=3"), "data.n_location: no key 'n_location'"),
    (("prepare", "--data", "three"), "--data 'three' is not name=value"),
    (("prepare", "--on-bad", "ignore"), "--on-bad 'ignore': give raise or skip"),
    (("prepare", "--allow", "quiet"), "--allow 'quiet': give silent, clipped, duplicate"),
    (("train", "--network", "vggg"), "no network 'vggg'; there are"),
    (("train", "--augment", "mixpu"), "no kind 'mixpu'"),
    (("train", "--augment", "mixup:p=1"), "no key 'p'"),
    (("train", "--penalty", "bn_l1"), "--penalty is given without --strength"),
    (("train", "--strength", "1"), "--strength is given without --penalty"),
    (("train", "--penalty", "bn_l3", "--strength", "1"), "no penalty 'bn_l3'"),
    (("train", "--arg", "n_classes=4"), "has 3 classes; the labels must be the same"),
    (("train", "--fold", "6"), "clips has no fold 6; its folds are 1, 2, 3, 4, 5"),
    (("train", "--lr", "0"), "training.lr: 0.0 is not allowed"),
    (("train", "-w", "absent.safetensors"), "no file absent.safetensors"),
    (("evaluate", "absent"), "task.json cannot be read"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSE, ids=[words[:30] for _, words in MISUSE])
def test_misuse_is_one_line(run: Run, clips: Path, arguments: tuple[str, ...], words: str) -> None:
    command, *rest = arguments
    if command == "train":
        rest = [str(clips), *map(str, FAST[:4]), *rest]
    code, _, err = run("scenes", command, *rest)
    assert code == 2 and words in err and err.count("secateur:") == 1 and "Traceback" not in err


@pytest.fixture
def trained(run: Run, clips: Path) -> Path:
    code, _, err = run("scenes", "train", clips, *FAST, *PLACES, "--epochs", 6, "-o", "t")
    assert code == 0, err
    return clips.parent / "t"


def test_train_writes_everything_and_the_chain_goes_on(
    run: Run, clips: Path, trained: Path
) -> None:
    scores = json.loads((trained / "scores.json").read_text())
    assert scores["classes"] == ["bus", "park", "tram"] and scores["n"] == 6
    assert scores["macro_accuracy"]["by_clip"]["n_units"] == 6
    assert scores["macro_accuracy"]["by_location"]["n_units"] == 3
    assert len(json.loads((trained / "history.json").read_text())["epochs"]) == 6
    assert "| macro accuracy" in (trained / "scores.md").read_text()
    assert not (trained / "checkpoint.pt").exists()
    with np.load(trained / "calibration.npz") as data:
        assert data["input"].shape == (24, 1, 64, 51) and data["target"].shape == (24,)
    network = ("secateur.networks.vgg:vgg", "--arg", "n_classes=3", "--arg", "width=4")
    code, out, err = run(
        *("prune", *network, "--input", "1x64x51", "-w", trained / "network.safetensors"),
        *("--macs", "60%", "--calibration", trained / "calibration.npz"),
        *("-o", "p", "--json"),
    )
    assert code == 0, err
    assert json.loads(out)["repair"]["n_inputs"] == 24
    code, out, _ = run("scenes", "evaluate", trained, "-w", "p/network.safetensors", "--json")
    answer = json.loads(out)
    before = scores["macro_accuracy"]["value"]
    after = answer["scores"]["macro_accuracy"]["value"]
    assert answer["difference"]["macro_accuracy"]["value"] == pytest.approx(after - before)
    tune = ("--epochs", 2, "--lr", 0.01, "-w", "p/network.safetensors", "--json")
    assert run("scenes", "train", clips, *FAST, *PLACES, *tune, "-o", "alone")[0] == 0
    teacher = ("--teacher", trained / "network.safetensors", "-o", "tuned")
    code, _, err = run("scenes", "train", clips, *FAST, *PLACES, *tune, *teacher)
    assert code == 0, err
    alone, taught = (load_file(Path(f) / "network.safetensors") for f in ("alone", "tuned"))
    assert any(not torch.equal(alone[name], taught[name]) for name in alone)
    cut, tuned = (load_file(Path(folder) / "network.safetensors") for folder in ("p", "tuned"))
    assert {k: v.shape for k, v in cut.items()} == {k: v.shape for k, v in tuned.items()}
    assert any(not torch.equal(cut[name], tuned[name]) for name in cut)
    assert run("scenes", "evaluate", trained, "-w", "tuned/network.safetensors", "-o", "e")[0] == 0
    assert "Beside" in (Path("e") / "scores.md").read_text()
    code, _, err = run(
        "export", *network, "--input", "1x64x51", "-w", "tuned/network.safetensors", "-o", "x"
    )
    assert code == 0, err


def test_evaluate_alone_gives_the_scores_of_the_training(run: Run, trained: Path) -> None:
    code, out, _ = run("scenes", "evaluate", trained, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["scores"] == json.loads((trained / "scores.json").read_text())
    assert "difference" not in answer
    code, _, err = run("scenes", "evaluate", trained, "--dataset", "esc10")
    assert code == 2 and "--dataset says what --source is; give --source, or leave it out" in err


def test_other_labels_are_one_error(run: Run, clips: Path, trained: Path) -> None:
    other = clips.parent / "other"
    shutil.copytree(clips, other)
    shutil.move(other / "tram", other / "train")
    code, _, err = run("scenes", "evaluate", trained, "--source", other)
    assert code == 2 and "'tram' is only there; 'train' is only in the data" in err
    shutil.move(other / "train", clips.parent / "elsewhere")
    code, _, err = run("scenes", "evaluate", trained, "--source", other, "--everything")
    assert code == 2 and "3 classes and the data has 2" in err
    # Weights for two classes fit a factory of three, as if one had been cut away.
    assert run("scenes", "train", other, *FAST, "--epochs", 1, "-o", "two")[0] == 0
    code, _, err = run("scenes", "evaluate", trained, "-w", "two/network.safetensors")
    assert code == 2 and "the data has 3 classes; the labels must be the same" in err
    code, _, err = run("scenes", "train", clips, *FAST, "-w", "two/network.safetensors")
    assert code == 2 and "the labels must be the same" in err
    # A checkpoint of three classes is not gone on from with two.
    (trained / "checkpoint.pt").write_bytes(b"")
    code, _, err = run("scenes", "train", other, *FAST, "-o", trained)
    assert code == 2 and "checkpoint.pt was trained on 3 classes and the data has 2" in err


def test_other_data_of_the_same_labels(run: Run, clips: Path, trained: Path) -> None:
    other = clips.parent / "other"
    for label, name in enumerate(("bus", "park", "tram")):
        for take in range(4):
            noise(other / name / f"{take}.wav", 300 + label + 3 * take)
    asked = ("scenes", "evaluate", trained, "--source", other, "--data", "n_folds=2", "--json")
    assert json.loads(run(*asked)[1])["scores"]["n"] == 6
    assert json.loads(run(*asked, "--everything")[1])["scores"]["n"] == 12
    code, _, err = run("scenes", "evaluate", trained, "--everything")
    assert code == 2 and "clips that were trained on" in err


def test_penalty_mixup_and_a_factory_of_ones_own(run: Run, clips: Path) -> None:
    (clips.parent / "mine.py").write_text(
        "import torch\n"
        "def small(num_classes, hidden=4):\n"
        "    return torch.nn.Sequential(\n"
        "        torch.nn.Conv2d(1, hidden, 3, 2), torch.nn.BatchNorm2d(hidden), torch.nn.ReLU(),\n"
        "        torch.nn.Conv2d(hidden, hidden, 3, 2), torch.nn.AdaptiveAvgPool2d(1),\n"
        "        torch.nn.Flatten(), torch.nn.Linear(hidden, num_classes))\n"
    )
    code, out, err = run(
        *("scenes", "train", clips, "--seconds", 0.5, "--epochs", 2, "--network", "mine:small"),
        *("--arg", "hidden=6", "--augment", "mixup:alpha=0.2", "--augment", "gain", "-o", "m"),
        *("--penalty", "bn_l1_proximal", "--strength", 0.1),
    )
    sys.modules.pop("mine", None)
    assert code == 0, err
    assert "secateur prune mine:small --arg hidden=6 --arg num_classes=3 --input 1x64x51" in out
    assert load_file("m/network.safetensors")["0.weight"].shape == (6, 1, 3, 3)


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_the_same(run: Run, clips: Path) -> None:
    asked = [*FAST, "--epochs", 200, "--batch-size", 4]
    command = [sys.executable, "-m", "secateur.cli", "scenes", "train", str(clips)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, *map(str, asked), "-o", "killed"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        ends = time.monotonic() + 120
        while not Path("killed/checkpoint.pt").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert Path("killed/checkpoint.pt").exists() and not Path("killed/scores.json").exists()
    code, _, err = run("scenes", "train", clips, *asked, "-o", "killed")
    assert code == 0 and "going on from killed/checkpoint.pt" in err
    first = next(line for line in err.splitlines() if line.startswith("epoch"))
    assert int(first.split("/")[0].removeprefix("epoch")) > 1
    assert run("scenes", "train", clips, *asked, "-o", "whole")[0] == 0
    killed, whole = (load_file(f"{name}/network.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_generated_scenes_need_nothing(run: Run) -> None:
    few = ("--data", "n_locations=4", "--data", "clips_per_location=1", "--data", "n_folds=2")
    code, out, err = run("scenes", "train", *few, *FAST, "--epochs", 1, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["prepared"]["clips"] == 40 and answer["scores"]["n"] == 20
    assert Path("out/train/network.safetensors").is_file()
