"""From `--input` to what a network is called with."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.errors import SecateurError, brief, unknown_name
from secateur.networks.factory import find_object, needed_inputs
from secateur.networks.packages import input_sizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from secateur.channels.trace import Example

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="One example without the batch: 3x32x32, ids=int64:16, mod:func."),
]

TYPES = (
    *("float16", "bfloat16", "float32", "float64", "complex64"),
    *("uint8", "int8", "int16", "int32", "int64", "bool"),
)
_SIZES = re.compile(r"[1-9]\d*(x[1-9]\d*)*", re.IGNORECASE)
_HOW = (
    "one example without the batch, --input 3x32x32; several in their order or by name, "
    "--input 3x32x32 --input mask=bool:16; or --input module:function, which returns the example"
)
_OWN = ("secateur.networks.", "1x64x101")
"""Where the networks of this project are, and the log-mel spectrogram that all of them take."""


def example_of(texts: Sequence[str], model: nn.Module, factory: str) -> Example:
    """What a network is called with, a batch of one, as the texts say.

    Floating point numbers are zeros, as only shapes count; so are whole numbers, which pick rows
    that every table has; truth values are true, as those of a mask that hides nothing.

    Args:
        texts: `1x64x101`, `int64:16`, `name=…` by keyword, `module:function` for what it returns.
        model: whose forward is called.
        factory: how the network was named: those that know their input need no text.

    Raises:
        SecateurError: a text cannot be read, or the network takes other arguments.
    """
    texts = texts or _known(model, factory)
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals:
            positional.append(_value(text, text))
        elif not name.isidentifier():
            raise SecateurError(
                f"--input {text!r}: {name!r} is no name of an argument; give {_HOW}"
            )
        elif name in named:
            raise SecateurError(f"--input gives {name!r} twice; give every argument once")
        else:
            named[name] = _value(text, what)
    if named:
        return _checked(_by_name(positional, named, model), model, texts)
    return _checked(positional[0] if len(positional) == 1 else tuple(positional), model, texts)


def _known(model: nn.Module, factory: str) -> list[str]:
    """The input that a network is known to take, where none was given.

    Raises:
        SecateurError: naming the arguments it takes.
    """
    if factory.startswith(_OWN[0]):
        return [_OWN[1]]
    if sizes := input_sizes(model):
        return ["x".join(map(str, sizes))]
    main = getattr(model, "main_input_name", None)
    names = needed_inputs(model) or [main or next(iter(_parameters(model)), "input")]
    raise SecateurError(
        f"{factory} makes a {type(model).__name__}, which takes {', '.join(names)}, and there is "
        f"no --input; give {_HOW}"
    )


def _by_name(positional: list[Any], named: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """All arguments by name, those without one in the order of the network's.

    Raises:
        SecateurError: there are more of them than names.
    """
    names = list(_parameters(model))
    if len(positional) > len(names):
        raise SecateurError(
            f"--input gives {len(positional)} arguments in their order, and "
            f"{type(model).__name__} takes {', '.join(names) or 'none by name'}; name each"
        )
    first = dict(zip(names, positional, strict=False))
    if twice := first.keys() & named.keys():
        raise SecateurError(f"--input gives {min(twice)!r} twice; give every argument once")
    return first | named


def _checked(example: Any, model: nn.Module, texts: Sequence[str]) -> Example:
    """The example, if the network's forward can be called with it.

    Raises:
        SecateurError: it is no example, or the network takes other arguments.
    """
    from secateur.channels.admit import check_example
    from secateur.channels.trace import call_arguments

    given = " ".join(f"--input {text}" for text in texts)
    check_example(example, f"what {given} gives")
    args, kwargs = call_arguments(example)
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise SecateurError(
            f"{type(model).__name__} takes {', '.join(_parameters(model)) or 'nothing'}, and "
            f"{given} does not fit: {error}; give {_HOW}"
        ) from error
    found: Example = example
    return found


def _parameters(model: nn.Module) -> dict[str, inspect.Parameter]:
    """The arguments of a network's forward that have a name."""
    given = inspect.signature(model.forward).parameters
    return {n: p for n, p in given.items() if p.kind is p.POSITIONAL_OR_KEYWORD}


def _value(text: str, what: str) -> Any:
    """One argument: a tensor of a batch of one, or what a function returns."""
    head, colon, tail = what.rpartition(":")
    is_size = _SIZES.fullmatch(tail) is not None
    if not colon or head in TYPES:
        if not is_size and (tail or not colon):
            raise SecateurError(f"--input {text!r}: {tail!r} is not a shape; give {_HOW}")
        return _filled(tail, head or "float32")
    if is_size or not tail:
        raise SecateurError(f"--input {text!r}: {unknown_name('type', head, TYPES)}")
    try:
        return find_object(what, "an input")()
    except SecateurError as error:
        raise SecateurError(f"--input {text!r}: {error}") from error
    except Exception as error:
        raise SecateurError(
            f"--input {text!r} failed: {brief(error)}; it is called without arguments and returns "
            "what the network is called with; --debug shows where"
        ) from error


_MOST = 10**9
"""Numbers of one example at most: more than any machine would run a network on."""


def _filled(sizes: str, dtype: str) -> Tensor:
    """A batch of one of these sizes; of none, one number an example."""
    import torch

    shape = [int(size) for size in sizes.lower().split("x") if size]
    fill = torch.ones if dtype == "bool" else torch.zeros
    if math.prod(shape) > _MOST:
        raise SecateurError(
            f"--input {sizes!r} is {math.prod(shape):,} numbers an example; at most {_MOST:,} are "
            "taken"
        )
    return fill(1, *shape, dtype=getattr(torch, dtype))
