"""What a network holds beside its tensors is copied, or shared where it cannot be copied."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import plan_of, randomised, same_state, state_of
from secateur.errors import SurgeryError
from secateur.surgery.rebuild import rebuild
from toys import Net, conv, image


def network() -> Any:
    return randomised(Net(lambda net, x: net.b(F.relu(net.a(x))), a=conv(1, 4), b=conv(4, 3)))


def cut(model: nn.Module) -> Any:
    channels = sc.trace(model, image())
    return sc.cut(channels, plan_of(channels, {"a": (0, 2)})).network


def counting() -> Iterator[int]:
    yield from range(3)


@pytest.mark.parametrize(
    "made",
    [
        lambda _: math,
        lambda _: threading.Lock(),
        lambda _: counting(),
        lambda folder: (folder / "log.txt").open("w"),
        lambda _: lambda: 3,
    ],
)
def test_what_cannot_be_copied_is_shared(made: Any, tmp_path: Path) -> None:
    held = made(tmp_path)
    model = network()
    model.held, model.among = held, {"others": [held, 1], "pair": (held, 2)}
    small = cut(model)
    assert small.held is held is small.among["others"][0] is small.among["pair"][0]
    assert small.among is not model.among and small.among["others"] is not model.among["others"]
    assert small.a.out_channels == 2
    if hasattr(held, "close"):
        held.close()


class Helper:
    """Holds a module of the network, a tensor that is no leaf and, perhaps, a lock."""

    def __init__(self, model: Any, lock: object = None) -> None:
        self.layer, self.lock, self.settings = model.a, lock, {"depth": [1]}
        self.kept = model.a.weight * 2


@pytest.mark.parametrize("lock", [None, threading.Lock()])
def test_a_helper_goes_on_with_the_modules_of_the_copy(lock: object) -> None:
    model = network()
    model.helper = Helper(model, lock)
    model.forward_ = lambda net, x: net.b(F.relu(net.helper.layer(x)))
    small = cut(model)
    assert small.helper is not model.helper
    assert small.helper.layer is small.a and small.a.out_channels == 2
    assert small.helper.lock is lock
    assert small.helper.settings == {"depth": [1]}
    assert small.helper.settings is not model.helper.settings
    assert torch.equal(small.helper.kept, model.helper.kept)


def test_tensors_that_are_attributes_are_copied() -> None:
    """Leaf or not, alone or in a list; where a gradient is wanted of a leaf it still is."""
    model = network()
    model.leaf = torch.ones(3, requires_grad=True)
    model.lists = [model.leaf * 2, (torch.zeros(2), "text")]
    model.cache = model.a.weight * 2
    small = cut(model)
    pairs = [
        (small.leaf, model.leaf),
        (small.lists[0], model.lists[0]),
        (small.lists[1][0], model.lists[1][0]),
        (small.cache, model.cache),
    ]
    for new, old in pairs:
        assert torch.equal(new, old) and new.data_ptr() != old.data_ptr()
    assert small.leaf.requires_grad and not small.lists[0].requires_grad


def test_what_holds_itself_does_so_in_the_copy() -> None:
    model = network()
    ring: list[Any] = [threading.Lock()]
    table = {"ring": ring, "model": model}
    ring += [table, (ring, model.a)]
    model.ring = ring
    small = cut(model)
    lock, copied, (again, layer) = small.ring
    assert lock is ring[0] and copied["ring"] is small.ring is again is not ring
    assert copied["model"] is small and layer is small.a


def test_a_dict_by_modules_is_of_the_copy() -> None:
    model = network()
    model.names = {model.a: "a"}
    small = cut(model)
    assert small.names == {small.a: "a"}


def test_half_of_a_failed_copy_is_not_used() -> None:
    """The first attempt reaches `inner` before the lock: the copy of it is thrown away whole."""

    class Outer:
        def __init__(self) -> None:
            self.inner, self.lock = Inner(), threading.Lock()

    class Inner:
        def __init__(self) -> None:
            self.numbers, self.file = [1, 2], threading.Lock()

    model = network()
    model.outer = Outer()
    small = cut(model)
    assert small.outer.inner is not model.outer.inner
    assert vars(small.outer.inner).keys() == {"numbers", "file"}
    assert small.outer.inner.numbers == [1, 2]
    assert small.outer.inner.numbers is not model.outer.inner.numbers


class Stubborn(nn.ReLU):
    def __deepcopy__(self, memo: dict[int, object]) -> Any:
        raise NotImplementedError("there is one of me")


@pytest.mark.parametrize("wrap", [lambda module: module, lambda m: nn.Sequential(m)])
def test_a_module_that_refuses_to_be_copied_is_named(wrap: Any) -> None:
    model = wrap(Stubborn())
    before = state_of(model)
    with pytest.raises(SurgeryError, match=r"cannot be copied: .*one of me; make copy\.deepcopy"):
        rebuild(model, {})
    assert same_state(model, before)


def test_tensor_that_a_network_remembers_stays_its_own() -> None:
    model = network()
    x = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    model.seen = [model(x)]  # with its graph
    small = cut(model)
    assert not small.seen[0].requires_grad
    assert isinstance(small.seen[0], Tensor) and small.seen[0].shape == (2, 3, 6, 6)
