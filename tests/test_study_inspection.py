"""The diagnosis of a network: what it says on paper, of odd networks, and of published ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from real_networks import DATA, REAL
from secateur.errors import CriterionError, ReportError
from secateur.study.analyse import analyse
from secateur.study.diagnosis import findings, rho_text, undefined
from secateur.study.from_scores import analysis_of
from secateur.study.inspection import Analysis, LeftOut, NetworkFacts
from secateur.study.screen import LINES, WIDTH, screen
from secateur.surgery.weights import load_weights

FACTS = NetworkFacts(10, 100, 2, 1, 4, ())


def small(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers).eval()


def plain(norm: bool = True) -> nn.Sequential:
    first = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()]
    second = [nn.Conv2d(16, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten()]
    layers = [*first, *second, nn.Linear(12 * 16, 5)]
    return small(*(layer for layer in layers if norm or not isinstance(layer, nn.BatchNorm2d)))


EXAMPLE = torch.zeros(1, 3, 8, 8)


def example_batches(n: int = 4) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(6, 3, 8, 8), torch.randint(5, (6,))) for _ in range(n)]


def fits_a_screen(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) < LINES and max(map(len, lines)) <= WIDTH


def no_nan(one: Analysis) -> bool:
    """JSON refuses NaN and infinity; no text may name them either."""
    json.loads(one.to_json())
    return "nan" not in str(one).lower() and "None" not in str(one)


def test_everything_on_paper() -> None:
    scores = {
        "l1": {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([10.0, 20.0, 30.0, 40.0])},
        "own": {"a": np.array([1.0, 2.0, 3.0, 4.0]), "b": np.array([4.0, 3.0, 2.0, 1.0])},
    }
    one = analysis_of("net", FACTS, scores, [], [])
    (pair,) = one.similarity
    assert (pair.mean, pair.minimum, pair.minimum_layer) == (pytest.approx(0), -1, "b")
    half = next(row for row in one.overlaps if row.ratio == 0.5)
    assert (half.mean, half.minimum) == (0.5, 0)
    raw = {(row.criterion, row.normalisation, row.ratio): row.wiped for row in one.global_pruning}
    assert raw["l1", "none", 0.5] == ("a",) and raw["l1", "mean", 0.5] == ()
    (gap, _) = one.gaps
    assert (gap.gap, gap.largest_layer) == (10, "b")
    histogram = one.histograms[0]
    assert (histogram.low, histogram.step, histogram.counts) == (1, 0.75, (1, 1, 1, 1))
    assert one.clusters.clusters == (("l1",), ("own",))


def test_criteria_that_score_other_layers_are_compared_where_both_do() -> None:
    values = np.arange(5.0)
    scores = {
        "l1": {"a": values, "b": values},
        "bn_scale": {"b": -values},
        "elsewhere": {"c": values},
    }
    one = analysis_of("net", FACTS, scores, [], [])
    pairs = {(row.first, row.second): (row.mean, row.n_layers) for row in one.similarity}
    assert pairs == {("l1", "bn_scale"): (pytest.approx(-1), 1)}
    told = {row.what for row in one.left_out}
    assert told == {
        "l1 in 1 of 3 layers",
        "bn_scale in 2 of 3 layers",
        "elsewhere in 2 of 3 layers",
    }
    assert set(one.clusters.undefined_pairs) == {("l1", "elsewhere"), ("bn_scale", "elsewhere")}


def test_it_survives_json_and_nothing_else_does() -> None:
    one = analyse(
        plain(), EXAMPLE, calibration=example_batches(), loss_fn=nn.functional.cross_entropy
    )
    assert Analysis.from_json(one.to_json()) == one
    for text in ("[]", "{}", "no", one.to_json()[:-1] + ', "more": 1}'):
        with pytest.raises(ReportError, match=r"not an analysis: .*Analysis\.to_json"):
            Analysis.from_json(text)


def test_the_facade_leaves_the_network_as_it_was_and_repeats_itself() -> None:
    model = plain().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    one = sc.analyse(
        model, sc.trace(model, EXAMPLE), calibration=[batch for batch, _ in example_batches()]
    )
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert one == sc.analyse(model, EXAMPLE, calibration=[batch for batch, _ in example_batches()])
    assert one != sc.analyse(model, EXAMPLE, calibration=[b for b, _ in example_batches()], seed=1)


def test_scores_are_those_of_score() -> None:
    model, batches = plain(), example_batches()
    criteria = [sc.l1, sc.bn_scale, sc.taylor_fo]
    loss = nn.functional.cross_entropy
    one = analyse(model, EXAMPLE, criteria, calibration=batches, loss_fn=loss)
    scores = sc.score(sc.trace(model, EXAMPLE), criteria, calibration=batches, loss_fn=loss)
    assert one.criteria == ("l1", "bn_scale", "taylor_fo")
    for row in one.histograms:
        values = scores[row.criterion].filters[row.layer]
        assert row.low == pytest.approx(values.min()) and sum(row.counts) == row.n == len(values)
        assert row.low + row.step * len(row.counts) == pytest.approx(values.max())


def test_noise_is_known_from_both_halves_of_the_calibration() -> None:
    batches = [batch for batch, _ in example_batches()]
    several = analyse(plain(), EXAMPLE, [sc.mean_activation], calibration=batches)
    assert {row.criterion for row in several.ceilings} == {"mean_activation"}
    assert several.calibration == "4 batches"
    split = analyse(plain(), EXAMPLE, [sc.mean_activation], calibration=batches[:1])
    assert split.ceilings and split.calibration == "1 batch"
    single = analyse(plain(), EXAMPLE, [sc.mean_activation], calibration=[batches[0][:1]])
    assert not single.ceilings
    assert "one example" in " ".join(row.why for row in single.left_out)
    made = sc.calibrate(sc.trace(plain(), EXAMPLE), [sc.mean_activation], batches)
    summed = analyse(plain(), EXAMPLE, [sc.l1, sc.mean_activation], calibration=made)
    assert not summed.ceilings and summed.criteria == ("l1", "mean_activation")


def test_what_was_not_asked_for_and_cannot_be_is_left_out_with_its_reason() -> None:
    one = analyse(plain(norm=False), EXAMPLE)
    told = {row.what: row.why for row in one.left_out}
    assert "batch norm" in told["bn_scale, bn_shift"]
    assert "batch norm" in told["Weight Skewness of bn_scale"]
    assert {row.definition for row in one.skewness} == {"filter_l1"}
    assert any("loss_fn" in why for why in told.values())
    assert "bn_scale" not in one.criteria and "l1" in one.criteria


def test_what_was_asked_for_and_cannot_be_is_an_error() -> None:
    with pytest.raises(CriterionError, match=r"taylor_fo.*calibration"):
        analyse(plain(), EXAMPLE, [sc.taylor_fo])
    with pytest.raises(CriterionError, match=r"bn_scale.*no layer is followed by a batch norm"):
        analyse(plain(norm=False), EXAMPLE, [sc.l1, sc.bn_scale])
    with pytest.raises(CriterionError, match="give at least one"):
        analyse(plain(), EXAMPLE, [])
    with pytest.raises(CriterionError, match="'l1' is not a criterion"):
        analyse(plain(), EXAMPLE, ["l1"])  # type: ignore[list-item]
    with pytest.raises(CriterionError, match="calibration is a Tensor"):
        analyse(plain(), EXAMPLE, [sc.apoz], calibration=torch.zeros(2, 3, 8, 8))


def test_a_network_without_convolutions_is_one_clear_error() -> None:
    with pytest.raises(CriterionError, match=r"has no convolution.*nothing to inspect"):
        analyse(small(nn.Flatten(), nn.Linear(192, 4)), EXAMPLE)
    perceptron = small(nn.Flatten(), nn.Linear(192, 10), nn.ReLU(), nn.Linear(10, 4))
    one = analyse(perceptron, EXAMPLE)
    assert [shape.kind for shape in one.layers] == ["linear"] and no_nan(one)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_one_clear_error(value: float) -> None:
    model = plain()
    model[3].weight.data[0, 0, 0, 0] = value
    with pytest.raises(CriterionError, match=r"'3\.weight' holds NaN or infinite values"):
        analyse(model, EXAMPLE)


def odd() -> dict[str, nn.Sequential]:
    """Networks whose numbers are not defined everywhere."""
    zero, equal, constant = plain(), plain(), plain()
    zero[0].weight.data.zero_()
    equal[3].weight.data.fill_(0.5)
    constant[4].weight.data.fill_(1.0)
    dead = plain()
    for layer in (dead[0], dead[3]):
        layer.weight.data.zero_()
    return {
        "all zero layer": zero,
        "all zero": dead,
        "equal weights": equal,
        "constant scales": constant,
        "few filters": small(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 3)),
        "one filter": small(nn.Conv2d(3, 1, 8)),
        "depthwise": small(
            nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 9, 1)
        ),
        "no norm": plain(norm=False),
        "transposed": small(nn.ConvTranspose2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 8, 3)),
    }


@pytest.mark.parametrize("kind", list(odd()))
@pytest.mark.parametrize("data", [False, True])
def test_odd_networks_have_a_defined_answer(kind: str, data: bool) -> None:
    given = [batch for batch, _ in example_batches()] if data else None
    one = analyse(odd()[kind], EXAMPLE, calibration=given, name=kind)
    assert no_nan(one) and fits_a_screen(str(one))
    for row in one.correlations:
        assert (row.rho is None) == (row.undefined is not None)
    assert undefined(one)
    assert all(why for _, why, _ in undefined(one))


def test_one_criterion_has_nothing_to_agree_with() -> None:
    one = analyse(plain(), EXAMPLE, [sc.l1])
    assert one.similarity == () and one.clusters.order == ("l1",)
    assert (
        LeftOut("similarity, overlap and clusters", "undefined because l1 is the only criterion")
        in one.left_out
    )
    assert fits_a_screen(str(one)) and len(findings(one)) >= 3


def test_small_and_special_layers_say_what_they_are() -> None:
    rows = {row.layer: row for row in analyse(odd()["depthwise"], EXAMPLE).distribution}
    assert [row.kind for row in rows.values()] == ["pointwise", "depthwise", "pointwise"]
    assert all(row.special for row in rows.values())
    few = analyse(odd()["few filters"], EXAMPLE)
    assert [row.undefined for row in few.distribution] == [
        "too small: 2 filters, tests need 8",
        "too small: 1 filters, tests need 8",
    ]


def test_correlations_as_the_field_writes_them() -> None:
    assert [rho_text(v) for v in (0.978, -0.2, 1.0, -1.0, 0.004, None)] == [
        *(".98", "-.20", "1.00", "-1.00", "0", "-"),
    ]


def published(name: str) -> Analysis:
    factory, shape = REAL[name]
    files = list(DATA.rglob(f"{name}.safetensors"))
    if not files:
        pytest.skip(f"{name}.safetensors is not at hand; SECATEUR_DATA names its folder")
    model = factory()
    load_weights(model, files[0])
    return analyse(model.eval(), torch.zeros(1, *shape), name=name)


@pytest.fixture(scope="module")
def resnet56() -> Analysis:
    return published("cifar10_resnet56")


def test_a_published_network_says_what_is_known_of_it(resnet56: Analysis) -> None:
    first = findings(resnet56)[0].text
    assert first.startswith("l1, l2, gm and fermat order your filters the same way (mean rho .97")
    assert "globally it does: half of all filters by raw gm would wipe out 36 of 55" in first
    gone = {
        (row.criterion, row.ratio): row.n_wiped
        for row in resnet56.global_pruning
        if row.normalisation == "none"
    }
    assert [gone["l1", r] for r in (0.3, 0.5, 0.7)] == [4, 19, 35]
    assert [gone["l2", r] for r in (0.3, 0.5, 0.7)] == [0, 1, 4]
    assert [gone["gm", r] for r in (0.3, 0.5, 0.7)] == [18, 36, 40]
    pair = next(r for r in resnet56.similarity if (r.first, r.second) == ("l1", "l2"))
    assert pair.mean == pytest.approx(0.978, abs=5e-4)
    assert pair.global_rho == pytest.approx(0.786, abs=5e-4)
    assert fits_a_screen(str(resnet56)) and no_nan(resnet56)


def test_controls_stand_beside_the_weights(resnet56: Analysis) -> None:
    normal = {own.of: own.summary.normal for own in resnet56.checked}
    assert normal["gaussian"] == pytest.approx(0.95, abs=0.01)
    assert normal["uniform"] is not None and normal["uniform"] < 0.7
    assert normal["weights"] == pytest.approx(0.83, abs=0.02)


def test_several_networks_stand_side_by_side(resnet56: Analysis) -> None:
    several = [resnet56, analyse(plain(), EXAMPLE), *(published("cifar10_resnet20"),) * 9]
    text = screen(several, "page here")
    assert fits_a_screen(text.replace("page here", ""))
    assert len(text.splitlines()) <= LINES
    assert "and 1 more, on the page" in text and "19/55" in text


def test_the_code_of_the_guide_runs_and_what_it_quotes_is_said() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "inspect.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, flags=re.S)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["again"] == names["found"]
    told = {
        why
        for kind in ("few filters", "all zero")
        for _, why, _ in undefined(analyse(odd()[kind], EXAMPLE))
    }
    quoted = re.findall(r"\*(undefined because [^*]+)\*", guide)
    assert len(quoted) == 2 and set(quoted) <= told
