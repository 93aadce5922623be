"""A study's rows as arrays: a table for each cell of the grid, a block for each fair comparison.

Rows are read once; everything that compares works on these arrays. Control rows of kind `scratch`
are the sizes of uniform cuts trained from new weights; they lie beside every uniform cut of the
same network, seed, fold and ratio asked, whatever its strength and criterion: the size is the same.

Where cuts were repaired in several ways, a method is a criterion and a repair (`by_method`), and is
what is called the criterion in all that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.study.measures import Floats
from secateur.study.resampling import seed_means

Row = Mapping[str, Any]
"""One row of a study, as its store gives it back."""

CONTROL = "random"
"""The criterion that knows nothing; every other one is compared with it."""

_THEN = " + "

FIELDS = ("ratio_reached", "accuracy", "accuracy_cut", "macs", "params")

COSTS = ("macs", "params")


class Cell(NamedTuple):
    """A place in a study's grid."""

    network: str
    strength: float
    criterion: str
    scope: str


@dataclass(frozen=True)
class Table:
    """One cell: a row a base network, a column a ratio asked (0, the unpruned one, first).

    `values` maps a field to shape (bases, ratios), NaN if absent; `scratch` is the accuracy of the
    same size trained from new weights. `dense` maps accuracy, macs and params to those of the
    network trained without sparsification, of the same seed and fold: shape (bases,).
    """

    cell: Cell
    bases: tuple[Row, ...]
    ratios: tuple[float, ...]
    values: Mapping[str, Floats]
    scratch: Floats
    dense: Mapping[str, Floats]

    @cached_property
    def seeds(self) -> NDArray[np.int_]:
        """Seed of every base network."""
        return np.array([base["seed"] for base in self.bases], dtype=int)

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        """Which base networks have every ratio and a dense network to be measured against."""
        cut = np.isfinite(self.values["accuracy"]).all(axis=1)
        return np.asarray(cut & np.isfinite(self.dense["accuracy"]))


@dataclass(frozen=True)
class Block:
    """One network and scope, on the seeds that have every cell: what can be compared fairly.

    `values` maps a field, and `scratch` where there is any, to shape (criteria, strengths, seeds,
    ratios), averaged over the folds of a seed; `dense` to (seeds,). `ws` and `inactive` have shape
    (strengths, seeds). `left_out` are seeds that lack a cell.
    """

    network: str
    scope: str
    criteria: tuple[str, ...]
    strengths: tuple[float, ...]
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]
    left_out: tuple[int, ...]
    values: Mapping[str, Floats]
    dense: Mapping[str, Floats]
    ws: Floats
    inactive: Floats


def method_name(criterion: str, repair: str) -> str:
    """What cuts by a criterion are called that were then repaired.

    >>> method_name("l1", "none"), method_name("l1", "reconstruct")
    ('l1', 'l1 + reconstruct')
    """
    return criterion if repair == "none" else criterion + _THEN + repair


def criterion_of(method: str) -> str:
    """The criterion of a method; a criterion is one itself.

    >>> criterion_of("l1 + reconstruct"), criterion_of("l1")
    ('l1', 'l1')
    """
    return method.partition(_THEN)[0]


def repair_of(method: str) -> str:
    """The repair of a method, "none" where its name has none."""
    return method.partition(_THEN)[2] or "none"


def is_control(method: str) -> bool:
    """Whether it is random pruning, whatever was repaired after."""
    return criterion_of(method) == CONTROL


def repairs_in(rows: Iterable[Row]) -> tuple[str, ...]:
    """Repairs of the cuts in rows: "none" where there is none, then the others by name."""
    found = {row.get("repair", "none") for row in rows if row["kind"] == "pruned"}
    return tuple(sorted(found, key=lambda repair: (repair != "none", repair)))


def by_method(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows in which `criterion` is the method, with its repair where rows hold several repairs.

    Of a repaired cut `accuracy_cut`, what it has before fine-tuning, is that after the repair. Rows
    that are so already stay as they are.
    """
    rows = tuple(rows)
    several = len(repairs_in(rows)) > 1
    return tuple(_of_method(row, several) if "repair" in row else row for row in rows)


def _of_method(row: Row, several: bool) -> Row:
    plain = {name: value for name, value in row.items() if name != "repair"}
    name = method_name(row["criterion"], row["repair"]) if several else row["criterion"]
    return plain | {"criterion": name, "accuracy_cut": row["accuracy_repaired"]}


def tables(rows: Iterable[Row]) -> tuple[Table, ...]:
    """The cells of a study's grid, sorted."""
    rows = by_method(rows)
    bases = {row["id"]: row for row in rows if row["kind"] == "base"}
    dense = {
        (row["network"], row["seed"], row["fold"]): row
        for row in bases.values()
        if row["strength"] == 0
    }
    scratch = {
        (row["network"], row["seed"], row["fold"], row["ratio_asked"]): row["accuracy"]
        for row in rows
        if row["kind"] == "scratch"
    }
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        if row["kind"] == "pruned" and row["base"] in bases and row["ratio_asked"] > 0:
            cell = Cell(row["network"], row["strength"], row["criterion"], row["scope"])
            cells.setdefault(cell, []).append(row)
    return tuple(_table(cell, cells[cell], bases, dense, scratch) for cell in sorted(cells))


def blocks(cells: Iterable[Table]) -> tuple[Block, ...]:
    """Every network and scope, on the seeds in which all its criteria and strengths are whole."""
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in cells:
        groups.setdefault((table.cell.network, table.cell.scope), []).append(table)
    return tuple(_block(*key, groups[key]) for key in sorted(groups))


def _table(
    cell: Cell,
    own: Sequence[Row],
    all_bases: Mapping[str, Row],
    dense: Mapping[tuple[str, int, int], Row],
    scratch: Mapping[tuple[str, int, int, float], float],
) -> Table:
    place = {name: k for k, name in enumerate(dict.fromkeys(row["base"] for row in own))}
    bases = tuple(all_bases[name] for name in place)
    asked, column = np.unique([row["ratio_asked"] for row in own], return_inverse=True)
    line = [place[row["base"]] for row in own]
    values = {}
    for field in FIELDS:
        values[field] = np.full((len(bases), 1 + len(asked)), np.nan)
        values[field][line, 1 + column] = [row[field] for row in own]
        source = {"ratio_reached": None, "accuracy_cut": "accuracy"}.get(field, field)
        values[field][:, 0] = [base[source] for base in bases] if source else 0.0
    control = np.full((len(bases), 1 + len(asked)), np.nan)
    if scratch and cell.scope == "uniform":
        control[line, 1 + column] = [
            scratch.get((row["network"], row["seed"], row["fold"], row["ratio_asked"]), np.nan)
            for row in own
        ]
    twins = [dense.get((cell.network, base["seed"], base["fold"])) for base in bases]
    return Table(
        cell=cell,
        bases=bases,
        ratios=(0.0, *map(float, asked)),
        values=values,
        scratch=control,
        dense={
            name: np.array([twin[name] if twin else np.nan for twin in twins])
            for name in ("accuracy", *COSTS)
        },
    )


def _block(network: str, scope: str, own: Sequence[Table]) -> Block:
    names = {table.cell.criterion for table in own}
    criteria = tuple(sorted(names, key=lambda name: (is_control(name), name)))
    strengths = tuple(sorted({table.cell.strength for table in own}))
    ratios = tuple(sorted({ratio for table in own for ratio in table.ratios}))
    there = {(t.cell.criterion, t.cell.strength): t for t in own if t.ratios == ratios}
    every = [[there.get((name, strength)) for strength in strengths] for name in criteria]
    seen = {int(seed) for table in own for seed in table.seeds}
    seeds = _shared(own, [table for line in every for table in line])

    def gather(pick: Callable[[Table], Floats]) -> Floats:
        """Seed means of every cell: (criteria, strengths, seeds, ...)."""
        shape = (len(criteria), len(strengths), 0, len(ratios))
        if not seeds:
            return np.zeros(shape)
        return np.array([[_of_seeds(t, pick(t), seeds) for t in line if t] for line in every])

    values = {field: gather(lambda t, f=field: t.values[f]) for field in FIELDS}  # type: ignore[misc]
    if any(np.isfinite(table.scratch).any() for table in own):
        values["scratch"] = gather(lambda table: table.scratch)
    first = every[0][0]
    of_bases = {
        name: np.array([_of_seeds(t, _sparsity(t, name), seeds) for t in every[0] if t])
        if seeds
        else np.zeros((len(strengths), 0))
        for name in ("ws", "inactive")
    }
    return Block(
        network=network,
        scope=scope,
        criteria=criteria,
        strengths=strengths,
        ratios=ratios,
        seeds=seeds,
        left_out=tuple(sorted(seen - set(seeds))),
        values=values,
        dense={
            name: _of_seeds(first, first.dense[name], seeds) if first and seeds else np.zeros(0)
            for name in ("accuracy", *COSTS)
        },
        ws=of_bases["ws"],
        inactive=of_bases["inactive"],
    )


def _shared(own: Sequence[Table], every: Sequence[Table | None]) -> tuple[int, ...]:
    """Seeds whose runs are whole in every cell; none where a cell is missing altogether."""
    runs = {(base["seed"], base["fold"]) for table in own for base in table.bases}
    lacking: set[int] = set()
    for table in every:
        good = set()
        if table is not None:
            bases = zip(table.bases, table.whole, strict=True)
            good = {(base["seed"], base["fold"]) for base, whole in bases if whole}
        lacking |= {seed for seed, _ in runs - good}
    return tuple(sorted({int(seed) for seed, _ in runs} - lacking))


def _of_seeds(table: Table, values: Floats, seeds: tuple[int, ...]) -> Floats:
    kept = np.isin(table.seeds, seeds)
    return seed_means(table.seeds[kept], values[kept])


def _sparsity(table: Table, name: str) -> Floats:
    found = [pooled_ws(base) if name == "ws" else base["inactive"] for base in table.bases]
    return np.array([np.nan if value is None else value for value in found], dtype=float)


def pooled_ws(base: Row) -> float | None:
    """Weight Skewness of a base network's batch-norm scales, pooled; None where undefined."""
    pooled = (row for row in base["skewness"] if row["layer"] == "pooled")
    return next((row["ws"] for row in pooled if row["definition"] == "bn_scale"), None)
