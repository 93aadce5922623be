"""The one door for what comes from outside: files, JSON and YAML, with bounds on what they cost.

Whatever is wrong with a file or a text is a `ReadError` in a few words. Borders with an error of
their own translate it. What is read is tame: nested at most `MOST_DEPTH` deep, whole numbers of
at most `MOST_DIGITS` digits, which a float holds, and text that can be written as UTF-8.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from secateur.errors import ReadError, brief, shown

MOST_BYTES = 1 << 26
"""A file of JSON or text may be as large as this, 64 MiB."""

MOST_YAML = 1 << 20
"""Bytes of a recipe, 1 MiB."""

MOST_DEPTH = 64
"""Lists and mappings may lie within each other as deep as this."""

MOST_DIGITS = 100
"""Digits of a whole number."""

MOST_NODES = 20_000
"""Values in a YAML text, those that an alias stands for counted each time."""

SECONDS_TO_MATCH = 10
"""A regular expression has as long for all that it is looked for in."""

_LONG_NUMBER = re.compile(rf"\d{{{MOST_DIGITS + 1}}}")
_ODD_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


# Files


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file to read bytes from; nothing else is opened, as a pipe would wait for ever.

    Raises:
        ReadError: there is no such file, it is a folder, pipe or device, or it cannot be read.
    """
    try:
        # Before as well as after: to open a device may do something, and a pipe may come meanwhile.
        mode = Path(path).stat().st_mode
        handle = os.open(path, _FLAGS) if stat.S_ISREG(mode) else None
    except OSError as error:
        raise ReadError(path, error.strerror or str(error)) from error
    except ValueError as error:  # a NUL in the path, or what no file system can write
        raise ReadError(path, f"no file has such a name ({error})") from error
    if handle is None:
        raise ReadError(path, _kind(mode))
    try:
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(mode := os.fstat(handle).st_mode):
                raise ReadError(path, _kind(mode))
            yield file
    except OSError as error:
        raise ReadError(path, error.strerror or str(error)) from error


_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_file(path: Path) -> None:
    """Refuse what is no regular file that can be read, before another library opens it.

    Raises:
        ReadError: there is no such file, it is a folder, pipe or device, or it cannot be read.
    """
    with opened(path):
        pass


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file.

    Raises:
        ReadError: it cannot be read, or holds more than `most` bytes.
    """
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ReadError(path, f"it holds more than {most:,} bytes, which is no such file")
    return content


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """All text of a regular file in UTF-8.

    Raises:
        ReadError: it cannot be read, is larger than `most` bytes, or is not text in UTF-8.
    """
    try:
        return read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise ReadError(path, "it is not text in UTF-8; save it as such") from error


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """What a file of JSON holds, as `parse_json` reads it.

    Raises:
        ReadError: it cannot be read, is larger than `most` bytes, or is not JSON.
    """
    return parse_json(read_text(path, most), path)


def resolved(path: Path, folder: Path = Path()) -> Path:
    """A path of a text, absolute: `~` is a home, and what is relative starts at `folder`.

    Raises:
        ReadError: it is no path: a NUL in it, links that go round, a home that is not there.
    """
    try:
        return (folder / path.expanduser()).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ReadError(shown(str(path)), f"it is no path ({brief(error)})") from error


# Texts


def parse_json(text: str, where: str | Path = "", repeated: list[str] | None = None) -> Any:
    """The value of a JSON text; the last of equal keys counts, and `repeated` is told of them.

    Args:
        text: NaN and infinities are read, as Python writes them.
        where: what the text is of, for the error.
        repeated: one line is added for each key that one mapping gives twice.

    Raises:
        ReadError: it is not JSON, or beyond the bounds of this module.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in pairs:
            if key in mapping and repeated is not None:
                repeated.append(f"key {key!r} is given twice in one mapping; keep one")
            mapping[key] = value
        return mapping

    hooks: dict[str, Any] = {} if repeated is None else {"object_pairs_hook": once}
    try:
        if _LONG_NUMBER.search(text):
            hooks["parse_int"] = _whole_number
        value = json.loads(text, **hooks)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ReadError(where, f"{place} is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise ReadError(where, _TOO_DEEP) from error
    except ReadError as error:
        raise ReadError(where, error.why) from error
    except (ValueError, TypeError) as error:
        raise ReadError(where, f"it is not JSON: {error}") from error
    for level, containers in enumerate(_levels(value), 1):
        if level > MOST_DEPTH:
            raise ReadError(where, _TOO_DEEP)
        if _ODD_ESCAPE.search(text):
            for text_in in _texts(containers):
                _check_text(text_in, where)
    return value


def parse_yaml(text: str, where: str | Path = "", repeated: list[str] | None = None) -> Any:
    """The value of a YAML text, by a safe loader; for `repeated` see `parse_json`.

    Raises:
        ReadError: it is not YAML, or beyond the bounds of this module.
    """
    if len(text) > MOST_YAML:
        raise ReadError(where, f"it holds more than {MOST_YAML:,} characters")
    try:
        loader = _Loader(text)
        loader.repeated = repeated
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "it"
        why = error.problem or error.context
        raise ReadError(where, f"{place} is not YAML: {why}") from error
    except ReadError as error:
        raise ReadError(where, error.why) from error
    except RecursionError as error:
        raise ReadError(where, _TOO_DEEP) from error
    except Exception as error:  # its constructors raise whatever int, datetime and re raise
        raise ReadError(where, f"it is not YAML: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also notes keys that are given twice and counts what it reads."""

    repeated: list[str] | None = None

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._n_nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node, counted; that of an alias counts as much as what it stands for."""
        before = self._n_nodes
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ReadError("", _TOO_DEEP)
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if alias and id(node) not in self._sizes:
            raise ReadError("", "it holds an alias of what the alias is in")
        self._n_nodes += self._sizes[id(node)] if alias else 1
        if self._n_nodes > MOST_NODES:
            raise ReadError("", f"it holds more than {MOST_NODES:,} values, aliases counted")
        self._sizes.setdefault(id(node), self._n_nodes - before)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        _check_text(node.value, "")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            mark = first.setdefault(key.value, key.start_mark)
            if mark is not key.start_mark and self.repeated is not None:
                self.repeated.append(
                    f"line {key.start_mark.line + 1}: key {key.value!r} was given in line "
                    f"{mark.line + 1} already; keep one"
                )
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number; its text, of whatever base, has at most `MOST_DIGITS` signs."""
        _check_digits(node.value)
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)

# Regular expressions


def compiled(expression: str) -> re.Pattern[str]:
    """A regular expression that somebody wrote.

    Raises:
        ReadError: it is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a later Python may read otherwise
            return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        why = f"is no regular expression: {error}"
        raise ReadError("", f"{shown(expression)} {why}") from error


def searched(expression: str, texts: Sequence[str]) -> list[str | None]:
    """What somebody's expression finds in each text: its first group if it has one, or None.

    Some expressions take ages on a short text, so it is looked for in a process of its own, which
    has `SECONDS_TO_MATCH` for all.

    Raises:
        ReadError: it is no expression, or takes longer.
    """
    compiled(expression)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _SEARCH],
            input=json.dumps([expression, list(texts)]),
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_MATCH,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        why = f"takes longer than {SECONDS_TO_MATCH} s to match; write a simpler one"
        raise ReadError("", f"the expression {shown(expression)} {why}") from error
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"cannot be matched ({brief(error)}); write a simpler one"
        raise ReadError("", f"the expression {shown(expression)} {why}") from error
    found: list[str | None] = json.loads(done.stdout)
    return found


_SEARCH = """
import json, re, sys
expression, texts = json.load(sys.stdin)
found = [re.search(expression, text) for text in texts]
json.dump([m and (m[1] if m.re.groups else m[0]) for m in found], sys.stdout)
"""

_TOO_DEEP = f"it is nested deeper than {MOST_DEPTH} levels"


def _whole_number(text: str) -> int:
    _check_digits(text)
    return int(text)


def _check_digits(text: str) -> None:
    n = len(text.lstrip("+-"))
    if n > MOST_DIGITS:
        raise ReadError("", f"it holds a number of {n} digits; give {MOST_DIGITS} at most")


def _levels(value: Any) -> Iterator[list[Any]]:
    """The lists and mappings of a value, those that lie as deep together; no recursion."""
    level = [value] if isinstance(value, list | dict) else []
    while level:
        yield level
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, list | dict)
        ]


def _texts(containers: list[Any]) -> Iterator[str]:
    for one in containers:
        inner = (*one, *one.values()) if isinstance(one, dict) else one
        yield from (value for value in inner if isinstance(value, str))


def _check_text(text: str, where: str | Path) -> None:
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ReadError(where, "it holds text with a NUL or half a character")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "Is a directory"
    return "it is a pipe, socket or device, not a file; write what it gives into one"
