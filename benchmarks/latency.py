"""ONNX Runtime latency of networks uncut, cut by Secateur, and cut by torch-pruning.

    python benchmarks/latency.py               measure, then write the section of docs/benchmarks.md
    python benchmarks/latency.py resnet18 …    only these
    python benchmarks/latency.py --short       a smoke test on a small network
    python benchmarks/latency.py --print       measure, write nothing

Half of the channels of every layer go, those of the smallest L1 norm. One thread, batch 1, the
files called by turns in one process. Needs timm (not torchvision), torch-pruning, and the extra
`onnx`.
"""

from __future__ import annotations

import argparse
import copy
import gc
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime
import torch
import torch_pruning as tp
from engine_measures import RATIO, attempt
from engine_page import geometric_mean, table, times
from networks import INPUTS
from sections import write_section
from torch import Tensor, nn
from zoo import shaken

import secateur as sc
from secateur.deploy.onnx import export_onnx
from secateur.deploy.session import Session
from secateur.networks.families import NETWORKS, SIZES
from timm_without_torchvision import import_timm

OF_TIMM = ("resnet18", "mobilenetv2_100", "densenet121", "vgg16_bn")
ACOUSTIC = ("vgg", "resnet", "dcase_baseline", "cp_mobile", "tf_sepnet", "bc_resnet")
SHORT = ("test_resnet",)
SIZE = "medium"
MULTIPLE = 8
WARM_UP, LEAST, MOST = 3, 7, 200
"""Rounds that are not counted, and how many are, at least and at most."""
SIDES = ("uncut", "ours", "theirs", "eights")
PAIRS = (("uncut", "ours"), ("uncut", "theirs"), ("theirs", "ours"), ("ours", "eights"))
TITLES = ("uncut / ours", "uncut / theirs", "theirs / ours", "ours / in eights")

INTRO = """\
Half of the channels of every layer gone, by L1 norm, batch norms folded into convolutions
by the export. *Ours*: `uniform` with `Budget(pruning_ratio=0.5)`. *Theirs*: `BasePruner` with
`MagnitudeImportance(p=1)` and `pruning_ratio=0.5`, the last layer ignored. *In eights*: ours
with `round_to=8` too, which keeps more where half of a width is no multiple of 8.
Networks of timm at their own input size, weights random; those of Secateur of the size
*medium* at the inputs of [networks.md](networks.md). Every export gave the answers of torch
before it was timed. The thread's own time of one call on one example, medians of rounds in
which every file is called once, in an order drawn anew."""
SAME_SIZE = """\
Before the cut, and what each cut left; the counts are Secateur's, of the cut networks as they
are. Where ours and theirs differ, so does what is compared above. Where *ours* and *in eights*
have the same counts they are the same network, and their ratio is what chance does."""

Row = dict[str, Any]


def measure(name: str, seconds: float, folder: Path) -> Row:
    """Milliseconds and costs of one network; a failure stands in words in place of a figure."""
    model, x = network(name)
    made: dict[str, Callable[[], nn.Module]] = {
        "uncut": lambda: model,
        "ours": lambda: our_cut(model, x, 1),
        "eights": lambda: our_cut(model, x, MULTIPLE),
        "theirs": lambda: their_cut(copy.deepcopy(model), x),
    }
    row: Row = {"name": name, "input": "x".join(map(str, x.shape[1:])), "cost": {}, "ms": {}}
    sessions = {}
    for side, make in made.items():
        found = attempt(make)
        if isinstance(found, str):
            row["ms"][side] = f"cut: {found}"
            continue
        small = found[1].eval()
        row["cost"][side] = sc.cost(sc.trace(small, x))
        path = folder / f"{name}-{side}.onnx"
        exported = attempt(
            lambda small=small, path=path: export_onnx(small, x, path, dynamic="batch")
        )
        if isinstance(exported, str):
            row["ms"][side] = f"export: {exported}"
        else:
            sessions[side] = Session(path)
        path.unlink(missing_ok=True)
        del found, small, exported
        gc.collect()
    took = by_turns(sessions, x, seconds)
    row["rounds"] = min(map(len, took.values()), default=0)
    row["ms"] |= {side: median(times) for side, times in took.items()}
    return row


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A network of timm or one of Secateur's, in evaluation mode, and an example."""
    torch.manual_seed(0)
    if name in NETWORKS:
        model = NETWORKS[name](width=SIZES[name][SIZE])
        shape = (1, *INPUTS.get(name, (64, 101)))
    else:
        model = import_timm().create_model(name)
        shape = model.default_cfg["input_size"]
    return shaken(model.eval()), torch.randn(1, *shape)


def our_cut(model: nn.Module, x: Tensor, multiple: int) -> nn.Module:
    """Half of the channels, what stays being a multiple of so many."""
    return sc.prune(model, x, ratio=RATIO, round_to=multiple, criterion="l1").network


def their_cut(model: nn.Module, x: Tensor) -> nn.Module:
    """The same of the peer, which must be told the last layer."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    importance = tp.importance.MagnitudeImportance(p=1)
    tp.pruner.BasePruner(
        model, x, importance=importance, pruning_ratio=RATIO, ignored_layers=layers[-1:]
    ).step()
    return model


def by_turns(sessions: Mapping[str, Session], x: Tensor, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every call, the files taking turns for about so many seconds.

    Every round has its own order: what ran before decides what the caches hold.
    """
    order, shuffle = list(sessions), random.Random(0).shuffle
    took: dict[str, list[float]] = {side: [] for side in sessions}
    example, began = x.numpy(), time.monotonic()
    for k in range(WARM_UP + MOST):
        if k >= WARM_UP + LEAST and time.monotonic() - began > seconds:
            break
        shuffle(order)
        for side in order:
            ms = sessions[side].latency(example, repetitions=1, warm_up=0).median_ms
            if k >= WARM_UP:
                took[side].append(ms)
    return took


def section(rows: Sequence[Row]) -> str:
    """The rows as Markdown, ratios first."""
    speed, sizes = [], []
    for row in rows:
        ratios = [times(ratio(row, *pair)) for pair in PAIRS]
        clocked = [ms(row["ms"][side]) for side in SIDES]
        speed.append([row["name"], row["input"], *ratios, *clocked, row["rounds"]])
        costs = [row["cost"].get(side) for side in SIDES]
        macs = [f"{cost.macs / 1e6:.1f}" if cost else "" for cost in costs]
        params = [f"{cost.params / 1e6:.3f}" if cost else "" for cost in costs]
        sizes.append([row["name"], *macs, *params])
    means = (
        f"{title} {value:.2f}x over {n}"
        for title, pair in zip(TITLES, PAIRS, strict=True)
        for n, value in [geometric_mean([ratio(row, *pair) for row in rows])]
    )
    failures = (
        f"{row['name']}, {side}: {said}."
        for row in rows
        for side, said in row["ms"].items()
        if isinstance(said, str)
    )
    head = ["network", "input", *TITLES, "uncut, ms", "ours", "theirs", "in eights", "rounds"]
    left = "ours|theirs|in eights"
    parts = [
        ["## Latency in ONNX Runtime"],
        [INTRO, f"ONNX Runtime {onnxruntime.__version__}, one thread."],
        table("|".join(head), speed),
        [f"Geometric means: {', '.join(means)}."],
        list(failures),
        [SAME_SIZE],
        table(f"network|MACs, M|{left}|parameters, M|{left}", sizes),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def ratio(row: Row, slow: str, fast: str) -> float | None:
    """Time of the one over time of the other, where both ran."""
    one, other = row["ms"][slow], row["ms"][fast]
    return None if isinstance(one, str) or isinstance(other, str) else one / other


def ms(value: float | str) -> str:
    return "failed" if isinstance(value, str) else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; default: all")
    parser.add_argument("--short", action="store_true", help="a small network, few rounds")
    parser.add_argument("--seconds", type=float, default=15, help="of calls, a network")
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    names = asked.names or (SHORT if asked.short else OF_TIMM + ACOUSTIC)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            rows.append(measure(name, 1 if asked.short else asked.seconds, Path(folder)))
            shown = {side: ms(value) for side, value in rows[-1]["ms"].items()}
            print(f"{name}: {shown}", file=sys.stderr, flush=True)
    text = section(rows)
    if asked.printed:
        print(text)
    else:
        write_section("latency", text)


if __name__ == "__main__":
    main()
