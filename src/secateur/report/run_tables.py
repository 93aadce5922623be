"""Tables of runs: what was deployed, and where the time went."""

from __future__ import annotations

from secateur.report import run_figures
from secateur.report.findings import Findings
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, between, duration, level, percent, points


def deployed(findings: Findings) -> Table:
    """Accuracy and bytes of every network as float32 and as INT8."""
    cells: dict[tuple[str, float, str, str, float], dict[str, dict[str, float]]] = {}
    for row in run_figures.deployed(findings):
        cell = (row["network"], row["strength"], row["criterion"], row["scope"], row["ratio"])
        cells.setdefault(cell, {})[row["form"]] = row
    return Table(
        "Networks as files: accuracy in ONNX Runtime, INT8 minus float32 in points, size",
        (
            *("Network", "Strength", "Criterion", "Scope", "Level", "float32", "INT8"),
            *("Difference", "Interval", "KB, float32", "KB, INT8", "Seeds"),
        ),
        tuple(
            (
                network,
                f"{strength:g}",
                criterion,
                scope or NOTHING,
                level(asked, findings.by_macs) if asked else NOTHING,
                percent(own["float32"]["accuracy"]),
                percent(own["int8"]["accuracy"]),
                points(own["int8"]["loss"]),
                between(own["int8"]["loss_low"], own["int8"]["loss_high"], 100, 1)
                if own["int8"]["n_seeds"] > 1
                else NOTHING,
                f"{own['float32']['file_bytes'] / 1000:,.1f}",
                f"{own['int8']['file_bytes'] / 1000:,.1f}",
                f"{own['int8']['n_seeds']:g}",
            )
            for (network, strength, criterion, scope, asked), own in cells.items()
        ),
        n_labels=5,
    )


def seconds(findings: Findings) -> Table:
    """Time by network and stage."""
    return Table(
        "Time spent, summed over workers",
        ("Network", "Stage", "Cells", "In all", "A cell"),
        tuple(
            (
                row["network"],
                row["stage"],
                str(row["cells"]),
                duration(row["seconds"]),
                duration(row["seconds"] / row["cells"]),
            )
            for row in run_figures.seconds(findings)
        ),
        n_labels=2,
    )
