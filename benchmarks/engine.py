"""Secateur and torch-pruning side by side, on one thread, by turns, in one run.

    python benchmarks/engine.py                  run what this commit lacks, then write the page
    python benchmarks/engine.py --table          write the page from the rows there are
    python benchmarks/engine.py --quick          a smoke test on three small networks
    python benchmarks/engine.py resnet18 …       only these

Every network runs in processes of its own with a time limit; its row is appended to
out/benchmarks/engine.jsonl under network and commit, so that a stopped run goes on. Needs timm (not
torchvision) and torch-pruning; memory is measured on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine_page import growth_page, networks_page
from growing_networks import SERIES
from sections import PAGE, ROOT, current_commit, provenance, write_section

NETWORKS = [
    "resnet18",
    "resnet50",
    "resnet152",
    "densenet121",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "efficientnet_b0",
    "regnety_032",
    "convnext_tiny",
    "vgg16_bn",
    "hrnet_w18_small",
    "nasnetalarge",
    "eca_nfnet_l0",
]
GROWING = [f"{family}-{size}" for family, sizes in SERIES.items() for size in sizes]
QUICK = ["test_resnet", "depth-20", "chain-40"]
PROCESS_LIMIT = 900
"""Seconds that one process may take."""

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; default: all")
    parser.add_argument("--quick", action="store_true", help="a few small networks, few rounds")
    parser.add_argument("--table", action="store_true", help="write the page and run nothing")
    parser.add_argument("--out", type=Path, help="folder of rows and page, instead of docs/")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help="repetitions; default 7, with --quick 2")
    asked = parser.parse_args()
    rounds = asked.rounds or (2 if asked.quick else 7)
    if asked.child:
        child(asked.child, asked.names[0], rounds)
        return
    quick = ROOT / "out" / "benchmarks" / "quick" if asked.quick else None
    folder = asked.out or quick or ROOT / "out" / "benchmarks"
    page = PAGE if folder == ROOT / "out" / "benchmarks" else folder / "benchmarks.md"
    store = folder / "engine.jsonl"
    names = asked.names or (QUICK if asked.quick else NETWORKS + GROWING)
    if not asked.table:
        command = " ".join(["python benchmarks/engine.py", *sys.argv[1:]])
        run_all(names, store, rounds, provenance(command))
    found = stored(store)
    if not found:
        sys.exit(f"no rows in {store}; run python benchmarks/engine.py first")
    commit = found[-1]["commit"]
    rows = {row["name"]: row for row in found if row["commit"] == commit}
    ordered = [rows[name] for name in [*NETWORKS, *GROWING, *QUICK] if name in rows]
    ordered += [row for row in rows.values() if row not in ordered]
    origin = found[-1]["origin"]
    write_section("engine", networks_page(ordered), origin=origin, page=page)
    write_section("engine growth", growth_page(rows), origin=origin, page=page)
    say(f"wrote {page}")


def run_all(names: list[str], store: Path, rounds: int, origin: str) -> None:
    """Measure the networks without a row of this commit and as many rounds.

    Rows of a changed tree do not count.
    """
    commit = current_commit()
    clean = "changes" not in commit
    known = [row for row in stored(store) if row["commit"] == commit and clean]
    done = {row["name"]: row for row in known if row["rounds"] >= rounds}
    for k, name in enumerate(names):
        if name in done:
            continue
        say(f"{k + 1} of {len(names)}: {name} …")
        row = {"name": name, "commit": commit, "origin": origin, "rounds": rounds}
        row |= measure(name, rounds, done)
        done[name] = row
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("a") as file:
            file.write(json.dumps(row) + "\n")
        say(summary(row))


def measure(name: str, rounds: int, done: Mapping[str, Row]) -> Row:
    """Everything about one network; each part in a process of its own."""
    began = time.monotonic()
    family, _, size = name.partition("-")
    if family in SERIES:
        smaller = [done.get(f"{family}-{n}", {}) for n in SERIES[family] if n < int(size)]
        failures = [row.get("growth", {}).get("theirs") for row in smaller]
        failure = next((f"not tried, {f}" for f in failures if isinstance(f, str)), None)
        row = process("growth-alone" if failure else "growth", name, rounds)
        if failure and isinstance(row.get("growth"), dict):
            row["growth"]["theirs"] = failure.replace("not tried, not tried", "not tried")
    else:
        row = process("network", name, rounds)
        for side in ("ours", "theirs"):
            for part, figures in process(side, name, rounds).items():
                row.setdefault(part, {}).update(figures)
    return row | {"clock_seconds": round(time.monotonic() - began, 1)}


def process(what: str, name: str, rounds: int) -> Row:
    """Run one part in a fresh process, and gather what it gave until its end, whatever that was."""
    command = [sys.executable, __file__, "--child", what, "--rounds", str(rounds), name]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as running:
        try:
            out, err = running.communicate(timeout=PROCESS_LIMIT)
            failure = f"crash: {(err.strip().splitlines() or ['?'])[-1][:160]}"
        except subprocess.TimeoutExpired:
            running.kill()
            out, _ = running.communicate()
            failure = f"> {PROCESS_LIMIT} s"
        except KeyboardInterrupt:
            running.kill()
            raise
    row: Row = {}
    for line in out.splitlines():
        if line.startswith('{"'):
            row |= json.loads(line)
    return row if running.returncode == 0 else row | {f"failed {what}": {"why": failure}}


def child(what: str, name: str, rounds: int) -> None:
    """The work of one process."""
    import engine_measures

    def emit(part: Row) -> None:
        print(json.dumps(part), flush=True)

    if what == "network":
        engine_measures.examine(name, rounds, emit)
    elif what in ("growth", "growth-alone"):
        engine_measures.examine_growth(name, rounds, what == "growth", emit)
    else:
        engine_measures.first_use(name, what, emit)


def stored(store: Path) -> list[Row]:
    """All rows, oldest first; a line cut short by a kill is left out."""
    if not store.exists():
        return []
    return [json.loads(line) for line in store.read_text().splitlines() if line.endswith("}")]


def summary(row: Row) -> str:
    """One line of progress."""
    told = [f"{part} {figures}" for part in ("trace", "growth") if (figures := row.get(part))]
    if prune := row.get("prune"):
        told.append(f"prune { ({side: prune.get(side) for side in ('ours', 'theirs')}) }")
    told += [f"{part}: {figures['why']}" for part, figures in row.items() if "failed" in part]
    return f"  {row['clock_seconds']} s; " + "; ".join(told)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
