"""Weight criteria against naive loops, scipy, and what is known of Gaussian filters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr
from torch import Tensor, nn

from contracts import randomised
from secateur.channels.trace import trace
from secateur.criteria.base import Criterion
from secateur.criteria.relation import (
    Pairs,
    cosine,
    distance_to_median,
    distance_to_nearest_twin,
    fermat,
    gm,
    median_shares,
    summed_distance,
)
from secateur.criteria.score import score
from secateur.criteria.weight import bn_scale, bn_shift, l1, l2, l2_norm, lamp, lamp_score
from secateur.errors import CriterionError
from toys import flattened, image, plain, residual

Rows = list[list[float]]


def norm(row: list[float]) -> float:
    return math.sqrt(sum(w * w for w in row))


def gap(one: list[float], other: list[float]) -> float:
    return norm([a - b for a, b in zip(one, other, strict=True)])


def naive_cosine(j: int, filters: Rows) -> float:
    own = filters[j]
    if norm(own) == 0:
        return 0.0
    found = [
        sum(a * b for a, b in zip(own, other, strict=True)) / norm(own) / norm(other)
        for k, other in enumerate(filters)
        if k != j and norm(other) > 0
    ]
    return 1 - max(found, default=-1)


NAIVE = {
    "l1": lambda filters: [sum(abs(w) for w in row) for row in filters],
    "l2": lambda filters: [norm(row) for row in filters],
    "gm": lambda filters: [sum(gap(one, other) for other in filters) for one in filters],
    "lamp": lambda filters: [
        norm(one) ** 2 / sum(norm(o) ** 2 for o in filters if norm(o) >= norm(one))
        for one in filters
    ],
    "cosine": lambda filters: [naive_cosine(j, filters) for j in range(len(filters))],
}


@pytest.mark.parametrize("criterion", [l1, l2, gm, lamp, cosine], ids=lambda c: c.name)
def test_it_equals_a_naive_loop(criterion: Criterion) -> None:
    network = randomised(residual(), seed=3)
    scores = score(trace(network, image()), [criterion])[criterion.name]
    assert set(scores.filters) == {"stem", "conv1", "conv2"}
    for name, values in scores.filters.items():
        weight = network.get_submodule(name).weight
        expected = NAIVE[criterion.name](weight.flatten(1).tolist())
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def drawn(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- distances ------------------------------------------------------------------------------


def direct(filters: Tensor) -> Tensor:
    return torch.stack([(filters - row).square().sum(1).sqrt().sum() for row in filters])


@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 1), (40, 600), (300, 9)])
def test_sums_of_distances_equal_the_direct_form(n: int, d: int) -> None:
    filters = drawn(n, d)
    for shifted in (filters, filters + 100, filters * 1e-150):
        torch.testing.assert_close(
            summed_distance(Pairs(shifted)), direct(shifted), rtol=1e-11, atol=0
        )


@pytest.mark.parametrize("apart", [0.0, 1e-14, 1e-9, 1e-4])
def test_near_twins_keep_their_distance(apart: float) -> None:
    filters = drawn(5, 600).repeat(8, 1)
    filters[:5] += apart * drawn(5, 600, seed=1)
    blocks = list(Pairs(filters, rows=7).distances())
    expected = torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(torch.cat(blocks), expected, rtol=1e-10, atol=0)


def test_a_filter_is_at_distance_zero_from_itself_and_its_copies() -> None:
    one = drawn(1, 600) * 100
    assert (summed_distance(Pairs(one.repeat(70, 1))) == 0).all()
    assert (distance_to_median(Pairs(one.repeat(70, 1))) == 0).all()


@pytest.mark.parametrize("formula", [summed_distance, distance_to_median, distance_to_nearest_twin])
@pytest.mark.parametrize(("whole", "rows"), [(100, 1), (100, 5), (0, 4), (0, 23), (0, 100)])
def test_blocks_do_not_change_the_answer(formula: object, whole: int, rows: int) -> None:
    assert callable(formula)
    filters = drawn(23, 40)
    expected = formula(Pairs(filters))
    torch.testing.assert_close(formula(Pairs(filters, whole, rows)), expected, rtol=1e-10, atol=0)


# --- the geometric median -------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(5, 2), (12, 7), (30, 3), (6, 40)])
def test_the_median_is_the_minimum_that_scipy_finds(n: int, d: int) -> None:
    filters = drawn(n, d, seed=n) * torch.linspace(0.5, 3, n, dtype=torch.float64)[:, None]
    points = filters.numpy()

    def summed(x: np.ndarray) -> tuple[float, np.ndarray]:
        gaps = x - points
        norms = np.linalg.norm(gaps, axis=1) + 1e-300
        return norms.sum(), (gaps / norms[:, None]).sum(0)

    start = points.mean(0) + 1e-3
    best = minimize(summed, start, jac=True, method="BFGS", options={"gtol": 1e-10})
    ours = (median_shares(Pairs(filters)) @ filters).numpy()
    assert summed(ours)[0] <= best.fun * (1 + 1e-12)
    np.testing.assert_allclose(ours, best.x, atol=1e-6)
    expected = np.linalg.norm(points - best.x, axis=1)
    np.testing.assert_allclose(distance_to_median(Pairs(filters)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "median"),
    [
        ([[0.0], [1.0], [5.0]], [1.0]),
        ([[0.0, 0], [0, 0], [1, 0], [0, 1]], [0.0, 0]),
        ([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], [0.0, 0]),
    ],
)
def test_a_median_that_is_a_filter_is_found_exactly(
    points: list[list[float]], median: list[float]
) -> None:
    filters = torch.tensor(points, dtype=torch.float64)
    found = median_shares(Pairs(filters)) @ filters
    torch.testing.assert_close(found, torch.tensor(median, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_mean_that_is_a_filter_but_not_the_median_does_not_stop_the_iteration() -> None:
    points = [[0.0, 0], [2, 1], [2, -1], [-1, 3], [-3, -3]]
    filters = torch.tensor(points, dtype=torch.float64)
    assert (filters.mean(0) == 0).all()
    pairs = Pairs(filters)
    found = median_shares(pairs) @ filters
    pull = torch.stack([(row - found) / (row - found).norm() for row in filters]).sum(0)
    assert pull.norm() < 1e-6 or (filters == found).all(1).any()
    assert (filters - found).norm(dim=1).sum() <= pairs.summed.min()


def test_the_mean_is_not_the_median() -> None:
    filters = torch.cat([drawn(20, 5), drawn(3, 5, seed=1) + 20])
    mean = (filters - filters.mean(0)).norm(dim=1)
    assert not torch.allclose(distance_to_median(Pairs(filters)), mean, rtol=0.05)


# --- corners --------------------------------------------------------------------------------


def test_lamp_of_the_largest_filter_is_one_and_equal_filters_share() -> None:
    filters = torch.tensor([[2.0, 0], [0, 1], [1, 0], [0, 0]], dtype=torch.float64)
    expected = torch.tensor([1, 1 / 6, 1 / 6, 0], dtype=torch.float64)
    torch.testing.assert_close(lamp_score(filters), expected)
    assert (lamp_score(torch.zeros(3, 2)) == 0).all()
    tiny = lamp_score(filters * 1e-150)
    torch.testing.assert_close(tiny, expected)


def test_a_twin_however_scaled_is_no_better_than_zeros() -> None:
    filters = torch.tensor([[1.0, 2], [3, 6], [-1, -2], [0, 0]], dtype=torch.float64)
    found = distance_to_nearest_twin(Pairs(filters))
    torch.testing.assert_close(found, torch.tensor([0, 0, 2, 0], dtype=torch.float64))
    assert distance_to_nearest_twin(Pairs(filters[:1])).tolist() == [1]


def test_shift_and_scale_are_those_of_the_norm_behind() -> None:
    network = randomised(residual(), seed=3)
    scores = score(trace(network, image()), [bn_scale, bn_shift])
    for criterion, leaf in ((bn_scale, "weight"), (bn_shift, "bias")):
        own = network.get_parameter(f"bn1.{leaf}").detach().abs()
        np.testing.assert_array_equal(scores[criterion.name].filters["conv1"], own)


# --- what Scores says beside the scores -----------------------------------------------------


def test_sizes_count_the_numbers_of_one_channel() -> None:
    network = randomised(residual())
    channels = trace(network, image())
    producer = score(channels, [l1])["l1"]
    assert producer.sizes == {"stem": 9 + 2 * 9, "conv1": 4 * 9}
    everyone = score(channels, [l1], members="all")["l1"]
    assert everyone.sizes == {"stem": 9 + 2 * 9 + 2 * 9 + 3, "conv1": 4 * 9 + 4 * 9}


class Blurred(nn.Module):
    """A fixed filter between two convolutions, kept in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)
        self.register_buffer("blur", torch.ones(4, 1, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(self.one(x), self.blur, groups=4)
        return self.other(x)  # type: ignore[no-any-return]


def test_a_filter_in_a_buffer_is_no_criterions() -> None:
    network = randomised(Blurred())
    scores = score(trace(network, image()), [l1], members="all")["l1"]
    assert set(scores.filters) == {"one", "other"} and scores.sizes == {"one": 9 + 2 * 9}


def test_all_members_count_the_weights_that_read_a_channel() -> None:
    network = randomised(residual(), seed=3)
    channels = trace(network, image())
    scores = score(channels, [l1], members="all")["l1"]
    rows = [
        network.get_parameter(f"{name}.weight").detach().abs().transpose(0, dim).flatten(1).sum(1)
        for name, dim in (("stem", 0), ("conv2", 0), ("conv1", 1), ("fc", 1))
    ]
    np.testing.assert_allclose(scores.groups["stem"], sum(rows))
    assert scores.filters["stem"].shape == (4,)


def test_a_flattened_channel_is_read_at_several_positions() -> None:
    network = randomised(flattened())
    scores = score(trace(network, image()), [l2], members="all", reduction="mean")["l2"]
    own = network[0].weight.detach().flatten(1)
    read = network[4].weight.detach().view(4, 3, 4).transpose(0, 1).flatten(1)
    np.testing.assert_allclose(scores.groups["0"], (l2_norm(own) + l2_norm(read)) / 2)


def test_a_layer_whose_filters_score_the_same_is_named() -> None:
    network = randomised(plain())
    with torch.no_grad():
        network[1].weight.fill_(-0.3)
    scores = score(trace(network, image()), [bn_scale, l1])
    assert scores["bn_scale"].constant == ("0",) and scores["l1"].constant == ()


# --- refusals -------------------------------------------------------------------------------


def test_what_is_asked_wrongly_is_refused() -> None:
    network = randomised(plain())
    channels = trace(network, image())
    with pytest.raises(CriterionError, match="no members 'one'; there are all, producer"):
        score(channels, [l1], members="one")
    with pytest.raises(CriterionError, match="criterion 'l1' is given twice"):
        score(channels, [l1, l1])
    bad = Criterion("bad", "filters", lambda filters: filters, "")
    with pytest.raises(CriterionError, match=r"'bad' gave \(4, 9\) for '0'; its formula must"):
        score(channels, [bad])
    bad = Criterion("bad", "filters", lambda filters: filters.sum(1) / 0, "")
    with pytest.raises(CriterionError, match="'bad' gave NaN or infinite scores for '0'"):
        score(channels, [bad])


# --- filters that are independent Gaussians -------------------------------------------------


def of_gaussians(n: int, d: int) -> dict[str, np.ndarray]:
    pairs = Pairs(drawn(n, d))
    found = {c.name: c.formula(pairs) for c in (gm, fermat)}
    found |= {c.name: c.formula(pairs.filters) for c in (l1, l2)}
    return {name: values.numpy() for name, values in found.items()}


def test_gaussian_filters_come_out_as_calculated() -> None:
    found = of_gaussians(256, 576)

    def rho(one: str, other: str) -> float:
        return float(spearmanr(found[one], found[other]).statistic)

    assert 0.90 <= rho("l1", "l2") <= 0.95
    assert rho("l2", "gm") > 0.99
    assert rho("fermat", "gm") > 0.999
    spreads = {
        name: np.mean([_spread(name, seed) for seed in range(6)]) for name in ("l1", "l2", "gm")
    }
    assert spreads["l1"] == pytest.approx(0.7555, rel=0.05)
    assert spreads["l2"] == pytest.approx(0.7071, rel=0.05)
    assert spreads["gm"] == pytest.approx(0.354, rel=0.05)


def _spread(name: str, seed: int) -> float:
    pairs = Pairs(drawn(256, 576, seed))
    criterion = {"l1": l1, "l2": l2, "gm": gm}[name]
    values = criterion.formula(pairs if criterion.needs == "pairs" else pairs.filters)
    return float(values.std() / values.mean()) * math.sqrt(576)


def test_global_ranks_split_where_filters_differ_in_size() -> None:
    torch.manual_seed(0)
    widths = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    layers: list[nn.Module] = []
    for n_in, n_out in zip([3, *widths], [*widths, 10], strict=False):
        layers.append(nn.Conv2d(n_in, n_out, 3, bias=False))
        nn.init.kaiming_normal_(layers[-1].weight)
    network = nn.Sequential(*layers)
    scores = score(trace(network, torch.zeros(1, 3, 64, 64)), [l1, l2])
    one, other = (np.concatenate(list(scores[name].filters.values())) for name in ("l1", "l2"))
    assert spearmanr(one, other).statistic < 0.5
