"""A summary of one analysis, or of several side by side, that fits a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import repeat

from secateur.analysis.global_pruning import GlobalPruning
from secateur.analysis.similarity import SimilaritySummary
from secateur.study.diagnosis import (
    RATIO,
    findings,
    of_weights,
    pair_of,
    pooled,
    rho_text,
    share_text,
    undefined,
    wiped,
)
from secateur.study.inspection import CONTROL, Analysis

WIDTH = 100
LINES = 24
"""The screen that the summary fits."""


def screen(analyses: Sequence[Analysis], where: str | None = None) -> str:
    """The summary of one network, or of several side by side, in 24 lines of 100 columns.

    `where` is said in the last line, such as where the page is.
    """
    lines = _one(analyses[0]) if len(analyses) == 1 else _several(analyses)
    lines += [textwrap.shorten(where, 4 * WIDTH)] if where else []
    return "\n".join(lines)


def _one(analysis: Analysis) -> list[str]:
    facts = analysis.facts
    lines = [
        _fit(
            f"{_cut(analysis.name, 30)}: {facts.params:,} parameters, {facts.macs / 1e6:.3g} M "
            f"MACs, {facts.n_layers} layers, {facts.n_channels:,} channels can go"
        ),
        "",
    ]
    for k, finding in enumerate(findings(analysis)[:3], start=1):
        lines += _wrapped(f"{k}. {finding.text}", 3, "   ")
    if rows := _main_pairs(analysis):
        lines += ["", _row("rho of ranks", ("mean", "iid", "worst", "global", "bottom"))]
        lines += [_row(f"{row.first} ~ {row.second}", _pair_cells(analysis, row)) for row in rows]
    lines.append("")
    sparse, picture = pooled(analysis), of_weights(analysis)
    if sparse is not None:
        lines.append(
            _fit(
                f"Weight Skewness {_signed(sparse.ws)}, Gini {_plain(sparse.gini)}, Hoyer "
                f"{_plain(sparse.hoyer)}, inactive {share_text(sparse.inactive_share)} "
                f"({sparse.definition}; not monotone)"
            )
        )
    lines.append(
        f"Gaussian picture: normal {rho_text(picture.normal)}, mean 0 "
        f"{rho_text(picture.zero_mean)} (nominal .95), equal variances in "
        f"{share_text(picture.equal_variance_share, 0)} of {picture.n_layers} layers"
    )
    return lines + _missing([analysis])


def _main_pairs(analysis: Analysis, most: int = 4) -> list[SimilaritySummary]:
    """Pairs with a known expectation first, then those that agree most; the control never."""
    rows = [r for r in analysis.similarity if CONTROL not in (r.first, r.second)]
    rows.sort(key=lambda r: (r.expected_mean is None, -(r.mean if r.mean is not None else -2)))
    known = [r for r in rows if "l1" in (r.first, r.second) and r.expected_mean is not None]
    return (known + [r for r in rows if r not in known])[:most]


def _pair_cells(analysis: Analysis, row: SimilaritySummary) -> tuple[str, ...]:
    shared = next(
        (
            o.mean
            for o in analysis.overlaps
            if (o.first, o.second, o.ratio) == (row.first, row.second, RATIO)
        ),
        None,
    )
    numbers = (row.mean, row.expected_mean, row.minimum, row.global_rho, shared)
    return tuple(rho_text(value) for value in numbers)


def _several(analyses: Sequence[Analysis]) -> list[str]:
    shown = analyses[:10]
    heads = ("channels", "inactive", "WS", "Gini", "l1~l2", "global", "wiped l1", "l2", "normal")
    widths = (10, 10, 7, 7, 7, 8, 10, 7, 8)
    lines = [_row("network", heads, widths)]
    for one in shown:
        sparse, pair = pooled(one), pair_of(one, "l1", "l2")
        cells = (
            f"{one.facts.n_channels:,}",
            share_text(sparse.inactive_share if sparse else None),
            _signed(sparse.ws if sparse else None),
            _plain(sparse.gini if sparse else None),
            rho_text(pair.mean if pair else None),
            rho_text(pair.global_rho if pair else None),
            *(_wiped_cell(wiped(one, criterion)) for criterion in ("l1", "l2")),
            share_text(of_weights(one).normal),
        )
        lines.append(_row(one.name, cells, widths))
    if len(analyses) > len(shown):
        lines.append(f"and {len(analyses) - len(shown)} more, on the page")
    lines += ["wiped: layers emptied when half of all filters go at once, by raw scores", ""]
    for one in analyses[:3]:
        lines += _wrapped(f"{one.name}: {findings(one)[0].text}", 2, "   ")
    return lines + _missing(analyses)


def _wiped_cell(row: GlobalPruning | None) -> str:
    return "-" if row is None else f"{row.n_wiped}/{row.n_layers}"


def _missing(analyses: Sequence[Analysis]) -> list[str]:
    """One or two lines on what could not be computed."""
    reasons: dict[str, list[str]] = {}
    for one in analyses:
        for what, why, _ in undefined(one):
            reasons.setdefault(why, []).append(what)
    if not reasons:
        return ["", "Everything could be computed."]
    said = [
        f"{own[0]}{f' and {len(own) - 1} more' if len(own) > 1 else ''} ({why})"
        for why, own in ((why, list(dict.fromkeys(own))) for why, own in reasons.items())
    ]
    return ["", *_wrapped(f"Not computed: {'; '.join(said)}", 2, "   ")]


def _wrapped(text: str, most: int, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, max_lines=most, placeholder=" …")


def _row(label: str, cells: Iterable[str], widths: Iterable[int] = repeat(8)) -> str:
    own = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
    return _fit(f"{_cut(label, 26):<26}" + "".join(own))


def _cut(text: str, most: int) -> str:
    """The end of a text that is too long: names differ there."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _fit(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
