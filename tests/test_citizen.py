"""Habits of a good citizen: umask, what a kill leaves, Ctrl-C at any time, text that stays text."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import SecateurError, StorageError
from secateur.files import as_csv, replacing, tidy, write_text
from secateur.scenes import cache
from secateur.study.recipe import recipe_from
from secateur.study.store import Store
from test_study_store import recipe

WRITER = """
import sys, time
from pathlib import Path
from secateur.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "a", "text")
        store = Store(tmp_path / "study")
        store.open(recipe())
        store.log("start", "a")
    finally:
        os.umask(before)
    for file in (tmp_path / "a", *store.folder.iterdir()):
        assert file.stat().st_mode & 0o777 == mode, file


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The temporary file of a writer that was killed."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "features" / "a.npy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        left = Path(writer.stdout.readline().strip())
        tidy(left.parent)
        assert left.exists(), "it is being written"
        writer.send_signal(signal.SIGKILL)
    assert left.exists()
    return left


def test_a_cache_removes_what_a_kill_left_in_it(killed: Path) -> None:
    cache.store(killed.parent, {"a": 1}, (1,), [np.zeros(1, np.float16)])
    assert not killed.exists()
    assert len(list(killed.parent.iterdir())) == 2


def test_so_does_a_study_for_its_log_mels(killed: Path) -> None:
    store = Store(killed.parents[1])
    with store.lock():
        assert not killed.exists()


def test_a_file_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    young = tmp_path / ".a.1.tmp"
    young.touch()
    tidy(tmp_path)
    assert young.exists()
    os.utime(young, (0, time.time() - 3600))
    tidy(tmp_path)
    assert not young.exists()


def test_a_name_of_255_bytes_is_written_and_a_longer_one_named(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 127), "text")
    assert (tmp_path / ("é" * 127)).read_text() == "text"
    for name in ("é" * 128, "a\0b"):
        with pytest.raises(StorageError, match="cannot write"):
            write_text(tmp_path / name, "text")
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "b"):
        1 / 0  # noqa: B018
    assert len(list(tmp_path.iterdir())) == 1


STOPPED = """
import sys
wanted = sys.argv.pop(1)
class Stop:
    def find_spec(self, name, *rest):
        if name == wanted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
from secateur.cli.start import main
main()
"""


@pytest.mark.parametrize("while_loading", ["typer", "secateur.cli.main", "secateur.cli.export"])
def test_ctrl_c_while_it_loads_is_one_line(while_loading: str) -> None:
    command = [sys.executable, "-c", STOPPED, while_loading, "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "secateur: stopped\n")


def test_a_table_holds_no_formula(tmp_path: Path) -> None:
    store = Store(tmp_path / "study")
    store.open(recipe())
    store.write("a", {"id": "a", "network": "=cmd|' /C calc'!A0", "+sum": "@x", "accuracy": 0.5})
    store.rows_csv(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "id": "a",
        "network": "'=cmd|' /C calc'!A0",
        "'+sum": "'@x",
        "accuracy": "0.5",
    }
    assert as_csv([{"a": -0.5}]) == "a\n-0.5\n", "a number is no formula"
    assert as_csv([]) == "\n"


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", "é" * 200])
def test_a_study_goes_into_no_other_folder_than_it_says(name: str) -> None:
    from secateur.cli.study import _own_folder

    mapping = recipe().model_dump(mode="json") | {"name": name}
    with pytest.raises(SecateurError, match="name the study's with --out"):
        _own_folder(recipe_from(mapping))
    assert _own_folder(recipe_from(mapping | {"name": "my study"})) == Path("out/my study")
