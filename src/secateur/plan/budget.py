"""A budget in the user's words. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from numbers import Integral, Real
from typing import Any, get_args

from secateur.channels.cost import Dtype
from secateur.errors import BudgetError, unknown_name
from secateur.plan.latency import LatencyTable

_UNITS = {
    "": 1,
    **{"k": 10**3, "M": 10**6, "G": 10**9},
    **{"Ki": 2**10, "Mi": 2**20, "Gi": 2**30},
}

Amount = int | str
"""A count (30_000_000), a text with a unit ("30M", "128Ki"), or a share of the network's own
("50%" keeps half). k, M and G are powers of 1000; Ki, Mi and Gi powers of 1024."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the pruned network may cost; at least one of the first five or `ratios` is given.

    What it is to cost, all of which must hold:
    `pruning_ratio`: share of the channels to remove, in [0, 1), to the nearest whole channel;
        together with a limit below, at least that share goes.
    `params`, `macs`: parameters, and multiply-accumulates an example, at most: an `Amount`.
    `bytes`: bytes of all parameters at most, an `Amount` with the type they are stored in behind
        it: "128kB@int8"; float32 where none is named.
    `latency_ms`: milliseconds of one example at most, as `latency_table` estimates them, or a share
        of the network's own ("50%").

    What every group keeps to:
    `min_channels`: no group goes below it.
    `max_ratio`: at most this share of any group goes, in (0, 1].
    `round_to`: what stays of a group is a multiple of it, or the whole group; a group with
        fewer channels is left alone.
    `ratios`: share of the channels to remove from some groups, whatever the rest does. A key is
        the name of a group, or else of a layer whose filters are in groups, or a pattern
        (`stage1.*`); of several that match, the last one counts.
    `ignore`: groups, layers or patterns to leave alone; of a layer that only reads channels, the
        groups that it reads.

    Raises:
        BudgetError: nothing is asked for, or a value is out of range.
    """

    pruning_ratio: float | None = None
    params: Amount | None = None
    macs: Amount | None = None
    bytes: Amount | None = None
    latency_ms: float | str | None = None
    latency_table: LatencyTable | None = None
    min_channels: int = 1
    max_ratio: float = 1.0
    round_to: int = 1
    ratios: Mapping[str, float] = field(default_factory=dict, hash=False)
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pruning_ratio is not None:
            _check_share("pruning_ratio is the share of channels removed", self.pruning_ratio)
        for name in ("min_channels", "round_to"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 1:
                raise BudgetError(f"{name} is a whole number from 1; got {value!r}")
        if not _is_number(self.max_ratio) or not 0 < self.max_ratio <= 1:
            raise BudgetError(
                "max_ratio is the largest share of a group that may go, in (0, 1]; "
                f"got {self.max_ratio!r}"
            )
        if self.pruning_ratio is not None and self.pruning_ratio > self.max_ratio:
            raise BudgetError(
                f"pruning_ratio {self.pruning_ratio} is above max_ratio {self.max_ratio}, which no "
                "group may exceed; lower the one or raise the other"
            )
        self._check_names()
        for asked in (self.params, self.macs):
            if asked is not None:
                amount(asked, 100)
        if self.bytes is not None:
            amount(stored(self.bytes)[0], 100)
        if self.latency_ms is not None:
            milliseconds(self.latency_ms, 1.0)
            if not isinstance(self.latency_table, LatencyTable):
                raise BudgetError(
                    "latency_ms needs a latency_table of measured layers; make one with "
                    "`secateur latency`, or secateur.measure_latencies from Python"
                )
        if not self.ratios and not self.limited and self.pruning_ratio is None:
            raise BudgetError(
                "a budget asks for nothing; give at least one of pruning_ratio, params, macs, "
                "bytes, latency_ms and ratios"
            )

    @property
    def limited(self) -> bool:
        """Whether a cost is limited."""
        costs = (self.params, self.macs, self.bytes, self.latency_ms)
        return any(asked is not None for asked in costs)

    @property
    def counts_parameters(self) -> bool:
        """Whether parameters are limited, by their number or their bytes."""
        return self.params is not None or self.bytes is not None

    def _check_names(self) -> None:
        ignore: Any = self.ignore
        if isinstance(ignore, str):
            raise BudgetError(f"ignore is a tuple of group names; write ({ignore!r},)")
        if not isinstance(ignore, Iterable):
            raise BudgetError(f"ignore is a tuple of group names; got {ignore!r}")
        object.__setattr__(self, "ignore", tuple(ignore))
        ratios: Any = self.ratios
        if not isinstance(ratios, Mapping):
            raise BudgetError(f"ratios maps names to shares, {{'stage1.*': 0.3}}; got {ratios!r}")
        object.__setattr__(self, "ratios", dict(ratios))
        for name in (*self.ignore, *self.ratios):
            if not isinstance(name, str) or not name:
                raise BudgetError(f"a group or layer is named by a text; got {name!r}")
        for name, ratio in self.ratios.items():
            _check_share(f"the ratio of {name!r} is the share of channels removed", ratio)
            if ratio > self.max_ratio:
                raise BudgetError(
                    f"the ratio {ratio} of {name!r} is above max_ratio {self.max_ratio}; "
                    "lower the one or raise the other"
                )


def amount(asked: Amount, whole: int) -> int:
    """A count, a count with a unit, or a percentage of `whole`.

    >>> amount("1.5M", 0), amount("2Ki", 0), amount("50%", 640), amount(7, 0)
    (1500000, 2048, 320, 7)

    Raises:
        BudgetError: the text is not one of these, or is not positive.
    """
    if _is_whole(asked):
        value, unit = float(asked), ""
    else:
        is_small = _is_number(asked) and 0 < float(asked) < 1
        match = re.fullmatch(r"\s*(\d*\.?\d+)\s*((?:[kMG]|[KMG]i|%)?)\s*", str(asked))
        if match is None or not (isinstance(asked, str) or is_small):
            raise BudgetError(
                f"cannot read the amount {asked!r}; write 30000000, '30M', '128Ki' or '50%'"
            )
        number, unit = float(match[1]), match[2]
        if unit == "" and 0 < number < 1:
            raise BudgetError(f"{asked} is less than one; did you mean '{number * 100:g}%'?")
        if unit == "%" and number > 100:
            raise BudgetError(f"{asked!r} is more than the whole; a share is at most '100%'")
        value = number * whole / 100 if unit == "%" else number * _UNITS[unit]
    if value <= 0 or (unit != "%" and value < 1):
        raise BudgetError(f"the amount {asked!r} leaves nothing; ask for more than 0")
    return int(value)


def meant(asked: Amount, least: float, whole: int) -> tuple[str, ...]:
    """What a bare number may have been meant as, of what can be reached and is not the whole.

    >>> meant("50", 6346, 159712), meant("40@int8", 26000, 66000), meant("50k", 6346, 159712)
    (('50%', '50k'), ('40%@int8', '40k@int8'), ())
    """
    number, at, dtype = (part.strip() for part in str(asked).partition("@"))
    try:
        bare = float(number)
    except ValueError:
        return ()
    units = ("%", "k", "M") if bare <= 100 else ("k", "M")
    as_amounts = {f"{number}{unit}": amount(f"{number}{unit}", whole) for unit in units}
    return tuple(
        f"{text}{at}{dtype}" for text, count in as_amounts.items() if least <= count < whole
    )


def stored(asked: Amount) -> tuple[Amount, Dtype]:
    """An amount of bytes and the type that parameters are stored in.

    >>> stored("128kB@int8"), stored(500), stored("50%@float16")
    (('128k', 'int8'), (500, 'float32'), ('50%', 'float16'))

    Raises:
        BudgetError: there is no such type.
    """
    if not isinstance(asked, str):
        return asked, "float32"
    size, at, dtype = (part.strip() for part in asked.partition("@"))
    for known in get_args(Dtype):
        if dtype == known or (not at and known == "float32"):
            return size.removesuffix("B"), known
    text = unknown_name("storage type", dtype, get_args(Dtype))
    raise BudgetError(f"{text}; write bytes as '128kB@int8'")


def milliseconds(asked: float | str, whole: float) -> float:
    """A time, or a percentage of `whole`.

    >>> milliseconds(5, 8.0), milliseconds("2.5", 8.0), milliseconds("50%", 8.0)
    (5.0, 2.5, 4.0)

    Raises:
        BudgetError: it is not one of these, or is not positive.
    """
    text = str(asked).strip()
    share = text.endswith("%")
    try:
        if isinstance(asked, bool):
            raise ValueError
        value = float(text.removesuffix("%"))
    except ValueError:
        value = 0.0
    if not isfinite(value) or value <= 0 or (share and value > 100):
        raise BudgetError(f"cannot read the latency_ms {asked!r}; write 5, '2.5' or '50%'")
    return value * whole / 100 if share else value


def _check_share(what: str, ratio: Any) -> None:
    if not _is_number(ratio) or not 0 <= ratio < 1:
        raise BudgetError(f"{what}, in [0, 1); got {ratio!r}")


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and isfinite(value)
