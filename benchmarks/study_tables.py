"""A study's main tables as Markdown, from what `secateur report FOLDER --json` prints.

secateur report FOLDER --json | python benchmarks/study_tables.py
secateur report FOLDER --json | python benchmarks/study_tables.py --write PAGE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPSILON = 0.02
COLUMNS = [(scope, name) for scope in ("uniform", "global") for name in ("bn_scale", "l1")]

Study = dict[str, Any]


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*names: str) -> Iterator[str]:
    yield ""
    yield row(*names)
    yield row(*("---" for _ in names))


def points(value: float, low: float | None, high: float | None, sign: str = "") -> str:
    """In points of accuracy, with the interval where there is one."""
    if low is None or high is None:
        return f"{100 * value:{sign}.1f}"
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def number(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.2f}" + ("" if low is None else f" ({low:+.2f} to {high:+.2f})")


def ratio(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    star = "*" if found["base_below"] else ""
    least = "≥ " if found["beyond"] else ""
    return f"{least}{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f}){star}"


def base_networks(study: Study) -> Iterator[str]:
    yield from head("network", "strength", "accuracy, %", "WS", "Gini", "inactive, %")
    for base in study["base_networks"]:
        yield row(
            base["network"],
            f"{base['strength']:g}",
            points(base["accuracy"], base["low"], base["high"]),
            f"{base['ws']:.2f}",
            f"{base['gini']:.2f}",
            f"{100 * base['inactive_share']:.0f}",
        )


def claims(study: Study) -> Iterator[str]:
    yield ""
    for claim in study["claims"]:
        said = [f"**{claim['statement']}: {claim['verdict']}.** {claim['because']}"]
        said += [claim["at_other_losses"], claim["visible"]]
        yield "- " + ". ".join(one[0].upper() + one[1:] for one in said if one) + "."


def prunable(study: Study) -> Iterator[str]:
    yield from head("network", "strength", *(f"{scope}, {name}" for scope, name in COLUMNS))
    table = {
        (r["network"], r["strength"], r["scope"], r["criterion"]): r
        for r in study["prunable"]
        if r["epsilon"] == EPSILON
    }
    for base in study["base_networks"]:
        key = base["network"], base["strength"]
        yield row(key[0], f"{key[1]:g}", *(ratio(table.get((*key, *one))) for one in COLUMNS))


def budgets(study: Study) -> Iterator[str]:
    """Accuracy at fewer MACs, of the criterion that sees the sparsity."""
    columns = [(scope, times) for scope in ("uniform", "global") for times in (4, 8)]
    yield from head("network", "strength", *(f"{scope}, {times}x" for scope, times in columns))
    table = {
        (r["network"], r["strength"], r["scope"], r["times"]): r
        for r in study["accuracy_at_budgets"]
        if r["criterion"] == "bn_scale" and r["cost"] == "macs" and r["accuracy"] is not None
    }
    for base in study["base_networks"]:
        key = base["network"], base["strength"]
        found = [table.get((*key, *one)) for one in columns]
        cells = ["-" if f is None else points(f["accuracy"], f["low"], f["high"]) for f in found]
        yield row(key[0], f"{key[1]:g}", *cells)


def slopes(study: Study) -> Iterator[str]:
    networks = list(dict.fromkeys(base["network"] for base in study["base_networks"]))
    table = {
        (r["scope"], r["criterion"], r["network"]): number(r["slope"], r["low"], r["high"])
        for r in study["slopes_by_method"]
    }
    yield from head("scope", "criterion", *networks)
    for scope, name in sorted({key[:2] for key in table}, reverse=True):
        yield row(scope, name, *(table.get((scope, name, network), "-") for network in networks))


def shares(study: Study) -> Iterator[str]:
    yield from head("effect", "share of the variance", "interval", "p")
    for one in study["shares_of_variance"]:
        known = one["low"] is not None
        yield row(
            one["effect"],
            f"{one['share']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}" if known else "-",
            f"{one['p']:.2g}" if known else "-",
        )


def controls(study: Study) -> Iterator[str]:
    yield from head("network", "scope", "criterion", "minus", "points", "verdict")
    for one in (*study["differences"], *study["from_scratch"]):
        if one["ratio"] == "all ratios" and one["measure"] == "accuracy":
            gap = points(one["mean"], one["low"], one["high"], "+")
            yield row(
                one["network"],
                one["scope"],
                one["criterion"],
                one["reference"],
                gap,
                one["verdict"],
            )


def tables(study: Study) -> str:
    """All of them, each under its heading."""
    parts = {
        "The claims": claims,
        "Networks before any cut": base_networks,
        f"Prunable ratio at a loss of {100 * EPSILON:g} points": prunable,
        "Accuracy at 4 and 8 times fewer MACs, in %: bn_scale": budgets,
        "Slope of the prunable ratio on Weight Skewness, by method": slopes,
        "Whose doing the prunable ratio is": shares,
        "Against both controls, over all strengths and ratios": controls,
    }
    lines = []
    for title, part in parts.items():
        lines += [f"## {title}", *part(study), ""]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Print, or write into a page."""
    text = tables(json.load(sys.stdin))
    if sys.argv[1:2] == ["--write"]:
        from sections import write_section

        write_section("tables", text, page=Path(sys.argv[2]))
    else:
        print(text)


if __name__ == "__main__":
    main()
