"""Figures are data first: the numbers drawn are those computed by hand from the rows."""

import json

import numpy as np
import pytest
from scipy import stats

from secateur.report import (
    comparison_figures,
    comparison_tables,
    figures,
    front_figures,
    losses,
    measure_figures,
    run_figures,
    run_tables,
    sensitivity_figures,
    tables,
)
from secateur.report.comparison_charts import differences, methods
from secateur.report.findings import EPSILONS, find
from secateur.report.front_charts import front
from secateur.report.network_charts import layers, sensitivity, similarity, sparsity
from secateur.report.pruning_charts import prunable
from secateur.report.run_charts import course, deployed, seconds
from simulated_rows import CRITERIA, RATIOS, SCOPES, STRENGTHS, recipe, simulate

DATA = (
    figures.base_networks,
    figures.sparsity,
    figures.layers,
    figures.prunable,
    figures.fit_lines,
    figures.accuracy_curves,
    figures.differences,
    figures.similarity,
    figures.budgets,
    figures.asked_and_reached,
    front_figures.fronts,
    comparison_figures.at_budgets,
    comparison_figures.heat_map,
    measure_figures.measures,
    measure_figures.bd_rates,
    sensitivity_figures.sensitivity,
    run_figures.seconds,
    run_figures.runs,
)
CHARTS = (sparsity, layers, sensitivity, prunable, front, differences, similarity)
WITH_EVERYTHING = (course, deployed, methods, seconds)


@pytest.fixture(scope="module")
def rows():
    return simulate()


@pytest.fixture(scope="module")
def findings(rows):
    return find(recipe(), rows)


def only(data, **wanted):
    found = [row for row in data if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("make", DATA, ids=lambda make: make.__name__)
def test_figure_data_is_plain_finite_and_empty_without_rows(make, findings):
    data = make(findings)
    assert data
    json.dumps(data, allow_nan=False)
    (base, *_) = findings.bases
    failed = {"kind": "failed", "id": "x", "cell": {}, "error": "E", "traceback": ""}
    assert make(find(recipe(), [failed])) == []
    json.dumps(make(find({}, [base])), allow_nan=False)


def test_base_networks_follow_the_recipe_and_average_seeds(rows, findings):
    data = figures.base_networks(findings)
    assert [row["network"] for row in data[::4]] == ["vgg", "resnet", "mobilenet"]
    own = [r for r in rows if r["kind"] == "base" and (r["network"], r["strength"]) == ("vgg", 1.2)]
    row = only(data, network="vgg", strength=1.2)
    accuracies = [r["accuracy"] for r in own]
    assert row["accuracy"] == pytest.approx(np.mean(accuracies))
    margin = stats.t.ppf(0.975, 2) * np.std(accuracies, ddof=1) / 3**0.5
    assert (row["low"], row["high"]) == pytest.approx(
        (row["accuracy"] - margin, row["accuracy"] + margin)
    )
    pooled = [
        s["ws"]
        for r in own
        for s in r["skewness"]
        if (s["layer"], s["definition"]) == ("pooled", "bn_scale")
    ]
    assert row["ws"] == pytest.approx(np.mean(pooled))
    assert row["inactive_share"] == pytest.approx(np.mean([r["inactive"] for r in own]))


def test_layers_keep_the_order_of_the_network(findings):
    own = [r for r in figures.layers(findings) if r["network"] == "vgg" and r["strength"] == 0]
    assert [row["layer"] for row in own] == ["stage0", "stage1", "stage2", "stage3"]
    assert [row["order"] for row in own] == [0, 1, 2, 3]


def test_curves_hold_every_cell_and_the_unpruned_network(findings):
    data = figures.accuracy_curves(findings)
    cells = 3 * len(STRENGTHS) * len(CRITERIA) * len(SCOPES)
    assert len(data) == cells * (len(RATIOS) + 1)
    point = only(data, network="resnet", strength=0.0, criterion="l1", scope="uniform", ratio=0.5)
    assert point["macs"] == 10_000_000 * 0.25
    assert point["low"] <= point["accuracy"] <= point["high"]


def test_prunable_ratios_and_their_fit_share_the_range_of_the_points(findings):
    data, lines = figures.prunable(findings), figures.fit_lines(findings)
    assert {row["epsilon"] for row in data} == set(EPSILONS)
    for against in ("ws", "inactive"):
        xs = [row[against] for row in data if row["network"] == "vgg"]
        ends = [r for r in lines if (r["network"], r["against"]) == ("vgg", against)]
        assert len(ends) == 2 * len(EPSILONS)
        assert {end["x"] for end in ends} == {min(xs), max(xs)}


def test_similarity_is_symmetric_with_ones_on_the_diagonal(findings):
    data = [
        r for r in figures.similarity(findings) if r["network"] == "vgg" and r["over"] == "mean"
    ]
    matrix = {(r["strength"], r["first"], r["second"]): r["rho"] for r in data}
    for (strength, first, second), rho in matrix.items():
        assert rho == matrix[strength, second, first]
        assert rho == 1.0 if first == second else rho < 1.0
    assert matrix[0.0, "l1", "l2"] > 0.8
    assert abs(matrix[0.0, "l1", "bn_scale"]) < 0.4


def test_budgets_are_interpolated_on_the_way(findings):
    row = only(
        figures.budgets(findings), network="vgg", strength=0.0, criterion="l1", scope="uniform"
    )
    curve = [
        r
        for r in figures.accuracy_curves(findings)
        if (r["network"], r["strength"], r["criterion"], r["scope"])
        == ("vgg", 0.0, "l1", "uniform")
    ]
    at_half = next(r["accuracy"] for r in curve if r["ratio"] == 0.5)
    assert row["at_4"] == pytest.approx(at_half)  # half the channels leave a quarter of the MACs
    assert row["unpruned"] > row["at_2"] > row["at_4"] > row["at_8"]
    assert row["at_4"] / row["unpruned"] < row["area"] < 1


def test_asked_and_reached_stand_side_by_side(rows, findings):
    row = only(figures.asked_and_reached(findings), network="vgg", scope="uniform", asked=0.3)
    assert (row["reached"], row["least"], row["most"]) == pytest.approx((0.3, 0.3, 0.3))
    assert row["macs"] == pytest.approx(0.49)
    assert row["n"] == len(STRENGTHS) * len(CRITERIA) * 3


def test_differences_are_from_random_alone(findings):
    data = figures.differences(findings)
    assert {row["criterion"] for row in data} == set(CRITERIA) - {"random"}
    row = only(
        data,
        network="vgg",
        scope="global",
        criterion="l1",
        ratio=figures.ALL_RATIOS,
        measure="accuracy",
    )
    assert row["mean"] == pytest.approx(0.15, abs=0.002)
    assert row["verdict"] == "higher"


def test_seconds_add_up(rows, findings):
    told = sum(row["seconds"] for row in run_figures.seconds(findings))
    spent = sum(sum(r["seconds"].values()) for r in rows)
    assert told == pytest.approx(spent)


@pytest.mark.parametrize("make", CHARTS, ids=lambda make: make.__name__)
def test_a_figure_explains_itself_and_holds_its_data(make, findings):
    figure = make(findings)
    assert len(figure.panels) % 3 == 0 and figure.panels
    assert figure.title and len(figure.caption) > 80
    for panel in figure.panels:
        assert panel["width"] == "container" and panel["title"] and panel["description"]
        text = json.dumps(panel, allow_nan=False)
        assert '"datasets"' in text and "http" not in text.replace(panel["$schema"], "")
        names = {parameter["name"] for parameter in panel.get("params", ())}
        assert names == {control.name for control in figure.controls}
    for control in figure.controls:
        assert control.value in [value for value, _ in control.options]


def test_axes_name_what_they_show_and_its_unit(findings):
    (panel, *_) = front(findings).panels
    titles = {
        channel["title"]
        for layer in panel["layer"]
        for channel in layer["encoding"].values()
        if isinstance(channel, dict) and channel.get("title")
    }
    assert {"Cost left, of the unpruned network (log scale)", "Accuracy"} <= titles


def test_a_chart_without_rows_has_no_panel():
    failed = {"kind": "failed", "id": "x", "cell": {}, "error": "E", "traceback": ""}
    empty = find(recipe(), [failed])
    for make in (*CHARTS, *WITH_EVERYTHING):
        assert make(empty).panels == ()


def test_tables_have_as_many_cells_as_columns_and_never_say_none(findings):
    for make in (
        tables.base_networks,
        tables.layers,
        tables.prunable,
        tables.regressions,
        tables.curves,
        tables.differences,
        tables.differences_by_ratio,
        tables.similarity,
        tables.asked_and_reached,
        comparison_tables.ranks,
        comparison_tables.at_budgets,
        comparison_tables.measures,
        comparison_tables.bd_rates,
        comparison_tables.shares,
        losses.relative,
        losses.by_method,
        tables.sensitivity,
        run_tables.seconds,
    ):
        table = make(findings)
        assert table.rows and table.caption
        for row in table.rows:
            assert len(row) == len(table.columns)
            assert not {"None", "nan"} & set(row)


def test_one_seed_shows_no_interval():
    alone = find(recipe(), simulate(networks=["vgg"], seeds=(1,)))
    (row, *_) = tables.base_networks(alone).rows
    assert "(" not in row[3]
    assert all("(" not in row[6] for row in tables.prunable(alone).rows)
