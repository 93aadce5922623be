"""Plant one fault after another in the engine and say which tests see it.

    .venv/bin/python scripts/mutations.py          # all, by every quick test of the engine
    .venv/bin/python scripts/mutations.py --first  # by the most telling tests, 20 s a fault
    .venv/bin/python scripts/mutations.py --only pad-other-end --only seed-not-set
    .venv/bin/python scripts/mutations.py --list

The faults are in scripts/faults.py. The files that git tracks are copied into a temporary folder,
and of the tests there those of channels/ and surgery/ that `make quick` runs, until one fails that
passes without the fault. A test that takes more than 120 s with it hangs, which counts. The exit
code is 1 if any fault survived.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parent.parent
HANGS = 120  # seconds: a quick test takes ten at most, and the machine may be busy
GIVE_UP = 3600  # seconds for all tests together

PASSED, FAILED, NOT_COLLECTED, NO_TESTS = 0, 1, 2, 5
"""Exit codes of pytest; it stops with the third where a file of tests cannot be imported."""


def copy_into(folder: Path) -> None:
    """The repository's tracked files, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def files_for(fault: Fault) -> list[str]:
    """All test files of the engine, the most telling first."""
    every = [p.stem for kind in ("channels", "surgery") for p in _tests(kind)]
    first = [f"test_{name}" for name in fault.first]
    return [f"tests/{name}.py" for name in dict.fromkeys([*first, *every])]


def _tests(kind: str) -> list[Path]:
    return sorted((ROOT / "tests").glob(f"test_{kind}_*.py"))


def pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run quick tests in a copy of the repository until one fails: exit code, and what was said."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", f"--timeout={HANGS}"]
    command = [sys.executable, "-m", "pytest", *options, "-m", "not slow and not nightly"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=GIVE_UP,
    )
    if done.returncode not in (PASSED, FAILED, NOT_COLLECTED, NO_TESTS):
        sys.exit(f"pytest did not end (exit code {done.returncode}):\n{done.stdout[-2000:]}")
    return done.returncode, done.stdout


def verdict(fault: Fault, folder: Path, failing: list[str], *, first: bool) -> tuple[str, str]:
    """`caught`, `SURVIVED` or `NOT DECIDED`, and by what; `folder` is a copy of the repository.

    Tests that fail without any fault see nothing: they are added to `failing` and left out. With
    `first` only the files that a fault names are tried.
    """
    files = files_for(fault)
    runs = [files[: len(fault.first)]]  # few files start sooner
    runs += [] if first else [files[len(fault.first) :]]
    while runs:
        try:
            code, said = _planted(fault, folder, *runs[0], *(f"--deselect={t}" for t in failing))
        except subprocess.TimeoutExpired:
            return "NOT DECIDED", f"no test failed in {GIVE_UP} s"
        if code in (PASSED, NO_TESTS):
            runs.pop(0)
            continue
        name = next(iter(re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.M)), "")
        if not name:
            sys.exit(f"{fault.name}: no failing test is named:\n{said[-2000:]}")
        if pytest(folder, name)[0] == PASSED:
            return "caught", f"{name}{', which hangs' if 'from pytest-timeout' in said else ''}"
        failing.append(name)
    return "SURVIVED", fault.breaks


def _planted(fault: Fault, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run tests with the fault in place."""
    place = folder / "src" / "secateur" / fault.file
    whole = place.read_text()
    if whole.count(fault.text) != 1:
        sys.exit(f"{fault.name}: {fault.text!r} does not stand once in {fault.file}")
    place.write_text(whole.replace(fault.text, fault.replacement))
    try:
        return pytest(folder, *arguments)
    finally:
        place.write_text(whole)
        shutil.copystat(ROOT / place.relative_to(folder), place)


def chosen() -> tuple[list[Fault], bool]:
    """The faults that the command line asks for, and whether only the first files are tried."""
    parser = argparse.ArgumentParser(description="Plant faults, and see which tests fail.")
    known = {fault.name: fault for fault in FAULTS}
    parser.add_argument("--only", action="append", metavar="NAME", choices=known, default=[])
    parser.add_argument("--first", action="store_true", help="try the files that faults name only")
    parser.add_argument("--list", action="store_true", help="say what there is, run nothing")
    asked = parser.parse_args()
    if asked.list:
        for fault in FAULTS:
            print(f"{fault.name:32} {fault.file}: {fault.breaks}")
        sys.exit()
    return [known[name] for name in asked.only] or list(FAULTS), asked.first


def main() -> None:
    """Plant what is asked for and print a line for each."""
    (faults, first), lost = chosen(), 0
    failing: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        copy_into(Path(folder))
        for fault in faults:
            start = time.monotonic()
            found, by = verdict(fault, Path(folder), failing, first=first)
            lost += found != "caught"
            print(f"{found:9} {fault.name:32} {time.monotonic() - start:5.0f} s  {by}", flush=True)
    print(f"{len(faults) - lost} of {len(faults)} caught")
    if failing:
        print("left out, as they fail without any fault:", *failing)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
