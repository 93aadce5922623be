"""Weights that others trained: out of safetensors or torch's own files, into a network.

Nothing is unpickled but tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import PackageError, ReadError, brief
from secateur.reading import MOST_DEPTH, check_file
from secateur.surgery.package import check_finite, check_names, few, in_own_types, read_tensors

TORCH_FILES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
"""Suffixes of what `torch.save` writes; every other file is taken for safetensors."""

_COMPILED = "_orig_mod."
_AVERAGED = re.compile(r"(^|[._])ema([._]|$)")


def load_weights(model: nn.Module, path: str | Path) -> str:
    """Fill a network with weights of exactly its shapes, in place; in words, what was unwrapped.

    Of a file in which tensors lie within dicts (`state_dict`, `model`, …) or under a common prefix
    (`module.`, `model.`, `_orig_mod.`, …) those are taken whose names fit the network's best. Of
    two that fit as well, averaged weights (`state_dict_ema`) are taken; else which is meant cannot
    be told. The answer is empty where nothing was unwrapped.

    Raises:
        PackageError: the file is not readable or would have to be unpickled, a name, shape or type
            does not fit, a value is NaN, or it holds several sets of weights that fit.
    """
    path = Path(path)
    wanted = model.state_dict(keep_vars=True)
    found = _best(path, _read(path), wanted)
    tensors = _all_names(found.tensors, wanted)
    check_names(path, tensors, model)
    for name, own in wanted.items():
        if tensors[name].shape != own.shape:
            raise PackageError(
                f"{path}: {name!r} is {tuple(tensors[name].shape)}, the network's is "
                f"{tuple(own.shape)}; give the factory the arguments it was trained with (a "
                "network that was cut is written with its plan, by Pruned.save or secateur prune)"
            )
    check_finite(path, {name: tensors[name] for name in wanted})
    model.load_state_dict(in_own_types(path, tensors, wanted), strict=False)
    return found.said(path)


@dataclass(frozen=True)
class _Found:
    """Tensors by the network's names: out of which dict, under which prefix, and what is beside."""

    tensors: Mapping[str, Tensor]
    keys: tuple[str, ...]
    prefix: str
    beside: tuple[str, ...]
    compiled: bool
    n_fit: int

    @property
    def averaged(self) -> bool:
        return any(_AVERAGED.search(part) for part in (*self.keys, self.prefix))

    def where(self) -> str:
        """In words, where in the file the tensors are."""
        inside = " in ".join(map(repr, reversed(self.keys)))
        under = [repr(self.prefix)] * bool(self.prefix) + [repr(_COMPILED)] * self.compiled
        names = f"names without {' and '.join(under)}" if under else ""
        return ", ".join(part for part in (inside, names) if part)

    def said(self, path: Path) -> str:
        if not (where := self.where()):
            return ""
        left = f"; left out beside them: {few(self.beside)}" if self.beside else ""
        return f"{path}: took {where}{left}"


def _read(path: Path) -> Any:
    """What a file holds: tensors by name, or dicts around them."""
    if path.suffix not in TORCH_FILES:
        return read_tensors(path)[0]
    try:
        check_file(path)
    except ReadError as error:
        no_file = f"no file {path}" if error.missing else str(error)
        raise PackageError(f"{no_file}; give the path of a .safetensors or .pth file") from error
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # a torn archive, a text file: each reader has errors of its own
        if type(error).__name__ != "UnpicklingError":
            raise PackageError(
                f"{path} is not a readable file of torch.save: {brief(error)}; write it again with "
                "torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise PackageError(
            f"{path} holds more than tensors{what}, and to unpickle that could run any code; "
            "read it where you trust it, write the weights alone, torch.save(model.state_dict(), "
            "'weights.pth'), and give that file"
        ) from error


def _best(path: Path, content: Any, wanted: Mapping[str, Tensor]) -> _Found:
    """The tensors that fit the network best."""
    sets = list(_sets(content))
    if not sets:
        kind = type(content).__name__
        raise PackageError(
            f"{path} holds a {kind} and no tensors by name; write it with "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
    candidates = [one for keys, tensors in sets for one in _readings(keys, tensors, wanted)]
    most = max(one.n_fit for one in candidates)
    if not most:
        return max(candidates, key=lambda one: len(one.tensors))
    best = [one for one in candidates if one.n_fit == most]
    best = [one for one in best if one.averaged] or best
    if any(not _same(best[0], other) for other in best[1:]):
        places = "; ".join(one.where() or "the tensors at the top" for one in best)
        raise PackageError(
            f"{path} holds {len(best)} sets of weights that fit as well: {places}; write the one "
            "you mean into a file of its own"
        )
    return best[0]


def _sets(
    content: Any, keys: tuple[str, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dict with tensors in it, once, and by which keys it is reached; the outermost first."""
    seen = set() if seen is None else seen
    if not isinstance(content, Mapping) or id(content) in seen or len(keys) > MOST_DEPTH:
        return
    seen.add(id(content))
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield keys, tensors
    for name, value in named.items():
        yield from _sets(value, (*keys, name), seen)


def _readings(
    keys: tuple[str, ...], tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[_Found]:
    """The tensors under every prefix under which there are names of the network's."""
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in tensors.items()}
    prefixes = {"": None}
    for name in plain:
        for at in (k + 1 for k, sign in enumerate(name) if sign == "."):
            if name[at:] in wanted:
                prefixes[name[:at]] = None
    for prefix in prefixes:
        under = {n.removeprefix(prefix): t for n, t in plain.items() if n.startswith(prefix)}
        beside = tuple(name for name in plain if not name.startswith(prefix))
        n_fit = len(under.keys() & wanted.keys())
        yield _Found(under, keys, prefix, beside, plain.keys() != tensors.keys(), n_fit)


def _all_names(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, each that the network shares under all names it has there."""
    names: dict[int, list[str]] = {}
    for name, own in wanted.items():
        names.setdefault(id(own), []).append(name)
    found = dict(tensors)
    for shared in names.values():
        if given := [tensors[name] for name in shared if name in tensors]:
            found |= {name: tensors.get(name, given[0]) for name in shared}
    return found


def _same(one: _Found, other: _Found) -> bool:
    names = one.tensors.keys() | other.tensors.keys()
    pairs = [(one.tensors.get(name), other.tensors.get(name)) for name in names]
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)
