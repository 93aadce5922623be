"""What a cut loses, and what each repair without labels gives back, on trained ResNets.

    python benchmarks/repair.py                 all rows, then the tables of docs/repair.md
    python benchmarks/repair.py --short         one cell, for the tests
    python benchmarks/repair.py --print         the tables of the rows there are

The networks are the CIFAR-10 ResNets of `tests/real_networks.py`, cut by l1 in equal shares, or by
the criterion and scope that a row names, which then see the same images as the repairs;
repairs see training images without labels, drawn by a seed; accuracy is on the test images of the
sample. Every row is written once it is known, and what is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

METHODS = ("none", "batch_norm", "bias", "reconstruct")
BLOCKS = {"ResNet-20": 3, "ResNet-56": 9}
DRAWS = 3
CHOICES = (("l1", "uniform"), ("compensated", "uniform"), ("compensated", "balanced"))

Cell = tuple[str, int, int, int, str, str]
"""Network, per cent of the MACs, images, draw, criterion, scope."""
KEY = ("network", "macs", "images", "draw", "criterion", "scope", "method")


def cells(short: bool) -> Iterator[Cell]:
    """What is measured: 250 images everywhere, fewer on the smaller network at half the MACs."""
    if short:
        yield from (("ResNet-20", 50, 25, 0, *choice) for choice in CHOICES)
        return
    for choice in CHOICES:
        for draw in range(DRAWS):
            yield from (("ResNet-20", macs, 250, draw, *choice) for macs in (75, 50, 35))
            yield from (("ResNet-20", 50, n, draw, *choice) for n in (100, 50, 25, 10, 3))
    for choice in CHOICES:
        for draw in range(DRAWS):
            yield from (("ResNet-56", macs, 250, draw, *choice) for macs in (75, 50, 35))


def methods_of(scope: str) -> tuple[str, ...]:
    """Balanced cuts are chosen by their repair, which comes with them."""
    return METHODS if scope != "balanced" else ("reconstruct",)


def rows_of(cell: Cell) -> Iterator[dict[str, Any]]:
    """Accuracy, agreement with the uncut network and CPU seconds of every repair of one cut."""
    import numpy as np
    import torch
    from criteria import images

    import secateur as sc
    from real_networks import DATA, CifarResNet
    from secateur.surgery.rebuild import rebuild
    from secateur.surgery.weights import load_weights

    network, macs, n_images, draw, criterion, scope = cell
    with np.load(DATA / "cifar10" / "cifar10_sample.npz") as file:
        x, _ = images(file)
        x_test, y_test = images(file, "test")
    model = CifarResNet(BLOCKS[network])
    load_weights(
        model, DATA / "weights" / f"cifar10_{network.lower().replace('-', '')}.safetensors"
    )
    model.eval()
    drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw))[:n_images]
    began = time.process_time()
    given = {} if criterion == "l1" else {"calibration": x[drawn].split(50), "repair": "none"}
    asked = {"macs": f"{macs}%", "criterion": criterion, "scope": scope}
    if scope == "balanced":
        given |= {"repair": "reconstruct", "seed": draw}
    pruned = sc.prune(model, x_test[:2], **asked, **given)
    choosing = time.process_time() - began if given else 0.0

    def outputs(of: Any) -> Any:
        with torch.no_grad():
            return torch.cat([of(part) for part in x_test.split(100)])

    wanted = outputs(model)
    whole = wanted.argmax(1)
    for method in methods_of(scope):
        began = time.process_time()
        found: dict[str, Any] = {}
        if method == "none":
            made = pruned.network
        elif method == "batch_norm":
            made = rebuild(pruned.network, {})
            sc.reestimate_batch_norm(made, x[drawn])
        elif scope == "balanced":
            made, done = pruned.network, pruned.reconstruction
            assert done is not None
            found = {"kept": done.kept, "errors": dict(done.errors), "forecast": done.forecast}
            found["how"] = pruned.plan.how
        else:
            repaired = sc.reconstruct(pruned, [x[drawn]], method=method, seed=draw)
            made, done = repaired.network, repaired.reconstruction
            assert done is not None
            found = {"kept": done.kept, "errors": dict(done.errors)}
        seconds = time.process_time() - began
        given_out = outputs(made.eval())
        said = given_out.argmax(1)
        yield {
            "network": network,
            "macs": macs,
            "images": n_images,
            "draw": draw,
            "criterion": criterion,
            "scope": scope,
            "method": method,
            "dense": float((whole == y_test.flatten()).double().mean()),
            "accuracy": float((said == y_test.flatten()).double().mean()),
            "agreement": float((said == whole).double().mean()),
            "error": float((given_out - wanted).norm() / wanted.norm()),
            "seconds": seconds + choosing,
        } | found


def known(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, none if there is none."""
    by_l1 = {"criterion": "l1", "scope": "uniform"}
    lines = path.read_text().splitlines() if path.exists() else []
    return [by_l1 | json.loads(line) for line in lines]


def measure(path: Path, wanted: Iterable[Cell]) -> None:
    """Write the rows that are not there yet."""
    have = {tuple(row[name] for name in KEY) for row in known(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for cell in wanted:
        if any((*cell, method) not in have for method in methods_of(cell[-1])):
            for row in rows_of(cell):
                if tuple(row[name] for name in KEY) not in have:
                    with path.open("a") as file:
                        file.write(json.dumps(row) + "\n")


def tables(rows: list[dict[str, Any]]) -> str:
    """A line a network, number of images, budget and choice: the mean over draws of each repair."""
    head = ["network (dense)", "MACs", "images", "channels by", "draws"]
    head += [*METHODS, "agreement", "CPU s"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    cells: dict[tuple[str, int, int, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        key = row["network"], -row["images"], -row["macs"], row["scope"], row["criterion"]
        cells.setdefault(key, []).append(row)
    # uniform comes before balanced, l1 before compensated
    backwards = sorted(cells.items(), key=lambda cell: cell[0][3:], reverse=True)
    for key, mine in sorted(backwards, key=lambda cell: cell[0][:3]):
        network, images, macs, scope, criterion = key
        of = {method: [row for row in mine if row["method"] == method] for method in METHODS}
        means = [
            f"{100 * fmean(r['accuracy'] for r in of[m]):.1f}" if of[m] else "" for m in METHODS
        ]
        if last := of["reconstruct"]:
            shown = [f"{network} ({100 * mine[0]['dense']:.1f})", f"{-macs} %", -images]
            shown += [f"`{criterion}`" + (f", {scope}" if scope != "uniform" else ""), len(last)]
            shown += [*means, f"{100 * fmean(r['agreement'] for r in last):.1f}"]
            shown += [f"{fmean(r['seconds'] for r in last):.0f}"]
            lines.append(f"| {' | '.join(map(str, shown))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="one cell")
    parser.add_argument("--print", action="store_true", dest="printed", help="measure nothing")
    parser.add_argument("--rows", type=Path, default=ROOT / "out" / "repair" / "rows.jsonl")
    asked = parser.parse_args()
    if not asked.printed:
        import torch

        torch.set_num_threads(1)
        measure(asked.rows, cells(asked.short))
    print(tables(known(asked.rows)))


if __name__ == "__main__":
    main()
