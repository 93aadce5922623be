"""ResNet-56 on CIFAR-10: figures others have published, and, apart, what was measured here.

    python benchmarks/anchors.py                 measure, and write the page's section
    python benchmarks/anchors.py --epochs 1 --seeds 1 --images 200      a short form

Needs the published weights and the sample of images (SECATEUR_DATA), and torch-pruning.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sections import ROOT, write_section
from torch import Tensor, nn

sys.path.insert(0, str(ROOT / "tests"))

import secateur as sc
from real_networks import DATA, REAL
from secateur.channels.mult_adds import torchinfo_mult_adds
from secateur.criteria.sites import Members
from secateur.criteria.table import CRITERIA
from secateur.surgery.package import load_weights
from secateur.train.batch_norm import reestimate_batch_norm
from secateur.train.evaluate import evaluate
from secateur.train.fit import fit
from secateur.train.schedule import Training

NAME = "cifar10_resnet56"
WEIGHTS = DATA / "weights" / f"{NAME}.safetensors"
SAMPLE = DATA / "cifar10" / "cifar10_sample.npz"
SHARE = 0.5
"""Of the multiply-adds, which stay at the most."""

TORCH_PRUNING = "https://github.com/VainF/Torch-Pruning/tree/master/benchmarks"
CHIP = "https://github.com/Eclipsess/CHIP_NeurIPS2021/issues/8"

SINGLE_RUNS = (
    ("geometric median", 93.59, 93.26, "1.70x"),
    ("Polar", 93.80, 93.83, "1.88x"),
    ("channel pruning (CP)", 92.80, 91.80, "2.00x"),
    ("AMC", 92.80, 91.90, "2.00x"),
    ("HRank", 93.26, 92.17, "2.00x"),
    ("soft filter pruning", 93.59, 93.36, "2.11x"),
    ("ResRep", 93.71, 93.71, "2.12x"),
    ("torch-pruning, L1 by groups", 93.53, 92.93, "2.12x"),
    ("torch-pruning, batch-norm scales", 93.53, 93.29, "2.12x"),
    ("torch-pruning, growing regularisation", 93.53, 93.55, "2.12x"),
    ("torch-pruning, sparse learning by groups", 93.53, 93.77, "2.13x"),
)
"""Method, accuracy before and after, and how many times fewer MACs, as TORCH_PRUNING lists them."""

REPEATED = (
    ("CHIP, a reader's settings", (93.99, 93.64, 93.78)),
    ("CHIP, the paper's settings", (93.9, 93.97, 94.01, 93.94)),
)
"""Runs of a reader of CHIP, whose paper says 94.16, with some 43 % of the parameters gone."""


Cut = Callable[[nn.Module, Tensor, int], nn.Module]
"""A network, an example and a seed to a cut copy of the network."""


@dataclass(frozen=True)
class Images:
    """The sample: float images (n, 3, 32, 32), as the network expects them, and labels (n,)."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


@dataclass(frozen=True)
class Result:
    """One cut network: MACs, and accuracy without repair, with statistics anew, and tuned."""

    macs: int
    cut: float
    reestimated: float
    tuned: float


def images(most: int | None) -> Images:
    """The first `most` images of either part."""
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with np.load(SAMPLE) as sample:
        arrays = {name: torch.from_numpy(sample[name][:most]) for name in sample.files}
    for name in ("x_train", "x_test"):
        arrays[name] = ((arrays[name] / 255 - mean) / sd).permute(0, 3, 1, 2).contiguous()
    for name in ("y_train", "y_test"):
        arrays[name] = arrays[name].long()
    return Images(**{name: arrays[name] for name in Images.__dataclass_fields__})


def trained() -> nn.Module:
    """ResNet-56 as published."""
    model = REAL[NAME][0]()
    load_weights(model, WEIGHTS)
    return model.eval()


def ours(criterion: str, inside: bool = False, members: Members = "producer") -> Cut:
    """A uniform cut by one criterion; with `inside` only of channels that stay within a block."""

    def cut(model: nn.Module, x: Tensor, seed: int) -> nn.Module:
        channels = sc.trace(model, x)
        scores = sc.score(model, channels, [CRITERIA[criterion]], seed=seed, members=members)
        whole = stream(model) if inside else ()
        budget = sc.Budget(macs=f"{SHARE:.0%}", ignore=whole)
        return sc.cut(model, sc.uniform(scores[criterion], channels, budget), x, channels=channels)

    return cut


def theirs(inside: bool = False) -> Cut:
    """The peer's uniform cut by its L1 norm of groups, in steps until the share is reached."""

    def cut(model: nn.Module, x: Tensor, _: int) -> nn.Module:
        import torch_pruning as tp

        model = copy.deepcopy(model)
        most = SHARE * torchinfo_mult_adds(model, x)
        whole = ("linear", *stream(model)) if inside else ("linear",)
        pruner = tp.pruner.BasePruner(
            model,
            x,
            importance=tp.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=0.9,
            iterative_steps=90,
            ignored_layers=[model.get_submodule(name) for name in whole],
        )
        while torchinfo_mult_adds(model, x) > most:
            pruner.step()
        return model

    return cut


def stream(model: nn.Module) -> tuple[str, ...]:
    """The layers that write into the sum that all blocks share."""
    return ("conv1", *(name for name, _ in model.named_modules() if name.endswith(".conv2")))


METHODS = {f"secateur, {name}": ours(name) for name in ("l1", "l2", "gm", "random")}
METHODS["torch-pruning, L1 by groups"] = theirs()
METHODS["secateur, l1, inside blocks"] = ours("l1", inside=True)
METHODS["secateur, l1 of all that hold a channel, inside blocks"] = ours("l1", True, "all")
METHODS["torch-pruning, L1 by groups, inside blocks"] = theirs(inside=True)


def measure(
    cut: Cut,
    model: nn.Module,
    data: Images,
    epochs: int,
    seed: int,
) -> Result:
    """Cut, measure, repair, tune, measure."""
    small = cut(model, data.x_train[:1], seed).eval()
    after_cut = accuracy(small, data)
    reestimate_batch_norm(small, data.x_train)
    anew = accuracy(small, data)
    training = Training(epochs=epochs, batch_size=50, lr=0.01, schedule="cosine", warmup=0.0)
    fit(small, data.x_train, data.y_train, training, seed=seed)
    macs = torchinfo_mult_adds(small, data.x_train[:1])
    return Result(macs, after_cut, anew, accuracy(small, data))


def accuracy(model: nn.Module, data: Images) -> float:
    """In per cent, on the test images."""
    return 100 * evaluate(model, data.x_test, data.y_test).accuracy


def spread(values: list[float]) -> str:
    """Mean and standard deviation; one value where all are equal."""
    mean = statistics.mean(values)
    return (
        f"{mean:.1f}" if len(set(values)) == 1 else f"{mean:.1f} ± {statistics.stdev(values):.1f}"
    )


def published() -> list[str]:
    """The tables of what others say."""
    lines = [
        "**Published**, on the whole of CIFAR-10. Single runs, as",
        f"[torch-pruning's page]({TORCH_PRUNING}) lists them:",
        "",
        "| method | before, % | after, % | fewer MACs |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {who} | {a:.2f} | {b:.2f} | {times} |" for who, a, b, times in SINGLE_RUNS]
    lines += [
        "",
        f"Runs repeated by [a reader of CHIP]({CHIP}), with some 43 % of the parameters gone; the "
        "paper says",
        "94.16, and its author answers there that most papers give the best of several runs:",
        "",
        "| method | runs, % | mean ± sd |",
        "| --- | --- | --- |",
    ]
    for who, runs in REPEATED:
        shown = f"{statistics.mean(runs):.2f} ± {statistics.stdev(runs):.2f}"
        lines.append(f"| {who} | {', '.join(map(str, runs))} | {shown} |")
    return lines


def measured(
    found: dict[str, list[Result]], dense: tuple[int, float], data: Images, epochs: int
) -> list[str]:
    """The table of what was measured here."""
    lines = [
        "",
        f"**Measured here**, and not to be held against those: {len(data.x_test):,} test and "
        f"{len(data.x_train):,} training images, decoded from",
        f"JPEG copies, on which the published network reaches {dense[1]:.1f} % uncut. At most "
        f"{SHARE:.0%} of the MACs stay; tuned for {epochs} epochs",
        f"on the training images. Mean ± standard deviation of {len(next(iter(found.values())))} "
        "seeds; one number where nothing is drawn.",
        "",
        "| method | fewer MACs | cut, % | statistics anew, % | tuned, % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for who, runs in found.items():
        times = dense[0] / statistics.mean(run.macs for run in runs)
        cells = [
            spread([getattr(run, of) for run in runs]) for of in ("cut", "reestimated", "tuned")
        ]
        lines.append(f"| {who} | {times:.2f}x | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, help="of either part; default: all 1,000")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["## Accuracy anchors: ResNet-56", "", *published()]
    if WEIGHTS.exists() and SAMPLE.exists():
        data, model = images(asked.images), trained()
        dense = torchinfo_mult_adds(model, data.x_test[:1]), accuracy(model, data)
        found: dict[str, list[Result]] = {}
        failed: dict[str, str] = {}
        for who, cut in METHODS.items():
            try:
                for seed in range(asked.seeds):
                    result = measure(cut, model, data, asked.epochs, seed)
                    found.setdefault(who, []).append(result)
                    print(who, seed, result, flush=True)
            except (IndexError, RuntimeError, ValueError) as error:
                failed[who] = f"{type(error).__name__}: {error}"
                print(who, failed[who], flush=True)
        lines += measured(found, dense, data, asked.epochs)
        lines += ["", *(f"- {who} failed: {why}" for who, why in failed.items())]
    else:
        lines += ["", "Nothing was measured here: the weights and images are not at hand."]
    write_section("anchors", "\n".join(lines))


if __name__ == "__main__":
    main()
