"""Reading the tables that come with data sets, every fault with its file and line. No torch."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

from secateur.errors import DataError

_RESTORE = "restore the original listing"


def table(
    listing: Path, columns: tuple[str, ...], delimiter: str = ","
) -> dict[int, dict[str, str]]:
    """Rows of a listing by line number (the header is line 1).

    Raises:
        DataError: it cannot be read, lacks a column, or a row lacks a value.
    """
    try:
        with listing.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="", strict=True, delimiter=delimiter)
            found = reader.fieldnames or ()
            absent = [column for column in columns if column not in found]
            if absent:
                raise DataError(
                    f"{listing} has columns {', '.join(found) or 'none'}; "
                    f"missing: {', '.join(absent)}; {_RESTORE}"
                )
            rows: dict[int, dict[str, str]] = {}
            for row in reader:
                rows[reader.line_num] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {listing}: {error}; {_RESTORE}") from error
    for line, values in rows.items():
        empty = [column for column in columns if not values[column]]
        if empty:
            raise DataError(f"{listing}, line {line}: no {', '.join(empty)}; {_RESTORE}")
    return rows


def integer(text: str, column: str, where: str) -> int:
    """A whole number from a cell.

    Raises:
        DataError: it is none; `where` is named.
    """
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: {column} {text!r} is not a whole number; {_RESTORE}") from None


def is_there(path: Path) -> bool:
    """Whether a file that a listing names is there; no file has a name that no system can write."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def content_hash(described: Iterable[tuple[object, Path, str]]) -> str:
    """Hash of what is said of every file, of its size and its time of change.

    Every entry: what is said, the file, and where that stands (for the error).

    Raises:
        DataError: a file is not there.
    """
    digest = hashlib.sha256()
    for said, path, where in described:
        try:
            facts = path.stat()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{where}: audio file {path} is not there; copy or download it again"
            ) from error
        digest.update(f"{said}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
