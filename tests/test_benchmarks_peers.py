"""What docs/peers.md says of ten small networks, asked again of the packages that are here."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import peers
from peers_adapters import PEERS
from peers_networks import INPUT, NETWORKS, WIDTH, with_distinct_weights
from peers_page import cell, count_exact, outcomes
from sections import ROOT

PEER = {peer.name: peer for peer in PEERS}
PAGE = (ROOT / "docs" / "peers.md").read_text()
SECTION = PAGE[PAGE.index("<!-- begin outcomes -->") : PAGE.index("<!-- end outcomes -->")]


def table(text: str, first: str) -> tuple[list[str], dict[str, list[str]]]:
    """Head and rows of the table whose first head cell this is; rows by their first cell."""
    lines = text[text.index(f"| {first} |".replace("  ", " ")) :].partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return cells[0][1:], {row[0].partition(":")[0]: row[1:] for row in cells[2:]}


def documented(peer: str, network: str) -> str:
    head, rows = table(SECTION, "network")
    return rows[network][head.index(peer)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("peer", ["secateur", "torch-pruning"])
def test_what_the_page_says_comes_out_again(peer: str, network: str) -> None:
    run = peers.examine(PEER[peer], NETWORKS[network])
    said = re.sub(r"\d+e-\d+", "e", documented(peer, network))
    assert re.sub(r"\d+e-\d+", "e", cell(run)) == said
    if peer == "secateur":
        assert said == "exact"
        assert run["untouched"] and run["changed"] == 0
        if network == "attention":  # half of the heads go beside half of the widths in each
            assert run["removed"] > 1
        else:
            assert run["removed"] == pytest.approx(1)


def test_a_cut_that_is_wrong_is_called_wrong() -> None:
    """A plain network of which one reader loses other channels than its producer."""
    model = with_distinct_weights(NETWORKS["plain"].build(WIDTH)).eval()
    wrong = copy.deepcopy(model)
    assert isinstance(wrong[0], nn.Conv2d) and isinstance(wrong[2], nn.Conv2d)
    with torch.no_grad():
        wrong[0].weight, wrong[0].bias = (nn.Parameter(p[:32]) for p in wrong[0].parameters())
        wrong[2].weight = nn.Parameter(wrong[2].weight[:, 16:48])
    run = peers.compare(wrong, model, torch.randn(INPUT))
    assert run["verdict"] == "differs" and run["error"] > 1e-3 and run["changed"] == 0
    with torch.no_grad():
        wrong[2].weight = nn.Parameter(model[2].weight[:, :32])
    assert peers.compare(wrong, model, torch.randn(INPUT))["verdict"] == "exact"


@pytest.mark.parametrize("network", NETWORKS)
def test_no_two_weights_are_the_same_number(network: str) -> None:
    model = with_distinct_weights(NETWORKS[network].build(WIDTH))
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    assert len(weights.unique()) == len(weights) and bool((weights != 0).all())


def test_the_section_is_what_its_writer_writes() -> None:
    head, rows = table(SECTION, "network")
    assert head == list(PEER) and list(rows) == [*NETWORKS, "exact, all of it"]
    where, runs = table(SECTION, "package")
    assert where == ["version", "torch", "Python", "code of", "date", "input model"]
    assert list(runs) == list(PEER)
    assert all(torch_version.startswith("2.") for _, torch_version, *_ in runs.values())
    networks = {name: {"verdict": "failed", "failure": "E: `x`"} for name in NETWORKS}
    networks["plain"] = {"verdict": "exact", "error": 0.0, "removed": 0.5, "untouched": True}
    networks["chunk"] = {"verdict": "differs", "error": 0.1, "removed": 1.0, "untouched": False}
    row = {"version": "1", "torch": "2", "python": "3", "commit": "a", "date": "d"}
    text = outcomes({"nni": row | {"networks": networks}})
    head, rows = table(text, "network")
    assert head == ["nni"] and rows["plain"] == ["exact, 50% of it"]
    assert rows["chunk"] == ["**differs** by 1e-01"] and rows["exact, all of it"] == ["0"]
    assert "- nni: `E: x` (residual," in text and text.count("changed") == 1


def test_the_summaries_count_what_the_section_says() -> None:
    head, rows = table(SECTION, "network")
    counts = [sum(rows[name][k] == "exact" for name in NETWORKS) for k in range(len(head))]
    assert rows["exact, all of it"] == [str(n) for n in counts]
    wrong = [sum("differs" in rows[name][k] for name in NETWORKS) for k in range(len(head))]
    ran = [str(n) for n in counts[:8]]
    in_full = table(PAGE, "question")[1]["[ten small networks](#ten-small-networks)"]
    assert [said.partition(" ")[0] for said in in_full[:8]] == ran
    said = table(PAGE, "question")[1]["of these wrong without a word"]
    assert said[:8] == [str(n) for n in wrong[:8]] and wrong[0] == 0
    short = PAGE[PAGE.index("## In short") :]
    assert table(short, "")[1]["ten small networks, half the channels gone exactly"] == ran
    assert count_exact({"networks": {}}) == 0


def test_a_package_that_is_absent_is_said_to_be() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py")]
    if peers.absent(PEER["nni"]):
        done = subprocess.run([*command, "nni"], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["nni", "not", "installed"]
    done = subprocess.run([*command, "nnni"], capture_output=True, text=True)
    assert done.returncode == 2 and "no package nnni; there are secateur," in done.stderr
