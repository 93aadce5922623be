"""The first recipe that `secateur study init` writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from recordings import write_recordings
from secateur.cli.main import app
from secateur.errors import DataError, RecipeError
from secateur.study.recipe import read_recipe
from secateur.study.starter import write_starter


def test_without_a_word_it_is_a_recipe_to_put_right(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert write_starter(file) is None
    recipe = read_recipe(file)
    assert recipe.name == "mine"
    assert recipe.data.kind == "folder" and recipe.data.root == tmp_path / "recordings"
    (network,) = recipe.networks
    assert network.kind == "own"
    assert (network.name, network.factory, network.folder) == ("my_net", "my_net:build", tmp_path)
    assert network.arguments == {}
    assert recipe.seeds == 3 and "random" in recipe.pruning.criteria


def test_what_is_said_stands_in_it_with_the_length_of_the_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recordings(tmp_path / "data" / "clips", n=3, seconds=2.54)
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path)
    given = ["study", "init", "studies/mine.yaml", "--data", "data/clips", "--network", "nets.a:f"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "9 recordings of 3 classes: bus 3, park 3, tram 3",
        "wrote studies/mine.yaml; read it, then run: secateur study studies/mine.yaml",
    ]
    text = (tmp_path / "studies" / "mine.yaml").read_text()
    assert 'root: "../data/clips"' in text
    recipe = read_recipe(Path("studies/mine.yaml"))
    assert recipe.data.kind == "folder" and recipe.data.root == tmp_path / "data" / "clips"
    assert recipe.features.settings().seconds == 2.5
    assert [(one.name, one.kind) for one in recipe.networks] == [("a", "own")]


def test_nothing_is_written_over_or_for_what_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious")
    with pytest.raises(RecipeError, match=r"mine\.yaml is there already; name another file"):
        write_starter(file)
    assert file.read_text() == "precious"
    other = tmp_path / "other.yaml"
    with pytest.raises(DataError, match="is no folder; give one that holds a folder per class"):
        write_starter(other, tmp_path / "none")
    with pytest.raises(RecipeError, match=r"'my_net\.py:build' is no factory"):
        write_starter(other, factory="my_net.py:build")
    assert not other.exists()


def test_a_recording_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_recordings(tmp_path / "data", n=2, seconds=0.5)
    broken = sorted((tmp_path / "data").rglob("*.wav"))[1]
    broken.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=rf"cannot decode .*{broken.name}: .*; copy or download"):
        write_starter(tmp_path / "mine.yaml", tmp_path / "data")
    assert not (tmp_path / "mine.yaml").exists()
