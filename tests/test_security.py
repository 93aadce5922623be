"""What SECURITY.md promises: nothing is unpickled or evaluated, the network is not used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "secateur"
TREES = {
    path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text())
    for path in SOURCE.rglob("*.py")
}
UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
NETWORK_MODULES = {"socket", "urllib", "http", "requests", "httpx", "ftplib", "smtplib", "ssl"}
EVALUATING = {"eval", "exec", "compile", "__import__"}
UNSAFE_YAML = {
    f"yaml.{name}" for name in ("load", "load_all", "Loader", "FullLoader", "UnsafeLoader")
}
SHELLS = {"os.system", "os.popen", "pty.spawn"}
READS_A_RAY_CLUSTER = "study/cluster.py"
"""Where --ray asks whether the address that was given answers."""


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, object]]]:
    """Every call of a dotted name, with the keywords whose values are constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            given = {k.arg: k.value for k in node.keywords if k.arg}
            constants = {n: v.value for n, v in given.items() if isinstance(v, ast.Constant)}
            yield ast.unparse(node.func), constants


def unsafe(tree: ast.AST) -> list[str]:
    """What in a module could run code that came with a file."""
    found = [name for name in imported(tree) if name in UNSAFE_MODULES]
    found += [
        name
        for name in (ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute))
        if name in UNSAFE_YAML
    ]
    for name, given in calls(tree):
        last = name.split(".")[-1]
        if name in EVALUATING | SHELLS or given.get("shell") is True:
            found.append(name)
        if last == "load" and name.startswith("torch") and given.get("weights_only") is not True:
            found.append(name)
        if name == "np.load" and given.get("allow_pickle") is not False:
            found.append(name)
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "yaml.load(text, Loader)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert unsafe(ast.parse(code))


@pytest.mark.parametrize("path", TREES)
def test_no_module_could_run_code_that_came_with_a_file(path: str) -> None:
    assert unsafe(TREES[path]) == []


def test_only_the_cluster_uses_the_network() -> None:
    users = {path for path, tree in TREES.items() if NETWORK_MODULES & set(imported(tree))}
    assert users == {READS_A_RAY_CLUSTER}


def test_code_is_imported_by_name_in_two_places_only() -> None:
    """The façade imports its own modules; factories come from the command line or a recipe."""
    importing = {
        name for name, tree in TREES.items() if any("import_module" in of for of, _ in calls(tree))
    }
    assert importing == {"__init__.py", "networks/factory.py"}
    asking = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "secateur.networks.factory"
    }
    stages = {name.split("/")[0] for name in asking}
    assert stages <= {"networks", "study", "cli"}
    assert not asking & {"study/store.py", "study/rows.py", "study/archive.py"}


def test_a_session_works_without_sockets_and_unpickling(tmp_path: Path) -> None:
    script = Path(__file__).with_name("offline_session.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
    assert (tmp_path / "study" / "report.html").is_file()
