"""Criteria from the command line: by name, and your own by module and name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateur.cli.criterion import find_criterion
from secateur.cli.main import main
from secateur.criteria.base import Criterion
from secateur.criteria.table import CRITERIA
from secateur.errors import SecateurError
from secateur.testing import check_criterion

MINE = """
import torch
from secateur import Criterion, apoz

def largest(filters):
    return filters.abs().amax(1)

renamed = Criterion("renamed", "filters", largest, "nobody")
mean = Criterion("mean", "activations", apoz.formula, "nobody", apoz.update)
number = 3

def first_batch_only(sums, maps):
    return sums or apoz.update(None, maps)

def wrong_size(filters):
    return filters

def of_index(filters):
    return torch.arange(len(filters)).double()

def unstable(filters):
    return (filters.abs().amax(1) - 0.6).abs()

def not_finite(filters):
    return 1 / filters.abs().amax(1)

def drawn(filters):
    return torch.rand(len(filters))

def failing(filters):
    return filters.sum(1).nothing

def overwrites(filters):
    return filters.abs_().amax(1)

partial_view = Criterion("partial", "activations", apoz.formula, "nobody", first_batch_only)
"""


DOCS = Path(__file__).parents[1] / "docs" / "criteria.md"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_names_are_those_of_the_table() -> None:
    assert len(CRITERIA) == 21
    for name, criterion in CRITERIA.items():
        assert find_criterion(name) is criterion


def test_every_criterion_has_its_section() -> None:
    sections = {part.split("\n")[0]: part for part in DOCS.read_text().split("\n### ")[1:]}
    assert list(sections) == [f"`{name}`" for name in CRITERIA]
    for name, criterion in CRITERIA.items():
        section = sections[f"`{name}`"]
        for part in ("    s_j = ", "Needs ", "Cost: ", "Cluster: "):
            assert part in section, f"the section of {name} lacks {part!r}"
        assert criterion.reference.split(",")[0].lower() in section.lower()


def test_a_function_or_an_object_of_your_own(mine: str) -> None:
    function = find_criterion(f"{mine}:largest")
    assert function.name == f"{mine}:largest" and function.needs == "filters"
    assert function.formula(torch.tensor([[1.0, -2.0]])).tolist() == [2]
    renamed = find_criterion(f"{mine}:renamed")
    assert isinstance(renamed, Criterion) and renamed.name == "renamed"
    for criterion in (function, renamed, find_criterion(f"{mine}:mean")):
        check_criterion(criterion)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("l1norm", "no criterion 'l1norm'; .* did you mean 'l1'.*; your own is package.module:fun"),
        (":f", "':f' is not a criterion; write package.module:function"),
        ("no.such.module:f", "cannot import 'no.such.module'"),
        ("secateur:nothing", "'secateur' has no function 'nothing'"),
        ("secateur:__version__", "secateur:__version__ is a str; a criterion is"),
        ("secateur:Budget", "secateur:Budget is a type; a criterion is"),
    ],
)
def test_what_is_no_criterion_is_refused(name: str, said: str) -> None:
    with pytest.raises(SecateurError, match=said):
        find_criterion(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong_size", r"gave \(6, 18\) for '0'"),
        ("of_index", "scores do not follow a permutation of filters"),
        ("unstable", "a factor of 0.3 changes the ranking"),
        ("not_finite", "gave NaN or infinite scores"),
        ("failing", "the formula of criterion .* failed for '0': AttributeError"),
        ("overwrites", "it writes into what it is given"),
        ("drawn", "random state of the network changed|the same seed gave other scores"),
        ("partial_view", "two passes, merged, differ from one"),
    ],
)
def test_the_contracts_find_what_breaks_them(mine: str, name: str, said: str) -> None:
    with pytest.raises((AssertionError, SecateurError), match=said):
        check_criterion(find_criterion(f"{mine}:{name}"))


def test_the_command_line_prunes_by_your_own(
    mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = ["secateur.networks.vgg:vgg", "--arg", "width=4", "--pruning-ratio", "0.5"]
    for name in (f"{mine}:largest", f"{mine}:mean"):
        monkeypatch.setattr("sys.argv", ["secateur", "prune", *network, "--criterion", name])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().out
        assert not ended.value.code and "the cut network is the whole network with" in said
