"""The way to a device on real recordings: the tables of docs/scenes.md, from a study's rows.

    secateur study recipes/esc10-device.yaml -o out/esc10-device
    python benchmarks/device_tables.py out/esc10-device --write

Accuracies come from the rows; milliseconds are measured here, on one thread, from the ONNX files of
the first run, all sizes of a network in turn in every round. Needs the extra `onnx`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sections import ROOT, write_section

from secateur.deploy.device import DEVICES, Stored
from secateur.deploy.session import Session
from secateur.errors import BudgetError
from secateur.study.cells import units
from secateur.study.deployment import FLOAT32, INT8
from secateur.study.store import Store

PAGE = ROOT / "docs" / "scenes.md"
ROUNDS, CALLS = 15, 20
Row = Mapping[str, Any]
Size = tuple[str, float]
"""How a network came to be (dense, sparse, pruned dense, pruned sparse, scratch), and its cut."""


@dataclass(frozen=True)
class Mean:
    """A mean over folds with its 95 % interval by Student's t, in points of accuracy."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})"

    def signed(self) -> str:
        """As a difference."""
        return f"{self.value:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


class Study:
    """Rows of a study by network and size, each with its deployment."""

    def __init__(self, store: Store) -> None:
        rows = store.rows([cell for unit in units(store.recipe()) for cell in unit.cells])
        self.store = store
        self.deployed = {row["of"]: row for row in rows if row["kind"] == "deployed"}
        found: dict[str, dict[Size, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
        for row in rows:
            if row["kind"] != "deployed" and row["id"] in self.deployed:
                found[row["network"]][size_of(row)][row["seed"]] = row
        self.runs = {network: whole(sizes) for network, sizes in found.items()}
        self.sizes = {
            network: {size: [own[run] for run in self.runs[network]] for size, own in sizes.items()}
            for network, sizes in found.items()
        }

    @property
    def cuts(self) -> list[float]:
        """Times fewer MACs, ascending."""
        return sorted({cut for sizes in self.sizes.values() for _, cut in sizes if cut > 1})

    def accuracy(self, network: str, size: Size, file: str | None = None) -> Mean:
        """Mean accuracy of a size; of its ONNX file of this type, if one is named."""
        return over_folds(self._values(network, size, file), self.folds(network))

    def difference(self, network: str, size: Size, other: Size, file: str | None = None) -> Mean:
        """Mean difference of two sizes over the same runs."""
        first = self._values(network, size, file)
        return over_folds(first - self._values(network, other, file), self.folds(network))

    def quantised(self, network: str, size: Size) -> Mean:
        """What INT8 changes, on the same network."""
        whole = self._values(network, size, "float32")
        return over_folds(self._values(network, size, "int8") - whole, self.folds(network))

    def folds(self, network: str) -> np.ndarray:
        """The held-out fold of every run."""
        return np.array([row["fold"] for row in next(iter(self.sizes[network].values()))])

    def file(self, network: str, size: Size, name: str) -> Path:
        """The file of the first run."""
        row = self.sizes[network][size][0]
        return self.store.path(self.deployed[row["id"]]["id"]) / name

    def _values(self, network: str, size: Size, file: str | None) -> np.ndarray:
        rows = self.sizes[network][size]
        if file is None:
            return np.array([row["accuracy"] for row in rows])
        return np.array([self.deployed[row["id"]][file]["accuracy"] for row in rows])


def size_of(row: Row) -> Size:
    """Where a row stands in the tables."""
    trained = "sparse" if row["strength"] else "dense"
    if row["kind"] == "base":
        return trained, 1
    cut = round(1 / (1 - row["ratio_asked"]), 6)
    return ("scratch" if row["kind"] == "scratch" else f"pruned {trained}"), cut


def whole(sizes: Mapping[Size, Mapping[int, Row]]) -> list[int]:
    """Runs of which every size is there; only full passes over the folds, if there is one."""
    runs = sorted(set.intersection(*(set(own) for own in sizes.values())))
    folds = {row["fold"] for own in sizes.values() for row in own.values()}
    return runs[: len(runs) // len(folds) * len(folds)] or runs


def over_folds(values: np.ndarray, folds: np.ndarray) -> Mean:
    """Runs of one fold share their test clips: average them, then a t interval over folds."""
    means = 100 * np.array([values[folds == fold].mean() for fold in np.unique(folds)])
    middle = float(means.mean())
    if len(means) < 2:
        return Mean(middle, float("nan"), float("nan"))
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return Mean(middle, middle - half, middle + half)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def accuracies(study: Study) -> str:
    """Accuracy of every size, each way it came to be."""
    rows: list[list[object]] = []
    for network in study.sizes:
        dense, sparse = (study.accuracy(network, (how, 1)) for how in ("dense", "sparse"))
        rows.append([network, "1", f"dense {dense}", f"sparse {sparse}", "as dense"])
        for cut in study.cuts:
            ways = ("pruned dense", "pruned sparse", "scratch")
            own = [study.accuracy(network, (way, cut)) for way in ways]
            rows.append([network, f"{cut:g}", *own])
    head = ("pruned from dense, %", "pruned from sparse, %", "from scratch at that size, %")
    return table(("network", "fewer MACs", *head), rows)


def differences(study: Study) -> str:
    """Paired differences, in points: against the dense network, from scratch, and float32."""
    rows: list[list[object]] = []
    for network in study.sizes:
        dense = ("dense", 1.0)
        sparse = study.difference(network, ("sparse", 1), dense).signed()
        int8 = study.quantised(network, ("sparse", 1)).signed()
        rows.append([network, "1", "", sparse, "", "", int8])
        for cut in study.cuts:
            pruned, scratch = (("pruned dense", cut), ("pruned sparse", cut)), ("scratch", cut)
            rows.append(
                [
                    network,
                    f"{cut:g}",
                    *(study.difference(network, size, dense).signed() for size in pruned),
                    *(study.difference(network, size, scratch).signed() for size in pruned),
                    study.quantised(network, pruned[1]).signed(),
                ]
            )
    head = ("pruned from dense − dense", "from sparse − dense")
    head += ("from dense − scratch", "from sparse − scratch", "INT8 − float32, from sparse")
    return table(("network", "fewer MACs", *head), rows)


def milliseconds(sessions: Mapping[Any, Session], example: np.ndarray) -> dict[Any, np.ndarray]:
    """Median time of one example by session and round, all sessions in turn in every round."""
    times: dict[Any, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            times[name].append(session.latency(example, CALLS, 3).median_ms)
    return {name: np.array(own) for name, own in times.items()}


def speeds(study: Study, example: np.ndarray) -> str:
    """Cost and speed of every size, against the dense network in float32."""
    rows = []
    for network in study.sizes:
        sizes: list[Size] = [("dense", 1), *(("pruned sparse", cut) for cut in study.cuts)]
        files = {(size, f): study.file(network, size, f) for size in sizes for f in (FLOAT32, INT8)}
        times = milliseconds({key: Session(path) for key, path in files.items()}, example)
        dense = study.sizes[network]["dense", 1][0]
        for size in sizes:
            row = study.sizes[network][size][0]
            int8 = study.deployed[row["id"]]["int8"]
            fits = {
                name: device.hold(Stored("int8", row["params"], int8["param_bytes"]), row["macs"])
                for name, device in DEVICES.items()
            }
            float_ms, int8_ms = times[size, FLOAT32], times[size, INT8]
            rows.append(
                [
                    network,
                    f"{size[1]:g}",
                    f"{row['params']:,}",
                    f"{row['macs']:,}",
                    f"{dense['macs'] / row['macs']:.2f}",
                    f"{int8['param_bytes']:,}",
                    ", ".join(name for name, fit in fits.items() if fit.fits) or "none",
                    f"{np.median(float_ms):.2f}",
                    spread(times[("dense", 1), FLOAT32] / float_ms),
                    spread(times[("dense", 1), FLOAT32] / int8_ms),
                    f"{1e6 * np.median(float_ms) / row['macs']:.3f}",
                ]
            )
    return table(
        (
            "network",
            "asked",
            "parameters",
            "MACs",
            "fewer MACs",
            "INT8 bytes",
            "INT8 fits",
            "float32, ms",
            "float32 speed-up",
            "INT8 speed-up",
            "ns a MAC, float32",
        ),
        rows,
    )


def rounding(study: Study, shape: tuple[int, ...], folder: Path) -> str:
    """Speed-up of every size when groups keep multiples of so many channels."""
    import torch

    import secateur as sc
    from secateur.networks.families import NETWORKS

    x = torch.zeros(shape)
    rows = []
    for network in study.store.recipe().networks:
        torch.manual_seed(0)
        model = NETWORKS[network.kind](len(CLASSES), network.width).eval()
        whole = sc.cost(sc.trace(model, x)).macs
        sc.export_onnx(model, x, folder / "whole.onnx")
        sessions, macs = {WHOLE: Session(folder / "whole.onnx")}, {WHOLE: whole}
        for cut in study.cuts:
            for multiple in MULTIPLES:
                asked: dict[str, Any] = {"macs": int(whole / cut), "round_to": multiple}
                try:
                    pruned = sc.prune(model, x, criterion="l1", **asked)
                except BudgetError:  # too coarse for so small a network
                    continue
                path = folder / f"{cut:g}-{multiple}.onnx"
                sc.export_onnx(pruned.network, x, path)
                sessions[cut, multiple], macs[cut, multiple] = Session(path), pruned.plan.after.macs
        times = milliseconds(sessions, x.numpy())
        for cut in study.cuts:
            cells = []
            for key in ((cut, multiple) for multiple in MULTIPLES):
                fewer = whole / macs[key] if key in macs else 0
                faster = np.median(times[WHOLE] / times[key]) if key in macs else 0
                cells.append(f"{faster:.1f} at {fewer:.1f}" if fewer else "cannot be met")
            rows.append([network.kind, f"{cut:g}", *cells])
    return table(("network", "asked", *(f"multiples of {m}" for m in MULTIPLES)), rows)


WHOLE = (1.0, 0)
MULTIPLES = (1, 4, 8, 16)
CLASSES = range(10)


def spread(ratios: np.ndarray) -> str:
    """Median and quartiles over rounds."""
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def kinds(study: Study, example: np.ndarray) -> str:
    """Where the time of the dense and of the smallest network goes, by kind of layer."""
    rows = []
    for network in study.sizes:
        for size in (("dense", 1.0), ("pruned sparse", study.cuts[-1])):
            shares = profile(study.file(network, size, FLOAT32), example)
            rows.append(
                [network, f"{size[1]:g}", *(f"{100 * shares.get(kind, 0):.0f}" for kind in KINDS)]
            )
    return table(("network", "fewer MACs", *(f"{kind}, % of time" for kind in KINDS)), rows)


KINDS = ("depthwise", "1x1", "larger", "other")


def profile(path: Path, example: np.ndarray) -> dict[str, float]:
    """Share of ONNX Runtime's time by kind of operator; convolutions by their kernel."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        for _ in range(CALLS):
            session.run(None, {name: example})
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(options.optimized_model_filepath).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    kind = {node.name: kind_of(node, shapes) for node in graph.node}
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            node = event["name"].removesuffix("_kernel_time")
            spent[kind.get(node, "other")] += event["dur"]
    total = sum(spent.values())
    return {name: own / total for name, own in spent.items()}


def kind_of(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The kind of one operator of an ONNX graph."""
    if "Conv" not in node.op_type:
        return "other"
    weight = shapes.get(node.input[1], ())
    conv_groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    if conv_groups > 1 and len(weight) == 4 and weight[1] == 1:
        return "depthwise"
    return "1x1" if weight[2:] == (1, 1) else "larger"


def main() -> None:
    """Print the tables, or write them into the page."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("folder", type=Path, help="of the study")
    asked.add_argument("--write", action="store_true", help="into docs/scenes.md")
    given = asked.parse_args()
    study = Study(Store(given.folder))
    if not study.runs:
        asked.error(f"{given.folder} has no run whose networks are all there and deployed")
    recipe = study.store.recipe()
    frames = 1 + round(recipe.features.seconds * recipe.features.rate) // recipe.features.hop
    example = np.random.default_rng(0).standard_normal((1, 1, recipe.features.n_mels, frames))
    with tempfile.TemporaryDirectory() as folder:
        rounded = rounding(study, example.shape, Path(folder))
    n_runs = {network: len(runs) for network, runs in study.runs.items()}
    text = "\n\n".join(
        (
            "## The way to a device, on ESC-10",
            f"Runs: {', '.join(f'{name} {n}' for name, n in n_runs.items())}; "
            "a run holds out one of the five official folds, with a seed of its own. Intervals are "
            "95 %, Student's t over the means of the folds.",
            accuracies(study),
            "Differences over the same runs, in points:",
            differences(study),
            "Cost and speed, ONNX Runtime, one thread, one example: median over "
            f"{ROUNDS} rounds of {CALLS} calls, quartiles in brackets; speed-ups are against the "
            "dense network in float32.",
            speeds(study, example.astype(np.float32)),
            "Where the float32 time goes (profile of ONNX Runtime):",
            kinds(study, example.astype(np.float32)),
            "How much faster (float32) at how many times fewer MACs, where groups keep multiples "
            "of so many channels; new weights, since they have no say in this:",
            rounded,
        )
    )
    if given.write:
        write_section("device", text, page=PAGE)
    else:
        print(text)


if __name__ == "__main__":
    main()
