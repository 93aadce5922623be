"""The events of a study: a line of JSON each, appended as they happen. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from secateur.errors import ReadError
from secateur.reading import opened, parse_json

_WHATS = ("start", "finish", "fail", "stop")


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell, or (`stop`, without id) to the whole study."""

    what: Literal["start", "finish", "fail", "stop"]
    id: str
    time: float
    text: str = ""


def read_events(file: Path, offset: int = 0) -> tuple[tuple[Event, ...], int]:
    """Events from a byte of a file on, and where to go on; lines that hold none are left out."""
    try:
        with opened(file) as lines:
            lines.seek(offset)
            whole, newline, _ = lines.read().rpartition(b"\n")
    except ReadError:
        return (), 0
    found = (_event(line) for line in whole.splitlines())
    return tuple(event for event in found if event is not None), offset + len(whole + newline)


def cut_off(file: Path) -> bool:
    """Whether the last line of a file has no end: a kill came in between."""
    try:
        with opened(file) as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - 1))
            return lines.read() not in (b"", b"\n")
    except ReadError:
        return False


def _event(line: bytes) -> Event | None:
    """The event of a line; None if a kill cut it off, or it is none."""
    try:
        event = Event(**parse_json(line.decode()))
    except (ReadError, UnicodeDecodeError, TypeError):
        return None
    words = isinstance(event.id, str) and isinstance(event.text, str)
    timed = isinstance(event.time, int | float) and 0 <= event.time < 1e15
    return event if words and timed and event.what in _WHATS else None
