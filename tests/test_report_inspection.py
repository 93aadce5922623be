"""The page of an inspection: the data of its figures, its words, and a browser that draws it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.analysis.skewness import skewness_rows
from secateur.analysis.weights import LayerWeights
from secateur.errors import ReportError
from secateur.report import inspection_figures as figures
from secateur.report import inspection_tables as tables
from secateur.report.inspection import build, draw, render
from secateur.study.from_scores import analysis_of
from secateur.study.inspection import Analysis, LeftOut, NetworkFacts

Visit = Callable[..., tuple[str, list[str]]]

FIGURES = {
    *("agreement", "clusters", "layers", "scores", "spread", "wiped"),
    *("gaussian", "quantiles", "covariance", "skewness", "explained"),
}


def made(name: str = "net", seed: int = 0) -> Analysis:
    """Six layers of Gaussian filters of several scales, with a flat and a small one among them."""
    rng = np.random.default_rng(seed)
    shapes = [(16, 3, 3, 3), (16, 16, 3, 3), (24, 16, 3, 3), (24, 24, 1, 1), (4, 24, 3, 3)]
    weights = [
        LayerWeights(
            f"block{k}.conv",
            rng.normal(0, 0.1 * (k + 1), shape) * rng.uniform(0.7, 1.3, (shape[0], 1, 1, 1)),
            "pointwise" if shape[2] == 1 else "ordinary",
        )
        for k, shape in enumerate(shapes)
    ]
    weights.append(LayerWeights("flat.conv", np.full((8, 4, 3, 3), 0.5)))
    norms = {
        "l1": {one.layer: np.abs(one.filters).sum(1) for one in weights},
        "l2": {one.layer: np.sqrt((one.filters**2).sum(1)) for one in weights},
        "own": {one.layer: rng.uniform(size=len(one.values)) for one in weights[:4]},
    }
    scales = {one.layer: rng.uniform(size=len(one.values)) for one in weights}
    rows = [*skewness_rows(scales, "bn_scale"), *skewness_rows(norms["l1"], "filter_l1")]
    pinned = (("head.weight", 5, "is an output of the network", "net.py:7"),)
    facts = NetworkFacts(12345, 678900, len(weights), 3, 80, pinned)
    left = [LeftOut("taylor_fo", "needs <data>")]
    return analysis_of(name, facts, norms, weights, rows, left_out=left)


@pytest.fixture(scope="module")
def one() -> Analysis:
    return made()


@pytest.fixture(scope="module")
def two() -> list[Analysis]:
    return [made("dense"), made("sparse", 1)]


@pytest.fixture(scope="module")
def page(one: Analysis) -> str:
    return render([one])


def text_of(html: str) -> str:
    body = re.sub(r"<(script|style)\b.*?</\1>", "", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_heat_map_is_symmetric_and_holds_what_was_measured(one: Analysis) -> None:
    rows = figures.similarity([one])
    cells = {(r["quantity"], r["first"], r["second"]): r["value"] for r in rows}
    assert len(cells) == len(rows) == len(figures.QUANTITIES) * 3 * 3
    for (quantity, first, second), value in cells.items():
        assert cells[quantity, second, first] == value
    (pair,) = [r for r in one.similarity if (r.first, r.second) == ("l1", "l2")]
    assert cells["mean", "l2", "l1"] == pair.mean
    assert cells["minimum", "l1", "l2"] == pair.minimum
    assert cells["global", "l1", "l2"] == pair.global_rho
    (half,) = [r for r in one.overlaps if (r.first, r.second, r.ratio) == ("l1", "l2", 0.5)]
    assert cells["lowest 50 %", "l1", "l2"] == half.mean
    assert cells["global 50 %", "l1", "l2"] == half.global_overlap
    expected = {r["expected"] for r in rows if {r["first"], r["second"]} == {"l1", "l2"}}
    assert pair.expected_mean in expected and pair.expected_global in expected


def test_brackets_stand_on_their_branches(one: Analysis) -> None:
    rows = figures.dendrogram([one])
    assert len(rows) == 4 * len(one.clusters.joins) == 4 * 2
    top = rows[4:8]
    assert [row["corner"] for row in top] == [0, 1, 2, 3]
    assert top[1]["distance"] == top[2]["distance"] == max(r["distance"] for r in rows)
    assert top[0]["place"] == top[1]["place"] and top[2]["place"] == top[3]["place"]


def test_lines_leave_out_what_is_undefined_and_keep_the_order(one: Analysis) -> None:
    rows = [row for row in figures.layer_lines([one]) if row["pair"] == "l1 ~ l2"]
    assert [row["layer"] for row in rows] == [f"block{k}.conv" for k in range(5)]
    assert all(row["predicted"] is not None and row["expected"] is not None for row in rows)
    assert "flat.conv" in {r.layer for r in one.correlations if r.undefined}


def test_histograms_count_every_filter(one: Analysis) -> None:
    rows = figures.histograms([one])
    sizes = {shape.layer: shape.n for shape in one.layers}
    for row in rows:
        scored = row["criterion"] != "own" or row["layer"] in list(sizes)[:4]
        assert sum(row["counts"]) == row["n"] == (sizes[row["layer"]] if scored else 0)
    assert all(row["step"] > 0 for row in rows)
    flat = [row for row in rows if row["layer"] == "flat.conv"]
    assert [row["counts"] for row in flat] == [[8], [8], [0]]


def test_spread_flags_the_flat_layer(one: Analysis) -> None:
    flags = {(r["criterion"], r["layer"]): r["flag"] for r in figures.spread([one])}
    assert "gives every filter the same score" in flags["l1", "flat.conv"]
    assert flags["l1", "block0.conv"] == ""
    words = {row[1]: row[2] for row in tables.applicability([one]).rows}
    assert words["own"] == "applicable in every layer it scores"
    assert words["l1"] == "not applicable in 1 of 6 layers: flat.conv"


def test_wiped_layers_are_counted_by_normalisation(one: Analysis) -> None:
    rows = figures.wiped([one])
    assert len(rows) == 3 * 5 * 3
    for row, own in zip(rows, one.global_pruning, strict=True):
        assert row["n_wiped"] == len(own.wiped) and row["share"] == row["n_wiped"] / row["n_layers"]
    assert any(row["n_wiped"] for row in rows)


def test_pictures_of_the_weights(one: Analysis) -> None:
    points = figures.quantiles([one])
    assert {row["layer"] for row in points} == {plot.layer for plot in one.qq}
    assert all(row["low"] <= row["observed"] <= row["high"] for row in points)
    cells = figures.covariance([one])
    for picture in one.covariance:
        own = {(c["row"], c["column"]): c["r"] for c in cells if c["layer"] == picture.layer}
        assert len(own) == (picture.n_channels * picture.kernel) ** 2
        assert all(own[i, j] == own[j, i] for i, j in own)
    rates = figures.pass_rates([one])
    assert {row["layer"] for row in rates} == {f"block{k}.conv" for k in range(4)}
    assert all(row["low"] <= row["rate"] <= row["high"] + 1e-9 for row in rates)
    assert all(row["nominal"] == 0.95 for row in rates)
    where = {row["where"] for row in figures.kernel_correlations([one])}
    assert where == {"inside a kernel", "between kernels", "if independent"}


def test_sparsity_and_explanation(one: Analysis) -> None:
    rows = figures.skewness([one])
    assert "pooled" not in {row["layer"] for row in rows} and len(rows) == 2 * 6
    for row in rows:
        if row["ws"] is not None:
            assert row["ws_low"] < row["ws"] < row["ws_high"]
    assert [r["layer"] for r in rows if r["ws"] is None] == ["flat.conv"]
    points = figures.explanation([one])
    assert {row["pair"] for row in points} == {"l1 ~ l2"} and len(points) == 5


def test_the_page_is_one_file_that_asks_for_nothing(page: str) -> None:
    assert page.startswith("<!doctype html>") or page.lstrip().startswith("<!doctype html>")
    assert not re.search(r"<(?:script|img|iframe|link|source)[^>]+(?:src|href)=.https?:", page)
    raw = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.S)
    assert raw is not None and "<" not in raw[1]
    assert set(json.loads(raw[1])) == FIGURES


def test_every_control_reaches_every_panel(two: list[Analysis]) -> None:
    for figure in draw(two).values():
        for panel in figure.panels:
            names = {parameter["name"] for parameter in panel.get("params", ())}
            assert {control.name for control in figure.controls} <= names, figure.id


def test_no_word_of_the_page_is_none_or_nan(page: str, two: list[Analysis]) -> None:
    for html in (page, render(two)):
        said = text_of(html)
        assert not re.search(r"\b(None|nan|NaN|inf)\b", said)
    for make in (tables.pairs, tables.networks, tables.checked, tables.layers, tables.missing):
        assert all(isinstance(cell, str) and cell for row in make(two).rows for cell in row)


def test_what_could_not_be_computed_stands_on_the_page(page: str) -> None:
    said = text_of(page)
    assert "needs &lt;data&gt;" in page and "taylor_fo" in said
    assert "too small: 4 filters, tests need 8" in said
    assert "gives every filter the same score" in said
    assert "own in 2 of 6 layers" in said and "is an output of the network" in said


def test_networks_stand_side_by_side(two: list[Analysis]) -> None:
    table = tables.networks(two)
    assert table.columns == ("", "dense", "sparse")
    assert table.rows[0] == ("Parameters", "12,345", "12,345")
    assert len(draw(two)["layers"].panels) == 2 * len(draw(two[:1])["layers"].panels)


def test_names_from_outside_are_escaped() -> None:
    html = render([made("</script><b>")])
    assert "</script><b>" not in html.replace("\\u003c", "<").split('id="specs"')[0]


def test_no_analysis_or_two_of_one_name_are_errors(one: Analysis, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no analysis to report on"):
        build([], tmp_path / "page.html")
    with pytest.raises(ReportError, match="two analyses are named 'net'"):
        build([one, one], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_one_criterion_has_a_page_too() -> None:
    rng = np.random.default_rng(0)
    weights = [LayerWeights("conv", rng.normal(size=(4, 2, 3, 3)))]
    scores = {"l1": {"conv": np.arange(4.0)}}
    bare = analysis_of("bare", NetworkFacts(1, 1, 1, 0, 0, ()), scores, weights, [])
    html = render([bare])
    assert "there is one criterion only" in html and "agreement" not in draw([bare])
    assert "No channel of a layer can be pruned" in html


def test_rebuilding_a_page_loads_no_torch() -> None:
    code = "import secateur.report.inspection, sys; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; install it to see the page drawn")
    folder = tmp_path_factory.mktemp("browser")

    def visited(
        analyses: list[Analysis], script: str = "", width: int = 1200
    ) -> tuple[str, list[str]]:
        file = build(analyses, folder / "page.html")
        if script:
            before, end, after = file.read_text().rpartition("</body>")
            file.write_text(f"{before}<script>{script}</script>{end}{after}")
        options = (
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            *(f"user-data-dir={folder / 'profile'}", "virtual-time-budget=8000"),
            *("enable-logging=stderr", "v=0", f"window-size={width},900", "dump-dom"),
        )
        ran = subprocess.run(
            [chromium, *(f"--{option}" for option in options), file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(folder)},
        )
        return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]

    return visited


def read(dom: str) -> Any:
    found = re.search(r'data-read="([^"]*)"', dom)
    assert found is not None
    return json.loads(found[1].replace("&quot;", '"'))


CHOOSE = """
(async () => {
  while (!document.documentElement.dataset.panels) await new Promise((r) => setTimeout(r, 50));
  const marks = (id, mark) =>
    [...document.querySelectorAll(`#${id} .panel ${mark}`)].map((e) => e.textContent);
  const choose = async (id, signal, k) => {
    const select = document.querySelector(`#${id} select[data-signal="${signal}"]`);
    select.focus();
    select.value = select.options[k].value;
    select.dispatchEvent(new Event("change"));
    await new Promise((r) => setTimeout(r, 300));
    return select.options[k].textContent;
  };
  const out = {};
  %s
  out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.documentElement.dataset.read = JSON.stringify(out);
})();
"""


@pytest.mark.slow
def test_a_browser_draws_every_panel_without_a_word_on_its_console(
    visit: Visit, one: Analysis
) -> None:
    dom, console = visit([one])
    panels = sum(len(figure.panels) for figure in draw([one]).values())
    assert console == []
    assert f'data-panels="{panels}"' in dom and "data-errors" not in dom
    assert len(re.findall(r"<svg[^>]*class=\"marks\"", dom)) == panels


@pytest.mark.slow
def test_switches_show_the_numbers_chosen(visit: Visit, one: Analysis) -> None:
    steps = """
    out.mean = marks("agreement", ".role-mark.mark-text text");
    await choose("agreement", "quantity", 2);
    out.global = marks("agreement", ".role-mark.mark-text text");
    out.l1 = marks("scores", ".mark-rect path").length;
    out.layer = await choose("scores", "layer", 5);
    out.flat = marks("scores", ".mark-rect path").length;
    out.half = marks("wiped", ".role-mark.mark-text text");
    await choose("wiped", "ratio", 2);
    out.most = marks("wiped", ".role-mark.mark-text text");
    out.focused = document.activeElement.tagName;
    """
    dom, console = visit([one], CHOOSE % steps)
    found = read(dom)
    assert console == []
    pair = next(r for r in one.similarity if (r.first, r.second) == ("l1", "l2"))
    for key, value in (("mean", pair.mean), ("global", pair.global_rho)):
        assert value is not None and found[key].count(f"{value:.2f}") >= 2
    assert found["mean"] != found["global"]
    bars = [row for row in figures.histograms([one]) if row["layer"] == "block0.conv"]
    assert found["l1"] == sum(len(row["counts"]) for row in bars)
    assert found["layer"] == "flat.conv" and found["flat"] == 3
    for key, ratio in (("half", 0.5), ("most", 0.7)):
        counts = [str(row.n_wiped) for row in one.global_pruning if row.ratio == ratio]
        assert sorted(found[key]) == sorted(counts)
    assert found["focused"] == "SELECT" and found["wide"] <= 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1200])
def test_several_networks_are_drawn_at_any_width(
    visit: Visit, two: list[Analysis], width: int
) -> None:
    dom, console = visit(two, CHOOSE % 'await choose("scores", "network", 1);', width)
    panels = sum(len(figure.panels) for figure in draw(two).values())
    assert console == [] and f'data-panels="{panels}"' in dom
    assert read(dom)["wide"] <= 0
