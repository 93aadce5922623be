"""List the places in src/ that make one of our errors and that no test reaches.

    .venv/bin/python scripts/raised.py                         # the quick tests
    .venv/bin/python scripts/raised.py tests/test_plan_select.py

Every error of ours notes where it was made, in this process and in all that it starts; the rest
is reading the source. Nothing is traced, so the tests run at their usual speed.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "secateur"

# Python imports this file at its start, in every process that inherits PYTHONPATH.
SITECUSTOMIZE = """
import os
import sys

from secateur.errors import SecateurError


def _note(self, *args):
    frame = sys._getframe(1)
    with open(os.environ["SECATEUR_RAISED"], "a") as notes:
        notes.write(f"{frame.f_code.co_filename}:{frame.f_lineno}\\n")
    Exception.__init__(self, *args)


SecateurError.__init__ = _note
"""


class Site(NamedTuple):
    """One call of an error class."""

    path: str
    line: int
    error: str


def error_names() -> set[str]:
    """Every class of the family, read from errors.py."""
    tree = ast.parse((SOURCE / "errors.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def sites() -> list[Site]:
    """Every place in src/ that makes an error of the family."""
    names, found = error_names(), []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in names:
                found.append(Site(str(path.relative_to(ROOT)), called.lineno, called.id))
    return found


def reached(pytest_arguments: list[str]) -> set[tuple[str, int]]:
    """Path and line of every error made while the tests run."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes.txt"
        notes.touch()
        (Path(folder) / "sitecustomize.py").write_text(SITECUSTOMIZE)
        path = os.pathsep.join([folder, str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "SECATEUR_RAISED": str(notes)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, *pytest_arguments], cwd=ROOT, env=environment, check=False)
        if done.returncode not in (0, 1):  # all passed, some failed
            sys.exit(f"the tests did not end (exit code {done.returncode}): nothing can be said")
        pairs = (line.rsplit(":", 1) for line in set(notes.read_text().splitlines()))
        return {(os.path.relpath(name, ROOT), int(line)) for name, line in pairs}


def main() -> None:
    """Run the tests and print what they did not reach."""
    seen = reached(sys.argv[1:] or ["-m", "not slow and not nightly"])
    missed = [site for site in sites() if (site.path, site.line) not in seen]
    for site in missed:
        print(f"{site.path}:{site.line} {site.error}")
    print(f"{len(sites()) - len(missed)} of {len(sites())} places reached")


if __name__ == "__main__":
    main()
