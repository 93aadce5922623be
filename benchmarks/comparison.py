"""Seconds and memory that comparing the rows of a large study takes, step by step.

    python benchmarks/comparison.py                    two studies of about 100 000 rows
    python benchmarks/comparison.py --print 3 4        3 criteria, 4 seeds; write nothing

Writes its section of docs/benchmarks.md. Rows are simulated: three families, five strengths, two
scopes, eight ratios, one control from scratch a ratio. Processor seconds of one thread.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sections import write_section

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

EPSILONS = (0.01, 0.02, 0.05)


def simulated(n_criteria: int, n_seeds: int) -> list[dict[str, Any]]:
    """Rows of a study that is whole."""
    import numpy as np

    from simulated_rows import linear_rows

    return linear_rows(
        np.random.default_rng(0),
        {"vgg": 0.02, "resnet": 0.03, "mobilenet": 0.05},
        methods=(*(f"criterion {k}" for k in range(1, n_criteria)), "random"),
        seeds=range(1, n_seeds + 1),
        ratios=(0.1, 0.2, 0.3, 0.4, 0.6, 0.75, 0.85, 0.9),
        scopes=("uniform", "global"),
        accuracy_noise=0.005,
        scratch=0.03,
    )


def steps(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a report needs, in order; each step uses what those before it made."""
    from secateur.study.cheaper import bd_rates
    from secateur.study.claims import family_claim, methods_claim, sparsity_claim, ws_regression
    from secateur.study.comparison import measure_differences, measured, sample
    from secateur.study.fairness import fairness
    from secateur.study.grid import blocks, tables
    from secateur.study.methods import method_differences, scratch_differences
    from secateur.study.regression import lines
    from secateur.study.tradeoff import curves, prunable_rows
    from secateur.study.variance import prunable_by_seed, variance_shares

    made: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        made[name] = value

    yield (
        "rows to tables and blocks",
        lambda: (
            keep("tables", tables(rows)),
            keep("blocks", blocks(made["tables"])),
        ),
    )
    yield "curves", lambda: curves(made["tables"])
    yield (
        "prunable ratios, 3 losses",
        lambda: [prunable_rows(made["tables"], epsilon) for epsilon in EPSILONS],
    )
    yield (
        "pairs of criteria, all and by ratio, 2 measures",
        lambda: keep(
            "pairs",
            [
                method_differences(made["tables"], measure, per_ratio)
                for measure in ("accuracy", "accuracy_cut")
                for per_ratio in (False, True)
            ],
        ),
    )
    yield "against training from scratch", lambda: scratch_differences(made["tables"])
    yield (
        "every measure, 500 resamples",
        lambda: keep("samples", [sample(block, chance=0.1) for block in made["blocks"]]),
    )
    yield "its intervals", lambda: [measured(own) for own in made["samples"]]
    yield (
        "pairs of criteria on every measure",
        lambda: [
            measure_differences(own, by_strength)
            for own in made["samples"]
            for by_strength in (False, True)
        ],
    )
    yield "BD-rates", lambda: [bd_rates(block) for block in made["blocks"]]
    yield "variance shares", lambda: variance_shares(prunable_by_seed(made["blocks"], 0.02)[0])
    yield (
        "slopes, 3 losses",
        lambda: keep("lines", [lines(made["blocks"], epsilon) for epsilon in EPSILONS]),
    )
    yield (
        "claims",
        lambda: (
            sparsity_claim(map(ws_regression, made["lines"][1]), ["vgg", "resnet", "mobilenet"]),
            methods_claim(made["pairs"][1]),
            family_claim(made["lines"][1], ["vgg", "resnet", "mobilenet"]),
        ),
    )
    yield "fairness", lambda: fairness(rows)


def peak_mb() -> float:
    """Most memory this process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(n_criteria: int, n_seeds: int) -> str:
    """Seconds and peak memory of every step, as Markdown."""
    rows = simulated(n_criteria, n_seeds)
    told = f"{len(rows):,} rows: {n_criteria} criteria, {n_seeds} seeds"
    lines = [
        f"{told}; peak before {peak_mb():.0f} MB.",
        "",
        "| step | seconds | peak MB |",
        "| --- | --- | --- |",
    ]
    whole = time.process_time()
    for name, run in steps(rows):
        began = time.process_time()
        run()
        lines.append(f"| {name} | {time.process_time() - began:.2f} | {peak_mb():.0f} |")
    lines.append(f"| all | {time.process_time() - whole:.2f} | {peak_mb():.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    parser.add_argument("sizes", type=int, nargs="*", help="criteria and seeds, in turn")
    asked = parser.parse_args()
    if len(asked.sizes) % 2:
        parser.error(f"{len(asked.sizes)} sizes given; give criteria and seeds, such as 5 80")
    sizes = asked.sizes or [5, 80, 20, 20]
    parts = [table(*pair) for pair in zip(sizes[::2], sizes[1::2], strict=True)]
    if asked.printed:
        print("\n\n".join(parts))
    else:
        write_section("comparison", "\n\n".join(["## Comparing methods", *parts]))


if __name__ == "__main__":
    main()
