"""Build the sdist, and the wheel out of the sdist, and say what is wrong with what the wheel holds.

.venv/bin/python scripts/wheel.py FOLDER
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "secateur"
MUST_HOLD = (
    "secateur/py.typed",
    "secateur/study/demo.yaml",
    "secateur/report/templates/study.html.j2",
    ".dist-info/licenses/LICENSE",
    ".dist-info/licenses/NOTICE",
)


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist and the wheel, written to `folder`; the wheel is made of the sdist alone."""
    _hatchling("sdist", folder, cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        (source,) = Path(unpacked).iterdir()
        _hatchling("wheel", folder, cwd=source)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def faults(wheel: Path) -> list[str]:
    """What the wheel should hold and does not, and what it should not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    source = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    wanted = {f"secateur/{path.relative_to(PACKAGE).as_posix()}" for path in source}
    held = {name for name in names if name.startswith("secateur/")}
    found = [f"{name} is missing" for name in sorted(wanted - held)]
    found += [f"{name} is not of the source" for name in sorted(held - wanted)]
    found += [f"{end} is missing" for end in MUST_HOLD if not any(n.endswith(end) for n in names)]
    strange = [name for name in names if name not in held and ".dist-info/" not in name]
    return found + [f"{name} lies outside the package" for name in strange]


def _hatchling(target: str, folder: Path, cwd: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"no {target} could be built:\n{done.stderr}")


def main() -> None:
    """Build into the folder that is named, and list the faults."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sdist, wheel = build(folder)
    found = faults(wheel)
    print("\n".join([str(sdist), str(wheel), *found]))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
