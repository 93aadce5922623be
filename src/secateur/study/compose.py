"""From recipe files to one plain mapping: what a file includes, and values set by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur.errors import ReadError, RecipeError, shown
from secateur.reading import MOST_DEPTH, parse_yaml, resolved
from secateur.study.parse import read_mapping

INCLUDE = "include"
"""Key whose value names one or more recipes that a recipe starts from."""

MOST_FILES = 100
"""So many files one recipe may be made of, each counted as often as it is included."""

_PATHS = (("data", "root"),)
"""Places in a recipe that hold paths, relative to the folder of the file they are written in."""


def compose(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe with what it includes, then set each of `changes`, `key.key=value`.

    Raises:
        RecipeError: a file cannot be read or includes itself, or a change cannot be made.
    """
    mapping = _read(path, (), [])
    for change in changes:
        _set(mapping, change)
    return mapping


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one; where both have a key, mappings are merged and else `above` counts.

    Mappings of different `kind` are not merged.

    >>> merged({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [4]})
    {'a': {'x': 1, 'y': 3}, 'b': [4]}
    """
    out = dict(below)
    for key, value in above.items():
        there: Any = out.get(key)
        both = isinstance(there, Mapping) and isinstance(value, Mapping)
        out[key] = merged(there, value) if both and _of_one_kind(there, value) else value
    return out


def _of_one_kind(below: Any, above: Any) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def _read(path: Path, above: tuple[Path, ...], read: list[Path]) -> dict[str, Any]:
    here = _resolved(path)
    read.append(here)
    if len(read) > MOST_FILES:
        raise RecipeError(
            f"recipe {read[0]} comes to more than {MOST_FILES} recipes with what they include; "
            "put what they share into fewer"
        )
    if here in above:
        chain = " includes ".join(str(one.name) for one in (*above[above.index(here) :], here))
        raise RecipeError(f"recipe {path} includes itself: {chain}; take one of these out")
    own = read_mapping(path)
    included = own.pop(INCLUDE, [])
    names = [included] if isinstance(included, str) else included
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(
            f"recipe {path}: include is {shown(included)}; give the path of a "
            "recipe, or a list of paths"
        )
    for keys in _PATHS:
        _make_absolute(own, keys, path.parent)
    for network in _own_networks(own):
        network.setdefault("folder", ".")
        _make_absolute(network, ("folder",), path.parent)
    whole: dict[str, Any] = {}
    for name in names:
        whole = merged(whole, _read(_resolved(Path(name), path.parent), (*above, here), read))
    return merged(whole, own)


def _own_networks(mapping: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Networks whose modules lie beside the file they are written in, if nothing else is said."""
    networks = mapping.get("networks")
    for network in networks if isinstance(networks, list) else ():
        if isinstance(network, dict) and network.get("kind") == "own":
            yield network


def _make_absolute(mapping: dict[str, Any], keys: tuple[str, ...], folder: Path) -> None:
    *first, last = keys
    for key in first:
        below = mapping.get(key)
        if not isinstance(below, dict):
            return
        mapping = below
    if isinstance(mapping.get(last), str):
        mapping[last] = str(_resolved(Path(mapping[last]), folder))


def _resolved(path: Path, folder: Path = Path()) -> Path:
    try:
        return resolved(path, folder)
    except ReadError as error:
        raise RecipeError(str(error)) from error


def _set(mapping: dict[str, Any], change: str) -> None:
    path, equals, text = change.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > MOST_DEPTH:
        raise RecipeError(
            f"cannot set {shown(change)}; write key.key=value, as in training.epochs=20"
        )
    try:
        value = parse_yaml(text)
    except ReadError as error:
        raise RecipeError(f"cannot set {shown(change)}: its value: {error.why}") from error
    spot: Any = mapping
    for key in keys[:-1]:
        if isinstance(spot, dict):
            spot = spot.setdefault(key, {})
        else:
            spot = spot[_place(spot, key, change)]
    if isinstance(spot, dict):
        spot[keys[-1]] = value
    else:
        spot[_place(spot, keys[-1], change)] = value


def _place(spot: Any, key: str, change: str) -> int:
    """The index a key names in a list."""
    if not isinstance(spot, list):
        raise RecipeError(f"cannot set {shown(change)}: there is no {shown(key)} in {shown(spot)}")
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(spot):
        raise RecipeError(
            f"cannot set {shown(change)}: {shown(key)} is no place in a list of {len(spot)}; "
            f"give 0 to {len(spot) - 1}, or set the whole list"
        )
    return int(key)
