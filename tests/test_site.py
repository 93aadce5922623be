"""The check of the built site finds every fault it knows; every stage has its page."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = """<!doctype html><html lang="en"><head><title>Here</title>
<link rel="stylesheet" href="style.css"></head><body><p id="place">{}</p></body></html>"""


def check(site: Path) -> tuple[int, str]:
    command = [sys.executable, str(DOCS / "check.py"), str(site)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert not done.stderr
    return done.returncode, done.stdout


def site(folder: Path, body: str, style: str = "p { color: black }") -> Path:
    (folder / "index.html").write_text(PAGE.format(body))
    (folder / "other.html").write_text(PAGE.format(""))
    (folder / "style.css").write_text(style)
    return folder


def test_a_whole_site_passes(tmp_path: Path) -> None:
    body = (
        '<a href="other.html#place">a</a><a href="#place">b</a><a href="style.css">c</a>'
        '<a href="https://example.org/#x">d</a><svg><title>drawing</title></svg>'
    )
    code, said = check(site(tmp_path, body))
    assert code == 0, said


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="gone.html">a</a>', "links to gone.html: there is no such file"),
        ('<a href="other.html#gone">a</a>', "there is no such place on the page"),
        ('<a href="#gone">a</a>', "links to #gone: there is no such place"),
        ('<a href="http://example.org">a</a>', "is to be https"),
        ('<script src="https://example.org/x.js"></script>', "which is elsewhere"),
        ('<img src="//example.org/x.png">', "which is elsewhere"),
        ('<img src="gone.png">', "loads gone.png: there is no such file"),
        ("<style>@import url(https://example.org/f.css)</style>", "which is elsewhere"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, body: str, fault: str) -> None:
    code, said = check(site(tmp_path, body))
    assert code == 1
    assert said.count("\n") == 1 and said.startswith("index.html: ") and fault in said


def test_fonts_languages_titles_and_emptiness_are_seen(tmp_path: Path) -> None:
    made = site(tmp_path, "", 'a { src: url("https://example.org/f.woff2") }')
    (made / "bare.html").write_text("<p>nothing is said")
    code, said = check(made)
    assert code == 1
    assert "style.css: loads https://example.org/f.woff2, which is elsewhere" in said
    assert "bare.html: the page names no language" in said
    assert "bare.html: the page has no title" in said
    (empty := tmp_path / "empty").mkdir()
    code, said = check(empty)
    assert code == 1 and "no page is there" in said


def test_every_stage_has_its_page_in_the_order_of_the_flow() -> None:
    sys.path.insert(0, str(DOCS / "extensions"))
    from python_pages import modules, stages

    listed = re.findall(r"^   (\w+)$", (DOCS / "reference" / "modules.rst").read_text(), re.M)
    assert sorted(listed) == stages()
    for stage in listed:
        assert f".. stage:: {stage}\n" in (DOCS / "reference" / f"{stage}.rst").read_text()
        assert modules(stage)


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    patterns = re.findall(r"^([\w*/-]+)$", index, re.M)
    for page in DOCS.rglob("*.md"):
        name = str(page.relative_to(DOCS).with_suffix(""))
        assert name == "index" or name in patterns or any(Path(name).match(p) for p in patterns)


def test_every_command_has_its_help_and_every_docstring_habit_is_known() -> None:
    sys.path.insert(0, str(DOCS / "extensions"))
    from typer.main import get_command

    from command_pages import commands, help_text
    from docstrings import converted
    from secateur.cli.main import app

    found = list(commands(get_command(app)))
    assert {"secateur", "secateur prune", "secateur scenes train", "secateur study run"} <= {*found}
    said = help_text("secateur prune")
    assert said.startswith("Usage: secateur prune") and "--criterion" in said and "│" not in said
    docstring = [
        "Of |x|.",
        "",
        "    r = 1",
        "",
        "`one`: first",
        "    goes on",
        "`two`: second",
        "End.",
    ]
    assert list(converted(docstring)) == [
        *("Of \\|x\\|.", "", "::", "", "        r = 1", ""),
        *("", "* ``one``: first", "  goes on", "* ``two``: second", "", "End."),
    ]


def test_installing_names_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = re.findall(r"^\| (`[^|]*`) \|", (DOCS / "installing.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", " ".join(table))) == {*project["optional-dependencies"]}
