"""The directive `command-help`: what every command says to `--help`, asked for at build time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from secateur.cli.main import app

WIDTH = 88
"""Columns of a help text: what a page of the site holds without scrolling."""


def commands(command: Any, name: str = "secateur") -> Iterator[str]:
    """Every command line that has a help text, a group before what is in it."""
    yield name
    for child, found in getattr(command, "commands", {}).items():
        yield from commands(found, f"{name} {child}")


def help_text(name: str) -> str:
    """What `name --help` prints, without boxes and colours."""
    plain = {"TYPER_USE_RICH": "0", "NO_COLOR": "1", "COLUMNS": str(WIDTH), "LINES": "24"}
    done = subprocess.run(
        [sys.executable, "-m", "secateur.cli", *name.split()[1:], "--help"],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("python -m secateur.cli", "secateur").strip()


class CommandHelp(SphinxDirective):
    """One section a command, with its help text as it is printed."""

    def run(self) -> list[nodes.Node]:
        """Ask every command."""
        made: list[nodes.Node] = []
        for name in commands(get_command(app)):
            section = nodes.section(ids=[name.replace(" ", "-")], names=[name])
            section += nodes.title(text=name)
            section += nodes.literal_block(text=help_text(name), language="text")
            made.append(section)
        return made


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    sphinx.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
