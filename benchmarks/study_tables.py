"""A study's main tables as Markdown, from what `secateur report FOLDER --json` prints."""

from __future__ import annotations

import json
import sys
from typing import Any

EPSILON = 0.02
COLUMNS = [(scope, name) for scope in ("uniform", "global") for name in ("bn_scale", "l1")]


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def head(*names: str) -> None:
    print()
    row(*names)
    row(*("---" for _ in names))


def points(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def ratio(found: dict[str, Any]) -> str:
    star = "*" if found["base_below"] else ""
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f}){star}"


def main() -> None:
    study = json.load(sys.stdin)
    head("network", "strength", "accuracy, %", "WS", "Gini", "inactive, %")
    for base in study["base_networks"]:
        row(
            base["network"],
            f"{base['strength']:g}",
            points(base["accuracy"], base["low"], base["high"]),
            f"{base['ws']:.2f}",
            f"{base['gini']:.2f}",
            f"{100 * base['inactive_share']:.0f}",
        )
    head("network", "strength", *(f"{scope}, {name}" for scope, name in COLUMNS))
    table = {
        (r["network"], r["strength"], r["scope"], r["criterion"]): r
        for r in study["prunable"]
        if r["epsilon"] == EPSILON
    }
    for base in study["base_networks"]:
        key = base["network"], base["strength"]
        found = [table.get((*key, *column)) for column in COLUMNS]
        row(key[0], f"{key[1]:g}", *("-" if cell is None else ratio(cell) for cell in found))
    head("network", "scope", "criterion", "minus random, points", "verdict")
    for one in study["differences"]:
        if one["ratio"] == "all ratios" and one["measure"] == "accuracy":
            gap = points(one["mean"], one["low"], one["high"], "+")
            row(one["network"], one["scope"], one["criterion"], gap, one["verdict"])


if __name__ == "__main__":
    main()
