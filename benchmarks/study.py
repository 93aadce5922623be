"""What running a study costs beside the work itself: overhead, two workers over one, planning.

What two workers gain is held against what the machine gives two processes that share nothing: each
trains a network in a loop of its own.

    python benchmarks/study.py                 print it
    python benchmarks/study.py --write         into docs/benchmarks.md, too
    python benchmarks/study.py --short         a smoke test: few cells, short trainings

The load average stands beside the figures: times by the clock mean little on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sections import write_section

from secateur.study.cells import Unit, units
from secateur.study.execute import execute
from secateur.study.progress import status
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.run import run_unit
from secateur.study.store import Store

EMPTY = {
    "name": "empty",
    "data": {"kind": "synthetic"},
    "networks": [{"kind": "vgg"}],
    "sparsity": {"total_shrink": [0]},
    "pruning": {"criteria": ["l1", "l2"], "scopes": ["uniform"], "ratios": [0.3, 0.5]},
    "seeds": 100,
}
LARGE = EMPTY | {
    "networks": [{"kind": "vgg"}, {"kind": "resnet"}],
    "pruning": {
        "criteria": ["l1", "l2", "gm", "bn_scale"],
        "scopes": ["uniform", "global"],
        "ratios": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    },
    "seeds": 103,
}
REAL = {
    "name": "real",
    "data": {"kind": "synthetic", "n_locations": 8, "clips_per_location": 4},
    "features": {"rate": 16000, "n_fft": 1024, "hop": 512, "n_mels": 32, "seconds": 1.0},
    "networks": [{"kind": "vgg", "width": 8}],
    "sparsity": {"total_shrink": [0]},
    "training": {"epochs": 40, "batch_size": 32},
    "pruning": {
        "criteria": ["l1", "random"],
        "scopes": ["uniform", "global"],
        "ratios": [0.3, 0.5],
    },
    "fine_tuning": {"epochs": 4},
    "seeds": 12,
}
SHORT = {
    "seeds": 2,
    "training": {"epochs": 2, "batch_size": 32},
    "fine_tuning": {"epochs": 1},
}
"""What a smoke test has instead."""
ALONE = """
import sys
import torch
from secateur.networks.vgg import vgg
from secateur.study.work import prepare_process
from secateur.train.fit import fit
from secateur.train.schedule import Training

prepare_process(threads=1)
torch.manual_seed(0)
x, y = torch.randn(240, 1, 32, 32), torch.randint(0, 10, (240,))
print("ready", flush=True)
sys.stdin.readline()
fit(vgg(width=8), x, y, Training(epochs=int(sys.argv[1]), batch_size=32), seed=0)
print("done", flush=True)
"""


def nothing(unit: Unit, folder: Path, recipe: Recipe) -> None:  # noqa: ARG001
    """Write the rows of a unit, and do nothing else."""
    store = Store(folder)
    for cell in unit.cells:
        with store.attempt(cell):
            store.write(cell.id, {"kind": "nothing", "id": cell.id, "accuracy": 0.5})


def opened(folder: Path, mapping: Mapping[str, object]) -> tuple[Store, tuple[Unit, ...]]:
    """A new study."""
    store = Store(folder)
    store.open(recipe_from(mapping))
    return store, units(store.recipe())


def overhead(folder: Path, recipe: Mapping[str, object]) -> list[str]:
    """Milliseconds a cell that does nothing, without the start of the workers."""
    lines = []
    for workers in (0, 1, 2):
        store, work = opened(folder / f"empty{workers}", recipe)
        cpu = time.process_time()
        outcome = execute(work, store, nothing, workers=workers)
        cpu = time.process_time() - cpu
        events = store.events()
        took = events[-1].time - events[0].time
        what = f"{workers} workers" if workers else "in the process itself"
        lines.append(
            f"| {what} | {outcome.done} | {1000 * took / outcome.done:.1f} | "
            f"{1000 * cpu / outcome.done:.1f} | {outcome.seconds - took:.1f} |"
        )
    return lines


def real(folder: Path, recipe: Mapping[str, object]) -> tuple[dict[int, float], dict[int, float]]:
    """Seconds of a small real study, and the share that is no cell's own, by number of workers."""
    seconds, share = {}, {}
    for workers in (1, 2):
        store, work = opened(folder / f"real{workers}", recipe)
        run_features(store)
        outcome = execute(work, store, run_unit, workers=workers)
        assert not outcome.failed
        times = {(event.what, event.id): event.time for event in store.events()}
        own = sum(t - times["start", id] for (what, id), t in times.items() if what == "finish")
        seconds[workers] = outcome.seconds
        share[workers] = 1 - own / (workers * outcome.seconds)
    return seconds, share


def ceiling(epochs: int) -> float:
    """How many times the work of one process two get done in the same time, sharing nothing."""
    took = {}
    for n in (1, 2):
        command = [sys.executable, "-c", ALONE, str(epochs)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, **pipes) for _ in range(n)]  # type: ignore[call-overload]
        for process in processes:
            process.stdout.readline()
        began = time.perf_counter()
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            process.stdout.readline()
        took[n] = time.perf_counter() - began
        for process in processes:
            process.wait()
    return 2 * took[1] / took[2]


def run_features(store: Store) -> None:
    """Make the log-mels, as the command does before it starts workers."""
    from secateur.study.data import features
    from secateur.study.run import FEATURES

    features(store.recipe(), store.folder / FEATURES)


def planning(folder: Path) -> str:
    """Seconds to lay out ten thousand cells with their ids, and to ask how far they are."""
    began = time.perf_counter()
    store, work = opened(folder / "large", LARGE)
    n_cells = len({cell.id for unit in work for cell in unit.cells})
    planned = time.perf_counter()
    status(store, work)
    asked = time.perf_counter()
    took = f"laid out in {planned - began:.2f} s, status in {asked - planned:.2f} s"
    return f"{n_cells:,} cells: {took}."


def main() -> None:
    """Measure, print, and write the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md, too")
    parser.add_argument("--short", action="store_true", help="few cells, short trainings")
    asked = parser.parse_args()
    empty, recipe = (EMPTY | {"seeds": 5}, REAL | SHORT) if asked.short else (EMPTY, REAL)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = [
            "## Running a study",
            "",
            f"Load average of the {os.cpu_count()} cores: {load:.1f} at the start; "
            "2 and more means that other programs took part of the cores.",
            "",
            "| cells that do nothing | cells | ms a cell | ms of driver CPU a cell "
            "| start and end, s |",
            "| --- | --- | --- | --- | --- |",
            *overhead(folder, empty),
            "",
            planning(folder),
        ]
        free = ceiling(5 if asked.short else 60)
        seconds, share = real(folder, recipe)
        n_cells = sum(len(unit.cells) for unit in units(recipe_from(recipe)))
        said += [
            "",
            f"A real study of {n_cells} cells: {seconds[1]:.1f} s by one worker, "
            f"{seconds[2]:.1f} s by two, {seconds[1] / seconds[2]:.2f} times as fast. "
            f"Two processes that share nothing did {free:.2f} times the work of one. "
            f"Outside its cells (start of the workers, data, waiting for the last unit): "
            f"{share[1]:.1%} of one worker's time, {share[2]:.1%} of two's. "
            f"Load average at the end: {os.getloadavg()[0]:.1f}.",
        ]
    text = "\n".join(said)
    print(text)
    if asked.write:
        write_section("study", text)


if __name__ == "__main__":
    main()
