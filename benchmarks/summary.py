"""The ratios of the benchmark page in one table, read from the tables of its sections.

Every line names its section and is read by a small function of that section's text. A section that
is not there, or does not hold what is looked for, gives no line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import exp, isfinite, log

Find = Callable[[str], tuple[float, str]]
"""A section's text -> the ratio, and over what it was taken; LookupError where it is not there."""

INTRO = """\
Ratios only, and above 1 is in Secateur's favour; a mean over networks is the geometric one.
They are read from the sections below, which have the times, the settings, and at their heads
machine, versions and commit of their own."""
PEERS = """\
Other packages are in [peers.md](peers.md). TinyNeuralNetwork is compared there from reading
it: it is not on PyPI, and where these figures were measured it could not be installed."""


@dataclass(frozen=True)
class Line:
    """One ratio: which section has it, what it is, and how it is found there."""

    section: str
    what: str
    find: Find


@dataclass(frozen=True)
class Table:
    """A Markdown table: its head and its rows, as texts."""

    head: list[str]
    rows: list[list[str]]

    def column(self, name: str, after: str = "") -> list[str]:
        """The cells under a head; of heads with the same name, the first from `after` on."""
        at = self.head.index(name, self.head.index(after) if after else 0)
        return [row[at] for row in self.rows]


def tables(text: str) -> list[Table]:
    """All tables of a text.

    >>> tables("| a | b |\\n| --- | --- |\\n| 1 | 2x |\\n")[0].column("b")
    ['2x']
    """
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.M):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")
        ]
        rows = [row for row in lines[2:] if len(row) == len(lines[0])]
        found.append(Table(lines[0], rows))
    return found


def table_with(text: str, *heads: str) -> Table:
    """The first table that has all of these heads."""
    for table in tables(text):
        if set(heads) <= set(table.head):
            return table
    raise LookupError(f"no table with {', '.join(heads)}")


def number(cell: str) -> float | None:
    """The number that a cell starts with, if it is positive and finite.

    >>> number("6.37x"), number("> 180 s"), number("0")
    (6.37, None, None)
    """
    found = re.match(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", cell)
    value = float(found[0]) if found else 0.0
    return value if value > 0 and isfinite(value) else None


def mean_of(cells: Iterable[float | None]) -> tuple[float, str]:
    """Geometric mean of the ratios there are."""
    values = [value for value in cells if value is not None]
    if not values:
        raise LookupError("no ratio")
    over = f"{len(values)} networks" if len(values) > 1 else "1 network"
    return exp(sum(map(log, values)) / len(values)), over


def column(heads: tuple[str, ...], name: str) -> Find:
    """The mean of a column of the table that has these heads."""
    return lambda text: mean_of(map(number, table_with(text, *heads, name).column(name)))


def memory(text: str) -> tuple[float, str]:
    """Theirs over ours, of the columns of memory."""
    table = table_with(text, "memory, ours")
    pairs = zip(table.column("memory, ours"), table.column("theirs", "memory, ours"), strict=True)
    known = [(number(ours), number(theirs)) for ours, theirs in pairs]
    return mean_of(theirs / ours if ours and theirs else None for ours, theirs in known)


def deepest(text: str) -> tuple[float, str]:
    """The deepest network that both have traced."""
    table = table_with(text, "depth", "theirs / ours")
    known = [(row[0], value) for row in table.rows if (value := number(row[1]))]
    if not known:
        raise LookupError("no network that both have traced")
    return known[-1][1], f"{known[-1][0]} layers"


def weights(text: str) -> tuple[float, str]:
    """One criterion of the peer over all of ours that need no data."""
    took = {what: number(seconds) for what, seconds, *_ in table_with(text, "what", "times").rows}
    theirs = took.get("torch-pruning: FPGM alone")
    ours, what = next((s, w) for w, s in took.items() if w.endswith(" together"))
    if not ours or not theirs:
        raise LookupError("no times of weights")
    return theirs / ours, f"{what.count(',') + 1} criteria"


def presets(text: str) -> tuple[float, str]:
    """librosa over ours, over the presets of the log-mels."""
    value, over = column(("preset", "librosa"), "times")(text)
    return value, over.replace("network", "preset")


def workers(text: str) -> tuple[float, str]:
    """What two workers gain in a real study."""
    found = re.search(r"real study of (\d+) cells.*?([\d.]+) times as fast", text, re.S)
    if not found:
        raise LookupError("no real study")
    return float(found[2]), f"{found[1]} cells"


def accuracy(text: str) -> tuple[float, str]:
    """Accuracy after fine-tuning, L1 norm of both packages, of all weights of a channel."""
    table = table_with(text, "cut by", "fine-tuned")
    after = dict(zip(table.column("cut by"), map(number, table.column("fine-tuned")), strict=True))
    ours, theirs = after.get("secateur, l1, all members"), after.get("torch-pruning, l1")
    if not ours or not theirs:
        raise LookupError("no accuracies of both")
    return ours / theirs, "ResNet-56"


def exactly(text: str) -> tuple[float, str]:
    """Small networks that were cut exactly: ours over the best of the others."""
    row = next((r for t in tables(text) for r in t.rows if r[0] == "exact, all of it"), None)
    if row is None:
        raise LookupError("no count of exact cuts")
    ours, *others = (int(cell) for cell in row[1:])
    return ours / max(others), f"{ours} and {max(others)} networks"


def zoo(text: str) -> tuple[float, str]:
    """Share of the zoo's architectures that were cut and not wrong."""
    found = re.search(r"of the (\d+) architectures asked for have been run: (.*?)\.\n", text, re.S)
    if not found:
        raise LookupError("no count of architectures")
    right = sum(int(n) for n in re.findall(r"(\d+) (?:exact|mixing)", found[2]))
    return right / int(found[1]), f"{found[1]} architectures"


TRACE, PRUNE = ("network", "eager"), ("network", "verified")
LINES = (
    Line("engine", "which channels move together: torch-pruning / Secateur, time",
         column(TRACE, "theirs / ours")),
    Line("engine", "the same, extra memory", memory),
    Line("engine growth", "the same, time of the deepest network", deepest),
    Line("engine", "whole prune of half of the channels: torch-pruning / Secateur, time",
         column(PRUNE, "theirs / ours")),
    Line("engine", "the same, with the verification that only Secateur does",
         column(PRUNE, "verified")),
    Line("latency", "ONNX Runtime, half of the channels gone: uncut / cut by Secateur",
         column(("network", "theirs / ours"), "uncut / ours")),
    Line("latency", "the same: cut by torch-pruning / cut by Secateur",
         column(("network", "uncut / ours"), "theirs / ours")),
    Line("anchors", "accuracy after fine-tuning, L1: Secateur / torch-pruning", accuracy),
    Line("criteria", "scores: FPGM of torch-pruning / all of weights together, time", weights),
    Line("features", "log-mels: librosa / Secateur, time", presets),
    Line("study", "a real study: one worker / two, time", workers),
    Line("peers.md", "small networks cut exactly: Secateur / the best other package", exactly),
    Line("zoo.md", "architectures of timm that were cut and not wrong / all", zoo),
)  # fmt: skip


def summary(sections: Mapping[str, str]) -> tuple[str, list[str]]:
    """The table as Markdown, and in words which lines were left out."""
    lines = [
        "## Summary",
        "",
        INTRO,
        "",
        "| what | ratio | over | section |",
        "| --- | --- | --- | --- |",
    ]
    missing = []
    for line in LINES:
        try:
            value, over = line.find(sections[line.section])
        except (LookupError, StopIteration, ValueError):
            missing.append(f"{line.what}: not found in {line.section}")
            continue
        section = line.section
        shown = f"[{section}]({section})" if section.endswith(".md") else section
        lines.append(f"| {line.what} | {value:.2f} | {over} | {shown} |")
    return "\n".join([*lines, "", PEERS]), missing
