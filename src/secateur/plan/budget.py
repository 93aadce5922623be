"""A budget in the user's words. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from secateur.errors import BudgetError

_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@dataclass(frozen=True)
class Budget:
    """What the pruned network may cost.

    Exactly one of the two is given:
    `pruning_ratio`: share of channels removed, in [0, 1);
    `macs`: multiply-accumulates an example may cost, as a count (30_000_000), a text with a unit
    ("30M", "128k"), or a share of the network's own ("50%" keeps half).
    No group goes below `min_channels`; groups named in `ignore` are left alone.

    Raises:
        BudgetError: none or both are given, or a value is out of range.
    """

    pruning_ratio: float | None = None
    macs: int | str | None = None
    min_channels: int = 1
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.pruning_ratio is None) == (self.macs is None):
            raise BudgetError("a budget needs exactly one of pruning_ratio and macs")
        ratio: Any = self.pruning_ratio
        if ratio is not None and (isinstance(ratio, str) or not 0 <= ratio < 1):
            raise BudgetError(
                f"pruning_ratio is the share of channels removed, in [0, 1); got {ratio!r}"
            )
        if not isinstance(self.min_channels, int) or self.min_channels < 1:
            raise BudgetError(f"min_channels is a whole number from 1; got {self.min_channels!r}")
        ignore: Any = self.ignore
        if isinstance(ignore, str):
            raise BudgetError(f"ignore is a tuple of group names; write ({ignore!r},)")
        if self.macs is not None:
            amount(self.macs, 100)

    def macs_limit(self, before: int) -> int:
        """The MACs allowed for a network that costs `before`."""
        assert self.macs is not None
        return amount(self.macs, before)


def amount(asked: int | str, whole: int) -> int:
    """A count, a count with a unit, or a percentage of `whole`.

    >>> amount("1.5M", 0), amount("50%", 640), amount(7, 0)
    (1500000, 320, 7)

    Raises:
        BudgetError: the text is not one of these, or is not positive.
    """
    if isinstance(asked, int) and not isinstance(asked, bool):
        value: float = asked
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMG%]?)\s*", str(asked))
        if match is None or not isinstance(asked, str):
            raise BudgetError(f"cannot read the amount {asked!r}; write 30000000, '30M' or '50%'")
        number, unit = float(match[1]), match[2]
        if unit == "%" and number > 100:
            raise BudgetError(f"{asked!r} is more than the whole; a share is at most '100%'")
        value = number * whole / 100 if unit == "%" else number * _UNITS[unit]
    if value <= 0:
        raise BudgetError(f"the amount {asked!r} leaves nothing; ask for more than 0")
    return int(value)
