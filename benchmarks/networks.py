"""What the reference networks cost, and how much of them can be pruned.

python benchmarks/networks.py            count, then write the table of docs/networks.md
python benchmarks/networks.py --print    count, write nothing
"""

from __future__ import annotations

import argparse
import inspect

import torch
from sections import ROOT, write_section
from zoo import shares

from secateur.channels.cost import cost
from secateur.channels.mult_adds import torchinfo_mult_adds
from secateur.channels.trace import trace
from secateur.networks.families import NETWORKS, SIZES

PAGE = ROOT / "docs" / "networks.md"

INPUTS = {"dcase_baseline": (256, 65), "cp_mobile": (256, 64), "tf_sepnet": (512, 64)}
"""Those of the challenge; the others are counted at that of the preset `fast`."""


def table() -> str:
    """A row for every family and size."""
    lines = [
        "## Sizes",
        "",
        "| name | width | input | parameters | MACs | torchinfo's mult-adds | prunable | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, build in NETWORKS.items():
        for size, width in SIZES[name].items():
            shape = (1, 1, *INPUTS.get(name, (64, 101)))
            model, example = build(width=width).eval(), torch.zeros(shape)
            channels = trace(model, example)
            dense = cost(channels)
            cells = [
                f"`{name}`, {size}",
                str(width),
                " x ".join(map(str, shape[1:])),
                f"{dense.params:,}",
                f"{dense.macs:,}",
                f"{torchinfo_mult_adds(model, example):,}",
                f"{shares(channels, {})['prunable']:.1%}",
                reference(name),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reference(name: str) -> str:
    """The papers that a factory's docstring names."""
    text = inspect.getdoc(NETWORKS[name]) or ""
    return " ".join(text.partition("Reference: ")[2].split()).rstrip(".")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    if parser.parse_args().printed:
        print(table())
    else:
        write_section("networks", table(), page=PAGE)


if __name__ == "__main__":
    main()
