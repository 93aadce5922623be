"""The benchmark scripts: the page they share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from sections import write_section


def test_sections_are_written_once_and_then_replaced_in_place(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section("one", "## One\n\nfirst figures", page=page)
    write_section("two", "no heading, a back\\slash", page=page)
    write_section("one", "## One\n\nnew figures", command="python x.py --y", page=page)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n")
    assert "first figures" not in text and text.count("new figures") == 1
    assert text.index("<!-- begin one -->") < text.index("new figures")
    assert text.index("new figures") < text.index("<!-- end one -->") < text.index("back\\slash")
    one = text[text.index("<!-- begin one -->") : text.index("<!-- end one -->")].splitlines()
    assert one[1] == "## One" and one[3].startswith("Made by `python x.py --y` on 20")
    assert "secateur at" in one[4] and "torch-pruning" in one[4]
    assert text.count("<!-- begin") == text.count("<!-- end") == 2


def test_a_section_leaves_the_rest_of_the_page_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Mine\n\nwords\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nlast words\n")
    write_section("a", "new", commit="abc1234", page=page)
    text = page.read_text()
    assert text.startswith("# Mine\n\nwords\n\n<!-- begin a -->\nMade by")
    assert text.endswith("\nnew\n<!-- end a -->\n\nlast words\n")
    assert "old" not in text and "secateur at abc1234" in text
