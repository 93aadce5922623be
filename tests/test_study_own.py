"""Networks of the reader's own: what is refused before any work, and a study that is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from secateur.channels.trace import trace
from secateur.errors import RecipeError, SecateurError, StudyError
from secateur.networks.factory import find_object, with_classes
from secateur.study.build import build, draw_anew
from secateur.study.cells import BaseCell, units
from secateur.study.check import check_networks
from secateur.study.recipe import Recipe, read_recipe, recipe_from
from secateur.study.store import Store
from test_study_run import TINY, settled

NETS = """
import numpy as np
import torch
from torch import nn


def build(n_classes, width=4, last=None):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, last or n_classes),
    )


class Odd(nn.Module):
    def __init__(self, num_classes, way):
        super().__init__()
        self.net, self.way = build(num_classes), way

    def forward(self, x):
        y = self.net(x)
        if self.way == "values":
            return y if x.sum() > 0 else -y
        return {"tuple": (y,), "detached": y.detach(), "classes": y.argmax(1)}[self.way]


class Fixed(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.out = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.out(self.bn(self.conv(x)).view(-1, 8, 32 * 32).mean(2))


class Two(nn.Module):
    def forward(self, x, y):
        return x


def two(n_classes):
    return Two()


def number(n_classes):
    return 3


def no_classes(classes):
    return build(classes)


def raising(n_classes):
    raise ValueError("boom")


def linear(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, n_classes))


def misfit(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(77, n_classes))


def without_norms(n_classes):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, n_classes),
    )


def elsewhere(n_classes):
    model = build(n_classes)
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(np.random.randn(4, 1, 3, 3)))
    return model


def drawing(n_classes):
    class Whole(nn.Sequential):
        def reset_parameters(self):
            nn.init.constant_(self[0].weight, 0.25)

    return Whole(*build(n_classes), nn.BatchNorm1d(n_classes))
"""


def own(factory: str, **changes: Any) -> dict[str, Any]:
    return {"kind": "own", "name": "mine", "factory": factory} | changes


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "tested_nets.py").write_text(NETS)
    (folder / "broken_nets.py").write_text("import no_such_thing\n")
    (folder / "failing_nets.py").write_text("1 / 0\n")
    (folder / "json.py").write_text("def build(n_classes): pass\n")
    return folder


def recipe(nets: Path, *networks: dict[str, Any], **changes: Any) -> Recipe:
    return recipe_from(TINY | {"networks": networks} | changes, folder=nets)


def base(nets: Path, function: str, **changes: Any) -> BaseCell:
    return units(recipe(nets, own(f"tested_nets:{function}", **changes)))[0].base


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (own("none_such:f"), "cannot import 'none_such': No module named 'none_such'; put it into"),
        (own("broken_nets:f"), "cannot import 'broken_nets': No module named 'no_such_thing'"),
        (own("failing_nets:f"), "importing 'failing_nets' failed: ZeroDivisionError"),
        (own("json:build"), "the name is taken; rename the file"),
        (own("tested_nets:none"), "'tested_nets' has no function 'none'"),
        (own("tested_nets:np"), "tested_nets:np is no function"),
        (own("tested_nets:number"), "tested_nets:number gave a int; it must return an nn.Module"),
        (own("tested_nets:two"), "Two wants x, y"),
        (own("tested_nets:raising"), "tested_nets:raising failed: ValueError: boom"),
        (own("tested_nets:no_classes"), "the number of classes is given as n_classes"),
        (own("tested_nets:build", arguments={"widht": 4}), "unexpected keyword argument 'widht'"),
        (own("tested_nets:build", arguments={"last": 4}), "float32 of shape (2, 4)"),
        (own("tested_nets:Odd", arguments={"way": "tuple"}), "it gave a tuple"),
        (own("tested_nets:Odd", arguments={"way": "classes"}), "it gave int64 of shape (2,)"),
        (own("tested_nets:Odd", arguments={"way": "detached"}), "a step of training failed"),
        (own("tested_nets:Odd", arguments={"way": "values"}), "depends on the values of its data"),
        (own("tested_nets:linear"), "it has no channel that can be pruned; 1.weight: "),
        (own("tested_nets:misfit"), "its forward failed on an input of shape (2, 1, 32, 32): "),
        (own("tested_nets:Fixed"), "not even the gentlest cut (0.5) can be made: "),
        (own("tested_nets:without_norms"), "penalty bn_l1_proximal pushes scales of batch norms"),
        (own("tested_nets:elsewhere"), "its factory gave other values of '0.weight'"),
    ],
)
def test_what_a_study_cannot_use_is_said_before_any_work(
    nets: Path, network: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        check_networks(recipe(nets, {"kind": "vgg", "width": 4}, network))
    assert said in str(caught.value)
    assert str(caught.value).startswith("network 'mine' of the recipe: ")


def test_what_a_study_can_use_passes(nets: Path) -> None:
    check_networks(
        recipe(
            nets,
            own("tested_nets:build", arguments={"width": 8}),
            own("tested_nets:without_norms", name="plain", total_shrink=[0]),
        )
    )


def test_a_criterion_that_cannot_score_it_is_named(nets: Path) -> None:
    pruning = {"criteria": ["l1", "bn_scale"], "ratios": [0.5]}
    with pytest.raises(RecipeError, match="'bn_scale' cannot score group"):
        check_networks(recipe(nets, own("tested_nets:without_norms"), pruning=pruning))


def test_the_command_says_it_in_a_line_and_makes_no_folder(nets: Path, tmp_path: Path) -> None:
    file = nets / "misfit.yaml"
    file.write_text(yaml.safe_dump(TINY | {"networks": [own("tested_nets:misfit")]}))
    command = [sys.executable, "-m", "secateur.cli", "study", str(file), "-o", "out", "-j", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("secateur: network 'mine' of the recipe: its forward failed")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_batch_norms_start_at_bn_init_and_weights_at_the_seed(nets: Path) -> None:
    cell = base(nets, "drawing")
    one, other = build(cell, 10), build(cell, 10)
    norms = [m for m in one.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 3
    assert all((norm.weight == cell.bn_init).all() and not norm.bias.any() for norm in norms)
    assert all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_from_scratch_asks_the_modules_the_whole_last(nets: Path) -> None:
    cell = base(nets, "drawing")
    model = build(cell, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    draw_anew(model, cell)
    assert (model[0].weight == 0.25).all(), "the whole has the last word"
    assert model[3].weight.std() > 0 and not (model[8].weight == 7).any()
    assert (model[1].weight == cell.bn_init).all()


def test_the_number_of_classes_is_given_by_the_name_there_is() -> None:
    assert with_classes(lambda num_classes: None, {}, 3) == {"num_classes": 3}
    assert with_classes(lambda n_classes: None, {"n_classes": 5}, 3) == {"n_classes": 5}
    assert with_classes(lambda **rest: None, {"width": 8}, 3) == {"width": 8}


def test_a_module_of_another_folder_is_not_taken_for_it(nets: Path, tmp_path: Path) -> None:
    find_object("tested_nets:build", "a factory", nets)
    (tmp_path / "tested_nets.py").write_text("def build(n_classes): pass\n")
    with pytest.raises(SecateurError, match=r"'tested_nets' is .*, not .*: the name is taken"):
        find_object("tested_nets:build", "a factory", tmp_path)


def test_rows_of_other_code_are_not_mixed_in(nets: Path, tmp_path: Path) -> None:
    mine = recipe(nets, own("tested_nets:build"))
    store = Store(tmp_path / "study")
    store.open(mine)
    cell = units(mine)[0].base
    from secateur.study.build import FIRST_ANSWERS, first_answers

    answers = first_answers(build(cell, 10), (1, 32, 32))
    store.write(cell.id, {"id": cell.id, FIRST_ANSWERS: answers})
    check_networks(mine, store)
    file = store.path(cell.id) / "result.json"
    answers[0][0] += 0.01
    file.write_text(json.dumps({"id": cell.id, FIRST_ANSWERS: answers}))
    with pytest.raises(StudyError, match="makes another network than the one the rows there are"):
        check_networks(mine, store)


def test_a_node_that_lacks_the_module_is_named(nets: Path, tmp_path: Path) -> None:
    from secateur.study.cluster import _TOKEN, _look
    from secateur.study.networks import OwnNetwork
    from secateur.version import __version__

    (tmp_path / _TOKEN).write_text("seen")
    there, gone = (
        network
        for network in recipe(
            nets,
            own("tested_nets:build"),
            own("nets_of_another_node:build", name="gone", folder="/not/here"),
        ).networks
        if isinstance(network, OwnNetwork)
    )
    assert _look(tmp_path, "seen", __version__, (there,)) == ""
    said = _look(tmp_path, "seen", __version__, (there, gone))
    assert "has no network 'gone': cannot import" in said and "put it into /not/here" in said


@pytest.mark.slow
def test_killed_and_resumed_by_two_workers_gives_the_same_rows(nets: Path, tmp_path: Path) -> None:
    """The command is called from another folder than the module's, and killed in its midst."""
    mapping = TINY | {
        "networks": [
            own("tested_nets:build", arguments={"width": 8}, lr=0.05),
            own("tested_nets:without_norms", name="plain"),
        ],
        "sparsity": {"penalty": "group_lasso_proximal", "total_shrink": [0, 0.5]},
        "pruning": {**TINY["pruning"], "from_scratch": True},
    }
    (nets / "killed.yaml").write_text(yaml.safe_dump(mapping))
    cells = [c for unit in units(read_recipe(nets / "killed.yaml")) for c in unit.cells]
    command = [sys.executable, "-m", "secateur.cli", "study", str(nets / "killed.yaml")]
    stores = {name: Store(tmp_path / name) for name in ("whole", "killed")}

    driver = subprocess.Popen(
        [*command, "-o", "killed", "-j", "2"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 400
    while sum(stores["killed"].has(cell.id) for cell in cells) < 3 and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {cell.id for cell in cells if stores["killed"].has(cell.id)}
    assert 3 <= len(before) < len(cells)
    for name, workers in (("killed", "2"), ("whole", "0")):
        subprocess.run(
            [*command, "-o", name, "-j", workers], cwd=tmp_path, check=True, capture_output=True
        )
    assert stores["killed"].failures() == ()
    assert settled(stores["killed"].rows()) == settled(stores["whole"].rows())
    rows = stores["whole"].rows()
    assert {row["network"] for row in rows} == {"mine", "plain"}
    assert {row["kind"] for row in rows} == {"base", "pruned", "scratch"}
    page = (tmp_path / "killed" / "report.html").read_text()
    assert "mine" in page and "plain" in page


def test_a_network_without_batch_norms_is_measured(nets: Path) -> None:
    from secateur.study.bases import measure

    model = build(base(nets, "without_norms"), 10)
    found = measure(trace(model, torch.zeros(1, 1, 32, 32)))
    assert found["inactive"] is None
    assert {(row["first"], row["second"]) for row in found["similarity"]} >= {("l1", "l2")}
