"""The rows of peers.py as a section of docs/peers.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peers_networks import NETWORKS

Row = Mapping[str, Any]


def outcomes(rows: Mapping[str, Row]) -> str:
    """Networks by packages, what failed and how, and where it ran."""
    lines = [f"| network | {' | '.join(rows)} |", "|" + " --- |" * (len(rows) + 1)]
    failures: dict[str, list[str]] = {}
    for name, network in NETWORKS.items():
        cells = [cell(row["networks"].get(name)) for row in rows.values()]
        lines.append(f"| {name}: {network.what} | {' | '.join(cells)} |")
        for peer, row in rows.items():
            if failure := row["networks"].get(name, {}).get("failure"):
                failures.setdefault(f"{peer}: `{failure.replace('`', '')}`", []).append(name)
    exact = [str(count_exact(row)) for row in rows.values()]
    lines += [f"| exact, all of it | {' | '.join(exact)} |", ""]
    lines += [
        "| package | version | torch | Python | code of | date | input model |",
        "|" + " --- |" * 7,
    ]
    for peer, row in rows.items():
        runs = row["networks"].values()
        touched = [run["untouched"] for run in runs if "untouched" in run]
        left = "as it was" if touched and all(touched) else "changed"
        where = [row[key] for key in ("version", "torch", "python", "commit", "date")]
        lines.append(f"| {' | '.join([peer, *where, left])} |")
    if failures:
        lines += ["", "What failed, as the packages said it:", ""]
        lines += [f"- {failure} ({', '.join(names)})" for failure, names in failures.items()]
    return "\n".join(lines)


def count_exact(row: Row) -> int:
    """Networks of which half of the channels went, exactly; 95 % of the parameters is enough."""
    runs = row["networks"].values()
    return sum(run["verdict"] == "exact" and run["removed"] >= 0.95 for run in runs)


def cell(run: Row | None) -> str:
    """One outcome; a share where not all went that half of the width does without."""
    if run is None:
        return "not run"
    if run["verdict"] in ("failed", "unchanged"):
        return str(run["verdict"])
    text = "exact" if run["verdict"] == "exact" else f"**differs** by {run['error']:.0e}"
    return text if run["removed"] >= 0.95 else f"{text}, {run['removed']:.0%} of it"
