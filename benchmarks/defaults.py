"""Which criterion and scope need no data and do best: means over the rows of both studies.

    python benchmarks/defaults.py

docs/prune.md shows what it prints; `secateur.prune` takes the best that scores any network.
"""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from pathlib import Path
from statistics import fmean

STUDIES = {"ESC-10": "asc-claims", "generated scenes": "asc-claims-scenes"}
ROOT = Path(__file__).parents[1]


def means(study: str) -> dict[tuple[str, str], tuple[int, float, float]]:
    """Criterion and scope -> rows, mean accuracy after the cut and after fine-tuning."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with lzma.open(ROOT / "docs/studies" / study / "rows.jsonl.xz", "rt") as lines:
        for row in map(json.loads, lines):
            if row.get("kind") == "pruned" and row["criterion"] not in ("taylor_fo", "apoz"):
                key = row["criterion"], row["scope"]
                found[key].append((row["accuracy_cut"], row["accuracy"]))
    return {
        key: (len(rows), fmean(a for a, _ in rows), fmean(b for _, b in rows))
        for key, rows in found.items()
    }


def table() -> str:
    """One line a criterion and scope, the best of the first study first."""
    each = [means(study) for study in STUDIES.values()]
    head = "".join(f"{name:>24}" for name in STUDIES)
    lines = [f"{'criterion':<10}{'scope':<9}{head}"]
    for key in sorted(each[0], key=lambda key: (-each[0][key][2], key)):
        cells = [f"{cut:7.1%} -> {tuned:5.1%} ({n})" for n, cut, tuned in (m[key] for m in each)]
        lines.append(f"{key[0]:<10}{key[1]:<9}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
