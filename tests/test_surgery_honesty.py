"""What verification must see, and what it must leave as it was: found by looking for its faults."""

from __future__ import annotations

import copy
import random
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import plan_as_cut, plan_of, randomised, same_state, state_of
from secateur.errors import VerificationError
from secateur.surgery.in_turn import verified
from secateur.surgery.precise import apart, in_float64

X = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Two(nn.Module):
    """Two layers, and between them whatever is to be tried."""

    def __init__(self, between: Callable[..., Tensor], n_out: int = 4, **attributes: Any) -> None:
        super().__init__()
        self.a, self.c, self.between = nn.Linear(6, 8), nn.Linear(8, n_out), between
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.between(self, F.relu(self.a(x)))


def settled(model: nn.Module, gone: Any = (0,), x: Tensor = X) -> Any:
    """The channel map, what of a plan of `a` can be cut, and the cut network."""
    channels = sc.trace(model, x)
    plan = plan_as_cut(channels, plan_of(channels, {"a": tuple(gone)}))
    return channels, plan, sc.cut(channels, plan).network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_buffers_that_a_forward_writes_are_as_before(dtype: torch.dtype) -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(6, 8), nn.Linear(8, 4)
            self.register_buffer("steps", torch.zeros((), dtype=torch.long))
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            self.steps.add_(1)
            h = F.relu(self.a(x))
            self.mean.lerp_(h.mean(0), 0.1)
            return self.c(h - self.mean)

    model = randomised(Counts()).to(dtype)
    with torch.no_grad():
        model.steps.zero_()
    x, before = X.to(dtype), state_of(model)
    channels, plan, small = settled(model, x=x)
    assert not plan.held_back
    assert verified(model, small, plan, channels, x).exact
    assert same_state(model, before) and int(small.steps) == 0
    assert torch.equal(small.mean, model.mean[1:])


def test_no_large_number_hides_the_others() -> None:
    """The other logits are off by a fifth where the least number there is stands beside them."""
    for hidden in (torch.finfo(torch.float64).min, -1e12, -1e9):

        def masked(net: Any, h: Tensor, hidden: float = hidden) -> Tensor:
            y = net.head(h.sum(1, keepdim=True) / WIDTHS.to(h.dtype)[h.shape[1]])
            y[:, 4] = hidden
            return y

        model = randomised(Two(masked, head=nn.Linear(1, 5)))
        _, plan, _ = settled(model, range(6))
        assert list(plan.held_back) == ["a"]


WIDTHS = torch.arange(1.0, 20.0)


def test_differences_are_measured_by_the_numbers_that_differ() -> None:
    one = torch.tensor([1.0, 2.0, 3.0, 1e12], dtype=torch.float64)
    assert apart([one + torch.tensor([0.5, 0, 0, 0])], [one]) == 0.5
    assert apart([one], [one]) == 0
    noise = torch.tensor([1.0, 1.0, 1e-17], dtype=torch.float64)  # what cancels out is rounding
    assert apart([noise * torch.tensor([1, 1, 3])], [noise]) < 1e-15
    assert apart([torch.tensor([1.0, torch.inf])], [torch.tensor([1.0, 2.0])]) == float("inf")
    hidden = torch.tensor([-torch.inf, 1.0])
    assert apart([hidden], [hidden]) == 0
    nothing = torch.tensor([torch.nan])
    assert np.isnan(apart([nothing], [nothing]))


@pytest.mark.parametrize(
    "places",
    [
        lambda net, h: net.table(h.argmax(1)),
        lambda net, h: net.table(h.argmin(1)),
        lambda net, h: net.table(h.max(1)[1]),
        lambda net, h: h.max(1).indices,
    ],
)
def test_channels_that_are_numbered_stay(places: Callable[..., Tensor]) -> None:
    model = randomised(Two(places, table=nn.Embedding(8, 4)))
    channels = sc.trace(model, X)
    assert "a" not in channels.by_name
    assert ("a.weight", True) in {
        (row.parameter, "numbered" in row.reason) for row in channels.pinned
    }


def test_the_largest_channel_itself_can_go() -> None:
    model = randomised(Two(lambda net, h: net.o(h.max(1, keepdim=True)[0]), o=nn.Linear(1, 3)))
    channels, plan, small = settled(model, (0, 1))
    found = verified(model, small, plan, channels, X)
    assert plan.remove and found.groups == {"a": "kept statistics"} and not found.exact


def test_a_width_that_meets_what_channels_were_summed_up_to_is_a_value() -> None:
    def mean(net: Any, h: Tensor) -> Tensor:
        return (net.head(h.sum(1, keepdim=True) / h.shape[1]) > 0).long()

    model = randomised(Two(mean, head=nn.Linear(1, 5)))
    _, plan, _ = settled(model, range(5))
    assert "div at test_surgery_honesty.py" in plan.held_back["a"]
    assert "computes with 3, not 8" in plan.held_back["a"]


def test_outputs_that_tell_nothing_are_not_called_exact() -> None:
    whole = randomised(Two(lambda net, h: (net.c(h) > 0).long()))
    zero = randomised(Two(lambda net, h: net.c(h)))
    with torch.no_grad():
        zero.c.weight.zero_()
        zero.c.bias.zero_()
    for model in (whole, zero):
        channels, plan, small = settled(model)
        found = verified(model, small, plan, channels, X)
        assert found.holds and not found.tells and not found.exact
        assert "tell little of a cut" in str(found)
        assert "is the whole network" not in str(found)


@pytest.mark.parametrize(
    ("order", "silent"), [(2, True), (1, True), (-1, False), (-torch.inf, False)]
)
def test_a_zero_counts_in_norms_of_no_positive_order(order: float, silent: bool) -> None:
    def norm(net: Any, h: Tensor) -> Tensor:
        return net.o(torch.linalg.vector_norm(net.a2(h), ord=order, dim=1, keepdim=True))

    model = randomised(Two(norm, a2=nn.Linear(8, 5), o=nn.Linear(1, 3)))
    channels = sc.trace(model, X)
    assert [row.silent for row in channels.mixing] == [silent]


def test_caches_and_generators_are_as_before() -> None:
    cache = SimpleNamespace(
        position=None, seen=deque(maxlen=3), inner={"more": SimpleNamespace(n=0)}
    )

    def uses(net: Any, h: Tensor) -> Tensor:
        if net.cache.position is None:
            net.cache.position = torch.linspace(0, 1, 4, device=h.device, dtype=h.dtype)
        net.cache.seen.append(1)
        net.cache.inner["more"].n += 1
        noise = torch.rand(4, dtype=h.dtype) * random.random() * float(np.random.rand())  # noqa: NPY002
        return net.c(h) + net.cache.position + noise

    model = randomised(Two(uses, cache=cache))
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    channels, plan, small = settled(model)
    assert verified(model, small, plan, channels, X).exact
    assert cache.position is None and not cache.seen and cache.inner["more"].n == 0
    drawn = torch.rand(()), random.random(), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert drawn == (torch.rand(()), random.random(), np.random.rand())  # noqa: NPY002


@pytest.mark.parametrize(
    ("of", "example"),
    [(torch.log, torch.ones(2, 6)), (lambda x: torch.sqrt(x + 1e-6), torch.zeros(2, 6))],
)
def test_inputs_that_give_no_numbers_are_drawn_near_the_example(of: Any, example: Tensor) -> None:
    class Of(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.relu(self.a(of(x))))

    model = randomised(Of())
    channels, plan, small = settled(model, x=example.double())
    assert not plan.held_back
    assert verified(model, small, plan, channels, example.double()).exact


def test_sizes_of_kernels_are_no_channels() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            largest = self.a.weight.abs().max()
            return self.c(F.relu(self.a(x))) / largest

    channels = sc.trace(randomised(Looks()), torch.zeros(1, 3, 6, 6).double())
    assert {(m.parameter, m.dim) for g in channels.groups for m in g.members if m.dim > 1} == set()


def test_what_is_done_with_a_normed_weight_is_not_the_norm() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 8)
            self.n = nn.utils.parametrizations.weight_norm(nn.Linear(8, 4))

        def forward(self, x: Tensor) -> Tensor:
            weight = self.n.weight
            weight = weight / weight.pow(2).sum(1, keepdim=True)
            return F.linear(F.relu(self.a(x)), weight)

    model = randomised(Again())
    channels = sc.trace(model, X)
    assert [(row.operator, row.weights) for row in channels.mixing] == [("sum", True)]
    plan = plan_of(channels, {"a": (0, 1)})
    with pytest.warns(UserWarning, match="read by weights that the network computes"):
        small = sc.cut(channels, plan).network
    found = verified(model, small, plan, channels, X)
    assert found.holds and not found.exact


def test_many_faulty_groups_are_found_in_bounded_time() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.g = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(1, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = F.relu(self.a(x))
            mean = h.sum(1, keepdim=True) / WIDTHS.to(h.dtype)[h.shape[1]]
            return x + self.b(h) * torch.sigmoid(self.g(mean))

    model = randomised(nn.Sequential(*(Block() for _ in range(4)), nn.Linear(6, 2)))
    channels = sc.trace(model, X)
    began = time.monotonic()
    plan = plan_as_cut(channels, plan_of(channels, dict.fromkeys(channels.by_name, (0, 1))))
    assert time.monotonic() - began < 60
    assert set(plan.held_back) >= {f"{k}.a" for k in range(4)}


def test_sister_blocks_are_held_back_together_and_the_trunk_is_cut() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            return x + 0.1 * self.b(h[:, :4] * h[:, 4:].tanh())

    model = randomised(
        nn.Sequential(nn.Linear(6, 6), *(Halves() for _ in range(64)), nn.Linear(6, 2))
    )
    channels = sc.trace(model, X)
    plan = plan_as_cut(channels, plan_of(channels, dict.fromkeys(channels.by_name, (0,))))
    assert set(plan.remove) == {"0"} and len(plan.held_back) == 64


def test_a_copy_in_float64_shares_nothing() -> None:
    model = randomised(Two(lambda net, h: net.c(h)))
    made = in_float64(model)
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not own & {tensor.data_ptr() for tensor in made.state_dict().values()}
    with pytest.raises(VerificationError):
        channels = sc.trace(model, X)
        plan = plan_of(channels, {"a": (0,)})
        small = sc.cut(channels, plan).network
        wrong = copy.deepcopy(small)
        wrong.c.bias.data += 1e-6
        verified(model, wrong, plan, channels, X)


def test_what_the_example_does_not_reach_is_said() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(6, 8), nn.Linear(8, 4)
            self.extra, self.aux = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Any:
            h = F.relu(self.a(x))
            if x.shape[0] > 64:
                h = self.extra(h)
            return (self.c(h), self.aux(h)) if self.training else self.c(h)

    model = randomised(Branches())
    channels, plan, small = settled(model)
    found = verified(model, small, plan, channels, X)
    assert found.exact and found.unreached == ("extra", "aux")
    assert "held against nothing: extra, aux" in str(found)


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "confident": lambda y: torch.softmax(300 * y, -1),
    "sure of one": lambda y: torch.softmax(3000 * y, -1),
    "exponential": lambda y: torch.exp(60 * y),
    "bell": lambda y: torch.exp(-((30 * y) ** 2)),
    "distances": lambda y: (y * y).sum(-1)[:, None] + (y * y).sum(-1) - 2 * y @ y.T,
    "one less cosines": lambda y: 1 - F.normalize(y, dim=-1) @ F.normalize(y, dim=-1).T,
    "centred": lambda y: (y - y.mean(-1, keepdim=True)).sum(-1),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_no_difference(head: str, seed: int) -> None:
    torch.manual_seed(seed)
    model = Two(lambda net, h: HEADS[head](net.c(h)), n_out=10).double()
    channels, plan, small = settled(model, (0, 2, 5))
    assert not plan.held_back
    assert verified(model, small, plan, channels, X).exact
    wrong = copy.deepcopy(small)
    with torch.no_grad():
        wrong.c.weight *= 1.5
    if head not in (
        "centred",
        "sure of one",
    ):  # which are rounding, and ones and zeros, whatever is done
        with pytest.raises(VerificationError):
            verified(model, wrong, plan, channels, X)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "norm",
    [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm],
)
def test_repaired_magnitudes_are_rounded_as_parameters_are(norm: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), norm(nn.Linear(8, 4))).to(dtype)
    model.eval()
    x = X.to(dtype)
    channels = sc.trace(model, x)
    plan = sc.manual(channels, {"0": [0, 3, 5]})
    assert not plan_as_cut(channels, plan).held_back
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, x).exact
    scale = "2.parametrizations.weight." + ("original0" if "weight_norm" in str(norm) else "0._u")
    with torch.no_grad():
        dict([*small.named_parameters(), *small.named_buffers()])[scale].mul_(1.1)
    with pytest.raises(VerificationError):
        verified(model, small, plan, channels, x)
