"""`secateur scenes check`, ESC-50 and a folder per class."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.cli.main import main
from secateur.errors import DataError
from secateur.scenes.datasets import esc50
from secateur.scenes.folders import folder_per_class

ROOT = Path(__file__).parent.parent
TAU = ROOT / os.environ.get("SECATEUR_DATA", "../shared/data") / "tau"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["secateur", "scenes", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def esc(tmp_path: Path) -> Path:
    """An ESC-50 of the right counts whose files hold one byte."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta").mkdir()
    with (tmp_path / "meta" / "esc50.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        for fold in range(1, 6):
            for target in range(50):
                for take in range(8):
                    name = f"{fold}-{fold}{target:02}{take}-A-{target}.wav"
                    row = [name, fold, target, f"class{target}", target < 10]
                    writer.writerow([*row, f"{fold}{target:02}{take}", "A"])
                    (tmp_path / "audio" / name).write_bytes(b".")
    return tmp_path


def test_a_whole_esc50(
    esc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = esc50(esc)
    assert len(scenes.clips) == 2000 and len(scenes.classes) == 50
    assert scenes.folds == (1, 2, 3, 4, 5) and scenes.classes[7] == "class7"
    assert run(monkeypatch, esc) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("esc50 in ") and shown.endswith("complete\n") and "2,000" in shown


def test_what_is_missing_is_named(
    esc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((esc / "audio").iterdir())
    for file in files[:7]:
        file.unlink()
    files[9].write_bytes(b"")
    assert run(monkeypatch, esc, "--dataset", "esc50") == 1
    shown = capsys.readouterr().out
    assert "missing audio: 7\n" in shown and "and 2 more" in shown and "empty audio: 1" in shown
    assert shown.endswith("incomplete: 8 problems\n")
    assert run(monkeypatch, esc, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["complete"] is False and len(answer["problems"]) == 8
    assert {problem["what"] for problem in answer["problems"][:7]} == {
        f"audio/{file.name}" for file in files[:7]
    }
    with pytest.raises(DataError, match="is not there; copy or download"):
        esc50(esc)


def test_a_wrong_count_is_named(
    esc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = esc / "meta" / "esc50.csv"
    listing.write_text("\n".join(listing.read_text().splitlines()[:-1]) + "\n")
    assert run(monkeypatch, esc) == 1
    shown = capsys.readouterr().out
    assert "target 49: 39 rows, and ESC-50 has 40" in shown and "fold 5: 399 rows" in shown


def test_checksums(
    esc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"audio/{file.name}" for file in sorted((esc / "audio").iterdir())[:3]]
    right = hashlib.sha256(b".").hexdigest()
    sums = esc / "sums"
    sums.write_text(f"{right}  {names[0]}\n{hashlib.md5(b'.').hexdigest()} *{names[1]}\n")
    assert run(monkeypatch, esc, "--checksums", sums) == 0
    sums.write_text(f"{right}  {names[0]}\n{right[::-1]}  {names[1]}\n{right}  gone.wav\n")
    assert run(monkeypatch, esc, "--checksums", sums) == 1
    shown = capsys.readouterr().out
    assert f"  {names[1]}: its content is another" in shown and "gone.wav" in shown
    sums.write_text("not a checksum\n")
    assert run(monkeypatch, esc, "--checksums", sums) == 2
    assert run(monkeypatch, esc, "--checksums", esc / "absent") == 2


def test_misuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, tmp_path / "absent") == 2
    assert run(monkeypatch, tmp_path) == 2
    assert run(monkeypatch, tmp_path, "--dataset", "tau2021") == 2
    assert run(monkeypatch, tmp_path, "--dataset", "tau2020") == 1


@pytest.mark.skipif(not TAU.is_dir(), reason=f"the genuine metadata of TAU is not at {TAU}")
def test_the_genuine_2020(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = tmp_path / "evaluation_setup"
    setup.mkdir()
    shutil.copy(TAU / "2020_meta.csv", tmp_path / "meta.csv")
    shutil.copy(TAU / "2020_fold1_train.csv", setup / "fold1_train.csv")
    assert run(monkeypatch, tmp_path, "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["dataset"] == "tau2020"
    kinds = [problem["kind"] for problem in answer["problems"]]
    assert kinds.count("missing listing") == 1 and kinds.count("missing audio") == 23035
    assert len(kinds) == 23036
    shutil.copy(TAU / "2020_fold1_test.csv", setup / "fold1_evaluate.csv")
    (tmp_path / "audio").mkdir()
    for line in (TAU / "2020_meta.csv").read_text().splitlines()[1:]:
        (tmp_path / line.split("\t")[0]).write_bytes(b".")
    assert run(monkeypatch, tmp_path, "--dataset", "tau2020") == 0
    assert "    6,105  clips in neither list" in capsys.readouterr().out


def folders(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("bus", "park"):
        (root / name).mkdir()
        for k in range(6):
            path = root / name / f"{name}{k // 2}_{k}.flac"
            soundfile.write(path, rng.normal(0, 0.1, 400), 8000)


def test_a_folder_per_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders(tmp_path)
    (tmp_path / "park" / "notes.txt").touch()
    scenes = folder_per_class(tmp_path, n_folds=3, location_of=lambda p: p.stem.split("_")[0])
    assert scenes.classes == ("bus", "park") and len(scenes.clips) == 12
    assert scenes.left_out == {"not audio": 1} and scenes.folds == (1, 2, 3)
    assert {clip.location for clip in scenes.clips if clip.label} == {"park0", "park1", "park2"}
    for fold in scenes.folds:
        assert sum(clip.fold == fold for clip in scenes.clips) == 4
    assert scenes.read(scenes.clips[0])[0].shape == (400,)
    assert run(monkeypatch, tmp_path) == 0
    assert "6  clips of park" in capsys.readouterr().out
    (tmp_path / "tram").mkdir()
    assert run(monkeypatch, tmp_path) == 1
    with pytest.raises(DataError, match=r"class folder .*tram holds no audio file"):
        folder_per_class(tmp_path)
    with pytest.raises(DataError, match="n_folds=1"):
        folder_per_class(tmp_path, 1)
    with pytest.raises(DataError, match="holds 0 folders"):
        folder_per_class(tmp_path / "tram")


SPLITS = {5: 6980, 10: 13960, 25: 34900}


@pytest.mark.skipif(not TAU.is_dir(), reason=f"the genuine metadata of TAU is not at {TAU}")
def test_the_genuine_reduced_lists_of_2024(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = tmp_path / "evaluation_setup"
    setup.mkdir()
    shutil.copy(TAU / "2022_fold1_test.csv", setup / "fold1_evaluate.csv")
    for share in SPLITS:
        shutil.copy(TAU / f"2024_split{share}.csv", setup / f"split{share}.csv")
    assert run(monkeypatch, tmp_path, "--dataset", "tau2022", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    for share, n in SPLITS.items():
        assert answer["counts"][f"clips in split{share}.csv"] == n
    assert not [p for p in answer["problems"] if "split" in p["what"]]
    assert "clips in split50.csv" not in answer["counts"]
    assert not [note for note in answer["notes"] if "split" in note or "evaluate" in note]
    # Half of the list, of which no genuine one is at hand: told, and not held against the set.
    rows = (setup / "split25.csv").read_text().splitlines()
    (setup / "split50.csv").write_text("\n".join(rows) + "\n")
    (setup / "split10.csv").write_text("\n".join(rows[:101]) + "\n")
    assert run(monkeypatch, tmp_path, "--dataset", "tau2022", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    found = {(p["kind"], p["what"]): p["words"] for p in answer["problems"] if "split" in p["what"]}
    assert found["count", "split10.csv"] == "100 clips, and the genuine list has 13960"
    assert "clips of the next smaller list" in found["no part of the list", "split10.csv"]
    assert ("count", "split50.csv") not in found
    (note,) = [note for note in answer["notes"] if note.startswith("split50.csv")]
    assert "69810 clips are expected" in note and "(34900 are listed)" in note


def test_a_reduced_list_beyond_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setup = tmp_path / "evaluation_setup"
    setup.mkdir()
    rows = [f"audio/bus-oslo-{k}-7-0-a.wav\tbus" for k in range(4)]
    for name, some in (("fold1_train", rows[:2]), ("fold1_evaluate", rows[3:]), ("split5", rows)):
        (setup / f"{name}.csv").write_text("\n".join(["filename\tscene_label", *some]) + "\n")
    assert run(monkeypatch, tmp_path, "--dataset", "tau2022") == 1
    shown = capsys.readouterr().out
    assert "split5.csv: 2 clips are not in evaluation_setup/fold1_train.csv" in shown
    assert "note: evaluation_setup/fold1_train.csv: that there should be 139620 clips" in shown


def test_esc10_is_recognised_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "audio").mkdir()
    lines = ["filename,target,category,fold,freesound_id"]
    for fold in range(1, 6):
        for target in range(10):
            for take in range(8):
                name = f"{fold}-{target}{take}.ogg"
                lines.append(f"{name},{target},class{target},{fold},{fold}{target}{take}")
                (tmp_path / "audio" / name).write_bytes(b".")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    assert run(monkeypatch, tmp_path) == 0
    assert capsys.readouterr().out.startswith("esc10 in ")
    (tmp_path / "meta.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert run(monkeypatch, tmp_path) == 1
    assert "target 9: 39 rows, and ESC-10 has 40" in capsys.readouterr().out
