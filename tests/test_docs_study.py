"""docs/study.md: its code and commands run as they are printed, on a tiny recipe for its name."""

from __future__ import annotations

import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from doc_pages import ROOT, blocks, commands, python, secateur
from test_study_run import TINY

PAGE = "docs/study.md"
NEED = {"--ray": "ray", "tensorboard": "tensorboard", "mlflow": "mlflow", "import pandas": "pandas"}
NEED |= {"import polars": "polars"}
"""What a command or block needs by what is written in it."""

# Commands of a cluster that somebody has started; tests/test_study_cluster.py runs such.
HERE = [command for command in commands(PAGE) if "--ray" not in command]
CODE = [code for code in blocks(PAGE, "python") if "recipe.yaml" not in code]


def skip_without(text: str) -> None:
    for said, package in NEED.items():
        if said in text and not find_spec(package):
            pytest.skip(f"{package} is not installed, which this needs: {text.split(chr(10))[0]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader stands: the page's recipe, tiny, and its study."""
    home = tmp_path_factory.mktemp("reader")
    (home / "recipes").mkdir()
    tiny = TINY | {"networks": TINY["networks"][:1], "name": "asc-claims"}
    (home / "recipes" / "asc-claims.yaml").write_text(json.dumps(tiny))
    (home / "recipe.yaml").write_text(json.dumps(tiny))
    first = HERE[0]
    assert first == "secateur study recipes/asc-claims.yaml"
    assert "10 cells done, 0 were there, 0 failed" in secateur(first, home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("command", HERE[1:])
def test_commands_run_as_printed(folder: Path, command: str) -> None:
    skip_without(command)
    printed = secateur(command, folder)
    if "status" in command:
        assert re.search(r"^all +10 +0 +0$", printed, flags=re.M)
    elif "track" in command:
        assert printed == "10 runs written, 0 were there: out/asc-claims/tensorboard\n"
    elif "report" in command:
        assert printed.splitlines()[-1] == "out/asc-claims/report.html"
    elif "unpack" in command:
        assert printed == "10 of 10 rows taken over, 0 left: out/again\n"
    elif "pack" in command:
        assert printed == "10 rows written: rows.jsonl.xz\n"
    else:
        assert "10 cells done" in printed
        assert json.loads((folder / "out/pilot/recipe.json").read_text())["training"]["epochs"] == 5


def test_all_commands_are_known_here() -> None:
    verbs = [command.split()[1:3] for command in HERE[1:]]
    assert [" ".join(verb) for verb in verbs] == [
        "study recipes/asc-claims.yaml",
        "study status",
        "report out/asc-claims",
        "study pack",
        "study unpack",
        "study track",
        "study track",
    ]
    inline = re.findall(r"`secateur study schema > ([\w.]+)`", (ROOT / PAGE).read_text())
    assert inline == ["recipe.schema.json"]


@pytest.mark.slow
def test_the_schema_is_written_as_printed(folder: Path) -> None:
    assert json.loads(secateur("secateur study schema", folder)) == json.loads(
        (ROOT / "docs" / "recipe.schema.json").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("code", CODE, ids=[re.findall(r"import (\w+)", code)[-1] for code in CODE])
def test_rows_are_read_as_printed(folder: Path, code: str) -> None:
    skip_without(code)
    shown = re.sub(r"^((?:rows\[|pl\.|Store\().*?)(?:  #.*)?$", r"print(\1)", code, flags=re.M)
    assert shown != code
    printed = python(shown, folder)
    assert "vgg" in printed


@pytest.mark.slow
def test_the_script_runs_as_printed(folder: Path) -> None:
    (script,) = (code for code in blocks(PAGE, "python") if "recipe.yaml" in code)
    shutil.rmtree(folder / "out" / "mine", ignore_errors=True)
    assert "Outcome(done=10, failed=0, skipped=0" in python(script, folder)


@pytest.mark.slow
@pytest.mark.parametrize("query", "".join(blocks(PAGE, "sql")).splitlines()[1:])
def test_queries_run_as_printed(folder: Path, query: str) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed, which asks the rows")
    written = query.replace("'out/", f"'{folder}/out/")
    assert duckdb.sql(written).fetchall()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / PAGE).read_text())
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
