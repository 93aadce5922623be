"""What a network is called with when its cut is verified: numbers drawn anew, and another size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from secateur.channels.collect import collect
from secateur.channels.notes import repeating
from secateur.channels.run import Run
from secateur.channels.trace import Example, record
from secateur.errors import TraceError

Place = tuple[int, int]
"""Which tensor of the example, and which dimension of it."""

_WIDE_ENOUGH = 2
"""Sizes below this are no length that could be another."""


def drawn(example_input: Example, n_rows: int | None, seed: int = 0) -> Example:
    """Numbers in the place of an example's, from a seed: float64, and whole numbers anew.

    Floating point numbers are drawn within the example's range; where that is a single number, from
    a standard normal distribution. Whole numbers are drawn within theirs, or, where the network
    picks rows of tables with them, among the `n_rows` rows of the shortest. Truth values, single
    numbers, and what holds infinite values (a mask that is added, say) stay.
    """
    generator = torch.Generator().manual_seed(seed)
    leaves, structure = tree_flatten(example_input)
    made = [
        _drawn(leaf.detach().cpu(), n_rows, generator) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    answer: Example = tree_unflatten(made, structure)
    return answer


def nearby(example_input: Example, share: float = 0.01) -> Example:
    """An example's own numbers in float64, by a share more or less, from a seed."""
    generator = torch.Generator().manual_seed(0)

    def near(tensor: Tensor) -> Tensor:
        plain = tensor.detach().cpu()
        if not plain.is_floating_point():
            return plain
        factor = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
        return plain.double() * (1 + share * factor)

    answer: Example = tree_map_only(Tensor, near, example_input)
    return answer


def _drawn(tensor: Tensor, n_rows: int | None, generator: torch.Generator) -> Tensor:
    if tensor.is_complex():
        parts = torch.randn((*tensor.shape, 2), generator=generator, dtype=torch.float64)
        return torch.view_as_complex(parts)
    if tensor.is_floating_point():
        wide = tensor.double()
        if not bool(torch.isfinite(wide).all()):
            return wide
        low, high = (wide.min(), wide.max()) if wide.numel() else (0.0, 0.0)
        if low == high:
            return torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        unit = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * unit
    if tensor.dtype == torch.bool or not tensor.ndim or not tensor.numel():
        return tensor
    low, high = int(tensor.min()), int(tensor.max())
    if n_rows is not None and low >= 0:
        low, high = 0, max(n_rows - 1, high)
    return torch.randint(low, high + 1, tensor.shape, generator=generator, dtype=tensor.dtype)


def of_another_size(model: nn.Module, example_input: Example, original: Run) -> Example | None:
    """An example whose sizes differ along every dimension that may vary, or None if none may.

    A dimension may vary if the network runs on shapes with another size of it and its channel map
    stays the same. Dimensions of one size are taken together, as those of a mask and of what it
    hides are; the batch is one of them. The example's own numbers fill it, over and over.
    """
    leaves, structure = tree_flatten(example_input)
    changed: dict[Place, int] = {}

    def example(sizes: Mapping[Place, int]) -> Example:
        made = [_resized(leaf, k, sizes) for k, leaf in enumerate(leaves)]
        answer: Example = tree_unflatten(made, structure)
        return answer

    def traced(sizes: Mapping[Place, int]) -> Run | None:
        try:
            return record(model, example(sizes), original.rules, repeating(original.decisions))
        except TraceError:
            return None

    own = collect(original).fingerprint

    def same_map(sizes: Mapping[Place, int]) -> bool:
        run = traced(sizes)
        return run is not None and collect(run).fingerprint == own

    classes = list(_classes(leaves))
    likely = [one for one in classes if not any(_is_of_channels(place, leaves) for place in one[0])]
    at_once = {place: sizes[0] for places, sizes in likely for place in places}
    if at_once and same_map(at_once):
        changed = at_once
    for places, candidates in classes:
        for size in candidates if places[0] not in changed else ():
            if same_map(tried := changed | dict.fromkeys(places, size)):
                changed = tried
                break
    return example(changed) if changed else None


def resized(example_input: Example, places: Collection[Place]) -> Iterator[Example]:
    """An example in several other sizes along some dimensions, those of one size alike.

    The example's own numbers fill it, over and over.
    """
    leaves, structure = tree_flatten(example_input)
    classes = [
        (within, sizes)
        for several, sizes in _classes(leaves)
        if (within := [place for place in several if place in places])
    ]
    for nth in range(max((len(sizes) for _, sizes in classes), default=0)):
        chosen = {place: sizes[nth % len(sizes)] for within, sizes in classes for place in within}
        made = [_resized(leaf, k, chosen) for k, leaf in enumerate(leaves)]
        answer: Example = tree_unflatten(made, structure)
        yield answer


def _is_of_channels(place: Place, leaves: Sequence[Any]) -> bool:
    """Whether a dimension is where channels lie as a rule."""
    return place[1] == 1 and leaves[place[0]].ndim > 2


def _classes(leaves: Sequence[Any]) -> Iterator[tuple[list[Place], list[int]]]:
    """Dimensions that vary together, the batch first, and sizes to try for each."""
    batch: list[Place] = []
    by_size: dict[int, list[Place]] = {}
    n_first = None
    for k, leaf in enumerate(leaves):
        for dim, size in enumerate(leaf.shape if isinstance(leaf, Tensor) else ()):
            if dim == 0 and n_first in (None, size):
                n_first = size
                batch.append((k, 0))
            elif size >= _WIDE_ENOUGH:
                by_size.setdefault(size, []).append((k, dim))
    if n_first is not None:
        yield batch, [2 if n_first == 1 else 3 if n_first == 2 else n_first - 1]
    for size, places in by_size.items():
        sizes = [size // 2] * (size > 3) + [size + size // 2, 2 * size, size + 1]
        yield places, sizes


def _resized(leaf: Any, number: int, sizes: Mapping[Place, int]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    shape = [sizes.get((number, dim), size) for dim, size in enumerate(leaf.shape)]
    if shape == list(leaf.shape):
        return leaf
    again = torch.arange(prod(shape), device=leaf.device) % leaf.numel()
    return leaf.detach().flatten()[again].view(shape)


def sizes_of(example_input: Example) -> str:
    """The shapes of an example's tensors in words.

    >>> sizes_of((torch.zeros(2, 3), torch.zeros(4)))
    '2x3 and 4'
    """
    leaves = tree_flatten(example_input)[0]
    shapes = ["x".join(map(str, leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor)]
    return " and ".join(shape or "a number" for shape in shapes)
