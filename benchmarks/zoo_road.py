"""The whole road on every architecture of the zoo: prune to half the MACs, save, load elsewhere.

    python benchmarks/zoo_road.py               run what is missing; print every row
    python benchmarks/zoo_road.py --sample 3    every third architecture
    python benchmarks/zoo_road.py resnet18 …    run these (again) and print

Every architecture is pruned twice: over all groups together in one step, and the same share of
every group in three steps. What comes out is held to its budget, saved, and loaded in a process of
its own, which builds the network anew and says what it answers. Rows are appended to
out/zoo/road.jsonl, so that a stopped run goes on. Needs timm (not torchvision).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import zoo

ROWS = zoo.ROWS.with_name("road.jsonl")
TIME_LIMIT = 1200


def built(name: str) -> Any:
    """The architecture with weights that a seed gives."""
    import torch

    from timm_without_torchvision import import_timm

    torch.manual_seed(0)
    return zoo.shaken(import_timm().create_model(name).eval())


def walk(name: str) -> dict[str, Any]:
    """Prune one architecture both ways; whether the budget is met, and the files are right."""
    import torch

    import secateur as sc
    from secateur.errors import SecateurError

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    row: dict[str, Any] = {"name": name, "commit": zoo.commit()}
    model = built(name)
    size = model.default_cfg.get("input_size", (3, 224, 224))
    smaller = (size[0], min(size[1], 128), min(size[2], 128))
    try:
        try:
            x = torch.randn(1, *smaller)
            channels = sc.trace(model, x)
        except SecateurError:
            x = torch.randn(1, *size)
            channels = sc.trace(model, x)
        row["input"] = list(x.shape[1:])
        with tempfile.TemporaryDirectory() as folder:
            answers = {}
            for way in ("global", "steps"):
                began = time.process_time()
                pruned, row[way] = pruned_by(way, model, x, channels)
                row[way]["seconds"] = round(time.process_time() - began, 1)
                if pruned is not None:
                    pruned.save(Path(folder) / f"{way}.safetensors")
                    answers[way] = answered(pruned.network, x)
            torch.save(x, Path(folder) / "x.pt")
            command = [sys.executable, __file__, "--load", name, folder, *answers]
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            if told.returncode:
                raise RuntimeError(told.stderr.strip().splitlines()[-1])
            loaded = json.loads(told.stdout.splitlines()[-1])
            for way, answer in answers.items():
                row[way]["loaded"] = relative_error(loaded[way], answer)
    except Exception as error:
        row["failure"] = f"{type(error).__name__}: {error}"[:300]
    return row


def pruned_by(way: str, model: Any, x: Any, channels: Any) -> tuple[Any, dict[str, Any]]:
    """The network cut to half its MACs, and what is left of the budget in steps of a channel."""
    import secateur as sc
    from secateur.channels.cost import cost
    from secateur.errors import BudgetError

    try:
        if way == "global":
            pruned = sc.prune(model, x, macs="50%", scope="global", normalisation="mean")
        else:
            *_, pruned = sc.prune_steps(model, x, macs="50%", steps=3)
    except BudgetError as error:
        return None, {"refused": str(error)[:300]}
    before, told = cost(channels).macs, pruned.plan.after.macs
    after = cost(sc.trace(pruned.network, x)).macs
    step = largest_step(pruned)
    found = {
        "share": after / before,
        "told": told == after,
        "held_back": len(pruned.plan.held_back),
    }
    return pruned, found | {"steps_left": (before // 2 - after) / step if step else None}


def largest_step(pruned: Any) -> int:
    """MACs of the dearest channel that could have stayed, of any group that lost some."""
    from secateur.channels.cost import cost

    channels, remove = pruned.channels, pruned.plan.remove
    now = cost(channels, remove).macs
    one_more = [cost(channels, {**remove, n: gone[:-1]}).macs for n, gone in remove.items() if gone]
    return max(one_more, default=now) - now


def answered(network: Any, x: Any) -> list[list[float]]:
    """What a network answers, tensor by tensor."""
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        answer = network.eval()(x)
    return [t.double().flatten().tolist() for t in tree_leaves(answer) if torch.is_tensor(t)]


def relative_error(one: list[list[float]], other: list[list[float]]) -> float:
    """The largest difference over the largest number, at the most over the tensors."""
    import numpy as np

    if [len(a) for a in one] != [len(b) for b in other]:
        return float("inf")
    sides = [(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True)]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in sides)


def load(name: str, folder: Path, ways: list[str]) -> dict[str, Any]:
    """What the files' networks answer here, where nobody has traced or cut anything."""
    import torch

    import secateur as sc
    from timm_without_torchvision import import_timm

    torch.set_num_threads(1)
    timm = import_timm()
    x = torch.load(folder / "x.pt", weights_only=True)
    found = {}
    for way in ways:
        network = sc.load(folder / f"{way}.safetensors", build=lambda: timm.create_model(name))
        found[way] = answered(network, x)
    return found


def run(name: str) -> dict[str, Any]:
    """One architecture in a process of its own."""
    row = {"name": name, **zoo.told(__file__, "--one", name, seconds=TIME_LIMIT)}
    return zoo.kept(ROWS, row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--sample", type=int, default=1, help="only every so many-th of the list")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop starting new ones then")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(walk(asked.one)))
        return
    if asked.load:
        name, folder, *ways = asked.load
        print(json.dumps(load(name, Path(folder), ways)))
        return
    known, end = zoo.rows(ROWS), time.monotonic() + 60 * asked.minutes
    for name in asked.names or zoo.chosen()[asked.sample - 1 :: asked.sample]:
        if time.monotonic() > end:
            break
        if asked.names or name not in known:
            print(json.dumps(run(name)), flush=True)


if __name__ == "__main__":
    main()
