"""Networks as files: safetensors with JSON metadata against a factory. Nothing is unpickled."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from secateur.channels.groups import ChannelMap
from secateur.channels.rules import RULES, Rule
from secateur.channels.trace import Example, trace
from secateur.errors import PackageError, PlanError, ReadError, SecateurError, brief
from secateur.files import write_bytes
from secateur.plan.plan import PruningPlan, as_numbers
from secateur.reading import check_file, parse_json
from secateur.surgery.numbers import set_numbers, sizes
from secateur.surgery.rebuild import rebuild, shrink

FORMAT = "secateur.network/1"
_FEW = 3


def save(
    model: nn.Module,
    path: str | Path,
    plan: PruningPlan | Sequence[PruningPlan] | None = None,
) -> Path:
    """Write a network's parameters and persistent buffers, each once, and the plan that cut it.

    Sizes in its modules' attributes, which a cut may have changed, are written too, so that `load`
    gives a network that runs after one cut or many. `Pruned.save` gives the plans as they were cut;
    of several, the first one is of the network that the factory makes.

    Raises:
        StorageError: the file could not be written; an earlier one still stands.
    """
    path = Path(path)
    tensors = {name: tensor.contiguous() for name, tensor in _stored(model).items()}
    metadata = {"format": FORMAT, "network": type(model).__name__}
    metadata["sizes"] = json.dumps(sizes(model), sort_keys=True)
    plans = [plan] if isinstance(plan, PruningPlan) else plan or []
    if plans:
        metadata["plans"] = json.dumps([one.plain() for one in plans])
    write_bytes(path, serialise(tensors, metadata))
    return path


def load(
    path: str | Path,
    build: Callable[[], nn.Module],
    example_input: Example | None = None,
    *,
    rules: Mapping[str, Rule] = RULES,
) -> nn.Module:
    """Rebuild a network, cut or not, from a file and the factory of the uncut one.

    A bias that the factory's layer could have and has not (a repair makes such) is added. Tensors
    of another precision than the factory's are cast to it, with a warning.

    Args:
        path: what `save` wrote.
        build: makes the uncut network.
        example_input: if given, the factory's network is traced and must be the one that the first
            plan in the file was made for (by fingerprint), after it is cut so the one that the next
            was made for, and so on; and every shape what the last plan leaves.
        rules: what the network was traced with, if not the library's own.

    Raises:
        PackageError: the file is not readable, or its tensors do not fit the factory or the plan,
            as whole numbers do not where the factory has others.
    """
    tensors, metadata = read(path)
    model = build()
    plans = _plans(Path(path), metadata)
    if example_input is not None:
        _check_plans(Path(path), tensors, plans, model, example_input, rules)
    model = _with_biases(Path(path), model, tensors)
    check_names(Path(path), tensors, model)
    tensors = in_own_types(Path(path), tensors, _stored(model))
    for name, own in _stored(model).items():
        new = tensors[name]
        smaller = new.ndim == own.ndim and all(
            0 < a <= b for a, b in zip(new.shape, own.shape, strict=True)
        )
        if new.shape != own.shape and not smaller:
            raise PackageError(
                f"{path}: {name!r} is {tuple(new.shape)}, the factory makes {tuple(own.shape)} "
                "and channels can only have gone; was another factory or width used?"
            )
    made = rebuild(model, tensors, {k: v for plan in plans for k, v in plan.attributes.items()})
    _set_sizes(Path(path), made, metadata)
    return made


def plans_in(path: str | Path) -> tuple[PruningPlan, ...]:
    """The plans that cut the network of a file, in the order of the cuts.

    Raises:
        PackageError: the file is not readable, or one of its plans is none.
    """
    return _plans(Path(path), read(path)[1])


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file and its metadata.

    Raises:
        PackageError: there is no such file, it is not safetensors, or it holds NaN or infinities.
    """
    tensors, metadata = read_tensors(Path(path))
    check_finite(Path(path), tensors)
    return tensors, metadata


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """As `read`, whatever the numbers are.

    Raises:
        PackageError: there is no such file, or it is not safetensors.
    """
    try:
        check_file(path)
    except ReadError as error:
        no_file = f"no file {path}" if error.missing else str(error)
        raise PackageError(f"{no_file}; give the path of a .safetensors file") from error
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # of a type of numbers that torch does not know, say
        why = str(error) if isinstance(error, SafetensorError | OSError) else brief(error)
        raise PackageError(f"{path} is not a readable safetensors file: {why}") from error
    return tensors, metadata


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file's tensors if a number among them is NaN or infinite, or one is no plain tensor.

    Raises:
        PackageError: naming the first such tensor.
    """
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise PackageError(
                f"{path}: {name!r} is no plain tensor ({tensor.layout}, {tensor.dtype}); "
                "write tensor.to_dense() or tensor.dequantize()"
            )
        if tensor.is_floating_point() and tensor.element_size() == 1:
            tensor = tensor.float()  # torch asks nothing of numbers of a byte
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackageError(f"{path}: {name!r} holds NaN or infinite values; train again")


def in_own_types(
    path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a file in the types that a network's own of these names have.

    A warning says which were cast: numbers of another precision, and whole numbers of another
    width. Those that `own` does not name are left out.

    Raises:
        PackageError: whole numbers stand for others, or the other way round, or a number is beyond
            the network's type.
    """
    found: dict[str, Tensor] = {}
    cast: dict[tuple[str, str], list[str]] = {}
    for name, mine in own.items():
        new = found[name] = tensors[name]
        there, here = (str(t.dtype).removeprefix("torch.") for t in (new, mine))
        if new.dtype == mine.dtype:
            continue
        if _kind(new) != _kind(mine):
            raise PackageError(
                f"{path}: {name!r} is {there}, the network's is {here}, which one cannot stand for "
                "the other; write it as what it is (weights of a quantiser with its scales)"
            )
        try:
            found[name] = new.to(mine.dtype)
            finite = not mine.is_floating_point() or bool(torch.isfinite(found[name]).all())
        except (RuntimeError, NotImplementedError) as error:  # numbers of less than a byte
            raise PackageError(
                f"{path}: {name!r} is {there}, of which torch makes no {here}: {brief(error)}"
            ) from error
        whole = not mine.is_floating_point()
        if not finite or (whole and not torch.equal(found[name].to(new.dtype), new)):
            raise PackageError(f"{path}: {name!r} is {there} and holds numbers beyond {here}")
        cast.setdefault((there, here), []).append(name)
    for (there, here), names in cast.items():
        warnings.warn(
            f"{path}: {len(names)} of {len(own)} tensors are {there} and the network's {here}, to "
            f"which they were cast: {few(names)}",
            stacklevel=3,
        )
    return found


def _kind(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "floating"
    return "whole" if not tensor.is_complex() and tensor.dtype != torch.bool else str(tensor.dtype)


def _plans(path: Path, metadata: Mapping[str, str]) -> tuple[PruningPlan, ...]:
    try:
        written = parse_json(metadata.get("plans", "[]"))
        return tuple(PruningPlan.from_json(json.dumps(one)) for one in list(written))
    except (ReadError, PlanError, ValueError, TypeError) as error:
        raise PackageError(f"{path}: its plans cannot be read: {brief(error)}") from error


def _set_sizes(path: Path, made: nn.Module, metadata: Mapping[str, str]) -> None:
    """Sizes in attributes as they were when the network was written."""
    try:
        written = parse_json(metadata.get("sizes", "{}"))
        numbers = {
            str(module): {name: as_numbers(value) for name, value in own.items()}
            for module, own in written.items()
        }
        set_numbers(made, numbers)
    except (ReadError, ValueError, TypeError, AttributeError) as error:
        raise PackageError(
            f"{path}: what it says of sizes in the network's attributes does not fit "
            f"({brief(error)}); give the factory that it was made with, or take another copy"
        ) from error


def _check_plans(
    path: Path,
    tensors: Mapping[str, Tensor],
    plans: Sequence[PruningPlan],
    model: nn.Module,
    example_input: Example,
    rules: Mapping[str, Rule],
) -> None:
    """Cut the factory's network by every plan in turn and hold the tensors against what is left."""
    if not plans:
        raise PackageError(
            f"{path} holds no plan to check; save with one, or load without example_input"
        )
    for plan in plans:
        channels = trace(model, example_input, rules)
        try:
            plan.check(channels)
            plan.restated(channels)
        except PlanError as error:
            said = _odd_shape(tensors, plan, model, channels) if len(plans) == 1 else ""
            said = said or f"{error}, or give the factory it was made with"
            raise PackageError(f"{path}: {said}") from error
        model = shrink(model, plan, channels)
        add_biases(model, plan.made_biases)
    for name, tensor in _stored(model).items():
        if name in tensors and tensors[name].shape != tensor.shape:
            raise PackageError(
                f"{path}: {name!r} is {tuple(tensors[name].shape)}, its plan leaves "
                f"{tuple(tensor.shape)}; save the network together with the plan that cut it"
            )


def _odd_shape(
    tensors: Mapping[str, Tensor], plan: PruningPlan, model: nn.Module, channels: ChannelMap
) -> str:
    """The first tensor of a file that this network, cut by the plan, would have in another shape.

    In words; empty where the network is another one altogether, or every shape is right.
    """
    try:
        cut = shrink(model, replace(plan, fingerprint=channels.fingerprint), channels)
    except SecateurError:
        return ""
    whole, left = _stored(model), _stored(cut)
    if any(name not in tensors or tensors[name].ndim != left[name].ndim for name in left):
        return ""
    for name, own in left.items():
        if tensors[name].shape != own.shape:
            return (
                f"{name!r} is {tuple(tensors[name].shape)}; the factory makes "
                f"{tuple(whole[name].shape)}, of which its plan would leave {tuple(own.shape)}; "
                "give the factory the arguments it was made with"
            )
    return ""


def add_biases(model: nn.Module, names: Iterable[str]) -> None:
    """Give layers of a network biases of zeros, in place.

    Raises:
        PackageError: there is no such layer, or it has a bias.
    """
    modules = dict(model.named_modules())
    for name in names:
        module: Any = modules.get(name.rpartition(".")[0])
        n_out = getattr(module, "out_channels", getattr(module, "out_features", None))
        if n_out is None or module._parameters.get("bias", 0) is not None:
            raise PackageError(f"no layer can be given the bias {name!r}; was it this factory?")
        weight = next(module.parameters())
        zeros = nn.Parameter(weight.new_zeros(n_out), requires_grad=weight.requires_grad)
        module.register_parameter("bias", zeros)


def _with_biases(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network, or a copy with biases that a file has and its layers could have and have not."""
    lacking = {
        f"{name}.bias": module
        for name, module in model.named_modules()
        if f"{name}.bias" in tensors and module._parameters.get("bias", 0) is None
    }
    for name, module in lacking.items():
        found = tuple(tensors[name].shape)
        n_out = getattr(module, "out_channels", getattr(module, "out_features", None))
        own = tensors.get(f"{name.removesuffix('bias')}weight")
        fits = len(found) == 1 and n_out is not None and 0 < found[0] <= n_out
        if fits and own is not None and own.ndim > 1:  # the file says how many are left
            turned = getattr(module, "transposed", False)
            fits = found[0] % own.shape[1] == 0 if turned else found[0] == own.shape[0]
        if not fits:
            raise PackageError(
                f"{path}: {name!r} is {found}, and its layer gives {n_out} channels; take another "
                "copy of the file"
            )
    if lacking:
        model = rebuild(model, {})
        add_biases(model, lacking)
    return model


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """The state dict, shared tensors once under their first name."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {n: t.detach() for n, t in state.items() if first.setdefault(id(t), n) == n}


def few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"


def check_names(path: Path, tensors: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse a file's tensors if they are not the network's; counters of batches may be absent.

    Raises:
        PackageError: naming the first of those that are missing and of those it does not know.
    """
    wanted = set(_stored(model))
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = sorted(wanted - optional - set(tensors))
    extra = sorted(set(tensors) - set(model.state_dict()))
    if missing or extra:
        parts = [f"lacks {few(missing)}"] if missing else []
        parts += [f"has {few(extra)}, which the network has not"] if extra else []
        raise PackageError(
            f"{path} does not fit {type(model).__name__}: it {' and '.join(parts)}; give the "
            "factory and arguments it was trained with"
        )
    for name in optional - set(tensors):
        tensors[name] = _stored(model)[name]
