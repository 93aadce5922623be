"""The one door: what is read is whole, tame and cheap, or refused. Nobody goes round it."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.errors import ReadError, SecateurError, printable, shown, unknown_name
from secateur.reading import (
    MOST_DEPTH,
    MOST_DIGITS,
    MOST_NODES,
    MOST_YAML,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_text,
    searched,
)

SOURCE = Path(__file__).parents[1] / "src" / "secateur"
DOOR = SOURCE / "reading.py"
GOES_ROUND = {"json.load", "json.loads", "lzma.decompress", "lzma.open", "yaml.load"}
MAY_READ = {
    "study/starter.py": "its own template, in the package",
    "study/pool.py": "what the kernel says of memory",
}


def _calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_json_and_yaml_come_in_by_the_door_only(path: Path) -> None:
    round_it = {name for name in _calls(path) if name in GOES_ROUND or name.startswith("yaml.")}
    assert path == DOOR or not round_it
    if path.relative_to(SOURCE).as_posix() not in MAY_READ:
        assert not {n for n in _calls(path) if n.endswith(".read_text")}


def refused(why: str, call: Callable[[], object]) -> None:
    with pytest.raises(ReadError) as caught:
        call()
    assert why in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "deeper than 64"),
        ("[" * 100_000 + "]" * 100_000, "deeper than 64"),
        ('{"a":' * 65 + "1" + "}" * 65, "deeper than 64"),
        ("1" * 101, "a number of 101 digits"),
        ("[-" + "1" * 5000 + "]", "a number of 5000 digits"),
        ('["\\ud800"]', "half a character"),
        ('{"a\\u0000": 1}', "a NUL"),
        ("", "line 1, column 1 is not JSON"),
        ('{"a": 1,}', "is not JSON"),
        ("\x00", "is not JSON"),
    ],
    ids=lambda text: text[:20].replace("\0", "NUL"),
)
def test_json_that_is_not_tame_is_refused(text: str, why: str) -> None:
    refused(why, lambda: parse_json(text))


def test_json_within_the_bounds_is_read() -> None:
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parse_json(deep) is not None
    most = "9" * MOST_DIGITS
    assert parse_json(f"[{most}, -{most}]") == [int(most), -int(most)]
    assert parse_json('["\\ud83d\\ude00", "' + "1" * 500 + '"]') == ["😀", "1" * 500]
    assert parse_json('{"a": NaN}')["a"] != 0
    repeated: list[str] = []
    assert parse_json('{"a": 1, "a": 2}', repeated=repeated) == {"a": 2}
    assert repeated == ["key 'a' is given twice in one mapping; keep one"]


LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12))]
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2020-13-45", "month must be in 1..12"),
        ("!!timestamp x", "it is not YAML"),
        ("!!int x", "it is not YAML"),
        ("!!bool x", "it is not YAML"),
        ("!!float x", "it is not YAML"),
        ("1" * 5000, "a number of 5000 digits"),
        ("0x" + "f" * 5000, "a number of 5002 digits"),
        ("1" + ":59" * 5000, "digits"),
        ("[" * 100_000, "deeper than 64"),
        ("- " * 100_000, "deeper than 64"),
        ("{a: " * 2000, "deeper than 64"),
        (LAUGHS, "values, aliases counted"),
        ("&a [*a]", "alias of what the alias is in"),
        ("&a {b: &c [*c]}", "alias of what the alias is in"),
        ("*a", "undefined alias"),
        ('"\\ud800"', "half a character"),
        ('"\\0"', "a NUL"),
        ("a\x00b", "it is not YAML"),
        ("? [a, b]\n: 1", "unhashable key"),
        ("[" + "1," * (MOST_NODES + 1) + "]", "values, aliases counted"),
        ("#" * (MOST_YAML + 1), "characters"),
        ("a: 1\n---\nb: 2", "another document"),
        ("!!python/object:os.system x", "could not determine a constructor"),
    ],
    ids=lambda text: text[:20].replace("\0", "NUL"),
)
def test_yaml_that_is_not_tame_is_refused(text: str, why: str) -> None:
    refused(why, lambda: parse_yaml(text))


def test_yaml_within_the_bounds_is_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: -0x1f\n<<: {d: 1e3}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": -31,
        "d": "1e3",
    }
    assert parse_yaml("") is None


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe, loop, long = tmp_path / "pipe", tmp_path / "loop", tmp_path / ("n" * 300)
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    refused("a pipe, socket or device", lambda: read_bytes(pipe))
    refused("a pipe, socket or device", lambda: read_bytes(Path("/dev/zero")))
    refused("Is a directory", lambda: read_text(tmp_path))
    refused("Too many levels of symbolic links", lambda: read_bytes(loop))
    refused("File name too long", lambda: read_bytes(long))
    refused("no file has such a name", lambda: read_bytes(Path("a\0b")))
    refused("no file has such a name", lambda: read_bytes(Path("a\ud800b")))
    refused("No such file", lambda: read_json(tmp_path / "none"))
    with pytest.raises(ReadError) as caught:
        read_json(tmp_path / "none" / "json")
    assert caught.value.missing


def test_a_file_is_read_whole_or_not(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"[1, 2]")
    assert read_json(file) == [1, 2] and read_bytes(file, 6) == b"[1, 2]"
    refused("more than 5 bytes", lambda: read_bytes(file, 5))
    file.write_bytes(b"\xff\xfe")
    refused("not text in UTF-8", lambda: read_json(file))


def test_messages_neither_flood_nor_steer_a_terminal() -> None:
    error = SecateurError(f"{'x' * 10_000} \x1b[2J\x9b\u202e; rename it")
    assert len(str(error)) < 2000
    assert str(error).endswith("\\x1b[2J\\x9b\\u202e; rename it")
    assert str(SecateurError("two\nlines")) == "two\nlines"
    assert printable("naïve “—” 😀") == "naïve “—” 😀"
    assert len(unknown_name("key", "k" * 1_000_000, ["a"])) < 200


LARGE = [10**5000, "x" * 10**6, [[[[[[1]]]]]] * 10**5, {1: 2, "a": 3}]


@pytest.mark.parametrize("value", LARGE, ids=["int", "text", "list", "dict"])
def test_a_value_is_shown_in_few_characters(value: object) -> None:
    assert 0 < len(shown(value)) <= 60


def test_an_expression_finds_what_it_did_before() -> None:
    assert searched(r"-(\w+)-", ["a-rome-b", "nothing", "-x-"]) == ["rome", None, "x"]
    assert searched(r"\d+", ["ab12", ""]) == ["12", None]
    assert searched(r"a(b)?", ["a", "ab"]) == [None, "b"], "a group that took no part found nothing"
    assert searched("é", ["caf\u00e9", "\udcff"]) == ["é", None]


@pytest.mark.parametrize("expression", ["(", "a{99999999999999}", "(" * 5000 + ")" * 5000, "[z-a]"])
def test_what_is_no_expression_is_refused(expression: str) -> None:
    refused("is no regular expression", lambda: searched(expression, ["a"]))


def test_an_expression_that_would_take_ages_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.reading.SECONDS_TO_MATCH", 1)
    refused("takes longer than 1 s", lambda: searched("(a+)+$", ["a" * 60 + "!"]))
