"""A model card: what a file is, where it comes from and what was measured. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from secateur.deploy.device import Fit, Stored
from secateur.deploy.session import Input
from secateur.deploy.turns import Comparison, Latency
from secateur.plan.plan import PruningPlan

UNKNOWN = "unknown"
"""Stands wherever a fact was not given."""


@dataclass(frozen=True)
class File:
    """One exported file with what was measured of it.

    `relative_error` is that from the network before it, `compared_with`. `accuracy` is the share of
    right answers, None where no labelled data were given.
    """

    name: str
    bytes: int
    sha256: str
    stored: Stored
    relative_error: float
    compared_with: str
    same_answer: float | None
    accuracy: float | None
    latency: Latency
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as far as nobody can measure it; what is not given is "unknown".

    `network` is its factory, called with `arguments`. `plan` is the pruning plan that the file of
    weights holds, or None.
    """

    network: str = UNKNOWN
    arguments: tuple[str, ...] = ()
    weights: str = UNKNOWN
    weights_sha256: str = UNKNOWN
    data: str = UNKNOWN
    training: str = UNKNOWN
    plan: PruningPlan | None = None
    calibration: str = UNKNOWN
    labelled_data: str = UNKNOWN


@dataclass(frozen=True)
class Card:
    """All that is known of a network and its files.

    `params` and `macs` are those of the network in torch, before batch norms are folded; `inputs`
    and `outputs` those of the files. `latency` compares with the uncut network, None without one.
    """

    origin: Origin
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    params: int
    macs: int
    files: tuple[File, ...]
    made_with: Mapping[str, str]
    latency: Comparison | None = None

    def as_json(self) -> dict[str, Any]:
        """The card as plain data."""
        answer = {"format": "secateur.card/1"} | asdict(self)
        answer |= answer.pop("origin")
        plan = self.origin.plan
        answer["plan"] = None if plan is None else json.loads(plan.to_json())
        for file, own in zip(answer["files"], self.files, strict=True):
            for fit, one in zip(file["fits"], own.fits, strict=True):
                fit["fits"] = one.fits
        return answer

    def as_markdown(self) -> str:
        """The card to be read."""
        of = self.origin
        facts = [
            ("network", f"`{of.network}` {' '.join(of.arguments)}".strip()),
            ("weights", f"{of.weights}, sha256 {of.weights_sha256}"),
            ("input", ", ".join(map(str, self.inputs))),
            ("output", ", ".join(self.outputs)),
            ("data", of.data),
            ("training", of.training),
            ("parameters", f"{self.params:,} in torch, zeros included"),
            ("multiply-accumulates", f"{self.macs:,} of one example"),
            ("calibration of INT8", of.calibration),
            ("labelled data", of.labelled_data),
            ("made with", ", ".join(f"{name} {v}" for name, v in self.made_with.items())),
        ]
        parts = [
            "# Model card",
            _table(("fact", ""), facts),
            "## Pruning",
            _plan_text(of.plan),
            "## Files",
            _table(_HEAD, [_row(file) for file in self.files]),
            f"Latency: {self.files[0].latency.machine}; median (quartiles) of "
            f"{self.files[0].latency.repetitions} calls with one example, "
            f"{self.files[0].latency.warm_up} before them to warm up. Stored parameters are those "
            "of the file, batch norms folded; their bytes include a quantiser's scales.",
            *([] if self.latency is None else ["## Before and after", _compared(self.latency)]),
            "## Devices",
            "\n".join(f"- `{file.name}`: {fit}" for file in self.files for fit in file.fits),
            "A device's limits are for one second of sound: they hold here if one example is one.",
        ]
        return "\n\n".join(parts) + "\n"


_HEAD = (
    "file",
    "bytes",
    "parameters stored",
    "bytes of them",
    "type",
    "relative error",
    "same answer",
    "accuracy",
    "latency, ms",
)


def _row(file: File) -> tuple[str, ...]:
    time = file.latency
    return (
        f"`{file.name}`",
        f"{file.bytes:,}",
        f"{file.stored.params:,}",
        f"{file.stored.bytes:,}",
        file.stored.dtype,
        f"{file.relative_error:.1e} from {file.compared_with}",
        UNKNOWN if file.same_answer is None else f"{file.same_answer:.1%}",
        UNKNOWN if file.accuracy is None else f"{file.accuracy:.1%}",
        str(time),
    )


def _compared(latency: Comparison) -> str:
    rows = [
        (name, str(before), UNKNOWN if after is None else str(after))
        for name, (before, after) in latency.rows.items()
    ]
    head = ("latency of one example, ms", "uncut network", "this network")
    return f"{_table(head, rows)}\n\nMeasured by turns in one process; median (quartiles)."


def _plan_text(plan: PruningPlan | None) -> str:
    if plan is None:
        return "The file of weights holds no pruning plan: whether it was pruned is unknown."
    before, after = asdict(plan.before), asdict(plan.after)
    rows = [
        (name, f"{before[name]:,}", f"{after[name]:,}") for name in ("channels", "params", "macs")
    ]
    return f"How: {plan.how}.\n\n{_table(('', 'before', 'after'), rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    r"""Text that cannot break a table.

    >>> _cell("a|b")
    'a\\|b'
    """
    return text.replace("|", "\\|").replace("\n", " ")
