"""Scores as tables in Markdown that are lined up, for a terminal and for a file. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.scenes.bootstrap import Interval
from secateur.scenes.scores import Estimate, Group, PairedDifference, SceneScores

Shown = Callable[[float], str]

_MOST_LOCATIONS = 10
"""Locations that are listed, the worst first; the JSON has all."""


def scores_table(scores: SceneScores) -> str:
    """Everything of `scores` but locations beyond the worst ten."""
    macro, loss = scores.macro_accuracy, scores.log_loss
    parts = [
        f"{scores.n} clips of {len(scores.classes)} classes; intervals of {_level(macro)} by "
        f"{scores.n_resamples} resamples, seed {scores.seed}",
        _table(
            ("", "value", "by clip (drawn)", "by location (drawn)"),
            [
                ("macro accuracy", _percent(macro.value), *_ends(macro, _percent)),
                ("log loss", _nats(loss.value), *_ends(loss, _nats)),
                ("accuracy of all clips", _percent(scores.accuracy), "", ""),
            ],
        ),
    ]
    worst = sorted(scores.per_location, key=lambda group: group.accuracy)[:_MOST_LOCATIONS]
    more = len(scores.per_location) - len(worst)
    location = f"location, the worst {len(worst)} of {more + len(worst)}" if more else "location"
    for title, groups in (
        ("class", scores.per_class),
        ("device", scores.per_device),
        ("city", scores.per_city),
        (location, worst),
    ):
        if groups:
            parts.append(_groups(title, groups))
    parts.append(_confusion(scores))
    return "\n\n".join(parts)


def difference_table(difference: PairedDifference) -> str:
    """Differences in points and nats, with their intervals."""
    macro, loss = difference.macro_accuracy, difference.log_loss
    return _table(
        ("difference on the same clips", "value", "by clip (drawn)", "by location (drawn)"),
        [
            ("macro accuracy", _points(macro.value), *_ends(macro, _points)),
            ("log loss", f"{loss.value:+.3f}", *_ends(loss, "{:+.3f}".format)),
        ],
    )


def _groups(title: str, groups: Sequence[Group]) -> str:
    shared = title in ("device", "city")  # by several classes: the others are of one
    head = (title, "clips", "accuracy", *(["macro accuracy"] if shared else []), "log loss")
    rows = [
        (
            group.name,
            str(group.n),
            _percent(group.accuracy),
            *([_percent(group.macro_accuracy)] if shared else []),
            _nats(group.log_loss),
        )
        for group in groups
    ]
    return _table(head, rows)


def _confusion(scores: SceneScores) -> str:
    heads = [str(label) for label in range(len(scores.classes))]
    rows = [
        (f"{label} {name}", *(str(n) if n else "." for n in row))
        for label, (name, row) in enumerate(zip(scores.classes, scores.confusion, strict=True))
    ]
    return _table(("is, taken for", *heads), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _ends(estimate: Estimate, shown: Shown) -> tuple[str, str]:
    def ends(found: Interval | None) -> str:
        if found is None:
            return "-"
        return f"{shown(found.low)} to {shown(found.high)} ({found.n_units})"

    return ends(estimate.by_clip), ends(estimate.by_location)


def _level(estimate: Estimate) -> str:
    return f"{estimate.by_clip.level:.0%}" if estimate.by_clip else "-"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"


def _nats(value: float) -> str:
    return f"{value:.3f}"
