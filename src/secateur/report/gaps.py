"""Tables of what a study could not do: what failed, and what could not be computed, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from secateur.analysis.skewness import POOLED
from secateur.report.findings import EPSILONS, Findings
from secateur.report.tables import Table
from secateur.report.wording import count

_AT_MOST = 20


def failures(findings: Findings) -> Table:
    """Errors with the number of cells each stopped and one of these cells."""
    errors = Counter(row["error"] for row in findings.failed)
    example = {row["error"]: _cell(row["cell"]) for row in reversed(findings.failed)}
    rows = [(error, str(n), example[error]) for error, n in errors.most_common(_AT_MOST)]
    if len(errors) > _AT_MOST:
        rows.append((f"and {count(len(errors) - _AT_MOST, 'other error')}", "", ""))
    return Table("What failed", ("Error", "Cells", "For example"), tuple(rows))


def undefined(findings: Findings) -> Table:
    """Prunable ratios that are not defined, or rest on fewer seeds than there are, and why."""
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
    found = tuple((network, why, str(n)) for (network, why), n in reasons.most_common(_AT_MOST))
    return Table("What could not be computed", ("Network", "What and why", "Times"), found, 2)


def tracebacks(findings: Findings, at_most: int = 10) -> dict[str, str]:
    """One traceback for each of the first errors."""
    found: dict[str, str] = {}
    for row in findings.failed:
        found.setdefault(row["error"], row.get("traceback", ""))
    return {error: text for error, text in list(found.items())[:at_most] if text}


def _cell(cell: Mapping[str, Any]) -> str:
    wanted = ("network", "total_shrink", "fold", "seed", "base", "criterion", "scope", "ratio")
    shown = {name: cell[name] for name in wanted if name in cell}
    if isinstance(shown.get("network"), Mapping):
        shown["network"] = shown["network"].get("kind")
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
