"""Criteria of your own: written, held to the contracts, used in Python and on the command line.

    python examples/criterion_of_your_own.py

One looks at weights, one at data. A first try at the former shows what the contracts are for.

It prints, with torch 2.13.0 on one CPU (the digits of a training may differ on another):

    peak keeps every contract
    spread keeps every contract
    l1 and peak: rank correlation -0.02, mean over layers
    l1 and spread: rank correlation 0.16, mean over layers
    peak and spread: rank correlation -0.01, mean over layers
    the same channels as from Python: True
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import secateur as sc
from secateur.analysis.similarity import rank_correlations, summary
from secateur.networks.vgg import vgg
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.split import split_of
from secateur.scenes.synthesis import synthetic_scenes
from secateur.testing import check_criterion

OUT = Path("out/examples").resolve()

# Of weights: a function from one row a filter to one score a filter, higher = keep.


def first_try(filters: Tensor) -> Tensor:
    """How far the largest weight of a filter stands out, (n, d) -> (n,)."""
    return filters.abs().amax(1) / filters.abs().mean(1)


def peak(filters: Tensor) -> Tensor:
    """The same; 0 for a filter of zeros, as a trained network may hold."""
    magnitudes = filters.abs()
    return magnitudes.amax(1) / magnitudes.mean(1).clamp_min(torch.finfo(filters.dtype).tiny)


# Of data: an update that takes in one batch, with sums that add up, and a formula of the sums.


def level_update(sums: dict[str, Tensor] | None, activation: Tensor) -> dict[str, Tensor]:
    """Mean activation of every clip, summed, and its square: (clips, n, h, w)."""
    level = activation.double().mean((2, 3))
    new = {
        "clips": torch.tensor(len(level)),
        "level": level.sum(0),
        "square": level.square().sum(0),
    }
    return new if sums is None else {name: sums[name] + new[name] for name in new}


def level_spread(sums: dict[str, Tensor]) -> Tensor:
    """How far the level differs from clip to clip: a channel that never changes tells nothing."""
    mean = sums["level"] / sums["clips"]
    return (sums["square"] / sums["clips"] - mean.square()).clamp_min(0).sqrt()


FIRST_TRY = sc.Criterion("first_try", "filters", first_try, "this file")
PEAK = sc.Criterion("peak", "filters", peak, "this file", by_row=True)
SPREAD = sc.Criterion("spread", "activations", level_spread, "this file", update=level_update)


def main() -> None:
    torch.set_num_threads(1)  # the same numbers on any number of cores
    torch.manual_seed(0)
    for criterion in (FIRST_TRY, PEAK, SPREAD):
        try:
            check_criterion(criterion)
            print(f"{criterion.name} keeps every contract")
        except (AssertionError, sc.SecateurError) as broken:
            print(f"refused: {broken}")

    scenes = synthetic_scenes(n_locations=12, clips_per_location=6, difficulty=0.1)
    mels = LogMel(rate=16000, n_fft=1024, hop=640, n_mels=32, seconds=1.0)
    data, _ = split_of(prepare(scenes, mels, OUT / "cache"), *scenes.divided(fold=4))
    x, example = data.x_train, data.x_train[:1]
    model = vgg(width=8)
    sc.fit(model, x, data.y_train, sc.Training(epochs=10, lr=0.1), seed=0)

    # An own criterion stands wherever one of the house's does.
    channels = sc.trace(model, example)
    scores = sc.score(channels, [sc.l1, PEAK, SPREAD], calibration=torch.split(x[:160], 32))
    for row in summary(rank_correlations({name: own.filters for name, own in scores.items()})):
        print(f"{row.first} and {row.second}: rank correlation {row.mean:.2f}, mean over layers")

    # On the command line it is named by its module, here from the folder of this file.
    weights = sc.save(model, OUT / "vgg.safetensors")
    np.savez(OUT / "clips.npz", input=x[:160].numpy())
    network = f"secateur.networks.vgg:vgg --arg width=8 --weights {weights} --input 1x32x26"
    for criterion, data_of in ((PEAK, ""), (SPREAD, f"--calibration {OUT}/clips.npz")):
        own = f"criterion_of_your_own:{criterion.name.upper()}"
        options = f"{network} --macs 50% --criterion {own} {data_of} -o {OUT}/{criterion.name}"
        command = [sys.executable, "-m", "secateur.cli", "prune", *options.split()]
        print("\nsecateur prune", *options.replace(f"{OUT}", "out/examples").split(), flush=True)
        subprocess.run(command, check=True, cwd=Path(__file__).parent)
        theirs = sc.PruningPlan.from_json((OUT / criterion.name / "plan.json").read_text())
        pruned = sc.prune(model, example, macs="50%", criterion=criterion, calibration=[x[:160]])
        print("the same channels as from Python:", theirs.remove == pruned.plan.remove)


if __name__ == "__main__":
    main()
