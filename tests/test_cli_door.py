"""How a network comes in at the command line: named, filled with weights, called with inputs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secateur.cli.inputs import example_of
from secateur.cli.main import main
from secateur.cli.network import given_network
from secateur.errors import SecateurError
from secateur.networks.factory import call_factory
from secateur.networks.vgg import vgg
from secateur.plan.plan import PruningPlan
from secateur.surgery.package import load, plans_in
from timm_without_torchvision import import_timm

VGG = "secateur.networks.vgg:vgg"
FACTORIES = Path(__file__).parent / "factories"
HALF = ["--pruning-ratio", "0.5"]
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed"
)


@pytest.fixture(autouse=True)
def factories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(FACTORIES))
    monkeypatch.chdir(tmp_path)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["secateur", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def shown(example: Any) -> Any:
    """Shapes and types of an example, in its structure."""
    if isinstance(example, Tensor):
        return tuple(example.shape), str(example.dtype).removeprefix("torch.")
    if isinstance(example, dict):
        return {name: shown(one) for name, one in example.items()}
    return tuple(map(shown, example))


@pytest.mark.parametrize(
    ("factory", "texts", "example"),
    [
        ("doors:plain", ["3x9x9"], ((1, 3, 9, 9), "float32")),
        ("doors:plain", ["float64:3X9X9"], ((1, 3, 9, 9), "float64")),
        ("doors:two_images", ["3x9x9", "1x9x9"],
         (((1, 3, 9, 9), "float32"), ((1, 1, 9, 9), "float32"))),
        ("doors:two_images", ["doors:images"],
         (((2, 3, 9, 9), "float32"), ((2, 1, 9, 9), "float32"))),
        ("doors:tokens", ["int64:16", "mask=bool:16"],
         {"ids": ((1, 16), "int64"), "mask": ((1, 16), "bool")}),
        ("doors:tokens", ["mask=doors:mask", "ids=int64:16"],
         {"mask": ((1, 16), "float32"), "ids": ((1, 16), "int64")}),
        ("doors:tokens", [f"mask={FACTORIES}/doors.py:mask", "ids=int32:16"],
         {"mask": ((1, 16), "float32"), "ids": ((1, 16), "int32")}),
        ("doors:tokens", ["ids=int64:", "mask=8"],
         {"ids": ((1,), "int64"), "mask": ((1, 8), "float32")}),
        (VGG, [], ((1, 1, 64, 101), "float32")),
    ],
)  # fmt: skip
def test_what_inputs_mean(factory: str, texts: list[str], example: Any) -> None:
    found = example_of(texts, call_factory(factory, {}), factory)
    assert shown(found) == example


def test_whole_numbers_are_rows_of_any_table_and_masks_hide_nothing() -> None:
    found = example_of(["int64:16", "mask=bool:16"], call_factory("doors:tokens", {}), "")
    assert isinstance(found, dict)
    assert not found["ids"].any() and found["mask"].all()


WRONG = [
    (["3x0x9"], "'3x0x9' is not a shape; give one example without the batch, --input 3x32x32"),
    (["int46:16"], "no type 'int46'; there are bfloat16, .*; did you mean 'int64'"),
    (["3 x=9"], "'3 x' is no name of an argument"),
    (["x="], "'' is not a shape"),
    ([""], "'' is not a shape"),
    (["input=3x9x9", "input=3x9x9"], "--input gives 'input' twice"),
    (["3x9x9", "input=3x9x9"], "--input gives 'input' twice"),
    (["3x9x9", "3x9x9"], "takes input, and --input 3x9x9 --input 3x9x9 does not fit: too"),
    (["other=3x9x9"], "Sequential takes input, and --input other=3x9x9 does not fit: missing"),
    (["3x9x9", "3x9x9", "mask=3"], "gives 2 arguments in their order, and Sequential takes input"),
    (["doors:nothing"], "--input 'doors:nothing': 'doors' has no function 'nothing'"),
    (["gone.py:image"], "--input 'gone.py:image': no file .*gone.py; an input is package.mod"),
    (["doors:fails"], "--input 'doors:fails' failed: RuntimeError: no such recording; it is c"),
    (["doors:words"], "what --input doors:words gives is str 'no tensors'; give a tensor, a tuple"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "says"), WRONG, ids=[str(texts) for texts, _ in WRONG])
def test_inputs_that_cannot_be(texts: list[str], says: str) -> None:
    with pytest.raises(SecateurError, match=says):
        example_of(texts, call_factory("doors:plain", {}), "doors:plain")


def test_a_forgotten_input_is_asked_for_and_never_assumed() -> None:
    says = "doors:tokens makes a Tokens, which takes ids, mask, and there is no --input; give one"
    with pytest.raises(SecateurError, match=says):
        given_network("doors:tokens", None, None, None)


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        ("doors:two_images", ["3x9x9", "1x9x9"]),
        ("doors:two_images", ["doors:images"]),
        (f"{FACTORIES}/doors.py:two_images", ["right=1x9x9", "left=3x9x9"]),
        ("doors:tokens", ["ids=int64:16", "mask=bool:16"]),
    ],
)
def test_networks_of_several_inputs_are_cut_and_verified(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    network: str,
    inputs: list[str],
) -> None:
    options = [word for text in inputs for word in ("--input", text)]
    assert run(monkeypatch, "prune", network, *options, *HALF, "-o", "out", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verified"]["holds"] and answer["verified"]["exact"]
    plan = PruningPlan.from_json(Path("out/plan.json").read_text())
    assert plan.remove
    small = load("out/network.safetensors", lambda: call_factory(network, {}))
    assert sum(p.numel() for p in small.parameters()) == plan.after.params


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "--criterion", "l1", "-o", "out"],
        ["latency", "--repetitions", "1", "-o", "out/latency.json"],
        ["export", "--repetitions", "1", "-o", "out"],
    ],
    ids=["inspect", "latency", "export"],
)
def test_every_command_takes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    if command[0] == "export":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    options = ["--input", "ids=int64:16", "--input", "mask=bool:16"]
    assert run(monkeypatch, command[0], "doors:tokens", *options, *command[1:], "--json") == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            ["export", "--calibration", "scenes", "--int8"],
            "--calibration is for networks of one input of floating point numbers, and",
        ),
        (["export", "--dynamic", "0"], "--dynamic with axes is for networks of one input"),
        (["sensitivity", "--calibration", "scenes"], "a sensitivity is for networks of one input"),
        (
            ["prune", *HALF, "--criterion", "taylor_fo"],
            "calibrating 'taylor_fo' is for networks",
        ),
    ],
)
def test_what_is_for_one_input_only_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    says: str,
) -> None:
    if command[0] == "export":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    options = ["--input", "ids=int64:16", "--input", "mask=bool:16"]
    assert run(monkeypatch, command[0], "doors:tokens", *options, *command[1:], "-o", "out") == 2
    assert says in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("network", "given", "says"),
    [
        (VGG, "3x64x101", "'conv1.conv' takes 1 channel and is given 3, as 1x3x64x101"),
        ("doors:plain", "1x9x9", "'0' takes 3 channels and is given 1, as 1x1x9x9"),
        (
            "doors:plain",
            "1x3x9x9",
            "called with 1x1x3x9x9; --input gives one example without the b",
        ),
    ],
)
def test_another_number_of_channels_names_the_layer(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    network: str,
    given: str,
    says: str,
) -> None:
    assert run(monkeypatch, "prune", network, "--input", given, *HALF, "-o", "out") == 2
    said = capsys.readouterr().err
    assert says in said and "--input gives one example without the batch" in said


def test_weights_of_torch_are_unwrapped_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    model = vgg(width=4)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, "w.pth")
    torch.save(model.state_dict(), "plain.pt")
    small = ["--arg", "width=4", "--input", "1x32x33", *HALF, "--json"]
    answers = []
    for file, out in (("w.pth", "a"), ("plain.pt", "b")):
        assert run(monkeypatch, "prune", VGG, "-w", file, *small, "-o", out) == 0
        said = capsys.readouterr()
        answers.append(json.loads(said.out)["plan"])
        lines = [line for line in said.err.splitlines() if "took" in line]
        wrapped = "w.pth: took 'state_dict', names without 'module.'"
        assert lines == ([wrapped] if file == "w.pth" else [])
    assert answers[0] == answers[1]


def test_a_network_that_was_cut_is_inspected_and_cut_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = [VGG, "--arg", "width=8", "--input", "1x32x33"]
    assert run(monkeypatch, "prune", *network, "--macs", "50%", "-o", "a") == 0
    again = [*network, "-w", "a/network.safetensors"]
    assert run(monkeypatch, "prune", *again, "--macs", "50%", "-o", "b") == 0
    first, second = plans_in("b/network.safetensors")
    assert first == plans_in("a/network.safetensors")[0]
    assert second.before == first.after and second.after.macs <= first.before.macs / 4
    small = load("b/network.safetensors", lambda: vgg(width=8), torch.zeros(1, 1, 32, 33))
    assert sum(p.numel() for p in small.parameters()) == second.after.params
    capsys.readouterr()


@needs_timm
def test_a_network_of_timm_knows_its_input() -> None:
    import_timm()
    given = given_network("timm:resnet18", None, ["num_classes=3"], None)
    assert isinstance(given.example, Tensor) and given.example.shape == (1, 3, 224, 224)
    assert given.model.fc.out_features == 3
    assert {group.name for group in given.traced().groups} >= {"conv1", "layer1.0.conv1"}


@needs_timm
def test_an_unknown_network_of_timm_is_answered_with_near_ones() -> None:
    import_timm()
    says = r"no network 'resnet81' in timm; did you mean 'resnet18'.*; timm.list_models\(\) lists"
    with pytest.raises(SecateurError, match=says):
        call_factory("timm:resnet81", {})


@pytest.mark.parametrize(
    ("network", "package"), [("timm:resnet18", "timm"), ("hf:X", "transformers")]
)
def test_a_package_that_cannot_be_imported_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, network: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    says = f"{network} needs the package {package}, and it cannot be imported: .*; pip install "
    with pytest.raises(SecateurError, match=says + package):
        call_factory(network, {})


def test_networks_of_transformers_by_class_and_by_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 3}
    config = transformers.ResNetConfig(**sizes, layer_type="basic", architectures=None)
    config.save_pretrained("bare")
    transformers.ResNetForImageClassification(config).save_pretrained("saved")
    assert run(monkeypatch, "prune", "hf:saved", "--input", "3x64x64", *HALF, "-o", "out") == 0
    assert "macs" in capsys.readouterr().out
    plan = PruningPlan.from_json(Path("out/plan.json").read_text())
    small = load("out/network.safetensors", lambda: call_factory("hf:saved", {}))
    assert sum(p.numel() for p in small.parameters()) == plan.after.params < plan.before.params
    model = call_factory("hf:saved", {})
    again = call_factory("hf:saved", {})
    assert type(model).__name__ == "ResNetForImageClassification"
    assert all(map(torch.equal, model.parameters(), again.parameters()))  # read, not drawn
    assert type(call_factory("hf:bare", {})).__name__ == "ResNetModel"
    assert type(call_factory("hf:ResNetConfig", sizes)).__name__ == "ResNetModel"
    named = call_factory("hf:ResNetForImageClassification", sizes)
    assert named.num_labels == 3
    with pytest.raises(SecateurError, match="which takes pixel_values, and there is no --input"):
        given_network("hf:bare", None, None, None)
    with pytest.raises(SecateurError, match=r"no class 'ResNetConfg' in .*; did you mean 'ResNet"):
        call_factory("hf:ResNetConfg", {})
    Path("saved/model.safetensors").rename("saved/pytorch_model.bin")
    with pytest.raises(SecateurError, match=r"pytorch_model.bin and no \.safetensors file"):
        call_factory("hf:saved", {})
    with pytest.raises(SecateurError, match="--arg local_files_only=false downloads it"):
        call_factory("hf:nobody/nothing-of-this-name", {})


def test_keywords_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = ["hidden_size=32", "intermediate_size=48", "num_hidden_layers=1", "vocab_size=50",
             "num_attention_heads=2"]  # fmt: skip
    network = ["hf:BertModel", *(word for size in sizes for word in ("--arg", size))]
    inputs = ["--input", "input_ids=int64:16", "--input", "token_type_ids=int64:16"]
    assert run(monkeypatch, "prune", *network, *inputs, "--params", "90%", "-o", "out") == 0
    plan = PruningPlan.from_json(Path("out/plan.json").read_text())
    assert plan.after.params <= 0.9 * plan.before.params
