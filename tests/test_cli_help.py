"""What every command has in common: light help that fits a screen, --json, version, completion."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from secateur.cli.main import app
from secateur.version import __version__

ROOT = Path(__file__).parent.parent
COLUMNS, LINES = 100, 50
"""A screen."""
PRINTS_JSON_ANYWAY = {("study", "schema")}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and group of commands, with its words."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(get_command(app)))
each = pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "secateur")


def dependencies() -> set[str]:
    """The distributions that pyproject.toml asks for at run time, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [
        *project["dependencies"],
        *(r for name in extras if name != "dev" for r in extras[name]),
    ]
    return {canonicalize_name(Requirement(text).name) for text in asked}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "secateur.cli", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("pages", "needs"),
    [
        ([()], {"typer", "rich"}),
        (list(COMMANDS), {"typer", "rich", "pydantic"}),  # by which typer reads a command's options
    ],
    ids=["secateur", "every command"],
)
def test_help_loads_next_to_nothing(pages: list[tuple[str, ...]], needs: set[str]) -> None:
    code = (
        "import sys; from secateur.cli.main import main\n"
        f"for words in {pages!r}:\n"
        "    sys.argv = ['secateur', *words, '--help']\n"
        "    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage") == len(pages)
    of = packages_distributions()
    loaded = {canonicalize_name(d) for name in done.stderr.split() for d in of.get(name, [])}
    assert "typer" in loaded and loaded & dependencies() <= needs


@each
def test_help_fits_a_screen(path: tuple[str, ...]) -> None:
    # Typer reads the width once, when it is imported; so this needs a process of its own.
    done = run(*path, "--help", TERMINAL_WIDTH=str(COLUMNS), NO_COLOR="1")
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    assert "…" not in done.stdout.replace(", …", ""), "an option's name or text is cut off"


@each
def test_what_prints_results_prints_them_as_json_too(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    options = {option for parameter in command.params for option in parameter.opts}
    is_group = hasattr(command, "commands")
    assert ("--json" in options) != (is_group or path in PRINTS_JSON_ANYWAY)


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("secateur pr", ["prune"]), ("secateur prune --ma", ["--macs", "--max-ratio"])],
)
def test_a_shell_completes_commands_and_options(typed: str, offered: list[str]) -> None:
    code = "from secateur.cli.main import app; app(prog_name='secateur')"
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"_SECATEUR_COMPLETE": "complete_bash"} | words,
    )
    assert done.stdout.split() == offered
