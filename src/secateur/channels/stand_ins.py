"""Tensors on shapes that stand in for a network's own while it is traced."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.channels.walk import KINDS, laid_out, modules_of, tensors_at


class StandIns:
    """A network's modules by path, paths by identity, and what stands in for each of its tensors.

    `tensors` and `shapes` hold parameters before buffers, each under its first name; `aliases` maps
    other names of shared ones to it.
    """

    def __init__(self, model: nn.Module, given: Mapping[str, tuple[int, ...]]) -> None:
        self.modules: dict[str, nn.Module] = {}
        self.module_names: dict[int, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.buffers: list[str] = []
        self.aliases: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.by_identity: dict[int, Tensor] = {}
        self._own: dict[str, Tensor] = {}
        places = modules_of(model, shared=True)
        for path, module in places:
            if self.module_names.setdefault(id(module), path) == path:
                self.modules[path] = module
        first: dict[int, str] = {}
        for kind in KINDS:
            for name, tensor in tensors_at(places, kind):
                if (known := first.setdefault(id(tensor), name)) != name:
                    self.aliases[name] = known
                    continue
                shape = given.get(name) or tuple(tensor.shape)
                layout = laid_out(tensor) or torch.contiguous_format
                meta = torch.empty(shape, dtype=tensor.dtype, device="meta", memory_format=layout)
                self.tensors[name] = self.by_identity[id(tensor)] = meta
                self._own[name] = tensor
                self.shapes[name] = shape
                if kind == "_buffers":
                    self.buffers.append(name)

    def put_in_place(self) -> None:
        """Give the modules their stand-ins; `untouched` gives them their own tensors back."""
        for module in self.modules.values():
            for kind in KINDS:
                if own := module.__dict__[kind]:
                    module.__dict__[kind] = {
                        leaf: None if tensor is None else self.by_identity[id(tensor)]
                        for leaf, tensor in own.items()
                    }

    def own(self, name: str, kept: Mapping[tuple[str, int], NDArray[np.int64]]) -> Tensor | None:
        """The numbers of a parameter or buffer at the positions that are kept; None without any."""
        if (real := self._own[name]).is_meta:
            return None
        for dim in range(real.ndim):
            if (positions := kept.get((name, dim))) is not None:
                real = real.index_select(dim, torch.from_numpy(positions).to(real.device))
        return real

    def forget(self) -> None:
        """Let go of the network."""
        for table in (self.modules, self.tensors, self.by_identity, self._own):
            table.clear()
