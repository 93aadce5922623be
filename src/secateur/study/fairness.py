"""Is a comparison fair? What was the same for every method, what was not, which cells are missing.

Fairness: same base networks, seeds, scopes and levels (ratios, or budgets of MACs), same
fine-tuning epochs and schedule for every method, at least three seeds, random pruning and training
from scratch as controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from secateur.study.grid import Row, by_method, is_control, repair_of
from secateur.study.resampling import MIN_SEEDS

FULL = "like for like, with both controls"
LIKE = "like for like, not all safeguards"
PARTLY = "like for like on the shared part only"
NONE = "no two methods share a base network"


class Missing(NamedTuple):
    """A cut that some method has and this one lacks."""

    network: str
    strength: float
    seed: int
    fold: int
    criterion: str
    scope: str
    ratio: float


@dataclass(frozen=True)
class Fairness:
    """Level of a comparison in words, with what is the same and what is not.

    `missing` are the cuts that would make every method whole on every base network.
    """

    level: str
    same: tuple[str, ...]
    differs: tuple[str, ...]
    missing: tuple[Missing, ...]


def fairness(rows: Iterable[Row], recipe: Mapping[str, Any] | None = None) -> Fairness:
    """State how fair the comparison in `rows` is; `recipe` knows the fine-tuning, rows do not.

    All rows of a study's folder come from one recipe, whose fine-tuning is that of every method.
    """
    rows = by_method(rows)
    bases = {row["id"]: row for row in rows if row["kind"] == "base"}
    pruned = [row for row in rows if row["kind"] == "pruned" and row["base"] in bases]
    cuts = {(r["base"], r["criterion"], r["scope"], r["ratio_asked"]) for r in pruned}
    criteria = sorted({criterion for _, criterion, _, _ in cuts})
    own = {name: {base for base, c, _, _ in cuts if c == name} for name in criteria}
    methods = [name for name in criteria if not is_control(name)]
    shared = set.intersection(*own.values()) if own else set()
    same, differs = [], []
    levels = {(scope, ratio) for _, _, scope, ratio in cuts}
    used = {base for base, _, _, _ in cuts}
    missing = [
        (base, name, scope, ratio)
        for base, name, (scope, ratio) in product(sorted(used), criteria, sorted(levels))
        if (base, name, scope, ratio) not in cuts
    ]
    if missing:
        lacking = sorted({name for _, name, _, _ in missing})
        differs.append(
            f"{len(missing):,} of {len(missing) + len(cuts):,} cuts are missing, of "
            f"{', '.join(lacking)}; {len(shared)} of {len(used)} base networks were cut by all"
        )
    elif cuts:
        same.append(
            f"every method cut the same {len(used)} base networks, in the same scopes, at the same "
            + _levels(len({ratio for _, ratio in levels}), recipe)
        )
    _tuning(recipe, same, differs)
    seeds = {bases[base]["seed"] for base in shared}
    told = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'} for every method"
    (same if len(seeds) >= MIN_SEEDS else differs).append(
        told if len(seeds) >= MIN_SEEDS else f"{told}, {MIN_SEEDS} are needed to rank"
    )
    _controls(rows, criteria, same, differs)
    if len(criteria) < 2 or not shared or not methods:
        level = NONE
    elif missing:
        level = PARTLY
    else:
        level = LIKE if differs else FULL
    return Fairness(
        level,
        tuple(same),
        tuple(differs),
        tuple(_named(bases[base], *rest) for base, *rest in missing),
    )


def _levels(n: int, recipe: Mapping[str, Any] | None) -> str:
    """What was asked of the cuts, by its name; rows do not tell a ratio from a budget.

    >>> _levels(3, {"pruning": {"fewer_macs": [2, 4, 8]}}), _levels(1, None)
    ('3 budgets of MACs', '1 level')
    """
    asked = (recipe or {}).get("pruning", {})
    if asked.get("fewer_macs"):
        return f"{n} budget{'' if n == 1 else 's'} of MACs"
    return f"{n} {'ratio' if asked.get('ratios') else 'level'}{'' if n == 1 else 's'}"


def _tuning(recipe: Mapping[str, Any] | None, same: list[str], differs: list[str]) -> None:
    tuning = (recipe or {}).get("fine_tuning")
    if tuning is None:
        differs.append("the settings of fine-tuning are not known; give the recipe")
        return
    told = [
        f"{name.replace('_', ' ')} {tuning[name]}"
        for name in ("lr", "optimizer", "schedule")
        if name in tuning
    ]
    epochs = tuning.get("epochs", "?")
    same.append(f"the same fine-tuning for every method: {', '.join([f'{epochs} epochs', *told])}")


def _controls(
    rows: Iterable[Row], criteria: list[str], same: list[str], differs: list[str]
) -> None:
    scratch = {row["network"] for row in rows if row["kind"] == "scratch"}
    there, absent = "a control is {}", "without the control of {}"
    repairs = {repair_of(name) for name in criteria if is_control(name)}
    controlled = bool(criteria) and repairs == {repair_of(name) for name in criteria}
    (same if controlled else differs).append(
        (there if controlled else absent).format("random pruning")
    )
    networks = {row["network"] for row in rows if row["kind"] == "base"}
    lacking = sorted(networks - scratch)
    words = "training from scratch at that size"
    if scratch and not lacking:
        same.append(there.format(words))
    else:
        of = f", for {', '.join(lacking)}" if scratch else ""
        differs.append(absent.format(words) + of)


def _named(base: Row, criterion: str, scope: str, ratio: float) -> Missing:
    where = (base["network"], base["strength"], base["seed"], base["fold"])
    return Missing(*where, criterion, scope, ratio)
