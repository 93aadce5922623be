"""The wheel holds what the source holds, and works from another folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

pytest.importorskip("hatchling", reason="the extra dev is not installed")
from wheel import build, faults  # noqa: E402


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def test_it_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    assert faults(built[1]) == []


@pytest.mark.parametrize(
    "lost", ["secateur/py.typed", "secateur/study/demo.yaml", "secateur/report/templates/study.css"]
)
def test_a_lost_file_is_a_fault(built: tuple[Path, Path], tmp_path: Path, lost: str) -> None:
    less = tmp_path / built[1].name
    with zipfile.ZipFile(built[1]) as whole, zipfile.ZipFile(less, "w") as part:
        for name in whole.namelist():
            if name != lost:
                part.writestr(name, whole.read(name))
        part.writestr("tests/test_toys.py", "")
    found = faults(less)
    assert f"{lost} is missing" in found and "tests/test_toys.py lies outside the package" in found


@pytest.mark.slow
def test_it_works_where_only_its_dependencies_are(built: tuple[Path, Path], tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    subprocess.run([*pip, "--no-index", built[1]], check=True)
    (site,) = venv.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [python, "-I", ROOT / "scripts" / "smoke.py", venv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
