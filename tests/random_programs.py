"""Random networks from a seed, wired of blocks that convolutional networks do not have.

Each kind of block is a class of its name, in the file of its sort: `program_weights`,
`program_sequences`, `program_sizes`, `program_values`, `program_places`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import program_places
import program_sequences
import program_sizes
import program_values
import program_weights
from program_block import Block, Place, Signal, Silenced
from program_sequences import N_TOKENS, Tokens
from program_values import Plain

KINDS: tuple[type[Block], ...] = (
    *program_weights.KINDS,
    *program_sequences.KINDS,
    *program_sizes.KINDS,
    *program_values.KINDS,
    *program_places.KINDS,
)

SIZES = {"sound": (9,), "tokens": (7,), "image": (5, 6), "volume": (4, 3, 3)}
OTHER_SIZES = {"sound": (14,), "tokens": (10,), "image": (6, 8), "volume": (3, 4, 5)}
"""Places of each kind of input: those of the example, and others."""

ANSWERS = ("tensor", "tuple", "dict")


class Head(nn.Module):
    """Means over places, side by side, for one linear layer or two."""

    def __init__(self, width: int, answer: str) -> None:
        super().__init__()
        self.classes, self.answer = nn.Linear(width, 3), answer
        self.more = None if answer == "tensor" else nn.Linear(width, 2)

    def forward(self, signals: Sequence[Tensor]) -> Any:
        x = torch.cat([signal.flatten(2).mean(2) for signal in signals], 1)
        if self.more is None:
            return self.classes(x)
        if self.answer == "tuple":
            return self.classes(x), torch.tanh(self.more(x))
        return {"classes": self.classes(x), "more": [self.more(x)]}


class RandomProgram(nn.Module):
    """A stem for each of one or two inputs, a few random blocks on what there is, and a head.

    Block `seed` of the kinds is there at any rate; another one, in one of its ways, stands `alone`
    between a stem and the head.
    """

    def __init__(self, seed: int, alone: type[Block] | None = None, way: str = "") -> None:
        super().__init__()
        self.draw = random.Random(seed)
        first = alone or KINDS[seed % len(KINDS)]
        able = [kind for kind, sizes in SIZES.items() if len(sizes) in first.takes]
        self.inputs = [self.draw.choice(able)]
        if alone is None and self.draw.random() < 0.3:
            self.inputs.append(self.draw.choice(list(SIZES)))
        self.signals: list[Signal] = []
        self.stems, self.blocks = nn.ModuleList(), nn.ModuleList()
        self.wires: list[tuple[int, ...]] = []
        self.gives: set[Place] = set()
        self.over_channels: set[Place] = set()
        for kind in self.inputs:
            self.add_stem(kind)
        self.add_block(first, way)
        for _ in range(0 if alone else self.draw.randint(2, 4)):
            self.add_block(self.draw.choice(KINDS))
        read = {source for sources in self.wires for source in sources}
        self.last = [k for k in range(len(self.signals)) if k not in read]
        width = sum(self.signals[k].width for k in self.last)
        self.head = Head(width, self.draw.choice(ANSWERS))

    def add_stem(self, kind: str) -> None:
        """A plain layer, or an embedding, for one input."""
        make = Tokens if kind == "tokens" else Plain
        source = Signal(2, SIZES[kind], len(self.signals), frozenset())
        block = make(self.draw, source)
        zeros = torch.zeros_like(one_of(kind, 1, SIZES[kind]))
        self.note(f"stems.{len(self.stems)}.", block, [source], zeros)
        self.stems.append(block)

    def add_block(self, kind: type[Block], way: str = "") -> None:
        """One more block, on signals that its kind takes; none, if there are no such."""
        able = [k for k, signal in enumerate(self.signals) if signal.n_places in kind.takes]
        if not able:
            return
        # the newest signal is used more often, so that networks are deep and not only wide
        sources = [able[-1] if self.draw.random() < 0.6 else self.draw.choice(able)]
        space = self.signals[sources[0]].space
        beside = [k for k, signal in enumerate(self.signals) if signal.space == space]
        sources += self.draw.choices(beside, k=kind.n_sources - 1)
        taken = [self.signals[k] for k in sources]
        made_as = {"way": way or self.draw.choice(kind.ways)} if kind.ways else {}
        block = kind(self.draw, *taken, **made_as)
        zeros = [torch.zeros(1, signal.width, *signal.sizes) for signal in taken]
        self.note(f"blocks.{len(self.blocks)}.", block, taken, *zeros)
        self.blocks.append(block)
        self.wires.append(tuple(sources))

    def note(self, path: str, block: Block, sources: Sequence[Signal], *inputs: Tensor) -> None:
        """What a block gives out, and which places it has and takes together."""
        made = block.made
        carried = [signal.producers for signal in sources[: made.carries]]
        producers = frozenset(full(path, made.producers)).union(*carried)
        self.gives |= full(path, made.gives)
        self.over_channels |= full(path, made.mixes)
        if made.mixes_sources:
            self.over_channels.update(*(signal.producers for signal in sources))
        with torch.no_grad():
            _, width, *sizes = block.eval()(*inputs).shape
        space = sources[0].space if made.same_space else len(self.signals)
        self.signals.append(Signal(width, tuple(sizes), space, producers))

    @property
    def kinds(self) -> set[type[Block]]:
        """The kinds of blocks between stems and head."""
        return {type(block) for block in self.blocks}

    def example(self) -> tuple[Tensor, ...]:
        """What the network is traced with; the values are zero."""
        drawn = self.drawn(0, 2, SIZES)
        return tuple(torch.zeros_like(tensor) for tensor in drawn)

    def drawn_inputs(self, seed: int) -> list[tuple[Tensor, ...]]:
        """Random inputs of the example's sizes, and others, as far as its sizes may vary."""
        free = all(block.made.free_sizes for block in self.blocks)
        return [self.drawn(seed, 2, SIZES), self.drawn(seed, 3, OTHER_SIZES if free else SIZES)]

    def drawn(
        self, seed: int, batch: int, sizes: Mapping[str, tuple[int, ...]]
    ) -> tuple[Tensor, ...]:
        """Inputs of these sizes: normal numbers, and tokens out of all there are."""
        torch.manual_seed(seed)
        drawn = (one_of(kind, batch, sizes[kind]) for kind in self.inputs)
        return tuple(x.double() if x.is_floating_point() else x for x in drawn)

    def silence(self, positions: Mapping[Place, Sequence[int]]) -> None:
        """Let these positions of the network's places be at zero from now on."""
        for path, module in self.named_modules():
            if isinstance(module, Block):
                own = {
                    (name.removeprefix(f"{path}."), dim): list(gone)
                    for (name, dim), gone in positions.items()
                    if name.startswith(f"{path}.")
                }
                module.silenced = Silenced(own)

    def forward(self, *inputs: Tensor) -> Any:
        signals = [stem(x) for stem, x in zip(self.stems, inputs, strict=True)]
        for block, sources in zip(self.blocks, self.wires, strict=True):
            signals.append(block(*(signals[k] for k in sources)))
        return self.head([signals[k] for k in self.last])


def one_of(kind: str, batch: int, sizes: tuple[int, ...]) -> Tensor:
    """A random input of one kind, of two channels if it has any."""
    if kind == "tokens":
        return torch.randint(N_TOKENS, (batch, *sizes))
    return torch.randn(batch, 2, *sizes)


def full(path: str, places: Iterable[Place]) -> set[Place]:
    """Places in the parameters of the whole network."""
    return {(path + name, dim) for name, dim in places}
