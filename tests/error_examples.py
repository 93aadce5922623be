"""One thing that goes wrong for each error of the family: what docs/errors.md shows.

`.venv/bin/python tests/error_examples.py` prints the examples as they stand there.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import chdir
from importlib.abc import MetaPathFinder
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

import secateur as sc
from secateur.channels.groups import ChannelMap
from secateur.cli.network import given_network
from secateur.deploy.onnx import export_onnx
from secateur.deploy.quantise import quantise
from secateur.errors import SecateurError
from secateur.networks.factory import call_factory
from secateur.networks.vgg import vgg
from secateur.reading import parse_json
from secateur.report.findings import find
from secateur.scenes.datasets import esc10
from secateur.study.recipe import read_recipe
from secateur.study.store import Store
from secateur.surgery.in_turn import verified
from secateur.surgery.weights import load_weights
from secateur.train.fit import Training

IMAGE = torch.zeros(1, 1, 32, 33)


class Halves(nn.Module):
    """Multiplies the halves of a feature map, which it takes by number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(x[:, :4] * x[:, 4:8])


class Doubled(nn.Module):
    """Answers with twice of what it exports."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * (1 if torch.compiler.is_exporting() else 2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return vgg(width=4)


def plan(model: nn.Module, **budget: object) -> tuple[ChannelMap, sc.PruningPlan]:
    channels = sc.trace(model, IMAGE)
    scores = sc.score(channels, [sc.l1])["l1"]
    return channels, sc.uniform(scores, channels, sc.Budget(**budget))


def trace_error() -> None:
    sc.trace(network(), torch.zeros(1, 3, 32, 33))


def criterion_error() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3))
    sc.score(sc.trace(model, IMAGE), [sc.bn_scale])


def plan_error() -> None:
    _, made = plan(network(), macs="50%")
    sc.cut(sc.trace(vgg(width=8), IMAGE), made)


def proof_error() -> None:
    model = Halves()
    channels = sc.trace(model, IMAGE)
    sc.cut(channels, sc.manual(channels, {"first": [0]}), hold_back=False)


def surgery_error() -> None:
    model = network()
    channels, made = plan(model, macs="50%")
    model.get_parameter("conv1.conv.weight").data.fill_(torch.nan)
    sc.cut(channels, made)


def verification_error() -> None:
    model = network()
    channels, made = plan(model, macs="50%")
    small = sc.cut(channels, made).network
    next(small.parameters()).data.fill_(torch.inf)
    verified(model, small, made, channels, IMAGE)


def package_error() -> None:
    sc.save(network(), "small.safetensors")
    sc.load("small.safetensors", build=lambda: nn.Linear(2, 2))


def training_error() -> None:
    Training(epochs=2, lr=-0.1)


def recipe_error() -> None:
    demo = (files("secateur.study") / "demo.yaml").read_text()
    Path("mine.yaml").write_text(f"{demo}\nseed: 3\n")
    read_recipe(Path("mine.yaml"))


def storage_error() -> None:
    Path("taken").write_text("")
    sc.save(network(), "taken/small.safetensors")


def filled(content: object) -> None:
    """A network of width 4, filled with what a file holds."""
    torch.save(content, "weights.pth")
    load_weights(network(), "weights.pth")


class Hidden(nn.Module):
    """Two branches that are added, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc((self.a(x) + self.b(x)).mean((2, 3)))


def named(group: str) -> None:
    sc.manual(sc.trace(Hidden(), IMAGE), {group: [0]})


def called(*inputs: str) -> None:
    layer = ["in_channels=3", "out_channels=4", "kernel_size=3"]
    given_network("torch.nn:Conv2d", None, layer, list(inputs)).traced()


def without_package() -> None:
    """Name a network of a package as if it were not installed."""
    kept = {n: sys.modules.pop(n) for n in list(sys.modules) if n.startswith("transformers")}
    sys.meta_path.insert(0, _Hides())
    try:
        call_factory("hf:ResNetModel", {})
    finally:
        del sys.meta_path[0]
        sys.modules.update(kept)


class _Hides(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "transformers":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


AT_THE_DOOR: dict[str, Callable[[], object]] = {
    "weights that would have to be unpickled": lambda: filled(network()),
    "weights of another width": lambda: filled(vgg(width=8).state_dict()),
    "weights of another network": lambda: filled(Hidden().state_dict()),
    "weights of which two sets fit": lambda: filled(
        {
            f"{one}.{name}": tensor
            for one in ("student", "teacher")
            for name, tensor in vgg(width=4).state_dict().items()
        }
    ),
    "a package that is not there": without_package,
    "no input": called,
    "an input of another number of channels": lambda: called("1x32x33"),
    "an input of a type that is none": lambda: called("int46:16"),
    "an input that the network does not take": lambda: called("3x8x8", "mask=bool:8"),
    "a function that makes no input": lambda: called("math:inputs"),
    "a number without its unit": lambda: sc.prune(network(), IMAGE, macs="50"),
    "a share without its sign": lambda: sc.prune(network(), IMAGE, macs="0.5"),
    "a layer in the place of its group": lambda: named("b"),
    "a layer that only reads": lambda: named("fc"),
}
"""What can be wrong with what a user gives first, in words, and how to be told so."""


EXAMPLES: dict[str, Callable[[], object]] = {
    "SecateurError": lambda: call_factory("secateur.networks.vgg:vgg", {"widht": 4}),
    "ReadError": lambda: parse_json("[" * 1000 + "]" * 1000, "plan.json"),
    "TraceError": trace_error,
    "ChannelMapError": lambda: ChannelMap.from_json("{}"),
    "CriterionError": criterion_error,
    "PlanError": plan_error,
    "BudgetError": lambda: plan(network(), macs="0.001%"),
    "SurgeryError": surgery_error,
    "ProofError": proof_error,
    "VerificationError": verification_error,
    "PackageError": package_error,
    "TrainingError": training_error,
    "DeployError": lambda: quantise(Path("model.onnx"), Path("int8.onnx"), IMAGE[:0].numpy()),
    "ExportError": lambda: export_onnx(Doubled(), IMAGE + 1, Path("model.onnx")),
    "DataError": lambda: esc10(Path("ESC-10")),
    "RecipeError": recipe_error,
    "StudyError": lambda: Store(Path("out")).recipe(),
    "StorageError": storage_error,
    "ReportError": lambda: find({}, []),
}


def message(name: str) -> str:
    """What the error says, whichever folder this runs in."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        try:
            (EXAMPLES | AT_THE_DOOR)[name]()
        except SecateurError as error:
            kind = type(error).__name__
            assert kind == name or name in AT_THE_DOOR, f"{kind}: {error}"
            return " ".join(str(error).split())
    raise AssertionError(f"no {name}")


if __name__ == "__main__":
    for name in sys.argv[1:] or EXAMPLES | AT_THE_DOOR:
        text = textwrap.fill(message(name), 120, break_long_words=False, break_on_hyphens=False)
        sys.stdout.write(f"{name}\n{textwrap.indent(text, '    ')}\n")
