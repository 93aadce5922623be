"""A study's folder: what is written stays, what is torn is named, one driver at a time."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secateur.errors import StorageError, StudyError
from secateur.study.cells import Unit, content_id, units
from secateur.study.progress import Count, progress, status, status_lines
from secateur.study.recipe import Recipe, recipe_from
from secateur.study.store import Store


def recipe(**changes: Any) -> Recipe:
    mapping: dict[str, Any] = {
        "name": "stored",
        "data": {"kind": "esc10", "root": "clips"},
        "networks": [{"kind": "vgg", "width": 8}],
        "sparsity": {"total_shrink": [0]},
        "pruning": {"criteria": ["l1"], "scopes": ["uniform"], "ratios": [0.3, 0.5]},
        "seeds": 1,
    }
    return recipe_from(mapping | changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "study")
    store.open(recipe())
    return store


def one_unit() -> Unit:
    return units(recipe())[0]


def test_a_row_is_written_once(store: Store) -> None:
    store.write("abc", {"id": "abc", "accuracy": 0.5})
    store.write("abc", {"id": "abc", "accuracy": 0.9})
    assert store.has("abc")
    assert store.row("abc") == {"id": "abc", "accuracy": 0.5}
    assert store.rows() == ({"id": "abc", "accuracy": 0.5},)
    assert sorted(path.name for path in store.path("abc").iterdir()) == ["result.json"]


def test_a_row_must_be_its_cells_and_json(store: Store) -> None:
    with pytest.raises(StudyError, match="the row of cell abc has id 'abd'"):
        store.write("abc", {"id": "abd"})
    with pytest.raises(StudyError, match=r"the row of cell abc is not JSON: .*nan"):
        store.write("abc", {"id": "abc", "accuracy": float("nan")})
    with pytest.raises(StudyError, match=r"the row of cell abc is not JSON: .*Path"):
        store.write("abc", {"id": "abc", "path": Path()})
    assert not store.has("abc")


@pytest.mark.parametrize("content", ['{"id": "ab', "", "[1]", '{"id": "another"}', "\xff"])
def test_a_torn_or_foreign_row_is_named(store: Store, content: str) -> None:
    file = store.path("abc") / "result.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(StudyError, match=r"runs/abc/result\.json is not .*run the study again"):
        store.rows()


def test_rows_of_some_cells_come_in_their_order(store: Store) -> None:
    unit = one_unit()
    for cell in reversed(unit.cells):
        store.write(cell.id, {"id": cell.id})
    store.write("other", {"id": "other"})
    assert [row["id"] for row in store.rows(unit.cells)] == [cell.id for cell in unit.cells]
    assert len(store.rows()) == 4
    with pytest.raises(StudyError, match="cell none has no row"):
        store.row("none")


def test_a_flat_table_is_written(store: Store, tmp_path: Path) -> None:
    store.write("a", {"id": "a", "kind": "base", "seconds": {"train": 2.5}, "skewness": []})
    store.write("b", {"id": "b", "kind": "pruned", "criterion": "l1, with comma"})
    store.rows_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"id": "a", "kind": "base", "seconds.train": "2.5", "criterion": ""},
            {"id": "b", "kind": "pruned", "seconds.train": "", "criterion": "l1, with comma"},
        ]


def test_a_failure_stands_until_the_cell_succeeds(store: Store) -> None:
    cell = one_unit().base
    for text in ("first\nand more", "second"):
        with store.attempt(cell):
            raise ValueError(text)
    (failure,) = store.failures()
    assert (failure["kind"], failure["id"]) == ("failed", cell.id)
    assert content_id(failure["cell"]) == cell.id
    assert failure["error"] == "ValueError: second"
    assert "raise ValueError(text)" in failure["traceback"]
    with store.attempt(cell):
        store.write(cell.id, {"id": cell.id})
    assert store.failures() == ()
    assert [event.what for event in store.events()] == [
        *("start", "fail"),
        *("start", "fail"),
        *("start", "finish"),
    ]
    assert store.events()[1].text == "ValueError: first"


def test_a_record_of_failure_that_stays_is_named(store: Store) -> None:
    cell = one_unit().base
    (store.folder / "failed" / f"{cell.id}.json").mkdir(parents=True)
    with pytest.raises(StorageError, match=rf"cannot remove .*{cell.id}\.json: .*run again"):
        store.forgive(cell.id)


def test_an_artefact_that_finds_no_room_is_a_storage_error(store: Store) -> None:
    with (
        pytest.raises(StorageError, match="cannot write an artefact of cell"),
        store.attempt(one_unit().base),
        open("/dev/full", "wb", buffering=0) as full,  # noqa: PTH123
    ):
        full.write(b"checkpoint")
    assert store.failures() == ()


def test_an_event_cut_off_by_a_kill_is_dropped(store: Store) -> None:
    store.log("start", "a")
    events = store.folder / "events.jsonl"
    with events.open("a") as file:
        file.write('{"what": "finish", "id": "a", "ti')
    assert [event.what for event in store.events()] == ["start"]
    with store.lock():
        store.log("finish", "b")
    assert [(event.what, event.id) for event in store.events()] == [("start", "a"), ("finish", "b")]
    seen, offset = store.events_from(0)
    assert store.events_from(offset) == ((), offset)
    store.log("stop", text="done")
    assert [event.text for event in store.events_from(offset)[0]] == ["done"]
    assert len(seen) == 2


def test_events_of_several_processes_do_not_mix(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from secateur.study.store import Store\n"
        "for i in range(500): Store(Path(sys.argv[1])).log('start', sys.argv[2], 'x' * 200)"
    )
    arguments = [sys.executable, "-c", code, str(store.folder)]
    started = [subprocess.Popen([*arguments, name]) for name in "abc"]
    assert [process.wait() for process in started] == [0, 0, 0]
    names = [event.id for event in store.events()]
    assert {name: names.count(name) for name in names} == {"a": 500, "b": 500, "c": 500}


def test_what_a_kill_left_is_tidied(store: Store) -> None:
    left = store.path("abc") / ".result.json.x1.tmp"
    left.parent.mkdir(parents=True)
    left.write_text("{")
    assert store.rows() == ()
    with store.lock():
        assert not left.exists()


def test_two_processes_cannot_hold_one_folder(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from secateur.study.store import Store\n"
        "with Store(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StudyError, match=f"is being run by process {holder.pid}; wait for it"),
            store.lock(),
        ):
            pass
        assert store.rows() == ()
        holder.kill()
    with store.lock():
        pass


def test_the_same_study_goes_on_with_another_grid(store: Store) -> None:
    store.write("abc", {"id": "abc"})
    grown = recipe(
        description="more",
        data={"kind": "esc10", "root": "/elsewhere"},
        networks=[{"kind": "resnet"}],
        sparsity={"total_shrink": [0, 2]},
        pruning={"criteria": ["l2"], "ratios": [0.1]},
        seeds=None,
        runs=[{"fold": 2, "seed": 7}],
        left_out=["time"],
    )
    store.open(grown)
    assert store.recipe() == grown
    assert store.has("abc")


def test_a_recipe_without_rows_yet_may_be_put_right(store: Store) -> None:
    mended = recipe(features={"n_mels": 40})
    store.open(mended)
    assert store.recipe() == mended


def test_another_study_is_refused_and_what_differs_named(store: Store) -> None:
    store.write("abc", {"id": "abc"})
    there = (store.folder / "recipe.json").read_bytes()
    with pytest.raises(StudyError) as caught:
        store.open(recipe(name="other", training={"epochs": 2}))
    assert str(caught.value) == (
        f"{store.folder} holds a study with other settings (name: 'stored' there, 'other' here; "
        "training.epochs: 40 there, 2 here); name another folder, or put these settings back"
    )
    with pytest.raises(StudyError, match=r"data\.kind: 'esc10' there, 'synthetic' here"):
        store.open(recipe(data={"kind": "synthetic"}))
    assert (store.folder / "recipe.json").read_bytes() == there


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"holds no study \(no recipe\.json\)"):
        Store(tmp_path / "none").recipe()
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(StudyError, match="holds files but no study"):
        Store(tmp_path).open(recipe())
    with pytest.raises(StudyError, match="is a file; name a folder"):
        Store(tmp_path / "letter.txt").open(recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_that_cannot_be_made_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="cannot use /proc/study"):
        Store(Path("/proc/study")).open(recipe())


def test_status_counts_by_network_and_stage(store: Store) -> None:
    work = units(recipe(networks=[{"kind": "vgg"}, {"kind": "resnet"}]))
    first = work[0]
    store.write(first.base.id, {"id": first.base.id, "seconds": {"train": 2.0}})
    assert status(store, work).seconds_left is None
    cut = first.pruned[0]
    store.write(cut.id, {"id": cut.id, "seconds": {"cut": 0.5, "train": 1.0}})
    store.fail(first.pruned[1], "out of luck", "")
    seen = status(store, work)
    assert seen.seconds_left == 1.5 + (2.0 + 2 * 1.5) and not seen.running  # resnet as vgg
    assert seen.networks == {"vgg": Count(2, 0, 1), "resnet": Count(0, 3, 0)}
    assert seen.total == Count(2, 3, 1)
    assert seen.seconds == {"train": 3.0, "cut": 0.5}


def test_status_says_what_is_left_and_whether_it_runs(store: Store) -> None:
    work = units(recipe(seeds=2))
    for cell, seconds in zip(work[0].cells, (8.0, 2.0, 4.0), strict=True):
        store.write(cell.id, {"id": cell.id, "seconds": {"train": seconds}})
    store.fail(work[1].pruned[0], "out of luck", "")
    with store.lock():
        seen = status(store, work)
    assert seen.seconds_left == 8 + 2 * 3 and seen.running
    lines = status_lines(seen)
    assert lines[1].split() == ["vgg", "3", "2", "1"]
    assert lines[-2:] == ["time left for one worker: about 14 s", "a process works on it"]
    assert not status(store, work).running


def test_progress_is_plain_lines_without_a_terminal_and_a_bar_with_one(store: Store) -> None:
    from io import StringIO

    from rich.console import Console

    work = units(recipe())
    base, first, second = work[0].cells
    store.write(base.id, {"id": base.id})
    for terminal in (False, True):
        text = StringIO()
        console = Console(file=text, force_terminal=terminal, width=200, color_system=None)
        with progress(store, work, console) as on_event:
            seen = store.events_from(0)[1]
            store.log("start", first.id)
            store.log("finish", first.id)
            store.fail(second, "ValueError: no", "")
            store.log("start", "removed from the grid")
            store.log("stop", text="stopped")
            for event in store.events_from(seen)[0]:
                on_event(event)
        lines = text.getvalue().splitlines()
        shown = text.getvalue()
        assert f"failed: {second}: ValueError: no" in shown
        if terminal:
            assert "2/3" in shown
            assert f"{second}, 1 failed" in shown
        else:
            assert lines == [
                "1 of 3 cells",
                f"failed: {second}: ValueError: no",
                "stopped",
                "2 of 3 cells, 1 failed",
            ]


def test_a_full_disk_is_named_when_an_event_is_written(store: Store) -> None:
    (store.folder / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        store.log("start", "abc")
