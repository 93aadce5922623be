"""The fenced blocks of a Markdown page, and the page as one script.

A page is a script: its Python blocks run in order, in one namespace and one folder. What a reader
does not see says what is different, in a comment on the line before a block:

    <!-- not run: REASON -->    the block cannot run as it stands; its imports must still work
    <!-- run -->                the commands of this block are run too, where they stand
    <!-- not held: REASON -->   what is printed below the block differs from run to run

A Python block whose first line is `# NAME.py` (and more, if you like) is a file of that name: it
is written to the folder, and run on its own if the rest of the line says `python NAME.py`. A block
without a language straight below another, or below one word, `prints`, is what that one printed.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
END = "\x1e"
"""Printed behind every block, so that what each printed can be told apart."""

_FENCE = re.compile(r"^```([\w{}-]*)\n(.*?)^```$", re.S | re.M)
_MARK = re.compile(r"<!-- (run|not run|not held)(?:: ([^>]+?))? -->\n\s*\Z")
_FILE = re.compile(r"# (\w+\.py)\b(.*)")
_OUTPUT = re.compile(r"\s*(prints\s*)?\Z")

_PRELUDE = (
    "def _commands(lines):\n"
    "    import subprocess, sys\n"
    "    for line in lines:\n"
    "        sys.stdout.flush()\n"
    "        done = subprocess.run([sys.executable, *line], stdout=subprocess.PIPE, text=True)\n"
    "        print(done.stdout, end='')\n"
    "        if done.returncode: sys.exit(f'{line} returned {done.returncode}')\n"
)


@dataclass(frozen=True)
class Block:
    """One fenced block: where its code begins, what precedes it, and what it should print."""

    page: Path
    line: int
    language: str
    code: str
    mark: str | None = None
    reason: str | None = None
    printed: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is, if its first line names one."""
        found = _FILE.match(self.code) if self.language == "python" else None
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        """Whether it is code that is run, or a file that is written."""
        return self.mark == "run" or (self.language == "python" and self.mark != "not run")

    def commands(self) -> list[str]:
        """Command lines of the block, continued lines joined."""
        if self.language not in ("", "sh", "bash"):
            return []
        lines = self.code.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.startswith(("secateur ", "  secateur "))]


def pages() -> list[Path]:
    """The README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, each with the block of its output attached; outputs are no blocks."""
    text = page.read_text()
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        between = text[end : fence.start()]
        end = fence.end()
        language, code = fence.groups()
        if found and not language and not found[-1].printed and _OUTPUT.fullmatch(between):
            last = found.pop()
            found.append(Block(**{**vars(last), "printed": code}))
            continue
        mark, reason = None, None
        if said := _MARK.search(between):
            mark, reason = said.groups()
        line = text.count("\n", 0, fence.start(2)) + 1
        found.append(Block(page, line, language, code, mark, reason))
    return found


def arguments(command: str) -> list[str]:
    """The arguments of a `secateur` command line, without a comment behind it."""
    import shlex

    words = shlex.split(command, comments=True)[1:]
    return words[: words.index("|")] if "|" in words else words


def script(page: Path) -> str:
    """The page as a script, every block on its own lines so that tracebacks name the page's."""
    lines = [""] * (page.read_text().count("\n") + 2)
    lines[0] = f"exec({_PRELUDE!r})"
    for block in blocks(page):
        if not block.runs:
            continue
        if block.file:
            code = _file(block)
        elif block.language == "python":
            code = block.code.splitlines()
        else:
            made = [["-m", "secateur.cli", *arguments(line)] for line in block.commands()]
            code = [f"_commands({made!r})"]
        lines[block.line - 1 : block.line - 1 + len(code)] = code
        lines[block.line - 1 + block.code.count("\n")] = f"print({END!r}, end='')"
    return "\n".join(lines) + "\n"


def _file(block: Block) -> Iterator[str] | list[str]:
    found = _FILE.match(block.code)
    assert found
    written = f"__import__('pathlib').Path({found[1]!r}).write_text({block.code!r})"
    run = [f"_commands([[{found[1]!r}]])"] if f"python {found[1]}" in found[2] else []
    return [written, *run]


def imports(code: str) -> str:
    """The import statements of a block, wherever they stand."""
    found = re.findall(r"^(?:from .+ )?import .+$", textwrap.dedent(code), re.M)
    return "\n".join(found)
