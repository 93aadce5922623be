"""What every group of channels is good for: on rows whose truth is known, drawn and in a table."""

import pytest

from secateur.report import gaps, tables
from secateur.report.digest import digest
from secateur.report.findings import find
from secateur.report.network_charts import sensitivity as chart
from secateur.report.page import render
from secateur.report.sensitivity_figures import sensitivity
from simulated_rows import SIZES, STRENGTHS, recipe, simulate


@pytest.fixture(scope="module")
def findings():
    return find(recipe(), simulate())


def former():
    """Rows of a version that measured no group's sensitivity and wrote no number of classes."""
    rows = simulate(networks=["vgg"])
    for row in rows:
        for name in ("sensitivity", "n_classes"):
            row.pop(name, None)
    return rows


def test_every_group_loses_what_was_put_in(findings):
    data = sensitivity(findings)
    assert len(data) == len(STRENGTHS) * 3 * sum(map(len, SIZES.values()))
    for row in data:
        assert row["lost"] == pytest.approx(0.4 * row["ratio"] / (row["order"] + 1))
        assert row["least"] == pytest.approx(row["most"]) and row["n"] == 3


def test_groups_keep_the_order_of_their_network(findings):
    own = [row for row in sensitivity(findings) if row["network"] == "resnet"]
    assert [row["group"] for row in own[:15:3]] == [f"stage{k}" for k in range(5)]
    assert [row["strength"] for row in own[::15]] == list(STRENGTHS)


def test_the_mean_stands_between_the_lowest_and_the_highest_base_network():
    rows = simulate(networks=["vgg"], strengths=[0.0])
    for row in rows:
        for curve in row.get("sensitivity", ()):
            curve["values"] = [value - 0.01 * row["seed"] for value in curve["values"]]
    (row, *_) = sensitivity(find(recipe(), rows))
    lost = 0.4 * 0.25
    assert (row["least"], row["lost"], row["most"]) == pytest.approx(
        (lost + 0.01, lost + 0.02, lost + 0.03)
    )


def test_a_group_of_three_stands_at_the_shares_that_were_zeroed():
    rows = simulate(networks=["vgg"], strengths=[0.0])
    for row in rows:
        for curve in row.get("sensitivity", ()):
            curve |= {"n_channels": 3, "ratios": [1 / 3, 2 / 3], "values": curve["values"][:2]}
    one, other, *_ = sensitivity(find(recipe(), rows))
    assert (one["from"], one["upto"], other["upto"]) == pytest.approx((1 / 6, 1 / 2, 5 / 6))
    assert tables.sensitivity(find(recipe(), rows)).rows[1][3] == "2 of 3"


def test_the_chart_takes_a_strength_and_names_groups_in_order(findings):
    figure = chart(findings)
    assert [panel["title"] for panel in figure.panels] == list(SIZES)
    assert [control.name for control in figure.controls] == ["strength"]
    assert [value for value, _ in figure.controls[0].options] == list(STRENGTHS)
    for panel, sizes in zip(figure.panels, SIZES.values(), strict=True):
        assert [parameter["name"] for parameter in panel["params"]] == ["strength"]
        assert len(panel["datasets"]["own"]) == len(STRENGTHS) * 3 * len(sizes)
        order = panel["layer"][0]["encoding"]["y"]["sort"]
        assert order == [f"stage{k}" for k in range(len(sizes))]


def test_the_table_counts_channels_and_points(findings):
    (row, *_) = tables.sensitivity(findings).rows
    assert row == ("vgg", "0", "stage0", "4 of 16", "10.0", "10.0 to 10.0", "3")


def test_rows_of_former_versions_leave_it_out_with_a_sentence():
    old = find(recipe(), former())
    assert sensitivity(old) == [] and chart(old).panels == ()
    said = " ".join(gaps.absent(old))
    assert "Sensitivity of single groups of the base networks" in said
    assert "F-beta" in said and "how many classes" in said
    assert "do not hold what single groups" in render(old)


def test_where_some_rows_lack_it_their_number_is_told():
    mixed = [*former(), *simulate(networks=["resnet"])]
    found = find(recipe(), mixed)
    assert {row["network"] for row in sensitivity(found)} == {"resnet"}
    said = " ".join(gaps.absent(found))
    assert "of 12 of the base networks" in said and "F-beta" not in said


def test_what_is_there_is_not_called_absent_and_stands_in_the_digest(findings):
    assert "ensitivity" not in " ".join(gaps.absent(findings))
    assert digest(findings)["sensitivity"] == sensitivity(findings)
