"""The page docs/benchmarks.md, which several benchmark scripts share: each writes its own section.

A section stands between `<!-- begin NAME -->` and `<!-- end NAME -->` and starts with the command
that made it, the machine, the versions, the commit and the date. `BENCHMARKS_PAGE` in the
environment names another page to write.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(os.environ.get("BENCHMARKS_PAGE") or ROOT / "docs" / "benchmarks.md")
TITLE = """\
# Benchmarks

Every section was written by the command at its head; run it to renew it.
`python benchmarks/page.py` runs them all, one after the other, and draws the summary from them.
The scripts need what `make check` installs.
"""
VERSIONS_OF = ("torch", "torch-pruning")


def write_section(
    name: str, text: str, *, origin: str | None = None, page: Path = PAGE, first: bool = False
) -> None:
    """Replace the section `name` of the page, or append it; a heading at its start stays there.

    `origin` is what `provenance` said when the figures were measured; without it, what it says now.
    A new section goes to the end of the page, or with `first` before all others.
    """
    head, _, rest = text.strip().partition("\n")
    origin = origin or provenance()
    body = f"{head}\n\n{origin}\n{rest}" if head.startswith("#") else f"{origin}\n\n{text.strip()}"
    section = f"<!-- begin {name} -->\n{body.rstrip()}\n<!-- end {name} -->\n"
    before = page.read_text() if page.exists() else TITLE
    at = before.find("<!-- begin ")
    if (place := _place(name)).search(before):
        after = place.sub(lambda _: section, before)
    elif first and at >= 0:
        after = f"{before[:at]}{section}\n{before[at:]}"
    else:
        after = f"{before.rstrip()}\n\n{section}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(after)


def sections_of(text: str) -> dict[str, str]:
    """The sections of a page by name, without their marks."""
    return {found[1]: found[2] for found in _place().finditer(text)}


def _place(name: str | None = None) -> re.Pattern[str]:
    """A section with its marks: the one of this name, or any."""
    shown = r"[^\n]+?" if name is None else re.escape(name)
    return re.compile(rf"<!-- begin ({shown}) -->\n(.*?)<!-- end \1 -->\n", re.S)


def provenance(command: str | None = None) -> str:
    """Where figures come from: command, machine, versions, commit, date, as Markdown."""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {metadata.version(name)}" for name in VERSIONS_OF]
    versions += [f"secateur at {current_commit()}"]
    made = [f"Made by `{command or ran()}` on {datetime.datetime.now(datetime.UTC):%Y-%m-%d}:"]
    made += [f"{cpu_model()}, {os.cpu_count()} cores; {', '.join(versions)}."]
    return "\n".join(made)


def ran() -> str:
    """The command that runs, as one types it in the repository."""
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    return " ".join(["python", str(shown), *sys.argv[1:]])


def cpu_model() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def current_commit() -> str:
    """The commit whose code runs, marked where files differ from it, or "no commit".

    What is written in docs/ changes no figure, so it does not count.
    """
    name = _git("describe", "--always", "--exclude", "*")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{name} with changes" if changed else name or "no commit"


def _git(*asked: str) -> str:
    command = ["git", "-C", str(ROOT), *asked]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
