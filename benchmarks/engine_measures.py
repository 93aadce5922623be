"""What engine.py measures of one network, in a process of its own: ours and the peer's by turns.

Times are CPU seconds of one thread, medians of repetitions; a failure stands in words where the
figure would be ("crash: …", "> 180 s").
"""

from __future__ import annotations

import copy
import ctypes
import gc
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # the code of the commit that rows name

from growing_networks import BUILT, SERIES
from zoo import shaken

import secateur as sc
from secateur.surgery.verify import Check
from timm_without_torchvision import import_timm

LIMIT = 180
"""Seconds of the clock that one call may take."""
PATIENCE = 60
"""Seconds after which no further repetition is started."""
RATIO = 0.5
SIZES = (32, 64, 96, 128, 160, 192, 224, 288, 331)

Figure = float | str
Call = Callable[[], Any]
Emit = Callable[[dict[str, Any]], None]


class OverLimit(BaseException):
    """A call took too long; no `except Exception` of the code that runs may keep it."""


def examine(name: str, rounds: int, emit: Emit) -> None:
    """Measure one network of the zoo, giving every part of its row as soon as it is there."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = network(name)
    emit({"params": count(model), "input": list(x.shape[1:])})
    for call in (partial(our_graph, model, x), partial(their_graph, model, x)):
        attempt(call)  # imports on first use are no part of any figure
    calls = {"ours": partial(our_graph, model, x), "theirs": partial(their_graph, model, x)}
    emit({"trace": by_turns(rounds, {side: lambda c=c: c for side, c in calls.items()})})
    emit({"eager": against_eager(model, x, rounds)})
    steps: list[dict[str, float]] = []
    prune: dict[str, Any] = by_turns(
        rounds,
        {
            "ours": lambda: partial(our_prune, model, x, steps),
            "theirs": lambda: partial(their_prune, copy.deepcopy(model), x),
        },
    )
    if not isinstance(prune["ours"], str):
        prune |= {"steps": {key: median(row[key] for row in steps) for key in steps[0]}}
        prune["verified"] = prune["ours"]
        prune["ours"] = median(sum(row.values()) - row["verify"] for row in steps)
    emit({"prune": prune})
    emit({"cut": {"ours": our_cut(model, x), "theirs": their_cut(model, x)}})


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network of the zoo at its own input size, or one built here, and an example."""
    family, _, size = name.partition("-")
    if family in BUILT:
        model, example = BUILT[family](int(size)), torch.randn(1, 3, 32, 32)
    else:
        model = import_timm().create_model(name)
        example = torch.randn(1, *model.default_cfg["input_size"])
    return shaken(model.eval()), example


def our_graph(model: nn.Module, x: Tensor) -> Any:
    """Which channels move together."""
    return sc.trace(model, x)


def their_graph(model: nn.Module, x: Tensor) -> Any:
    """The peer's answer to the same question: its graph and all groups."""
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=x)
    return graph, list(graph.get_all_groups(ignored_layers=classifiers(model)))


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The last layer, which the peer must be told to leave alone."""
    found = model.get_classifier() if hasattr(model, "get_classifier") else model.classifier
    return [found] if isinstance(found, nn.Module) else list(found)


def our_prune(model: nn.Module, x: Tensor, steps: list[dict[str, float]]) -> Any:
    """Trace, score, plan and cut with proof and verification; seconds of each go to `steps`."""
    marks = [time.process_time()]

    def mark(made: Any) -> Any:
        marks.append(time.process_time())
        return made

    channels = mark(sc.trace(model, x))
    scores = mark(sc.score(channels, [sc.l2])["l2"])
    plan = mark(sc.uniform(scores, channels, sc.Budget(pruning_ratio=RATIO)))
    with clocked(Check, "of") as verifying:
        pruned = mark(sc.cut(channels, plan))
    spans = [end - start for start, end in pairwise(marks)]
    row = dict(zip(("trace", "score", "plan", "cut"), spans, strict=True))
    row["cut"] -= sum(verifying)
    steps.append(row | {"verify": sum(verifying)})
    return pruned


def their_prune(model: nn.Module, x: Tensor, importance: Any = None) -> nn.Module:
    """The peer's way to the same: the model that comes in is the one that is cut."""
    tp.pruner.BasePruner(
        model,
        x,
        importance=importance or tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        ignored_layers=classifiers(model),
    ).step()
    return model


def our_cut(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """Whether our cut network runs, and how far it is from the masked one."""
    found = attempt(lambda: our_prune(model, x, []))
    if isinstance(found, str):
        return {"verdict": found}
    pruned = found[1]
    row = verdict(pruned.network, sc.mask(pruned.channels, pruned.plan), x)
    mixing = sorted({mixing.operator for mixing in pruned.channels.mixing})
    return row | {"held_back": len(pruned.plan.held_back), "mixing": mixing}


def their_cut(model: nn.Module, x: Tensor) -> dict[str, Any]:
    """Whether the peer's cut network runs, and how far it is from the masked one.

    Which elements it kept is seen by cutting a copy whose parameters hold their own positions.
    """
    value = tp.importance.GroupMagnitudeImportance(p=2)
    given: list[Tensor] = []

    def recording(group: Any) -> Tensor:
        given.append(value(group))
        return given[-1]

    found = attempt(lambda: their_prune(copy.deepcopy(model), x, recording))
    if isinstance(found, str):
        return {"verdict": found}
    positions = copy.deepcopy(model).double()
    with torch.no_grad():
        for parameter in positions.parameters():
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter))
    again = iter(given)
    kept = attempt(lambda: their_prune(positions, x.double(), lambda _: next(again)))
    if isinstance(kept, str):
        return {"verdict": f"not compared, {kept}", "params": count(found[1])}
    masked = copy.deepcopy(model).double()
    survivors = dict(kept[1].named_parameters())
    with torch.no_grad():
        for name, parameter in masked.named_parameters():
            stays = torch.zeros(parameter.numel(), dtype=parameter.dtype)
            stays[survivors[name].detach().flatten().long()] = 1
            parameter.mul_(stays.view_as(parameter))
    return verdict(found[1], masked, x)


def verdict(small: nn.Module, masked: nn.Module, x: Tensor) -> dict[str, Any]:
    """Compare in float64; the error is relative to the largest output of the masked network."""
    row: dict[str, Any] = {"params": count(small)}
    found = attempt(lambda: copy.deepcopy(small).double().eval()(x.double()))
    if isinstance(found, str):
        return row | {"verdict": f"does not run, {found}"}
    with torch.no_grad():
        wanted = copy.deepcopy(masked).double().eval()(x.double())
    error = float((found[1].detach() - wanted).abs().max() / wanted.abs().max())
    return row | {"verdict": "exact" if error <= 1e-6 else "differs", "error": error}


def against_eager(model: nn.Module, x: Tensor, rounds: int) -> dict[str, Any]:
    """Our trace and one eager forward on the smallest input that runs."""
    for size in SIZES:
        small = torch.randn(1, x.shape[1], size, size)
        with torch.no_grad():
            if not isinstance(attempt(lambda small=small: model(small)), str):
                break

    def forward() -> Any:
        with torch.no_grad():
            return model(small)

    calls = {"trace": partial(our_graph, model, small), "forward": forward}
    return {"size": size} | by_turns(2 * rounds, {side: lambda c=c: c for side, c in calls.items()})


def examine_growth(name: str, rounds: int, with_peer: bool, emit: Emit) -> None:
    """Time trace, plan with proof, and the peer's graph of a network built here."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = network(name)
    emit({"params": count(model), "input": list(x.shape[1:])})
    family = name.partition("-")[0]
    toy = network(f"{family}-{SERIES[family][0]}")
    for graph in (our_graph, their_graph):
        attempt(partial(graph, *toy))  # imports on first use are no part of any figure
    channels = sc.trace(model, x)
    scores = sc.score(channels, [sc.l2])["l2"]

    def plan_and_prove() -> Any:
        return sc.cut(
            sc.trace(model, x), sc.uniform(scores, channels, sc.Budget(pruning_ratio=RATIO))
        ).plan

    calls: dict[str, Call] = {"ours": partial(our_graph, model, x), "proof": plan_and_prove}
    if with_peer:
        calls["theirs"] = partial(their_graph, model, x)
    emit({"growth": by_turns(rounds, {side: lambda c=c: c for side, c in calls.items()})})


def first_use(name: str, side: str, emit: Emit) -> None:
    """In a fresh process: the first trace of a toy, then the memory that tracing `name` adds."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    graph = {"ours": our_graph, "theirs": their_graph}[side]
    sc.trace  # noqa: B018  importing it is no part of its first call
    found = attempt(partial(graph, *network("chain-2")))
    emit({"first": {side: found if isinstance(found, str) else found[0]}})
    model, x = network(name)
    emit({"memory": {side: extra_memory(partial(graph, model, x))}})


def extra_memory(call: Call) -> Figure:
    """Growth of the resident memory at its peak while `call` runs, MB (needs Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    found = attempt(call)
    return found if isinstance(found, str) else (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def by_turns(rounds: int, prepared: dict[str, Callable[[], Call]]) -> dict[str, Any]:
    """Median CPU seconds of several calls, taken by turns; preparing one is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in prepared}
    failed: dict[str, str] = {}
    began = time.monotonic()
    for _ in range(rounds):
        for name, prepare in prepared.items():
            if name in failed:
                continue
            found = attempt(prepare())
            if isinstance(found, str):
                failed[name] = found
            else:
                seconds[name].append(found[0])
            del found
        if time.monotonic() - began > PATIENCE:
            break
    figures = {name: failed.get(name) or median(taken) for name, taken in seconds.items()}
    return figures | {"repetitions": max(len(taken) for taken in seconds.values())}


def attempt(call: Call) -> tuple[float, Any] | str:
    """CPU seconds and result of a call, or how it failed."""
    gc.collect()
    try:
        with limited(LIMIT):
            began = time.process_time()
            made = call()
            return time.process_time() - began, made
    except OverLimit:
        return f"> {LIMIT} s"
    except Exception as error:
        said = (str(error).splitlines() or [""])[0][:120]
        return f"crash: {type(error).__name__}: {said}".removesuffix(": ")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `OverLimit` inside if it takes longer than this by the clock."""

    def stop(_: int, __: FrameType | None) -> None:
        raise OverLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def clocked(module: Any, name: str) -> Iterator[list[float]]:
    """CPU seconds of every call of a function of a module, or of a method of a class."""
    function, seconds = getattr(module, name), []

    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.process_time() - began)

    setattr(module, name, timed)
    try:
        yield seconds
    finally:
        setattr(module, name, function)


def count(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
