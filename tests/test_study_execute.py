"""Execution: real processes, killed at random moments; no row is lost and none made twice."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from secateur.errors import StudyError
from secateur.study.cells import BaseCell, Cell, Unit, units
from secateur.study.events import Event
from secateur.study.execute import Outcome, execute
from secateur.study.pool import available_bytes, cores, default_workers
from secateur.study.progress import status
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.store import Store


def recipe(**changes: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "name": "executed",
        "data": {"kind": "synthetic"},
        "networks": [{"kind": "vgg"}, {"kind": "resnet"}],
        "sparsity": {"total_shrink": [0]},
        "pruning": {"criteria": ["l1", "l2"], "scopes": ["uniform"], "ratios": [0.3, 0.5]},
        "seeds": 4,
    }
    return recipe_from(mapping | changes)


def study(folder: Path, **changes: Any) -> tuple[Store, tuple[Unit, ...]]:
    store = Store(folder)
    store.open(recipe(**changes))
    return store, units(store.recipe())


# Units of work: they run in other processes, named by this module


def row(cell: Cell) -> dict[str, Any]:
    value = int(hashlib.sha256(cell.id.encode()).hexdigest()[:8], 16) / 2**32
    kind = "base" if isinstance(cell, BaseCell) else "pruned"
    return {"kind": kind, "id": cell.id, "accuracy": value, "list": [value] * 20}


def each_cell(unit: Unit, folder: Path, act: Callable[[Cell], None]) -> None:
    """Write every missing row of a unit; say in which process."""
    (folder.parent / f"pid.{os.getpid()}").touch()
    store = Store(folder)
    for cell in unit.cells:
        if not store.has(cell.id):
            with store.attempt(cell):
                act(cell)
                store.write(cell.id, row(cell))


def short(unit: Unit, folder: Path, recipe: Recipe) -> None:
    each_cell(unit, folder, lambda cell: time.sleep(0.05))


def endless(unit: Unit, folder: Path, recipe: Recipe) -> None:
    each_cell(unit, folder, lambda cell: time.sleep(600))


def dies_once(unit: Unit, folder: Path, recipe: Recipe) -> None:
    mark = folder.parent / "died"
    if unit.base.seed == 2 and unit.base.network.kind == "vgg":
        each_cell(unit, folder, lambda cell: None if mark.exists() else die(mark))
    else:
        short(unit, folder, recipe)


def dies_always(unit: Unit, folder: Path, recipe: Recipe) -> None:
    mark = folder.parent / "died"
    if unit.base.seed == 2 and unit.base.network.kind == "vgg":
        each_cell(unit, folder, lambda cell: die(mark) if cell is unit.pruned[1] else None)
    else:
        short(unit, folder, recipe)


def die(mark: Path) -> None:
    with mark.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


class TwoWords(Exception):
    """An exception that cannot be rebuilt from its arguments in another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def raises(unit: Unit, folder: Path, recipe: Recipe) -> None:
    def act(cell: Cell) -> None:
        if not isinstance(cell, BaseCell) and cell.criterion == "l2":
            raise TwoWords("no", "l2")

    if unit.base.seed == 1:
        raise TwoWords("no", "seed")
    if unit.base.seed == 2:
        return
    each_cell(unit, folder, act)


def fails_bases(unit: Unit, folder: Path, recipe: Recipe) -> None:
    store = Store(folder)
    with store.attempt(unit.base):
        raise TwoWords("no", "base")


def exits(unit: Unit, folder: Path, recipe: Recipe) -> None:
    sys.exit("enough")


# Drivers: real processes that execute a study


def drive(folder: str, work: str, workers: int) -> None:
    store = Store(Path(folder))
    work_units = units(store.recipe())
    outcome = execute(work_units, store, globals()[work], workers=workers)
    sys.stdout.write(f"{outcome.done} {outcome.failed} {outcome.skipped}\n")


def environment() -> dict[str, str]:
    """That of a process that imports the sources under test and this module."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


@contextmanager
def driver(folder: Path, work: str, workers: int = 2) -> Iterator[subprocess.Popen[str]]:
    code = f"from test_study_execute import drive; drive({str(folder)!r}, {work!r}, {workers})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(seen: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def alive(folder: Path) -> list[int]:
    """Workers that `each_cell` ran in and that still run."""
    pids = [int(path.suffix[1:]) for path in folder.parent.glob("pid.*")]
    return [pid for pid in pids if runs(pid)]


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def starts(store: Store) -> Counter[str]:
    return Counter(event.id for event in store.events() if event.what == "start")


def expected(work: tuple[Unit, ...]) -> tuple[dict[str, Any], ...]:
    return tuple(row(cell) for unit in work for cell in unit.cells)


def cells(work: tuple[Unit, ...]) -> list[Cell]:
    return [cell for unit in work for cell in unit.cells]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_study_is_done_once(tmp_path: Path, workers: int) -> None:
    store, work = study(tmp_path / "study")
    heard: list[Event] = []
    outcome = execute(work, store, short, workers=workers, on_event=heard.append)
    assert outcome == Outcome(done=40, failed=0, skipped=0, seconds=outcome.seconds)
    assert store.rows(cells(work)) == expected(work)
    assert tuple(heard) == store.events()
    assert Counter(event.what for event in heard) == {"start": 40, "finish": 40}
    again = execute(work, store, short, workers=workers)
    assert again == Outcome(done=0, failed=0, skipped=40, seconds=again.seconds)
    assert len(store.events()) == 80
    in_this_process = (tmp_path / f"pid.{os.getpid()}").exists()
    assert in_this_process == (workers == 0)


def test_a_ratio_more_runs_its_cells_only(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    execute(work, store, short, workers=2)
    wider = {"criteria": ["l1", "l2"], "scopes": ["uniform"], "ratios": [0.3, 0.4, 0.5]}
    store, work = study(tmp_path / "study", pruning=wider)
    outcome = execute(work, store, short, workers=2)
    assert (outcome.done, outcome.skipped) == (16, 40)
    assert set(starts(store).values()) == {1}
    assert store.rows(cells(work)) == expected(work)


def test_two_kills_of_the_driver_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study", seeds=8)
    files = {cell.id: store.path(cell.id) / "result.json" for cell in cells(work)}
    kept: dict[str, int] = {}
    for killed in (1, 2):
        with driver(store.folder, "short") as process:
            before = len(store.events())
            wait_for(lambda before=before: len(store.events()) > before)
            time.sleep(random.uniform(0, 0.5))
            assert process.poll() is None
            process.kill()
        wait_for(lambda: not alive(store.folder), 5)
        rows = {id: file.stat().st_mtime_ns for id, file in files.items() if file.exists()}
        assert len(rows) < 80
        assert rows.items() >= kept.items()
        kept = rows
        assert all(starts(store)[id] <= killed for id in rows)
        assert status(store, work).total.done == len(kept)
    outcome = execute(work, store, short, workers=2)
    assert (outcome.done, outcome.failed, outcome.skipped) == (80 - len(kept), 0, len(kept))
    assert store.rows(cells(work)) == expected(work)
    assert kept.items() <= {id: file.stat().st_mtime_ns for id, file in files.items()}.items()
    finished: set[str] = set()
    for event in store.events():
        assert event.what != "start" or event.id not in finished
        if event.what == "finish":
            finished.add(event.id)
    # Two workers, two kills: at most four cells were in progress and begun again.
    assert sum(starts(store).values()) <= 80 + 4
    assert not list(store.folder.rglob("*.tmp"))


def test_workers_end_with_a_killed_driver_in_the_middle_of_their_work(tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    with driver(store.folder, "endless") as process:
        wait_for(lambda: len(alive(store.folder)) == 2)
        process.kill()
    wait_for(lambda: not alive(store.folder), 5)


def test_ctrl_c_stops_and_says_how_to_go_on(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    with driver(store.folder, "short") as process:
        wait_for(lambda: len(store.rows()) >= 3)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    last = errors.splitlines()[-1]
    done = len(store.rows())
    assert process.returncode != 0
    said = f"stopped; {done} of 40 rows are in {store.folder}; run the same command again to go on"
    assert last == f"KeyboardInterrupt: {said}"
    assert (store.events()[-1].what, store.events()[-1].text) == ("stop", said)
    assert not alive(store.folder)
    assert store.failures() == ()
    execute(work, store, short, workers=2)
    assert store.rows(cells(work)) == expected(work)


def test_ctrl_c_in_this_process_says_how_to_go_on(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")

    def interrupted(unit: Unit, folder: Path, recipe: Recipe) -> None:
        short(unit, folder, recipe)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"5 of 40 rows .* run the same command again"):
        execute(work, store, interrupted, workers=0)


def test_a_unit_whose_worker_dies_is_tried_again(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    outcome = execute(work, store, dies_once, workers=2)
    assert (outcome.done, outcome.failed) == (40, 0)
    assert store.rows(cells(work)) == expected(work)
    assert Counter(starts(store).values()) == {1: 39, 2: 1}


def test_a_unit_whose_workers_die_fails_alone(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    outcome = execute(work, store, dies_always, workers=2)
    guilty = next(u for u in work if (u.base.seed, u.base.network.kind) == (2, "vgg"))
    assert (tmp_path / "died").read_text() == "xx"
    lost = guilty.pruned[1:]
    assert {failure["id"] for failure in store.failures()} == {cell.id for cell in lost}
    assert {failure["error"] for failure in store.failures()} == {
        "its worker process died 2 times (signal 9); was memory short?"
    }
    assert (outcome.done, outcome.failed) == (37, 3)
    others = [cell.id for unit in work if unit is not guilty for cell in unit.cells]
    assert {starts(store)[id] for id in others} == {1}
    assert status(store, work).networks["vgg"].failed == 3
    healed = execute(work, store, short, workers=2)
    assert (healed.done, healed.failed, healed.skipped) == (3, 0, 37)
    assert store.failures() == ()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_fails_its_cell_or_its_unit_only(tmp_path: Path, workers: int) -> None:
    store, work = study(tmp_path / "study")
    outcome = execute(work, store, raises, workers=workers)
    assert (outcome.done, outcome.failed) == (2 * 2 * 3, 2 * 10 + 2 * 2 * 2)
    errors = Counter(failure["error"] for failure in store.failures())
    assert errors == {
        "TwoWords: no seed": 10,
        "the work came to its end without writing this row": 10,
        "TwoWords: no l2": 8,
    }
    for failure in store.failures():
        if failure["error"].startswith("TwoWords"):
            assert "in raises" in failure["traceback"] or "in act" in failure["traceback"]
    assert store.rows(cells(work)) == tuple(
        wanted for wanted in expected(work) if store.has(wanted["id"])
    )
    healed = execute(work, store, short, workers=workers)
    assert (healed.done, healed.failed, healed.skipped) == (28, 0, 12)
    assert store.failures() == ()
    assert not list((store.folder / "failed").iterdir())


def test_the_cuts_of_a_failed_base_fail_with_it(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study", seeds=1)
    assert execute(work, store, fails_bases, workers=0).failed == 10
    errors = {failure["id"]: failure["error"] for failure in store.failures()}
    for unit in work:
        assert errors[unit.base.id] == "TwoWords: no base"
        assert {errors[cell.id] for cell in unit.pruned} == {
            f"its base network {unit.base.id} failed"
        }


def test_a_worker_that_exits_fails_its_unit(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    outcome = execute(work, store, exits, workers=2)
    assert (outcome.done, outcome.failed) == (0, 40)
    assert {failure["error"] for failure in store.failures()} == {"SystemExit: enough"}


def test_a_second_driver_is_refused_and_reading_goes_on(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    with driver(store.folder, "short") as process:
        wait_for(store.rows)
        with pytest.raises(StudyError, match=f"is being run by process {process.pid}; wait"):
            execute(work, store, short, workers=0)
        while process.poll() is None:
            read = store.rows(cells(work))
            assert {row["id"] for row in read} <= {row["id"] for row in expected(work)}
            status(store, work)
            store.events()
        assert process.communicate()[0] == "40 0 0\n"
    assert set(starts(store).values()) == {1}


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from test_study_execute import study, short\n"
        "from secateur.study.execute import execute\n"
        f"store, work = study(Path({str(tmp_path / 'study')!r}))\n"
        "execute(work, store, short, workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "StudyError: worker processes end before they do any work" in done.stderr


def test_a_full_disk_stops_the_study_and_keeps_its_rows(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=160k", "none", str(disk)], capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        store, work = study(disk / "study")
        with driver(store.folder, "short") as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        done = len(store.rows())
        last = errors.splitlines()[-1]
        assert last.startswith("secateur.errors.StorageError: cannot write ")
        assert "No space left on device" in last
        assert last.endswith(f"({done} of 40 rows are in {store.folder})")
        assert 3 <= done < 40
        assert {row["id"] for row in store.rows()} <= {cell.id for cell in cells(work)}
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        outcome = execute(work, store, short, workers=0)
        assert (outcome.done, outcome.failed, outcome.skipped) == (40 - done, 0, done)
        assert store.rows(cells(work)) == expected(work)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_may_not_grow_stops_the_study(tmp_path: Path, workers: int) -> None:
    store, work = study(tmp_path / "study")
    code = (
        "import resource; from test_study_execute import *\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))\n"
        f"drive({str(store.folder)!r}, 'short', {workers})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("secateur.errors.StorageError: cannot write ")
    assert "File too large" in last
    written = store.rows()
    assert last.endswith(f"({len(written)} of 40 rows are in {store.folder})")
    assert 0 < len(written) < 40
    assert store.events()
    outcome = execute(work, store, short, workers=0)
    assert outcome.skipped == len(written)
    assert store.rows(cells(work)) == expected(work)


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        execute((), Store(tmp_path), short)


def test_torch_threads_are_put_back(tmp_path: Path) -> None:
    import torch

    seen: list[int] = []

    def look(unit: Unit, folder: Path, recipe: Recipe) -> None:
        seen.append(torch.get_num_threads())
        short(unit, folder, recipe)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        store, work = study(tmp_path / "study", seeds=1)
        execute(work, store, look, workers=0)
        assert seen == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_free_memory_is_read_within_the_control_group(tmp_path: Path) -> None:
    gib = 1 << 30
    everything = available_bytes(tmp_path)
    assert everything == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  1048576 kB\n")
    assert available_bytes(tmp_path) == gib
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) == gib
    for name, text in {
        "max": gib,
        "current": gib // 2,
        "stat": f"anon 5\ninactive_file {9}",
    }.items():
        (group / f"memory.{name}").write_text(f"{text}\n")
    assert available_bytes(tmp_path) == gib // 2 + 9
    assert 1 <= default_workers() <= cores()
