"""Say whether what is committed could be released as it is: `make release-check`.

It installs the wheel into an empty venv by constraints.txt, which takes minutes and 1.3 GB under
a temporary folder. Every check is made, whatever the others said.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wheel import ROOT, build, faults

SCRIPTS = Path(__file__).resolve().parent
TYPED = 'import secateur as sc\n\nratio: int = sc.Budget(macs="50%").pruning_ratio\n'
TYPE_SEEN = r'Incompatible types in assignment \(expression has type "float \| None"'


def version() -> str:
    """The version, where it is written."""
    (found,) = re.findall(
        r'^__version__ = "(.+)"$', (ROOT / "src/secateur/version.py").read_text(), re.M
    )
    return str(found)


def headings() -> dict[str, str]:
    """What follows every version of the changelog: a date, or `unreleased`."""
    return dict(re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M))


def check_texts() -> Iterator[str]:
    """Version, changelog and citation agree, and the changelog has a date."""
    now = version()
    if not re.fullmatch(r"\d+\.\d+\.\d+", now):
        yield f"version {now!r} is not three numbers"
    if list(headings())[:1] != [now]:
        yield f"the changelog's first heading is not [{now}]"
    try:
        released = datetime.date.fromisoformat(headings().get(now, ""))
        if released > datetime.datetime.now(tz=datetime.UTC).date():
            yield f"the changelog dates {now} to {released}, which is to come"
    except ValueError:
        yield f"the changelog gives {now} no date, but {headings().get(now)!r}; write today's"
    if f"\nversion: {now}\n" not in (ROOT / "CITATION.cff").read_text():
        yield f"CITATION.cff is not of version {now}"


def check_tree() -> Iterator[str]:
    """All is committed, and the version's tag is not taken."""
    if changed := _out("git", "status", "--porcelain"):
        yield f"not committed: {', '.join(line[3:] for line in changed.splitlines())}"
    if _out("git", "tag", "--list", f"v{version()}"):
        yield f"tag v{version()} is there already; raise the version"


def check_wheel() -> Iterator[str]:
    """The wheel holds the package, installs into an empty venv, works, and brings its types."""
    with tempfile.TemporaryDirectory() as folder:
        _, wheel = build(Path(folder) / "dist")
        yield from faults(wheel)
        venv = Path(folder) / "venv"
        python = str(venv / "bin" / "python")
        _out(sys.executable, "-m", "venv", str(venv))
        constraints = str(ROOT / "constraints.txt")
        _out(python, "-m", "pip", "install", "-q", "-c", constraints, str(wheel), "mypy")
        print(_out(python, "-I", str(SCRIPTS / "smoke.py"), str(venv), cwd=folder).strip())
        (Path(folder) / "typed.py").write_text(TYPED)
        said = _out(python, "-m", "mypy", "--strict", "typed.py", cwd=folder, code=1)
        if not re.search(TYPE_SEEN, said):
            yield f"mypy does not see the types of the installed package: {said}"


def _out(*command: str, cwd: str | Path = ROOT, code: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def main() -> None:
    """Run every check; end with 1 if one found something."""
    checks: tuple[Callable[[], Iterator[str]], ...] = (check_texts, check_tree, check_wheel)
    found = 0
    for check in checks:
        print(f"- {check.__doc__}", flush=True)
        try:
            problems = list(check())
        except RuntimeError as error:
            problems = [str(error)]
        for problem in problems:
            print(f"  NO: {problem}")
        found += len(problems)
    print("ready" if not found else f"not ready: {found} to put right")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
