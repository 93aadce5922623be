"""docs/errors.md: every error of the family is in its table, and says what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from error_examples import AT_THE_DOOR, EXAMPLES, message
from secateur import errors
from secateur.errors import SecateurError

PAGE = (Path(__file__).parent.parent / "docs" / "errors.md").read_text()
FAMILY = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SecateurError)
]
ROWS = re.findall(r"^\| `(\w+)` \| (\d) \| (.+?) \| (.+?) \|$", PAGE, flags=re.M)


def shown() -> dict[str, str]:
    """Message by error and by what is wrong at the door, as the page prints them."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE, flags=re.S | re.M)
    found = re.findall(r"^(\S.*)\n((?:    .*\n)+)", "".join(blocks), flags=re.M)
    return {name: " ".join(text.split()) for name, text in found}


def test_the_table_holds_the_family_in_its_order_with_its_exit_codes() -> None:
    assert [(name, int(code)) for name, code, *_ in ROWS] == [
        (kind.__name__, kind.exit_code) for kind in FAMILY
    ]


def test_each_has_an_example() -> None:
    assert list(EXAMPLES) == [kind.__name__ for kind in FAMILY]
    assert list(shown()) == [*EXAMPLES, *AT_THE_DOOR]


@pytest.mark.parametrize("name", EXAMPLES | AT_THE_DOOR)
def test_it_says_what_the_page_shows(name: str) -> None:
    if name in ("DeployError", "ExportError"):
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    here, there = (re.sub(r"\.py:\d+", ".py:N", text) for text in (message(name), shown()[name]))
    assert here == there, "print docs/errors.md's examples again"
