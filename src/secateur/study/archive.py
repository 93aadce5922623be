"""All rows of a study in one file, to keep in a repository or to go on elsewhere. Loads no torch.

The file is JSON lines, compressed by xz: a row a line, by id, whole as in the folder. Networks are
not in it, so a trained network and its cuts are taken over together or not at all.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from pathlib import Path

from secateur.errors import ReadError, StudyError
from secateur.files import write_bytes
from secateur.reading import parse_json
from secateur.study.cells import Unit
from secateur.study.store import Row, Store


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


def unpack(file: Path, store: Store, work: Sequence[Unit]) -> tuple[int, int]:
    """Take over the rows of whole units; rows that stand in the folder stay.

    Gives how many rows were taken over, and how many of the file were not: of units that were not
    finished, or of no unit of this study.

    Raises:
        StudyError: the file is not what `pack` wrote, or another process runs the study.
    """
    rows = _read(file)
    taken = 0
    with store.lock():
        for unit in work:
            if all(cell.id in rows for cell in unit.cells):
                for cell in unit.cells:
                    store.write(cell.id, rows[cell.id])
                    taken += 1
    return taken, len(rows) - taken


def _read(file: Path) -> dict[str, Row]:
    try:
        lines = lzma.decompress(file.read_bytes()).decode().splitlines()
        rows = [parse_json(line) for line in lines]
        return {row["id"]: row for row in rows}
    except (ReadError, OSError, lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{file} holds no packed rows ({error}); write one with secateur study pack"
        ) from error
