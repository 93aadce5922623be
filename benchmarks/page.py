"""Renew docs/benchmarks.md by running every script that writes a section of it, in turn.

    python benchmarks/page.py                          everything: hours
    python benchmarks/page.py --list                   the sections and the commands behind them
    python benchmarks/page.py --only latency summary   these sections
    python benchmarks/page.py --short --out FOLDER     small and quick, into FOLDER/benchmarks.md

A section that fails is named, the others are written, and the exit code is 1. Run it on a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sections import PAGE, ROOT
from summary import write_summary

ZOO = (
    *("resnet18", "resnet50", "resnet152", "densenet121", "mobilenetv2_100"),
    *("mobilenetv3_large_100", "efficientnet_b0", "regnety_032", "convnext_tiny", "vgg16_bn"),
    *("hrnet_w18_small", "nasnetalarge"),
)
GROWING = (
    *("depth-20", "depth-56", "depth-110", "depth-302", "depth-602", "depth-998"),
    *("width-1", "width-2", "width-4", "width-8"),
    *("chain-40", "chain-80", "chain-160", "chain-320"),
)


@dataclass(frozen=True)
class Section:
    """A script and its arguments; in the short form, or None where that would take minutes."""

    name: str
    script: str
    whole: tuple[str, ...] = ()
    short: tuple[str, ...] | None = None

    def command(self, short: bool, folder: Path) -> list[str]:
        """The arguments of Python."""
        given = self.short if short else self.whole
        return [f"benchmarks/{self.script}", *(one.format(folder=folder) for one in given or ())]


SECTIONS = (
    Section(
        "engine", "engine.py", (*ZOO, *GROWING, "--rounds", "3"), ("--quick", "--out", "{folder}")
    ),
    Section("latency", "latency.py", (), ("vgg", "--rounds", "2")),
    Section("anchors", "anchors.py", (), ("--epochs", "1", "--seeds", "1", "--images", "100")),
    Section("criteria", "criteria.py", ("--rounds", "3")),
    Section("criteria-clusters", "criteria.py", ("--clusters",)),
    Section("features", "features.py", ("--rounds", "5"), ("--rounds", "1")),
    Section("comparison", "comparison.py", (), ("3", "4")),
    Section("study", "study.py", ("--write",)),
)
"""`engine.py` writes how it grows as well. The zoo, the peers, the networks, the generated scenes
and the claims have pages of their own, each with its command."""

SUMMARY = "summary"


def run(section: Section, short: bool, page: Path) -> bool:
    """Run one script; whether it ended well."""
    command = section.command(short, page.parent)
    began = time.monotonic()
    print(f"{section.name}: python {' '.join(command)}", flush=True)
    environment = os.environ | {"SECATEUR_BENCHMARKS": str(page)}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False)
    ended = "done" if done.returncode == 0 else f"FAILED with exit code {done.returncode}"
    print(f"{section.name}: {ended} after {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


def main() -> int:
    names = [*(section.name for section in SECTIONS), SUMMARY]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--short", action="store_true", help="small and quick; needs --out")
    parser.add_argument("--out", type=Path, help="a folder for the page, instead of docs/")
    asked = parser.parse_args()
    if asked.short and asked.out is None:
        parser.error("--short is no measurement for docs/benchmarks.md; give it a folder by --out")
    page = PAGE if asked.out is None else asked.out.resolve() / PAGE.name
    chosen = [section for section in SECTIONS if section.name in asked.only]
    if asked.short:
        chosen = [section for section in chosen if section.short is not None]
    if asked.list:
        for section in chosen:
            print(f"{section.name}: python {' '.join(section.command(asked.short, page.parent))}")
        return 0
    failed = [section.name for section in chosen if not run(section, asked.short, page)]
    if SUMMARY in asked.only and page.exists():
        for missing in write_summary(page):
            print(f"{SUMMARY}: nothing found for: {missing}", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
