"""What cannot be traced, said before it is tried, and what a failed run means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from traceback import walk_tb
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from secateur.channels.cost import owner_module
from secateur.channels.walk import modules_of
from secateur.errors import TraceError

if TYPE_CHECKING:
    from secateur.channels.call import Call

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Modules that stand around a network, by the name of their class, and where it is in them."""

_REMADE = {
    "FullyShardedDataParallel": "cut the network before it is sharded",
    "FSDPModule": "cut the network before it is sharded",
    "UnflattenedModule": "give the network that torch.export was given",
}
"""Modules in whose place there is no network any more, and what to do instead."""

_HOOKS = {
    "torch.nn.utils.prune": "make the masks permanent with torch.nn.utils.prune.remove",
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
    kinds: set[type] = set()
    for path, module in modules_of(model):
        kind = type(module)
        where = f"module {path!r}" if path else "the network"
        if kind not in kinds:
            _check_kind(where, path, kind)
            kinds.add(kind)
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise TraceError(
                f"{where} was compiled in place; cut the network before {kind.__name__}.compile()"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise TraceError(
                f"{where} was compiled by torch.jit, which shows no operators; give the network "
                "it was compiled from"
            )
        _check_functions(where, module)
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


def _check_kind(where: str, path: str, kind: type[nn.Module]) -> None:
    """Refuse what stands around a network or in its place, or computes with packed integers."""
    for base in kind.__mro__:
        if (inner := _WRAPPERS.get(base.__name__)) is not None:
            way = f"put its {inner} in its place" if path else f"give model.{inner}"
            raise TraceError(f"{where} is a {base.__name__}; {way}")
        if way := _REMADE.get(base.__name__, ""):
            raise TraceError(f"{where} is a {base.__name__}; {way}")
        if _is_packed(base):
            raise TraceError(
                f"{where} is a {base.__module__}.{base.__name__}: its weights are packed; cut the "
                "network first and quantise it then"
            )


def _check_functions(where: str, module: nn.Module) -> None:
    """Refuse a module that calls what torch.compile made, or has no modes."""
    own = vars(module)
    if "eval" in own and isinstance(module, torch.fx.GraphModule):
        raise TraceError(
            f"{where} is a program of torch.export, of fixed sizes and without modes; give the "
            "network that was exported"
        )
    compiled = ["forward"] if _is_compiled(type(module).forward) else []
    for name, value in own.items():
        if type(value) in _MAY_CALL:
            several = (value,) if isinstance(value, FunctionType) else value
            compiled += [name for one in several if _is_compiled(one)]
    if compiled:
        raise TraceError(
            f"{where} has {compiled[0]!r} compiled by torch.compile, which shows no operators; cut "
            "the network before compiling it"
        )


_MAY_CALL = frozenset((FunctionType, list, tuple))


def _is_compiled(value: object) -> bool:
    if isinstance(value, FunctionType):
        return hasattr(value, "_torchdynamo_orig_callable")
    return type(value).__name__ == "OptimizedModule"


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
    "Meta tensors",
    "data-dependent",
    "_local_scalar_dense",
    "data-independent",
)
"""What torch says where a network looks into its tensors."""


def asks_for_values(error: Exception) -> bool:
    """Whether a forward failed on shapes because it looked into its tensors."""
    return any(said in str(error) for said in _OF_VALUES)


def misfit(call: Call | None) -> str:
    """What a layer takes and what it is given, in words, where that is why a call failed; or ''."""
    if call is None or call.name not in ("convolution", "linear", "addmm", "mm"):
        return ""
    given, weight = call.args[1:3] if call.name == "addmm" else call.args[:2]
    if (name := call.run.weights.name(weight)) is None:
        return ""
    if call.name == "convolution":
        transposed, conv_groups = call.args[6], call.args[8]
        what, has = "channel", given.shape[1]
        takes = weight.shape[0] if transposed else weight.shape[1] * conv_groups
    else:
        takes = weight.shape[1 if call.name == "linear" else 0]
        what, has = "feature", given.shape[-1]
    if takes == has:
        return ""
    shape, several = "x".join(map(str, given.shape)), "s" * (takes != 1)
    return f"{owner_module(name)!r} takes {takes} {what}{several} and is given {has}, as {shape}"


def explained(model: nn.Module, error: Exception, where: str, failed: Call | None) -> TraceError:
    """What an exception in a network's forward means; `where` is the operator or line."""
    name = type(model).__name__
    at = f" ({where})" if where else ""
    text = str(error).splitlines()[0].rstrip(".; ") if str(error) else type(error).__name__
    if asks_for_values(error):
        way = (
            "trace the part of the network before or after this line, give arguments with which "
            "it is not reached, or, of your own code, move it out of forward"
        )
        if _in_quantiser(error):
            way = "cut the network before it is prepared for quantisation"
        return TraceError(
            f"{name}.forward depends on the values of its data, not only on shapes{at}: {text}; "
            f"{way}"
        )
    if failed is not None and failed.name == "_pack_padded_sequence":
        return TraceError(
            f"{name}.forward packs a sequence{at}, whose lengths are numbers that shapes do not "
            "tell; call it without lengths, or trace the network on padded batches"
        )
    if "training" in text.lower():
        return TraceError(
            f"{name}.forward failed{at}: {text}; networks are traced in evaluation mode, so it "
            "must run in it, with a batch of the example's size"
        )
    return TraceError(
        f"{name}.forward failed on shapes{at}: {misfit(failed) or text}; check that example_input "
        "has the shape and type the network is called with"
    )


def _in_quantiser(error: Exception) -> bool:
    """Whether an exception came from an observer or a fake quantiser of torch."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(name.startswith("torch.ao.quantization.") for name in modules)
