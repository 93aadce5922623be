"""From a file to a plain mapping, and from pydantic's findings to one clear line a problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from secateur.errors import ReadError, RecipeError, shown, unknown_name
from secateur.reading import MOST_YAML, parse_json, parse_yaml, read_text

Schema = Mapping[str, Any]


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds one mapping, every key once.

    Raises:
        RecipeError: the file is missing, empty, malformed, not a mapping or repeats a key.
    """
    repeated: list[str] = []
    parse = parse_json if path.suffix == ".json" else parse_yaml
    try:
        text = read_text(path, MOST_YAML)
        content = parse(text, f"recipe {path}", repeated) if text.strip() else None
    except ReadError as error:
        raise RecipeError(f"cannot read recipe {path}: {error.why}") from error
    if repeated:
        raise RecipeError(listing(str(path), repeated))
    if content is None:
        raise RecipeError(f"recipe {path} is empty; give at least name, data and networks")
    if not isinstance(content, dict):
        raise RecipeError(
            f"recipe {path} holds {shown(content)}; a recipe is a mapping of keys to values"
        )
    return content


def listing(where: str, problems: Sequence[str]) -> str:
    """Head line and one line a problem.

    >>> print(listing("study.yaml", ["networks.0.width: missing"]))
    recipe study.yaml has 1 problem:
      networks.0.width: missing
    """
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return "\n".join([f"recipe {where} has {count}:", *(f"  {line}" for line in problems)])


def problems(error: ValidationError, raw: Any, schema: Schema) -> list[str]:
    """One line for each finding: path, wrong value, what is allowed, nearest match."""
    return [
        _problem(dict(finding), raw, schema)
        for finding in error.errors()
        # A list whose items are wrong is called too short as well: the items' lines say it all.
        if not (finding["type"] == "too_short" and finding["input"])
    ]


def _problem(finding: dict[str, Any], raw: Any, schema: Schema) -> str:
    keys, spot = _locate(finding["loc"], raw, schema)
    kind, value = finding["type"], finding["input"]
    match kind:
        case "extra_forbidden":
            _, parent = _locate(finding["loc"][:-1], raw, schema)
            said = unknown_name("key", str(keys[-1]), parent.get("properties", {}))
        case "invalid_key":
            said = f"key {value!r} is not text; keys are words"
        case "missing":
            said = f"missing; give {_allowed(spot, schema)}"
        case "union_tag_not_found":
            keys = (*keys, "kind")
            said = f"missing; give {_allowed({'enum': list(_tags(spot))}, schema)}"
        case "union_tag_invalid":
            keys = (*keys, "kind")
            said = unknown_name("kind", str(value["kind"]), _tags(spot))
        case "literal_error" if isinstance(value, str):
            said = unknown_name("choice", value, map(str, spot.get("enum", [spot.get("const")])))
        case "value_error":
            said = str(finding["ctx"]["error"])
        case _:
            said = f"{shown(value)} is not allowed; give {_allowed(spot, schema)}"
    path = ".".join(map(str, keys))
    return f"{path}: {said}" if path else said


def _locate(loc: Sequence[int | str], raw: Any, schema: Schema) -> tuple[tuple[Any, ...], Schema]:
    """Path in the file and the schema there. Pydantic's path also holds the kind it chose."""
    keys: list[int | str] = []
    spot: Schema = schema
    for step in loc:
        spot = _resolve(spot, schema)
        if isinstance(raw, Mapping) and step == raw.get("kind") and "discriminator" in spot:
            spot = {"$ref": spot["discriminator"]["mapping"][step]}
            continue
        keys.append(step)
        if isinstance(step, int):
            raw = raw[step] if isinstance(raw, Sequence) and step < len(raw) else None
            spot = spot.get("items", {})
        else:
            raw = raw.get(step) if isinstance(raw, Mapping) else None
            spot = spot.get("properties", {}).get(step, {})
    return tuple(keys), _resolve(spot, schema)


def _resolve(spot: Schema, schema: Schema) -> Schema:
    """Follow references, and see through "or null"."""
    choices = [choice for choice in spot.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        spot = choices[0]
    if "$ref" in spot:
        return _resolve(schema["$defs"][spot["$ref"].rpartition("/")[2]], schema)
    return spot


def _tags(spot: Schema) -> Sequence[str]:
    return sorted(spot.get("discriminator", {}).get("mapping", {}))


def _allowed(spot: Schema, schema: Schema) -> str:
    """What a place in the recipe takes, in words."""
    spot = _resolve(spot, schema)
    if "enum" in spot or "const" in spot:
        choices = [str(choice) for choice in spot.get("enum", [spot.get("const")])]
        return choices[0] if len(choices) == 1 else "one of " + ", ".join(choices)
    if "discriminator" in spot:
        return f"a mapping with a kind ({', '.join(_tags(spot))})"
    match spot.get("type"):
        case "integer":
            return "a whole number" + _range(spot)
        case "number":
            return "a number" + _range(spot)
        case "string":
            return "a path" if spot.get("format") == "path" else "text"
        case "array":
            least = spot.get("minItems", 0)
            many = f" of at least {least}" if least else ""
            return f"a list{many}, each {_allowed(spot['items'], schema)}"
        case _:
            keys = ", ".join(spot.get("properties", {}))
            return f"a mapping with the keys {keys}" if keys else "a mapping"


def _range(spot: Schema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{word} {spot[key]:g}" for key, word in words.items() if key in spot]
    return " " + " and ".join(bounds) if bounds else ""
