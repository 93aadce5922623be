"""What is said of a network that was cut, once or several times: in lines, and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.channels.cost import cost
from secateur.channels.tabular import (
    MOST,
    Table,
    clipped,
    count,
    notebook,
    paragraph,
    shortened,
    wrapped,
)
from secateur.plan.history import Cuts, GroupChange, changes
from secateur.plan.picture import picture
from secateur.plan.wording import asked_and_reached, costs, reached_of_asked
from secateur.surgery.verification import Verification


def lines(cuts: Cuts, checked: Sequence[Verification], repaired: Sequence[str] = ()) -> list[str]:
    """Costs, what was asked and reached, every group's width and MACs, and what was verified.

    Args:
        cuts: channel maps and plans, the first cut first.
        checked: what was verified of each.
        repaired: what the repair after the last bought.
    """
    rows = changes(cuts)
    shown = _most_macs(rows)
    widths = _with_bars(_widths(rows, shown, len(cuts)), shown) if shown else []
    parts = [
        *(table.lines() for table in _tables(cuts, checked)),
        cuts[-1][1].remarks(),
        widths + _kept(rows),
        _checks(cuts, checked, repaired),
    ]
    return "\n\n".join("\n".join(part) for part in parts).splitlines()


def html(cuts: Cuts, checked: Sequence[Verification], repaired: Sequence[str] = ()) -> str:
    """The same for a notebook, with the picture."""
    rows = changes(cuts)
    shown = _most_macs(rows)
    return notebook(
        picture(cuts, standalone=False),
        *(table.html() for table in _tables(cuts, checked)),
        paragraph("\n".join(cuts[-1][1].remarks())),
        _widths(rows, shown, len(cuts)).html() if shown else "",
        paragraph("\n".join(_kept(rows) + _checks(cuts, checked, repaired))),
    )


def _tables(cuts: Cuts, checked: Sequence[Verification]) -> list[Table]:
    (first, plan), (_, last) = cuts[0], cuts[-1]
    if len(cuts) == 1:
        asked = [asked_and_reached(plan.asked, plan.reached)] if plan.asked else []
        return [costs(plan.before, plan.after), *asked]
    steps = Table(
        "Every cut",
        ("cut", "channels", "params", "MACs", "verified", "reached of asked"),
        [
            (
                str(k),
                *(count(n) for n in (plan.after.channels, plan.after.params, plan.after.macs)),
                found.verdict + (f", {found.largest_error:.1e}" if found.groups else ""),
                shortened(reached_of_asked(plan.asked, plan.reached, exact=False), 52),
            )
            for k, ((_, plan), found) in enumerate(zip(cuts, checked, strict=True), 1)
        ],
        (4, 5),
    )
    return [costs(cost(first), last.after, "first network", "now"), steps]


def _widths(rows: Sequence[GroupChange], shown: Sequence[GroupChange], n: int) -> Table:
    """A row for every group that is shown."""
    more = sum(row.was_cut for row in rows) - len(shown)
    now = "after" if n == 1 else "now"
    return Table(
        f"Width and MACs of every group that was cut, before and {now}",
        ("group", "channels", now, "MACs", now),
        [
            (
                clipped(row.name, MOST),
                f"{row.width_before:,}",
                f"{row.width_after:,}",
                count(row.macs_before),
                count(row.macs_after),
            )
            for row in shown
        ],
        below=f"… and {more} more groups that were cut" if more > 0 else "",
    )


def _with_bars(table: Table, shown: Sequence[GroupChange]) -> list[str]:
    """The same in lines, its widths as bars too."""
    head, *rows = table.lines()
    below = rows[len(shown) :]
    widest = max(row.width_before for row in shown)
    length = max(map(len, rows[: len(shown)]))
    bars = [_bar(row, widest) for row in shown]
    drawn = [f"{line:<{length}}  {bar}" for line, bar in zip(rows, bars, strict=False)]
    return [head, *drawn, *below]


def _bar(row: GroupChange, widest: int) -> str:
    """Of what is cut, something is seen to be gone."""
    whole, kept = (max(1, round(_CELLS * n / widest)) for n in (row.width_before, row.width_after))
    kept = min(kept, max(1, whole - 1))
    return "█" * kept + "░" * (whole - kept)


_CELLS = 30
"""How long the bar of the widest group is."""


def _most_macs(rows: Sequence[GroupChange]) -> list[GroupChange]:
    """Of the groups that were cut those with most MACs, in the network's order."""
    cut = [row for row in rows if row.was_cut]
    largest = sorted(range(len(cut)), key=lambda k: (-cut[k].macs_before, k))[:MOST]
    return [cut[k] for k in sorted(largest)]


def _kept(rows: Sequence[GroupChange]) -> list[str]:
    widths = [(row.width_before, row.width_after) for row in rows if row.width_before]
    same = sum(before == after for before, after in widths)
    if same == len(widths):
        return ["every group keeps its width"]
    keep = "keeps its width" if same == 1 else "keep their width"
    return [f"{same} of {len(widths)} groups {keep}"] if same else []


def _checks(cuts: Cuts, checked: Sequence[Verification], repaired: Sequence[str]) -> list[str]:
    which = "as it was cut" if len(cuts) == 1 else "of the last cut, as it was made"
    said = [f"{which}, before any training:", *str(checked[-1]).splitlines()]
    return wrapped([*said, *repaired])
