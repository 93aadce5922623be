"""What stands in docs/deploy.md runs as it is printed, and says what stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.S | re.M)


def test_it_runs_as_printed(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-W", "error", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (code,) = (block for kind, block in BLOCKS if kind == "python")
    printed, dead, export = (block for kind, block in BLOCKS if not kind)
    assert run("-c", code) == printed
    (prune,) = re.findall(r"^`secateur (prune [^`…]*)` says", TEXT, flags=re.M)
    assert dead in run("-m", "secateur.cli", *prune.split())
    assert "outputs unchanged within" in run(
        "-m", "secateur.cli", *prune.replace("--macs 50%", "--remove-dead -o out/dead").split()
    )
    command = export.replace("\\\n", " ").split()[1:]
    said = run("-m", "secateur.cli", *command)
    assert "model.int8.onnx: " in said and "dcase2022: fits" in said
    assert {p.name for p in (tmp_path / "out" / "export").iterdir()} == {
        *re.findall(r"`((?:model|card)\.[a-z0-9.]+)`", TEXT)
    }


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z0-9-]+", TEXT))))
def test_every_option_is_there(option: str) -> None:
    from typer.main import get_command

    from secateur.cli.main import app

    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    assert any(option in parameter.opts for c in commands for parameter in c.params)
