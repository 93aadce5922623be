"""How far a study is: on the terminal while it runs, from its files at any time. No torch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from secateur.study.cells import Unit
from secateur.study.events import Event
from secateur.study.pace import Kind, Pace, Times, kind_of
from secateur.study.store import BASE_FAILED, NETWORK_FAILED, Store

_LINE_SECONDS = 10.0
"""Without a terminal, at most one line in this time."""


@dataclass(frozen=True)
class Count:
    """Cells that have their row, that have not been tried or not to the end, and that failed."""

    done: int = 0
    missing: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Status:
    """Counts by network, and the seconds each stage took, summed over the finished cells.

    `seconds_left` is what the missing and failed cells would take one worker, if they take as long
    as finished ones of the same network and kind, or of that kind where the network has none; None
    before every kind has a finished one.
    `running` says whether a process works on the study now.
    """

    networks: dict[str, Count]
    seconds: dict[str, float]
    seconds_left: float | None
    running: bool

    @property
    def total(self) -> Count:
        """The counts of all networks together."""
        counts = self.networks.values()
        return Count(
            sum(count.done for count in counts),
            sum(count.missing for count in counts),
            sum(count.failed for count in counts),
        )


def status(store: Store, units: Sequence[Unit]) -> Status:
    """Count what is done, missing and failed, from the files alone; a running study may be asked.

    Raises:
        StudyError: naming a file that is torn or foreign.
    """
    networks: dict[str, Count] = {}
    seconds: Counter[str] = Counter()
    times = Times()
    left: Counter[Kind] = Counter()
    for unit in units:
        name = unit.base.network.name
        count = networks.get(name, Count())
        for cell in unit.cells:
            if store.has(cell.id):
                count = replace(count, done=count.done + 1)
                own = store.row(cell.id).get("seconds", {})
                seconds.update(own)
                times.add(kind_of(unit, cell), sum(own.values()))
                continue
            left[kind_of(unit, cell)] += 1
            if store.has_failed(cell.id):
                count = replace(count, failed=count.failed + 1)
            else:
                count = replace(count, missing=count.missing + 1)
        networks[name] = count
    expected = {kind: times.expected(kind) for kind in left}
    known = {kind: each for kind, each in expected.items() if each is not None}
    rest = sum(n * known[kind] for kind, n in left.items()) if known == expected else None
    return Status(networks, dict(seconds), rest, store.running())


def status_lines(seen: Status) -> list[str]:
    """A status in words: a line a network, then how long it took and will take one worker."""
    lines = [f"{'':<20}{'done':>8}{'missing':>9}{'failed':>8}"]
    for name, count in {**seen.networks, "all": seen.total}.items():
        lines.append(f"{name:<20}{count.done:>8,}{count.missing:>9,}{count.failed:>8,}")
    spent = ", ".join(f"{stage} {_duration(took)}" for stage, took in seen.seconds.items())
    lines.append(f"time spent: {spent or 'none yet'}")
    if seen.seconds_left:
        lines.append(f"time left for one worker: about {_duration(seen.seconds_left)}")
    lines.append("a process works on it" if seen.running else "no process works on it")
    return lines


@contextmanager
def progress(
    store: Store, units: Sequence[Unit], console: Console | None = None
) -> Iterator[Callable[[Event], None]]:
    """Show how an execution goes on; gives the function to pass as `on_event`.

    A bar with the time that is left on a terminal, else a plain line from time to time.
    """
    console = console or Console(stderr=True)
    cells = [cell for unit in units for cell in unit.cells]
    left = {cell.id: str(cell) for cell in cells if not store.has(cell.id)}
    done = [cell.id for cell in cells if cell.id not in left]
    pace = Pace(units, done, store.events())
    show = _bar if console.is_terminal else _lines
    with show(console, len(cells), len(left), pace) as update:
        failed: set[str] = set()

        def on_event(event: Event) -> None:
            pace.hear(event)
            if event.what == "stop":
                console.print(event.text, markup=False, highlight=False)
            elif event.id in left:
                name = left[event.id]
                if event.what == "fail":
                    failed.add(event.id)
                    if event.text not in (BASE_FAILED, NETWORK_FAILED):
                        text = f"failed: {name}: {event.text}"
                        console.print(text, markup=False, highlight=False, soft_wrap=True)
                elif event.what == "finish":
                    del left[event.id]
                update(len(cells) - len(left), len(failed & left.keys()), name)

        yield on_event


Update = Callable[[int, int, str], None]
"""(rows there are, cells that failed, the cell it is about) -> shown."""


class _Left(ProgressColumn):
    """The time that is left, once there is something to judge by."""

    max_refresh = 1.0

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        seconds = self._pace.seconds_left(time.time())
        if seconds is None or task.finished:
            return Text("")
        return Text(f"about {_duration(seconds)} left", style="progress.remaining")


@contextmanager
def _bar(console: Console, total: int, left: int, pace: Pace) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Left(pace),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("cells", total=total, completed=total - left)

        def update(done: int, failed: int, name: str) -> None:
            words = f"{name}, {failed} failed" if failed else name
            bar.update(task, completed=done, description=words)

        yield update


@contextmanager
def _lines(console: Console, total: int, left: int, pace: Pace) -> Iterator[Update]:
    last = time.monotonic()
    before = total - left
    said = -1

    def say(done: int, failed: int) -> None:
        nonlocal last, said
        last, said = time.monotonic(), done
        words = [f"{done} of {total} cells"]
        if failed:
            words.append(f"{failed} failed")
        seconds = pace.seconds_left(time.time())
        if seconds is not None and done + failed < total:
            words.append(f"about {_duration(seconds)} left")
        console.print(", ".join(words), markup=False, highlight=False)

    now = (before, 0)

    def update(done: int, failed: int, name: str) -> None:  # noqa: ARG001
        nonlocal now
        now = (done, failed)
        if done != said and time.monotonic() - last >= _LINE_SECONDS:
            say(*now)

    say(*now)
    try:
        yield update
    finally:
        if now[0] != said:
            say(*now)


def _duration(seconds: float) -> str:
    """Seconds in the words a person would use.

    >>> [_duration(s) for s in (5, 200, 9000)]
    ['5 s', '3 min', '2 h 30 min']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 100 else f"{minutes} min"
