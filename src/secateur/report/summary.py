"""The study in a few sentences, made of its numbers; and its recipe in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from secateur.report import figures
from secateur.report.findings import MAIN_EPSILON, Findings
from secateur.report.wording import count, listed, loss, number, percent
from secateur.study.claims import MIN_SEEDS
from secateur.study.grid import criterion_of, repair_of

NOTHING_TESTED = (
    "No strength produced inactive channels: this study has tested nothing about sparsity. "
    "Raise the total shrink or train longer, and look for a strength that kills some channels "
    "and leaves the accuracy standing."
)

_GRID = {
    "data · kind",
    "networks",
    "sparsity · total shrink",
    "training · epochs",
    "pruning · criteria",
    "pruning · scopes",
    "pruning · ratios",
    "pruning · fewer macs",
    "pruning · repair",
    "pruning · from scratch",
    "deployment · calibration",
    "fine tuning · epochs",
    "seeds",
    "runs",
}


def sentences(findings: Findings) -> tuple[str, ...]:
    """What was run, how accurate and how sparse the networks are, in three or four sentences."""
    said = [_what_was_run(findings), *_what_was_repaired(findings)]
    dense = [row for row in figures.base_networks(findings) if row["strength"] == 0]
    if dense:
        parts = [f"{row['network']} {percent(row['accuracy'])}" for row in dense]
        said.append(f"Trained without sparsification the networks reach {listed(parts)}.")
    said += _how_sparse(findings)
    said += _what_can_go(findings)
    return tuple(said)


def warnings(findings: Findings) -> tuple[str, ...]:
    """What a reader must know before any number: what is missing, failed or was not tested."""
    said = []
    missing = max((findings.expected or 0) - findings.n_rows - len(findings.failed), 0)
    if missing:
        said.append(
            f"{count(missing, 'row')} of {findings.expected:,} "
            f"{'is' if missing == 1 else 'are'} missing: the study still runs or was stopped, and "
            "the numbers may change."
        )
    if findings.failed:
        said.append(f"{count(len(findings.failed), 'cell')} failed; see what failed below.")
    if findings.bases and not findings.tested:
        said.append(NOTHING_TESTED)
    if findings.bases and findings.n_seeds < MIN_SEEDS:
        said.append(
            f"With {count(findings.n_seeds, 'seed')} no criterion is ranked above another; "
            f"{MIN_SEEDS} are needed."
        )
    if not findings.pruned:
        said.append("Nothing has been pruned yet: the sections on pruning are empty.")
    return tuple(said)


def recipe_lines(recipe: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Every setting of the recipe, in its own words: path and value.

    Names, descriptions and where data lie are left out: they change no result.

    >>> recipe_lines({"pruning": {"ratios": [0.1, 0.5]}, "seeds": 3, "runs": None})
    (('pruning · ratios', '0.1, 0.5'), ('seeds', '3'))
    """
    left = {("name",), ("description",), ("left_out",), ("data", "root")}
    return tuple(
        (" · ".join(path).replace("_", " "), value)
        for path, value in _flat(recipe, ())
        if path not in left
    )


def main_lines(recipe: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The settings that span the grid; the page shows them first and folds the others."""
    return tuple(line for line in recipe_lines(recipe) if line[0] in _GRID)


def _what_was_run(findings: Findings) -> str:
    levels = {row["ratio_asked"] for row in findings.pruned}
    kind = ("budget of MACs", "budgets of MACs") if findings.by_macs else ("ratio", None)
    criteria = {criterion_of(name) for name in findings.criteria}
    several = len(findings.repairs) > 1
    repairs = f"{count(len(findings.repairs), 'repair')}, " if several else ""
    parts = [
        f"{count(len(findings.bases), 'base network')} "
        f"({count(len(findings.networks), 'family', 'families')}, "
        f"{count(len(findings.strengths), 'strength')}, {count(findings.n_seeds, 'seed')})",
        f"{count(len(findings.pruned), 'pruned network')} "
        f"({count(len(criteria), 'criterion', 'criteria')}, {repairs}"
        f"{count(len(findings.scopes), 'scope')}, {count(len(levels), *kind)})",
    ]
    if findings.scratch:
        parts.append(f"{count(len(findings.scratch), 'control')} from scratch")
    said = f"{listed(parts)} were trained and measured"
    if findings.deployed:
        said += f", and {len(findings.deployed):,} of them as files for a device"
    return f"{said}."


def _what_was_repaired(findings: Findings) -> Iterator[str]:
    made = [repair for repair in findings.repairs if repair != "none"]
    if not made:
        return
    after = "their accuracy right after the cut is that after the repair"
    if len(findings.repairs) == 1:
        yield f"All cuts were repaired before fine-tuning ({made[0]}); {after}."
    else:
        name = next(name for name in findings.criteria if repair_of(name) != "none")
        yield (
            "Cuts were repaired in several ways before fine-tuning, and what is called a criterion "
            f"is one with its repair, such as {name}; {after}. Averages over criteria are over all "
            "of these."
        )


def _how_sparse(findings: Findings) -> Iterator[str]:
    data = figures.base_networks(findings)
    parts = []
    for network in findings.networks:
        own = [row for row in data if row["network"] == network]
        dense, sparse = own[0], own[-1]
        if sparse["strength"] > dense["strength"] and sparse["ws"] is not None:
            parts.append(
                f"{network} from {percent(dense['inactive_share'], 0)} to "
                f"{percent(sparse['inactive_share'], 0)} inactive channels (Weight Skewness "
                f"{number(dense['ws'])} to {number(sparse['ws'])}, accuracy "
                f"{percent(sparse['accuracy'])})"
            )
    if parts:
        yield f"From the lowest to the highest strength, sparsification took {listed(parts)}."


def _what_can_go(findings: Findings) -> Iterator[str]:
    best: dict[str, tuple[float, str]] = {}
    for row in findings.prunable[MAIN_EPSILON]:
        if row.ratio is not None:
            at_least = "at least " if row.beyond else ""
            words = (
                f"{at_least}{percent(row.ratio, 0)} of {row.network} "
                f"({row.criterion}, {row.scope}, strength {row.strength:g})"
            )
            best[row.network] = max(best.get(row.network, (-1.0, "")), (row.ratio, words))
    if best:
        yield (
            f"At an accepted loss of {loss(MAIN_EPSILON)} of accuracy the most "
            "that could go was "
            f"{listed([words for _, words in best.values()])}; the best of many tries, so expect "
            "somewhat less on new data."
        )


def _flat(
    values: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, value in values.items():
        path = (*above, name)
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif value is not None and value != [] and value != "":
            yield path, _words(value)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        kind = [str(value["kind"])] if "kind" in value else []
        rest = (
            f"{k.replace('_', ' ')} {_words(v)}"
            for k, v in value.items()
            if k != "kind" and v not in (None, {}, [])
        )
        return " ".join([*kind, *rest])
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(v, Mapping) for v in value) else ", ").join(
            map(_words, value)
        )
    return f"{value:g}" if isinstance(value, float) else str(value)
