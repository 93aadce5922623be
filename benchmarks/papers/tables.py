"""The papers' claims on networks at hand: writes docs/papers.md, a section a table.

    python benchmarks/papers/tables.py                  every section
    python benchmarks/papers/tables.py similarity       one of them
    python benchmarks/papers/tables.py --page FILE      into another file

Networks and images are read from `../shared/data` or the folder that SECATEUR_DATA names; sections
that need them are skipped, in words, where it is absent. The two networks that are trained here
take about a minute and are kept in out/benchmarks/papers.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import applicability
import claims
import distribution
import gaussian
import material
import similarity
import skewness
import timing
from sections import provenance, write_section

TABLES = {
    "claims": claims.section,
    "gaussian": gaussian.section,
    "similarity": similarity.section,
    "applicability": applicability.section,
    "distribution": distribution.section,
    "skewness": skewness.section,
    "timing": timing.section,
}
PAGE = material.ROOT / "docs" / "papers.md"
TITLE = (
    "# The papers' claims, on networks at hand\n\nThe questions are those of Huang et al., "
    "*Rethinking the Pruning Criteria for Convolutional Neural Network* (arXiv 2004.11627), and of "
    "Cai and Li, *Exploring the Effects of Channel Sparsity on Neural Network Pruning for Acoustic "
    "Scene Classification* (arXiv 2210.15960). Only their abstracts were at hand: claims are "
    "theirs as stated there, numbers are all ours. What the numbers mean: "
    "[measures.md](measures.md). Every section was written by the command at its head, which "
    "writes it again: `--page FILE` writes elsewhere. The commands need what `make check` "
    "installs, and the recordings, images and weights of `../shared/data` or of the folder that "
    "`SECATEUR_DATA` names; what is not there is left out, in words.\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    if not asked.page.exists():
        asked.page.parent.mkdir(parents=True, exist_ok=True)
        asked.page.write_text(TITLE)
    for name in asked.names or TABLES:
        began = time.process_time()
        try:
            text = TABLES[name]()
        except material.NoDataError as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
            continue
        command = f"python benchmarks/papers/tables.py {name}"
        write_section(f"papers {name}", text, origin=provenance(command), page=asked.page)
        print(f"{name}: {time.process_time() - began:.1f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
