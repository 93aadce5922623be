"""A model card: what a file is, where it comes from and what was measured. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from math import isfinite
from typing import Any

from secateur.channels.tabular import Table, by_reason, notebook, paragraph, wrapped
from secateur.deploy.device import Fit, Stored
from secateur.deploy.session import Input
from secateur.deploy.turns import Comparison, Latency
from secateur.plan.plan import PruningPlan
from secateur.plan.wording import costs, reached_of_asked
from secateur.surgery.reconstruction import Reconstruction
from secateur.surgery.verification import Verification

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
class Cut:
    """One cut of a network: its plan, what was verified of it, and how it was repaired.

    The latter two are None where that is not known.
    """

    plan: PruningPlan
    verification: Verification | None = None
    repair: Reconstruction | None = None

    def as_json(self) -> dict[str, Any]:
        """The cut as plain data."""
        found = self.verification
        checked = found and asdict(found) | {"holds": found.holds, "exact": found.exact}
        repaired = self.repair and {
            "kept": self.repair.kept,
            "errors": {n: e if isfinite(e) else None for n, e in self.repair.errors.items()},
            "forecast": self.repair.forecast,
            "n_inputs": self.repair.n_inputs,
            "n_held_out": self.repair.n_held_out,
        }
        return {"plan": self.plan.plain(), "verification": checked, "repair": repaired}


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as far as nobody can measure it; what is not given is "unknown".

    `network` is its factory, called with `arguments`. `cuts` are those that are known, the first
    one first.
    """

    network: str = UNKNOWN
    arguments: tuple[str, ...] = ()
    weights: str = UNKNOWN
    weights_sha256: str = UNKNOWN
    data: str = UNKNOWN
    training: str = UNKNOWN
    cuts: tuple[Cut, ...] = ()
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
        answer["cuts"] = [cut.as_json() for cut in self.origin.cuts]
        for file, own in zip(answer["files"], self.files, strict=True):
            for fit, one in zip(file["fits"], own.fits, strict=True):
                fit["fits"] = one.fits
        return answer

    def as_markdown(self) -> str:
        """The card to be read."""
        parts = [
            "# Model card",
            _markdown(self._facts(_CODE)),
            "## Pruning",
            *map(_markdown, self._pruning()),
            *[_NOT_PRUNED] * (not self.origin.cuts),
            "\n".join(f"- {_cell(line)}" for line in self._remarks()),
            "## Files",
            _markdown(self._files(_CODE)),
            _cell(self._how_measured()),
            *(["## Before and after"] if self.latency else []),
            *map(_markdown, self._latency()),
            _BY_TURNS if self.latency else "",
            "## Devices",
            "\n".join(
                _cell(f"- {_CODE}{file.name}{_CODE}: {fit}")
                for file in self.files
                for fit in file.fits
            ),
            _DEVICES,
        ]
        return "\n\n".join(filter(None, parts)) + "\n"

    def __str__(self) -> str:
        """What the network is, its cuts, its files and devices, for a terminal."""
        head, *rows = zip(_HEAD, *self._files().rows, strict=True)
        parts = [
            wrapped(self._facts().lines()),
            *([[_NOT_PRUNED]] if not self.origin.cuts else []),
            *(table.lines() for table in self._pruning()),
            wrapped(self._remarks()),
            Table("", head, rows).lines(),
            *([*table.lines(), _BY_TURNS] for table in self._latency()),
            wrapped([self._how_measured(), *self._devices(), _DEVICES]),
        ]
        return "\n\n".join("\n".join(part) for part in parts if part)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        tables = [self._facts(), *self._pruning(), self._files(), *self._latency()]
        rest = [] if self.origin.cuts else [_NOT_PRUNED]
        rest += [*self._remarks(), self._how_measured(), *self._devices(), _DEVICES]
        return notebook(*(table.html() for table in tables), paragraph("\n".join(rest)))

    def _facts(self, mark: str = "") -> Table:
        of = self.origin
        facts = [
            ("network", f"{mark}{of.network}{mark} {' '.join(of.arguments)}".strip()),
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
        return Table("Model card", ("fact", ""), facts, (0, 1))

    def _pruning(self) -> list[Table]:
        """What the dense network cost and the last cut left; then every cut."""
        if not (cuts := self.origin.cuts):
            return []
        rows = []
        for k, cut in enumerate(cuts, 1):
            found, after = cut.verification, cut.plan.after
            known = UNKNOWN if found is None else found.verdict
            if found is not None and found.groups:
                known += f", {found.largest_error:.1e}"
            asked = ", ".join(reached_of_asked(cut.plan.asked, cut.plan.reached)) or "-"
            numbers = (f"{after.params:,}", f"{after.macs:,}")
            rows.append((str(k), *numbers, cut.plan.how, asked, known))
        head = ("cut", "parameters", "MACs", "how", "reached of asked", "verified")
        every = Table("Every cut, as it was made and before any training", head, rows, (3, 4, 5))
        return [costs(cuts[0].plan.before, cuts[-1].plan.after, "dense", "cut"), every]

    def _remarks(self) -> list[str]:
        """How cuts that are not exact were verified, repairs, and what the last cut left alone."""
        lines = []
        for k, cut in enumerate(self.origin.cuts, 1):
            if cut.verification is not None and not cut.verification.exact:
                lines.append(f"cut {k}: {' '.join(str(cut.verification).split())}")
            if cut.repair is not None:
                lines.append(f"cut {k}, {' '.join(str(cut.repair).split())}")
        if self.origin.cuts:
            lines += by_reason("held back", self.origin.cuts[-1].plan.held_back)
        return lines

    def _files(self, mark: str = "") -> Table:
        return Table("Files", _HEAD, [_row(file, mark) for file in self.files], (0, 4, 5))

    def _latency(self) -> list[Table]:
        """Of the uncut network and of this one, where both were timed."""
        if self.latency is None:
            return []
        rows = [
            (name, str(before), UNKNOWN if after is None else str(after))
            for name, (before, after) in self.latency.rows.items()
        ]
        head = ("latency of one example, ms", "uncut network", "this network")
        return [Table("Before and after", head, rows)]

    def _how_measured(self) -> str:
        time = self.files[0].latency
        return (
            f"Latency: {time.machine}; median (quartiles) of {time.repetitions} calls with one "
            f"example, {time.warm_up} before them to warm up. Stored parameters are those of the "
            "file, batch norms folded; their bytes include a quantiser's scales."
            + ("" if self.files[0].accuracy is None else _ACCURACY)
        )

    def _devices(self) -> list[str]:
        return [f"{file.name}: {fit}" for file in self.files for fit in file.fits]


_ACCURACY = (
    " Accuracy is the share of right answers on the labelled data named above: on clips that the "
    "network was trained on it says little of others."
)

_NOT_PRUNED = "The file of weights holds no pruning plan: whether it was pruned is unknown."

_BY_TURNS = "Measured by turns in one process; median (quartiles)."

_DEVICES = "A device's limits are for one second of sound: they hold here if one example is one."

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


def _row(file: File, mark: str) -> tuple[str, ...]:
    time = file.latency
    return (
        f"{mark}{file.name}{mark}",
        f"{file.bytes:,}",
        f"{file.stored.params:,}",
        f"{file.stored.bytes:,}",
        file.stored.dtype,
        f"{file.relative_error:.1e} from {file.compared_with}",
        UNKNOWN if file.same_answer is None else f"{file.same_answer:.1%}",
        UNKNOWN if file.accuracy is None else f"{file.accuracy:.1%}",
        str(time),
    )


def _markdown(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


_CODE = "\0"
"""Stands before and behind what is a name; no text that is read holds it."""

_SPECIAL = re.compile(r"([\\`*\[\]|])")


def _cell(text: str) -> str:
    r"""Text that breaks no table and is no markup; what stands between two `_CODE` is a name.

    >>> _cell("a|b <img> [c](d)")
    'a\\|b &lt;img&gt; \\[c\\](d)'
    """
    parts = " ".join(text.split()).split(_CODE)
    return "".join(
        f"`{part}`" if k % 2 and not _SPECIAL.search(part) else _escaped(part)
        for k, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", escape(text, quote=False))
