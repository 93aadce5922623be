"""What a plan comes to, as tables and lines: of one cut, or of several. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.channels.cost import Cost
from secateur.channels.tabular import Table, count
from secateur.plan.reach import unit_of


def costs(before: Cost, after: Cost, first: str = "before", now: str = "after") -> Table:
    """Channels, parameters and MACs before and after, and the share that is left."""
    names = {"channels": "channels", "params": "parameters", "macs": "MACs"}
    both = {label: (getattr(before, name), getattr(after, name)) for name, label in names.items()}
    rows = [
        (label, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "-")
        for label, (old, new) in both.items()
    ]
    return Table(f"What the network costs, {first} and {now}", ("", first, now, "left"), rows)


def asked_and_reached(asked: Mapping[str, float], reached: Mapping[str, float]) -> Table:
    """Every part of a budget beside what the plan reaches, and that as a share of it."""
    rows = [
        (
            _label(name),
            number(name, n),
            number(name, reached[name]),
            f"{reached[name] / n:.1%}" if n else "-",
        )
        for name, n in asked.items()
    ]
    return Table("What was asked and reached", ("", "asked", "reached", "of asked"), rows)


def reached_of_asked(
    asked: Mapping[str, float], reached: Mapping[str, float], *, exact: bool = True
) -> list[str]:
    """The same as a text for every part of the budget, large numbers in three digits if not exact.

    >>> asked = {"macs": 660_528, "pruning_ratio": 0.5}
    >>> reached = {"macs": 656_888, "pruning_ratio": 0.4}
    >>> reached_of_asked(asked, reached)
    ['MACs 656,888 of 660,528', 'share of channels removed 40.0% of 50.0%']
    >>> reached_of_asked(asked, reached, exact=False)[0]
    'MACs 657k of 661k'
    """

    def said(name: str, value: float) -> str:
        return number(name, value) if exact or value < 1000 else count(value)

    return [
        f"{_label(name)} {said(name, reached[name])} of {said(name, n)}"
        for name, n in asked.items()
    ]


def number(name: str, value: float) -> str:
    """The number of a part of a budget: a share in percent, anything else as it is."""
    if "ratio" in name.partition(" ")[0]:
        return f"{value:.1%}"
    return f"{int(value):,}" if value == int(value) else f"{value:,.4g}"


def _label(name: str) -> str:
    return "share of channels removed" if name == "pruning_ratio" else unit_of(name)
