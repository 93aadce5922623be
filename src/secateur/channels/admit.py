"""What cannot be traced, said before it is tried, and what a failed run means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from traceback import walk_tb
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from secateur.channels.walk import modules_of
from secateur.errors import TraceError

_WRAPPERS = {
    "DataParallel": "model.module",
    "DistributedDataParallel": "model.module",
    "OptimizedModule": "the module that torch.compile was given (model._orig_mod)",
}
"""Modules that stand around a network, by the name of their class, and what to give instead."""

_HOOKS = {
    "torch.nn.utils.prune": "make the masks permanent with torch.nn.utils.prune.remove",
    "torch.nn.utils.weight_norm": "use torch.nn.utils.parametrizations.weight_norm",
    "torch.nn.utils.spectral_norm": "use torch.nn.utils.parametrizations.spectral_norm",
}
"""Modules of torch whose hooks make a weight anew before every call, and what to do instead."""


_FLOAT_HELPERS = {"FloatFunctional", "FXFloatFunctional"}
"""Modules of floats among torch's quantised ones."""


def check_network(model: object) -> None:
    """Refuse what has no forward of its own or no parameters to label.

    Raises:
        TraceError: naming the module and what to give instead.
    """
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else repr(model)[:60]
        raise TraceError(f"{what} is not a network; give an instance of torch.nn.Module")
    for path, module in modules_of(model):
        kind = type(module)
        where = f"module {path!r}" if path else "the network"
        if kind.__name__ in _WRAPPERS:
            raise TraceError(f"{where} is a {kind.__name__}; give {_WRAPPERS[kind.__name__]}")
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise TraceError(
                f"{where} was compiled in place; cut the network before {kind.__name__}.compile()"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                f"{where} was compiled by torch.jit, which shows no operators; give the network "
                "it was compiled from"
            )
        if (packed := next(filter(_is_packed, kind.__mro__), None)) is not None:
            raise TraceError(
                f"{where} is a {packed.__module__}.{packed.__name__}: its weights are packed; cut "
                "the network first and quantise it then"
            )
        own = {**module._parameters, **module._buffers}
        for name, tensor in own.items():
            if tensor is not None and is_lazy(tensor):
                raise TraceError(
                    f"{where} is lazy and its {name!r} has no shape yet; call the network once"
                )
        for hook in module._forward_pre_hooks.values():
            if (advice := _HOOKS.get(type(hook).__module__)) is not None:
                raise TraceError(
                    f"{where} makes a weight anew before every call ({type(hook).__name__} of "
                    f"{type(hook).__module__}); {advice}"
                )


def _is_packed(kind: type) -> bool:
    """Whether modules of a type compute with packed integers.

    Those that stand in for it while a network is prepared or trained for it are of floats.
    """
    return (
        kind.__module__.startswith("torch.ao.nn.")
        and "quantized" in kind.__module__.split(".")
        and kind.__name__ not in _FLOAT_HELPERS
    )


def check_example(example_input: object, name: str = "example_input") -> None:
    """Refuse what a network cannot be called with.

    Raises:
        TraceError: naming what was given and what is wanted.
    """
    wanted = "give a tensor, a tuple of arguments, or a dict of keyword arguments"
    is_text = isinstance(example_input, str | bytes)
    if not isinstance(example_input, Tensor | Sequence | Mapping) or is_text:
        kind = type(example_input).__name__
        raise TraceError(f"{name} is {kind} {str(example_input)[:40]!r}; {wanted}")
    given = (example_input,) if isinstance(example_input, Tensor) else _values(example_input)
    for tensor in given:
        if isinstance(tensor, Tensor) and not tensor.numel():
            raise TraceError(
                f"{name} has shape {tuple(tensor.shape)} and no elements; give a batch of "
                "one example at least"
            )


def _values(example_input: Any) -> tuple[Any, ...]:
    return tuple(example_input.values() if isinstance(example_input, Mapping) else example_input)


_OF_VALUES = (
    "meta tensor",
    "meta device",
    "data-dependent",
    "_local_scalar_dense",
    "data-independent",
)
"""What torch says where a network looks into its tensors."""


def explained(model: nn.Module, error: Exception, where: str) -> TraceError:
    """What an exception in a network's forward means; `where` is the operator or line."""
    name = type(model).__name__
    at = f" ({where})" if where else ""
    text = str(error).splitlines()[0].rstrip(".; ") if str(error) else type(error).__name__
    if any(said in text for said in _OF_VALUES):
        way = "take that part out of the traced network"
        if _in_quantiser(error):
            way = "cut the network before it is prepared for quantisation"
        return TraceError(
            f"{name}.forward depends on the values of its data, not only on shapes{at}: {text}; "
            f"{way}"
        )
    if "training" in text.lower():
        return TraceError(
            f"{name}.forward failed{at}: {text}; networks are traced in evaluation mode, so it "
            "must run in it, with a batch of the example's size"
        )
    return TraceError(
        f"{name}.forward failed on shapes{at}: {text}; check that example_input has the "
        "shape and type the network is called with"
    )


def _in_quantiser(error: Exception) -> bool:
    """Whether an exception came from an observer or a fake quantiser of torch."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.startswith("torch.ao.quantization.") for name in modules)
