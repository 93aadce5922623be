"""Inputs gone wrong at random, for every border: the only outcomes are an answer or an own error.

A border is a name in `BORDERS`: an input that is good, and a function that reads one. To add one,
write a function of a folder that gives both, and decorate it with `@border`. `outcomes` makes
`n` inputs of the good one, always the same for the same seed, and gives what went wrong.
"""

from __future__ import annotations

import json
import lzma
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError

SECONDS = 30.0
"""An input takes no longer, on the slowest machine."""

MOST_SAID = 2000
"""An error has fewer characters."""

Reader = Callable[[bytes], object]
Border = Callable[[Path], tuple[bytes, Reader]]
BORDERS: dict[str, Border] = {}


def border(make: Border) -> Border:
    """Add a border under its function's name; it gives a good input and what reads one."""
    BORDERS[make.__name__] = make
    return make


def outcomes(name: str, folder: Path, n: int, seed: int = 0) -> list[str]:
    """What went wrong with `n` inputs of a border, in words; its good input must be read."""
    good, read = BORDERS[name](folder)
    read(good)
    rng = random.Random(f"{name} {seed}")
    found = [_outcome(read, mutated(good, rng)) for _ in range(n)]
    return [f"{name} {k}: {wrong}" for k, wrong in enumerate(found) if wrong]


def _outcome(read: Reader, content: bytes) -> str:
    """Nothing, or what is wrong with how this input ended."""
    try:
        with _time_limit():
            read(content)
    except SecateurError as error:
        n = len(str(error))
        return "" if n < MOST_SAID else f"an error of {n} characters from {content[:300]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        what = " ".join(f"{type(error).__name__}: {error}"[:200].split())
        return f"{what} from {content[:2000]!r}"
    return ""


class _TooLong(BaseException):
    """No `except Exception` on the way swallows it."""


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What goes wrong with an input


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one thing wrong, now and then several; JSON also within its structure."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        of_values = _is_json(content) and rng.random() < 0.7
        content = _with_other_values(content, rng) if of_values else _with_other_bytes(content, rng)
    return content


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


_INSERTED = (
    b"\x00",
    b"\xff\xfe",
    "\u202e\ufeff\u2028".encode(),
    b"\x1b[2J",
    b"[" * 3000,
    b'{"a":' * 200,
    b"9" * 6000,
    b"1e999",
    b"-NaN",
    b"\n\n\n",
    b"&a [*a, *a]",
    b"*b",
    b"? ",
    b"!!timestamp x",
    b"2020-13-45",
    b"<<: ",
    b"%YAML 9.9\n---\n",
    b'\\ud800"',
    b"=cmd()",
    b'"', b"'", b"{", b"]", b",", b":", b"#", b"-", b"=", b"(a+)+$",
)  # fmt: skip


def _with_other_bytes(content: bytes, rng: random.Random) -> bytes:
    """A flip, a cut, a repetition, an insertion or a swap."""
    data = bytearray(content)
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0 if data:
            for _ in range(rng.choice((1, 1, 4))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + rng.choice((1, 2, 8, 100))]
        case 3:
            piece = data[at : at + rng.choice((1, 8, 50))]
            data[at:at] = piece * rng.choice((1, 2, 500))
        case 4 if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        case 5:
            data += rng.randbytes(rng.choice((1, 20)))
        case _:
            data[at:at] = rng.choice(_INSERTED)
    return bytes(data)


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, -0.0, 0.5, 1.5, -3, 1e-320, 1e308, -1e308, 2**31, 2**63, 2**64,
    -(2**63) - 1, 10**99, 10**400, float("nan"), float("inf"), float("-inf"), "", " ", "x", "0",
    "1e999", "nan", "none", "\x00", "a\x00b", "\ud800", "\u202e", "é" * 300, "x" * 5000, "../..",
    "/dev/zero", "~", "(a+)+$", "*" * 100, "[", "\x1b[31m", "=1+1", "|\n#", "<script>", [], {},
    [[]], [None], [1, "a"], {"": 1}, {"kind": "own"}, {"a": {"a": {"a": {}}}}, [0] * 2000,
)  # fmt: skip


def _with_other_values(content: bytes, rng: random.Random) -> bytes:
    """A value replaced, taken out, doubled, moved or nested; as JSON, keys maybe given twice."""
    value = json.loads(content)
    places = list(_places(value))
    if not places:
        return json.dumps(rng.choice(ODD)).encode()
    inside, key = rng.choice(places)
    match rng.randrange(8):
        case 0:
            del inside[key]
        case 1:
            deep: Any = inside[key]
            for _ in range(rng.choice((1, 5, 70, 200))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            inside[key] = deep
        case 2:
            other_inside, other = rng.choice(places)
            if _reaches(inside[key], other_inside) or _reaches(other_inside[other], inside):
                inside[key] = _copied(other_inside[other]) if other_inside is inside else None
            else:
                inside[key], other_inside[other] = other_inside[other], inside[key]
        case 3 if isinstance(inside, dict):
            inside[rng.choice(("", "x", "kind", "id", "é", "\x00", "k" * 3000))] = rng.choice(ODD)
        case 3:
            inside.append(_copied(inside[key]))
        case 4 if isinstance(inside[key], int | float) and not isinstance(inside[key], bool):
            number = inside[key]
            inside[key] = rng.choice((-number, number + 1, number * 10**6, str(number), [number]))
        case 5 if isinstance(inside[key], list):
            rng.shuffle(inside[key])
        case _:
            inside[key] = rng.choice(ODD)
    text = json.dumps(value)
    if rng.random() < 0.05 and text.startswith("{") and len(text) > 2:
        text = text[:-1] + ", " + text[1:]
    return text.encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in lists and mappings, as what it is in and the key there."""
    todo = [value]
    for one in todo:
        if isinstance(one, dict | list):
            for key, inner in one.items() if isinstance(one, dict) else enumerate(one):
                yield one, key
                todo.append(inner)


def _reaches(value: Any, wanted: Any) -> bool:
    return value is wanted or any(one is wanted for one, _ in _places(value))


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def packed(lines: bytes) -> bytes:
    """As `study pack` compresses, whatever the lines are."""
    return lzma.compress(lines, preset=0)
