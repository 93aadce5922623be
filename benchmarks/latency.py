"""What a cut gains in ONNX Runtime: uncut, cut by Secateur and cut by torch-pruning, by turns.

    python benchmarks/latency.py                 measure, and write the page's section
    python benchmarks/latency.py resnet18 vgg    only these
    python benchmarks/latency.py --rounds 3      fewer turns; default 15

Half of the channels of every layer go by their L1 norm; the weights are random, which no time
depends on. Needs timm (not torchvision) and torch-pruning.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sections import ROOT, write_section
from torch import Tensor, nn

sys.path.insert(0, str(ROOT / "tests"))

import secateur as sc
from secateur.channels.cost import cost
from secateur.channels.mult_adds import torchinfo_mult_adds
from secateur.deploy.onnx import export_onnx
from secateur.deploy.session import Session
from secateur.errors import SecateurError
from secateur.networks.families import NETWORKS
from timm_without_torchvision import import_timm

ACOUSTIC = {"vgg": 16, "resnet": 16, "mobilenet": 16, "cp_mobile": 32}
"""Networks for log-mel input, with their widths."""

IMAGES = ("resnet18", "vgg16_bn", "mobilenetv2_100", "densenet121")
"""Networks of timm."""

MULTIPLE = 8
CALLS = 4
"""Timed calls of a file in one turn, after one to warm up."""


@dataclass(frozen=True)
class Measured:
    """One network as it was cut: its mult-adds, its parameters, and milliseconds a call."""

    macs: int
    params: int
    ms: float


def uncut(model: nn.Module, _: Tensor) -> nn.Module:
    """The network as it is."""
    return model


def secateur(model: nn.Module, x: Tensor, multiple: int = 1) -> nn.Module:
    """Half of the channels of every group, what stays a multiple of `multiple`."""
    channels = sc.trace(model, x)
    scores = sc.score(model, channels, [sc.l1])["l1"]
    budget = sc.Budget(pruning_ratio=0.5, keep_multiple_of=multiple)
    return sc.cut(model, sc.uniform(scores, channels, budget), x, channels=channels)


def torch_pruning(model: nn.Module, x: Tensor) -> nn.Module:
    """The same asked of torch-pruning, in the way its README shows; the classifier is named."""
    import torch_pruning as tp

    model = copy.deepcopy(model)
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[last],
    ).step()
    return model


CUTS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "uncut": uncut,
    "ours": secateur,
    "theirs": torch_pruning,
    "eights": lambda model, x: secateur(model, x, MULTIPLE),
}


def built(name: str) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode, and its input."""
    torch.manual_seed(0)
    if name in ACOUSTIC:
        return NETWORKS[name](width=ACOUSTIC[name]).eval(), torch.zeros(1, 1, 64, 101)
    return import_timm().create_model(name).eval(), torch.zeros(1, 3, 224, 224)


def measure(name: str, rounds: int, folder: Path) -> dict[str, Measured | str]:
    """Cut a network in every way and time the files by turns; a reason where one cannot be had."""
    model, x = built(name)
    sizes: dict[str, tuple[int, int]] = {}
    sessions: dict[str, Session] = {}
    failed: dict[str, Measured | str] = {}
    for kind, cut in CUTS.items():
        try:
            small = cut(model, x).eval()
            path = folder / f"{name}-{kind}.onnx"
            export_onnx(small, x, path)
        except (SecateurError, RuntimeError, ValueError) as error:
            failed[kind] = str(error).splitlines()[0]
            continue
        sizes[kind] = torchinfo_mult_adds(small, x), cost(sc.trace(small, x)).params
        sessions[kind] = Session(path)
    example = torch.randn(x.shape).numpy()
    times: dict[str, list[float]] = {kind: [] for kind in sessions}
    for _ in range(rounds):
        for kind, session in sessions.items():
            times[kind].append(session.latency(example, CALLS, 1).median_ms)
    measured = {kind: Measured(*sizes[kind], statistics.median(times[kind])) for kind in sessions}
    return measured | failed


HEAD = (
    *("network", "uncut / ours", "uncut / torch-pruning", "theirs / ours"),
    *("MACs, uncut / ours", "uncut / theirs"),
    *("uncut / ours in eights", "MACs", "ours, ms"),
)


def row(name: str, found: dict[str, Measured | str]) -> list[str]:
    """A network's ratios; a dash where one of the two could not be had."""

    def ratio(first: str, second: str, of: str = "ms") -> str:
        one, other = found[first], found[second]
        if isinstance(one, str) or isinstance(other, str):
            return "-"
        return f"{getattr(one, of) / getattr(other, of):.2f}x"

    ours = found["ours"]
    return [
        name,
        ratio("uncut", "ours"),
        ratio("uncut", "theirs"),
        ratio("theirs", "ours"),
        ratio("uncut", "ours", "macs"),
        ratio("uncut", "theirs", "macs"),
        ratio("uncut", "eights"),
        ratio("uncut", "eights", "macs"),
        ours if isinstance(ours, str) else f"{ours.ms:.3g}",
    ]


def section(found: dict[str, dict[str, Measured | str]], rounds: int) -> str:
    """The section of the page."""
    reasons = [
        f"- {name}, {kind}: {what}"
        for name, own in found.items()
        for kind, what in own.items()
        if isinstance(what, str)
    ]
    lines = [
        "## Latency in ONNX Runtime",
        "",
        "Half of the channels of every layer cut by their L1 norm, exported, and run one example",
        f"at a time on one thread: medians of {rounds} turns of {CALLS} calls, by the thread's own",
        "clock. A ratio above 1 says that the second is faster. Equal sizes take equal time,",
        f"whoever cut them; *in eights* what stays of a layer is a multiple of {MULTIPLE}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "| " + " | ".join(["---"] * len(HEAD)) + " |",
        *("| " + " | ".join(row(name, own)) + " |" for name, own in found.items()),
    ]
    return "\n".join([*lines, *(["", "Not measured:", "", *reasons] if reasons else [])])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; default: all")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.names or [*ACOUSTIC, *IMAGES]:
            found[name] = measure(name, asked.rounds, Path(folder))
            print(" | ".join(row(name, found[name])), flush=True)
    write_section("latency", section(found, asked.rounds))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
