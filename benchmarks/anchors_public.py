"""What others report of ResNet-56 on CIFAR-10, pruned: figures as their sources have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from engine_page import table

TORCH_PRUNING = "https://github.com/VainF/Torch-Pruning/tree/master/benchmarks"
CHIP = "https://github.com/Eclipsess/CHIP_NeurIPS2021/issues/8"
RESNETS = "https://github.com/akamaster/pytorch_resnet_cifar10/issues/18"
TENSORFLOW = "https://github.com/tensorflow/models/pull/5243"
REWINDING = (
    "https://github.com/lottery-ticket/rewinding-iclr20-public/blob/master/vision/plot/gen.py"
)

SINGLE = (
    ("Geometric", 93.59, 93.26, 1.70),
    ("Polar", 93.80, 93.83, 1.88),
    ("CP", 92.80, 91.80, 2.00),
    ("AMC", 92.80, 91.90, 2.00),
    ("HRank", 93.26, 92.17, 2.00),
    ("SFP", 93.59, 93.36, 2.11),
    ("ResRep", 93.71, 93.71, 2.12),
    ("Group-L1 (torch-pruning)", 93.53, 92.93, 2.12),
    ("Group-BN (torch-pruning)", 93.53, 93.29, 2.12),
    ("Group-GReg (torch-pruning)", 93.53, 93.55, 2.12),
    ("Group-SL (torch-pruning)", 93.53, 93.77, 2.13),
)
"""Method, accuracy before and after in percent, MACs before / MACs after."""


@dataclass(frozen=True)
class Repeated:
    """One thing trained several times: every run, or the mean and sd the source gives."""

    what: str
    found: tuple[float, ...] | str
    claimed: str
    source: str


REPEATED = (
    Repeated("CHIP, about 43 % of the parameters gone, settings of the code's page",
             (93.99, 93.64, 93.78), "94.16", f"[a user's runs]({CHIP})"),
    Repeated("the same, settings of the paper",
             (93.9, 93.97, 94.01, 93.94), "94.16", f"[the same user's]({CHIP})"),
    Repeated("uncut, best epoch on the test images",
             (92.60, 92.71, 92.60, 93.11, 91.58, 92.05), "93.39", f"[a user's runs]({RESNETS})"),
    Repeated("uncut", "93.12 ± 0.2, 5 runs, the best 93.44", "", f"[TensorFlow]({TENSORFLOW})"),
    Repeated("uncut, base of Liu et al. 2019 (arXiv 1810.05270)", "93.14 ± 0.12", "",
             f"[quoted by Renda et al.]({REWINDING})"),
)  # fmt: skip

SINGLE_INTRO = f"""\
Single runs on the original images, as the [benchmarks of torch-pruning]({TORCH_PRUNING})
list them; *change* is their difference, *speed-up* is MACs before / after."""
REPEATED_INTRO = """\
Runs that were repeated, mean ± standard deviation: what chance does is as large as what
separates many of the methods above. Asked whether the paper's figure is the best of several
runs, CHIP's author confirms it in the first source, and adds that most papers do the same."""


def public() -> list[str]:
    """Both tables as Markdown, blocks of lines."""
    single = [
        [method, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}", f"{speedup:.2f}x"]
        for method, before, after, speedup in SINGLE
    ]
    repeated = [[row.what, told(row.found), row.claimed, row.source] for row in REPEATED]
    return [
        "### What others report",
        SINGLE_INTRO,
        "\n".join(table("method|uncut, %|pruned, %|change, points|speed-up", single)),
        REPEATED_INTRO,
        "\n".join(table("what|runs, %|claimed, %|source", repeated)),
    ]


def told(found: Sequence[float] | str) -> str:
    """Mean and sd of runs, which follow."""
    if isinstance(found, str):
        return found
    return f"{mean(found):.2f} ± {stdev(found):.2f} ({', '.join(f'{run:g}' for run in found)})"
