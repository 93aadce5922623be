"""Do seven criteria order the filters of trained networks alike, and does it matter which one cuts?

    python examples/compare_criteria.py

Agreement is looked at in one network, accuracy after equal cuts in five, beside random pruning.
What cannot be told apart is called a tie, with the difference that would have shown.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    the same, then four epochs of fine-tuning
                       right   over random, 95 % interval  verdict (Holm)
    l1                 61.1%       -2.6% (-4.4% to -0.7%)  tie
    l2                 64.4%       +0.8% (-4.4% to +5.9%)  tie
    gm                 62.7%       -1.0% (-7.7% to +5.7%)  tie
    bn_scale           65.6%       +1.9% (-1.9% to +5.7%)  tie
    mean_activation    63.2%       -0.4% (-4.3% to +3.4%)  tie
    taylor_fo          66.7%       +3.0% (-1.4% to +7.4%)  tie
    random             63.7%

Intervals are of one comparison each, verdicts are corrected for six.
"""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import secateur as sc
from secateur.networks.vgg import vgg
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes
from secateur.study import resampling

OUT = Path("out/examples")
CRITERIA = [sc.l1, sc.l2, sc.gm, sc.bn_scale, sc.mean_activation, sc.taylor_fo, sc.random]
NAMES = [criterion.name for criterion in CRITERIA]
SEEDS = range(5)


def square(title: str, value: Mapping[tuple[str, str], float | None]) -> None:
    """Print a table of pairs."""
    print(f"\n{title}\n{'':<16}" + "".join(f"{name[:9]:>10}" for name in NAMES))
    for row in NAMES:
        cells = (value.get((row, column), value.get((column, row))) for column in NAMES)
        print(f"{row:<16}" + "".join(f"{'' if v is None else f'{v:.2f}':>10}" for v in cells))


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, y, example = data.x_train, data.y_train, data.x_train[:1]
    batches = list(zip(torch.split(x, 32), torch.split(y, 32), strict=True))
    given: dict[str, Any] = {"calibration": batches, "loss_fn": F.cross_entropy}
    alone: dict[str, Any] = {"macs": "40%", "repair": "none"}  # criteria are compared, not repairs

    cut_only, fine_tuned = (np.zeros((len(SEEDS), len(CRITERIA))) for _ in range(2))
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = vgg(width=8)
        sc.fit(model, x, y, sc.Training(epochs=10, lr=0.1), seed=seed)
        cuts = [
            sc.prune(model, example, criterion=criterion, seed=seed, **alone, **given)
            for criterion in CRITERIA
        ]
        if seed == SEEDS[0]:
            inspect(sc.analyse(model, example, CRITERIA, **given))
            removed({name: cut.plan for name, cut in zip(NAMES, cuts, strict=True)})
        for k, cut in enumerate(cuts):
            small = cut.network
            sc.reestimate_batch_norm(small, x)
            cut_only[seed, k] = sc.evaluate(small, data.x_test, data.y_test).accuracy
            sc.fit(small, x, y, sc.Training(epochs=4, lr=0.02), seed=seed)
            fine_tuned[seed, k] = sc.evaluate(small, data.x_test, data.y_test).accuracy

    compare("cut to 40 % of the MACs, batch norm re-estimated", cut_only)
    compare("the same, then four epochs of fine-tuning", fine_tuned)


def inspect(found: sc.Analysis) -> None:
    """Print how far criteria agree, how far they can at all, and where they cannot choose."""
    rho = {(row.first, row.second): row.mean for row in found.similarity}
    square("rank correlation, mean over layers (1: the same order of filters)", rho)
    print("\nagreement of a criterion with itself over the other half of the clips, all filters")
    for ceiling in found.ceilings:
        if ceiling.layer == "global":
            print(f"  {ceiling.criterion:<16}{ceiling.rho:.2f}")
    flags = [row.flag for row in found.applicability if row.flag]
    print(f"\nwhere a criterion cannot choose: {len(flags)} of {len(found.applicability)}")
    print("\n".join(f"  {flag}" for flag in flags))


def removed(plans: dict[str, sc.PruningPlan]) -> None:
    """Print which share of the channels that either of two criteria removes both remove."""
    gone = {
        name: {(group, k) for group, lost in plan.remove.items() for k in lost}
        for name, plan in plans.items()
    }
    shared = {
        (a, b): len(gone[a] & gone[b]) / len(gone[a] | gone[b]) for a, b in combinations(NAMES, 2)
    }
    square("channels removed by both over those removed by either", shared)


def compare(title: str, accuracy: np.ndarray) -> None:
    """Print how far criteria are above random pruning on the same networks, and what is a tie."""
    n, mean = len(accuracy), accuracy.mean(axis=0)
    gain, error, _ = resampling.mean_and_error(accuracy[:, :-1] - accuracy[:, -1:])
    margin = resampling.half_width(error, n)
    p = resampling.holm(resampling.p_value(gain, error, n))
    print(f"\n{title}\n{'':<16}{'right':>8}{'over random, 95 % interval':>29}  verdict (Holm)")
    for k, name in enumerate(NAMES[:-1]):
        interval = f"{gain[k]:+.1%} ({gain[k] - margin[k]:+.1%} to {gain[k] + margin[k]:+.1%})"
        print(f"{name:<16}{mean[k]:>8.1%}{interval:>29}  {resampling.verdict(gain[k], p[k], n)}")
    print(f"{NAMES[-1]:<16}{mean[-1]:>8.1%}")
    seen = resampling.visible_effect(float(np.median(error)), n)
    print(f"{n} networks: a difference of {seen:.1%} would have shown four times in five")


if __name__ == "__main__":
    main()
