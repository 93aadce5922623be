"""The rows of engine.py as Markdown: ratios first, times after, and which targets are met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp, log
from typing import Any

from growing_networks import SERIES

Row = Mapping[str, Any]
MEAN_TARGET, DENSENET_TARGET, EAGER_TARGET, MEMORY_TARGET = 3.0, 8.0, 4.0, 100.0

NETWORKS_INTRO = """\
CPU seconds of one thread, medians of repetitions taken by turns in one process, after
one call of each to warm up; batch 1 at each network's own input size. A ratio is
*theirs / ours*: above 1 Secateur is faster."""
TRACE_INTRO = """\
Ours: `trace`. Theirs: `DependencyGraph().build_dependency` and `get_all_groups`. *Eager*:
our trace / one eager forward, both at the smallest input that runs (side in pixels).
*Memory*: peak growth of resident memory, each in a fresh process, MB."""
PRUNE_INTRO = """\
Ours: trace, score, uniform plan, proof, cut. Theirs: `BasePruner` with
`GroupMagnitudeImportance(p=2)`, `pruning_ratio=0.5`, the classifier ignored, `step()`; it
changes the model that comes in, ours makes a new one inside its figure. Ours then
verifies the cut network against the masked one in float64; that is not in the first
figures, and *verified* has it in."""
CUT_INTRO = """\
The cut network against the network whose removed channels are zeroed, float64: *exact*
within 1e-6 of the largest output. A layer norm over cut channels, and the like, make a
difference legitimate for both; ours names them."""
GROWTH_INTRO = """\
*depth*: residual networks for 32-pixel images, 16 to 64 channels, by layers; *width*: the
20-layer one, times so many channels; *chain*: plain convolutions of 16 channels, by length.
CPU seconds; *plan and proof* is `uniform` and `cut` on a fresh trace. The *exponent* is
the slope of log time over log size in the last three points: 1 is linear."""


def networks_page(rows: Sequence[Row]) -> str:
    """The section on single networks."""
    rows = [row for row in rows if row["name"].partition("-")[0] not in SERIES]
    parts = [
        ["## Engine: beside torch-pruning"],
        [NETWORKS_INTRO],
        targets(rows),
        ["### Which channels move together"],
        [TRACE_INTRO],
        trace_table(rows),
        first_use(rows),
        ["### The whole prune: half of the channels, L2 norm"],
        [PRUNE_INTRO],
        prune_table(rows),
        ["### What came out"],
        [CUT_INTRO],
        cut_table(rows),
        broken(rows),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def trace_table(rows: Sequence[Row]) -> list[str]:
    head = "network|theirs / ours|ours, s|theirs, s|eager|at|memory, ours|theirs|not met"
    return table(
        head,
        [
            [
                row["name"],
                times(ratio(row, "trace")),
                seconds(part(row, "trace", "ours")),
                seconds(part(row, "trace", "theirs")),
                times(eager(row)),
                part(row, "eager", "size"),
                megabytes(part(row, "memory", "ours")),
                megabytes(part(row, "memory", "theirs")),
                ", ".join(unmet(row, "trace")) or "all met",
            ]
            for row in rows
        ],
    )


def prune_table(rows: Sequence[Row]) -> list[str]:
    head = "network|theirs / ours|verified|ours, s|of it proof and cut|verification, s|theirs, s|"
    return table(
        head + "not met",
        [
            [
                row["name"],
                times(ratio(row, "prune")),
                times(ratio(row, "prune", "verified")),
                seconds(part(row, "prune", "ours")),
                seconds((part(row, "prune", "steps") or {}).get("cut")),
                seconds((part(row, "prune", "steps") or {}).get("verify")),
                seconds(part(row, "prune", "theirs")),
                ", ".join(unmet(row, "prune")) or "all met",
            ]
            for row in rows
        ],
    )


def cut_table(rows: Sequence[Row]) -> list[str]:
    head = "network|ours|error|mixing|held back|theirs|error|params, M|ours left|theirs left"
    return table(
        head,
        [
            [
                row["name"],
                cut(row, "ours", "verdict"),
                power(cut(row, "ours", "error")),
                ", ".join(cut(row, "ours", "mixing") or ()),
                cut(row, "ours", "held_back"),
                cut(row, "theirs", "verdict"),
                power(cut(row, "theirs", "error")),
                millions(row.get("params")),
                millions(cut(row, "ours", "params")),
                millions(cut(row, "theirs", "params")),
            ]
            for row in rows
        ],
    )


def targets(rows: Sequence[Row]) -> list[str]:
    """Each target, what was reached, and whether it is met."""
    lines = ["| target | reached | met |", "| --- | --- | --- |"]
    for what, title in (("trace", "trace"), ("prune", "whole prune")):
        slower = [row["name"] for row in rows if f"{what} faster" in unmet(row, what)]
        said = "slower: " + ", ".join(slower) if slower else f"all {len(rows)}"
        lines.append(f"| {title} faster on every network | {said} | {yes(not slower)} |")
        found, mean = geometric_mean([ratio(row, what) for row in rows])
        lines.append(
            f"| {title}, geometric mean at least {MEAN_TARGET:g}x "
            f"| {mean:.2f}x over {found} networks | {yes(mean >= MEAN_TARGET)} |"
        )
        value = next((ratio(row, what) for row in rows if row["name"] == "densenet121"), None)
        reached = "not measured | " if value is None else f"{value:.2f}x | "
        met = "" if value is None else yes(value >= DENSENET_TARGET)
        lines.append(f"| {title} of densenet121 at least {DENSENET_TARGET:g}x | {reached}{met} |")
    slow = [row["name"] for row in rows if "eager" in unmet(row, "trace")]
    said = "above: " + ", ".join(slow) if slow else f"all {len(rows)}"
    lines.append(f"| trace within {EAGER_TARGET:g} eager forwards | {said} | {yes(not slow)} |")
    value = next((memory(row) for row in rows if row["name"] == "nasnetalarge"), None)
    reached = "not measured | " if value is None else f"{value:.0f} MB | "
    met = "" if value is None else yes(value < MEMORY_TARGET)
    found, mean = geometric_mean([ratio(row, "prune", "verified") for row in rows])
    lines.append(f"| whole prune with verification, geometric mean | {mean:.2f}x over {found} | |")
    lines.append(f"| extra memory of nasnetalarge below {MEMORY_TARGET:g} MB | {reached}{met} |")
    return lines


def geometric_mean(ratios: Sequence[float | None]) -> tuple[int, float]:
    """How many ratios there are, and their geometric mean."""
    found = [value for value in ratios if value is not None]
    return len(found), exp(sum(map(log, found)) / len(found)) if found else 0.0


def unmet(row: Row, what: str) -> list[str]:
    """Targets that one network misses in the trace or in the whole prune."""
    value, missed = ratio(row, what), []
    if number(part(row, what, "ours")) is None or (value is not None and value <= 1):
        missed.append(f"{what} faster")
    if what == "trace":
        if (eager(row) or EAGER_TARGET + 1) > EAGER_TARGET:
            missed.append("eager")
        if row["name"] == "nasnetalarge" and (memory(row) or MEMORY_TARGET) >= MEMORY_TARGET:
            missed.append("memory")
    if row["name"] == "densenet121" and value is not None and value < DENSENET_TARGET:
        missed.append(f"{DENSENET_TARGET:g}x")
    return missed


def growth_page(rows: Mapping[str, Row]) -> str:
    """The section on networks that grow, with the exponent of the growth."""
    lines = [
        "## Engine: growth",
        "",
        GROWTH_INTRO,
    ]
    sides = ("ours", "proof", "theirs")
    for family, sizes in SERIES.items():
        found = {
            n: row["growth"] for n in sizes if "growth" in (row := rows.get(f"{family}-{n}", {}))
        }
        if not found:
            continue
        body = [
            [
                n,
                times(quotient(f.get("theirs"), f.get("ours"))),
                *(seconds(f.get(s)) for s in sides),
            ]
            for n, f in found.items()
        ]
        slopes = [slope({n: f.get(side) for n, f in found.items()}) for side in sides]
        body.append(["exponent", "", *("" if s is None else f"{s:.2f}" for s in slopes)])
        head = f"{family}|theirs / ours|trace, s|plan and proof, s|theirs, s"
        lines += ["", *table(head, body)]
    return "\n".join(lines)


def slope(points: Mapping[int, Any]) -> float | None:
    """Least-squares slope of log time over log size, over the last three figures."""
    found = [(log(n), log(t)) for n, value in points.items() if (t := number(value))][-3:]
    if len(found) < 2:
        return None
    mean_x, mean_y = (sum(values) / len(found) for values in zip(*found, strict=True))
    square = sum((x - mean_x) ** 2 for x, _ in found)
    return float(sum((x - mean_x) * (y - mean_y) for x, y in found) / square)


def first_use(rows: Sequence[Row]) -> list[str]:
    """What the first call in a process costs, on a toy of two layers."""
    told = []
    for side in ("ours", "theirs"):
        found = sorted(v for row in rows if (v := number(part(row, "first", side))) is not None)
        if found:
            told.append(f"{side} {found[len(found) // 2]:.2f} s")
    return [f"The first call in a process, on a toy of two layers: {', '.join(told)} (median)."]


def broken(rows: Sequence[Row]) -> list[str]:
    """Processes that did not end well."""
    ends = [(row["name"], p, f["why"]) for row in rows for p, f in row.items() if "failed" in p]
    return ["", *(f"- {name}, {what}: {clean(why)}" for name, what, why in ends)] if ends else []


def ratio(row: Row, what: str, ours: str = "ours") -> float | None:
    """Theirs / ours, where both are figures."""
    return quotient(part(row, what, "theirs"), part(row, what, ours))


def quotient(theirs: Any, ours: Any) -> float | None:
    one, other = number(theirs), number(ours)
    return one / other if one is not None and other else None


def eager(row: Row) -> float | None:
    """Our trace in eager forwards."""
    return quotient(part(row, "eager", "trace"), part(row, "eager", "forward"))


def memory(row: Row) -> float | None:
    """What our trace adds to the resident memory, MB."""
    return number(part(row, "memory", "ours"))


def part(row: Row, what: str, side: str) -> Any:
    return row.get(what, {}).get(side)


def cut(row: Row, side: str, what: str) -> Any:
    return row.get("cut", {}).get(side, {}).get(what)


def number(value: Any) -> float | None:
    return None if value is None or isinstance(value, str) else float(value)


def table(head: str, body: list[list[Any]]) -> list[str]:
    names = head.split("|")
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    return lines + [f"| {' | '.join(map(clean, cells))} |" for cells in body]


def clean(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")


def yes(met: bool) -> str:
    return "yes" if met else "**no**"


def figure(value: Any, shown: Callable[[float], str]) -> str:
    found = number(value)
    return clean(value) if found is None else shown(found)


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def seconds(value: Any) -> str:
    return figure(value, lambda v: f"{v:.3f}")


def megabytes(value: Any) -> str:
    return figure(value, lambda v: f"{v:.0f}")


def millions(value: Any) -> str:
    return figure(value, lambda v: f"{v / 1e6:.2f}")


def power(value: Any) -> str:
    return figure(value, lambda v: f"{v:.0e}")
