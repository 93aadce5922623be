"""The code blocks of a page, and running them as they are printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a page of the docs, of one language ("" for none) or all."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), flags=re.S | re.M)
    return [code for kind, code in fenced if language in (None, kind)]


def commands(page: str) -> list[str]:
    """The commands of secateur in a page's blocks without language, comments taken off."""
    lines = "".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("secateur ")]


def secateur(command: str, folder: Path) -> str:
    """Run a command of secateur in a folder; what it printed. It must end with 0."""
    return run([sys.executable, "-m", "secateur.cli", *shlex.split(command)[1:]], folder)


def python(code: str, folder: Path) -> str:
    """Run code in a folder, as a script, so that its workers find it; what it printed."""
    script = folder / "page.py"
    script.write_text(code)
    return run([sys.executable, "-W", "error", str(script)], folder)


def run(command: list[str], folder: Path) -> str:
    environment: dict[str, Any] = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
