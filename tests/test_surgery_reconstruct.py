"""What removed channels gave is given by those that stay: exact where they can, never worse."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import secateur as sc
from contracts import check_twins, plan_of, random_plan, randomised, same_state, state_of
from random_networks import RandomNetwork
from secateur.errors import SurgeryError
from secateur.surgery.examples import drawn
from secateur.surgery.norm_statistics import Distance
from secateur.surgery.prune import prune_to_budget
from toys import TOYS, Net

pytestmark = pytest.mark.filterwarnings("ignore:the calibration inputs are not like")
"""Statistics of networks made at random are those of no data."""

GONE = (3, 5)
"""Channels of the first layer that are combinations of others, or constant."""


def pruned_of(
    model: nn.Module, example: Any, remove: dict[str, tuple[int, ...]] | None = None, seed: int = 1
) -> sc.Pruned:
    """A network cut by hand, or by a random plan."""

    def select(channels: sc.ChannelMap, _: sc.Budget) -> sc.PruningPlan:
        return random_plan(channels, seed) if remove is None else plan_of(channels, remove)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prune_to_budget(sc.trace(model, example), sc.Budget(pruning_ratio=0.0), select)


def drawn_inputs(*shape: int, n: int = 40, seed: int = 3) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)).double()


def planted(first: Any, constant: bool = False) -> None:
    """Make the filters GONE combinations of the others, so that their maps are too."""
    with torch.no_grad():
        for k, gone in enumerate(GONE):
            for tensor in (first.weight, first.bias):
                mixed = 0.5 * tensor[0] - (k + 1) * tensor[1] + 2 * tensor[4]
                tensor[gone] = 0 * mixed if constant else mixed
            if constant:
                first.bias[gone] = k + 1.5


def behind(first: nn.Module, *layers: nn.Module) -> nn.Module:
    return nn.Sequential(first, *layers)


def residual() -> nn.Module:
    """The sum of two branches is read by `last`; the branches themselves are as they were."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.first(x)
        return net.last(x + net.same(x.tanh() * 0))

    return Net(
        forward,
        first=nn.Conv2d(2, 8, 1),
        same=nn.Conv2d(8, 8, 1, groups=8, bias=False),
        last=nn.Conv2d(8, 3, 3, padding=1),
    )


def called_twice() -> nn.Module:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.first(x)) + 2 * net.last(net.first(x + 1)).tanh()

    return Net(forward, first=nn.Conv2d(2, 8, 1), last=nn.Conv2d(8, 3, 3, bias=False))


def stem(dims: int = 2) -> Any:
    return {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims](2, 8, 1)


EXACT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: behind(stem(), nn.Conv2d(8, 3, 3)), (2, 7, 7)),
    "padded": (lambda: behind(stem(), nn.Conv2d(8, 3, 3, padding=1)), (2, 7, 7)),
    "same padding": (lambda: behind(stem(), nn.Conv2d(8, 3, 4, padding="same")), (2, 7, 7)),
    "reflected": (
        lambda: behind(stem(), nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")),
        (2, 7, 7),
    ),
    "strided, dilated": (
        lambda: behind(stem(), nn.Conv2d(8, 3, 3, stride=(2, 1), dilation=(1, 2), padding=2)),
        (2, 9, 8),
    ),
    "one-dimensional": (lambda: behind(stem(1), nn.Conv1d(8, 3, 5, stride=2)), (2, 20)),
    "three-dimensional": (lambda: behind(stem(3), nn.Conv3d(8, 3, 2, padding=1)), (2, 4, 5, 4)),
    "transposed": (
        lambda: behind(
            stem(), nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1, output_padding=1, dilation=2)
        ),
        (2, 6, 5),
    ),
    "no bias": (lambda: behind(stem(), nn.Conv2d(8, 3, 3, bias=False), nn.ReLU()), (2, 7, 7)),
    "batch norm": (
        lambda: behind(stem(), nn.Conv2d(8, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU()),
        (2, 7, 7),
    ),
    "flattened": (lambda: behind(stem(), nn.Flatten(), nn.Linear(8 * 9, 3)), (2, 3, 3)),
    "depthwise": (
        lambda: behind(stem(), nn.Conv2d(8, 8, 1, groups=8, bias=False), nn.Conv2d(8, 3, 1)),
        (2, 5, 5),
    ),
    "residual": (residual, (2, 7, 7)),
    "called twice": (called_twice, (2, 7, 7)),
    "weight norm": (
        lambda: behind(stem(), parametrizations.weight_norm(nn.Conv2d(8, 3, 3))),
        (2, 7, 7),
    ),
}


def difference(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        a, b = one(x), other(x)
    return float((a - b).norm() / a.norm())


@pytest.mark.parametrize("name", EXACT)
def test_what_depends_on_what_stays_is_given_by_it(name: str) -> None:
    build, shape = EXACT[name]
    model = randomised(build())
    first = model.get_submodule("first" if hasattr(model, "first") else "0")
    planted(first)
    if name == "depthwise":
        with torch.no_grad():
            model.get_submodule("1").weight.fill_(1.5)
    group = "first" if hasattr(model, "first") else "0"
    before = state_of(model)
    pruned = pruned_of(model, drawn_inputs(*shape, n=2), {group: GONE})
    cut_before = state_of(pruned.network)
    # a linear layer after flattening has as many unknowns as it reads, and wants as many inputs
    repaired = sc.reconstruct(pruned, [drawn_inputs(*shape, n=200 if name == "flattened" else 40)])
    unseen = drawn_inputs(*shape, n=8, seed=9)
    assert difference(model, pruned.network, unseen) > 1e-2
    assert difference(model, repaired.network, unseen) < 1e-8
    assert repaired.reconstruction is not None and repaired.reconstruction.kept == "reconstruct"
    assert same_state(model, before) and same_state(pruned.network, cut_before)


@pytest.mark.parametrize("transposed", [False, True])
def test_groups_are_solved_each_on_its_own(transposed: bool) -> None:
    kind: Any = nn.ConvTranspose2d if transposed else nn.Conv2d
    model = randomised(nn.Sequential(nn.Conv2d(2, 8, 1), kind(8, 4, 3, groups=2)))
    with torch.no_grad():
        for first in (0, 4):  # the last two of each half are combinations of the first two
            for tensor in (model[0].weight, model[0].bias):
                tensor[first + 2] = 2 * tensor[first] - tensor[first + 1]
                tensor[first + 3] = tensor[first] + 0.5 * tensor[first + 1]
    example = drawn_inputs(2, 6, 6, n=2)
    gone = (2, 3, 6, 7)
    channels = sc.trace(model, example)
    names = {g.name: g.n_channels for g in channels.groups}
    remove = {"0": (2, 3)} if names["0"] == 4 else {"0": gone}
    pruned = pruned_of(model, example, remove)
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 6, 6)])
    assert pruned.network.get_submodule("1").groups == 2
    unseen = drawn_inputs(2, 6, 6, n=8, seed=9)
    assert difference(model, pruned.network, unseen) > 1e-2
    assert difference(model, repaired.network, unseen) < 1e-8


@pytest.mark.parametrize("method", ["bias", "reconstruct"])
@pytest.mark.parametrize(
    "reader",
    [
        lambda: (nn.Conv2d(8, 3, 3),),
        lambda: (nn.Conv2d(8, 3, 3, bias=False),),
        lambda: (nn.Conv2d(8, 3, 3, bias=False), nn.BatchNorm2d(3)),
        lambda: (nn.ConvTranspose2d(8, 3, 1),),
        lambda: (nn.Flatten(), nn.Linear(8 * 25, 3)),
        lambda: (nn.Conv2d(8, 8, 3, groups=8), nn.MaxPool2d(2), nn.Conv2d(8, 2, 1)),
    ],
)
def test_constants_go_into_biases_exactly(method: Any, reader: Any) -> None:
    model = randomised(nn.Sequential(nn.Conv2d(2, 8, 1), *reader()))
    planted(model[0], constant=True)
    pruned = pruned_of(model, drawn_inputs(2, 5, 5, n=2), {"0": GONE})
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 5, 5)], method=method)
    unseen = drawn_inputs(2, 5, 5, n=8, seed=9)
    assert difference(model, pruned.network, unseen) > 1e-3
    assert difference(model, repaired.network, unseen) < 1e-10
    assert repaired.reconstruction is not None
    assert all(math.isinf(layer.ridge) for layer in repaired.reconstruction.layers)


def test_a_shift_on_paper() -> None:
    # The channels that go are 1.5 and 2.5; the reader's weights for them are 3 and 4, its bias 1.
    model = randomised(nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 1, 1)))
    planted(model[0], constant=True)
    with torch.no_grad():
        model[1].weight[0, list(GONE), 0, 0] = torch.tensor([3.0, 4.0]).double()
        model[1].bias.fill_(1.0)
    pruned = pruned_of(model, drawn_inputs(2, 5, 5, n=2), {"0": GONE})
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 5, 5)], method="bias")
    bias = repaired.network.get_submodule("1").bias
    assert isinstance(bias, Tensor) and bias.item() == pytest.approx(1 + 3 * 1.5 + 4 * 2.5)


def test_ridge_regression_on_paper() -> None:
    """x is 1, -1 and what lacks 2, -2: with a ridge of 1 half of it, with none all."""
    from secateur.surgery.least_squares import Gram, Rows, fit

    x = torch.tensor([[[1.0], [-1.0]]]).double()
    for kind in (Gram, Rows):
        origin = torch.zeros(1, 1, 1).double(), torch.zeros(1, 1, 1).double()
        fitted, held = kind(origin), kind(origin)
        fitted.add(x, 2 * x)
        held.add(3 * x, 6 * x)
        half = fit(fitted, held, origin, (1.0,))
        assert half.change.item() == pytest.approx(1.0)
        assert (half.before, half.after) == pytest.approx((72.0, 18.0))
        best = fit(fitted, held, origin, (math.inf, 0.1, 1e-9))
        assert best.ridge == 1e-9 and best.change.item() == pytest.approx(2.0)
        held.add(x[:, :1] * 0, -100 + 0 * x[:, :1])
        assert (best.rank, best.constant) == (1, 0)


def test_both_forms_of_the_solution_agree() -> None:
    from secateur.surgery.least_squares import Gram, Rows, fit

    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(2, 30, n, generator=generator).double() + 1 for n in (20, 3)]
    origin = tuple(rows.mean(1, keepdim=True) for rows in draw)
    found = []
    for kind in (Gram, Rows):
        fitted, held = kind(origin), kind(origin)  # type: ignore[arg-type]
        for k in range(0, 20, 5):
            fitted.add(*(rows[:, k : k + 5] for rows in draw))
        held.add(*(rows[:, 20:] for rows in draw))
        found.append(fit(fitted, held, origin, (0.1,)))  # type: ignore[arg-type]
    torch.testing.assert_close(found[0].change, found[1].change)
    torch.testing.assert_close(found[0].shift, found[1].shift)
    assert found[0].after == pytest.approx(found[1].after)
    # the same by the formula, in one
    x, r = (rows[:, :20] - rows[:, :20].mean(1, keepdim=True) for rows in draw)
    gram = x.mT @ x
    scale = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    change = torch.linalg.solve(gram + 0.1 * scale * torch.eye(20).double(), x.mT @ r)
    torch.testing.assert_close(found[0].change, change.mT)


def test_nothing_to_repair_changes_nothing() -> None:
    model = randomised(EXACT["batch norm"][0]())
    with torch.no_grad():
        model.get_submodule("1").weight[:, list(GONE)] = 0.0
    example = drawn_inputs(2, 7, 7, n=2)
    for remove in ({}, {"0": GONE}):
        pruned = pruned_of(model, example, remove)
        repaired = sc.reconstruct(pruned, [drawn_inputs(2, 7, 7)])
        assert same_state(repaired.network, state_of(pruned.network))
        assert repaired.reconstruction is not None
        assert repaired.reconstruction.kept == "cut" and not repaired.reconstruction.layers
    assert repaired.reconstruction.left == {
        "0": "it gives what it gave",
        "1": "it gives what it gave",
    }


def held_out_error(pruned: sc.Pruned, batches: list[Any], seed: int = 0) -> tuple[float, float]:
    """Of the cut and of the repaired network, worked out again on the inputs that were held out."""
    repaired = sc.reconstruct(pruned, batches, seed=seed)
    calls, _ = drawn(batches, torch.device("cpu"), seed, 512)
    off = {"cut": 0.0, "repaired": 0.0}
    networks = {"cut": pruned.network, "repaired": repaired.network}
    for call in calls:
        if call.held:
            wanted = call.run(pruned.model)
            for name, network in networks.items():
                off[name] += float((call.run(network) - wanted).square().sum())
    return off["cut"], off["repaired"]


@pytest.mark.parametrize("seed", range(12))
def test_it_is_never_worse_on_held_out_inputs_on_random_networks(seed: int) -> None:
    model = randomised(RandomNetwork(seed), seed)
    example = model.example().double()
    pruned = sc.prune(model, example, ratio=0.4, criterion="random", seed=seed)
    batches = [torch.randn(8, *example.shape[1:]).double() for _ in range(15)]
    before, after = held_out_error(pruned, batches)
    assert after <= before


@pytest.mark.parametrize("name", list(TOYS)[::2])
def test_every_toy_is_repaired_or_left(name: str) -> None:
    build, example = TOYS[name]
    model = randomised(build())
    before = state_of(model)
    pruned = pruned_of(model, example, seed=4)
    generator = torch.Generator().manual_seed(0)

    def like(tensor: Any) -> Any:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            return tensor
        return torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)

    from torch.utils._pytree import tree_map

    batches = [(tree_map(like, example),) for _ in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        repaired = sc.reconstruct(pruned, batches)
    found = repaired.reconstruction
    assert found is not None and found.error_after <= found.error_before
    assert " ".join(str(found).split()) in " ".join(str(repaired).split())
    assert same_state(model, before)


def images(n: int = 60) -> list[Tensor]:
    return list(drawn_inputs(3, 8, 8, n=n).split(20))


class Plain(nn.Module):
    """No layer has a bias, and none is followed by a batch norm: a repair makes the biases."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.b = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.c = nn.Conv2d(12, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.c(F.relu(self.b(F.relu(self.a(x)))))
        return y


def plain() -> nn.Module:
    torch.manual_seed(0)
    return Plain().double().eval()


def test_it_repairs_by_default_where_inputs_are_given() -> None:
    model, example = plain(), images()[0][:2]
    bare = sc.prune(model, example, macs="50%")
    assert bare.reconstruction is None and "then layers" not in str(bare)
    repaired = sc.prune(model, example, macs="50%", calibration=images())
    found = repaired.reconstruction
    assert found is not None and found.kept == "reconstruct"
    said = " ".join(str(repaired).split())
    assert "then layers were refitted on 48 inputs without labels: on 12 others" in said
    assert found.error_after < 0.9 * found.error_before
    by_hand = sc.reconstruct(bare, images())
    assert same_state(by_hand.network, state_of(repaired.network))
    for given in (
        {"repair": "none"},
        {
            "calibration": sc.calibrate(bare.channels.of(model), [sc.apoz], images()),
            "criterion": "apoz",
        },
    ):
        words: Any = {"calibration": images()} | given
        assert sc.prune(model, example, macs="50%", **words).reconstruction is None


def test_targets_are_not_looked_at_and_keywords_are_inputs() -> None:
    model, example = plain(), images()[0][:2]
    pruned = sc.prune(model, example, macs="50%")
    alone = sc.reconstruct(pruned, images()).network
    forms: list[list[Any]] = [
        [(x, torch.full((len(x),), math.nan)) for x in images()],
        [{"x": x} for x in images()],
        [((x,), None) for x in images()],
    ]
    for batches in forms:
        assert same_state(sc.reconstruct(pruned, batches).network, state_of(alone))
    loader = torch.utils.data.DataLoader(torch.cat(images()), batch_size=20)  # type: ignore[arg-type]
    assert same_state(sc.reconstruct(pruned, loader).network, state_of(alone))
    generator = sc.prune(model, example, macs="50%", calibration=iter(images()))
    assert same_state(generator.network, state_of(alone))


def test_the_same_seed_gives_the_same_network_whatever_was_drawn_before() -> None:
    pruned = sc.prune(plain(), images()[0][:2], macs="50%")
    one = sc.reconstruct(pruned, images())
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert same_state(sc.reconstruct(pruned, images()).network, state_of(one.network))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not same_state(sc.reconstruct(pruned, images(), seed=1).network, state_of(one.network))


def test_every_step_is_repaired_saved_and_loaded_elsewhere(tmp_path: Path) -> None:
    model, example = plain(), images()[0][:2]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    steps = list(
        sc.prune_steps(
            model, example, macs="40%", steps=2, calibration=images(), optimizer=optimizer
        )
    )
    last = steps[-1]
    assert all(s.reconstruction is not None and s.reconstruction.layers for s in steps)
    assert isinstance(last.network.get_submodule("c").bias, nn.Parameter)
    stepped = {id(p) for group in last.optimizer.param_groups for p in group["params"]}  # type: ignore[union-attr]
    assert stepped == {id(p) for p in last.network.parameters()}
    path = last.save(tmp_path / "small.safetensors")
    torch.save(images()[0], tmp_path / "x.pt")
    code = f"""
import torch, secateur as sc
from test_surgery_reconstruct import plain
x = torch.load({str(tmp_path / "x.pt")!r}, weights_only=True)
small = sc.load({str(path)!r}, plain, x[:2])
torch.save(small(x), {str(tmp_path / "y.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    with torch.no_grad():
        wanted = last.network(images()[0])
    assert torch.equal(torch.load(tmp_path / "y.pt", weights_only=True), wanted)
    whole = last.restore()
    assert whole.get_submodule("b").bias.shape == (12,)
    assert whole(example).shape == model(example).shape


@pytest.mark.parametrize(
    ("batches", "why"),
    [
        ([torch.zeros(30, 3, 8, 8).double()], "holds 1 distinct inputs"),
        ([], "holds 0 distinct inputs"),
        (torch.zeros(30, 3, 8, 8), "calibration is a Tensor; give batches"),
        ([torch.randn(4, 3, 8, 8).double(), torch.full((4, 3, 8, 8), math.nan)], "batch 2 .* NaN"),
        ([torch.randn(4, 5, 8, 8).double()], r"failed on batch 1 .* \(\d, 5, 8, 8\)"),
        ([torch.randn(0, 3, 8, 8)], "batch 1 of the calibration is empty"),
        ([(1, 2, 3)], "batch 1 of the calibration is a tuple of 3"),
        (["x"], "are a str without"),
    ],
)
def test_what_is_of_no_use_is_refused_in_words(batches: Any, why: str) -> None:
    pruned = sc.prune(plain(), images()[0][:2], macs="50%")
    with pytest.raises(SurgeryError, match=why):
        sc.reconstruct(pruned, batches)


def test_unknown_repairs_and_repairs_without_inputs_are_refused() -> None:
    model, example = plain(), images()[0][:2]
    with pytest.raises(SurgeryError, match=r"no repair 'recontruct'; .* mean 'reconstruct'"):
        sc.prune(model, example, macs="50%", repair="recontruct", calibration=images())
    with pytest.raises(SurgeryError, match="repair 'bias' needs inputs; pass calibration=batches"):
        sc.prune(model, example, macs="50%", repair="bias")
    pruned = sc.prune(model, example, macs="50%")
    with pytest.raises(SurgeryError, match="no repair 'none'"):
        sc.reconstruct(pruned, images(), method="none")  # type: ignore[arg-type]
    pruned.network.get_submodule("c").weight = nn.Parameter(torch.zeros(4, 1, 3, 3).double())
    with pytest.raises(SurgeryError, match=r"'c.weight' is .* changed in its shapes since the cut"):
        sc.reconstruct(pruned, images())


@pytest.mark.parametrize("n", [2, 3, 7, 19])
def test_few_inputs_are_pulled_hard_towards_what_there_is(n: int) -> None:
    pruned = sc.prune(plain(), images()[0][:2], macs="50%")
    found = sc.reconstruct(pruned, [torch.cat(images())[:n].repeat(3, 1, 1, 1)]).reconstruction
    assert found is not None and (found.n_inputs, found.n_held_out) == (n, max(1, n // 5))
    finite = {layer.ridge for layer in found.layers} - {math.inf}
    assert finite <= {max(0.1, 2.5 / n)}
    assert found.error_after <= found.error_before


def test_wrong_data_are_told_without_labels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    model.double().train()
    for _ in range(80):
        model(torch.randn(32, 3, 8, 8).double())
    pruned = sc.prune(model.eval(), images()[0][:2], macs="60%")
    found = sc.reconstruct(pruned, images()).reconstruction
    assert found is not None and found.distance is not None and found.distance < 0.1
    with pytest.warns(UserWarning, match="not like those the network was trained on"):
        sc.reconstruct(pruned, [3 * x + 2 for x in images()])


def test_the_distance_on_paper() -> None:
    norm = nn.BatchNorm1d(2, eps=0.0).double().eval()
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 1.0]))
    distance = Distance()
    with distance.watching(norm):
        norm(torch.tensor([[2.0, 2.0], [4.0, 6.0]]).double())
    assert distance.value() == pytest.approx((2 / 2 + 2 / 1) / 2)


def test_a_layer_that_computes_otherwise_is_left_and_said() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, weight, self.bias)

    model = randomised(nn.Sequential(nn.Conv2d(3, 8, 3), Standardised(8, 4, 1), nn.Conv2d(4, 2, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = sc.prune(model, images()[0][:2], ratio=0.3, ignore=("1",))
    repaired = sc.reconstruct(pruned, images())
    assert repaired.reconstruction is not None
    assert "otherwise than by its weight" in repaired.reconstruction.left["1"]
    assert [layer.name for layer in repaired.reconstruction.layers] == ["2"]


def test_tied_weights_are_left_and_said() -> None:
    layers = nn.Linear(3, 6), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 2)
    tied = nn.Sequential(*layers).double()
    tied[3].weight = tied[1].weight
    pruned = sc.prune(tied, drawn_inputs(3, n=2), ratio=0.34)
    found = sc.reconstruct(pruned, [drawn_inputs(3)]).reconstruction
    assert found is not None
    assert all(
        f"shares its weight or bias with '{4 - int(name)}'" in found.left[name] for name in "13"
    )
    assert "4" not in found.left


def test_memory_does_not_grow_with_the_inputs() -> None:
    """Of 8 times as many inputs the activations would be 590 MB more; 256 MiB are kept at most."""
    code = """
import resource, sys, torch, secateur as sc
from torch import nn
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
                      nn.ReLU(), nn.Conv2d(64, 8, 3, padding=1))
pruned = sc.prune(model, torch.randn(1, 1, 40, 40), macs="50%")
sc.reconstruct(pruned, [torch.randn(64, 1, 40, 40) for _ in range(int(sys.argv[1]))], most=1024)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", code, n], text=True)) for n in ("1", "8")
    ]
    assert peaks[1] < peaks[0] + 380


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 8, 1)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(self.first(x).transpose(1, 2))[0]


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.mid = nn.Conv1d(2, 8, 1), nn.Parameter(torch.empty(8, 8, 3))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv1d(self.first(x), self.mid).transpose(1, 2)
        return self.attention(y, y, value=y)[0]


def test_what_attention_reads_is_refitted() -> None:
    """The weight before it is no module's; until then all is linear, and attention makes it up."""
    model = randomised(Attentive())
    pruned = pruned_of(model, drawn_inputs(2, 9, n=2), {"first": GONE})
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 9)])
    found = repaired.reconstruction
    assert found is not None and "mid" in found.left
    assert [layer.name for layer in found.layers] == ["attention.in_proj_weight"]
    unseen = drawn_inputs(2, 9, n=8, seed=9)
    assert difference(model, repaired.network, unseen) < 1e-8


def test_what_recurrent_layers_read_is_refitted() -> None:
    model = randomised(Recurrent())
    planted(model.first)
    pruned = pruned_of(model, drawn_inputs(2, 7, n=2), {"first": GONE})
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 7)])
    unseen = drawn_inputs(2, 7, n=8, seed=9)
    assert difference(model, pruned.network, unseen) > 1e-3
    assert difference(model, repaired.network, unseen) < 1e-8


def test_giving_outputs_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where a module writes into what it reads, draws, or runs twice in a call."""

    class Awkward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu = nn.Conv2d(2, 8, 1), nn.ReLU(inplace=True)
            self.twice = nn.Conv2d(8, 8, 1, groups=8)
            inner = nn.Sequential(nn.Conv2d(6, 6, 1), nn.Dropout(0.5), nn.Tanh())
            self.blocks = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(True), inner)
            self.last = nn.Conv2d(6, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            self.relu(y)
            y = y + torch.rand(1, dtype=y.dtype) + self.twice(y) + self.twice(y * 2)
            return self.last(self.blocks(y)).tanh()

    model = randomised(Awkward())
    pruned = pruned_of(model, drawn_inputs(2, 7, 7, n=2), {"first": GONE})
    repaired = sc.reconstruct(pruned, [drawn_inputs(2, 7, 7)])
    found = repaired.reconstruction
    assert found is not None and found.error_after < found.error_before
    assert len(found.layers) == 3
    monkeypatch.setattr("secateur.surgery.replay._MOST", -1)
    anew = sc.reconstruct(pruned, [drawn_inputs(2, 7, 7)])
    assert same_state(anew.network, state_of(repaired.network))


@pytest.mark.parametrize("asked", ["params", "bytes", "macs"])
def test_a_budget_of_parameters_is_not_spent_on_biases(asked: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, bias=False), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 5)),
    )
    x = torch.randn(60, 3, 8, 8)
    pruned = sc.prune(model, x[:1], calibration=[x], **{asked: "50%"})
    n_params = sum(p.numel() for p in pruned.network.parameters())
    assert (n_params == pruned.plan.after.params) == (asked != "macs")
    assert pruned.reconstruction is not None
    assert ("2" in pruned.reconstruction.left) == (asked != "macs")
    assert bool(pruned.plan.made_biases) == (asked == "macs")


def without_biases() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3, bias=False), nn.ReLU(), nn.Conv2d(12, 12, 3, bias=False), nn.ReLU()),
        *(nn.Conv2d(12, 12, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5, bias=False)),
    )


def test_repaired_steps_are_resumed_from_a_file_and_from_plans(tmp_path: Path) -> None:
    x = torch.randn(40, 3, 8, 8)
    words: dict[str, Any] = {"steps": 3, "macs": "40%", "calibration": x.split(20)}
    steps = list(sc.prune_steps(without_biases(), x[:2], **words))
    assert all(step.plan.made_biases for step in steps[:1])
    path = steps[1].save(tmp_path / "second.safetensors")
    for resume in (path, [step.plan for step in steps[1].steps]):
        again = next(sc.prune_steps(without_biases(), x[:2], **words, resume=resume))
        assert [name for name, _ in again.network.named_parameters()] == [
            name for name, _ in steps[1].network.named_parameters()
        ]
        if resume is path:
            check_twins(again.network, steps[1].network, x)
    last = steps[2].save(tmp_path / "third.safetensors")
    built = without_biases()
    read = sc.load(last, lambda: built, x[:2])
    check_twins(read, steps[2].network, x)
    assert built[0].bias is None and built(x).shape == (40, 5)  # the factory's own is left alone


def test_made_biases_are_stepped_and_named() -> None:
    x = torch.randn(40, 3, 8, 8)
    model = without_biases()
    parametrizations.weight_norm(model[2])
    optimizer = torch.optim.Adam(model.named_parameters())
    pruned = sc.prune(model, x[:2], macs="50%", calibration=[x], optimizer=optimizer)
    assert "2.bias" in pruned.plan.made_biases and pruned.optimizer is not None
    (group,) = pruned.optimizer.param_groups
    own = {name: id(p) for name, p in pruned.network.named_parameters()}
    assert {
        name: id(p) for name, p in zip(group["param_names"], group["params"], strict=True)
    } == own


def test_a_bias_of_another_shape_in_a_file_is_refused(tmp_path: Path) -> None:
    x = torch.randn(40, 3, 8, 8)
    pruned = sc.prune(without_biases(), x[:2], macs="50%", calibration=[x])
    name = pruned.plan.made_biases[0]
    for shape in ((1,), (2, 2), (40,)):
        pruned.network.get_submodule(name.removesuffix(".bias")).bias = nn.Parameter(
            torch.ones(shape)
        )
        path = pruned.save(tmp_path / "odd.safetensors")
        with pytest.raises(sc.SecateurError, match=f"{name!r} is"):
            sc.load(path, without_biases)


def test_a_shared_bias_is_left() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
    model[2].bias = model[1].bias
    found = sc.prune(
        model, torch.zeros(1, 3, 4, 4), ratio=0.5, calibration=[torch.randn(30, 3, 4, 4)]
    )
    assert found.reconstruction is not None
    assert "shares its weight or bias" in found.reconstruction.left["2"]


@pytest.mark.parametrize("wrong", [{"seed": 1.5}, {"seed": -1}, {"most": 1}, {"most": None}])
def test_odd_numbers_are_refused(wrong: dict[str, Any]) -> None:
    x = torch.randn(8, 3, 8, 8)
    pruned = sc.prune(without_biases(), x[:2], macs="50%")
    with pytest.raises(sc.SecateurError, match="is a whole number from"):
        sc.reconstruct(pruned, [x], **wrong)


def test_what_few_inputs_judged_is_said_to_be() -> None:
    x = torch.randn(20, 3, 8, 8)
    said = str(sc.prune(without_biases(), x[:2], macs="50%", calibration=[x]).reconstruction)
    assert "4 inputs are few to judge by" in said or "left as it was cut" in said
