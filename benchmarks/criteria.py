"""How fast criteria are, and which of them agree.

    python benchmarks/criteria.py               speed on ResNet-50, into docs/benchmarks.md
    python benchmarks/criteria.py --clusters    rank agreement on a trained ResNet-56, likewise
    python benchmarks/criteria.py --print       print the section and write nothing

Times are CPU seconds of one thread, the best of several rounds in which both sides take turns.
Speed needs timm (not torchvision) and torch-pruning; clusters need the weights and images of
`tests/real_networks.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from sections import write_section

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

COSTLY = ("hrank", "chip")
TOGETHER = 0.8
"""Criteria whose mean rank correlation is this much, on average, are one cluster."""


def best(rounds: int, **tasks: Callable[[], object]) -> dict[str, float]:
    """CPU seconds of every task: the smallest of so many rounds, tasks taking turns."""
    for task in tasks.values():
        task()
    found = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds):
        for name, task in tasks.items():
            began = time.process_time()
            task()
            found[name] = min(found[name], time.process_time() - began)
    return found


def speed(rounds: int, network: str) -> str:
    """Scoring a network by all criteria of weights, and one calibration pass for all of data."""
    import torch
    import torch.nn.functional as F
    import torch_pruning as tp

    from secateur.channels.trace import trace
    from secateur.criteria.calibrate import calibrate
    from secateur.criteria.relation import Pairs
    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA
    from timm_without_torchvision import import_timm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = import_timm().create_model(network).eval()
    example = torch.randn(1, 3, 64, 64)
    channels = trace(model, example)
    of_weights = [c for c in CRITERIA.values() if c.update is None]
    of_data = [c for c in CRITERIA.values() if c.update is not None and c.name not in COSTLY]
    graph = tp.DependencyGraph().build_dependency(model, example)
    groups = list(graph.get_all_groups(root_module_types=[torch.nn.Conv2d]))
    theirs = tp.importance.FPGMImportance()

    def fpgm() -> None:
        for group in groups:
            theirs(group)

    def alone(name: str) -> Callable[[], object]:
        return lambda: score(channels, [CRITERIA[name]])

    weights = best(
        rounds,
        ours=lambda: score(channels, of_weights),
        whole=lambda: score(channels, of_weights, members="all"),
        theirs=fpgm,
        **{criterion.name: alone(criterion.name) for criterion in of_weights},
    )

    batches = [(torch.randn(8, 3, 160, 160), torch.randint(0, 1000, (8,))) for _ in range(2)]

    def forward_and_backward() -> None:
        for x, y in batches:
            F.cross_entropy(model(x), y).backward()
        model.zero_grad()

    def passed(criteria: Sequence[Any]) -> Callable[[], object]:
        return lambda: calibrate(channels, criteria, batches, loss_fn=F.cross_entropy)

    data = best(rounds, plain=forward_and_backward, all=passed(of_data))
    small = [(x[:1, :, :96, :96], y[:1]) for x, y in batches[:1]]

    def costly(name: str) -> Callable[[], object]:
        return lambda: calibrate(channels, [CRITERIA[name]], small)

    wide = torch.randn(2048, 4608)
    large = best(
        2,
        **{
            name: lambda name=name: CRITERIA[name].formula(Pairs(wide.double()))
            for name in ("gm", "fermat")
        },
    )
    apart = best(1, **{name: costly(name) for name in COSTLY})
    names = ", ".join(criterion.name for criterion in of_weights)
    lines = [
        "## Criteria",
        "",
        f"{network} of timm, one thread, CPU seconds, best of {rounds} "
        "rounds by turns; groups and graphs are made before. FPGM of torch-pruning takes",
        'the weights that read a channel as well, as secateur does with members "all".',
        "",
        "| what | seconds | times |",
        "| --- | --- | --- |",
        f"| torch-pruning: FPGM alone | {weights['theirs']:.2f} | 1 |",
        f"| secateur: {names} together | {weights['ours']:.2f} | "
        f"{weights['ours'] / weights['theirs']:.2f} |",
        f'| the same with members="all" | {weights["whole"]:.2f} | '
        f"{weights['whole'] / weights['theirs']:.2f} |",
        f"| forward and backward, 2 batches of 8 images, 160x160 | {data['plain']:.2f} | 1 |",
        f"| one pass for {', '.join(c.name for c in of_data)} | {data['all']:.2f} | "
        f"{data['all'] / data['plain']:.2f} |",
        "",
        "Alone: "
        + ", ".join(f"{c.name} {weights[c.name]:.2f} s" for c in of_weights)
        + ". 2048 filters of 4608 numbers: "
        + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in large.items())
        + ". Apart, for one image of 96x96: "
        + ", ".join(f"{name} {apart[name]:.1f} s" for name in COSTLY)
        + ".",
    ]
    return "\n".join(lines)


def clusters(n_images: int) -> str:
    """Mean rank correlation over layers between all criteria, on a trained ResNet-56."""
    import numpy as np
    import torch.nn.functional as F
    from safetensors.torch import load_model
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    from real_networks import DATA, REAL
    from secateur.channels.trace import trace
    from secateur.criteria.score import score
    from secateur.criteria.table import CRITERIA

    name = "cifar10_resnet56"
    model = REAL[name][0]().eval()
    load_model(model, DATA / "weights" / f"{name}.safetensors")
    sample = np.load(DATA / "cifar10" / "cifar10_sample.npz")
    x, y = images(sample)
    channels = trace(model, x[:1])
    criteria = list(CRITERIA.values())
    halves = []
    for start in (0, n_images):
        part = slice(start, start + n_images)
        batches = list(zip(x[part].split(32), y[part].split(32), strict=True))
        halves.append(score(channels, criteria, calibration=batches, loss_fn=F.cross_entropy))
    names = list(CRITERIA)
    table = np.eye(len(names))
    for (i, one), (j, other) in combinations(enumerate(names), 2):
        rho = over_layers(halves[0][one].filters, halves[0][other].filters)
        table[i, j] = table[j, i] = np.mean(rho)
    ceiling = {
        c.name: np.mean(over_layers(halves[0][c.name].filters, halves[1][c.name].filters))
        for c in criteria
        if c.update is not None
    }
    tree = linkage(squareform(1 - table, checks=False), "average")
    owner = fcluster(tree, 1 - TOGETHER, "distance")
    found = [[n for n, k in zip(names, owner, strict=True) if k == c] for c in sorted(set(owner))]
    found.sort(key=len, reverse=True)
    lines = [
        "## Which criteria agree",
        "",
        f"Spearman's rank correlation, mean over the {len(halves[0]['l1'].filters)} convolutions",
        f"of the CIFAR-10 ResNet-56; {n_images} training images in batches of 32 for criteria that",
        f"need data. Clusters, by average linkage cut at {TOGETHER}:",
        "",
        *(f"- {', '.join(group)}" for group in found if len(group) > 1),
        f"- alone: {', '.join(group[0] for group in found if len(group) == 1)}",
        "",
        "| criterion | nearest | its noise: with itself on other images |",
        "| --- | --- | --- |",
    ]
    for i, one in enumerate(names):
        order = [j for j in np.argsort(-table[i]) if j != i][:3]
        near = ", ".join(f"{names[j]} {table[i, j]:.2f}" for j in order)
        noise = f"{ceiling[one]:.2f}" if one in ceiling else "none"
        lines.append(f"| {one} | {near} | {noise} |")
    return "\n".join(lines)


def images(sample: Any, part: str = "train") -> tuple[Any, Any]:
    """Images of a part of the sample, normalised as the network wants them, and labels."""
    import torch

    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (torch.from_numpy(sample[f"x_{part}"]).float() / 255 - mean) / sd
    return x.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(sample[f"y_{part}"]).long()


def over_layers(one: dict[str, Any], other: dict[str, Any]) -> Iterable[float]:
    """Rank correlation in every layer of both in which neither is constant."""
    import numpy as np
    from scipy.stats import spearmanr

    return [
        spearmanr(values, other[name]).statistic
        for name, values in one.items()
        if name in other and np.ptp(values) > 0 and np.ptp(other[name]) > 0
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clusters", action="store_true", help="rank agreement instead of speed")
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--network", default="resnet50", help="of timm, for speed")
    parser.add_argument("--images", type=int, default=256)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    text = clusters(asked.images) if asked.clusters else speed(asked.rounds, asked.network)
    if asked.printed:
        print(text)
    else:
        write_section("criteria-clusters" if asked.clusters else "criteria", text)


if __name__ == "__main__":
    main()
