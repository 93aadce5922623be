"""Accuracy against complexity in one number, as rows of figures: every measure, and BD-rates."""

from __future__ import annotations

from dataclasses import asdict

from secateur.report.figures import Data
from secateur.report.findings import Findings

MEASURES = {
    "area": "area to 4× fewer",
    "f_beta": "F-beta",
    "hypervolume": "hypervolume",
    "netscore": "NetScore",
}
"""The measures that sum up a whole curve, in words."""


def measures(findings: Findings) -> Data:
    """Every measure of a whole curve with its interval: one row a cell, measure and cost.

    NetScore counts both costs and has none of its own. Where there is no number, `missing` says
    why; it may also say why there is no interval.
    """
    return [asdict(row) for row in findings.comparison.measured if row.measure in MEASURES]


def bd_rates(findings: Findings) -> Data:
    """BD-rates against random pruning and against l1: one row a cell, reference and cost."""
    return [asdict(row) for row in findings.comparison.cheaper]
