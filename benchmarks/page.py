"""Renew docs/benchmarks.md: run every script that writes a section of it, then draw the summary.

    python benchmarks/page.py                        all of it, which takes an hour or more
    python benchmarks/page.py --only engine study    these, and the summary
    python benchmarks/page.py --only summary         the summary alone, from the page as it is
    python benchmarks/page.py --list                 what there is, with its commands
    python benchmarks/page.py --short --out FOLDER   a smoke test, into FOLDER/benchmarks.md

Scripts run one after the other. One that fails is named, the others go on, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sections import PAGE, ROOT, sections_of, write_section
from summary import summary

sys.path.insert(0, str(ROOT / "tests"))


@dataclass(frozen=True)
class Job:
    """A script of this folder: the sections it writes, its command, and its smoke test.

    In the smoke test {out} is the folder of the page. `needs_data` says that it reads the images
    and weights of `tests/real_networks.py`, and is skipped without them.
    """

    name: str
    sections: tuple[str, ...]
    command: str
    short: str
    needs_data: bool = False


JOBS = (
    Job("engine", ("engine", "engine growth"), "engine.py --rounds 3",
        "engine.py --quick --rounds 1 --out {out}"),
    Job("latency", ("latency",), "latency.py", "latency.py --short"),
    Job("anchors", ("anchors",), "anchors.py", "anchors.py --short", needs_data=True),
    Job("criteria", ("criteria",), "criteria.py --rounds 3",
        "criteria.py --rounds 1 --network test_resnet"),
    Job("criteria-clusters", ("criteria-clusters",), "criteria.py --clusters",
        "criteria.py --clusters --images 32", needs_data=True),
    Job("features", ("features",), "features.py --rounds 5", "features.py --rounds 1"),
    Job("planning", ("planning",), "planning.py", "planning.py test_resnet"),
    Job("comparison", ("comparison",), "comparison.py", "comparison.py 3 4"),
    Job("study", ("study",), "study.py --write", "study.py --write --short"),
)  # fmt: skip
ELSEWHERE = {
    "networks.py": "docs/networks.md",
    "zoo.py": "docs/zoo.md, hours",
    "synthesis.py": "docs/synthesis.md, hours",
    "papers/tables.py": "docs/papers.md",
    "peers.py": "docs/peers.md, an environment for every package",
    "device_tables.py": "docs/scenes.md, from a study that has been run",
}
"""Scripts that write other pages, and so have no part in this one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [*(job.name for job in JOBS), "summary"]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help="; ".join(names))
    parser.add_argument("--list", action="store_true", help="say what there is and run nothing")
    parser.add_argument("--short", action="store_true", help="a smoke test; needs --out")
    parser.add_argument("--out", type=Path, help="folder of the page, instead of docs/")
    asked = parser.parse_args()
    if asked.list:
        print(listed())
        return
    if asked.short and not asked.out:
        parser.error("--short gives figures that mean nothing; give --out FOLDER for them")
    page = (asked.out / "benchmarks.md").resolve() if asked.out else PAGE
    jobs = [job for job in JOBS if not asked.only or job.name in asked.only]
    failed = run_all(jobs, page, short=asked.short)
    failed += draw(page, loud=not asked.only)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def listed() -> str:
    """Every section with its commands, and the scripts of other pages."""
    lines = []
    for job in JOBS:
        lines += [f"{', '.join(job.sections)}: {job.command}", f"    short: {job.short}"]
    lines += ["of other pages:", *(f"    {name}: {where}" for name, where in ELSEWHERE.items())]
    return "\n".join(lines)


def run_all(jobs: Sequence[Job], page: Path, *, short: bool) -> list[str]:
    """Run the jobs, saying what each took; the names of those that failed."""
    failed = []
    page.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"BENCHMARKS_PAGE": str(page)}
    for k, job in enumerate(jobs, start=1):
        told = f"{k} of {len(jobs)}: {job.name}"
        if job.needs_data and not data_at_hand():
            say(f"{told}: skipped, its images and weights are not at hand")
            continue
        command = (job.short if short else job.command).format(out=page.parent)
        say(f"{told}: {command} …")
        began = time.monotonic()
        script, *rest = command.split(" ")
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / script), *rest], env=environment, check=False
        )
        said = f"exit code {done.returncode}" if done.returncode else "done"
        if done.returncode:
            failed.append(job.name)
        say(f"{told}: {said}, {time.monotonic() - began:.0f} s")
    return failed


def data_at_hand() -> bool:
    """Whether the published weights and images are where tests look for them."""
    from real_networks import DATA

    return (DATA / "weights").is_dir() and (DATA / "cifar10").is_dir()


def draw(page: Path, *, loud: bool = True) -> list[str]:
    """Write the summary in front of the page; "summary" if the page has no figure for it.

    `loud` says which lines have no figures, as those of sections that were not asked for.
    """
    if not page.exists():
        return ["summary"]
    others = {f"{name}.md": (ROOT / "docs" / f"{name}.md").read_text() for name in ("peers", "zoo")}
    text, missing = summary(sections_of(page.read_text()) | others)
    for line in missing * loud:
        say(f"left out of the summary: {line}")
    write_section("summary", text, page=page, first=True)
    say(f"wrote {page}")
    return []


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
