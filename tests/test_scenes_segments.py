"""Averages over segments, checked on paper."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.errors import DataError
from secateur.scenes.datasets import Clip
from secateur.scenes.scores import scene_scores
from secateur.scenes.segments import by_segment
from secateur.scenes.synthesis import synthetic_scenes


def test_two_segments_and_a_clip_of_its_own() -> None:
    clips = [
        Clip("x", 0, 1, segment="one"),
        Clip("y", 1, 1),
        Clip("z", 0, 1, segment="one"),
    ]
    p = np.array([[0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    whole, answers = by_segment(clips, np.log(p))
    assert [clip.name for clip in whole] == ["one", "y"]
    assert [clip.label for clip in whole] == [0, 1]
    assert np.allclose(np.exp(answers), [[0.5, 0.5], [0.3, 0.7]])


def test_rows_sum_to_one_however_sure_the_parts_are() -> None:
    clips = [Clip(str(k), 0, 1, segment="s") for k in range(2)]
    _, answers = by_segment(clips, np.array([[0.0, -1000.0], [-2000.0, 0.0]]))
    assert np.exp(answers).sum() == pytest.approx(1) and answers[0].tolist() == [-500, 0]


def test_one_sure_right_part_of_ten_wins_over_nine_that_waver() -> None:
    clips = [Clip(str(k), 0, 1, segment="s") for k in range(10)]
    p = np.array([[0.99, 0.01]] + [[0.45, 0.55]] * 9)
    assert scene_scores(clips, np.log(p), ("a", "b"), n_resamples=10).accuracy == 0.1
    assert scene_scores(*by_segment(clips, np.log(p)), ("a", "b"), n_resamples=10).accuracy == 1


def test_generated_segments_are_found() -> None:
    clips = synthetic_scenes(n_locations=4, clips_per_location=6, parts=3).clips
    whole, answers = by_segment(clips, np.full((len(clips), 10), -np.log(10)))
    assert len(whole) == len(clips) // 3 and answers.shape == (len(whole), 10)
    assert np.allclose(answers, -np.log(10))


@pytest.mark.parametrize(
    ("clips", "rows", "words"),
    [
        ([], np.zeros((0, 2)), "at least one clip"),
        ([Clip("a", 0, 1)], np.zeros((2, 2)), "give one row a clip"),
        ([Clip("a", 0, 1)], np.zeros(1), "give one row a clip"),
        (
            [Clip("a", 0, 1, segment="s"), Clip("b", 1, 1, segment="s")],
            np.zeros((2, 2)),
            "clip 'b' differs from other clips of segment 's'",
        ),
        (
            [Clip("a", 0, 1, "a", segment="s"), Clip("b", 0, 1, "b", segment="s")],
            np.zeros((2, 2)),
            "give it a segment of its own",
        ),
    ],
)
def test_what_does_not_fit_is_refused(clips: list[Clip], rows: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        by_segment(clips, rows)
