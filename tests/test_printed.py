"""What a person prints and looks at: tables that fit a terminal, HTML and pictures."""

from __future__ import annotations

import re
import warnings
from html.parser import HTMLParser
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.channels.tabular import MOST, by_reason
from secateur.deploy.card import Card, Cut, File, Origin
from secateur.deploy.device import DEVICES, Stored
from secateur.deploy.session import Input
from secateur.deploy.turns import Latency
from secateur.networks.families import NETWORKS
from secateur.networks.mobilenet import mobilenet
from secateur.networks.vgg import vgg
from secateur.plan.history import NO_GROUP, changes
from secateur.surgery.pruned import Pruned
from secateur.surgery.verification import Verification
from toys import TOYS, image

TERMINAL = 110
EVIL = "<script>alert('1')</script>&\""
SVG = "{http://www.w3.org/2000/svg}"


class Chain(nn.Module):
    """As many convolutions as asked, each a group of its own, of 3 to 9 channels."""

    def __init__(self, n: int, name: str = "a_network_with_names_that_are_long") -> None:
        super().__init__()
        widths = [1] + [3 + k % 7 for k in range(n)]
        layers = [nn.Conv2d(a, b, 1) for a, b in pairwise(widths)]
        self.add_module(name, nn.ModuleList(layers))
        self.name = name
        self.head = nn.Conv2d(widths[-1], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in getattr(self, self.name):
            x = layer(x).relu()
        return self.head(x)


@pytest.fixture(scope="module")
def once() -> Pruned:
    """A network whose names come from outside."""
    torch.manual_seed(0)
    return sc.prune(Chain(5, EVIL).double(), image(), macs="60%")


@pytest.fixture(scope="module")
def thrice() -> Pruned:
    torch.manual_seed(0)
    *_, last = sc.prune_steps(vgg(width=8), torch.randn(1, 1, 32, 33), macs="40%", steps=3)
    return last


def scores_of(pruned: Pruned) -> sc.Scores:
    return sc.score(pruned.channels, [sc.l2])["l2"]


def card_of(pruned: Pruned, name: str = "vgg") -> Card:
    stored = Stored("float32", 100, 400)
    file = File(
        name=f"{name}.onnx", bytes=500, sha256="0" * 64, stored=stored, relative_error=1e-7,
        compared_with="torch", same_answer=None, accuracy=0.5,
        latency=Latency(1.0, 0.9, 1.1, 50, 10, name), fits=(DEVICES["dcase2022"].hold(stored, 1),),
    )  # fmt: skip
    cuts = tuple(Cut(step.plan, step.verification) for step in pruned.steps)
    origin = Origin(network=name, data=name, cuts=cuts)
    after = pruned.plan.after
    inputs = (Input("x", (1, 6, 6), "float32"),)
    made_with = {"torch": "2"}
    return Card(origin, inputs, ("output",), after.params, after.macs, (file,), made_with)


def shown(pruned: Pruned, name: str) -> dict[str, Any]:
    values = (pruned, pruned.plan, pruned.verification, pruned.channels, scores_of(pruned))
    return {type(v).__name__: v for v in (*values, card_of(pruned, name))}


class Balanced(HTMLParser):
    """Fails where a tag is closed that is not open; collects text and elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


KINDS = ("Pruned", "PruningPlan", "Verification", "ChannelMap", "Scores", "Card")


@pytest.mark.parametrize("kind", KINDS)
def test_html_is_balanced_self_contained_and_escaped(once: Pruned, kind: str) -> None:
    html = shown(once, EVIL)[kind]._repr_html_()
    read = Balanced(html)
    assert not read.having("script") and not read.having("link") and not read.having("img")
    assert "<script>" in read.text  # the name is there, as text
    for _, attributes in read.elements:
        assert not {"src", "href", "id", "onload"} & attributes.keys()
        assert "url(" not in (attributes.get("style") or "")
    assert read.having("table") and len(read.having("caption")) == len(read.having("table"))
    assert {th["scope"] for th in read.having("th")} == {"row", "col"}
    (block,) = [attributes for tag, attributes in read.elements[:1] if tag == "div"]
    assert "color:inherit" in str(block["style"])


def test_only_the_html_of_a_pruned_has_the_picture(thrice: Pruned) -> None:
    for kind, value in shown(thrice, "vgg").items():
        drawn = Balanced(value._repr_html_()).having("svg")
        assert len(drawn) == (kind == "Pruned")
    assert '"#fff"' in thrice.picture() and '"#fff"' not in thrice._repr_html_()


def assert_fits(value: Any, most: int = 100) -> None:
    lines = str(value).splitlines()
    assert max(map(len, lines)) <= TERMINAL and len(lines) <= most
    assert all(line == line.rstrip() for line in lines)
    assert "\n\n\n" not in str(value)


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_prints_within_the_terminal(name: str) -> None:
    build, example = TOYS[name]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = sc.prune(build().double().eval(), example, ratio=0.4)
    for value in shown(pruned, name).values():
        assert_fits(value)
        Balanced(value._repr_html_())
    ElementTree.fromstring(pruned.picture())


@pytest.mark.parametrize("n", [5, 300])
def test_few_groups_and_many_are_bounded(n: int) -> None:
    torch.manual_seed(0)
    model, example = Chain(n).double(), image()
    channels = sc.trace(model, example)
    plan = sc.uniform(sc.score(channels, [sc.l2])["l2"], channels, sc.Budget(macs="60%"))
    checked = Verification(1e-16, dict.fromkeys(plan.remove, "silent"), inputs=("2x1x6x6",) * 2)
    pruned = Pruned(model, plan, channels, checked)
    for value in shown(pruned, "chain").values():
        assert_fits(value)
    if n > MOST:
        assert f"… and {len(plan.remove) - MOST} more groups that were cut" in str(pruned)
        assert f"… and {n - MOST} more groups" in str(scores_of(pruned))
    root = ElementTree.fromstring(pruned.picture())
    assert float(root.get("height", 0)) <= 1200
    assert len(root.findall(f"{SVG}g")) == 1 + 2 * (n + 1)  # the head is in no group
    (names,) = [g for g in root.findall(f"{SVG}g") if g.get("font-family")]
    texts = list(names)
    places = [float(text.get("y", 0)) for text in texts]
    assert min(np.diff(places)) >= 12 and len(texts) >= min(n, 60)
    for text in texts:
        assert float(text.get("x", 0)) >= 7 * len(str(text.text))  # not cut off on the left
    assert str(texts[0].text).startswith("a_network_with") and "…" in str(texts[0].text)


@pytest.mark.parametrize("several", [False, True])
def test_bars_are_as_long_as_their_numbers(several: bool, thrice: Pruned) -> None:
    pruned = thrice if several else thrice.steps[0]
    rows = changes([(step.channels, step.plan) for step in pruned.steps])
    root = ElementTree.fromstring(pruned.picture())
    assert root.get("role") == "img" and "of the MACs" in str(root.get("aria-label"))
    assert root.findtext(f"{SVG}title") == root.get("aria-label")
    bars = [g for g in root.findall(f"{SVG}g") if g.find(f"{SVG}title") is not None]
    widths = [(row.width_before, row.width_after) for row in rows]
    macs = [(row.macs_before, row.macs_after) for row in rows]
    for panel, numbers in ((bars[: len(rows)], widths), (bars[len(rows) :], macs)):
        longest = max(before for before, _ in numbers)
        for row, g, (before, after) in zip(rows, panel, numbers, strict=True):
            assert str(g.findtext(f"{SVG}title")).startswith(f"{row.name}: ")
            drawn = [float(rect.get("width", 0)) for rect in g.findall(f"{SVG}rect")]
            wanted = [240 * before / longest, 240 * after / longest] if before else []
            assert drawn == pytest.approx(wanted, abs=0.01)
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert ("the first network" if several else "before") in words


@pytest.mark.parametrize("name", NETWORKS)
def test_a_history_follows_every_group_and_adds_up(name: str) -> None:
    torch.manual_seed(0)
    example = torch.randn(1, 1, 32, 33)
    *_, pruned = sc.prune_steps(NETWORKS[name](), example, ratio=0.5, steps=2)
    cuts = [(step.channels, step.plan) for step in pruned.steps]
    first, now = cuts[0][0], sc.trace(pruned.network, example)
    rows = changes(cuts)
    by_name = {row.name: row for row in rows}
    assert [row.name for row in rows if row.name != NO_GROUP] == [g.name for g in first.groups]
    assert sum(row.macs_before for row in rows) == sc.cost(first).macs
    assert sum(row.macs_after for row in rows) == pytest.approx(sc.cost(now).macs, abs=len(rows))
    assert sum(row.width_after for row in rows) == pruned.plan.after.channels
    for group in first.groups:  # by the shapes of the network that came out
        member = group.members[0]
        if member.index.size == first.shapes[member.parameter][member.dim]:
            left = now.shapes[member.parameter][member.dim]
            assert by_name[group.name].width_after * member.index.shape[1] == left


def test_the_macs_of_a_group_on_paper() -> None:
    # 1 -> 3 -> 4 -> 2 channels of 1x1 on 6x6, one channel of the first and two of the second go.
    model = Chain(2).double()
    channels = sc.trace(model, image())
    a, b = (group.name for group in channels.groups)
    plan = sc.manual(channels, {a: [1], b: [0, 2]})
    rows = [tuple(vars(row).values()) for row in changes([(channels, plan)])]
    assert rows == [
        (a, 3, 2, 3 * 36, 2 * 36),
        (b, 4, 2, 12 * 36, 4 * 36),
        (NO_GROUP, 0, 0, 8 * 36, 4 * 36),
    ]


def test_halves_of_one_layer_are_told_apart() -> None:
    build, example = TOYS["gated halves"]
    model = build().double()
    channels = sc.trace(model, example)
    scores = sc.score(channels, [sc.l2])["l2"]
    plan = sc.uniform(scores, channels, sc.Budget(pruning_ratio=0.5))
    for row in changes([(channels, plan)]):
        if row.name != NO_GROUP:
            assert row.width_before - row.width_after == len(plan.remove.get(row.name, ()))


def test_a_network_cut_several_times_speaks_of_all_cuts(thrice: Pruned) -> None:
    text = str(thrice)
    assert_fits(thrice)
    first, now = sc.cost(thrice.steps[0].channels), thrice.plan.after
    assert re.search(rf"MACs +{first.macs:,} +{now.macs:,} +{now.macs / first.macs:.1%}", text)
    lines = [line.split() for line in text.splitlines() if re.match(r" +\d  ", line)]
    assert [line[0] for line in lines] == ["1", "2", "3"]
    assert all("exact," in line and "MACs" in line for line in lines)
    (row,) = [line.split() for line in text.splitlines() if line.startswith("conv1.conv")]
    assert row[1:3] == ["8", str(thrice.network.get_submodule("conv1.conv").weight.shape[0])]
    assert "of the last cut, as it was made, before any training:\n" in text
    assert "Every cut" in thrice._repr_html_() and "first network" in thrice._repr_html_()
    assert "Every cut" not in thrice.steps[0]._repr_html_()


def test_a_card_tells_every_cut(thrice: Pruned) -> None:
    card = card_of(thrice)
    first, now = thrice.steps[0].plan.before, thrice.plan.after
    read = card.as_markdown()
    assert f"| MACs | {first.macs:,} | {now.macs:,} | {now.macs / first.macs:.1%} |" in read
    for k, step in enumerate(thrice.steps, 1):
        after, (asked,) = step.plan.after, step.plan.asked.values()
        start = f"| {k} | {after.params:,} | {after.macs:,} | l2, uniform |"
        assert f"{start} MACs {after.macs:,} of {int(asked):,} | exact, " in read
    written = card.as_json()["cuts"]
    assert [cut["plan"]["after"]["macs"] for cut in written] == [
        step.plan.after.macs for step in thrice.steps
    ]
    assert all(cut["verification"]["exact"] for cut in written)
    assert "is as its references say" not in read
    build, example = TOYS["layer norm"]
    other = card_of(sc.prune(build().double(), example, ratio=0.4)).as_markdown()
    assert "| as referenced, " in other and "- cut 1: the cut network is as its references" in other
    unknown = Card(Origin(), card.inputs, card.outputs, 1, 1, card.files, {})
    assert "whether it was pruned is unknown" in str(unknown) + unknown._repr_html_()
    assert "MACs" not in unknown.as_markdown().partition("## Files")[0]


def test_scores_say_how_many_tie_and_what_is_left_out() -> None:
    groups = {"a": np.array([0.5, 1, 1, 3]), "b": np.array([2.0, 2.0])}
    reasons = {f"left{k}": "it has no weights" for k in range(30)}
    scores = sc.Scores("l2", "mean", {}, groups, constant=("b",), left_out=reasons)
    lines = str(scores).splitlines()
    assert lines[0] == "l2, the mean of coupled filters: higher = keep"
    assert [line.split() for line in lines[1:4]] == [
        ["group", "channels", "lowest", "median", "highest", "tied"],
        ["a", "4", "0.5000", "1.000", "3.000", "2"],
        ["b", "2", "2.000", "2.000", "2.000", "2"],
    ]
    (left,) = [line for line in lines if line.startswith("left out: ")]
    assert re.search(r"and \d+ more: it has no weights$", left)
    assert lines[-1] == "cannot choose, all filters score the same: b"


def test_reasons_are_grouped_and_bounded() -> None:
    same = by_reason("held back", {f"group{k}": "a size is fixed" for k in range(99)})
    assert len(same) == 1 and len(same[0]) < TERMINAL
    other = by_reason("held back", {f"group{k}": f"reason {k}" for k in range(99)})
    assert len(other) < 20 and other[-1] == "held back: for 87 more reasons"


def test_a_cost_prints_with_its_units() -> None:
    model = vgg(width=8)
    cost = sc.cost(sc.trace(model, torch.zeros(1, 1, 32, 33)))
    size = sum(prod(p.shape) for p in model.parameters())
    assert re.search(rf"parameters +{size:,}  {size * 4 / 1000:,.1f} kB in float32", str(cost))
    assert re.search(rf"MACs +{cost.macs:,}  of one example", str(cost))


def test_nothing_went() -> None:
    model, example = vgg(width=8), torch.randn(1, 1, 32, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = sc.prune(model, example, macs="100%")
    assert not pruned.plan.remove
    assert "every group keeps its width" in str(pruned)
    assert_fits(pruned)
    Balanced(pruned._repr_html_())
    ElementTree.fromstring(pruned.picture())


def test_the_picture_of_the_manual_is_what_is_drawn_today() -> None:
    """Widths and costs of a uniform cut depend on no weight, so that it is the same anywhere."""
    pruned = sc.prune(mobilenet(width=8), torch.randn(1, 1, 64, 101), macs="50%")
    stored = Path(__file__).parents[1] / "docs" / "pictures" / "prune.svg"
    assert stored.read_text() == pruned.picture()
