"""Files are written whole or not at all: to a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from secateur.errors import StorageError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # on Windows, where what a kill leaves stays
    fcntl = None

_TEMPORARY = ".tmp"
_BEING_MADE_SECONDS = 60.0
"""An empty file this young may be one that its process does not hold yet."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes `path`'s place, on failure it is gone.

    Raises:
        StorageError: the file could not be written (a full disk, no permission).
    """
    try:
        # Not mkstemp: it makes files that only their owner reads. A name may have 255 bytes.
        temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}{_TEMPORARY}")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except (OSError, ValueError) as error:
        raise _storage_error(path, error) from error
    if not (held := _hold(handle)):
        os.close(handle)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
        if held:
            os.close(handle)


def tidy(folder: Path) -> None:
    """Remove temporary files that a kill left in a folder; those being written now stay."""
    for temporary in folder.glob(f".*{_TEMPORARY}"):
        with suppress(OSError):
            handle = os.open(temporary, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
            try:
                facts = os.fstat(handle)
                new = not facts.st_size and time.time() - facts.st_mtime < _BEING_MADE_SECONDS
                if not new and _hold(handle):
                    temporary.unlink(missing_ok=True)
            finally:
                os.close(handle)


def _hold(handle: int) -> bool:
    """Whether this process holds the file now, as long as the handle is open; a kill ends it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Rows as a table of comma-separated values, without formulas that a spreadsheet would run.

    >>> as_csv([{"name": "=1+1", "loss": -0.5}])
    "name,loss\n'=1+1,-0.5\n"
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(map(_no_formula, columns))
    table.writerows([_no_formula(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as JSON, whole or not at all; a NaN is refused."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _storage_error(path: Path, error: OSError | ValueError) -> StorageError:
    why = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return StorageError(
        f"cannot write {path}: {why}; nothing that stood there was changed. "
        "Free space or name another folder, then run again"
    )
