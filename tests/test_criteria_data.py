"""Criteria that need data: against loops, numpy, and what stands on paper."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contracts import randomised, same_state, state_of
from secateur.channels.trace import trace
from secateur.criteria.activation import (
    apoz,
    chip,
    entropy,
    first_images,
    hrank,
    independence_update,
    mean_activation,
    pooled_update,
    rank_update,
)
from secateur.criteria.base import Criterion
from secateur.criteria.calibrate import calibrate, merge
from secateur.criteria.gradient import fisher, snip, taylor_fo, taylor_gate, taylor_l1, taylor_l2
from secateur.criteria.score import score
from secateur.criteria.table import CRITERIA
from secateur.errors import CriterionError
from secateur.testing import check_criterion
from toys import image, plain, residual, several

LAYERS = {"stem": "bn", "conv1": "bn1", "conv2": "bn2"}
STREAMED = [criterion for criterion in CRITERIA.values() if criterion.update is not None]
ACTIVATIONS = [c for c in STREAMED if c.needs == "activations"]


def batches(n: int = 3, size: int = 4, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 1, 6, 6, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (size,), generator=generator),
        )
        for _ in range(n)
    ]


@pytest.fixture
def network() -> nn.Module:
    return randomised(residual(), seed=3)


def scored(network: nn.Module, criterion: Criterion, data: Any = None, **options: Any) -> Any:
    channels = trace(network, image())
    given = {"calibration": batches() if data is None else data, "loss_fn": F.cross_entropy}
    return score(channels, [criterion], **given | options)[criterion.name]


@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
def test_it_keeps_the_contracts(criterion: Criterion) -> None:
    for seed in range(3):
        check_criterion(criterion, seed)


def test_what_says_it_goes_by_row_and_does_not_is_caught() -> None:
    with pytest.raises(AssertionError, match="leave by_row out"):
        check_criterion(replace(CRITERIA["gm"], needs="filters", formula=from_mean, by_row=True))


def from_mean(filters: Tensor) -> Tensor:
    return (filters - filters.mean(0)).norm(dim=1)


# --- gradients ------------------------------------------------------------------------------


def gradients_by_batch(network: nn.Module) -> list[dict[str, Tensor]]:
    found = []
    for x, y in batches():
        network.zero_grad()
        F.cross_entropy(network(x), y).backward()
        found.append({name: p.grad.clone() for name, p in network.named_parameters()})
    network.zero_grad()
    return found


NAIVE: dict[str, Callable[[list[list[float]]], float]] = {
    "taylor_l1": lambda by_batch: np.mean([sum(abs(p) for p in row) for row in by_batch]),
    "taylor_l2": lambda by_batch: np.mean([math.hypot(*row) for row in by_batch]),
    "taylor_fo": lambda by_batch: np.mean([sum(row) ** 2 for row in by_batch]),
    "fisher": lambda by_batch: np.mean([sum(p * p for p in row) for row in by_batch]),
    "snip": lambda by_batch: abs(np.mean([sum(row) for row in by_batch])),
}


@pytest.mark.parametrize(
    "criterion", [taylor_l1, taylor_l2, taylor_fo, fisher, snip], ids=lambda c: c.name
)
def test_gradient_criteria_equal_a_naive_loop(criterion: Criterion, network: nn.Module) -> None:
    scores = scored(network, criterion)
    gradients = gradients_by_batch(network)
    expected = {}
    for layer in LAYERS:
        weight = network.get_parameter(f"{layer}.weight").detach()
        products = [(weight * by_name[f"{layer}.weight"]).flatten(1) for by_name in gradients]
        expected[layer] = [
            NAIVE[criterion.name]([rows[j].tolist() for rows in products])
            for j in range(len(weight))
        ]
    whole = sum(map(sum, expected.values())) if criterion is snip else 1
    assert set(scores.filters) == set(expected)
    for layer, values in expected.items():
        np.testing.assert_allclose(scores.filters[layer], np.array(values) / whole, rtol=1e-10)


def test_the_gate_is_the_batch_norm_behind(network: nn.Module) -> None:
    scores = scored(network, taylor_gate)
    gradients = gradients_by_batch(network)
    for layer, norm in LAYERS.items():
        scale, shift = (
            network.get_parameter(f"{norm}.{leaf}").detach() for leaf in ("weight", "bias")
        )
        expected = [
            sum(
                float(scale[j] * g[f"{norm}.weight"][j] + shift[j] * g[f"{norm}.bias"][j]) ** 2
                for g in gradients
            )
            / 3
            for j in range(len(scale))
        ]
        np.testing.assert_allclose(scores.filters[layer], expected, rtol=1e-10)


def test_shares_add_up_to_one(network: nn.Module) -> None:
    assert sum(v.sum() for v in scored(network, snip).filters.values()) == pytest.approx(1)


def test_all_members_count_gradients_of_the_weights_that_read_a_channel(
    network: nn.Module,
) -> None:
    scores = scored(network, taylor_l1, members="all")
    expected = np.zeros(2)
    for by_name in gradients_by_batch(network):
        for name, dim in (("conv1.weight", 0), ("conv2.weight", 1)):
            product = (network.get_parameter(name).detach() * by_name[name]).abs()
            expected += product.transpose(0, dim).flatten(1).sum(1).numpy() / 3
    np.testing.assert_allclose(scores.groups["conv1"], expected)


def test_examples_one_by_one_give_the_diagonal_of_the_empirical_fisher(
    network: nn.Module,
) -> None:
    (x, y), *_ = batches()
    single = [(x[k : k + 1], y[k : k + 1]) for k in range(4)]
    expected = torch.zeros(2, dtype=torch.float64)
    weight = network.get_parameter("conv1.weight")
    for one, target in single:
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(one), target), [weight])
        expected += (gradient.square() * weight.detach().square()).flatten(1).sum(1) / 4
    np.testing.assert_allclose(scored(network, fisher, single).filters["conv1"], expected)


def test_small_gradients_in_single_precision_do_not_vanish() -> None:
    network = randomised(plain())
    channels = trace(network, image())
    found = score(
        channels.of(network.float()),
        [taylor_fo],
        calibration=[(x.float(), None) for x, _ in batches()],
        loss_fn=lambda output, target: output.square().mean() * 1e-28,
    )
    scores = found["taylor_fo"]
    assert (scores.filters["0"] > 0).all()


def test_frozen_weights_are_scored_and_stay_frozen(network: nn.Module) -> None:
    channels = trace(network, image())
    data = batches()

    def found() -> Any:
        return score(channels, [taylor_l1], calibration=data, loss_fn=F.cross_entropy)[
            "taylor_l1"
        ].filters

    expected = found()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        quietly = found()
    with torch.inference_mode():
        inferring = found()
    for layer in LAYERS:
        np.testing.assert_array_equal(quietly[layer], expected[layer])
        np.testing.assert_array_equal(inferring[layer], expected[layer])
    assert not any(p.requires_grad for p in network.parameters())


# --- activations ----------------------------------------------------------------------------


def maps_on_paper(network: Any) -> dict[str, Tensor]:
    """What follows each layer of the residual toy's activation, over all batches."""
    with torch.no_grad():
        x = torch.cat([x for x, _ in batches()])
        stem = F.relu(network.bn(network.stem(x)))
        conv1 = F.relu(network.bn1(network.conv1(stem)))
        return {
            "stem": stem,
            "conv1": conv1,
            "conv2": F.relu(stem + network.bn2(network.conv2(conv1))),
        }


def naive_entropy(channel: Tensor) -> float:
    counts, _ = np.histogram(channel.mean((1, 2)).numpy(), bins=16)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def naive_rank(channel: Tensor) -> float:
    return float(np.mean([np.linalg.matrix_rank(one) for one in channel.numpy()]))


PER_CHANNEL: dict[str, Callable[[Tensor], float]] = {
    "apoz": lambda channel: 1 - sum(v == 0 for v in channel.flatten().tolist()) / channel.numel(),
    "mean_activation": lambda channel: sum(map(abs, channel.flatten().tolist())) / channel.numel(),
    "entropy": naive_entropy,
    "hrank": naive_rank,
}


@pytest.mark.parametrize("criterion", [apoz, mean_activation, entropy, hrank], ids=lambda c: c.name)
def test_activation_criteria_equal_a_naive_loop(criterion: Criterion, network: nn.Module) -> None:
    scores = scored(network, criterion, [x for x, _ in batches()])
    assert set(scores.filters) == set(LAYERS)
    for layer, maps in maps_on_paper(network).items():
        expected = [PER_CHANNEL[criterion.name](channel) for channel in maps.transpose(0, 1)]
        np.testing.assert_allclose(scores.filters[layer], expected, rtol=1e-10, atol=1e-12)


def test_chip_is_what_the_nuclear_norm_loses(network: nn.Module) -> None:
    data = [x for x, _ in batches(2)]
    scores = scored(network, chip, data)
    for layer, maps in maps_on_paper(network).items():
        expected = np.zeros(maps.shape[1])
        for one in maps[:8].flatten(2).numpy():
            for j in range(len(one)):
                without = one.copy()
                without[j] = 0
                expected[j] += np.linalg.norm(one, "nuc") - np.linalg.norm(without, "nuc")
        np.testing.assert_allclose(scores.filters[layer], expected / 8, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 30, 3, 3), (2, 4, 40), (3, 5), (2, 3, 2, 3, 4)])
def test_maps_of_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double().relu()
    n = shape[1]
    for criterion in ACTIVATIONS:
        assert criterion.update is not None
        found = criterion.formula(criterion.update(None, maps))
        assert found.shape == (n,) and torch.isfinite(found).all()
    rows = maps.reshape(*shape[:2], -1, shape[-1] if len(shape) > 2 else 1)
    ranks = [np.mean([np.linalg.matrix_rank(one[j]) for one in rows]) for j in range(n)]
    np.testing.assert_allclose(hrank.formula(rank_update(None, maps)), ranks)
    one = maps[0].reshape(n, -1).numpy()
    lost = [
        np.linalg.norm(one, "nuc") - np.linalg.norm(np.where(np.arange(n)[:, None] == j, 0, one), 2)
        if min(one.shape) == 1
        else np.linalg.norm(one, "nuc") - np.linalg.norm(np.delete(one, j, 0), "nuc")
        for j in range(n)
    ]
    np.testing.assert_allclose(
        chip.formula(independence_update(None, maps[:1])), lost, rtol=1e-7, atol=1e-9
    )


def test_a_rank_is_that_of_single_precision_where_maps_are() -> None:
    row = torch.linspace(1, 2, 12)
    nearly = torch.stack([row, row + 1e-9 * torch.randn(12), row.flip(0)])[None, None]
    found = hrank.formula(rank_update(None, nearly.float()))
    assert found.tolist() == [np.linalg.matrix_rank(nearly[0, 0].float().numpy())] == [2]


def test_a_dead_channel_is_worth_nothing(network: nn.Module) -> None:
    with torch.no_grad():
        network.get_parameter("bn1.weight")[1] = 0
        network.get_parameter("bn1.bias")[1] = -1
    for criterion in (*ACTIVATIONS, taylor_gate):
        values = scored(network, criterion).groups["conv1"]
        assert values[1] == pytest.approx(0, abs=1e-12) and values[0] > 0


def test_entropy_of_two_equal_halves_is_that_of_a_coin() -> None:
    pooled = torch.tensor([[0.0, 3.0], [1.0, 3.0], [0.0, 3.0], [1.0, 3.0]], dtype=torch.float64)
    found = entropy.formula(pooled_update(None, pooled))
    torch.testing.assert_close(found, torch.tensor([math.log(2), 0.0], dtype=torch.float64))


def test_costly_criteria_look_at_the_first_images_only() -> None:
    maps = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    for update in (rank_update, independence_update, pooled_update):
        few = partial(update, most=4)
        streamed = few(few(few(None, maps[:3]), maps[3:5]), maps[5:])
        whole = few(None, maps)
        assert streamed.keys() == whole.keys()
        assert len(whole["images"]) == 4
        torch.testing.assert_close(streamed["images"], whole["images"])
        torch.testing.assert_close(streamed["images"], update(None, maps[:4])["images"])
        halves = first_images(few(None, maps[:3]), few(None, maps[3:]))
        torch.testing.assert_close(halves["images"], whole["images"])
    more = replace(hrank, update=partial(rank_update, most=500))
    assert more.name == "hrank" and more != hrank


# --- one pass -------------------------------------------------------------------------------


def test_all_criteria_share_one_pass_and_agree_with_each_alone(network: nn.Module) -> None:
    channels = trace(network, image())
    read: list[int] = []

    def loader() -> Iterator[tuple[Tensor, Tensor]]:
        for k, batch in enumerate(batches()):
            read.append(k)
            yield batch

    done: list[int] = []
    together = score(
        channels,
        list(CRITERIA.values()),
        calibration=loader(),
        loss_fn=F.cross_entropy,
        on_progress=done.append,
    )
    assert read == [0, 1, 2] and done == [1, 2, 3]
    for name, criterion in CRITERIA.items():
        alone = scored(network, criterion)
        for group, values in alone.groups.items():
            np.testing.assert_allclose(together[name].groups[group], values, rtol=1e-12)


def test_what_is_known_does_not_grow_with_the_number_of_batches(network: nn.Module) -> None:
    channels = trace(network, image())
    bounded = [
        replace(c, update=partial(c.update, most=8)) if c in (entropy, hrank, chip) else c
        for c in STREAMED
    ]

    def size(n: int) -> int:
        known = calibrate(channels, bounded, batches(n), loss_fn=F.cross_entropy)
        assert known.n_batches == n
        return sum(
            tensor.numel()
            for of_sites in known.sums.values()
            for sums in of_sites.values()
            for tensor in sums.values()
        )

    assert size(2) == size(20)


def test_halves_merged_equal_the_whole(network: nn.Module) -> None:
    channels = trace(network, image())

    def known(data: Any) -> Any:
        return calibrate(channels, STREAMED, data, loss_fn=F.cross_entropy)

    data = batches(4)
    halves, whole = merge(known(data[:3]), known(data[3:])), known(data)
    assert halves.n_batches == whole.n_batches == 4
    one, other = (score(channels, STREAMED, calibration=made) for made in (halves, whole))
    for name in one:
        for group, values in one[name].groups.items():
            np.testing.assert_allclose(values, other[name].groups[group], rtol=1e-12)
    few = calibrate(channels, [apoz], data)
    with pytest.raises(CriterionError, match="cannot be merged; make both with the same"):
        merge(few, whole)
    with pytest.raises(CriterionError, match="was made without criterion 'chip'"):
        score(channels, [chip], calibration=few)


def test_gradients_are_on_only_where_they_are_needed(network: nn.Module) -> None:
    on: list[set[str]] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        on.append({name for name, p in network.named_parameters() if p.requires_grad})
        return F.cross_entropy(output, target)

    scored(network, taylor_l1, loss_fn=loss)
    scored(network, taylor_gate, loss_fn=loss)
    assert all(seen == {f"{layer}.weight" for layer in LAYERS} for seen in on[:3])
    norms = {f"{norm}.{leaf}" for norm in LAYERS.values() for leaf in ("weight", "bias")}
    assert all(seen == norms for seen in on[3:]) and len(on) == 6
    grown: list[bool] = []
    handle = network.register_forward_hook(lambda *given: grown.append(given[2].requires_grad))
    scored(network, apoz)
    handle.remove()
    assert grown == [False] * 4  # the trace and three batches


def test_several_inputs_are_given_as_the_network_takes_them() -> None:
    network = randomised(several())
    channels = trace(network, (image(1), image(2)))
    x, _ = batches(1)[0]
    left, right = x, torch.cat([x, -x], 1)

    def loss(output: Any, target: Tensor) -> Tensor:
        return F.cross_entropy(output["scores"][0], target)

    target = torch.tensor([0, 1, 2, 0])
    one, other = (
        score(channels, [apoz, taylor_l1], calibration=[(given, target)], loss_fn=loss)
        for given in ((left, right), {"right": right, "left": left})
    )
    for name in one:
        assert set(one[name].filters) == {"conv1", "conv2", "conv3"}
        np.testing.assert_array_equal(one[name].groups["conv1"], other[name].groups["conv1"])
    alone = score(channels, [apoz], calibration=[{"right": right, "left": left}])
    np.testing.assert_array_equal(alone["apoz"].groups["conv1"], one["apoz"].groups["conv1"])


class Counting(nn.Module):
    """Counts its calls in a buffer, one way or the other, and drops out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = residual()
        self.register_buffer("in_place", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.in_place += 1
        self.replaced = self.replaced + 1
        self.seen += 1
        return F.dropout(self.body(x), training=self.training)


@pytest.mark.parametrize("failing", [False, True])
def test_the_network_is_as_before_even_after_an_exception(failing: bool) -> None:
    network = randomised(Counting(), seed=3).train()
    network.body.bn1.eval()
    network.body.conv1.weight.requires_grad_(False)
    network.body.conv2.weight.grad = torch.ones_like(network.body.conv2.weight)
    channels = trace(network, image())
    before, random = state_of(network), torch.get_rng_state()
    modes = [module.training for module in network.modules()]
    required = [parameter.requires_grad for parameter in network.parameters()]

    def data() -> Iterator[tuple[Tensor, Tensor]]:
        torch.rand(3)
        yield from batches(2)
        if failing:
            raise RuntimeError("the disk is gone")

    def run() -> None:
        score(channels, STREAMED, calibration=data(), loss_fn=F.cross_entropy)

    if failing:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            run()
    else:
        run()
    assert same_state(network, before) and torch.equal(torch.get_rng_state(), random)
    assert network.seen == 0
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == required
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    assert len(grads) == 1 and (grads[0] == 1).all()
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "options", "said"),
    [
        (apoz, {"calibration": None}, r"'apoz' needs calibration batches, input or .*calibration="),
        (snip, {"calibration": None}, r"'snip' needs .* and loss_fn; pass .*loss_fn=loss_fn"),
        (snip, {"loss_fn": None}, r"'snip' needs calibration batches \(input, target\) and loss"),
        (taylor_gate, {"loss_fn": None}, r"'taylor_gate' needs .* loss_fn; pass"),
        (apoz, {"calibration": []}, "calibration holds 0 batches; give at least one"),
        (apoz, {"calibration": image()}, "calibration is a Tensor; give batches"),
        (apoz, {"calibration": 3}, "calibration is a int; give batches"),
        (apoz, {"calibration": [3]}, "batch 1 of the calibration is a int; give"),
        (apoz, {"calibration": [(1, 2, 3)]}, "batch 1 of the calibration is a tuple of 3; give"),
        (apoz, {"calibration": [image(), image() / 0]}, "batch 2 of the calibration holds NaN"),
        (apoz, {"calibration": [image(batch=0)]}, r"batch 1 .* is empty, shape \(0, 1, 6, 6\)"),
        (apoz, {"calibration": [image(3)]}, r"failed on batch 1 .* shape \(2, 3, 6, 6\): Runtime"),
        (apoz, {"calibration": [image().float()]}, "failed on batch 1 .* Give inputs as the netw"),
        (apoz, {"calibration": [image().to("meta")]}, "is on meta and the network on cpu; pass de"),
        (snip, {"calibration": [image()]}, "loss_fn failed on batch 1 .*; the batch has no target"),
        (snip, {"loss_fn": lambda out, y: out}, r"gave a .* of shape \(4, 3\) on batch 1; it must"),
        (snip, {"loss_fn": lambda out, y: 0.5}, "gave float on batch 1; it must give a real scal"),
        (
            snip,
            {"loss_fn": lambda out, y: out.sum() * 1j},
            r"gave a torch.complex128 of shape \(\)",
        ),
        (snip, {"loss_fn": lambda out, y: (out * 0).sum().sqrt()}, "gradients .* not finite"),
        (snip, {"device": "nowhere"}, "cannot move a batch to device 'nowhere': RuntimeError: .*;"),
        (apoz, {"calibration": [np.zeros((2, 1, 6, 6))]}, "batch 1 of the calibration is a ndarr"),
        (apoz, {"calibration": [(np.zeros(2), 1)]}, "a ndarray without a tensor; give tensors"),
        (apoz, {"calibration": [(None, 1)]}, "a NoneType without a tensor; give tensors"),
        (apoz, {"calibration": [{"x": image(), "y": 1}]}, "A dict holds the network's keyword ar"),
        (replace(apoz, formula=lambda sums: sums["no"]), {}, "formula of criterion 'apoz' failed"),
        (replace(snip, update=lambda sums, batch: batch.no), {}, "update of criterion 'snip' fail"),
        (replace(apoz, update=lambda sums, maps: maps.no), {}, "update of criterion 'apoz' failed"),
        (replace(apoz, update=None), {}, "'apoz' needs activations and has no update; give it"),
        (replace(apoz, needs="gradient"), {}, "'apoz': no need 'gradient'; .*mean 'gradients'"),
        (snip, {"loss_fn": lambda out, y: out.detach().sum()}, "does not depend on the weights"),
        (
            snip,
            {"loss_fn": lambda out, y: out.sum() / 0},
            "the loss of batch 1 is -?(inf|nan); such a batch",
        ),
    ],
)
def test_what_is_of_no_use_is_refused(
    criterion: Criterion, options: dict[str, Any], said: str, network: nn.Module
) -> None:
    with pytest.raises(CriterionError, match=said):
        scored(network, criterion, **options)


def test_a_calibration_of_another_network_or_other_members_is_refused(network: nn.Module) -> None:
    channels = trace(network, image())
    made = calibrate(channels, [snip], batches(), loss_fn=F.cross_entropy)
    with pytest.raises(CriterionError, match="made with members 'producer', not 'all'"):
        scored(network, snip, made, members="all")
    other = randomised(plain(), seed=0)
    with pytest.raises(CriterionError, match="the calibration was made for network"):
        score(trace(other, image()), [snip], calibration=made)


def test_networks_that_have_no_gradients_or_numbers_are_refused() -> None:
    with torch.inference_mode():
        made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    channels = trace(made, torch.zeros(1, 1, 6, 6))
    with pytest.raises(CriterionError, match=r"'0\.weight' was made in inference mode"):
        score(channels, [snip], calibration=[torch.ones(1, 1, 6, 6)], loss_fn=lambda o, _: o)
    with pytest.raises(CriterionError, match=r"'0\.weight' is on the meta device"):
        score(channels.of(copy.deepcopy(made).to("meta")), [CRITERIA["l1"]])
    with pytest.raises(CriterionError, match=r"criteria is a list; write \[l1\]"):
        score(channels, CRITERIA["l1"])  # type: ignore[arg-type]


def test_batches_are_moved_where_they_are_asked_to_be(network: nn.Module) -> None:
    found = scored(network, apoz, device="cpu")
    np.testing.assert_array_equal(found.groups["conv1"], scored(network, apoz).groups["conv1"])
    with pytest.raises(CriterionError, match="is on meta and the network on cpu"):
        scored(network, apoz, device="meta")


def test_an_update_without_data_to_take_in_is_refused(network: nn.Module) -> None:
    odd = replace(apoz, name="odd", needs="filters")
    with pytest.raises(CriterionError, match="'odd' has an update but needs filters; a streamed"):
        scored(network, odd)


def test_constant_scores_are_said(network: nn.Module) -> None:
    smooth = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Conv2d(3, 2, 3)).double()
    assert scored(smooth, apoz).constant == ("0", "2")
    assert scored(network, mean_activation).constant == ()
