"""Seconds that planning takes for a budget of half the MACs, in every scope, and what is reached.

    python benchmarks/planning.py                        the networks below
    python benchmarks/planning.py resnet18 …             these

Prints a Markdown table; writes nothing. One thread, median of five. Needs timm (not torchvision).
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from statistics import median

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
    scores = score(model, channels, [l1])["l1"]
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


if __name__ == "__main__":
    print("| network | groups | channels | scope | seconds | MACs left |")
    print("|" + " --- |" * 6)
    for asked in sys.argv[1:] or NETWORKS:
        print("\n".join(rows(asked)), flush=True)
