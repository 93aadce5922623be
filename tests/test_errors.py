"""The error family: the tree in the docstring is the tree of classes."""

from __future__ import annotations

import re

import pytest

from secateur import errors
from secateur.errors import SecateurError, unknown_name


def _drawn() -> dict[str, str | None]:
    """Class name -> parent's name, read from the bullets of the docstring."""
    last_at: dict[int, str] = {}
    parents: dict[str, str | None] = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^( *)[*+-] (\w+) ", line):
            depth = len(match[1])
            shallower = [at for at in last_at if at < depth]
            parents[match[2]] = last_at[max(shallower)] if shallower else None
            last_at = {at: last_at[at] for at in shallower} | {depth: match[2]}
    return parents


def _real(family: type[SecateurError]) -> dict[str, str | None]:
    tree: dict[str, str | None] = {}
    own = (kind for kind in family.__subclasses__() if kind.__module__.startswith("secateur."))
    for child in own:
        tree |= {child.__name__: family.__name__} | _real(child)
    return tree


def test_the_drawn_tree_is_the_real_one() -> None:
    assert _drawn() == {"SecateurError": None} | _real(SecateurError)


def test_every_error_states_itself_in_a_sentence() -> None:
    for name in _drawn():
        doc = getattr(errors, name).__doc__
        assert doc and doc.strip().endswith(".")


def test_only_a_failed_check_has_exit_code_1() -> None:
    codes = {name: getattr(errors, name).exit_code for name in _drawn()}
    assert {name for name, code in codes.items() if code == 1} == {
        "VerificationError",
        "ExportError",
    }
    assert set(codes.values()) == {1, 2}


@pytest.mark.parametrize(
    ("name", "allowed", "message"),
    [
        ("l1norm", ["l2", "l1"], "no criterion 'l1norm'; there are l1, l2; did you mean 'l1'?"),
        ("zzz", ["l1"], "no criterion 'zzz'; there are l1"),
        ("l1", [], "no criterion 'l1'; there are none"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    name: str, allowed: list[str], message: str
) -> None:
    assert unknown_name("criterion", name, allowed) == message
