"""The flow is the layout: imports go one way, and light stages stay light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "secateur"
ORDER = tuple(
    "version errors reading typed files channels criteria analysis plan surgery pruning train "  # noqa: SIM905
    "networks scenes deploy study report testing cli".split()
)
MODULES = sorted(path for path in SOURCE.rglob("*.py"))
LIGHT = ("analysis", "plan", "report")
each = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))


def _stage(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the root, not relative ones"
            assert node.module is not None
            found.add(node.module)
            if node.module == "secateur":
                found |= {f"secateur.{alias.name}" for alias in node.names}
    return found


@each
def test_imports_go_leftwards_only(path: Path) -> None:
    if path.parent == SOURCE and path.stem == "__init__":
        return
    stage = _stage(path)
    own = [name.split(".")[1] for name in _imports(path) if name.startswith("secateur.")]
    later = {name for name in own if ORDER.index(name) > ORDER.index(stage)}
    assert not later, f"{stage} may not import {later}"
    assert "cli" not in own or stage == "cli"
    if stage == "surgery":
        assert "criteria" not in own, "cutting must not know why"


@each
def test_nobody_inside_imports_the_facade(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name != "secateur" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "secateur":
            assert {alias.name for alias in node.names} <= set(ORDER)


@each
def test_light_stages_import_no_torch(path: Path) -> None:
    if _stage(path) in LIGHT:
        heavy = {name for name in _imports(path) if name.split(".")[0] == "torch"}
        assert not heavy


@pytest.mark.parametrize("path", [p for p in MODULES if p.stem == "__init__"], ids=str)
def test_package_files_hold_a_docstring_only(path: Path) -> None:
    if path.parent != SOURCE:
        body = ast.parse(path.read_text()).body
        assert len(body) == 1
        assert isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


@each
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "module",
    [
        "secateur",
        "secateur.channels.cost",
        "secateur.channels.groups",
        "secateur.criteria.scores",
        "secateur.plan.plan",
        "secateur.plan.select",
        "secateur.report.page",
    ],
)
def test_importing_it_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_of_the_facade_is_there_and_listed() -> None:
    import secateur

    assert set(dir(secateur)) == set(secateur.__all__)
    for name in secateur.__all__:
        assert getattr(secateur, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        secateur.nothing  # noqa: B018


@each
def test_every_module_has_its_place_in_the_picture(path: Path) -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    if not path.stem.startswith("__"):
        assert f"{path.name}`" in page, f"docs/architecture.md says nothing of {path.name}"


def test_the_picture_names_no_module_that_is_gone() -> None:
    root = SOURCE.parents[1]
    named = set(re.findall(r"`([a-z_]+/[a-z_]+\.py)`", (root / "docs/architecture.md").read_text()))
    places = (SOURCE, SOURCE.parent, root)
    gone = [name for name in sorted(named) if not any((p / name).exists() for p in places)]
    assert named and not gone
