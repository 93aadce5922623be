"""The whole road on networks that nobody here wrote, with torch-pruning and torch-kirigami beside.

    python benchmarks/foreign.py                 run what is missing, then write docs/foreign.md
    python benchmarks/foreign.py hf_vit yolo11n  run these (again) and print
    python benchmarks/foreign.py --times         time again, of every row there is
    python benchmarks/foreign.py --table         write the page from the rows there are

For each network of `foreign_networks.py`: half the MACs over all groups together and by the same
share of every group; the cut verified, saved, loaded in another process and equal there; a step of
training; other sizes of input; the peers' cuts. Then our trace against torch-pruning's graph with
all groups, by turns in one process (CPU seconds of one thread, the least of three), of the network
and of the one that is published, if that is larger. Every network runs in processes of its own with
a time limit; rows are appended to out/foreign/rows.jsonl, so that a stopped run goes on.

Needs an environment of its own with torch, the packages of `foreign_networks.py` and both peers:
the page says which versions. Packages that pin an older torch are installed with `--no-deps`.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))  # the code of this commit

import torch
import zoo
from foreign_networks import FOREIGN, stand_ins
from foreign_page import page
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

ROWS = Path(__file__).parents[1] / "out" / "foreign" / "rows.jsonl"
PAGE = Path(__file__).parents[1] / "docs" / "foreign.md"
TIME_LIMIT = 300
PEER_LIMIT = 120
"""Seconds for all of our road, and for a peer's cut."""

Row = dict[str, Any]


def built(name: str) -> tuple[nn.Module, Any]:
    """A network with weights that a seed gives, in evaluation mode, and an example."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    stand_ins()
    network = FOREIGN[name]
    return zoo.shaken(network.build().eval()), network.example()


def published(name: str) -> tuple[nn.Module, Any] | None:
    """A network as its package has it, if the one of `built` is a smaller one."""
    if (made := FOREIGN[name].published) is None:
        return None
    build, example = made
    return build().eval(), example()


def called(model: nn.Module, x: Any) -> list[Tensor]:
    """The tensors of a network's answer."""
    from secateur.channels.trace import call_arguments
    from secateur.channels.walk import tensors_within

    args, kwargs = call_arguments(x)
    return tensors_within(model(*args, **kwargs))


def ours(name: str) -> Row:
    """All of our road."""
    import secateur as sc
    from secateur.channels.cost import cost
    from secateur.errors import BudgetError

    model, x = built(name)
    row: Row = {"params": sum(p.numel() for p in model.parameters())}
    with torch.no_grad():
        called(model, x)
    channels = sc.trace(model, x)
    row["groups"], row["unknown"] = len(channels.groups), list(channels.unknown)
    row["pinned"] = [
        f"{p.reason}, {p.source}" for p in channels.pinned if "interface" not in p.source
    ]
    with tempfile.TemporaryDirectory() as folder:
        answers = {}
        for scope, normalisation in (("uniform", "none"), ("global", "mean")):
            words: dict[str, Any] = {"scope": scope, "normalisation": normalisation}
            began = time.process_time()
            try:
                pruned = sc.prune(model, x, macs="50%", **words)
            except BudgetError as error:
                row[scope] = {"refused": str(error)[:400]}
                continue
            found = pruned.verification
            row[scope] = {
                "seconds": round(time.process_time() - began, 2),
                "share": pruned.plan.after.macs / cost(channels).macs,
                "verdict": found.verdict,
                "exact": found.exact,
                "error": found.largest_error,
                "inputs": list(found.inputs),
                "held_back": dict(pruned.plan.held_back),
                "trains": trains(pruned.network, x),
            }
            row |= zoo.shares(channels, dict.fromkeys(pruned.plan.held_back))
            pruned.save(Path(folder) / f"{scope}.safetensors")
            with torch.no_grad():
                answers[scope] = called(pruned.network, x)
        torch.save(x, Path(folder) / "x.pt")
        command = [sys.executable, __file__, "--load", name, folder, *answers]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        for scope, answer in answers.items():
            if told.returncode:
                row[scope]["loaded"] = told.stderr.strip().splitlines()[-1][:300]
            else:
                loaded = torch.load(Path(folder) / f"{scope}.pt", weights_only=True)
                row[scope]["loaded"] = apart(loaded, answer)
    return row


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference over the largest number."""
    errors = [
        float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30))
        for a, b in zip(one, other, strict=True)
        if b.numel() and not b.is_complex()
    ]
    return max(errors, default=0.0)


def trains(network: nn.Module, x: Any) -> bool | str:
    """Whether a step of training runs and moves a weight."""
    network = copy.deepcopy(network).train()
    before = [p.detach().clone() for p in network.parameters()]
    try:
        torch.manual_seed(0)
        answers = [t for t in called(network, x) if t.requires_grad and t.is_floating_point()]
        sum(t.square().mean() for t in answers).backward()
        torch.optim.SGD(network.parameters(), lr=0.1).step()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def load(name: str, folder: Path, scopes: list[str]) -> None:
    """What the files' networks answer where nobody has traced or cut anything."""
    import secateur as sc

    built(name)
    x = torch.load(folder / "x.pt", weights_only=True)
    for scope in scopes:
        small = sc.load(folder / f"{scope}.safetensors", build=FOREIGN[name].build).eval()
        with torch.no_grad():
            answer = [t.detach().clone() for t in called(small, x)]
        torch.save(answer, folder / f"{scope}.pt")


def theirs(name: str) -> Row:
    """torch-pruning: its graph with all groups, and a cut of half the channels."""
    import torch_pruning as tp

    model, x = built(name)
    row: Row = {}
    before, x = distinct(model), in_float64(x)
    small = copy.deepcopy(before)
    began = time.process_time()
    try:
        tp.pruner.BasePruner(
            small,
            x,
            importance=tp.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=0.5,
            ignored_layers=last_layers(small, x),
        ).step()
        row["seconds"] = round(time.process_time() - began, 2)
        row |= judged(small, before, x)
    except Exception as error:
        row |= {"verdict": "failed", "failure": f"{type(error).__name__}: {error}"[:200]}
    return row


def kirigami(name: str) -> Row:
    """torch-kirigami: a cut to half the parameters, by its own choice of groups."""
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import Greedy, GroupMagnitude, ParameterBudget, Pruner

    from secateur.channels.trace import call_arguments

    model, x = built(name)
    before, x = distinct(model), in_float64(x)
    small = copy.deepcopy(before)
    args, kwargs = call_arguments(x)
    budget = ParameterBudget(max_params=sum(p.numel() for p in small.parameters()) // 2)
    began = time.process_time()
    try:
        graph = DependencyGraph.build(small, args=args, kwargs=kwargs)
        pruner = Pruner(small, graph=graph)
        candidates = pruner.discover_candidates()
        small, _ = pruner.prune(candidates, budget=budget, strategy=Greedy(GroupMagnitude(p=1)))
        seconds = round(time.process_time() - began, 2)
        return {"seconds": seconds, **judged(small, before, x)}
    except Exception as error:
        return {"verdict": "failed", "failure": f"{type(error).__name__}: {error}"[:200]}


def distinct(model: nn.Module) -> nn.Module:
    """In float64, no two elements of its parameters alike."""
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-9 * torch.rand_like(parameter))
    return model


def in_float64(x: Any) -> Any:
    """An example with wide numbers."""
    return tree_map_only(Tensor, lambda t: t.double() if t.is_floating_point() else t, x)


def last_layers(model: nn.Module, x: Any) -> list[nn.Module]:
    """The layers whose outputs the network puts out, which the peer must be told to leave alone."""
    import secateur as sc

    names = {
        p.parameter.rpartition(".")[0]
        for p in sc.trace(model, x).pinned
        if "interface" in p.source and getattr(p, "parameter", "")
    }
    return [model.get_submodule(name) for name in names]


def judged(small: nn.Module, model: nn.Module, x: Any) -> Row:
    """The peer's result against the network with 0 for every element that is not in the result."""
    kept = torch.cat([p.detach().flatten() for p in small.parameters()])
    gone = sum(p.numel() for p in model.parameters()) - len(kept)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in masked.parameters():
            parameter.mul_(torch.isin(parameter, kept))
        error = apart(called(small.eval(), x), called(masked.eval(), x))
    verdict = "unchanged" if not gone else "exact" if error <= 1e-10 else "differs"
    return {"verdict": verdict, "error": error, "removed": gone}


def times(name: str) -> Row:
    """CPU seconds of both sides by turns: of the network and of the one published."""
    small, full = built(name), published(name)
    row: Row = {"small": race(*small)}
    return row if full is None else row | {"published": race(*full)}


def race(model: nn.Module, x: Any) -> dict[str, float | str]:
    """Our trace and torch-pruning's graph with all groups: the least of three after a first."""
    import torch_pruning as tp

    import secateur as sc

    def theirs() -> None:
        list(tp.DependencyGraph().build_dependency(model, example_inputs=x).get_all_groups())

    found: dict[str, float | str] = {}
    sides = {"ours": lambda: sc.trace(model, x), "theirs": theirs}
    with torch.no_grad():
        called(model, x)
    for turn in range(4):
        for side, call in sides.items():
            if isinstance(found.get(side), str):
                continue
            began = time.process_time()
            try:
                call()
            except Exception as error:
                found[side] = f"{type(error).__name__}: {error}"[:200]
                continue
            took = time.process_time() - began
            if turn:
                found[side] = min(found.get(side, took), took)
    return found


SIDES = {"ours": ours, "theirs": theirs, "kirigami": kirigami, "times-of": times}
"""What there is to know of a network, each in a process of its own."""


def run(name: str, row: Row) -> Row:
    """One network, each side that its row lacks in a process of its own."""
    package = FOREIGN[name].package
    about = {"name": name, "package": package, "version": metadata.version(package)}
    row = row or about | {"commit": zoo.commit(), "timed": zoo.commit()}
    for side in SIDES:
        if side not in row:
            limit = PEER_LIMIT if side in ("theirs", "kirigami") else TIME_LIMIT
            row[side] = zoo.told(__file__, f"--{side}", name, seconds=limit)
    return zoo.kept(ROWS, row)


def timed(row: Row) -> Row:
    """A row with its times taken anew."""
    found = zoo.told(__file__, "--times-of", row["name"], seconds=TIME_LIMIT)
    return zoo.kept(ROWS, row | {"times-of": found, "timed": zoo.commit()})


def row_of(side: Any, name: str) -> Row:
    """A row of one side, or why there is none."""
    try:
        found: Row = side(name)
    except Exception as error:
        at = traceback.format_exc().strip().splitlines()[-3:-1]
        return {"failure": f"{type(error).__name__}: {error}"[:400], "at": at}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    for side in SIDES:
        parser.add_argument(f"--{side}", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--times", action="store_true", help="time again, of every row there is")
    parser.add_argument("--table", action="store_true", help="write the page and run nothing")
    asked = parser.parse_args()
    if asked.load:
        name, folder, *scopes = asked.load
        load(name, Path(folder), scopes)
        return
    for side, function in SIDES.items():
        if name := vars(asked)[side.replace("-", "_")]:
            print("\n" + json.dumps(row_of(function, name)))
            return
    known = zoo.rows(ROWS)
    if asked.times:
        known |= {name: timed(known[name]) for name in asked.names or known}
        asked.table = not asked.names
    for name in () if asked.times else asked.names or (() if asked.table else FOREIGN):
        if asked.names or SIDES.keys() - known.get(name, {}).keys():
            known[name] = run(name, {} if asked.names else known.get(name, {}))
            print(json.dumps(known[name])[:600], flush=True)
    if not asked.names:
        PAGE.write_text(page([known[name] for name in FOREIGN if name in known], len(FOREIGN)))


if __name__ == "__main__":
    main()
