"""ResNet-56 on CIFAR-10: what others report, and, apart, what is measured on 1,000 images here.

    python benchmarks/anchors.py               measure, then write the section of docs/benchmarks.md
    python benchmarks/anchors.py --short       a smoke test: few images, one seed, one epoch
    python benchmarks/anchors.py --print       measure, write nothing

Needs torch-pruning, and the weights and images of `tests/real_networks.py`; without these it says
so and writes nothing. One thread.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from anchors_public import public
from criteria import images
from engine_page import table
from safetensors.torch import load_model
from sections import ROOT, write_section
from torch import Tensor, nn

sys.path.insert(0, str(ROOT / "tests"))

import secateur as sc
from real_networks import DATA, REAL
from secateur.criteria.score import Members
from secateur.train.batch_norm import reestimate_batch_norm
from secateur.train.evaluate import evaluate
from secateur.train.fit import fit
from secateur.train.schedule import Training

NAME = "cifar10_resnet56"
FINE_TUNING = Training(epochs=2, lr=0.003, schedule="cosine", warmup=0.1)
INNER: dict[str, Any] = {"pruning_ratio": 0.5, "ignore": ("conv1",)}
"""Half of the channels inside every block; `conv1` leads the group of the residual sums."""

INTRO = """\
Not comparable with the figures above, and an anchor of the order of methods only: a network
trained by others (93.62 % on the original images), fine-tuned here on {n_train} training
images instead of 50,000 and tested on {n_test}, all decoded from a lossy JPEG copy, on which
it has {uncut:.1f} %. So many test images have a standard deviation of {binomial:.1f} points of
their own, though all rows share it. Half of the MACs go with half of the channels inside every
block; the residual sums keep theirs, as padded shortcuts couple them over all stages. Asked for
the whole network, torch-pruning {refusal}."""
COLUMNS = """\
*All members*: scores that take in the weights that read a channel, as torch-pruning's do.
*Whole network*: the residual sums are cut too, at a uniform share, to half of the MACs.

Accuracy in percent, mean ± standard deviation over seeds ({seeds} of them) where there is
chance: the order of images in fine-tuning, and the random criterion. *bn*: batch norm
re-estimated on the training images, from which fine-tuning starts. Epochs: {epochs}, learning rate
{lr:g} (0.01 was tried too, on torch-pruning's cut, and was worse on the same test images).
Seconds: one thread, CPU, of one fine-tuning."""


@dataclass(frozen=True)
class Images:
    """Training images with labels, and those for the test."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


Make = Callable[[nn.Module, Tensor, int], nn.Module]
"""(model, example, seed) -> a cut copy."""


def secateur(criterion: sc.Criterion, members: Members = "producer", **asked: Any) -> Make:
    """A uniform cut by one criterion."""

    def make(model: nn.Module, x: Tensor, seed: int) -> nn.Module:
        channels = sc.trace(model, x)
        scores = sc.score(channels, [criterion], seed=seed, members=members)
        plan = sc.uniform(scores[criterion.name], channels, sc.Budget(**asked))
        return sc.cut(channels, plan).network

    return make


def torch_pruning(model: nn.Module, x: Tensor, _: int) -> nn.Module:
    """The peer's, inside the blocks: it is told to leave alone every other layer."""
    small = copy.deepcopy(model)
    blocks = [block for stage in (small.layer1, small.layer2, small.layer3) for block in stage]
    return their_cut(small, x, [small.conv1, small.linear, *(block.conv2 for block in blocks)])


def their_cut(model: nn.Module, x: Tensor, ignored: list[nn.Module]) -> nn.Module:
    importance = tp.importance.GroupMagnitudeImportance(p=1)
    tp.pruner.BasePruner(
        model, x, importance=importance, pruning_ratio=0.5, ignored_layers=ignored
    ).step()
    return model.eval()


def refusal(model: nn.Module, x: Tensor) -> str:
    """What the peer does when it is asked for the whole network."""
    small = copy.deepcopy(model)
    try:
        their_cut(small, x, [small.linear])
    except Exception as error:  # whatever it raises
        return f"raises `{type(error).__name__}: {error}`"
    return "cuts it"


MAKERS: dict[str, Make] = {
    "uncut": lambda model, _, __: copy.deepcopy(model),
    "secateur, l1": secateur(sc.l1, **INNER),
    "secateur, l1, all members": secateur(sc.l1, "all", **INNER),
    "secateur, l2": secateur(sc.l2, **INNER),
    "secateur, gm": secateur(sc.gm, **INNER),
    "secateur, random": secateur(sc.random, **INNER),
    "torch-pruning, l1": torch_pruning,
    "secateur, l1, whole network": secateur(sc.l1, macs="50%"),
}


def measure(name: str, model: nn.Module, data: Images, seeds: int, training: Training) -> list[str]:
    """A row: what is left, accuracy after every kind of repair, seconds."""
    found: dict[str, list[float]] = {"cut": [], "bn": [], "tuned": [], "seconds": []}
    example = data.x[:1]

    def note(what: str, network: nn.Module) -> None:
        found[what].append(100 * evaluate(network, data.x_test, data.y_test).accuracy)

    for seed in range(seeds):
        if seed == 0 or name == "secateur, random":
            small = MAKERS[name](model, example, seed)
            note("cut", small)
            reestimate_batch_norm(small, data.x)
            note("bn", small)
        tuned = copy.deepcopy(small)
        began = time.process_time()
        fit(tuned, data.x, data.y, training, seed=seed)
        found["seconds"].append(time.process_time() - began)
        note("tuned", tuned)
    before, after = (sc.cost(sc.trace(network, example)) for network in (model, small))
    left = (f"{after.macs / before.macs:.1%}", f"{after.params / before.params:.1%}")
    repaired = (told(found[what]) for what in ("cut", "bn", "tuned"))
    return [name, *left, *repaired, f"{mean(found['seconds']):.0f}"]


def told(values: Sequence[float]) -> str:
    """Mean, and standard deviation where there are several."""
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def section(data: Images, seeds: int, training: Training) -> str:
    """Both parts as Markdown."""
    model = REAL[NAME][0]().eval()
    load_model(model, DATA / "weights" / f"{NAME}.safetensors")
    uncut = evaluate(model, data.x_test, data.y_test).accuracy
    intro = INTRO.format(
        n_train=f"{len(data.x):,}",
        n_test=f"{len(data.x_test):,}",
        uncut=100 * uncut,
        binomial=100 * (uncut * (1 - uncut) / len(data.x_test)) ** 0.5,
        refusal=refusal(model, data.x[:1]),
    )
    rows = []
    for name in MAKERS:
        rows.append(measure(name, model, data, seeds, training))
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    head = "cut by|MACs left|parameters left|as cut|bn|fine-tuned|seconds"
    parts = ["## Anchors: ResNet-56 on CIFAR-10", *public(), "### What was measured here", intro]
    columns = COLUMNS.format(seeds=seeds, epochs=training.epochs, lr=training.lr)
    return "\n\n".join([*parts, columns, "\n".join(table(head, rows))])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="few images, one seed, one epoch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=FINE_TUNING.epochs)
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    file = DATA / "cifar10" / "cifar10_sample.npz"
    if not file.exists():
        print(f"skipped: no images at {file}; SECATEUR_DATA names the folder they are in")
        return
    sample = np.load(file)
    n = 64 if asked.short else None
    data = Images(*(part[:n] for half in ("train", "test") for part in images(sample, half)))
    seeds, epochs = (1, 1) if asked.short else (asked.seeds, asked.epochs)
    text = section(data, seeds, replace(FINE_TUNING, epochs=epochs))
    if asked.printed:
        print(text)
    else:
        write_section("anchors", text)


if __name__ == "__main__":
    main()
