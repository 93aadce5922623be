"""The ratios in front of docs/benchmarks.md, read out of its own sections and of the zoo's page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sections import ROOT, write_section

ZOO = ROOT / "docs" / "zoo.md"

Found = Callable[[str], str | None]
"""The text of a section to what it says, or None if it says nothing of the kind."""


@dataclass(frozen=True)
class Line:
    """One row of the summary: what is compared, and where and how its figure is found."""

    what: str
    section: str
    found: Found


def first(pattern: str) -> Found:
    """What the first group of a pattern matches."""

    def found(text: str) -> str | None:
        match = re.search(pattern, text)
        return match[1] if match else None

    return found


def column(head: str) -> Found:
    """The lowest and the highest ratio in a column of the section's first table that has it."""

    def found(text: str) -> str | None:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        place = next((k for k, row in enumerate(rows) if head in row), None)
        if place is None:
            return None
        at = rows[place].index(head)
        values = []
        for row in rows[place + 2 :]:
            if len(row) <= at:
                break
            if re.fullmatch(r"[\d.]+x?", row[at]):
                values.append(float(row[at].rstrip("x")))
        ends = dict.fromkeys(f"{end:.2f}x" for end in (min(values), max(values))) if values else ()
        return " to ".join(ends) or None

    return found


def times_less_memory(text: str) -> str | None:
    """How many times more memory the peer takes for the largest network of the engine's table."""
    match = re.search(r"\| nasnetalarge (?:\|[^|\n]*){5}\| (\d+) \| (\d+) \|", text)
    return f"{int(match[2]) / int(match[1]):.0f}x" if match else None


def none_wrong(text: str) -> str | None:
    """How many architectures of the zoo were cut wrong or could not be cut."""
    match = re.search(r"\n(\d+) of the \d+ architectures[^:]*: ([^.]*)\.", text)
    if match is None:
        return None
    bad = sum(int(n) for n in re.findall(r"(\d+) (?:wrong|failed)", match[2]))
    return f"{bad} of {match[1]}"


LINES = (
    Line(
        "which channels move together, torch-pruning / secateur, geometric mean",
        "engine",
        first(r"\| trace, geometric mean[^|]*\| ([\d.]+x over \d+ networks)"),
    ),
    Line(
        "the whole prune, not verified, likewise",
        "engine",
        first(r"\| whole prune, geometric mean[^|]*\| ([\d.]+x over \d+ networks)"),
    ),
    Line(
        "the whole prune with the verification that torch-pruning does not do",
        "engine",
        first(r"\| whole prune with verification[^|]*\| ([\d.]+x)"),
    ),
    Line("memory for NASNet-A large, torch-pruning / secateur", "engine", times_less_memory),
    Line(
        "time by depth, exponent (1 is linear)",
        "engine growth",
        first(r"\| depth \|(?:.*\n)+?\| exponent \|  \| ([\d.]+) \|"),
    ),
    Line(
        "architectures of a public zoo cut wrong, or not to be cut",
        "zoo",
        none_wrong,
    ),
    Line("ONNX Runtime, uncut / cut by half of the channels", "latency", column("uncut / ours")),
    Line("the same cut by torch-pruning / by secateur", "latency", column("theirs / ours")),
    Line(
        "nine criteria together / torch-pruning's FPGM alone",
        "criteria",
        first(r"\| secateur: [^|]*together \| [\d.]+ \| ([\d.]+) \|"),
    ),
    Line("log-mels, librosa / secateur, one thread", "features", column("times")),
    Line(
        "a study by two workers / by one",
        "study",
        first(r"by two, ([\d.]+) times as fast"),
    ),
)


def write_summary(page: Path, zoo: Path = ZOO) -> list[str]:
    """Write the section at the head of the page; what was looked for in vain."""
    text = page.read_text()
    rows, missing = [], []
    for line in LINES:
        own = zoo.read_text() if line.section == "zoo" else section_of(text, line.section)
        figure = line.found(own)
        if figure is None:
            missing.append(line.what)
        else:
            rows.append(f"| {line.what} | {figure} | {place_of(line.section, own)} |")
    table = ["| what | figure | from |", "| --- | --- | --- |", *rows]
    note = (
        "Ratios, measured side by side in one run; the sections say on which machine and how.\n"
        "TinyNeuralNetwork could not be installed where they were measured ([peers](peers.md))."
    )
    write_section("summary", "\n".join(["## In short", "", note, "", *table]), page=page)
    to_front(page)
    return missing


def section_of(text: str, name: str) -> str:
    """The text between a section's marks; nothing if the page has no such section."""
    name = re.escape(name)
    found = re.search(rf"<!-- begin {name} -->\n(.*?)<!-- end {name} -->", text, re.S)
    return found[1] if found else ""


def place_of(section: str, text: str) -> str:
    """A link to where a figure comes from."""
    if section == "zoo":
        return "[the zoo](zoo.md)"
    heading = re.search(r"^## (.+)$", text, re.M)
    title = heading[1] if heading else section
    anchor = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
    return f"[{title}](#{anchor})"


def to_front(page: Path) -> None:
    """Put the summary before all other sections."""
    text = page.read_text()
    own = re.search(r"<!-- begin summary -->\n.*?<!-- end summary -->\n", text, re.S)
    if own is None:
        return
    rest = text.replace(own[0], "")
    head, mark, tail = rest.partition("<!-- begin ")
    joined = f"{head.rstrip()}\n\n{own[0]}\n{mark}{tail.rstrip()}\n"
    page.write_text(re.sub(r"\n{3,}", "\n\n", joined))
