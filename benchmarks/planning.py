"""Seconds that planning takes for a budget of half the MACs, in every scope, and what is reached.

    python benchmarks/planning.py                        the networks below
    python benchmarks/planning.py resnet18 …             these
    python benchmarks/planning.py --print                print the section and write nothing

Writes the section of docs/benchmarks.md. One thread, median of five. Needs timm (not torchvision).
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sections import write_section

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

NETWORKS = ("resnet18", "resnet152", "densenet121", "nasnetalarge")
REPETITIONS = 5


def rows(name: str) -> list[str]:
    """A line a scope."""
    import torch

    from secateur.channels.trace import trace
    from secateur.criteria.score import score
    from secateur.criteria.weight import l1
    from secateur.plan.budget import Budget
    from secateur.plan.select import SCOPES
    from timm_without_torchvision import import_timm

    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model = import_timm().create_model(name).eval()
    channels = trace(model, torch.zeros(1, 3, 128, 128))
    scores = score(channels, [l1])["l1"]
    lines = []
    for scope, select in SCOPES.items():
        times = []
        for _ in range(REPETITIONS):
            began = time.process_time()
            plan = select(scores, channels, Budget(macs="50%"))
            times.append(time.process_time() - began)
        left = plan.reached["macs"] / plan.before.macs
        sizes = f"{name} | {len(channels.groups)} | {plan.before.channels}"
        lines.append(f"| {sizes} | {scope} | {median(times):.3f} | {left:.4%} |")
    return lines


def section(names: Sequence[str]) -> str:
    """The table as Markdown."""
    return "\n".join(
        [
            "## Planning",
            "",
            "One plan for half the MACs, L1 norm: CPU seconds of one thread, median of "
            f"{REPETITIONS}.",
            "",
            "| network | groups | channels | scope | seconds | MACs left |",
            "|" + " --- |" * 6,
            *(line for name in names for line in rows(name)),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks of timm")
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    asked = parser.parse_args()
    text = section(asked.names or NETWORKS)
    if asked.printed:
        print(text)
    else:
        write_section("planning", text)


if __name__ == "__main__":
    main()
