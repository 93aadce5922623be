"""Do the work of a study that has no row yet, in worker processes that may die. Loads no torch.

Workers are forked from a server that has torch loaded, use one torch thread each, and end when the
driver ends, however it ends. A script that calls `execute` with two workers or more needs the usual
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from secateur.errors import StorageError, StudyError, brief
from secateur.study.cells import Cell, Unit
from secateur.study.recipe import Recipe
from secateur.study.store import Event, Store

RunUnit = Callable[[Unit, Path, Recipe], None]
"""Writes the rows of a unit that are missing to the store in that folder; importable by name."""
OnEvent = Callable[[Event], None]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""
_TICK_SECONDS = 0.2
_TRIES = 2
"""A unit whose worker dies is tried again this often in all."""
_BROKEN_POOLS = 3
"""So many pools may break in a row before the study is given up."""


@dataclass(frozen=True)
class Outcome:
    """What an execution did, in cells; `skipped` had their rows before. `seconds` by the clock."""

    done: int
    failed: int
    skipped: int
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why a unit did not come to its end."""

    error: str
    traceback: str
    no_room: bool = False


def execute(
    units: Sequence[Unit],
    store: Store,
    run_unit: RunUnit,
    *,
    workers: int | None = None,
    on_event: OnEvent | None = None,
) -> Outcome:
    """Run every unit with a missing row; what failed before is tried again.

    An exception fails its cell or its unit; a worker that dies has its unit tried once more.
    `workers` None is one a core; 0 or 1 runs in this process. `on_event` hears of every event,
    in this process after every unit.

    Raises:
        StudyError: the folder holds no study, another process runs it, or workers cannot start.
        StorageError: the disk is full; rows written before stand.
        KeyboardInterrupt: Ctrl-C; the message says how to go on.
    """
    began = time.monotonic()
    recipe = store.recipe()
    cells = [cell for unit in units for cell in unit.cells]
    with store.lock():
        missing = [cell for cell in cells if not store.has(cell.id)]
        waiting = [unit for unit in units if not all(store.has(cell.id) for cell in unit.cells)]
        n_workers = min(cores() if workers is None else workers, len(waiting))
        with _listening(store, on_event) as listen:
            if n_workers <= 1:
                results = _in_process(waiting, store, run_unit, recipe)
            else:
                results = _in_pool(waiting, store, run_unit, recipe, n_workers)
            try:
                for result in results:
                    if result is not None:
                        _conclude(store, *result)
                    listen()
            except KeyboardInterrupt:
                results.close()
                how = f"stopped; {_tally(store, cells)}; run the same command again to go on"
                with suppress(StorageError):
                    store.log("stop", text=how)
                raise KeyboardInterrupt(how) from None
            except StorageError as error:
                results.close()
                raise StorageError(f"{error} ({_tally(store, cells)})") from error
            finally:
                results.close()
    left = [cell for cell in missing if not store.has(cell.id)]
    return Outcome(
        done=len(missing) - len(left),
        failed=len(left),
        skipped=len(cells) - len(missing),
        seconds=time.monotonic() - began,
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Results = Generator[tuple[Unit, Failure | None] | None, None, None]
"""A unit that came to its end, or None: time to look at the events."""


def _in_process(
    waiting: Sequence[Unit], store: Store, run_unit: RunUnit, recipe: Recipe
) -> Results:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for unit in waiting:
            _begin(store, unit)
            yield unit, _work(run_unit, unit, store.folder, recipe)
    finally:
        torch.set_num_threads(threads)


def _in_pool(
    waiting: Sequence[Unit], store: Store, run_unit: RunUnit, recipe: Recipe, workers: int
) -> Results:
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
                    _begin(store, unit)
                    arguments = (run_unit, unit, store.folder, recipe)
                    running[pool.schedule(_work, args=arguments)] = unit
                    todo.popleft()
                for future in wait(running, _TICK_SECONDS, FIRST_COMPLETED).done:
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


def _work(run_unit: RunUnit, unit: Unit, folder: Path, recipe: Recipe) -> Failure | None:
    """Run a unit; answer with what went wrong, as plain text that always crosses processes."""
    try:
        run_unit(unit, folder, recipe)
    except StorageError as error:
        return Failure(str(error), traceback.format_exc(), no_room=True)
    except Exception as error:
        return Failure(brief(error), traceback.format_exc())
    return None


def _start_worker() -> None:
    """One torch thread, and an end when the driver ends, even in the middle of a unit."""
    import torch

    torch.set_num_threads(1)
    _keep_freed_memory()
    threading.Thread(target=_end_with_driver, daemon=True).start()


def _keep_freed_memory() -> None:
    """Have glibc keep freed blocks: giving them back costs every training step page faults."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, 1 << 30)):
            libc.mallopt(option, value)


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


def _begin(store: Store, unit: Unit) -> None:
    for cell in unit.cells:
        store.forgive(cell.id)


def _conclude(store: Store, unit: Unit, failure: Failure | None) -> None:
    """Record a failure for every cell of the unit that has neither row nor failure by now."""
    if failure is not None and failure.no_room:
        raise StorageError(failure.error)
    if failure is None and store.has_failed(unit.base.id):
        failure = Failure(f"its base network {unit.base.id} failed", "")
    elif failure is None:
        failure = Failure("the work came to its end without writing this row", "")
    for cell in unit.cells:
        if not store.has(cell.id) and not store.has_failed(cell.id):
            store.fail(cell, failure.error, failure.traceback)


def _tally(store: Store, cells: Sequence[Cell]) -> str:
    done = sum(store.has(cell.id) for cell in cells)
    return f"{done} of {len(cells)} rows are in {store.folder}"


@contextmanager
def _listening(store: Store, on_event: OnEvent | None) -> Iterator[Callable[[], None]]:
    """Pass on events from now on, each time the function is called and once more at the end."""
    offset = store.events_from(0)[1]

    def listen() -> None:
        nonlocal offset
        if on_event is not None:
            events, offset = store.events_from(offset)
            for event in events:
                on_event(event)

    try:
        yield listen
    finally:
        listen()
