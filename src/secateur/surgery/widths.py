"""Attributes that mirror the shapes of a module's own tensors, and how they follow them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.channels.normalisation import groups_go_whole
from secateur.channels.walk import modules_of


def _convolution(shape: torch.Size, groups: int) -> dict[str, int]:
    return {"out_channels": shape[0], "in_channels": shape[1] * groups}


def _transposed(shape: torch.Size, groups: int) -> dict[str, int]:
    return {"in_channels": shape[0], "out_channels": shape[1] * groups}


def _linear(shape: torch.Size, _: int) -> dict[str, int]:
    return {"out_features": shape[0], "in_features": shape[1]}


def _norm(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_features": shape[0]}


def _group_norm(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_channels": shape[0]}


def _layer_norm(shape: torch.Size, _: int) -> dict[str, tuple[int, ...]]:
    return {"normalized_shape": tuple(shape)}


def _embedding(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_embeddings": shape[0], "embedding_dim": shape[1]}


def _recurrent(n_gates: int) -> Callable[[torch.Size, int], dict[str, int]]:
    return lambda shape, _: {"input_size": shape[1], "hidden_size": shape[0] // n_gates}


def _prelu(shape: torch.Size, _: int) -> dict[str, int]:
    return {"num_parameters": shape[0]}


def _attention(shape: torch.Size, _: int) -> dict[str, int]:
    return {"embed_dim": shape[1]}


_WIDTHS: dict[type[nn.Module], Callable[[torch.Size, int], Mapping[str, Any]]] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    nn.Linear: _linear,
    nn.BatchNorm1d: _norm,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm3d: _norm,
    nn.InstanceNorm1d: _norm,
    nn.InstanceNorm2d: _norm,
    nn.InstanceNorm3d: _norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.PReLU: _prelu,
    nn.RNN: _recurrent(1),
    nn.GRU: _recurrent(3),
    nn.LSTM: _recurrent(4),
    nn.RNNCell: _recurrent(1),
    nn.GRUCell: _recurrent(3),
    nn.LSTMCell: _recurrent(4),
    nn.MultiheadAttention: _attention,
}
"""Attributes that mirror the shape of a module's weight. Add a line for a type of your own."""


@dataclass(frozen=True)
class Mirror:
    """What a module's attributes mirror before its tensors shrink."""

    widths: Mapping[str, Any]
    n_first: int
    n_groups: int


def mirror(module: nn.Module) -> Mirror | None:
    """The mirroring attributes of a module, or None where it has none."""
    if (rule := _rule(type(module))) is None or (weight := _weight(module)) is None:
        return None
    groups = getattr(module, "num_groups" if isinstance(module, nn.GroupNorm) else "groups", 1)
    return Mirror({**rule(weight.shape, groups), **_projected(module)}, len(weight), groups)


def mirrored(module: nn.Module) -> Collection[str]:
    """Attributes that follow the shapes of the module's own tensors."""
    found = mirror(module)
    return {*found.widths, "groups", "num_groups", "kdim", "vdim"} if found is not None else ()


def follow(model: nn.Module, before: Sequence[Mirror | None]) -> None:
    """Make the attributes of all modules true again, in place.

    `before` are the mirrors of the modules, in their order. What is counted in groups and shrinks
    by whole ones has fewer of them afterwards: a depthwise convolution has as many as inputs, and
    so has a group norm of many small groups.
    """
    for (_, module), old in zip(modules_of(model), before, strict=True):
        rule, weight = _rule(type(module)), None if old is None else _weight(module)
        if old is None or rule is None or weight is None:
            continue
        groups, per_group = old.n_groups, old.n_first // old.n_groups
        if groups > 1 and old.widths.get("in_channels") == groups:
            groups = len(weight) // per_group
            setattr(module, "groups", groups)  # noqa: B010
        if isinstance(module, nn.GroupNorm) and groups_go_whole(old.n_first, groups):
            module.num_groups = len(weight) // per_group
        if isinstance(module, nn.MultiheadAttention):
            own = module.k_proj_weight, module.v_proj_weight
            module.kdim, module.vdim = ((weight if w is None else w).shape[1] for w in own)
        for attribute, value in {**rule(weight.shape, groups), **_projected(module)}.items():
            if old.widths.get(attribute) != value:
                setattr(module, attribute, value)


def _projected(module: nn.Module) -> dict[str, int]:
    """The width of what an LSTM's projections put out, if it has any."""
    weight = getattr(module, "weight_hr_l0", None)
    return {"proj_size": len(weight)} if isinstance(weight, Tensor) else {}


def _rule(kind: Any) -> Callable[[torch.Size, int], Mapping[str, Any]] | None:
    return next((_WIDTHS[base] for base in kind.__mro__ if base in _WIDTHS), None)


_OF_HOOKS = ("weight_v", "weight_orig")
"""What a hook computes the weight from before every call: of its shape, and never stale."""

_NAMES = (
    "weight",
    "running_mean",
    "weight_ih_l0",
    "weight_ih",
    "in_proj_weight",
    "q_proj_weight",
)
"""What else it may be called."""


def _weight(module: nn.Module) -> Tensor | None:
    """The tensor whose shape a module's attributes mirror."""
    with evaluated(module):
        for name in (*_OF_HOOKS, *_NAMES):
            if name in _OF_HOOKS and name not in module._parameters:
                continue
            if isinstance(tensor := getattr(module, name, None), Tensor):
                return tensor
    return None


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """A module's parametrisations in evaluation mode: a spectral norm trains when looked at."""
    own = module._modules.get("parametrizations")
    training = [part for part in own.modules() if part.training] if own is not None else []
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


Attributes = dict[str, int]
"""`module:name` -> the number that a module's attribute is."""

_NAMED_AS_WIDTH = re.compile(
    r"((n|num)_)?((in|out|input|output|hidden|head_hidden|mid|inner|embed|model|feature)_?)?"
    r"(channels?|chs?|features?|filters|planes|dims?|width|groups)"
    r"|(hidden|head_hidden|embed)_size"
)
_OF_INPUTS = re.compile(r"(^|_)(in|input)(_|$)|inplanes|_in$")
_OF_OUTPUTS = re.compile(r"(^|_)(out|output)(_|$)|outplanes|_out$")


def names_of_widths(
    model: nn.Module, shapes: Mapping[str, Sequence[int]]
) -> tuple[Attributes, Attributes]:
    """Whole numbers in a user's own modules that are named as widths and mirror layers in them.

    Code beside `forward` may read them, as a method does that re-parameterises a block. One is told
    if every layer inside its module that had its number as a width (of inputs, for a name as
    `in_chs`; of outputs, for one as `out_chs`) has one and the same number after the cut.

    Args:
        model: the network before the cut.
        shapes: of its parameters and buffers after the cut.

    Returns:
        Those that are told, as they are after the cut; and those that are not, as they are before,
        though a layer inside that had their number has it no more.
    """
    told: Attributes = {}
    stale: Attributes = {}
    modules = modules_of(model)
    named = {path: found for path, module in modules if (found := _named_as_widths(module))}
    inside: dict[str, list[tuple[str, int, int]]] = {path: [] for path in named}
    for path, module in modules if named else ():
        changes = _changes(path, module, shapes)
        while changes and path:
            path = path.rpartition(".")[0]
            if path in inside:
                inside[path] += changes
    for path, attributes in named.items():
        for name, value in attributes.items():
            same = [(of, after) for of, before, after in inside[path] if before == value]
            now = {after for of, after in same if _fits(of, name)}
            if name == "groups" and not now:  # of a block that has no convolution
                now = {after for of, after in same if of == "num_features"}
            if len(now) == 1 and now != {value}:
                told[f"{path}:{name}"] = now.pop()
            elif now - {value}:
                stale[f"{path}:{name}"] = value
    return told, stale


def _named_as_widths(module: nn.Module) -> Attributes:
    """The whole numbers of a module that is not torch's own whose names are those of widths."""
    if type(module).__module__.partition(".")[0] == "torch":
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if type(value) is int and value > 1 and _NAMED_AS_WIDTH.fullmatch(name.lower())
    }


def _changes(
    path: str, module: nn.Module, shapes: Mapping[str, Sequence[int]]
) -> list[tuple[str, int, int]]:
    """The widths of a layer of torch's: the attribute, its number before the cut, and after it."""
    old = mirror(module)
    leaves = ("weight", "weight_ih_l0", "weight_ih")
    names = [f"{path}.{leaf}" if path else leaf for leaf in leaves]
    name = next((name for name in names if name in shapes), None)
    if old is None or name is None or (rule := _rule(type(module))) is None:
        return []
    shape, groups = torch.Size(shapes[name]), old.n_groups
    if groups > 1 and old.widths.get("in_channels") == groups:
        groups = shape[0] // (old.n_first // groups)
    now = {**rule(shape, groups), "groups": groups}
    before = {**old.widths, "groups": old.n_groups}
    return [(key, n, now[key]) for key, n in before.items() if isinstance(n, int) and key in now]


def _fits(of: str, name: str) -> bool:
    """Whether an attribute of a name like this may mirror this attribute of a layer."""
    if (name == "groups") != (of == "groups"):
        return False
    if _OF_INPUTS.search(name.lower()):
        return not of.startswith("out")
    return not (_OF_OUTPUTS.search(name.lower()) and of.startswith("in"))
