"""Plain values, as JSON gives them, as the frozen values that they say they are, checked through.

A value of another type, one that lacks a field or has one too many is a `ReadError`, which names
the place. Bools are no numbers, and numbers are finite.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from secateur.errors import ReadError, shown

MOST = 1 << 53
"""Whole numbers lie between this and its negative, where a float holds each of them."""


def as_type(kind: Any, value: Any, where: str = "") -> Any:
    """The value as of this type: of a dataclass, tuple, mapping, literal, union or plain one.

    `where` says what the value is of, for the error.

    >>> as_type(tuple[int, ...], [1, 2])
    (1, 2)
    >>> as_type(dict[str, float], {"a": "1"})
    Traceback (most recent call last):
        ...
    secateur.errors.ReadError: a: '1' is no number

    Raises:
        ReadError: it is not of this type.
    """
    if kind is Any:
        return value
    if kind in _PLAIN:
        return _plain(kind, value, where)
    if is_dataclass(kind):
        kinds, optional = _fields(cast(type, kind))
        return cast(Any, kind)(**as_fields(kinds, value, where, optional))
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return _of_several(inner, value, where)
    if origin is Literal:
        if not (isinstance(value, str) and value in inner):
            raise _wrong(where, value, f"none of {', '.join(map(str, inner))}")
        return value
    if origin is tuple:
        return _tuple(inner, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(where, value, "no mapping")
        return {key: as_type(inner[1], one, _at(where, key)) for key, one in value.items()}
    raise TypeError(f"{kind} is no type of plain values")


_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def _plain(kind: type, value: Any, where: str) -> Any:
    numeric = kind in (int, float)
    if not isinstance(value, (int, float) if kind is float else kind) or (
        numeric and isinstance(value, bool)
    ):
        raise _wrong(where, value, f"no {_PLAIN[kind]}")
    if isinstance(value, int) and not -MOST <= value <= MOST:
        raise _wrong(where, value, f"beyond {MOST}")
    if isinstance(value, float) and not isfinite(value):
        raise _wrong(where, value, "not finite")
    return value


def as_fields(
    kinds: Mapping[str, Any], value: Any, where: str = "", optional: Collection[str] = ()
) -> dict[str, Any]:
    """A mapping that has these names, each with a value of its type; optional ones may be absent.

    >>> as_fields({"n": int, "why": str}, {"n": 3}, optional=["why"])
    {'n': 3}

    Raises:
        ReadError: it is no such mapping.
    """
    if not isinstance(value, dict):
        raise _wrong(where, value, f"no mapping of {', '.join(kinds)}")
    for name in value:
        if name not in kinds:
            raise ReadError("", f"there is no {_at(where, name)}; there are {', '.join(kinds)}")
    for name in kinds:
        if name not in value and name not in optional:
            raise ReadError("", f"{where or 'it'} lacks {name!r}")
    return {name: as_type(kinds[name], one, _at(where, name)) for name, one in value.items()}


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """The type of every field, and those that need not be given."""
    types, known = get_type_hints(kind), fields(cast(Any, kind))
    given = (MISSING, MISSING)
    optional = {one.name for one in known if (one.default, one.default_factory) != given}
    return {one.name: types[one.name] for one in known}, frozenset(optional)


def _of_several(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    for kind in rest[:-1]:
        try:
            return as_type(kind, value, where)
        except ReadError:
            continue
    return as_type(rest[-1], value, where)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "no list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise _wrong(where, value, f"no list of {len(kinds)}")
    pairs = enumerate(zip(kinds, value, strict=True))
    return tuple(as_type(kind, one, f"{where}[{k}]") for k, (kind, one) in pairs)


def _wrong(where: str, value: Any, what: str) -> ReadError:
    return ReadError("", f"{where + ': ' if where else ''}{shown(value)} is {what}")


def _at(where: str, name: Any) -> str:
    name = shown(name)[1:-1] if isinstance(name, str) else shown(name)
    return f"{where}.{name}" if where else name
