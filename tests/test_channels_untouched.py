"""Whatever a forward writes into its modules while it is traced is taken back."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import plan_of, randomised
from toys import conv, image

TABLES = {name for name, value in vars(nn.Module()).items() if isinstance(value, dict | set)}
TABLES -= {"_parameters", "_buffers", "_modules"}


def hooks(model: nn.Module) -> dict[tuple[str, str], list[Any]]:
    """What is in the tables of every module, those that are empty too."""
    return {
        (path, name): list(vars(module)[name])
        for path, module in model.named_modules()
        for name in TABLES
    }


class Capturing(nn.Module):
    """Puts hooks on its layers at its first call and remembers that it did."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.ready = conv(1, 4), conv(4, 3), False
        self.states: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.ready = True
            for layer in (self.a, self.b):
                layer.register_forward_hook(lambda _, __, out: self.states.append(out))
        self.states = []
        x = self.b(F.relu(self.a(x)))
        assert len(self.states) == 2, "each hook once"
        return x


def test_hooks_of_a_first_call_are_taken_back() -> None:
    model = randomised(Capturing())
    before = hooks(model)
    channels = sc.trace(model, image())
    assert hooks(model) == before and not model.ready
    model(image())
    assert len(model.a._forward_hooks) == 1
    small = sc.cut(channels, plan_of(channels, {"a": (1,)})).network
    assert small(image()).shape == model(image()).shape and len(model.a._forward_hooks) == 1


def test_hooks_that_were_there_stay_in_their_order() -> None:
    model = randomised(Capturing())
    called: list[int] = []
    for k in range(3):
        model.a.register_forward_pre_hook(lambda *_, k=k: called.append(k))
    sc.trace(model, image())
    assert len(model.a._forward_pre_hooks) == 3 and not model.a._forward_hooks
    called.clear()
    model(image())
    assert called == [0, 1, 2]


WAYS = {
    "forward": lambda m: m.register_forward_hook(lambda *_: None),
    "with keywords": lambda m: m.register_forward_hook(lambda *_: None, with_kwargs=True),
    "always": lambda m: m.register_forward_hook(lambda *_: None, always_call=True),
    "before": lambda m: m.register_forward_pre_hook(lambda *_: None),
    "before, keywords": lambda m: m.register_forward_pre_hook(lambda *_: None, with_kwargs=True),
    "backward": lambda m: m.register_full_backward_hook(lambda *_: None),
    "before backward": lambda m: m.register_full_backward_pre_hook(lambda *_: None),
    "state": lambda m: m.register_state_dict_post_hook(lambda *_: None),
    "before state": lambda m: m.register_state_dict_pre_hook(lambda *_: None),
    "load": lambda m: m.register_load_state_dict_pre_hook(lambda *_: None),
    "loaded": lambda m: m.register_load_state_dict_post_hook(lambda *_: None),
    "buffer": lambda m: m.register_buffer("seen", torch.zeros(1), persistent=False),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_table_is_as_it_was(way: str) -> None:
    class Registers(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            WAYS[way](self[1])
            return super().forward(x)

    model = randomised(Registers(conv(1, 4), conv(4, 3)))
    before = hooks(model)
    sc.trace(model, image())
    assert hooks(model) == before
    WAYS[way](model[1])
    assert hooks(model) != before, "the test would see nothing"


def test_a_hook_taken_away_by_the_forward_is_put_back() -> None:
    class Once(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            self[0]._forward_hooks.clear()
            self[1]._forward_hooks = OrderedDict()
            return super().forward(x)

    model = randomised(Once(conv(1, 4), conv(4, 3)))
    for layer in model:
        layer.register_forward_hook(lambda *_: None)
    before = hooks(model)
    sc.trace(model, image())
    assert hooks(model) == before


def test_a_list_that_holds_itself_is_no_trap() -> None:
    model = randomised(Capturing())
    ring: list[Any] = []
    ring.append({"ring": ring})
    model.ring = ring
    sc.trace(model, image())
    assert model.ring is ring and ring[0]["ring"] is ring
