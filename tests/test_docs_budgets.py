"""What docs/budgets.md says of the command line; its code is run by test_docs_code.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "docs" / "budgets.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, flags=re.S | re.M)


def test_the_refusal_is_the_one_printed(tmp_path: Path) -> None:
    (command,) = re.findall(r"^`secateur (prune [^`]*)` says", TEXT, flags=re.M)
    done = subprocess.run(
        [sys.executable, "-m", "secateur.cli", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert any(done.stderr == block for _, block in BLOCKS)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"--[a-z][a-z-]+", TEXT))))
def test_every_option_is_there(option: str) -> None:
    from typer.main import get_command

    from secateur.cli.main import app

    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    assert any(option in parameter.opts for c in commands for parameter in c.params)
