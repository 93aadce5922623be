"""A channel map as text: rows that align in a terminal, with every number written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.channels.cost import cost, group_costs
from secateur.channels.table import COLUMNS, table
from secateur.channels.trace import trace
from secateur.networks.families import NETWORKS
from toys import TOYS, image, plain


def test_a_small_network_on_paper() -> None:
    # 1 -> 4 -> 3 channels of 3x3 on 6x6: 36 + 4 and 108 + 3 parameters, 8 for the batch norm.
    # All channels of group 0: 36 + 4 + 8 + 108 = 156 of 159 parameters, and all MACs.
    channels = trace(plain().double(), image())
    assert table(channels).splitlines() == [
        "group  channels   params     MACs  layers",
        "0             4   98.1 %  100.0 %  0",
        "1 group, 4 channels of a network with 159 parameters and 5,184 MACs",
        "pinned: 3.weight dim 0 (3): is an output of the network, the network's interface",
    ]
    assert str(channels) == table(channels)


@pytest.mark.parametrize("name", NETWORKS)
def test_columns_align(name: str) -> None:
    channels = trace(NETWORKS[name](), torch.zeros(1, 1, 64, 101))
    header, *rows = table(channels).splitlines()
    rows = rows[: len(channels.groups)]
    for row in rows:
        assert row[header.index("params") :].split()[1] == "%"
        assert row[header.index("layers") - 2 : header.index("layers")] == "  "
        assert row[header.index("layers")] != " "


@pytest.mark.parametrize("name", TOYS)
def test_every_network_prints_within_the_terminal(name: str) -> None:
    build, example = TOYS[name]
    channels = trace(build().double(), example)
    assert max(map(len, table(channels).splitlines())) <= COLUMNS
    assert all(group.name in table(channels) for group in channels.groups)


class Ladder(nn.Module):
    """A long residual chain, all of whose blocks add to one tensor, with names that fill a line."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.a_rather_long_name_for_a_stem_convolution = nn.Conv2d(1, 4, 1)
        self.block = nn.ModuleList(nn.Conv2d(4, 3, 1) for _ in range(n_blocks))
        self.back = nn.ModuleList(nn.Conv2d(3, 4, 1) for _ in range(n_blocks))
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a_rather_long_name_for_a_stem_convolution(x)
        for block, back in zip(self.block, self.back, strict=True):
            x = x + back(block(x.softmax(1)).relu())
        return self.head(x)


def test_long_names_lists_and_tables_are_shortened() -> None:
    channels = trace(Ladder(70).double(), image())
    lines = table(channels).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert lines[1].startswith("a_rather_long_nam…stem_convolution    ")
    assert lines[1].endswith("ution and 70 more")
    assert lines[61] == "… and 11 more: channels.groups holds all"
    assert sum(line.startswith("mixing: _softmax: ") for line in lines) == 1
    whole = table(channels, most=None).splitlines()
    assert sum(line.startswith("block.") for line in whole) == len(channels.groups) - 1


def test_a_group_costs_what_is_left_without_it() -> None:
    for name, build in NETWORKS.items():
        channels = trace(build(), torch.zeros(1, 1, 64, 101))
        before = cost(channels)
        for group in channels.groups:
            after = cost(channels, {group.name: range(group.n_channels)})
            goes = group_costs(channels)[group.name]
            assert goes.params == before.params - after.params, (name, group.name)
            assert goes.macs == before.macs - after.macs, (name, group.name)
            assert goes.channels == group.n_channels
