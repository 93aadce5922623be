"""A channel map as text: groups with their share of the cost, and what was left out and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from secateur.channels.cost import cost, group_costs
from secateur.channels.groups import ChannelGroup, ChannelMap, Mixing
from secateur.channels.tabular import (
    COLUMNS,
    Table,
    clipped,
    notebook,
    paragraph,
    shortened,
    wrapped,
)

Row = TypeVar("Row")

_NAME = 34


def table(channels: ChannelMap, most: int | None = 60) -> str:
    """The map in lines of at most 100 columns (longer only where one name is).

    One row a group: its width, the share of parameters and MACs that would go with all its
    channels (a weight between two groups counts for both, so shares add up to more than 100 %),
    and the layers whose filters it is. Below: what is pinned, what mixes, unknown operators.

    Args:
        channels: what `trace` found.
        most: how many rows of each kind at most; None for all.
    """
    return "\n".join([*_groups(channels, most).lines(), *wrapped(_rest(channels, most))])


def table_html(channels: ChannelMap, most: int | None = 60) -> str:
    """The same for a notebook."""
    rest = "\n".join(_rest(channels, most))
    return notebook(_groups(channels, most).html(), paragraph(rest) if rest else "")


def _groups(channels: ChannelMap, most: int | None) -> Table:
    rows = _group_rows(channels)
    more = _more("groups", rows, most)
    return Table(
        "Channels that move together",
        ("group", "channels", "params", "MACs", "layers"),
        rows[:most],
        (0, 4),
        "\n".join([*more, _total(channels)]),
    )


def _rest(channels: ChannelMap, most: int | None) -> list[str]:
    sections = {
        "pinned": _pinned_rows(channels),
        "mixing": _mixing_rows(channels.mixing),
        "unknown": [f"unknown operator: {name}" for name in channels.unknown],
    }
    lines = []
    for kind, rows in sections.items():
        lines += [*rows[:most], *_more(kind, rows, most)]
    return lines


def _more(kind: str, rows: Sequence[object], most: int | None) -> list[str]:
    if most is None or len(rows) <= most:
        return []
    return [f"… and {len(rows) - most} more: channels.{kind} holds all"]


def _group_rows(channels: ChannelMap) -> list[tuple[str, ...]]:
    total = cost(channels)
    goes = group_costs(channels)
    longest = max((len(group.name) for group in channels.groups), default=0)
    width = max(5, min(_NAME, longest))
    room = COLUMNS - width - len("  channels  100.0 %  100.0 %  ")
    return [
        (
            clipped(group.name, width),
            f"{group.n_channels:,}",
            _share(goes[group.name].params, total.params),
            _share(goes[group.name].macs, total.macs),
            clipped(shortened(_layers(group), room), room),
        )
        for group in channels.groups
    ]


def _layers(group: ChannelGroup) -> list[str]:
    members = [m for m in group.members if m.role == "out"] or list(group.members[:1])
    return [m.parameter.partition(".parametrizations.")[0].removesuffix(".weight") for m in members]


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole if whole else 0.0
    return f"{'<0.1' if 0 < percent < 0.05 else f'{percent:.1f}':>5} %"


def _total(channels: ChannelMap) -> str:
    total, n = cost(channels), len(channels.groups)
    return (
        f"{n} group{'' if n == 1 else 's'}, {total.channels:,} channels of a network with "
        f"{total.params:,} parameters and {total.macs:,} MACs"
    )


def _pinned_rows(channels: ChannelMap) -> list[str]:
    """One row for each reason and line of code; vectors (bias, norm) go without saying."""
    rows = []
    for (reason, source), same in _by(channels.pinned, lambda p: (p.reason, p.source)).items():
        weights = [p for p in same if len(channels.shapes[p.parameter]) > 1] or same
        names = [f"{p.parameter} dim {p.dim} ({p.n_channels})" for p in weights]
        rows.append(f"pinned: {shortened(names, 2 * COLUMNS // 3)}: {reason}, {source}")
    return rows


def _mixing_rows(mixing: Sequence[Mixing]) -> list[str]:
    rows = []
    for (operator, reason), same in _by(mixing, lambda m: (m.operator, m.reason)).items():
        where = shortened([m.source for m in same], COLUMNS // 3)
        groups = shortened([name for m in same for name in m.groups], COLUMNS // 2)
        rows.append(f"mixing: {operator}: {reason}, {where}; it touches {groups}")
    return rows


def _by(rows: Iterable[Row], key: Callable[[Row], tuple[str, str]]) -> dict[Any, list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
