"""A network before and after its cuts, as an SVG of bars. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from secateur.channels.cost import Cost, cost
from secateur.channels.tabular import clipped, count
from secateur.plan.history import Cuts, GroupChange, changes

_LETTERS = 30
"""How long a name is at most."""

_BAR, _NUMBERS = 240, 118
"""Pixels of the longest bar, and of the numbers beside it."""

_ROW, _ROWS, _TOP = 18, 1080, 74
"""Pixels of a row's height, of that of all rows at most, and of what stands above them."""

_TEXT = 12
"""Pixels of a line of text; no line is given less room."""

_COLOUR = "#3b7dd8"


def picture(cuts: Cuts, standalone: bool = True) -> str:
    """Every group of the first network, in its order: width and MACs, before as outlines.

    The picture is never higher than some 1,200 pixels: where there are more groups, bars are
    thinner and only some are named; a pointer on a bar shows its name and numbers.

    Args:
        cuts: channel maps and plans, the first cut first.
        standalone: on a ground of its own, as a file; else in the colours of the page around it.
    """
    rows, first, now = changes(cuts), cost(cuts[0][0]), cuts[-1][1].after
    row = min(_ROW, _ROWS / max(1, len(rows)))
    names = [clipped(row.name, _LETTERS) for row in rows]
    left = 7 * max((len(name) for name in names), default=0) + 16
    width, height = left + 2 * (_BAR + _NUMBERS) + 8, round(_TOP + row * len(rows) + 12)
    title = escape(_title(len(cuts), first, now))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{title}" '
            f'style="max-width:100%;height:auto{";color:#1f2328" if standalone else ""}" '
            f'fill="currentColor" font-family="system-ui, sans-serif" font-size="{_TEXT}">',
            f"<title>{title}</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>' if standalone else "",
            *_legend(len(cuts)),
            *_names(names, left, row),
            *_panel(first, now, rows, "channels", left, row),
            *_panel(first, now, rows, "macs", left + _BAR + _NUMBERS, row),
            "</svg>\n",
        ]
    )


def _title(n: int, first: Cost, now: Cost) -> str:
    cut = "one cut" if n == 1 else f"{n} cuts"
    return (
        f"Width and multiply-accumulates of every group before and after {cut}: "
        f"{_share(first.macs, now.macs)} of the MACs and {_share(first.params, now.params)} of the "
        "parameters are left"
    )


def _share(before: int, after: int) -> str:
    return f"{after / before:.1%}" if before else "100%"


def _legend(n: int) -> list[str]:
    before, after = ("before", "after") if n == 1 else ("the first network", "now")
    x = 48 + 7 * len(before)
    return [
        *_bars(8, 12, 26, 0, 10),
        _text(40, 21, before),
        *_bars(x, 12, 26, 26, 10),
        _text(x + 32, 21, after),
    ]


def _names(names: Sequence[str], left: float, row: float) -> list[str]:
    """As many names as there is room for, one below the other."""
    every = max(1, -int(-_TEXT // row))
    texts = [
        _text(left - 8, _TOP + row * (k + 0.5) + 4, names[k], "end")
        for k in range(0, len(names), every)
    ]
    return ['<g font-family="ui-monospace, monospace" font-size="11">', *texts, "</g>"]


def _panel(
    first: Cost, now: Cost, rows: Sequence[GroupChange], what: str, x: float, row: float
) -> list[str]:
    """The bars of all groups, of their `channels` or their `macs`, with a ruler above them."""
    of = "width" if what == "channels" else what
    unit, said = ("channels", "{:,}".format) if what == "channels" else ("MACs", count)
    numbers = [(getattr(r, f"{of}_before"), getattr(r, f"{of}_after")) for r in rows]
    most = max((before for before, _ in numbers), default=0) or 1
    before, after = getattr(first, what), getattr(now, what)
    heading = f"{unit}: {said(before)} → {said(after)} ({_share(before, after)})"
    parts = [_text(x, 46, heading, weight=600)]
    for share, down in ((0, row * len(rows)), (1, 0)):
        parts += [
            f'<rect x="{x + _BAR * share:g}" y="{_TOP - 6}" width="1" '
            f'height="{down + 6:.2f}" fill-opacity="0.4"/>',
            _text(x + _BAR * share, _TOP - 9, said(most * share), "middle", size=10),
        ]
    for k, (before, after) in enumerate(numbers):
        words = said(before) + (f" → {said(after)}" if after != before else "")
        parts.append(f"<g><title>{escape(f'{rows[k].name}: {words} {unit}')}</title>")
        if before:
            y, long = _TOP + row * (k + 0.14), _BAR * before / most
            parts += _bars(x, y, long, _BAR * after / most, row * 0.72)
            if row >= _TEXT:
                parts.append(_text(x + long + 6, _TOP + row * (k + 0.5) + 4, words, size=11))
        parts.append("</g>")
    return parts


def _bars(x: float, y: float, before: float, after: float, height: float) -> list[str]:
    """An outline as long as what was, filled as far as what is left."""
    at = f'x="{x:g}" y="{y:.2f}" height="{height:.2f}" fill="{_COLOUR}"'
    outline = f'stroke="{_COLOUR}" stroke-width="{min(1, height / 6):.2f}" fill-opacity="0.15"'
    return [f'<rect {at} width="{before:.2f}" {outline}/>', f'<rect {at} width="{after:.2f}"/>']


def _text(
    x: float, y: float, text: str, anchor: str = "start", size: int = 0, weight: int = 400
) -> str:
    given = f' text-anchor="{anchor}"' if anchor != "start" else ""
    given += f' font-size="{size}"' if size else ""
    given += f' font-weight="{weight}"' if weight != 400 else ""
    return f'<text x="{x:g}" y="{y:.2f}"{given}>{escape(text)}</text>'
