"""The panel that lists single runs: what can be chosen, what is shown, and the rows by columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from secateur.report.findings import Findings
from secateur.report.frame import script_json
from secateur.report.run_figures import UNPRUNED, columns, runs
from secateur.report.wording import level
from secateur.study.methods import SCRATCH

_SHOWN = (
    ("id", "run", "Run"),
    ("network", "text", "Network"),
    ("strength", "text", "Strength"),
    ("criterion", "text", "Criterion"),
    ("scope", "text", "Scope"),
    ("ratio", "level", "Level"),
    ("seed", "count", "Seed"),
    ("fold", "count", "Fold"),
    ("accuracy", "percent", "Accuracy"),
    ("accuracy_cut", "percent", "Right after the cut"),
    ("float32", "percent", "In ONNX Runtime"),
    ("int8", "percent", "INT8"),
    ("ratio_reached", "percent", "Channels gone"),
    ("macs", "count", "MACs"),
    ("params", "count", "Parameters"),
    ("channels", "count", "Channels"),
    ("seconds", "count", "Seconds"),
)
_CHOICES = ("network", "strength", "criterion", "scope", "ratio", "seed")


@dataclass(frozen=True)
class RunPanel:
    """`choices` are name, label and options with words; `shown` is name, kind and label."""

    choices: tuple[tuple[str, str, tuple[tuple[Any, str], ...]], ...]
    shown: tuple[tuple[str, str, str], ...]
    json: Markup


def run_panel(findings: Findings) -> RunPanel | None:
    """The panel of a study's runs; None where there are none."""
    data = runs(findings)
    if not data:
        return None
    shown = tuple(one for one in _SHOWN if any(row[one[0]] is not None for row in data))
    labels = {name: label for name, _, label in _SHOWN}
    there = {name: {row[name] for row in data} for name in _CHOICES}
    order: dict[str, list[Any]] = {
        "network": list(findings.networks),
        "criterion": [UNPRUNED, *findings.criteria, SCRATCH],
        "scope": list(findings.scopes),
    }
    found = {
        name: [value for value in order.get(name, sorted(there[name])) if value in there[name]]
        for name in _CHOICES
    }
    levels = [(value, _level(value, findings.by_macs)) for value in found["ratio"]]
    choices = tuple(
        (
            name,
            labels[name],
            tuple(levels) if name == "ratio" else tuple((v, _text(v)) for v in found[name]),
        )
        for name in _CHOICES
    )
    content = {"columns": columns(data), "levels": levels, "shown": [one[:2] for one in shown]}
    return RunPanel(choices, shown, script_json(content))


def _level(asked: float, by_macs: bool) -> str:
    return level(asked, by_macs) if asked else UNPRUNED


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
