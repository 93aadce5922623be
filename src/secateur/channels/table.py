"""A channel map as text: groups with their share of the cost, and what was left out and why."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from secateur.channels.cost import cost, group_costs
from secateur.channels.groups import ChannelGroup, ChannelMap, Mixing

Row = TypeVar("Row")

COLUMNS = 100
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
    sections = (
        _group_rows(channels),
        _pinned_rows(channels),
        _mixing_rows(channels.mixing),
        [f"unknown operator: {name}" for name in channels.unknown],
    )
    kinds = ("groups", "pinned", "mixing", "unknown")
    lines = [f"{'group':<{_name_width(channels)}}  channels   params     MACs  layers"]
    for kind, rows in zip(kinds, sections, strict=True):
        lines += rows[:most]
        if most is not None and len(rows) > most:
            lines.append(f"… and {len(rows) - most} more: channels.{kind} holds all")
        if kind == "groups":
            lines.append(_total(channels))
    return "\n".join(line for long in lines for line in _wrapped(long))


def shortened(names: Iterable[str], width: int) -> str:
    """As many names as fit into `width` columns, at least one, and how many more there are.

    >>> shortened(["3.c2", "4.d", "5.c1", "5.c2"], 100)
    '3.c2, 4.d, 5.c1, 5.c2'
    >>> shortened(["3.c2", "4.d", "5.c1", "5.c2"], 20)
    '3.c2, 4.d and 2 more'
    """
    listed = list(dict.fromkeys(names))
    for n in range(len(listed), 0, -1):
        rest = f" and {len(listed) - n} more" if n < len(listed) else ""
        text = ", ".join(listed[:n]) + rest
        if len(text) <= width or n == 1:
            return text
    return ""


def _name_width(channels: ChannelMap) -> int:
    longest = max((len(group.name) for group in channels.groups), default=0)
    return max(5, min(_NAME, longest))


def _group_rows(channels: ChannelMap) -> list[str]:
    total, width = cost(channels), _name_width(channels)
    goes = group_costs(channels)
    rows = []
    for group in channels.groups:
        params = _share(goes[group.name].params, total.params)
        macs = _share(goes[group.name].macs, total.macs)
        start = f"{_clipped(group.name, width):<{width}}  {group.n_channels:>8}  {params}  {macs}  "
        rows.append(start + _clipped(shortened(_layers(group), room := COLUMNS - len(start)), room))
    return rows


def _layers(group: ChannelGroup) -> list[str]:
    members = [m for m in group.members if m.role == "out"] or list(group.members[:1])
    return [m.parameter.partition(".parametrizations.")[0].removesuffix(".weight") for m in members]


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole if whole else 0.0
    return f"{'<0.1' if 0 < percent < 0.05 else f'{percent:.1f}':>5} %"


def _clipped(text: str, width: int) -> str:
    """The end of a name says most: what does not fit goes from its beginning.

    >>> _clipped("features.denseblock1.conv1", 12)
    '…lock1.conv1'
    """
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


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


def _wrapped(line: str) -> list[str]:
    """A long line goes on, indented, on the next."""
    if len(line) <= COLUMNS:
        return [line]
    return textwrap.wrap(
        line, COLUMNS, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
