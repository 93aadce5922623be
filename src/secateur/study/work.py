"""What a worker of any kind does with a unit, and what it answers. Loads no torch."""

from __future__ import annotations

import ctypes
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from secateur.errors import StorageError, brief
from secateur.study.cells import Unit
from secateur.study.recipe import Recipe
from secateur.study.store import Store

RunUnit = Callable[[Unit, Path, Recipe], None]
"""Writes the rows of a unit that are missing to the store in that folder; importable by name."""

TICK_SECONDS = 0.2
"""So often a driver looks at the events."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""


@dataclass(frozen=True)
class Failure:
    """Why a unit did not come to its end; `no_room`: no other could be kept either."""

    error: str
    traceback: str
    no_room: bool = False


Results = Generator[tuple[Unit, Failure | None] | None, None, None]
"""A unit that came to its end, or None: time to look at the events."""


def work(run_unit: RunUnit, unit: Unit, folder: Path, recipe: Recipe) -> Failure | None:
    """Run a unit; answer with what went wrong, as plain text that always crosses processes."""
    try:
        run_unit(unit, folder, recipe)
    except StorageError as error:
        return Failure(str(error), traceback.format_exc(), no_room=True)
    except Exception as error:
        return Failure(brief(error), traceback.format_exc())
    return None


def begin(store: Store, unit: Unit) -> None:
    """Forget the failures of a unit that is tried again."""
    for cell in unit.cells:
        store.forgive(cell.id)


def prepare_process(threads: int) -> None:
    """Give torch so many threads in this process of a worker, and have it keep freed memory."""
    import torch

    torch.set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Have glibc keep freed blocks: giving them back costs every training step page faults."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in ((_MMAP_THRESHOLD, 1 << 30), (_TRIM_THRESHOLD, 1 << 30)):
            libc.mallopt(option, value)
