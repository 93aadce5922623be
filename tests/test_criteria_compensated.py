"""What a channel is worth after the best compensation: against refits by numpy, and on paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from contracts import randomised
from secateur.errors import CriterionError
from toys import Net

N = 24


def inputs(*shape: int, n: int = N, seed: int = 1) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)).double()


def sequence(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


def residual() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.first(x).relu()
        return net.last(x + net.back(net.into(x).relu()))

    return Net(
        forward,
        first=nn.Conv2d(2, 5, 1),
        into=nn.Conv2d(5, 3, 3, padding=1),
        back=nn.Conv2d(3, 5, 1),
        last=nn.Conv2d(5, 2, 3),
    )


def concatenated() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(torch.cat([net.one(x), net.other(x)], 1).relu())

    layers = {"one": nn.Conv2d(2, 4, 1), "other": nn.Conv2d(2, 3, 3, padding=1)}
    return Net(forward, **layers, last=nn.Conv2d(7, 2, 3))


def called_twice() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.first(x).relu()) + net.last(net.first(x + 1).relu()).tanh()

    return Net(forward, first=nn.Conv2d(2, 5, 1), last=nn.Conv2d(5, 2, 3, bias=False))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (sequence(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 3)), (2, 5, 5)),
    "padded, strided": (
        sequence(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 3, stride=2, padding=1)),
        (2, 6, 6),
    ),
    "one-dimensional": (
        sequence(nn.Conv1d(2, 5, 1), nn.ReLU(), nn.Conv1d(5, 3, 3, dilation=2)),
        (2, 9),
    ),
    "three-dimensional": (
        sequence(nn.Conv3d(2, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 2)),
        (2, 3, 3, 3),
    ),
    "in groups": (
        sequence(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, groups=2)),
        (2, 5, 5),
    ),
    "transposed": (
        sequence(nn.Conv2d(2, 5, 1), nn.ReLU(), nn.ConvTranspose2d(5, 3, 3, stride=2)),
        (2, 3, 3),
    ),
    "transposed in groups": (
        sequence(nn.Conv2d(2, 8, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, groups=2)),
        (2, 4, 4),
    ),
    "linear": (sequence(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), (4,)),
    "of a sequence": (sequence(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), (7, 4)),
    "flattened": (
        sequence(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        (2, 2, 2),
    ),
    "depthwise": (
        sequence(nn.Conv2d(2, 5, 1), nn.Conv2d(5, 5, 3, groups=5), nn.ReLU(), nn.Conv2d(5, 3, 1)),
        (2, 5, 5),
    ),
    "residual": (residual, (2, 5, 5)),
    "concatenated": (concatenated, (2, 5, 5)),
    "called twice": (called_twice, (2, 5, 5)),
    "weight norm": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 5, 1), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Conv2d(5, 3, 3))
        ),
        (2, 5, 5),
    ),
}


def scored(model: nn.Module, x: Tensor, parts: int = 8) -> tuple[sc.ChannelMap, sc.Scores]:
    channels = sc.trace(model, x[:2])
    found = sc.score(channels, [sc.compensated], calibration=x.split(parts))
    return channels, found["compensated"]


class Refit:
    """One reader's outputs as a linear function of its weights, one column a weight."""

    def __init__(self, model: nn.Module, name: str, x: Tensor) -> None:
        reader, read = model.get_submodule(name), []
        handle = reader.register_forward_pre_hook(lambda _, args: read.append(args[0]))
        model(x)
        handle.remove()
        self.weight = reader.weight.detach().clone()  # type: ignore[union-attr,operator]
        plain = type(reader).__mro__[1] if "Parametrized" in type(reader).__name__ else type(reader)
        names = ("stride", "padding", "dilation", "groups")
        how = {key: getattr(reader, key) for key in names if hasattr(reader, key)}
        sizes = [self.weight.shape[1], self.weight.shape[0]]
        if isinstance(reader, nn.Linear):
            self.in_dim, self.copy = 1, nn.Linear(*sizes, bias=False).double()
        else:
            groups = how["groups"]
            self.in_dim = int("Transpose" not in plain.__name__)
            sizes = [reader.in_channels, reader.out_channels]  # type: ignore[list-item]
            how = {key: how[key] for key in how if key != "groups"}
            size = self.weight.shape[2:]
            self.copy = plain(*sizes, size, groups=groups, bias=False, **how).double()
        columns = [self._given(read, k) for k in range(self.weight.numel())]
        self.columns = np.stack(columns, 1)
        self.wanted = self.columns @ self.weight.flatten().numpy()

    def _given(self, read: list[Tensor], k: int) -> Any:
        one = torch.zeros_like(self.weight)
        one.view(-1)[k] = 1.0
        with torch.no_grad():
            self.copy.weight.copy_(one)
            out = torch.cat([self.copy(x) for x in read])
        rows = (
            out.flatten(0, -2)
            if out.ndim <= 3 and self.in_dim == 1 and isinstance(self.copy, nn.Linear)
            else out.transpose(0, 1).flatten(1).T
        )
        return (rows - rows.mean(0)).flatten().numpy()

    def lacks(self, positions: list[int]) -> float:
        """What is left of the outputs' energy by the best fit without some inputs."""
        gone = torch.zeros_like(self.weight, dtype=torch.bool)
        gone.index_fill_(self.in_dim, torch.tensor(positions, dtype=torch.long), True)
        stays = self.columns[:, ~gone.flatten().numpy()]
        fitted = stays @ np.linalg.lstsq(stays, self.wanted, rcond=None)[0]
        return float(((self.wanted - fitted) ** 2).sum() / (self.wanted**2).sum())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_score_is_what_a_refit_by_least_squares_lacks(name: str) -> None:
    build, shape = NETWORKS[name]
    model, x = randomised(build(), seed=2), inputs(*shape)
    channels, scores = scored(model, x)
    assert not scores.left_out
    refits: dict[str, Refit] = {}
    for group in channels.groups:
        readers = [m for m in group.members if m.role == "in"]
        for member in readers:
            owner = member.parameter.partition(".parametrizations")[0].removesuffix(".weight")
            if member.parameter not in refits:
                refits[member.parameter] = Refit(model, owner, x)

        def lacking(gone: list[int], readers: Any = readers) -> float:
            return sum(refits[m.parameter].lacks(m.index[gone].ravel().tolist()) for m in readers)

        values = scores.groups[group.name]
        order = np.argsort(values, kind="stable").tolist()
        gone: list[int] = []
        for channel in order:
            left = [j for j in range(group.n_channels) if j not in gone]
            least = min(lacking([*gone, j]) for j in left)
            gone.append(channel)
            assert values[channel] == pytest.approx(lacking(gone), rel=1e-4, abs=1e-7)
            assert values[channel] == pytest.approx(least, rel=1e-4, abs=1e-7)


def test_what_depends_on_others_is_worth_nothing() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 3, 3)))
    channels, scores = scored(model, inputs(2, 6, 6))
    values = np.sort(scores.groups["0"])
    # of eight combinations of two inputs and a constant two say all
    assert (
        (values[:6] < 1e-8).all() and values[6] > 1e-4 and values[7] == pytest.approx(1, rel=1e-4)
    )
    plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.75))
    repaired = sc.reconstruct(sc.cut(channels, plan), [inputs(2, 6, 6, n=60)])
    assert repaired.reconstruction is not None and repaired.reconstruction.error_after < 1e-8


def test_a_constant_is_worth_nothing_and_so_is_a_dead_channel() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 3, 3)))
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[0].bias[1] = 2.0
        model[0].weight[4] = 0.0
        model[0].bias[4] = -1.0
    _, scores = scored(model, inputs(2, 6, 6))
    assert set(np.argsort(scores.groups["0"])[:2].tolist()) == {1, 4}
    assert (scores.groups["0"][[1, 4]] < 1e-8).all()


def test_on_paper() -> None:
    """What is read is a and a + b, of which a and b vary by one each, and the weights are 1.

    What is given, 2a + b, has the energy 5. The best that a + b alone can give is 3/2 of it, which
    lacks 4 + 1 - 9/2 = 1/2; a alone lacks the whole of b, 1. So the first goes, for 1/10.
    """
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        model[1].weight.fill_(1.0)
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    _, scores = scored(model, x, parts=2)
    np.testing.assert_allclose(scores.groups["0"], [0.1, 1.0], rtol=1e-8)
    np.testing.assert_array_equal(scores.filters["0"], scores.groups["0"])


def test_places_are_the_same_however_inputs_are_put_into_batches() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
    x = inputs(1, 24, 24, n=6)  # 400 places an input, of which 128 are looked at
    one, other = (scored(model, x, parts)[1].groups["0"] for parts in (2, 6))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_no_weight_reads_is_left_out() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.one(x).sigmoid() @ net.two(x).tanh().mT)

    model = Net(forward, one=nn.Linear(3, 4), two=nn.Linear(3, 4), last=nn.Linear(5, 2))
    with pytest.raises(CriterionError, match=r"no convolution or linear layer .* reads these"):
        scored(randomised(model), inputs(5, 3))


def test_recurrent_layers_read() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        given: Tensor = net.rnn(net.first(x).relu())[0]
        return given

    model = Net(forward, first=nn.Linear(3, 6), rnn=nn.GRU(6, 4, batch_first=True))
    _, scores = scored(randomised(model), inputs(7, 3))
    assert "first" in scores.groups


def test_the_road_takes_it_without_targets() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)))
    pruned = sc.prune(
        model,
        inputs(2, 8, 8, n=2),
        macs="60%",
        criterion="compensated",
        calibration=inputs(2, 8, 8).split(8),
    )
    assert pruned.reconstruction is not None and pruned.plan.how.startswith("compensated")
