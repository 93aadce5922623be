"""From the docstrings of the code, written to be read as they stand, to reStructuredText.

Four habits differ: names stand in single backticks, `|x|` is an absolute value, text that is
indented after an empty line or set in columns stands as it is, and lines that begin with `name`:
are a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

COLUMNS = re.compile(r"\S {4,}\S")
QUOTED = re.compile(r"(?<!`)`([^`]+)`(?!`)")
ITEM = re.compile(r"(`[\w.() -]+`(, | and )?)+: ")


def inline(text: str) -> str:
    r"""Double backticks for single ones; bars outside of them are bars.

    >>> inline("`a|b` of |x|")
    '``a|b`` of \\|x\\|'
    """
    pieces = QUOTED.split(text)
    return "".join(
        f"``{piece}``" if k % 2 else piece.replace("|", "\\|") for k, piece in enumerate(pieces)
    )


def converted(lines: list[str]) -> Iterator[str]:
    """The same docstring as reStructuredText, before napoleon reads its sections."""
    as_it_is = listed = False
    before = "text"
    for line in lines:
        empty, indented = not line.strip(), line.startswith("    ")
        columns = bool(COLUMNS.search(line))
        if not (empty or indented or columns):
            as_it_is = False
        starts = not before.strip() and (indented or columns) and not listed
        if starts and not as_it_is:
            as_it_is = True
            yield from ("::", "")
        if as_it_is and not empty:
            yield f"    {line}"
        elif line.lstrip().startswith(">>>"):
            yield line
        elif ITEM.match(line):
            if not listed:
                yield ""
            listed = True
            yield f"* {inline(line)}"
        else:
            if listed and not indented:
                listed = False
                yield ""
            yield inline(f"  {line.strip()}" if listed and not empty else line)
        before = line


def rewrite(
    _app: Sphinx, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]
) -> None:
    """Replace a docstring's lines."""
    lines[:] = list(converted(lines))


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Rewrite before napoleon does."""
    sphinx.connect("autodoc-process-docstring", rewrite, priority=100)
    return {"parallel_read_safe": True}
