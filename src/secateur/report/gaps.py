"""Tables of what a study could not do: what failed, and what could not be computed, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from secateur.analysis.skewness import POOLED
from secateur.report.comparing import chance_of
from secateur.report.findings import EPSILONS, Findings
from secateur.report.measure_figures import MEASURES, bd_rates, measures
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, count

_AT_MOST = 20
_COSTS = {"macs": "MACs", "params": "parameters"}


def failures(findings: Findings) -> Table:
    """Errors with the number of cells each stopped and one of these cells."""
    errors = Counter(row["error"] for row in findings.failed)
    example = {row["error"]: _cell(row["cell"]) for row in reversed(findings.failed)}
    place = {row["error"]: _last_line(row.get("traceback", "")) for row in findings.failed}
    rows = [
        (error, place[error], str(n), example[error]) for error, n in errors.most_common(_AT_MOST)
    ]
    if len(errors) > _AT_MOST:
        rows.append((f"and {count(len(errors) - _AT_MOST, 'other error')}", "", "", ""))
    return Table("What failed", ("Error", "Where", "Cells", "For example"), tuple(rows), 2)


def absent(findings: Findings) -> tuple[str, ...]:
    """What the page could show and does not, because the rows do not hold it."""
    said = []
    without = sum(not base.get("epochs") for base in findings.bases)
    if without:
        of = "the" if without == len(findings.bases) else f"{without:,} of the"
        said.append(
            f"The course of training of {of} base networks: their rows hold no epochs, which "
            "former versions did not write."
        )
    if findings.pruned and not findings.scratch:
        said.append(
            "Training from scratch at the sizes of the cuts: ask for it with pruning.from_scratch."
        )
    if findings.bases and not findings.deployed:
        said.append("Accuracy and bytes on a device: ask for them with a part named deployment.")
    if findings.pruned and not any("removed" in row for row in findings.pruned):
        said.append(
            "How much the sets of removed channels share: the rows do not say which channels went. "
            "How far the criteria agree before any cut is shown above."
        )
    if findings.bases and not any("by_device" in row for row in findings.bases):
        said.append(
            "Accuracy by recording device: the test clips come from one recorder, or the rows "
            "from a former version."
        )
    lacking = sum("sensitivity" not in row for row in findings.bases)
    if lacking:
        of = "the" if lacking == len(findings.bases) else f"{lacking:,} of the"
        said.append(
            f"Sensitivity of single groups of {of} base networks: their rows do not hold it, which "
            "former versions did not measure; secateur sensitivity measures one network."
        )
    if findings.pruned and chance_of(findings.bases) is None:
        said.append(
            "F-beta: it needs the accuracy of guessing, and the rows do not say how many classes "
            "there are, which former versions did not write."
        )
    return tuple(said)


def undefined(findings: Findings) -> Table:
    """What is not defined, or rests on fewer seeds than there are, and why: ratios, measures."""
    reasons: Counter[tuple[str, str]] = Counter()
    for row in findings.prunable[EPSILONS[0]]:
        if row.undefined:
            reasons[row.network, f"prunable ratio {row.undefined}"] += 1
        elif row.n_left_out:
            left = f"{count(row.n_left_out, 'seed')} left out of the prunable ratio: incomplete"
            reasons[row.network, left] += 1
    for base in findings.bases:
        for row in base["skewness"]:
            if row["undefined"]:
                where = "all layers" if row["layer"] == POOLED else f"layer {row['layer']}"
                what = f"skewness of {where} ({row['definition']})"
                reasons[base["network"], f"{what} {row['undefined']}"] += 1
    kinds = (reasons, _measures_undefined(findings))
    found = tuple(
        (network, why, str(n)) for kind in kinds for (network, why), n in kind.most_common(_AT_MOST)
    )
    return Table("What could not be computed", ("Network", "What and why", "Times"), found, 2)


def _measures_undefined(findings: Findings) -> Counter[tuple[str, str]]:
    """Measures and BD-rates without a number, with the first of their reasons.

    Where rows do not tell the number of classes `absent` says it once for every F-beta.
    """
    no_chance = chance_of(findings.bases) is None
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in measures(findings):
        if row["value"] is None and not (no_chance and row["measure"] == "f_beta"):
            over = f" over {_COSTS[row['axis']]}" if row["axis"] else ""
            what = f"{MEASURES[row['measure']]}{over}"
            reasons.setdefault((row["network"], what), []).append(row["missing"])
    for row in bd_rates(findings):
        if row["value"] is None:
            what = f"BD-rate against {row['reference']} over {_COSTS[row['axis']]}"
            reasons.setdefault((row["network"], what), []).append(row["missing"])
    found: Counter[tuple[str, str]] = Counter()
    for (network, what), why in reasons.items():
        several = ", for example" if len(set(why)) > 1 else ""
        found[network, f"{what}: {why[0]}{several}"] = len(why)
    return found


def tracebacks(findings: Findings, at_most: int = 10) -> dict[str, str]:
    """One traceback for each of the first errors."""
    found: dict[str, str] = {}
    for row in findings.failed:
        found.setdefault(row["error"], row.get("traceback", ""))
    return {error: text for error, text in list(found.items())[:at_most] if text}


def _last_line(trace: str) -> str:
    r"""Module, line and function where the error arose.

    >>> _last_line("  File \"/a/cut.py\", line 7, in cut")
    'cut.py, line 7, in cut'
    """
    places = re.findall(r'File "(?:.*[/\\])?([^"/\\]+)", (line \d+, in .+)', trace)
    return ", ".join(places[-1]) if places else NOTHING


def _cell(cell: Mapping[str, Any]) -> str:
    wanted = (
        "network",
        "total_shrink",
        "fold",
        "seed",
        "base",
        "criterion",
        "scope",
        "ratio",
        "fewer_macs",
        "repair",
        "of",
    )
    shown = {name: cell[name] for name in wanted if name in cell}
    if isinstance(shown.get("network"), Mapping):
        shown["network"] = shown["network"].get("name", shown["network"].get("kind"))
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
