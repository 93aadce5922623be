"""Do the work of a study that has no row yet, on this machine or a cluster. Loads no torch.

Whoever does the work, one code path keeps the books: rows, failures, events, Ctrl-C, a full disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from secateur.errors import StorageError
from secateur.study.cells import Cell, Unit
from secateur.study.cluster import Cluster, in_cluster
from secateur.study.events import Event
from secateur.study.pool import default_workers, in_pool, in_process
from secateur.study.store import Store
from secateur.study.work import Failure, RunUnit

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """What an execution did, in cells; `skipped` had their rows before. `seconds` by the clock."""

    done: int
    failed: int
    skipped: int
    seconds: float


def execute(
    units: Sequence[Unit],
    store: Store,
    run_unit: RunUnit,
    *,
    workers: int | None = None,
    cluster: Cluster | None = None,
    on_event: OnEvent | None = None,
) -> Outcome:
    """Run every unit with a missing row; what failed before is tried again.

    An exception fails its cell or its unit; a worker that dies has its unit tried once more.
    `workers` None is one a core, if memory holds so many; 0 runs in this process, where `on_event`
    hears of events after every unit, not at once. With a `cluster` that decides how many run.

    Raises:
        StudyError: the folder holds no study, another process runs it, workers cannot start, or
            the cluster cannot be used.
        StorageError: the disk is full; rows written before stand.
        KeyboardInterrupt: Ctrl-C; the message says how to go on.
    """
    began = time.monotonic()
    recipe = store.recipe()
    cells = [cell for unit in units for cell in unit.cells]
    with store.lock():
        missing = [cell for cell in cells if not store.has(cell.id)]
        waiting = [unit for unit in units if not all(store.has(cell.id) for cell in unit.cells)]
        with _listening(store, on_event) as listen:
            if cluster is not None:
                results = in_cluster(waiting, store, run_unit, recipe, cluster)
            elif workers == 0:
                results = in_process(waiting, store, run_unit, recipe)
            else:
                n_workers = min(workers or default_workers(), len(waiting))
                results = in_pool(waiting, store, run_unit, recipe, n_workers)
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
