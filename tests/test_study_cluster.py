"""A study on real clusters of Ray, two nodes on loopback, of which workers and nodes are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import test_study_execute
from secateur.cli.main import app
from secateur.errors import StudyError
from secateur.study.cells import Unit, units
from secateur.study.cluster import Cluster
from secateur.study.execute import execute
from secateur.study.recipe import Recipe
from secateur.study.store import Store
from test_study_execute import (
    alive,
    cells,
    each_cell,
    environment,
    expected,
    short,
    starts,
    study,
    wait_for,
)
from test_study_run import TINY, settled

needs_ray = pytest.mark.skipif(
    not shutil.which("ray", path=str(Path(sys.executable).parent)),
    reason="Ray is not installed: pip install '.[ray]'",
)
HEAD = "127.0.0.2:6391"


def slow(unit: Unit, folder: Path, recipe: Recipe) -> None:
    each_cell(unit, folder, lambda cell: time.sleep(0.2))


def held(unit: Unit, folder: Path, recipe: Recipe) -> None:
    """Stop at the third cell until the test says go."""
    third = unit.cells[2]
    go = folder.parent / "go"
    each_cell(unit, folder, lambda cell: wait_for(go.exists, 300) if cell is third else None)


def seeing(home: Path) -> dict[str, str]:
    """An environment in which Ray keeps to itself."""
    return environment() | {
        "HOME": str(home),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def node(home: Path, host: str, cpus: int = 1, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """A node of the cluster, the head if it is the first; its processes are one session."""
    head = host == HEAD.partition(":")[0]
    place = ["--head", f"--port={HEAD.partition(':')[2]}", "--include-dashboard=false"]
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--node-ip-address={host}"]
    ray += [*place, f"--temp-dir={home}"] if head else [f"--address={HEAD}"]
    ray += [f"--num-cpus={cpus}", "--object-store-memory=80000000", "--disable-usage-stats"]
    ray += ["--block"]
    command = ["unshare", "-m", "sh", "-c", f'{before} && exec "$@"', "-", *ray] if before else ray
    with (home / f"{host}.log").open("w") as log:
        process = subprocess.Popen(
            command, env=seeing(home), stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        log = home / f"{host}.log"
        wait_for(lambda: "--block" in log.read_text() or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process with everything it started, at once."""
    for pid in session(process):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(30)


def session(process: subprocess.Popen[str]) -> list[int]:
    """A process that leads its session, and all others in it; workers of Ray lead groups."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(folder.name)) == process.pid:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder for Ray, with a name short enough for its sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def two_nodes(home: Path) -> Iterator[Path]:
    with node(home, "127.0.0.2"), node(home, "127.0.0.3"):
        yield home


def drive(folder: str, work: str, address: str, cpus: float = 1) -> None:
    store = Store(Path(folder))
    cluster = Cluster(address, cpus_per_run=cpus)
    work_units = units(store.recipe())
    run_unit = getattr(sys.modules[__name__], work, None) or getattr(test_study_execute, work)
    outcome = execute(work_units, store, run_unit, cluster=cluster)
    sys.stdout.write(f"{outcome.done} {outcome.failed} {outcome.skipped}\n")


@contextmanager
def driver(
    folder: Path, work: str, home: Path, address: str = HEAD, cpus: float = 1
) -> Iterator[subprocess.Popen[str]]:
    arguments = (str(folder), work, address, cpus)
    code = f"from test_study_cluster import drive; drive(*{arguments!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=seeing(home),
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


def says(process: subprocess.Popen[str]) -> str:
    """The last line a driver prints, to its errors if it fails; Ray prints before."""
    out, errors = process.communicate(timeout=180)
    return (errors if process.returncode else out).splitlines()[-1]


@needs_ray
@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_cost_no_row(two_nodes: Path, tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    with (
        node(two_nodes, "127.0.0.4", cpus=2) as third,
        driver(store.folder, "held", two_nodes) as process,
    ):
        wait_for(lambda: len(alive(store.folder)) == 4 and len(store.rows()) == 8, 180)
        there = {*alive(store.folder)} & {*session(third)}
        elsewhere = {*alive(store.folder)} - there
        assert (len(there), len(elsewhere)) == (2, 2)
        os.kill(elsewhere.pop(), signal.SIGKILL)
        kill(third)
        wait_for(lambda: not there & {*alive(store.folder)})
        (tmp_path / "go").touch()
        assert says(process) == "40 0 0"
    undisturbed, _ = study(tmp_path / "local" / "study")
    execute(work, undisturbed, short, workers=2)
    assert store.rows(cells(work)) == undisturbed.rows(cells(work)) == expected(work)
    assert store.failures() == ()
    # Three workers were lost in their third cell: it was begun again, the rows before were not.
    again = Counter(starts(store).values())
    assert again == {1: 37, 2: 3}
    assert not list(store.folder.glob(".*"))


@needs_ray
@pytest.mark.nightly
def test_a_unit_whose_workers_die_fails_alone(two_nodes: Path, tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    with driver(store.folder, "dies_always", two_nodes) as process:
        assert says(process) == "37 3 0"
    assert (tmp_path / "died").read_text() == "xxx"
    assert {failure["error"] for failure in store.failures()} == {
        "its worker was lost 3 times (WorkerCrashedError); was memory short?"
    }
    with driver(store.folder, "short", two_nodes) as process:
        assert says(process) == "3 0 37"
    assert store.failures() == ()


@needs_ray
@pytest.mark.slow
def test_an_exception_fails_its_cell_or_its_unit_only(two_nodes: Path, tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    with driver(store.folder, "raises", two_nodes) as process:
        assert says(process) == "12 28 0"
    assert Counter(failure["error"] for failure in store.failures()) == {
        "TwoWords: no seed": 10,
        "the work came to its end without writing this row": 10,
        "TwoWords: no l2": 8,
    }


@needs_ray
@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along(two_nodes: Path, tmp_path: Path) -> None:
    store, work = study(tmp_path / "study")
    with driver(store.folder, "slow", two_nodes) as process:
        wait_for(lambda: len(store.rows()) > 4 and len(alive(store.folder)) == 2)
        process.kill()
    wait_for(lambda: not alive(store.folder), 30)
    kept = len(store.rows())
    assert kept < 40
    with driver(store.folder, "slow", two_nodes) as process:
        assert says(process) == f"{40 - kept} 0 {kept}"
    assert store.rows(cells(work)) == expected(work)
    assert sum(starts(store).values()) <= 40 + 2


@needs_ray
@pytest.mark.slow
def test_ctrl_c_stops_and_says_how_to_go_on(two_nodes: Path, tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    for n in (4, 8, 12):
        with driver(store.folder, "slow", two_nodes) as process:
            wait_for(lambda n=n: len(store.rows()) > n)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        if "An unexpected system state" not in errors:  # Ray's own core may abort then; go on
            break
    assert process.returncode != 0
    said = f"stopped; {len(store.rows())} of 40 rows are in {store.folder}; run the same command"
    assert f"KeyboardInterrupt: {said}" in errors
    assert store.events()[-1].what == "stop"
    wait_for(lambda: not alive(store.folder), 10)
    assert store.failures() == ()


@needs_ray
@pytest.mark.slow
def test_what_no_node_has_is_said(two_nodes: Path, tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    with driver(store.folder, "short", two_nodes, cpus=8) as process:
        last = says(process)
    assert "StudyError: no node has 8 CPUs and 0 GPUs for a run (127.0.0.2 has 1 CPUs" in last
    assert "127.0.0.3 has 1 CPUs and 0 GPUs" in last
    assert store.events() == ()


@needs_ray
@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_is_named(two_nodes: Path, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("a node with a file system of its own cannot be started here (needs root)")
    store, _ = study(tmp_path / "study")
    hide = f"mount -t tmpfs none {store.folder}"
    with (
        node(two_nodes, "127.0.0.5", before=hide),
        driver(store.folder, "short", two_nodes) as process,
    ):
        last = says(process)
    assert f"StudyError: node 127.0.0.5 does not see {store.folder} as the driver does" in last
    assert store.events() == ()


@needs_ray
@pytest.mark.nightly
def test_a_real_study_on_ray_whose_worker_is_killed(home: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(TINY | {"seeds": 2}))
    command = [sys.executable, "-m", "secateur.cli", "study", "run", str(recipe), "--json", "--out"]
    stores = [Store(tmp_path / "ray"), Store(tmp_path / "here")]
    with subprocess.Popen(
        [*command, str(stores[0].folder), "--ray", "local"],
        env=seeing(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            wait_for(lambda: stores[0].rows(), 120)
            os.kill(at_work(process.pid)[0], signal.SIGKILL)
            out, errors = process.communicate(timeout=300)
        finally:
            kill(process)
    assert process.returncode == 0, errors
    assert "A worker died or was killed" in errors
    assert (json.loads(out)["done"], json.loads(out)["failed"]) == (40, 0)
    here = [*command, str(stores[1].folder), "--workers", "0"]
    subprocess.run(here, env=seeing(home), capture_output=True, timeout=300, check=True)
    assert settled(stores[0].rows()) == settled(stores[1].rows())


def at_work(driver: int) -> list[int]:
    """Workers of a cluster of the driver's own that run a unit."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            before, _, after = stat.read_text().rpartition(")")
            parents[int(stat.parent.name)] = int(after.split()[1])
            names[int(stat.parent.name)] = before.partition("(")[2]
    raylets = [pid for pid, name in names.items() if name == "raylet" and parents[pid] == driver]
    return [pid for pid, name in names.items() if name == "ray::_run" and parents[pid] in raylets]


# Without Ray


def refusal(store: Store, cluster: Cluster, before: str = "") -> str:
    code = (
        f"import sys; {before}\n"
        "from test_study_cluster import *\n"
        f"store = Store(Path({str(store.folder)!r}))\n"
        f"execute(units(store.recipe()), store, slow, cluster={cluster!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_without_ray_its_extra_is_named(tmp_path: Path) -> None:
    store, _ = study(tmp_path / "study")
    last = refusal(store, Cluster("local"), "sys.modules['ray'] = None")
    assert "needs Ray, which is not installed; run pip install '.[ray]'" in last


@needs_ray
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("nonsense", "no cluster of Ray at 'nonsense'"),
    ],
)
def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, address: str, said: str) -> None:
    store, _ = study(tmp_path / "study")
    last = refusal(store, Cluster(address))
    assert f"StudyError: {said}" in last
    assert "ray start --head" in last


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"address": "ray://head:10001"}, "run the command on a node"),
        ({"cpus_per_run": 0}, "above 0"),
        ({"cpus_per_run": float("nan")}, "above 0"),
        ({"gpus_per_run": -1}, "at least 0"),
    ],
)
def test_wrong_clusters_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        Cluster(**arguments)


def test_slots_are_counted_node_by_node() -> None:
    nodes = [{"Resources": {"CPU": 3.0}}, {"Resources": {"CPU": 5.0, "GPU": 1.0}}]
    assert Cluster(cpus_per_run=2).slots(nodes) == 1 + 2
    assert Cluster(cpus_per_run=2, gpus_per_run=1).slots(nodes) == 1
    assert Cluster(cpus_per_run=1, gpus_per_run=0.5).slots(nodes) == 2
    assert Cluster(cpus_per_run=6).slots(nodes) == 0


def test_a_finished_study_asks_no_cluster(tmp_path: Path) -> None:
    store, work = study(tmp_path / "study", seeds=1)
    execute(work, store, slow, workers=0)
    assert execute(work, store, slow, cluster=Cluster("127.0.0.1:1")).skipped == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cpus-per-run", "2"], "need --ray"),
        (["--ray", "local", "-j", "2"], "--workers is for this machine"),
        (["--ray", "ray://head:10001"], "run the command on a node"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = CliRunner().invoke(app, ["study", "run", str(tmp_path / "none.yaml"), *arguments])
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"
