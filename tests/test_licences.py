"""What runs beside Secateur may be used with it: licences read from the installed metadata."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT",
    "MIT-0", "PSF-2.0", "Zlib",
}  # fmt: skip
LESSER = {"pebble", "soxr"}
"""Libraries under the LGPL: used as they are, never passed on in our files. NOTICE says so."""
LESSER_LICENCES = {"LGPL", "LGPL-2.1-or-later"}
SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}


def direct() -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}


def all_of_them() -> set[str]:
    """Every distribution that an install without extras brings, as far as it is installed here."""
    waiting, seen = list(PROJECT["dependencies"]), set()
    while waiting:
        wanted = Requirement(waiting.pop())
        name = canonicalize_name(wanted.name)
        if name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += requires(name) or []
            seen.add(name)
        except PackageNotFoundError:  # builds of torch differ in what they bring
            assert name not in direct()
    return seen


def licences(name: str) -> set[str]:
    """The licences a distribution states, as SPDX names where it gives them."""
    found = metadata(name)
    if expression := found.get("License-Expression"):
        return set(re.split(r" (?:AND|OR) | WITH \S+|[()]", expression)) - {""}
    stated = [c for c in found.get_all("Classifier") or [] if c.startswith("License :: ")]
    if stated:
        return {SPELLINGS.get(last, last) for last in (c.split(" :: ")[-1] for c in stated)}
    return {(found.get("License") or "").strip()}


@pytest.mark.parametrize("name", sorted(all_of_them()))
def test_it_is_permissive_or_a_library_under_the_lgpl(name: str) -> None:
    allowed = PERMISSIVE | LESSER_LICENCES if name in LESSER else PERMISSIVE
    if name.startswith("nvidia-"):
        pytest.skip("comes with torch's CUDA build, which its user chose")
    assert licences(name) <= allowed


def test_the_exceptions_are_still_needed() -> None:
    assert {name for name in LESSER if licences(name) & LESSER_LICENCES} == LESSER


def test_the_notice_names_every_dependency_and_the_lesser_ones() -> None:
    notice = (ROOT / "NOTICE").read_text()
    listed = dict(re.findall(r"^  ([\w-]+) {2,}(\S.*)$", notice, flags=re.M))
    assert set(listed) == direct()
    assert {name for name, licence in listed.items() if licence.startswith("LGPL")} == LESSER
