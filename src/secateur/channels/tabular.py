"""Rows of words and numbers as a table: in a terminal, and in a notebook. Loads nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLUMNS = 100
"""No printed line is longer, unless one name is."""

MOST = 40
"""Rows of a table that is printed; a network of a thousand groups is no table to read."""

_REASONS = 12
"""Reasons that are printed of each kind."""


@dataclass(frozen=True)
class Table:
    """What is shown: a caption, a head, and rows of text; columns are numbers but those in `words`.

    `caption` is read in a notebook only; `below` stands under the table in both. A head of empty
    texts is not shown.
    """

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: tuple[int, ...] = (0,)
    below: str = ""

    def lines(self) -> list[str]:
        """Columns two apart, numbers to the right.

        >>> Table("", ("group", "width"), [("stem", "8"), ("head", "128")]).lines()
        ['group  width', 'stem       8', 'head     128']
        """
        every = [self.head, *self.rows] if any(self.head) else [*self.rows]
        widths = [max(map(len, column)) for column in zip(*every, strict=True)]
        lines = [
            "  ".join(
                f"{cell:<{width}}" if k in self.words else f"{cell:>{width}}"
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in every
        ]
        return lines + ([self.below] if self.below else [])

    def html(self) -> str:
        """A table with headers of its columns and rows; what comes from outside is escaped."""
        cells = "".join(self._cell("th", k, cell, "col") for k, cell in enumerate(self.head))
        head = f"<thead><tr>{cells}</tr></thead>\n" if any(self.head) else ""
        body = "".join(
            "<tr>"
            + "".join(self._cell("td" if k else "th", k, cell, "row") for k, cell in enumerate(row))
            + "</tr>\n"
            for row in self.rows
        )
        return (
            f'<table style="border-collapse:collapse;margin:0 0 .7em">\n'
            f'<caption style="{_CAPTION}">{escape(self.caption)}</caption>\n'
            f"{head}<tbody>\n{body}</tbody>\n</table>\n"
            + (paragraph(self.below) if self.below else "")
        )

    def _cell(self, tag: str, column: int, text: str, scope: str) -> str:
        side = "left" if column in self.words else "right"
        given = f' scope="{scope}"' if tag == "th" else ""
        weight = "" if tag == "td" else f";font-weight:{600 if scope == 'col' else 400}"
        style = f"text-align:{side};padding:.1em .8em .1em 0{weight}"
        return f'<{tag}{given} style="{style}">{escape(text.strip())}</{tag}>'


_CAPTION = "text-align:left;caption-side:top;color:inherit;font-weight:600;padding:.3em 0"


def paragraph(text: str) -> str:
    """A paragraph of escaped text, its lines kept."""
    return f'<p style="margin:0 0 .7em">{"<br>".join(map(escape, text.splitlines()))}</p>\n'


def notebook(*parts: str) -> str:
    """Parts of HTML as one block that takes the colours of the page it stands in."""
    style = "color:inherit;background:transparent;overflow-x:auto;font-variant-numeric:tabular-nums"
    return f'<div style="{style}">\n{"".join(parts)}</div>'


def count(n: float) -> str:
    """A large number in three digits: thousands k, millions M, then G and T.

    >>> count(812), count(51_712), count(999_999), count(1_321_056)
    ('812', '51.7k', '1.00M', '1.32M')
    """
    if n < 1000:
        return f"{n:,.0f}"
    for sign in "kMG":
        n /= 1000
        if float(f"{n:.3g}") < 1000:
            return f"{n:#.3g}".rstrip(".") + sign
    return f"{n / 1000:#,.3g}".rstrip(".") + "T"


def clipped(text: str, width: int) -> str:
    """A name that fits: where a network's part and the layer in it stand, its middle goes.

    >>> clipped("features.denseblock1.conv1", 12)
    'featur…conv1'
    """
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


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


def wrapped(lines: Iterable[str]) -> list[str]:
    """Every long line goes on, indented, on the next."""
    fitting: list[str] = []
    for line in lines:
        fitting += (
            textwrap.wrap(
                line,
                COLUMNS,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            if len(line) > COLUMNS
            else [line]
        )
    return fitting


def by_reason(word: str, reasons: Mapping[str, str]) -> list[str]:
    """One line a reason: the groups it holds for, as many as fit by name.

    >>> by_reason("held back", {"a": "it is fixed", "b": "it is fixed", "c": "no weights"})
    ['held back: a, b: it is fixed', 'held back: c: no weights']
    """
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(clipped(name, COLUMNS // 2))
    lines = [f"{word}: {shortened(same, COLUMNS // 2)}: {why}" for why, same in names.items()]
    more = len(lines) - _REASONS
    return lines[:_REASONS] + ([f"{word}: for {more} more reasons"] if more > 0 else [])
