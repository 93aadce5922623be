"""Every block of code in the README and docs/ runs as printed; every command line is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from markdown_blocks import END, ROOT, Block, arguments, blocks, imports, pages, script
from secateur.cli.main import app

ELSEWHERE = {
    "docs/study.md": "tests/test_docs_study.py runs it",
    "docs/own-study.md": "tests/test_docs_own_study.py runs it",
}
PAGES = [page for page in pages() if str(page.relative_to(ROOT)) not in ELSEWHERE]
BLOCKS = [block for page in PAGES for block in blocks(page)]
NOT_RUN = [block for block in BLOCKS if block.mark == "not run"]
COMMANDS = [(block, line) for block in BLOCKS for line in block.commands()]
IN_TEXT = [
    (page, line)
    for page in PAGES
    for line in re.findall(r"`(secateur [a-z][^`]*)`", page.read_text().replace("\n", " "))
]
"""Commands in running text, where `…` stands for what was said before."""

GREETING = r"^(\[Gloo\]|\d+ is connected to \d+ peer ranks).*\n"
"""What two processes of torch 2.8 say at once."""


def name(of: Any) -> str:
    return str(of.relative_to(ROOT)) if isinstance(of, Path) else str(of)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page.stem == "tutorial" else (), id=name(page))
        for page in PAGES
        if any(block.runs for block in blocks(page))
    ],
)
def test_a_page_runs_and_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    ran = [block for block in blocks(page) if block.runs]
    code = tmp_path / f"{page.stem}_page.py"  # no name of Python's own
    code.write_text(script(page))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(code)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.split(END)
    assert len(said) == len(ran) + 1
    for block, printed in zip(ran, said, strict=False):
        if block.printed is not None and block.mark != "not held":
            printed = re.sub(GREETING, "", printed, flags=re.M)
            assert printed == block.printed, f"{block} prints something else"


@pytest.mark.parametrize("block", NOT_RUN, ids=name)
def test_a_block_that_cannot_run_says_why_and_can_be_imported(block: Block) -> None:
    assert block.reason and len(block.reason.split()) > 1
    if block.language == "python":
        compile(block.code, str(block), "exec")
        for line in imports(block.code).splitlines():
            try:
                exec(line, {})
            except ModuleNotFoundError as error:  # of another's package; ours must be there
                assert error.name and not error.name.startswith("secateur"), f"{block}: {line}"
    pytest.skip(f"{block} is not run: {block.reason}")


def test_marks_are_spelled_right() -> None:
    for page in PAGES:
        marks = re.findall(r"<!-- (?:run|not (?:run|held)).*-->", page.read_text())
        assert len(marks) == sum(block.mark is not None for block in blocks(page)), page


@pytest.mark.parametrize(("block", "line"), COMMANDS, ids=name)
def test_a_command_line_is_one(block: Block, line: str) -> None:
    parse(get_command(app), arguments(line), "secateur")


def parse(command: Any, given: list[str], name: str, parent: Any = None) -> None:
    """Read the arguments as the command would, down to the last command, and run nothing."""
    context = command.make_context(name, list(given), parent=parent)
    if hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        found, inner, rest = command.resolve_command(context, rest)
        parse(inner, rest, found, context)


@pytest.mark.parametrize(("page", "line"), IN_TEXT, ids=name)
def test_a_command_in_the_text_and_its_options_are_there(page: Path, line: str) -> None:
    command = get_command(app)
    for word in line.split()[1:]:
        command = getattr(command, "commands", {}).get(word, command)
    assert command.name != "secateur", f"no such command in {name(page)}: {line}"
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    asked = re.findall(r"(?<=\s)--?[a-z][\w-]*", line)
    run = getattr(command, "commands", {}).get("run")  # `study RECIPE` is `study run RECIPE`
    known |= {option for p in run.params for option in p.opts} if run else set()
    assert set(asked) <= known | {"--help"}, f"{name(page)}: {line}"


TAUGHT = [*pages(), *sorted((ROOT / "examples").glob("*.py")), *(ROOT / "examples").glob("*.ipynb")]

EXPLAIN_THE_PARTS = {"labels-and-proof.md"}
"""Pages on what happens inside a cut; all others that cut show the one call first."""

GONE = ("sc.settle", "plan_to_budget", "sc.remember", "sc.cut_optimizer")
"""How cuts were made before there was one call."""


@pytest.mark.parametrize("page", TAUGHT, ids=lambda path: path.name)
def test_whoever_cuts_is_shown_the_one_call_first(page: Path) -> None:
    text = page.read_text()
    assert not [name for name in GONE if name in text]
    first = text.find("sc.cut(")
    if first >= 0 and page.name not in EXPLAIN_THE_PARTS:
        assert 0 <= text.find("sc.prune(") < first
