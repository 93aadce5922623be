"""The page: what it says of whole, partial and failed studies; a real browser draws it."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from full_rows import LARGE, full, full_recipe, large_recipe
from secateur.errors import ReportError
from secateur.report.comparison_figures import heat_map
from secateur.report.findings import find
from secateur.report.front_figures import fronts
from secateur.report.page import build, draw, render
from secateur.report.sensitivity_figures import sensitivity
from secateur.report.summary import NOTHING_TESTED, recipe_lines, sentences, warnings
from secateur.report.wording import percent
from secateur.study.claims import NOT_TESTED, SUPPORTED, UNDECIDED
from simulated_rows import failed, recipe, simulate

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def whole():
    return find(recipe(), simulate())


@pytest.fixture(scope="module")
def page(whole):
    return render(whole)


def text_of(page):
    """What a reader sees: no scripts, styles or tags."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_page_is_one_file_that_asks_for_nothing(page):
    assert page.startswith("<!doctype html>")
    assert '<html lang="en">' in page and "<title>simulated · Secateur study</title>" in page
    assert not re.search(r"<(?:script|img|iframe|link|source)[^>]+(?:src|href)=.https?:", page)
    assert "cdn." not in page and "@import" not in page


def test_the_page_stays_small_besides_its_bundle(page):
    import vl_convert

    bundle = len(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
    assert len(page.encode()) - bundle < 3_000_000


def bytes_and_rows(**grid):
    rows = full(["vgg"], **grid)
    return len(render(find(full_recipe(), rows)).encode()), len(rows)


@pytest.mark.nightly
def test_bytes_of_the_page_grow_as_rows_do_and_no_faster():
    (some, few), (more, many) = (bytes_and_rows(seeds=range(1, n)) for n in (4, 7))
    assert (more - some) / (many - few) < 150  # a run's line; all else is a mean of runs
    steps = [0.2 * k for k in range(16)]
    for name, values in (("strengths", steps), ("ratios", [0.05 + 0.3 * x for x in steps])):
        sizes = [bytes_and_rows(**{name: values[:n]}) for n in (4, 8, 16)]
        first, second = ((b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(sizes))
        assert second < 1.1 * first, name


def test_specs_in_the_page_are_json_and_cannot_end_their_script(page, whole):
    raw = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.S)[1]
    assert "<" not in raw
    specs = json.loads(raw)
    assert (
        set(specs)
        == set(draw(whole))
        == {
            "sparsity",
            "layers",
            "prunable",
            "front",
            "methods-by-network",
            "differences",
            "sensitivity",
            "similarity",
            "seconds",
        }
    )


def test_words_from_outside_are_escaped():
    hostile = recipe() | {"name": "</title><script>alert(1)</script>", "description": "<b>x"}
    rows = [*simulate(networks=["vgg"], seeds=(1,)), failed("a", "<img src=x onerror=alert(1)>")]
    for row in rows:
        if row["kind"] != "failed":
            row["network"] = "</script><b>"
    made = render(find(hostile, rows))
    assert "<script>alert" not in made and "<img src=x" not in made and "</script><b>" not in made


def test_what_was_asked_stands_on_the_page(page):
    text = text_of(page)
    for said in ("vgg width 16; resnet width 16", "0, 0.8, 1.2, 1.6", "l1, l2, gm, random"):
        assert said in text
    assert "gradient and activation criteria" in text


def test_recipe_lines_say_every_setting_once():
    lines = dict(recipe_lines(recipe()))
    assert lines["training · epochs"] == "40"
    assert lines["pruning · ratios"] == "0.1, 0.3, 0.5, 0.7, 0.9"
    assert "name" not in lines and "left out" not in lines
    network = {"kind": "vgg", "width": 8, "lr": None, "weight_decay": 0.1}
    told = recipe_lines({"networks": [network], "data": {"kind": "esc10", "root": "/somewhere"}})
    assert told == (("networks", "vgg width 8 weight decay 0.1"), ("data · kind", "esc10"))


def test_the_summary_is_made_of_the_numbers(whole):
    said = " ".join(sentences(whole)).replace("\N{NO-BREAK SPACE}", " ")
    assert "36 base networks (3 families, 4 strengths, 3 seeds)" in said
    assert "1,440 pruned networks (4 criteria, 2 scopes, 5 ratios)" in said
    assert "to 50 % inactive channels" in said
    assert 3 <= len(sentences(whole)) <= 5
    assert warnings(whole) == ()


def test_verdicts_follow_the_rows(whole):
    verdicts = [claim.verdict for claim in whole.claims]
    assert verdicts == [UNDECIDED, SUPPORTED, UNDECIDED, UNDECIDED]
    assert "mobilenet +0.04" in whole.claims[0].because
    assert "of accuracy" in whole.claims[1].statement
    assert "of prunable ratio" in whole.claims[2].statement


def test_a_study_without_inactive_channels_has_tested_nothing(whole):
    idle = find(recipe(), simulate(networks=["vgg"], dead=lambda strength: 0.0))
    assert NOTHING_TESTED in warnings(idle)
    assert "tested nothing about sparsity" in text_of(render(idle))
    assert idle.claims[0].verdict == idle.claims[3].verdict == NOT_TESTED
    assert NOTHING_TESTED not in warnings(whole)


def test_dense_networks_alone_have_tested_nothing_either():
    assert NOTHING_TESTED in warnings(find(recipe(), simulate(strengths=[0.0])))


@pytest.mark.parametrize("take", [1, 5, 42, 100, 400])
def test_a_running_study_has_a_page_that_says_what_is_missing(take):
    some = find(recipe(), simulate()[:take])
    expected = 3 * 4 * 3 * (1 + 4 * 2 * 5)
    assert f"{expected - take:,} rows of {expected:,} are missing" in " ".join(warnings(some))
    text = text_of(render(some))
    assert " are missing" in text and "None" not in text and "nan" not in text
    assert ("Nothing has been pruned yet" in text) == (take == 1)


def test_failures_stand_on_the_page_with_their_error():
    rows = [*simulate(networks=["vgg"]), *(failed(f"vgg-{k}") for k in range(3))]
    text = text_of(render(find(recipe(), rows)))
    assert "would not line up" in text and "Traceback (most recent call last)" in text
    assert "criterion l1, scope global, ratio 0.5" in text


def test_a_finished_study_with_failures_is_not_called_unfinished():
    rows = [row for row in simulate() if row["id"] != "vgg-0.0-1-l1-global-0.5"]
    assert warnings(find(recipe(), [*rows, failed("vgg-0.0-1")])) == (
        "1 cell failed; see what failed below.",
    )


def test_only_failures_still_give_a_page():
    text = text_of(render(find(recipe(), [failed("x")])))
    assert "No base network has been trained yet" in text and "would not line up" in text


def test_a_recipe_that_cannot_be_counted_is_no_hindrance():
    bare = find({"name": "bare"}, simulate(networks=["vgg"], seeds=(1, 2)))
    assert bare.expected is None
    assert "With 2 seeds no criterion is ranked" in " ".join(warnings(bare))
    assert "bare" in render(bare)


def test_no_rows_are_an_error(tmp_path):
    with pytest.raises(ReportError, match="no rows to report on"):
        build(recipe(), [], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_rows_of_another_version_are_named():
    rows = simulate(networks=["vgg"], seeds=(1,))
    del rows[3]["macs"]
    with pytest.raises(
        ReportError, match=r"'vgg-0.0-1-l1-uniform-0.5' is not whole: it lacks macs"
    ):
        find(recipe(), rows)
    with pytest.raises(ReportError, match="kind 'epoch'"):
        find(recipe(), [{"kind": "epoch", "id": "e"}])


def test_reporting_loads_no_torch_and_loads_fast():
    code = (
        "import time; import altair; began = time.process_time()\n"
        "import secateur.report.page, sys\n"
        "print(time.process_time() - began, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, torch = ran.stdout.split()
    assert torch == "False"
    assert float(seconds) < 2


@pytest.fixture(scope="module")
def in_browser(tmp_path_factory):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; install it to see the page drawn")
    folder = tmp_path_factory.mktemp("browser")

    def visit(findings_recipe, rows, script=""):
        file = build(findings_recipe, rows, folder / "report.html")
        if script:
            before, end, after = file.read_text().rpartition("</body>")
            file.write_text(f"{before}<script>{script}</script>{end}{after}")
        ran = subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                f"--user-data-dir={folder / 'profile'}",
                "--virtual-time-budget=30000",
                "--enable-logging=stderr",
                "--v=0",
                "--dump-dom",
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(folder)},
        )
        return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]

    return visit


@pytest.mark.slow
def test_a_browser_draws_every_panel_without_a_word_on_its_console(in_browser, whole):
    dom, console = in_browser(recipe(), simulate())
    panels = sum(len(figure.panels) for figure in draw(whole).values())
    assert console == []
    assert f'data-panels="{panels}"' in dom and "data-errors" not in dom
    assert len(re.findall(r"<svg[^>]*class=\"marks\"", dom)) == panels
    assert dom.count("mark-symbol") > 12 and dom.count("mark-rect") > 5


@pytest.mark.slow
def test_a_choice_of_the_reader_changes_the_figure(in_browser):
    choose = """
    (async () => {
      while (!document.documentElement.dataset.panels) await new Promise((r) => setTimeout(r, 50));
      const lines = () => document.querySelector("#front .panel .mark-line path").getAttribute("d");
      const before = lines();
      const select = document.querySelector("#front select[data-signal=strength]");
      select.value = select.options[3].value;
      select.dispatchEvent(new Event("change"));
      await new Promise((r) => setTimeout(r, 500));
      document.documentElement.dataset.changed = String(lines() !== before);
    })();
    """
    dom, console = in_browser(recipe(), simulate(networks=["vgg"]), choose)
    assert 'data-changed="true"' in dom and console == []


_READY = "while (!document.documentElement.dataset.panels) await wait(50);"
_CLICKS = (
    """
(async () => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const read = {};
  let blob = null;
  URL.createObjectURL = (made) => { blob = made; return "data:,"; };
  URL.revokeObjectURL = () => {};
  window.Blob = class extends Blob {
    constructor(parts, options) { super(parts, options); this.said = parts.join(""); }
  };
  // The browser's clock is virtual and runs ahead of pictures: count as well as wait.
  const real = () => { let sum = 0; for (let k = 0; k < 3e6; k += 1) sum += k % 7; return sum; };
"""
    + _READY
    + r"""
  const choose = async (figure, signal, words) => {
    const select = document.querySelector(`#${figure} select[data-signal=${signal}]`);
    const option = [...select.options].find((one) => one.textContent === words);
    select.value = option.value;
    select.dispatchEvent(new Event("change"));
    await wait(300);
  };
  const saved = async (figure, form) => {
    blob = null;
    document.querySelector(`#${figure} button[data-save=${form}]`).click();
    for (let k = 0; k < 500 && !blob; k += 1) { real(); await wait(20); }
    return blob;
  };
  const words = (figure) => {
    const found = document.querySelectorAll(`#${figure} .mark-text.role-mark text`);
    return [...found].map((one) => one.textContent);
  };
  const lines = () => document.querySelector("#front .mark-line path").getAttribute("d");
  const before = lines();
  await choose("front", "cost", "parameters");
  read.costMoves = before === lines() ? "no" : "yes";
  await choose("methods-by-network", "what", "accuracy at 4× fewer MACs");
  read.heat = words("methods-by-network");
  await choose("methods-by-network", "what", "F-beta over MACs");
  read.fBeta = words("methods-by-network");
  await choose("sensitivity", "strength", "1.2");
  read.lost = words("sensitivity");
  await choose("removed", "ratio", "30\u00a0%");
  read.removed = words("removed");
  const marks = [...document.querySelectorAll("#front .mark-symbol path")];
  const wanted = { criterion: "l1", ratio: 0.5, scope: "uniform" };
  const mark = marks.find((one) =>
    Object.entries(wanted).every(([name, value]) => one.__data__.datum[name] === value));
  mark.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  await wait(100);
  const runs = document.getElementById("runs");
  const cells = () => [...runs.querySelectorAll("tbody tr")].map((line) =>
    [...line.children].map((cell) => cell.textContent));
  read.clicked = cells();
  read.link = runs.querySelector("tbody a").getAttribute("href");
  runs.querySelector("button[data-reset]").click();
  read.status = runs.querySelector("[role=status]").textContent;
  runs.querySelector("button[data-sort=accuracy]").click();
  read.lowest = cells()[0];
  const csv = await saved("front", "csv");
  read.csv = csv.said.trimEnd().split("\n");
  const svg = new DOMParser().parseFromString(
    (await saved("front", "svg")).said, "image/svg+xml");
  read.svg = svg.querySelectorAll("svg svg").length;
  const png = await saved("front", "png");
  read.png = [png.type, png.size];
  document.body.dataset.read = JSON.stringify(read);
})();
"""
)


@pytest.mark.slow
def test_a_browser_clicks_through_the_page_and_reads_values_back(in_browser):
    rows = full(["vgg"])
    found = find(full_recipe(), rows)
    dom, console = in_browser(full_recipe(), rows, _CLICKS)
    assert console == []
    read = json.loads(html.unescape(re.search(r'data-read="([^"]*)"', dom)[1]))
    assert read["costMoves"] == "yes"
    at_four = [
        f"{row['value']:.0%}"
        for row in heat_map(found)
        if row["what"] == "macs 4" and row["strength"] == 0
    ]
    assert sorted(read["heat"]) == sorted(at_four)
    f_beta = [
        f"{row['value']:.2f}"
        for row in heat_map(found)
        if row["what"] == "f_beta macs" and row["strength"] == 0
    ]
    assert sorted(read["fBeta"]) == sorted(f_beta) and len(f_beta) == 4 * 2
    lost = [f"{100 * row['lost']:.1f}" for row in sensitivity(found) if row["strength"] == 1.2]
    assert sorted(read["lost"]) == sorted(lost) and "10.0" in lost
    assert sorted(read["removed"]) == ["0.00", "0.00", "0.00", "0.50", "0.50", "1.00"]
    cuts = [row for row in rows if row["id"].endswith("-l1-uniform-0.5")]
    cuts = [row for row in cuts if row["strength"] == 0]
    assert [line[0] for line in read["clicked"]] == [f"runs/{row['id']}" for row in cuts]
    assert [line[8] for line in read["clicked"]] == [
        percent(float(f"{row['accuracy']:.5g}")) for row in cuts
    ]
    assert read["link"] == f"runs/{cuts[0]['id']}/result.json"
    n_runs = sum(row["kind"] != "deployed" for row in rows)
    assert read["status"] == f"{n_runs} of {n_runs} runs, the first 100 shown"
    lowest = min((row for row in rows if row["kind"] != "deployed"), key=lambda r: r["accuracy"])
    assert read["lowest"][0] == f"runs/{lowest['id']}"
    assert len(read["csv"]) == 1 + len(fronts(found)) and "macs_left" in read["csv"][0]
    assert read["svg"] == 1
    assert read["png"][0] == "image/png" and read["png"][1] > 5000


@pytest.mark.nightly
def test_thousands_of_rows_stay_small_and_are_drawn(in_browser):
    rows = full(**LARGE)
    assert sum(row["kind"] == "pruned" for row in rows) == 5040
    dom, console = in_browser(large_recipe(), rows)
    page = find(large_recipe(), rows)
    assert warnings(page) == ()
    panels = sum(len(figure.panels) for figure in draw(page).values())
    assert console == [] and f'data-panels="{panels}"' in dom
    assert len(render(page).encode()) < 8_000_000


@pytest.mark.slow
@pytest.mark.parametrize("take", [1, 60])
def test_a_browser_draws_a_partial_page_too(in_browser, take):
    rows = simulate(networks=["vgg"])[:take]
    dom, console = in_browser(recipe(), rows)
    panels = sum(len(figure.panels) for figure in draw(find(recipe(), rows)).values())
    assert console == []
    assert f'data-panels="{panels}"' in dom and "data-errors" not in dom


@pytest.mark.slow
def test_a_figure_that_fails_is_told_on_the_page(in_browser):
    breaks = "document.querySelector('#specs').textContent = 'broken'; Promise.reject('broken');"
    dom, _ = in_browser(recipe(), simulate(networks=["vgg"], seeds=(1,)), breaks)
    assert "data-errors" in dom and "A figure could not be drawn" in dom
