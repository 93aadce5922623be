"""What stands in several files agrees: version, changelog, citation, lowest versions."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from secateur.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_changelog_has_a_heading_for_every_version_newest_first() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, flags=re.M)
    parsed = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|unreleased)", h) for h in headings
    ]
    assert headings and all(parsed)
    versions = [Version(match[1]) for match in parsed if match]
    assert versions == sorted(set(versions), reverse=True)
    assert str(versions[0]) == __version__
    dates = [date.fromisoformat(m[2]) for m in parsed if m and m[2] != "unreleased"]
    assert dates == sorted(dates, reverse=True)
    assert "unreleased" not in [match[2] for match in parsed[1:] if match]


def test_the_changelog_says_what_kind_of_change_each_is() -> None:
    kinds = re.findall(r"^### (.*)$", CHANGELOG, flags=re.M)
    assert kinds and set(kinds) <= set(KINDS)
    for body in re.split(r"^### .*$", CHANGELOG, flags=re.M)[1:]:
        assert re.match(r"\n- \S", body), "a heading without an entry"


def test_the_citation_is_of_this_version_and_of_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]
    papers = [paper["identifiers"][0]["value"] for paper in citation["references"]]
    assert papers == ["arXiv:2210.15960", "arXiv:2004.11627"]
    for paper in citation["references"]:
        assert paper["url"] == f"https://arxiv.org/abs/{paper['identifiers'][0]['value'][6:]}"
        assert all({"family-names", "given-names"} == author.keys() for author in paper["authors"])


def constraints(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pins = (Requirement(line) for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(pin.name): Version(str(pin.specifier)[2:]) for pin in pins}


def lowest() -> dict[str, Version]:
    """The lowest version of every dependency, of the extras that `dev` brings too."""
    (of_dev,) = (r for r in PROJECT["optional-dependencies"]["dev"] if r.startswith("secateur["))
    extras = [PROJECT["optional-dependencies"][name] for name in Requirement(of_dev).extras]
    found = {}
    for requirement in map(Requirement, [*PROJECT["dependencies"], *chain(*extras)]):
        (floor,) = (s.version for s in requirement.specifier if s.operator == ">=")
        found[canonicalize_name(requirement.name)] = Version(floor)
    return found


def test_the_lowest_versions_are_those_that_are_tried() -> None:
    assert constraints("constraints-min.txt") == lowest()


@pytest.mark.parametrize("name", sorted(lowest()))
def test_what_ci_installs_is_admitted(name: str) -> None:
    every = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    requirements = map(Requirement, every)
    (asked,) = (r for r in requirements if canonicalize_name(r.name) == name)
    assert asked.specifier.contains(constraints("constraints.txt")[name])
