"""From options to a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.errors import ReadError, SecateurError

if TYPE_CHECKING:
    from secateur.plan.latency import LatencyTable

_COST, _RULES = "What it may cost (all must hold)", "What every group keeps to"

Macs = Annotated[
    str | None, typer.Option(help="MACs at most: 30M, or 50% of its own.", rich_help_panel=_COST)
]
Params = Annotated[
    str | None, typer.Option(help="Parameters at most: 128k, 128Ki, 50%.", rich_help_panel=_COST)
]
Bytes = Annotated[
    str | None,
    typer.Option("--bytes", help="Bytes of parameters: 128kB@int8.", rich_help_panel=_COST),
]
LatencyMs = Annotated[
    str | None, typer.Option(help="Milliseconds at most, by the table.", rich_help_panel=_COST)
]
LatencyTableFile = Annotated[
    Path | None, typer.Option(help="What `secateur latency` wrote.", rich_help_panel=_COST)
]
PruningRatio = Annotated[
    float | None, typer.Option(help="Share of channels to remove, [0, 1).", rich_help_panel=_COST)
]
RoundTo = Annotated[
    int, typer.Option(help="What stays of a group is a multiple.", rich_help_panel=_RULES)
]
MinChannels = Annotated[int, typer.Option(help="No group goes below this.", rich_help_panel=_RULES)]
MaxRatio = Annotated[
    float, typer.Option(help="Share of a group that may go at most.", rich_help_panel=_RULES)
]
Ratios = Annotated[
    list[str] | None,
    typer.Option("--ratio", help="A group's own share: 'stage1.*=0.3'.", rich_help_panel=_RULES),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="A group, layer or pattern to leave alone.", rich_help_panel=_RULES),
]


def read_ratios(texts: list[str]) -> dict[str, float]:
    """Names and shares from texts such as `stage1.*=0.3`.

    Raises:
        SecateurError: a text is not of that form.
    """
    found = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            found[name] = float(share)
        except ValueError:
            name = ""
        if not name:
            raise SecateurError(f"--ratio {text!r} is not NAME=SHARE; write 'stage1.*=0.3'")
    return found


def read_latency_table(path: Path | None) -> LatencyTable | None:
    """The table in a file.

    Raises:
        SecateurError: there is no such file, or it holds no table.
    """
    from secateur.plan.latency import LatencyTable
    from secateur.reading import read_text

    if path is None:
        return None
    try:
        return LatencyTable.from_json(read_text(path))
    except ReadError as error:
        raise SecateurError(
            f"cannot read the latency table {path}: {error.why}; make one with `secateur latency`"
        ) from error
