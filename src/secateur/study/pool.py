"""Work on this machine: in this process, or in worker processes that may die. Loads no torch.

Workers are forked from a server that has torch loaded, use one torch thread each, and end when the
driver ends, however it ends. A script that calls `execute` with one worker or more needs the usual
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from secateur.errors import StudyError, brief
from secateur.study.cells import Unit
from secateur.study.recipe import Recipe
from secateur.study.store import Store
from secateur.study.work import (
    TICK_SECONDS,
    Failure,
    Results,
    RunUnit,
    begin,
    prepare_process,
    work,
)

WORKER_BYTES = 3 << 29
"""Memory counted for a worker process; recipes/esc10-device.yaml was seen to take 1.2 GiB at most.
"""

_TRIES = 2
"""A unit whose worker dies is tried again this often in all."""
_BROKEN_POOLS = 3
"""So many pools may break in a row before the study is given up."""


def default_workers() -> int:
    """A worker a core, but no more than the memory that is free now holds, and at least one."""
    return max(1, min(cores(), available_bytes() // WORKER_BYTES))


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that processes may still take: what the machine has free, within the control group.

    Where the system does not say what is free, all of its memory.
    """
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    group = root / "sys/fs/cgroup"
    limit = _lines(group / "memory.max")
    if limit and limit[0].isdigit():
        used = int(_lines(group / "memory.current")[0])
        cached = [x for x in _lines(group / "memory.stat") if x.startswith("inactive_file ")]
        found.append(int(limit[0]) - used + sum(int(line.split()[1]) for line in cached))
    return max(0, min(found))


def in_process(waiting: Sequence[Unit], store: Store, run_unit: RunUnit, recipe: Recipe) -> Results:
    """Run one unit after the other here, with one torch thread."""
    if not waiting:
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for unit in waiting:
            begin(store, unit)
            yield unit, work(run_unit, unit, store.folder, recipe)
    finally:
        torch.set_num_threads(threads)


def in_pool(
    waiting: Sequence[Unit], store: Store, run_unit: RunUnit, recipe: Recipe, workers: int
) -> Results:
    """Run units in so many processes; one that dies has its unit tried once more.

    Raises:
        StudyError: workers end before they do any work.
    """
    todo = deque(waiting)
    deaths: Counter[str] = Counter()
    broken = 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    while todo:
        pool = ProcessPool(workers, initializer=_start_worker, context=context)
        running: dict[Future[Failure | None], Unit] = {}
        try:
            while todo or running:
                if not pool.active:
                    raise BrokenProcessPool("its threads ended")
                while todo and len(running) < workers:
                    unit = todo[0]
                    begin(store, unit)
                    arguments = (run_unit, unit, store.folder, recipe)
                    running[pool.schedule(work, args=arguments)] = unit
                    todo.popleft()
                for future in wait(running, TICK_SECONDS, FIRST_COMPLETED).done:
                    unit = running[future]
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    del running[future]
                    if isinstance(error, ProcessExpired):
                        deaths[unit.base.id] += 1
                        if deaths[unit.base.id] < _TRIES:
                            todo.append(unit)
                            continue
                    broken = 0
                    yield unit, _died(error) if error else future.result()
                yield None
        except RuntimeError as error:
            if pool.active:
                raise
            broken += 1
            todo.extendleft(running.values())
            if broken == _BROKEN_POOLS:
                raise StudyError(
                    "worker processes end before they do any work; run with workers=0 to see why, "
                    'and guard the calling script with if __name__ == "__main__"'
                ) from error
        finally:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()


def _start_worker() -> None:
    """One torch thread, and an end when the driver ends, even in the middle of a unit."""
    prepare_process(threads=1)
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _died(error: BaseException) -> Failure:
    if isinstance(error, ProcessExpired):
        how = f"signal {-error.exitcode}" if error.exitcode < 0 else f"exit code {error.exitcode}"
        text = f"its worker process died {_TRIES} times ({how}); was memory short?"
        return Failure(text, text)
    return Failure(brief(error), "".join(traceback.format_exception(error)))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
