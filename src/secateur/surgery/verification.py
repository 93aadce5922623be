"""What of a cut was verified, against what, and how far apart they are: a value and its words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from secateur.channels.tabular import COLUMNS, Table, notebook, paragraph, shortened, wrapped

TOLERANCE = 1e-10

How = Literal["silent", "kept statistics", "computed weight"]
"""Against which reference a group is verified.

`silent`: the whole network with the group's removed channels at zero. `kept statistics`: the same,
with every operator across channels (a layer norm, a softmax) over the channels that are kept.
`computed weight`: the same, with a weight that the network computes from others computed from what
is kept of it; it is then another weight than it was.
"""


@dataclass(frozen=True)
class Verification:
    """What of a cut was verified, against what, and how far apart the two are.

    Attributes:
        relative_error: the largest difference beyond rounding, over all outputs and inputs, in
            float64, each over its number or the median of those that differ. The reference is the
            whole network with the removed channels silent, and with what `groups` says of the rest.
        groups: every group that lost channels -> against which reference it is verified.
        operators: operators across channels that these groups meet, with the line.
        silence_error: how far the cut network is from the whole one with silent channels that
            operators across channels, and computed weights, still count as zeros; None where no
            group meets one.
        permutation_error: how far it is from the network of which the channels of these groups were
            permuted everywhere before the same cut; None where none meets one, or their order
            counts.
        inputs: the sizes of the inputs that were tried, the example's first.
        tells: whether the outputs can tell: not if all are whole numbers, truth values or zeros.
        unreached: modules whose parameters the example does not reach (a head for training only, a
            branch for longer inputs): they stay as they are, and nothing is known of them.
    """

    relative_error: float
    groups: Mapping[str, How] = field(default_factory=dict)
    operators: tuple[str, ...] = ()
    silence_error: float | None = None
    permutation_error: float | None = None
    inputs: tuple[str, ...] = ()
    tells: bool = True
    unreached: tuple[str, ...] = ()

    @property
    def largest_error(self) -> float:
        """How far the cut network is from its reference, or from itself after a permutation."""
        return max(self.relative_error, self.permutation_error or 0.0)

    @property
    def holds(self) -> bool:
        """Whether both are within 1e-10."""
        return self.largest_error <= TOLERANCE

    @property
    def exact(self) -> bool:
        """Whether it equals the whole network with the removed channels silent, within 1e-10.

        What is taken over kept channels is not, even where the inputs that were tried hide it; nor
        is that known where the outputs tell nothing.
        """
        silent = "kept statistics" not in self.groups.values()
        return self.holds and self.tells and silent and (self.silence_error or 0.0) <= TOLERANCE

    @property
    def verdict(self) -> str:
        """In a word or two: "exact", "as referenced", "DIFFERS", "tells little", "nothing went"."""
        if not self.groups:
            return "nothing went"
        if not self.holds:
            return "DIFFERS"
        return "exact" if self.exact else "as referenced" if self.tells else "tells little"

    def __str__(self) -> str:
        """The same in words, a line for each kind of reference."""
        if not self.groups:
            return "no channel went, and nothing was compared"
        lines = [
            f"{self._what()}:",
            f"largest difference {self.largest_error:.1e} (allowed {TOLERANCE:g}), in float64, on "
            f"inputs of {' and '.join(self.inputs)}",
        ]
        for how, n in Counter(self.groups.values()).items() if not self.exact else ():
            lines.append(f"{n} group{'s' * (n > 1)}: {_WORDS[how]}")
        return "\n".join(wrapped([*lines, *self._remarks()]))

    def _repr_html_(self) -> str:
        """The same for a notebook: every kind of reference with its groups."""
        if not self.groups:
            return notebook(paragraph(str(self)))
        facts = Table(
            f"T{self._what()[1:]}",
            ("", ""),
            [
                ("largest difference, float64", f"{self.largest_error:.1e}"),
                ("allowed", f"{TOLERANCE:g}"),
                ("inputs", " and ".join(self.inputs)),
            ],
            (0, 1),
        )
        named: dict[How, list[str]] = {}
        for group, how in self.groups.items():
            named.setdefault(how, []).append(group)
        held = Table(
            "What each group was held against",
            ("groups", "", "reference"),
            [(shortened(n, COLUMNS), f"{len(n):,}", _WORDS[how]) for how, n in named.items()],
            (0, 2),
        )
        return notebook(facts.html(), held.html(), paragraph("\n".join(self._remarks())))

    def _what(self) -> str:
        if self.exact:
            return "the cut network is the whole network with the removed channels silent"
        if self.holds:
            return "the cut network is as its references say"
        return "the cut network DIFFERS from its references"

    def _remarks(self) -> list[str]:
        """What else is to be known of the comparison."""
        lines = []
        if not self.tells:
            lines.append("the outputs are all whole numbers or zeros, and tell little of a cut")
        if self.unreached:
            names = shortened(self.unreached, COLUMNS)
            lines.append(f"not reached by the example, held against nothing: {names}")
        if self.operators:
            lines.append(f"operators across channels: {shortened(self.operators, COLUMNS)}")
        if self.permutation_error is not None:
            lines.append(
                "permuting these groups' channels before the cut changes the outputs by "
                f"{self.permutation_error:.1e}"
            )
        if self.silence_error is not None:
            lines.append(
                f"from the whole network with silent channels counted as zeros it differs by "
                f"{self.silence_error:.1e}"
            )
        return lines


_WORDS: Mapping[How, str] = {
    "silent": "the whole network with these channels silent",
    "kept statistics": (
        "the whole network with these channels silent, operators across channels taken over those "
        "that are kept"
    ),
    "computed weight": (
        "the whole network with these channels silent, weights computed from what is kept; they "
        "are other weights than before"
    ),
}
