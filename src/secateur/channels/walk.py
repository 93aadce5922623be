"""Every module and every tensor of a network, in torch's order, without its recursion."""

from __future__ import annotations

from torch import Tensor, nn


def modules_of(model: nn.Module, *, shared: bool = False) -> list[tuple[str, nn.Module]]:
    """Modules with their paths, parents first, as `named_modules` gives them.

    One that stands in several places comes once, or with `shared` as often as it stands.

    >>> [path for path, _ in modules_of(nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU()))]
    ['', '0', '0.0', '1']
    """
    found: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        path, module = waiting.pop()
        if not shared:
            if id(module) in seen:
                continue
            seen.add(id(module))
        found.append((path, module))
        if module._modules:
            prefix = f"{path}." if path else ""
            for name, child in reversed(module._modules.items()):
                if child is not None:
                    waiting.append((prefix + name, child))
    return found


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, then buffers, each once under its first name."""
    modules = modules_of(model)
    found: dict[str, Tensor] = {}
    for kind in ("_parameters", "_buffers"):
        seen: set[int] = set()
        for path, module in modules:
            for leaf, tensor in module.__dict__[kind].items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{path}.{leaf}" if path else leaf] = tensor
    return found
