"""What a network takes and gives, array by array, each with a name. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Everything within mappings, sequences and data classes with its path, None left out.

    >>> list(leaves({"logits": 1, "aux": [2, None, {"deep": 3}]}))
    [('logits', 1), ('aux.0', 2), ('aux.2.deep', 3)]
    >>> list(leaves((4, 5), "output"))
    [('output.0', 4), ('output.1', 5)]
    """
    if value is None:
        return
    inner = parts(value)
    if inner is None:
        yield name, value
    else:
        for key, part in inner.items():
            yield from leaves(part, f"{name}.{key}" if name else key)


def parts(value: Any) -> dict[str, Any] | None:
    """What a structure holds by name, None for what is no structure."""
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return dict(zip(names, value, strict=True))
    if isinstance(value, list | tuple):
        return {str(k): part for k, part in enumerate(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def outputs_of(answer: Any) -> dict[str, Any]:
    """A network's outputs by name: keys where it gives keys, else `output`, `output.0` and on."""
    inner = parts(answer)
    is_row = isinstance(answer, list | tuple) and not hasattr(answer, "_fields")
    return dict(leaves(answer, "output" if is_row or inner is None else ""))
