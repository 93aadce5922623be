"""The benchmark scripts: the page they share."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import secateur as sc

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import engine_measures
import page as benchmark_page
from anchors_public import told
from engine_page import growth_page, networks_page, slope
from page import JOBS, Job, data_at_hand, run_all
from sections import ROOT, provenance, sections_of, write_section
from summary import LINES, summary


def test_sections_are_written_once_and_then_replaced_in_place(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "benchmarks.md"
    write_section("one", "## One\n\nfirst figures", page=page)
    write_section("two", "no heading, a back\\slash", page=page)
    write_section("one", "## One\n\nnew figures", origin=provenance("python x.py --y"), page=page)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n")
    assert "first figures" not in text and text.count("new figures") == 1
    assert text.index("<!-- begin one -->") < text.index("new figures")
    assert text.index("new figures") < text.index("<!-- end one -->") < text.index("back\\slash")
    one = text[text.index("<!-- begin one -->") : text.index("<!-- end one -->")].splitlines()
    assert one[1] == "## One" and one[3].startswith("Made by `python x.py --y` on 20")
    assert "secateur at" in one[4] and "torch-pruning" in one[4]
    assert text.count("<!-- begin") == text.count("<!-- end") == 2


def test_a_section_leaves_the_rest_of_the_page_alone(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Mine\n\nwords\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nlast words\n")
    write_section("a", "new", origin="Made by hand:", page=page)
    text = page.read_text()
    assert text.startswith("# Mine\n\nwords\n\n<!-- begin a -->\nMade by hand:\n\nnew\n")
    assert text.endswith("\nnew\n<!-- end a -->\n\nlast words\n")
    assert "old" not in text


def test_a_section_may_stand_before_all_others(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    for name in ("last one", "summary", "summary"):
        write_section(name, f"## {name}\n\nwords", page=page, first=name == "summary")
    text = page.read_text()
    assert list(sections_of(text)) == ["summary", "last one"]
    assert text.startswith("# Benchmarks\n") and text.count("## summary") == 1
    assert sections_of(text)["last one"].startswith("## last one\n")


def _row(name: str, ours: float, theirs: float | str) -> dict[str, object]:
    """A row as engine.py writes one."""
    return {
        "name": name,
        "commit": "abc1234",
        "params": 2_000_000,
        "trace": {"ours": ours, "theirs": theirs, "repetitions": 7},
        "eager": {"size": 32, "trace": ours, "forward": 0.05},
        "prune": {
            "ours": 2 * ours,
            "theirs": theirs,
            "verified": 4 * ours,
            "steps": {"cut": ours, "verify": 2 * ours},
        },
        "cut": {"ours": {"verdict": "exact", "error": 1e-15}, "theirs": {"verdict": "> 180 s"}},
        "memory": {"ours": 12.3, "theirs": "crash: | IndexError"},
    }


def _cells(page: str, start: str) -> list[list[str]]:
    """The cells of every table row that starts with a text."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_says_which_targets_are_met() -> None:
    rows = [_row("densenet121", 0.1, 1.6), _row("resnet18", 0.4, 0.2), _row("x", 0.1, "> 180 s")]
    page = networks_page(rows)
    targets = {cells[0]: cells[1:] for cells in _cells(page, "") if len(cells) == 3}
    assert targets["trace faster on every network"] == ["slower: resnet18", "**no**"]
    mean = targets["trace, geometric mean at least 3x"]  # of 16 and 1/2
    assert mean == ["2.83x over 2 networks", "**no**"]
    assert targets["trace of densenet121 at least 8x"] == ["16.00x", "yes"]
    assert targets["whole prune of densenet121 at least 8x"] == ["8.00x", "yes"]
    assert targets["trace within 4 eager forwards"] == ["above: resnet18", "**no**"]
    assert targets["extra memory of nasnetalarge below 100 MB"] == ["not measured", ""]
    trace, prune, cut = _cells(page, "x ")
    assert trace[1:4] == ["", "0.100", "> 180 s"] and trace[-2:] == [
        "crash: / IndexError",
        "all met",
    ]
    assert prune[1:6] == ["", "", "0.200", "0.100", "0.200"] and cut[5] == "> 180 s"


def test_the_exponent_is_the_slope_of_the_last_three_figures() -> None:
    assert slope({1: 100.0, 2: 4.0, 4: 16.0, 8: 64.0, 16: "> 180 s"}) == pytest.approx(2)
    assert slope({1: 1.0, 2: None}) is None
    growth = {f"chain-{n}": {"growth": {"ours": n / 100, "proof": 1.0}} for n in (40, 80, 160)}
    assert _cells(growth_page(growth), "exponent")[0][2:4] == ["1.00", "0.00"]


def test_a_call_that_takes_too_long_or_raises_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never() -> None:
        while True:
            with contextlib.suppress(Exception):
                time.sleep(0.01)

    monkeypatch.setattr(engine_measures, "LIMIT", 0.2)
    assert engine_measures.attempt(never) == "> 0.2 s"
    assert engine_measures.attempt(lambda: [][1]) == "crash: IndexError: list index out of range"
    seconds, value = engine_measures.attempt(lambda: sum(range(100_000)))
    assert seconds > 0 and value == 4999950000


def test_one_side_may_fail_while_the_other_is_timed() -> None:
    made: list[str] = []
    found = engine_measures.by_turns(
        3,
        {
            "ours": lambda: lambda: made.append("ours"),
            "theirs": lambda: lambda: made.append("theirs") or {}["x"],
        },
    )
    assert made == ["ours", "theirs", "ours", "ours"]
    assert found["theirs"] == "crash: KeyError: 'x'" and found["repetitions"] == 3
    assert 0 <= found["ours"] < 1


def test_both_cuts_of_a_small_network_are_exact_and_a_wrong_one_is_seen() -> None:
    model, x = engine_measures.network("depth-20")
    ours, theirs = engine_measures.our_cut(model, x), engine_measures.their_cut(model, x)
    assert ours["verdict"] == theirs["verdict"] == "exact"
    assert ours["params"] == theirs["params"] < engine_measures.count(model) / 2
    pruned = engine_measures.our_prune(model, x, [])
    small, plan, channels = pruned.network, pruned.plan, pruned.channels
    first = next(iter(plan.remove))
    other = replace(plan, remove={name: plan.remove[name] for name in plan.remove if name != first})
    wrong = engine_measures.verdict(small, sc.mask(channels, other), x)
    assert wrong["verdict"] == "differs" and wrong["error"] > 1e-6


def test_the_parts_of_a_prune_add_up() -> None:
    model, x = engine_measures.network("chain-4")
    steps: list[dict[str, float]] = []
    seconds, _ = engine_measures.attempt(lambda: engine_measures.our_prune(model, x, steps))
    (row,) = steps
    assert list(row) == ["trace", "score", "plan", "cut", "verify"] and min(row.values()) > 0
    assert 0.9 * seconds < sum(row.values()) <= seconds


SECTIONS = {
    "engine": """
| network | theirs / ours | eager | memory, ours | theirs |
| --- | --- | --- | --- | --- |
| a | 4.00x | 1.0x | 3 | 6 |
| b | 9.00x | 1.0x | 0 | 50 |
| c |  | 1.0x | crash: x | 50 |
""",
    "latency": """
| network | uncut / ours | theirs / ours | ours |
| --- | --- | --- | --- |
| a | 2.50x |  | 1.5 |
""",
    "anchors": """
| cut by | bn | fine-tuned |
| --- | --- | --- |
| secateur, l1, all members | 60.0 | 81.0 ± 0.4 |
| torch-pruning, l1 | 60.0 | 90.0 ± 0.2 |
""",
    "study": "A real study of 20 cells: 5.8 s by one, 4.1 s by two, 1.44 times as fast.",
    "peers.md": """
| network | secateur | x | y |
| --- | --- | --- | --- |
| exact, all of it | 9 | 6 | 3 |
""",
    "zoo.md": "4 of the 4 architectures asked for have been run: 3 exact, held back, 1 wrong.\n",
}


def test_the_summary_reads_ratios_from_the_sections_and_says_what_it_did_not_find() -> None:
    text, missing = summary(SECTIONS)
    found = [cells[1:] for cells in _cells(text, "")[2:]]
    assert found == [
        ["6.00", "2 networks", "engine"],  # of 4 and 9
        ["2.00", "1 network", "engine"],
        ["2.50", "1 network", "latency"],
        ["0.90", "ResNet-56", "anchors"],
        ["1.44", "20 cells", "study"],
        ["1.50", "9 and 6 networks", "[peers.md](peers.md)"],
        ["0.75", "4 architectures", "[zoo.md](zoo.md)"],
    ]
    assert len(missing) == len(LINES) - len(found)
    assert any("librosa" in line and line.endswith("not found in features") for line in missing)
    assert "TinyNeuralNetwork" in text


def test_every_section_of_the_page_is_read_where_the_summary_looks_for_it() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    written = {name for job in JOBS for name in job.sections}
    assert set(sections_of(text)) <= written | {"summary"}
    looked_for = {line.section for line in LINES}
    assert {name for name in looked_for if not name.endswith(".md")} <= written


def test_a_script_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs = [
        Job("bad", ("bad",), "planning.py no_such_network", ""),
        Job("missing", ("missing",), "no.py", "", needs_data=True),
        Job("good", ("comparison",), "", "comparison.py 3 4"),
    ]
    monkeypatch.setattr(benchmark_page, "data_at_hand", lambda: False)
    failed = run_all(jobs[:2], tmp_path / "benchmarks.md", short=False)
    failed += run_all(jobs[2:], tmp_path / "benchmarks.md", short=True)
    said = capfd.readouterr().err
    assert failed == ["bad"] and "1 of 2: bad: exit code 1" in said
    assert "2 of 2: missing: skipped" in said and "1 of 1: good: done" in said
    assert list(sections_of((tmp_path / "benchmarks.md").read_text())) == ["comparison"]


def test_repeated_runs_are_told_by_their_mean_and_spread() -> None:
    assert told((1.0, 2.0, 3.0)) == "2.00 ± 1.00 (1, 2, 3)"
    assert told("93.1 ± 0.2") == "93.1 ± 0.2"


@pytest.fixture(scope="module")
def short_form(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a page whose every section was written by the short form."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    folder = tmp_path_factory.mktemp("short_form")
    script = str(ROOT / "benchmarks" / "page.py")
    subprocess.run([sys.executable, script, "--short", "--out", str(folder)], check=True)
    return folder


@pytest.mark.nightly
def test_the_short_form_writes_every_section_and_a_finite_ratio_of_each(short_form: Path) -> None:
    text = (short_form / "benchmarks.md").read_text()
    jobs = [job for job in JOBS if data_at_hand() or not job.needs_data]
    written = {name for job in jobs for name in job.sections}
    assert set(sections_of(text)) == {"summary", *written}
    ratios = [(cells[3], float(cells[1])) for cells in _cells(sections_of(text)["summary"], "")[2:]]
    assert all(0 < ratio < math.inf for _, ratio in ratios)
    of_none = {"criteria-clusters", "planning", "comparison"}  # correlations, and times alone
    assert {section for section, _ in ratios} >= written - of_none
    assert all("| --- |" in section for section in sections_of(text).values())


@pytest.mark.nightly
def test_the_engine_is_measured_on_both_sides(short_form: Path) -> None:
    lines = (short_form / "engine.jsonl").read_text().splitlines()
    rows = {row["name"]: row for row in map(json.loads, lines)}
    assert list(rows) == ["test_resnet", "depth-20", "chain-40"]
    row = rows.pop("test_resnet")
    for growing in rows.values():
        assert min(growing["growth"][side] for side in ("ours", "proof", "theirs")) > 0
    for part in ("trace", "prune"):
        assert row[part]["ours"] > 0 and row[part]["theirs"] > 0
    assert row["prune"]["verified"] > 0
    assert row["cut"]["ours"]["verdict"] == row["cut"]["theirs"]["verdict"] == "exact"
    assert row["cut"]["ours"]["params"] < row["params"]
    assert row["eager"]["forward"] > 0 and row["first"].keys() == {"ours", "theirs"}
    assert row["memory"].keys() == {"ours", "theirs"}
    sections = sections_of((short_form / "benchmarks.md").read_text())
    assert len(_cells(sections["engine"], "test_resnet ")) == 3
    growth = sections["engine growth"]
    assert len(_cells(growth, "20 ")) == len(_cells(growth, "40 ")) == 1
