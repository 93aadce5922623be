"""Numbers and counts as a reader wants them; nothing is ever shown as None or NaN."""

from __future__ import annotations

import re

NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    r"""Share as a percentage; the space does not break.

    >>> percent(0.8125), percent(None)
    ('81.2\xa0%', '–')
    """
    return NOTHING if share is None else f"{minus(f'{100 * share:.{digits}f}')}\N{NO-BREAK SPACE}%"


def points(difference: float | None) -> str:
    """Difference of two shares in percentage points, with its sign.

    >>> points(-0.0125)
    '−1.2'
    """
    return NOTHING if difference is None else minus(f"{100 * difference:+.1f}")


def number(value: float | None, digits: int = 2) -> str:
    """Plain number.

    >>> number(-0.456)
    '−0.46'
    """
    return NOTHING if value is None else minus(f"{value:.{digits}f}")


def between(low: float | None, high: float | None, scale: float = 1.0, digits: int = 2) -> str:
    """Interval in words.

    >>> between(0.1, 0.25, scale=100, digits=0)
    '10 to 25'
    """
    if low is None or high is None:
        return NOTHING
    return f"{number(scale * low, digits)} to {number(scale * high, digits)}"


def million(count: float) -> str:
    """Count in millions with three significant digits.

    >>> million(10_240_000), million(8_000)
    ('10.2 M', '0.008 M')
    """
    return f"{count / 1e6:.3g} M"


def duration(seconds: float) -> str:
    """Seconds in the largest fitting unit.

    >>> duration(42), duration(600), duration(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def count(n: int, what: str, many: str | None = None) -> str:
    """Number and noun.

    >>> count(1, "seed"), count(3, "seed"), count(2, "family", "families")
    ('1 seed', '3 seeds', '2 families')
    """
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def loss(share: float) -> str:
    """Accepted loss of accuracy in percentage points.

    >>> loss(0.01), loss(0.02)
    ('1 point', '2 points')
    """
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def level(asked: float, by_macs: bool = False) -> str:
    r"""How much was asked to go: a share of channels, or times fewer MACs.

    >>> level(0.5), level(0.75, by_macs=True), level(0.0, by_macs=True)
    ('50\xa0%', '4× fewer MACs', 'unpruned')
    """
    if not by_macs:
        return percent(asked, 0)
    return f"{1 / (1 - asked):.3g}× fewer MACs" if asked else "unpruned"


def listed(words: list[str]) -> str:
    """Words joined with commas and a last and.

    >>> listed(["l1", "l2", "gm"])
    'l1, l2 and gm'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def minus(text: str) -> str:
    """The text with true minus signs before numbers; a rounded −0 loses it.

    >>> minus("-1.07"), minus("-0.0"), minus("-0.00 (-0.05 to +0.00)."), minus("batch-norm at -2")
    ('−1.07', '0.0', '0.00 (−0.05 to +0.00).', 'batch-norm at −2')
    """
    text = re.sub(r"(?<!\w)-(?=0(?:\.0*)?(?!\.?\d))", "", text)
    return re.sub(r"-(?=\d)", "−", text)
