"""What the page says of methods against each other, of deployments, of training and of runs."""

import json

import numpy as np
import pytest

from full_rows import EPOCHS, budgets_of_macs, full, full_recipe
from secateur.report import (
    comparison_figures,
    comparison_tables,
    front_figures,
    gaps,
    measure_figures,
    removed_figures,
    run_figures,
    run_tables,
)
from secateur.report.comparison_charts import differences, methods
from secateur.report.digest import digest
from secateur.report.findings import find
from secateur.report.network_charts import removed
from secateur.report.page import render
from secateur.report.run_charts import course, deployed, devices, seconds
from secateur.report.run_panel import run_panel
from secateur.report.summary import sentences, warnings
from simulated_rows import RATIOS, STRENGTHS, recipe, simulate

NETWORKS = ("vgg", "resnet")


@pytest.fixture(scope="module")
def rows():
    return full(NETWORKS)


@pytest.fixture(scope="module")
def findings(rows):
    return find(full_recipe(), rows)


def only(data, **wanted):
    found = [row for row in data if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_methods_that_differ_by_construction_stand_in_groups_of_their_own(findings):
    data = comparison_figures.ranks(findings)
    own = [r for r in data if (r["network"], r["scope"]) == ("vgg", "uniform")]
    own = [r for r in own if r["by"] == "accuracy over all levels"]
    assert {r["criterion"]: r["group"] for r in own} == {"l1": 1, "l2": 1, "gm": 2, "random": 3}
    assert all(r["tied"] == (r["group"] == 1) for r in own)


def test_two_seeds_refuse_to_rank_and_say_why():
    few = find(full_recipe(), full(["vgg"], seeds=(1, 2)))
    data = comparison_figures.ranks(few)
    assert data and all(row["group"] is None for row in data)
    assert "2 of the 3 seeds needed" in data[0]["words"]
    assert "2 of the 3 seeds needed" in render(few)


def test_budgets_have_both_costs_and_training_from_scratch_beside_the_cuts(findings):
    data = comparison_figures.at_budgets(findings)
    place = {"network": "vgg", "strength": 0.0, "scope": "uniform", "times": 4}
    for cost in ("macs", "params"):
        cut = only(data, **place, cost=cost, criterion="l1")
        control = only(data, **place, cost=cost, criterion="from scratch")
        assert cut["accuracy"] - control["accuracy"] == pytest.approx(0.02)
        assert control["low"] < control["accuracy"] < control["high"]
        assert control["n_seeds"] == 3


def test_a_budget_that_no_network_meets_has_a_reason_and_no_number():
    few = find(full_recipe(), full(["vgg"], ratios=(0.1, 0.4)))
    data = comparison_figures.at_budgets(few)
    assert {row["accuracy"] for row in data if row["times"] == 8} == {None}
    assert all("times fewer" in row["missing"] for row in data if row["times"] == 8)
    assert all(row["accuracy"] is not None for row in data if row["times"] == 2)


def test_where_no_seed_has_every_cell_budgets_have_no_interval(findings, rows):
    lacking = [row for row in rows if not row["id"].endswith("gm-global-0.5")]
    some = comparison_figures.at_budgets(find(full_recipe(), lacking))
    cells = [row for row in some if row["scope"] == "global"]
    assert cells and all(row["low"] is None and row["missing"] for row in cells)
    place = {"network": "vgg", "strength": 0.0, "criterion": "l1", "scope": "global"}
    place |= {"cost": "macs", "times": 4}
    whole = only(comparison_figures.at_budgets(findings), **place)
    assert only(some, **place)["accuracy"] == pytest.approx(whole["accuracy"])


def test_the_heat_map_holds_the_prunable_ratio_and_the_budgets(findings):
    data = comparison_figures.heat_map(findings)
    place = {"network": "vgg", "strength": 0.0, "criterion": "l1", "scope": "uniform"}
    ratio = next(
        row.ratio
        for row in findings.prunable[0.02]
        if (row.network, row.strength, row.criterion, row.scope) == tuple(place.values())
    )
    assert only(data, **place, what="prunable 0.02")["value"] == ratio
    assert only(data, **place, what="macs 4")["value"] == pytest.approx(0.55, abs=0.01)
    options = {control.name: control.options for control in methods(findings).controls}
    assert ("macs 4", "accuracy at 4× fewer MACs") in options["what"]


def test_every_measure_of_a_curve_has_its_interval(findings):
    data = measure_figures.measures(findings)
    place = {"network": "vgg", "strength": 1.6, "scope": "uniform", "criterion": "l1"}
    assert {row["measure"] for row in data} == set(measure_figures.MEASURES)
    best = only(data, **place, measure="f_beta", axis="macs")
    quality, saving = (0.7 - 0.1) / 0.7, 1 - 0.3**2  # at 70 % of the channels, of 10 classes
    assert best["value"] == pytest.approx(2 * quality * saving / (quality + saving), abs=0.01)
    assert best["low"] < best["value"] < best["high"] and best["missing"] is None
    assert only(data, **place, measure="netscore", axis=None)["value"] > 60
    table = comparison_tables.measures(findings)
    assert len(table.rows) == len(NETWORKS) * len(STRENGTHS) * 4 * 2 * 2
    assert "Without a number or an interval" not in table.columns
    row = next(r for r in table.rows if r[:5] == ("vgg", "1.6", "l1", "uniform", "MACs"))
    assert row[6] == f"{best['value']:.3f} ({best['low']:.3f} to {best['high']:.3f})"


def test_the_heat_map_takes_every_measure(findings):
    options = {control.name: dict(control.options) for control in methods(findings).controls}
    assert options["what"]["f_beta params"] == "F-beta over parameters"
    assert options["what"]["area macs"] == "area to 4× fewer MACs"
    assert options["what"]["netscore"] == "NetScore"
    place = {"network": "vgg", "strength": 0.0, "criterion": "gm", "scope": "global"}
    shown = only(comparison_figures.heat_map(findings), **place, what="hypervolume macs")
    data = measure_figures.measures(findings)
    assert shown["value"] == only(data, **place, measure="hypervolume", axis="macs")["value"]


def test_bd_rates_are_against_random_and_l1(findings):
    data = measure_figures.bd_rates(findings)
    assert {row["reference"] for row in data} == {"random", "l1"}
    assert not [row for row in data if row["criterion"] in ("random", row["reference"])]
    place = {"network": "vgg", "strength": 0.0, "scope": "uniform", "axis": "macs"}
    cheap = only(data, **place, criterion="l1", reference="random")
    assert cheap["high"] < -0.5  # random loses 15 points at every cut
    equal = only(data, **place, criterion="l2", reference="l1")
    assert equal["low"] < 0.02 and equal["high"] > -0.02
    table = comparison_tables.bd_rates(findings)
    assert len(table.rows) == len(data) / 2


def test_accuracies_that_do_not_overlap_have_a_reason_and_no_rate():
    rows = full(["vgg"])
    for row in rows:
        if row["kind"] == "pruned" and row["criterion"] == "gm":
            row["accuracy"] = 0.9 + 0.1 * row["accuracy"]  # above all that random and l1 reach
    found = find(full_recipe(), rows)
    (row, *_) = [r for r in measure_figures.bd_rates(found) if r["criterion"] == "gm"]
    assert row["value"] is None and "do not overlap" in row["missing"]
    table = comparison_tables.bd_rates(found)
    own = next(r for r in table.rows if r[2] == "gm")
    assert own[5:7] == ("–", "–") and own[8].startswith(
        "over MACs, over parameters: the accuracies"
    )
    said = {why: n for _, why, n in gaps.undefined(found).rows}
    assert [n for why, n in said.items() if "BD-rate against l1 over MACs: the accuracies" in why]


def test_without_the_number_of_classes_there_is_no_f_beta_and_the_page_says_why():
    old = full(["vgg"])
    for row in old:
        row.pop("n_classes", None)
    found = find(full_recipe(), old)
    data = measure_figures.measures(found)
    assert {row["value"] for row in data if row["measure"] == "f_beta"} == {None}
    assert all(row["value"] is not None for row in data if row["measure"] != "f_beta")
    table = comparison_tables.measures(found)
    assert "no F-beta" in table.caption and {row[6] for row in table.rows} == {"–"}
    assert not any(row["what"].startswith("f_beta") for row in comparison_figures.heat_map(found))
    assert "how many classes there are" in " ".join(gaps.absent(found))
    assert not any("F-beta" in why for _, why, _ in gaps.undefined(found).rows)


def test_a_network_that_is_never_small_has_no_area_and_that_is_listed():
    few = find(full_recipe(), full(["vgg"], ratios=(0.1, 0.2)))
    said = [why for _, why, _ in gaps.undefined(few).rows]
    assert any(why.startswith("area to 4× fewer over MACs: the smallest network") for why in said)
    row = comparison_tables.measures(few).rows[0]
    assert row[5] == "–" and row[-1].startswith("area to 4× fewer: the smallest network")


def test_every_cut_beats_its_control_by_what_was_put_in(findings):
    data = comparison_figures.scratch_differences(findings)
    for network in NETWORKS:
        row = only(data, network=network, criterion="l1", ratio="all ratios")
        dense = [r["accuracy"] for r in findings.pruned if _dense_l1(r, network)]
        control = [r["accuracy"] for r in findings.scratch if r["network"] == network]
        assert np.mean(dense) - np.mean(control) == pytest.approx(0.02)
        assert row["scope"] == "uniform" and row["macs_ratio"] == 1
    against = {control.name: control for control in differences(findings).controls}["reference"]
    assert [value for value, _ in against.options] == ["random", "from scratch"]


def _dense_l1(row, network):
    wanted = (network, 0.0, "l1", "uniform")
    return (row["network"], row["strength"], row["criterion"], row["scope"]) == wanted


def test_fronts_hold_no_point_that_another_beats(findings):
    data = front_figures.fronts(findings)
    cuts = [r for r in data if (r["network"], r["strength"], r["scope"]) == ("vgg", 0.8, "global")]
    for cost in ("macs", "params"):
        for row in cuts:
            beaten = any(
                r[cost] <= row[cost] and r["accuracy"] > row["accuracy"] + 1e-8 for r in cuts
            )
            assert not (row[f"front_{cost}"] and beaten)
        assert sum(row[f"front_{cost}"] for row in cuts) >= len(RATIOS)
    control = [r for r in data if r["criterion"] == "from scratch" and r["network"] == "vgg"]
    assert [r["ratio"] for r in control] == list(RATIOS)
    assert control[2]["macs_left"] == pytest.approx(0.25)


def test_what_was_deployed_is_paired_with_its_network(findings):
    data = run_figures.deployed(findings)
    place = {"network": "vgg", "strength": 0.0, "criterion": "l1", "scope": "uniform", "ratio": 0.5}
    small, large = (only(data, **place, form=form) for form in ("int8", "float32"))
    assert large["accuracy"] - small["accuracy"] == pytest.approx(0.01)
    assert (small["loss"], small["loss_low"]) == pytest.approx((-0.01, -0.01))
    assert large["param_bytes"] == 4 * small["param_bytes"] == 4 * 18_000
    assert {row["criterion"] for row in data} >= {"unpruned", "from scratch", "random"}
    table = run_tables.deployed(findings)
    assert len(table.rows) == len(data) / 2


def test_the_course_of_training_is_a_mean_over_base_networks(findings):
    data = run_figures.course(findings)
    assert len(data) == len(NETWORKS) * len(STRENGTHS) * EPOCHS * len(run_figures.COURSE)
    last = only(data, network="vgg", strength=1.6, epoch=3, what="ws")
    assert last["mean"] == pytest.approx(0.5 + 3 * 1.6) and last["n"] == 3


def test_time_counts_every_kind_of_row(findings, rows):
    told = run_figures.seconds(findings)
    assert sum(row["seconds"] for row in told) == pytest.approx(
        sum(sum(row["seconds"].values()) for row in rows)
    )
    assert {"train", "train from scratch", "deploy"} <= {row["stage"] for row in told}


def test_single_runs_come_back_from_their_columns(findings):
    data = run_figures.runs(findings)
    made = run_figures.columns(data)
    back = {
        name: own if isinstance(own, list) else [own["of"][k] for k in own["at"]]
        for name, own in made.items()
    }
    assert back["id"] == [row["id"] for row in data]
    assert back["criterion"] == [row["criterion"] for row in data]
    assert back["accuracy"] == pytest.approx([row["accuracy"] for row in data], rel=1e-4)
    panel = run_panel(findings)
    assert json.loads(str(panel.json))["columns"]["id"] == back["id"]


def test_removed_channels_are_compared_one_by_one(findings):
    data = removed_figures.removed(findings)
    place = {"network": "vgg", "strength": 0.8, "scope": "global", "ratio": 0.3}
    shared = {(r["first"], r["second"]): r["shared"] for r in data if place.items() <= r.items()}
    assert shared["l1", "l2"] == 1 and shared["l1", "random"] == 0
    assert shared["l1", "gm"] == pytest.approx(2 / 4)
    assert len(shared) == 6


def test_cuts_that_removed_nothing_share_nothing():
    some = find(full_recipe(), full(["vgg"], ratios=(0.01, 0.3)))  # 0 and 3 of 10 channels
    assert {row["ratio"] for row in removed_figures.removed(some)} == {0.3}


def test_accuracy_by_device_is_that_of_the_rows(findings):
    data = run_figures.by_device(findings)
    place = {"network": "vgg", "strength": 0.0, "criterion": "l1", "scope": "uniform", "ratio": 0.5}
    good, poor = (only(data, **place, device=name) for name in ("a", "s1"))
    assert good["accuracy"] - poor["accuracy"] == pytest.approx(0.1)
    assert good["low"] < good["accuracy"] < good["high"] and good["n_seeds"] == 3


def test_rows_of_former_versions_leave_figures_out_with_a_sentence():
    old = find(recipe(), simulate(networks=["vgg"]))
    assert course(old).panels == deployed(old).panels == ()
    said = " ".join(gaps.absent(old))
    for words in ("hold no epochs", "pruning.from_scratch", "deployment", "which channels went"):
        assert words in said
    page = render(old)
    assert "hold no epochs" in page and "No network of this study was written as a file" in page


def test_nothing_of_what_is_there_is_called_absent(findings):
    said = " ".join(gaps.absent(findings))
    assert "epochs" not in said and "from_scratch" not in said and "deployment" not in said


def test_budgets_of_macs_are_called_by_their_name():
    asked = full_recipe(ratios=[], fewer_macs=[2, 4, 8])
    found = find(asked, budgets_of_macs())
    assert found.by_macs and warnings(found) == ()
    assert "3 budgets of MACs" in sentences(found)[0]
    page = render(found)
    assert "4× fewer MACs" in page and "Budgets of MACs as asked" in page
    assert "at the same 3 budgets of MACs" in page and "3 ratios" not in page
    assert "by pruning ratio" not in page
    control = {one.name: one for one in differences(found).controls}["ratio"]
    assert control.label == "Budget"
    assert [words for _, words in control.options[1:]] == [f"{k}× fewer MACs" for k in (2, 4, 8)]


def test_a_whole_study_lacks_no_row():
    assert warnings(find(full_recipe(), full())) == ()


def test_the_digest_carries_the_comparison(findings):
    found = json.loads(json.dumps(digest(findings), allow_nan=False))
    for name in (
        *("ranks", "from_scratch", "accuracy_at_budgets", "measures", "bd_rates"),
        *("deployed", "course", "removed"),
    ):
        assert found[name]
    assert found["fairness"]["level"] == "like for like, with both controls"
    assert {"effect", "share", "low", "high"} <= set(found["shares_of_variance"][0])
    assert all("visible" in claim for claim in found["claims"])


@pytest.mark.parametrize(
    "make", [course, deployed, devices, methods, removed, seconds, differences]
)
def test_a_figure_explains_itself_and_sets_its_controls(make, findings):
    figure = make(findings)
    assert figure.panels and figure.title and len(figure.caption) > 80
    for panel in figure.panels:
        names = {parameter["name"] for parameter in panel.get("params", ())}
        assert names == {control.name for control in figure.controls}
        assert any(panel["datasets"].values())


def test_tables_say_no_none(findings):
    for make in (
        comparison_tables.ranks,
        comparison_tables.at_budgets,
        comparison_tables.measures,
        comparison_tables.bd_rates,
        comparison_tables.controls,
        comparison_tables.shares,
        run_tables.deployed,
        run_tables.seconds,
    ):
        table = make(findings)
        assert table.rows
        for row in table.rows:
            assert len(row) == len(table.columns) and not {"None", "nan", ""} & set(row)
