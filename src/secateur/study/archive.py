"""All rows of a study in one file, to keep in a repository or to go on elsewhere. Loads no torch.

The file is JSON lines, compressed by xz: a row a line, by id, whole as in the folder. Networks are
not in it, so a trained network and its cuts are taken over together or not at all.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from pathlib import Path

from secateur.errors import ReadError, StudyError, shown
from secateur.files import write_bytes
from secateur.reading import opened, parse_json
from secateur.study.cells import units
from secateur.study.recipe import Recipe
from secateur.study.rows import fault
from secateur.study.store import MOST_ROW, Store

MOST_UNPACKED = 1 << 28
"""Bytes that the rows of one file may come to, 256 MiB."""

_MOST_MEMORY = 1 << 27
"""Bytes the decompressor may take, 128 MiB; what `pack` wrote needs half of it."""


def pack(store: Store, file: Path) -> int:
    """Write all rows of a study into one file, the same bytes for the same rows; how many.

    Raises:
        StudyError: there are no rows, or one is torn.
        StorageError: the file could not be written; an earlier one still stands.
    """
    rows = store.rows()
    if not rows:
        raise StudyError(f"{store.folder} has no rows yet; run the study first")
    lines = (json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n" for row in rows)
    write_bytes(file, lzma.compress("".join(lines).encode(), preset=9))
    return len(rows)


def unpack(file: Path, store: Store, recipe: Recipe) -> tuple[int, int]:
    """Take over the rows of whole units of a recipe's study; rows that stand in the folder stay.

    The file is read to its end before anything is written, so that one that is refused leaves
    nothing behind. Gives how many rows were taken over, and how many of the file were not: of units
    that were not finished, or of no unit of this study.

    Raises:
        StudyError: the file is not what `pack` wrote, another process runs the study, or the folder
            holds another one.
    """
    work = units(recipe)
    kinds = {cell.id: str(cell.content()["kind"]) for unit in work for cell in unit.cells}
    try:
        lines, n_lines = _wanted(file, kinds)
    except ReadError as error:
        raise StudyError(
            f"{file} holds no packed rows ({error.why}); write one with secateur study pack"
        ) from error
    taken = 0
    store.open(recipe)
    with store.lock():
        for unit in work:
            if all(cell.id in lines for cell in unit.cells):
                for cell in unit.cells:
                    store.write(cell.id, parse_json(lines[cell.id]))
                    taken += 1
    return taken, n_lines - taken


def _wanted(file: Path, kinds: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """The lines of a file whose rows are of these cells, by id, and how many lines there are."""
    wanted: dict[str, str] = {}
    n_lines = 0
    for number, line in enumerate(_lines(file), 1):
        where = f"line {number}"
        try:
            row = parse_json(line.decode())
        except UnicodeDecodeError as error:
            raise ReadError(file, f"{where} is not UTF-8") from error
        except ReadError as error:
            raise ReadError(file, f"{where}: {error.why}") from error
        if not isinstance(row, dict) or not isinstance(id := row.get("id"), str):
            raise ReadError(file, f"{where} is {shown(row)}, not a row")
        if id in kinds:
            wrong = fault(row, whole=True)
            if not wrong and row["kind"] != kinds[id]:
                wrong = f"it has kind {row['kind']!r}, its cell {kinds[id]!r}"
            if not wrong and id in wanted:
                wrong = "it is there twice"
            if wrong:
                raise ReadError(file, f"{where}, row {id}: {wrong}")
            wanted[id] = line.decode()
        n_lines = number
    return wanted, n_lines


def _lines(file: Path) -> Iterator[bytes]:
    """The lines of a compressed file, one at a time, however large they would be together."""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
    rest, total = b"", 0
    with opened(file) as packed:
        while not decoder.eof:
            chunk = packed.read(1 << 16) if decoder.needs_input else b""
            if decoder.needs_input and not chunk:
                raise ReadError(file, "it is cut off")
            try:
                piece = decoder.decompress(chunk, max_length=1 << 20)
            except lzma.LZMAError as error:
                raise ReadError(file, str(error)) from error
            total += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            if total > MOST_UNPACKED or len(rest) > MOST_ROW:
                raise ReadError(file, f"it holds more than {MOST_UNPACKED:,} bytes of rows")
            yield from lines
        if rest or decoder.unused_data or packed.read(1):
            raise ReadError(file, "it does not end with a row")
