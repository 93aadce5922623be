"""A row: what is known of one cell, as plain values. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Row = dict[str, Any]


def flat(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of a row, nested ones as `seconds.train`; lists are left out.

    >>> list(flat({"a": 1, "b": {"c": 2}, "d": [3]}))
    [('a', 1), ('b.c', 2)]
    """
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        elif not isinstance(value, list | tuple):
            yield above + name, value
