"""How good a classifier of scenes is: one value with every number, its JSON and its table.

Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DataError
from secateur.scenes.bootstrap import LEVEL, RESAMPLES, Floats, Interval, interval, sums_by
from secateur.scenes.datasets import Clip
from secateur.scenes.metrics import confusion, log_loss, macro_accuracy

LogProbabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Group:
    """The clips that have something in common: a class, a device, a city, a location.

    `accuracy` counts clips alike, `macro_accuracy` classes; `log_loss` is in nats.
    """

    name: str
    n: int
    accuracy: float
    macro_accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Estimate:
    """A value and its intervals; by location there is none where no clip says where it was made."""

    value: float
    by_clip: Interval | None
    by_location: Interval | None


@dataclass(frozen=True)
class SceneScores:
    """All that is known of a classifier's answers on `n` clips.

    `confusion[i][j]` counts clips of class i taken for class j. The groups are there for what the
    clips state: no cities are listed where none is given.
    """

    n: int
    classes: tuple[str, ...]
    macro_accuracy: Estimate
    log_loss: Estimate
    accuracy: float
    per_class: tuple[Group, ...]
    per_device: tuple[Group, ...]
    per_city: tuple[Group, ...]
    per_location: tuple[Group, ...]
    confusion: tuple[tuple[int, ...], ...]
    n_resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; a number that is not finite becomes None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first, of two classifiers that heard the same `n` clips."""

    n: int
    macro_accuracy: Estimate
    log_loss: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain values; a number that is not finite becomes None."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain


def scene_scores(
    clips: Sequence[Clip],
    log_probabilities: LogProbabilities,
    classes: Sequence[str],
    *,
    n_resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> SceneScores:
    """Every number of a classifier's answers (n, n_classes), with percentile intervals.

    Raises:
        DataError: there are no clips, shapes do not fit, or a row does not sum to one.
    """
    labels = _labels(clips, log_probabilities, classes)
    loss = log_loss(labels, log_probabilities)
    predictions = np.argmax(log_probabilities, axis=1)
    sums = _sums(labels, log_probabilities)
    estimate = partial(_estimate, clips, sums, n_resamples=n_resamples, level=level, seed=seed)
    found = partial(_groups, sums)
    return SceneScores(
        n=len(labels),
        classes=tuple(classes),
        macro_accuracy=estimate(
            macro_accuracy(labels, predictions, len(classes)), _macro_accuracies
        ),
        log_loss=estimate(loss, _log_losses),
        accuracy=float((predictions == labels).mean()),
        per_class=found([classes[clip.label] for clip in clips], order=classes),
        per_device=found([clip.device for clip in clips]),
        per_city=found([clip.city for clip in clips]),
        per_location=found([clip.location for clip in clips]),
        confusion=tuple(
            tuple(row) for row in confusion(labels, predictions, len(classes)).tolist()
        ),
        n_resamples=n_resamples,
        seed=seed,
    )


def paired_difference(
    clips: Sequence[Clip],
    first: LogProbabilities,
    second: LogProbabilities,
    classes: Sequence[str],
    *,
    n_resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedDifference:
    """Second minus first. A resample holds the same clips for both: what is hard for both cancels.

    Raises:
        DataError: there are no clips, shapes do not fit, or a row does not sum to one.
    """
    sides = []
    for answers in (first, second):
        labels = _labels(clips, answers, classes)
        log_loss(labels, answers)
        sides.append(_sums(labels, answers))
    sums = np.hstack(sides)
    middle = sums.shape[1] // 2

    def difference(statistic: Callable[[Floats], Floats], totals: Floats) -> Floats:
        with np.errstate(invalid="ignore"):  # both infinite: undefined, and left out
            return statistic(totals[:, middle:]) - statistic(totals[:, :middle])

    def estimate(statistic: Callable[[Floats], Floats]) -> Estimate:
        both = partial(difference, statistic)
        value = float(both(sums.sum(axis=0, keepdims=True))[0])
        return _estimate(clips, sums, value, both, n_resamples=n_resamples, level=level, seed=seed)

    return PairedDifference(len(clips), estimate(_macro_accuracies), estimate(_log_losses))


def _labels(
    clips: Sequence[Clip], answers: LogProbabilities, classes: Sequence[str]
) -> NDArray[np.int64]:
    if answers.ndim != 2 or answers.shape != (len(clips), len(classes)):
        raise DataError(
            f"answers of shape {answers.shape} do not fit {len(clips)} clips of {len(classes)} "
            f"classes; give log-probabilities ({len(clips)}, {len(classes)})"
        )
    return np.array([clip.label for clip in clips], dtype=np.int64)


# A clip as a row of sums: per class right answers and clips, then loss, infinite losses, clips.
_OTHERS = 3


def _sums(labels: NDArray[np.int64], answers: LogProbabilities) -> Floats:
    n, n_classes = answers.shape
    rows = np.arange(n)
    sums = np.zeros((n, 2 * n_classes + _OTHERS))
    sums[rows, labels] = np.argmax(answers, axis=1) == labels
    sums[rows, n_classes + labels] = 1
    losses = -np.asarray(answers, dtype=np.float64)[rows, labels]
    sums[:, -3] = np.where(np.isfinite(losses), losses, 0.0)
    sums[:, -2] = ~np.isfinite(losses)
    sums[:, -1] = 1
    return sums


def _macro_accuracies(totals: Floats) -> Floats:
    n_classes = (totals.shape[1] - _OTHERS) // 2
    right, sizes = totals[:, :n_classes], totals[:, n_classes : 2 * n_classes]
    there = sizes > 0
    shares = np.divide(right, sizes, out=np.zeros_like(right), where=there)
    found: Floats = shares.sum(axis=1) / there.sum(axis=1)
    return found


def _log_losses(totals: Floats) -> Floats:
    return np.where(totals[:, -2] > 0, np.inf, totals[:, -3] / totals[:, -1])


def _estimate(
    clips: Sequence[Clip],
    sums: Floats,
    value: float,
    statistic: Callable[[Floats], Floats],
    *,
    n_resamples: int,
    level: float,
    seed: int,
) -> Estimate:
    found = partial(interval, statistic=statistic, n_resamples=n_resamples, level=level, seed=seed)
    by_location = None
    if any(clip.location for clip in clips):
        places = [clip.location or clip.name for clip in clips]
        by_location = found(sums_by(places, sums), by="location")
    return Estimate(value, found(sums, by="clip"), by_location)


def _groups(sums: Floats, names: Sequence[str], order: Sequence[str] = ()) -> tuple[Group, ...]:
    """Groups by name, in the order given, else sorted; clips without a name are in none."""
    there = dict.fromkeys(names)
    totals = dict(zip(there, sums_by(names, sums), strict=True))
    return tuple(
        _group(name, totals[name][None])
        for name in (order or sorted(there))
        if name and name in totals
    )


def _group(name: str, total: Floats) -> Group:
    n_classes, n = (total.shape[1] - _OTHERS) // 2, int(total[0, -1])
    return Group(
        name=name,
        n=n,
        accuracy=float(total[0, :n_classes].sum() / n),
        macro_accuracy=float(_macro_accuracies(total)[0]),
        log_loss=float(_log_losses(total)[0]),
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
