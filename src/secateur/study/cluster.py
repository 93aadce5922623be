"""Work on a cluster of Ray: the generator of `pool`, over several machines. Needs the extra ray.

All machines must see the study's folder under the same path. Which rows there are decides what is
done; of Ray's own retries, scheduling hints and results nothing is used. Loads neither Ray nor
torch before there is work.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import floor, isfinite
from pathlib import Path
from typing import Any

from secateur.errors import ReadError, SecateurError, StudyError, brief, install
from secateur.files import write_text
from secateur.networks.factory import find_factory
from secateur.reading import read_text
from secateur.study.cells import Unit
from secateur.study.networks import OwnNetwork
from secateur.study.recipe import Recipe
from secateur.study.store import Store
from secateur.study.work import (
    TICK_SECONDS,
    Failure,
    Results,
    RunUnit,
    begin,
    prepare_process,
    work,
)
from secateur.version import __version__

_TRIES = 3
"""A unit whose worker or machine is lost is tried again this often in all."""
_CONNECT_SECONDS = 5.0
_LOOK_SECONDS = 60.0
"""A machine that has not said in this time whether it sees the study's folder is left alone."""
_STOP_SECONDS = 10.0
_TOKEN = ".cluster.tmp"
_LOCAL: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 80_000_000}
"""Of a cluster of one's own; rows go through files, so that its object store stays empty."""


@dataclass(frozen=True)
class Cluster:
    """Where runs go and what each is given.

    `address` is "local" (workers of Ray on this machine, for the time of the study), "auto" (the
    cluster this machine is a node of) or HOST:PORT of the head of that cluster. A run gets one
    torch thread a CPU.
    """

    address: str = "auto"
    cpus_per_run: float = 1
    gpus_per_run: float = 0

    def __post_init__(self) -> None:
        if self.address.startswith("ray://"):
            raise StudyError(
                f"{self.address!r} names a Ray client server; run the command on a node of the "
                'cluster and name "auto"'
            )
        if not (isfinite(self.cpus_per_run) and self.cpus_per_run > 0):
            raise StudyError(f"cpus_per_run {self.cpus_per_run}: give a number above 0")
        if not (isfinite(self.gpus_per_run) and self.gpus_per_run >= 0):
            raise StudyError(f"gpus_per_run {self.gpus_per_run}: give a number of at least 0")

    def slots(self, nodes: Sequence[dict[str, Any]]) -> int:
        """How many runs these nodes, as Ray lists them, can do at a time."""
        wanted = {"CPU": self.cpus_per_run, "GPU": self.gpus_per_run}
        return sum(
            min(floor(node["Resources"].get(what, 0) / n) for what, n in wanted.items() if n)
            for node in nodes
        )


def in_cluster(
    waiting: Sequence[Unit], store: Store, run_unit: RunUnit, recipe: Recipe, cluster: Cluster
) -> Results:
    """Run units as tasks of Ray; one whose worker or machine is lost is tried again.

    Raises:
        StudyError: Ray is not installed, no cluster answers, no node has what a run needs, or a
            node does not see the study's folder.
    """
    if not waiting:
        return
    folder = store.folder.resolve()
    with _connected(cluster) as ray, _token(folder) as token:
        own = tuple(one for one in recipe.networks if isinstance(one, OwnNetwork))
        _check(ray, cluster, folder, token, own)
        task = ray.remote(_run).options(
            max_retries=0, num_cpus=cluster.cpus_per_run, num_gpus=cluster.gpus_per_run
        )
        todo = deque(waiting)
        losses: Counter[str] = Counter()
        running: dict[Any, Unit] = {}
        try:
            while todo or running:
                # One more than fits, so that no slot waits and a cluster that can grow does.
                while todo and len(running) <= cluster.slots(_nodes(ray)):
                    unit = todo[0]
                    begin(store, unit)
                    running[
                        task.remote(run_unit, unit, folder, recipe, token, cluster.cpus_per_run)
                    ] = unit
                    todo.popleft()
                for ended in ray.wait([*running], timeout=TICK_SECONDS)[0]:
                    unit = running.pop(ended)
                    failure, lost = _result(ray, ended)
                    losses[unit.base.id] += lost
                    if lost and losses[unit.base.id] < _TRIES:
                        todo.append(unit)
                        continue
                    _look_again(store, unit)
                    yield unit, failure
                yield None
        finally:
            _stop(ray, list(running))


def _run(
    run_unit: RunUnit, unit: Unit, folder: Path, recipe: Recipe, token: str, cpus: float
) -> Failure | None:
    """What a task does, on whatever node."""
    if unseen := _unseen(folder, token):
        text = f"node {socket.gethostname()} {unseen}"
        return Failure(text, text, no_room=True)
    prepare_process(threads=max(1, int(cpus)))
    return work(run_unit, unit, folder, recipe)


def _result(ray: Any, ended: Any) -> tuple[Failure | None, bool]:
    """A task's failure, if any, and whether its worker was lost."""
    lost = (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.LocalRayletDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    )
    try:
        return ray.get(ended), False
    except lost as error:
        text = f"its worker was lost {_TRIES} times ({type(error).__name__}); was memory short?"
        return Failure(text, str(error)), True
    except ray.exceptions.RayError as error:
        return Failure(brief(error), str(error)), False


# The cluster


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to the cluster; a connection the caller has stands afterwards."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if cluster.address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise StudyError(
            f"a cluster needs Ray, which is not installed; run {install('ray')}"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    _knock(cluster.address)
    own: dict[str, Any] = _LOCAL if cluster.address == "local" else {}
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise StudyError(
            f"no cluster of Ray at {cluster.address!r} ({brief(error)}); start one with "
            '`ray start --head`, or name "local"'
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Whether somebody listens at HOST:PORT; Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StudyError(
            f"nobody answers at {address} ({error}); start a cluster with `ray start --head`, or "
            "name the address it printed"
        ) from error


def _nodes(ray: Any) -> list[dict[str, Any]]:
    alive = [node for node in ray.nodes() if node["Alive"]]
    return sorted(alive, key=lambda node: str(node["NodeManagerAddress"]))


def _check(
    ray: Any, cluster: Cluster, folder: Path, token: str, own: tuple[OwnNetwork, ...]
) -> None:
    """See that a run fits a node, that every node sees the folder, has this version and `own`."""
    nodes = _nodes(ray)
    if not cluster.slots(nodes):
        there = "; ".join(
            f"{node['NodeManagerAddress']} has {node['Resources'].get('CPU', 0):g} CPUs and "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in nodes
        )
        raise StudyError(
            f"no node has {cluster.cpus_per_run:g} CPUs and {cluster.gpus_per_run:g} GPUs for a "
            f"run ({there}); ask for less with --cpus-per-run and --gpus-per-run"
        )
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as Pinned

    looks = {
        ray.remote(_look)
        .options(num_cpus=0, max_retries=0, scheduling_strategy=Pinned(node["NodeID"], soft=False))
        .remote(folder, token, __version__, own): node["NodeManagerAddress"]
        for node in nodes
    }
    for look in ray.wait([*looks], num_returns=len(looks), timeout=_LOOK_SECONDS)[0]:
        try:
            wrong = ray.get(look)
        except ray.exceptions.RayTaskError as error:
            wrong = f"cannot import secateur ({brief(error.cause)}); install it on every node"
        except ray.exceptions.RayError:
            continue  # the node was lost since
        if wrong:
            raise StudyError(f"node {looks[look]} {wrong}")


def _look(folder: Path, token: str, version: str, own: tuple[OwnNetwork, ...]) -> str:
    """What is wrong with the node this runs on, in words, or nothing."""
    if version != __version__:
        return f"has secateur {__version__}, the driver {version}; install the same everywhere"
    for network in own:
        try:
            find_factory(network.factory, network.folder)
        except SecateurError as error:
            return f"has no network {network.name!r}: {error}"
    return _unseen(folder, token)


def _stop(ray: Any, running: list[Any]) -> None:
    """End tasks at once, and wait until they have ended."""
    for task in running:
        with suppress(ray.exceptions.RayError, ValueError):
            ray.cancel(task, force=True)
    if running:
        ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)


# The folder that all nodes share


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """A file in the folder that nodes look for, while the study runs."""
    token = secrets.token_hex(8)
    file = folder / _TOKEN
    write_text(file, token)
    try:
        yield token
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)


def _unseen(folder: Path, token: str) -> str:
    """Why this node may not write to the folder, in words; nothing if it may."""
    try:
        there = read_text(folder / _TOKEN)
    except ReadError:
        there = ""
    if there != token:
        return (
            f"does not see {folder} as the driver does; put the study on a file system that all "
            "nodes mount at the same path"
        )
    return ""


def _look_again(store: Store, unit: Unit) -> None:
    """List the folders of a unit: a network file system then shows what other nodes wrote."""
    runs = [store.path(cell.id) for cell in unit.cells]
    for folder in {store.folder, runs[0].parent, store.folder / "failed", *runs}:
        with suppress(OSError):
            next(folder.iterdir(), None)
