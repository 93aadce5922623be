"""From clips to the recordings they were cut from: what a network says of a whole one. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.datasets import Clip


def by_segment(
    clips: Sequence[Clip], log_probabilities: NDArray[np.floating]
) -> tuple[tuple[Clip, ...], NDArray[np.float64]]:
    """Segments as clips that bear their names, and the mean over their parts, normalised again.

    (clips, classes) -> (segments, classes), in the order of the segments' first clips; a clip
    without a segment is one of its own. `scene_scores` takes both.

    >>> clips = [Clip("a", 0, 1, segment="s"), Clip("b", 0, 1, segment="s")]
    >>> whole, answers = by_segment(clips, np.log([[0.9, 0.1], [0.4, 0.6]]))
    >>> [clip.name for clip in whole], np.exp(answers).round(3).tolist()
    (['s'], [[0.71, 0.29]])

    Raises:
        DataError: there are no clips, rows too few or too many, or the clips of a segment differ
            in label, device, location or fold.
    """
    if not clips or log_probabilities.ndim != 2 or len(log_probabilities) != len(clips):
        raise DataError(
            f"{len(clips)} clips and log-probabilities {log_probabilities.shape}: give one row a "
            "clip, (clips, classes), and at least one clip"
        )
    whole: dict[str, Clip] = {}
    place: dict[str, int] = {}
    of = np.empty(len(clips), dtype=np.int64)
    for k, clip in enumerate(clips):
        name = clip.segment or clip.name
        of[k] = place.setdefault(name, len(place))
        first = whole.setdefault(name, replace(clip, name=name))
        if first != replace(clip, name=name):
            raise DataError(
                f"clip {clip.name!r} differs from other clips of segment {name!r} in label, "
                "device, location or fold; give it a segment of its own"
            )
    total = np.zeros((len(whole), log_probabilities.shape[1]))
    np.add.at(total, of, log_probabilities)
    mean = total / np.bincount(of)[:, None]
    below = mean - mean.max(axis=1, keepdims=True)
    return tuple(whole.values()), below - np.log(np.exp(below).sum(axis=1, keepdims=True))
