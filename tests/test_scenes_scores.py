"""Scores and their intervals: naive loops, sums on paper, coverage by simulation, speed."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from secateur.errors import DataError
from secateur.scenes.bootstrap import interval, resampled, sums_by
from secateur.scenes.datasets import Clip
from secateur.scenes.metrics import log_loss, macro_accuracy
from secateur.scenes.scores import SceneScores, paired_difference, scene_scores
from secateur.scenes.scores_table import difference_table, scores_table

CLASSES = ("bus", "park", "tram")


def answers(rows: list[list[float]]) -> np.ndarray:
    return np.log(np.array(rows))


def made_up(seed: int, n: int = 60, n_locations: int = 9) -> tuple[list[Clip], np.ndarray]:
    rng = np.random.default_rng(seed)
    clips = []
    for k in range(n):
        place = int(rng.integers(n_locations))
        label, device = int(rng.integers(3)), "abc"[rng.integers(3)]
        clips.append(Clip(f"{k}.wav", label, 1, device, f"x-{place}", f"city{place % 2}"))
    return clips, np.log(rng.dirichlet(np.ones(3), n))


@pytest.fixture(scope="module")
def four() -> SceneScores:
    """Two buses, a park and a tram; the second bus is taken for a park, surely."""
    clips = [
        Clip("1.wav", 0, 1, "a", "rome-1", "rome"),
        Clip("2.wav", 0, 1, "b", "rome-1", "rome"),
        Clip("3.wav", 1, 1, "a", "oslo-2", "oslo"),
        Clip("4.wav", 2, 1, "b", "oslo-3", "oslo"),
    ]
    rows = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    return scene_scores(clips, answers(rows), CLASSES)


def test_four_clips_on_paper(four: SceneScores) -> None:
    assert four.n == 4 and four.accuracy == 0.75
    assert four.macro_accuracy.value == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert four.log_loss.value == pytest.approx((3 * np.log(2) + np.log(4)) / 4)
    assert four.confusion == ((1, 1, 0), (0, 1, 0), (0, 0, 1))
    assert [(g.name, g.n, g.accuracy) for g in four.per_class] == [
        ("bus", 2, 0.5),
        ("park", 1, 1.0),
        ("tram", 1, 1.0),
    ]
    assert [(g.name, g.n, g.accuracy, g.macro_accuracy) for g in four.per_device] == [
        ("a", 2, 1.0, 1.0),
        ("b", 2, 0.5, 0.5),
    ]
    assert [(g.name, g.accuracy) for g in four.per_city] == [("oslo", 1.0), ("rome", 0.5)]
    assert [g.name for g in four.per_location] == ["oslo-2", "oslo-3", "rome-1"]
    assert four.per_location[2].log_loss == pytest.approx((np.log(2) + np.log(4)) / 2)
    by_clip, by_location = four.macro_accuracy.by_clip, four.macro_accuracy.by_location
    assert by_clip is not None and (by_clip.by, by_clip.n_units) == ("clip", 4)
    assert by_location is not None and (by_location.by, by_location.n_units) == ("location", 3)
    # Of three locations drawn, rome alone gives 1/2, rome with others 3/4 or 5/6, else 1.
    assert (by_location.low, by_location.high) == (0.5, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_groups_against_naive_loops(seed: int) -> None:
    clips, found = made_up(seed)
    scores = scene_scores(clips, found, CLASSES, n_resamples=10)
    said = found.argmax(axis=1)
    labels = np.array([clip.label for clip in clips])
    assert scores.macro_accuracy.value == macro_accuracy(labels, said, 3)
    assert scores.log_loss.value == log_loss(labels, found)
    for groups, of in (
        (scores.per_class, lambda clip: CLASSES[clip.label]),
        (scores.per_device, lambda clip: clip.device),
        (scores.per_city, lambda clip: clip.city),
        (scores.per_location, lambda clip: clip.location),
    ):
        assert sorted(g.name for g in groups) == sorted({of(clip) for clip in clips})
        for group in groups:
            mine = [k for k, clip in enumerate(clips) if of(clip) == group.name]
            assert group.n == len(mine)
            assert group.accuracy == pytest.approx(sum(labels[mine] == said[mine]) / len(mine))
            assert group.macro_accuracy == pytest.approx(
                macro_accuracy(labels[mine], said[mine], 3)
            )
            assert group.log_loss == pytest.approx(log_loss(labels[mine], found[mine]))


def test_resamples_against_a_naive_loop() -> None:
    """The same draws, unit after unit, in lists."""
    rng = np.random.default_rng(3)
    sums = rng.normal(size=(7, 4))
    totals = resampled(sums, 50, seed=5)
    drawn = np.random.default_rng(5).integers(7, size=(50, 7))
    for total, units in zip(totals, drawn, strict=True):
        assert total == pytest.approx(sum(sums[unit] for unit in units))


def test_the_bootstrap_of_locations_draws_whole_ones() -> None:
    """Two locations, all right and all wrong: 0, 1/2 or 1 is right, and nothing between."""
    clips = [Clip(f"{k}.wav", 0, 1, location=f"x-{k % 2}") for k in range(40)]
    right = np.array([[k % 2 == 0, 1.0] for k in range(40)])
    totals = resampled(sums_by([clip.location for clip in clips], right), 200)
    assert set((totals[:, 0] / totals[:, 1]).tolist()) == {0.0, 0.5, 1.0}


def test_paired_against_a_naive_loop_and_against_itself() -> None:
    clips, first = made_up(1)
    second = made_up(2)[1]
    same = paired_difference(clips, first, first, CLASSES)
    for estimate in (same.macro_accuracy, same.log_loss):
        assert estimate.value == 0
        assert estimate.by_clip is not None
        assert (estimate.by_clip.low, estimate.by_clip.high) == (0, 0)
    there = paired_difference(clips, first, second, CLASSES, n_resamples=200, seed=4)
    back = paired_difference(clips, second, first, CLASSES, n_resamples=200, seed=4)
    labels = np.array([clip.label for clip in clips])
    a, b = (macro_accuracy(labels, side.argmax(axis=1), 3) for side in (first, second))
    assert there.macro_accuracy.value == pytest.approx(b - a)
    assert there.macro_accuracy.value == pytest.approx(-back.macro_accuracy.value)
    drawn = np.random.default_rng(4).integers(60, size=(200, 60))
    naive = [
        macro_accuracy(labels[k], second[k].argmax(axis=1), 3)
        - macro_accuracy(labels[k], first[k].argmax(axis=1), 3)
        for k in drawn
    ]
    found = there.macro_accuracy.by_clip
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(naive, [0.025, 0.975]))


def test_pairing_is_narrower_than_the_difference_of_two() -> None:
    """Two networks that are wrong on nearly the same clips."""
    rng = np.random.default_rng(0)
    clips = [Clip(f"{k}.wav", k % 3, 1, location=f"x-{k // 10}") for k in range(600)]
    first = np.log(np.full((600, 3), 0.1) + 0.7 * np.eye(3)[(np.arange(600) % 3)])
    hard = rng.random(600) < 0.4
    first[hard] = first[hard][:, [1, 2, 0]]
    second = first.copy()
    second[:12] = second[:12][:, [1, 2, 0]]
    paired = paired_difference(clips, first, second, CLASSES).macro_accuracy.by_clip
    alone = scene_scores(clips, second, CLASSES).macro_accuracy.by_clip
    assert paired is not None and alone is not None
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_coverage(spread: float) -> None:
    """30 locations of 12 clips whose chance to be right varies by `spread` logits between them.

    Of 95 % intervals, those by location cover the truth in 90 to 98 % of 300 data sets (percentile
    intervals of 30 units are a little short). Those by clip do so without a spread, and in less
    than 80 % with one.
    """
    rng = np.random.default_rng(7)
    wide = 1 / (1 + np.exp(-(0.8 + spread * rng.standard_normal(200_000))))
    truth = wide.mean()
    covered = {"clip": 0, "location": 0}
    places = np.repeat(np.arange(30), 12)
    for trial in range(300):
        chance = 1 / (1 + np.exp(-(0.8 + spread * rng.standard_normal(30))))
        right = (rng.random(360) < chance[places]).astype(float)
        rows = np.stack([right, np.ones(360)], axis=1)
        for by, sums in (("clip", rows), ("location", sums_by(places.tolist(), rows))):
            found = interval(sums, _share, by, n_resamples=400, seed=trial)  # type: ignore[arg-type]
            assert found is not None
            covered[by] += found.low <= truth <= found.high
    assert 0.90 <= covered["location"] / 300 <= 0.98
    if spread:
        assert covered["clip"] / 300 < 0.80
    else:
        assert 0.90 <= covered["clip"] / 300 <= 0.98


def _share(totals: np.ndarray) -> np.ndarray:
    return totals[:, 0] / totals[:, 1]


def test_fast_enough() -> None:
    rng = np.random.default_rng(0)
    clips = [Clip(f"{k}.wav", k % 10, 1, location=f"x-{k // 20}") for k in range(3000)]
    found = np.log(rng.dirichlet(np.ones(10), 3000))
    scene_scores(clips, found, "abcdefghij", n_resamples=10)
    began = time.process_time()
    scene_scores(clips, found, "abcdefghij", n_resamples=2000)
    assert time.process_time() - began < 1.0


def test_same_seed_same_intervals(four: SceneScores) -> None:
    clips, found = made_up(0)
    assert scene_scores(clips, found, CLASSES) == scene_scores(clips, found, CLASSES)
    assert scene_scores(clips, found, CLASSES) != scene_scores(clips, found, CLASSES, seed=1)


def test_without_locations_there_is_no_interval_by_them() -> None:
    clips = [Clip(f"{k}.wav", k % 3, 1) for k in range(6)]
    scores = scene_scores(clips, answers([[0.5, 0.3, 0.2]] * 6), CLASSES)
    assert scores.macro_accuracy.by_location is None and scores.macro_accuracy.by_clip is not None
    assert not scores.per_location and not scores.per_city


def test_one_clip_has_no_interval() -> None:
    scores = scene_scores([Clip("1.wav", 0, 1)], answers([[0.5, 0.3, 0.2]]), CLASSES)
    assert scores.macro_accuracy.by_clip is None and scores.macro_accuracy.value == 1
    assert "| - |" in scores_table(scores).replace("      ", "").replace("   ", " ")


def test_a_sure_mistake_is_infinite_in_the_table_and_none_in_json() -> None:
    clips = [Clip(f"{k}.wav", 0, 1) for k in range(3)]
    with np.errstate(divide="ignore"):
        sure = answers([[0.0, 1.0, 0.0]] + [[0.5, 0.3, 0.2]] * 2)
    scores = scene_scores(clips, sure, CLASSES)
    assert scores.log_loss.value == np.inf
    assert scores.to_json()["log_loss"]["value"] is None
    json.dumps(scores.to_json(), allow_nan=False)
    both = paired_difference(clips, sure, sure, CLASSES)
    json.dumps(both.to_json(), allow_nan=False)


def test_json_and_tables_hold_everything(four: SceneScores) -> None:
    plain = json.loads(json.dumps(four.to_json(), allow_nan=False))
    assert plain["macro_accuracy"]["by_location"]["n_units"] == 3
    assert plain["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    text = scores_table(four)
    for words in (
        "4 clips of 3 classes; intervals of 95%",
        "50.0 % to 100.0 % (3)",
        "| rome-1",
        "| oslo",
        "| 1 park",
    ):
        assert words in text
    assert all(line.startswith("|") for line in text.splitlines()[2:] if line)
    clips, found = made_up(0)
    assert "points" in difference_table(paired_difference(clips, found, made_up(1)[1], CLASSES))


def test_bad_input_is_refused() -> None:
    clips = [Clip("1.wav", 0, 1)]
    fine = answers([[0.5, 0.3, 0.2]])
    with pytest.raises(DataError, match=r"\(1, 3\) do not fit 1 clips of 2 classes"):
        scene_scores(clips, fine, ("bus", "park"))
    with pytest.raises(DataError, match="give log-softmax"):
        scene_scores(clips, np.zeros((1, 3)), CLASSES)
    with pytest.raises(DataError, match="give log-softmax"):
        paired_difference(clips, fine, np.zeros((1, 3)), CLASSES)
    with pytest.raises(DataError, match="no clips"):
        scene_scores([], np.zeros((0, 3)), CLASSES)
    with pytest.raises(DataError, match="level=1"):
        scene_scores(clips * 2, np.vstack([fine, fine]), CLASSES, level=1)
    with pytest.raises(DataError, match="give at least 1 of each"):
        scene_scores(clips * 2, np.vstack([fine, fine]), CLASSES, n_resamples=0)
