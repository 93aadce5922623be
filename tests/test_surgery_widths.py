"""Numbers that only code beside `forward` reads follow the layers whose widths they mirror."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import randomised
from secateur.channels.cost import cost
from timm_without_torchvision import import_timm

X = torch.randn(1, 3, 6, 6, dtype=torch.float64)


class Block(nn.Module):
    """Two branches that another method makes one convolution of."""

    def __init__(self, in_chs: int, out_chs: int, groups: int = 1) -> None:
        super().__init__()
        self.in_chs, self.out_chs, self.groups, self.kernel_size = in_chs, out_chs, groups, 8
        self.one = nn.Conv2d(in_chs, out_chs, 1, groups=groups)
        self.two = nn.Conv2d(in_chs, out_chs, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.two(x)

    def fused(self) -> nn.Conv2d:
        made = nn.Conv2d(self.in_chs, self.out_chs, 1, groups=self.groups).double()
        made.weight.data = self.one.weight.data + self.two.weight.data
        made.bias.data = self.one.bias.data + self.two.bias.data
        return made


class Blocks(nn.Module):
    """A plain block and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.first, self.second = Block(3, 8), Block(8, 8, groups=8)
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.second(F.relu(self.first(x)))))


def test_a_block_can_be_fused_after_the_cut() -> None:
    pruned = sc.prune(randomised(Blocks()), X, macs="50%")
    small: Any = pruned.network
    n = small.last.in_channels
    assert n < 8 and small.width == n
    assert (small.first.in_chs, small.first.out_chs, small.first.groups) == (3, n, 1)
    assert (small.second.in_chs, small.second.out_chs, small.second.groups) == (n, n, n)
    assert small.first.kernel_size == small.second.kernel_size == 8  # of that size, but no width
    again = pruned.restore()
    assert (again.width, again.second.groups) == (8, 8)
    wanted = small(X)
    small.first, small.second = small.first.fused(), small.second.fused()
    assert torch.allclose(small(X), wanted, rtol=1e-12)


def test_files_hold_what_is_told(tmp_path: Any) -> None:
    pruned = sc.prune(randomised(Blocks()), X, macs="50%")
    path = pruned.save(tmp_path / "small.safetensors")
    read: Any = sc.load(path, lambda: Blocks().double(), X)
    assert read.second.groups == read.width == pruned.network.last.in_channels


class Twice(nn.Module):
    """Two layers of one width, of which a number of this width could mirror either."""

    def __init__(self, look: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.width, self.look = 8, look
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.look(self, self.b(F.relu(self.a(x))))))


class Unlike(nn.Module):
    """Two layers, of which a number can mirror the first alone."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


def test_what_could_be_either_is_left_and_said() -> None:
    model = randomised(Twice(lambda net, x: x))
    channels = sc.trace(model, X)
    pruned = sc.cut(channels, sc.manual(channels, {"a": [0, 1], "b": [0]}))
    assert pruned.network.width == 8 and not pruned.plan.attributes
    said = " ".join(str(pruned).split())
    assert "still hold a width from before the cut: width = 8" in said


def test_numbers_of_a_group_that_stays_after_all_are_as_before() -> None:
    """A plan as it was cut says `width` = 6; without its first group nothing of that holds."""
    model = randomised(Unlike())
    channels = sc.trace(model, X)
    pruned = sc.cut(channels, sc.manual(channels, {"a": [0, 1], "b": [0]}))
    assert pruned.network.width == 6 and pruned.plan.attributes == {":width": 6}
    left = {"b": (0,)}
    rest = sc.cut(channels, replace(pruned.plan, remove=left, after=cost(channels, left)))
    assert rest.network.width == rest.network.a.out_channels == 8 and not rest.plan.attributes


def test_a_number_that_is_computed_with_stays() -> None:
    model = randomised(Twice(lambda net, x: x / net.width))
    channels = sc.trace(model, X)
    pruned = sc.cut(channels, sc.manual(channels, {"a": [0, 1], "b": [0, 5]}))
    assert pruned.network.width == 8 and pruned.verification.exact and not pruned.plan.held_back


class Crops(nn.Module):
    """In training it sees crops as large as its layers are wide."""

    def __init__(self) -> None:
        super().__init__()
        for name in NO_WIDTHS:
            setattr(self, name, 8)
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x[..., : self.crop_size] if self.training else x)))


NO_WIDTHS = [
    "crop_size",
    "block_size",
    "batch_size",
    "chunk_size",
    "queue_size",
    "sample_size",
    "vocab_size",
    "hop_size",
    "frame_size",
    "max_size",
    "tile_size",
    "output_size",
    "buffer_size",
    "step_size",
    "audio_channels",
    "time_dim",
    "seq_dim",
    "max_features",
    "canvas_width",
    "page_width",
    "line_width",
    "context_size",
    "pool_size",
    "head_dim",
    "size",
    "world_size",
    "kernel_size",
    "stride",
    "n_heads",
    "n_classes",
]  # fmt: skip


def test_numbers_that_are_no_widths_stay() -> None:
    small = sc.prune(randomised(Crops()), X, macs="50%").network
    assert small.a.out_channels < 8
    assert {name: getattr(small, name) for name in NO_WIDTHS} == dict.fromkeys(NO_WIDTHS, 8)


@pytest.mark.parametrize("name", ["mobileone_s0", "fastvit_t8", "repvgg_a0"])
def test_published_networks_are_reparameterised_after_the_cut(name: str) -> None:
    timm = import_timm()
    from timm.utils.model import reparameterize_model

    torch.manual_seed(0)
    model, x = timm.create_model(name).eval(), torch.randn(1, 3, 64, 64)
    small = sc.prune(model, x, ratio=0.3).network
    with torch.no_grad():
        wanted = small(x)
        found = reparameterize_model(copy.deepcopy(small))(x)
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())
