"""The page of foreign.py: what came of every network, and what stands in front of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, log
from statistics import median
from typing import Any

Row = Mapping[str, Any]
SCOPES = ("uniform", "global")


def page(rows: Sequence[Row], n_asked: int) -> str:
    """The rows as a Markdown page."""
    lines = [
        "# Networks that nobody here wrote",
        "",
        "Networks from packages on the ordinary index, built without a download, each walked the "
        "whole road: traced,",
        "cut to half its MACs by the same share of every group and over all groups together, "
        "verified in float64, saved,",
        "loaded in another process, trained for a step; and torch-pruning and torch-kirigami",
        "beside it. Made by",
        "",
        "    python benchmarks/foreign.py",
        "",
        "in an environment of its own, which this project never needs. The list is "
        "`benchmarks/foreign_networks.py`.",
        "",
        *summary(rows, n_asked),
        "",
        "## Our side",
        "",
        "*Share* is what is left of the MACs of 50 % asked for; *error* the largest relative "
        "difference in float64 from the",
        "reference ([what verified means](labels-and-proof.md#what-verified-means)); *loaded* the "
        "same between the network and its",
        "file's in another process, in float32; *prunable* the share of all parameters that have a "
        "prunable dimension, less",
        "those of groups held back.",
        "",
        "| network | params, k | groups | uniform | share | error | global | share | error "
        "| loaded | trains | prunable | held back, or refused |",
        "|" + " --- |" * 13,
        *map(our_line, rows),
        "",
        "## Beside torch-pruning and torch-kirigami",
        "",
        "Milliseconds of one thread's CPU time, by turns in one process, the least of three: our "
        "trace; its graph with all groups;",
        "of the network above, which is small so that all of the road can be walked in float64, "
        "and of the one that the package",
        "publishes, if that is larger. *Its cut* removes half",
        "of every group's channels but those of the network's outputs, which it is told; it is "
        "*exact* if the result answers as the",
        "network with zeros for every element that is not in the result, within 1e-10 in float64. "
        "torch-kirigami's is one to half",
        "the parameters by its own choice of groups, judged the same way; each had two minutes.",
        "",
        "| network | our trace | its graph | its / ours | ours, published | its | its / ours "
        "| its cut | torch-kirigami's |",
        "|" + " --- |" * 9,
        *map(their_line, rows),
        "",
        "## Versions",
        "",
        ", ".join(sorted({f"{row['package']} {row['version']}" for row in rows}))
        + ". By commit: "
        + by_commit(rows, "commit")
        + "; timed: "
        + by_commit(rows, "timed")
        + ".",
    ]
    return "\n".join(lines) + "\n"


def by_commit(rows: Sequence[Row], which: str) -> str:
    """How many rows are of each commit."""
    return ", ".join(f"{n} {c}" for c, n in Counter(row[which] for row in rows).most_common())


def summary(rows: Sequence[Row], n_asked: int) -> list[str]:
    """What came of all of them together."""
    cuts = [row["ours"].get(scope, {}) for row in rows for scope in SCOPES]
    made = [cut for cut in cuts if "verdict" in cut]
    cut = [row for row in rows if any("verdict" in row["ours"].get(s, {}) for s in SCOPES)]
    kept = [row["ours"]["prunable_kept"] for row in cut]
    wrong = [c for c in made if not c["error"] <= 1e-10]
    equal = [c for c in made if isinstance(c["loaded"], float) and c["loaded"] <= 1e-5]
    trained = [c for c in made if c["trains"] is True]
    said = [
        f"{len(rows)} of {n_asked} networks were run. Cut and verified: {len(cut)} "
        f"({len(cut) / len(rows):.0%}); wrong: {len(wrong)}; of {len(made)} cuts {len(equal)} "
        f"answer the same when loaded elsewhere, {len(trained)} train.",
    ]
    if kept:
        said.append(
            f"Parameters that stay prunable: median {median(kept):.1%}, mean "
            f"{sum(kept) / len(kept):.1%}."
        )
    for which, size in (("published", "of larger ones, as published"), ("small", "of those below")):
        ratios = {row["name"]: r for row in rows if (r := ratio(row, which)) is not None}
        if ratios:
            mean = exp(sum(map(log, ratios.values())) / len(ratios))
            worst = min(ratios, key=lambda name: ratios[name])
            slower = sum(r < 1 for r in ratios.values())
            said.append(
                f"Trace against torch-pruning's graph with groups, {size}, where both give one "
                f"({len(ratios)}): {mean:.2f} times as fast in the geometric mean, {slower} "
                f"slower, worst {worst} ({ratios[worst]:.2f})."
            )
    for side, peer in (("theirs", "torch-pruning"), ("kirigami", "torch-kirigami")):
        found = Counter(row[side].get("verdict", "failed") for row in rows)
        said.append(f"{peer}'s cut: " + ", ".join(f"{n} {v}" for v, n in found.most_common()) + ".")
    return [f"- {text}" for text in said]


def ratio(row: Row, which: str) -> float | None:
    """Its time over ours; None where one of the two failed, or there is no such network."""
    both = row["times-of"].get(which, {})
    ours, theirs = both.get("ours"), both.get("theirs")
    return theirs / ours if isinstance(ours, float) and isinstance(theirs, float) else None


def our_line(row: Row) -> str:
    """One network of ours as a line of the table."""
    ours = row["ours"]
    cells = [row["name"], f"{ours['params'] / 1e3:.0f}" if "params" in ours else ""]
    cells.append(str(ours.get("groups", "")))
    why = [ours["failure"]] if "failure" in ours else []
    loaded, trains = [], []
    for scope in SCOPES:
        cut = ours.get(scope, {})
        why += [cut["refused"]] if "refused" in cut else []
        why += [f"{name}: {reason}" for name, reason in cut.get("held_back", {}).items()]
        if "verdict" not in cut:
            cells += ["refused" if "refused" in cut else "failed", "", ""]
            continue
        cells += [cut["verdict"], f"{cut['share']:.1%}", f"{cut['error']:.0e}"]
        loaded.append(cut["loaded"])
        trains.append(cut["trains"])
    cells.append(", ".join(f"{n:.0e}" if isinstance(n, float) else str(n) for n in loaded))
    cells.append(
        "yes" if trains and all(t is True for t in trains) else "; ".join(map(str, trains))
    )
    cells.append(f"{ours['prunable_kept']:.1%}" if "prunable_kept" in ours else "")
    reasons = list(dict.fromkeys(why))
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    cells.append(reasons[0][:200] + more if reasons else "")
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def their_line(row: Row) -> str:
    """The two sides' times, and what came of the peer's cut."""
    cells = [row["name"]]
    for which in ("small", "published"):
        both = row["times-of"].get(which, {})
        for t in (both.get("ours"), both.get("theirs")):
            cells.append(f"{1e3 * t:.0f}" if isinstance(t, float) else "failed" if t else "")
        found = ratio(row, which)
        cells.append("" if found is None else f"{found:.2f}")
    for theirs in (row["theirs"], row["kirigami"]):
        verdict = theirs.get("verdict", "failed")
        if verdict == "differs":
            verdict += f", {theirs['error']:.0e}"
        elif verdict == "failed":
            verdict += f": {theirs.get('failure', '')[:120]}"
        cells.append(verdict)
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
