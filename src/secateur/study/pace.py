"""How long cells take, and from that how long a study still will. Loads no torch."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence

from secateur.study.cells import Cell, Unit
from secateur.study.events import Event

Kind = tuple[str, str]
"""Network and kind of cell: what decides above all how long it takes."""

_RECENT = 8
"""Workers are counted over so many starts and ends."""


def kind_of(unit: Unit, cell: Cell) -> Kind:
    """What a cell of `unit` is counted as."""
    return (unit.base.network.name, type(cell).__name__)


class Times:
    """Mean seconds of finished cells, by network and kind."""

    def __init__(self) -> None:
        self._seconds: defaultdict[Kind, float] = defaultdict(float)
        self._finished: Counter[Kind] = Counter()

    def add(self, kind: Kind, seconds: float) -> None:
        """Count a finished cell in."""
        self._seconds[kind] += seconds
        self._finished[kind] += 1

    def expected(self, kind: Kind) -> float | None:
        """Mean of this network and kind, else of this kind in other networks, else None.

        >>> times = Times()
        >>> times.add(("vgg", "BaseCell"), 6), times.add(("vgg", "BaseCell"), 8)
        (None, None)
        >>> times.expected(("vgg", "BaseCell")), times.expected(("resnet", "BaseCell"))
        (7.0, 7.0)
        >>> times.expected(("vgg", "PrunedCell"))
        """
        kinds = [kind] if kind in self._finished else [k for k in self._finished if k[1] == kind[1]]
        finished = sum(self._finished[k] for k in kinds)
        return sum(self._seconds[k] for k in kinds) / finished if finished else None


class Pace:
    """What the events of a study say about the time it still needs; tell it every one.

    May be asked from another thread.
    """

    def __init__(self, units: Sequence[Unit], done: Iterable[str], past: Iterable[Event]) -> None:
        self._cells = {
            cell.id: (place, kind_of(unit, cell))
            for place, unit in enumerate(units)
            for cell in unit.cells
        }
        self._kinds = {kind for _, kind in self._cells.values()}
        self._times = Times()
        self._started: dict[str, float] = {}
        self._at_work: deque[int] = deque(maxlen=_RECENT)
        self._left = self._cells.keys() - set(done)
        self._lock = threading.Lock()
        for event in past:
            self._hear(event)
        self._started.clear()
        self._at_work.clear()

    def hear(self, event: Event) -> None:
        """Take in an event of this execution."""
        with self._lock:
            self._hear(event)
            if event.what in ("finish", "fail"):
                self._left.discard(event.id)

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the last cell is done; None while there is nothing to judge by.

        Each cell takes what finished ones of its network and kind took; as many are at work at a
        time as lately; the cells of a unit follow each other.
        """
        with self._lock:
            if not self._at_work:
                return None
            units: defaultdict[int, float] = defaultdict(float)
            expected = {kind: self._times.expected(kind) for kind in self._kinds}
            for id in self._left:
                place, kind = self._cells[id]
                seconds = expected[kind]
                if seconds is None:
                    return None
                spent = now - self._started[id] if id in self._started else 0
                units[place] += max(0.0, seconds - spent)
            longest = max(units.values(), default=0.0)
            return max(sum(units.values()) / max(self._at_work), longest)

    def _hear(self, event: Event) -> None:
        if event.id not in self._cells:
            return
        if event.what == "start":
            self._started[event.id] = event.time
        self._at_work.append(max(1, len(self._started)))
        began = self._started.pop(event.id, None) if event.what != "start" else None
        if event.what == "finish" and began is not None:
            self._times.add(self._cells[event.id][1], event.time - began)
