"""The README's commands and links are there; its code is run by test_docs_code.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.S | re.M)
    return [code for kind, code in fenced if kind == language]


def test_commands_named_are_there() -> None:
    shell = "\n".join(blocks(""))
    targets = set(re.findall(r"^make (\w+)", shell, flags=re.M))
    assert targets == {"demo", "test"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, flags=re.M) for target in targets)
    commands = set(re.findall(r"^secateur (\w+)", shell, flags=re.M))
    assert commands == {"inspect", "prune", "scenes", "study", "report"}
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "secateur.cli", command, "--help"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0
    assert all((ROOT / path).exists() for path in re.findall(r"recipes/\w+\.yaml", shell))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
