"""A study's folder: one row a cell, written once and atomically; a kill loses no row.

recipe.json              the resolved recipe
runs/<id>/result.json    the row of a finished cell, beside its artefacts
failed/<id>.json         the last failure of a cell that has no row
events.jsonl             start, finish and fail of every attempt, with the time
lock                     held by the process that runs the study
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from secateur.errors import ReadError, StorageError, StudyError, brief
from secateur.files import as_csv, tidy, write_json, write_text
from secateur.reading import read_json
from secateur.study.cells import Cell
from secateur.study.events import Event, cut_off, read_events
from secateur.study.parse import read_mapping
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.rows import Row as Row  # its place for those who read a store
from secateur.study.rows import fault, flat

BASE_FAILED = "its base network failed"
"""Why a cut has no row when there was nothing to cut."""

NETWORK_FAILED = "the network it deploys failed"
"""Why a deployment has no row when there was nothing to deploy."""

MOST_ROW = 1 << 22
"""Bytes of a row, 4 MiB."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_GRID = {
    ("networks",),
    ("sparsity", "total_shrink"),
    ("pruning", "criteria"),
    ("pruning", "scopes"),
    ("pruning", "ratios"),
    ("pruning", "fewer_macs"),
    ("pruning", "from_scratch"),
    ("pruning", "round_to"),
    ("pruning", "repair"),
    ("deployment",),
    ("deployment", "calibration"),
    ("runs",),
    ("seeds",),
    ("description",),
    ("left_out",),
    ("data", "root"),
}
"""What of a recipe may change in a study's folder: which cells there are, words, paths."""


class Store:
    """The rows and events of one study. Making one touches no file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events = folder / "events.jsonl"

    # Recipe

    def open(self, recipe: Recipe) -> None:
        """Begin the study of `recipe` here, or go on with it.

        A recipe that only adds or removes cells replaces the one that stands here, and so does any
        other while there is no row; finished cells keep their rows.

        Raises:
            StudyError: the folder holds another study, or files that are no study.
            StorageError: the folder cannot be written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise StudyError(f"{self.folder} is a file; name a folder for the study")
        file = self.folder / "recipe.json"
        if file.exists():
            there = self.recipe()
            if there == recipe:
                return
            changed = _changed(there, recipe)
            if changed and any(self.folder.glob("runs/*/result.json")):
                raise StudyError(
                    f"{self.folder} holds a study with other settings ({'; '.join(changed)}); "
                    "name another folder, or put these settings back"
                )
        elif self.folder.exists() and set(self.folder.glob("[!.]*")) - {self.folder / "lock"}:
            raise StudyError(
                f"{self.folder} holds files but no study (no recipe.json); name an empty folder"
            )
        with self.lock():
            write_json(file, recipe.model_dump(mode="json"))

    def recipe(self) -> Recipe:
        """The recipe of the study in this folder.

        Raises:
            StudyError: there is no study here.
            RecipeError: the recipe does not fit this version.
        """
        file = self.folder / "recipe.json"
        if not file.is_file():
            raise StudyError(
                f"{self.folder} holds no study (no recipe.json); run a recipe into it first"
            )
        return recipe_from(read_mapping(file), folder=self.folder, where=str(file))

    # Rows

    def path(self, id: str) -> Path:
        """Folder of a cell's row and artefacts; made when something is written to it."""
        return self.folder / "runs" / id

    def has(self, id: str) -> bool:
        """Whether the cell has its row."""
        return (self.path(id) / "result.json").exists()

    def write(self, id: str, row: Mapping[str, Any]) -> None:
        """Write a cell's row, whole or not at all; a row that stands is kept.

        Raises:
            StudyError: the row names another id, or holds what is not JSON.
            StorageError: it could not be written.
        """
        if row.get("id") != id:
            raise StudyError(
                f"the row of cell {id} has id {row.get('id')!r}; give it that of the cell"
            )
        if not self.has(id):
            try:
                write_json(self.path(id) / "result.json", dict(row))
            except (ValueError, TypeError) as error:
                raise StudyError(
                    f"the row of cell {id} is not JSON: {error}; "
                    "give finite numbers, text, lists and mappings"
                ) from error
        self.forgive(id)

    def row(self, id: str) -> Row:
        """The row of a finished cell.

        Raises:
            StudyError: there is none, or the file is torn or foreign.
        """
        return self._row(self.path(id) / "result.json", id)

    def written(self, id: str) -> float:
        """When the row of a finished cell was written, in seconds since 1970."""
        return (self.path(id) / "result.json").stat().st_mtime

    def rows(self, cells: Iterable[Cell] | None = None) -> tuple[Row, ...]:
        """The rows of the finished ones of `cells`, in that order; of all cells by default, by id.

        Raises:
            StudyError: naming a file that is torn or foreign.
        """
        if cells is not None:
            return tuple(self.row(cell.id) for cell in cells if self.has(cell.id))
        files = sorted(self.folder.glob("runs/*/result.json"))
        return tuple(self._row(file, file.parent.name) for file in files)

    def rows_csv(self, path: Path, cells: Iterable[Cell] | None = None) -> None:
        """Write the rows as one flat table: nested values as `seconds.train`, lists left out.

        Raises:
            StorageError: it could not be written.
        """
        rows = [dict(flat(row)) for row in self.rows(cells)]
        write_text(path, as_csv(rows))

    # Failures

    def fail(self, cell: Cell, error: str, trace: str) -> None:
        """Record that a cell failed, in place of its last failure."""
        row = {
            "kind": "failed",
            "id": cell.id,
            "cell": cell.content(),
            "error": error,
            "traceback": trace,
        }
        write_json(self._failed(cell.id), row)
        self.log("fail", cell.id, error)

    def has_failed(self, id: str) -> bool:
        """Whether the last attempt at the cell failed."""
        return self._failed(id).exists()

    def failures(self) -> tuple[Row, ...]:
        """What failed and has not succeeded since, by id.

        Raises:
            StudyError: naming a file that is torn or foreign.
        """
        files = sorted(self.folder.glob("failed/*.json"))
        return tuple(self._row(file, file.stem) for file in files if not self.has(file.stem))

    def forgive(self, id: str) -> None:
        """Drop the record of a failure: the cell is tried again, or has its row now."""
        try:
            self._failed(id).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot remove {self._failed(id)}: {error.strerror}; make it removable, run again"
            ) from error

    @contextmanager
    def attempt(self, cell: Cell) -> Iterator[None]:
        """Log a cell's start and finish; an exception becomes its failure and goes no further.

        Raises:
            StorageError: the disk is full; no cell after this one could be kept either.
        """
        self.log("start", cell.id)
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise StorageError(
                    f"cannot write an artefact of cell {cell.id}: {error}; rows written before "
                    "stand. Free space, then run again"
                ) from error
            self.fail(cell, brief(error), traceback.format_exc())
        else:
            self.log("finish", cell.id)

    # Events

    def log(
        self, what: Literal["start", "finish", "fail", "stop"], id: str = "", text: str = ""
    ) -> None:
        """Append an event. Lines of several processes do not mix.

        Raises:
            StorageError: it could not be written.
        """
        line = json.dumps(asdict(Event(what, id, time.time(), text))) + "\n"
        self._append(line.encode())

    def events(self) -> tuple[Event, ...]:
        """All events in the order they were written; a line cut off by a kill is left out."""
        return self.events_from(0)[0]

    def events_from(self, offset: int) -> tuple[tuple[Event, ...], int]:
        """Events from a byte of the file on, and where to go on reading."""
        return read_events(self._events, offset)

    # One driver at a time

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: a second process that asks is refused. A kill releases it.

        Raises:
            StudyError: another process runs the study.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageError(
                f"cannot use {self.folder}: {error.strerror}; name a folder you may write to"
            ) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(file, 20, 0).decode(errors="replace").strip() or "unknown"
                raise StudyError(
                    f"the study in {self.folder} is being run by process {holder}; "
                    "wait for it to end, or name another folder"
                ) from error
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            self._tidy()
            yield
        finally:
            os.close(file)

    def running(self) -> bool:
        """Whether a process holds the folder now."""
        try:
            file = os.open(self.folder / "lock", os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False

    def _tidy(self) -> None:
        """Remove what a killed run left: temporary files, an event cut off in its line."""
        own = [self.folder / name for name in ("", "failed", "features")]
        for folder in (*own, *self.folder.glob("runs/*")):
            tidy(folder)
        if cut_off(self._events):
            self._append(b"\n")

    def _append(self, content: bytes) -> None:
        try:
            file = os.open(self._events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # to append is not atomic on network file systems
                while content:
                    content = content[os.write(file, content) :]
            finally:
                os.close(file)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._events}: {error.strerror}; rows written before stand. "
                "Free space, then run again"
            ) from error

    def _failed(self, id: str) -> Path:
        return self.folder / "failed" / f"{id}.json"

    def _row(self, file: Path, id: str) -> Row:
        try:
            row = read_json(file, MOST_ROW)
        except ReadError as error:
            raise StudyError(
                f"cell {id} has no row in {self.folder}; run the study first"
                if error.missing
                else f"{file} is not a row ({error.why}); remove it and run the study again"
            ) from error
        if not isinstance(row, dict) or row.get("id") != id:
            raise StudyError(
                f"{file} is not the row of cell {id}; remove it and run the study again"
            )
        if wrong := fault(row, whole=False):
            raise StudyError(f"{file} is not a row ({wrong}); remove it and run the study again")
        return row


def _changed(old: Recipe, new: Recipe) -> list[str]:
    before = dict(_settings(old.model_dump(mode="json")))
    after = dict(_settings(new.model_dump(mode="json")))
    return [
        f"{'.'.join(path)}: {before.get(path, 'none')!r} there, {after.get(path, 'none')!r} here"
        for path in before | after
        if before.get(path) != after.get(path)
    ]


def _settings(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Path and value of everything in a recipe that is not its grid, its words or a path."""
    for name, value in values.items():
        path = (*above, name)
        if path in _GRID:
            continue
        if isinstance(value, Mapping):
            yield from _settings(value, path)
        else:
            yield path, value
