"""A cut network is an ordinary one: its attributes are true, and torch and ONNX export it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts import plan_as_cut, random_plan
from secateur.channels.trace import trace
from secateur.networks.families import NETWORKS, SIZES
from secateur.surgery.cut import cut
from toys import TOYS

MELS = torch.zeros(2, 1, 32, 25)


def cut_family(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name](width=SIZES[name]["small"]).eval()
    channels = trace(model, MELS)
    plan = plan_as_cut(channels, random_plan(channels, seed=1))
    assert plan.remove
    return cut(channels, plan).network


def wrong_attributes(model: nn.Module) -> Iterator[str]:
    """Every convolution, linear and batch-norm attribute that does not say what the weight does."""
    for name, module in model.named_modules():
        for kind, widths in WIDTHS.items():
            if isinstance(module, kind):
                says = {key: getattr(module, key) for key in widths(module)}
                if says != widths(module):
                    yield f"{name}: {says} should be {widths(module)}"


def convolution_widths(layer: Any) -> dict[str, int]:
    out, each = layer.weight.shape[:2]
    return {"out_channels": out, "in_channels": each * layer.groups}


def transposed_widths(layer: Any) -> dict[str, int]:
    into, each = layer.weight.shape[:2]
    return {"in_channels": into, "out_channels": each * layer.groups}


def norm_widths(norm: Any) -> dict[str, int]:
    return {"num_features": len(norm.running_mean if norm.weight is None else norm.weight)}


WIDTHS: dict[Any, Callable[[Any], dict[str, int]]] = {
    (nn.Conv1d, nn.Conv2d, nn.Conv3d): convolution_widths,
    (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d): transposed_widths,
    nn.Linear: lambda m: {"out_features": m.weight.shape[0], "in_features": m.weight.shape[1]},
    (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d): norm_widths,
    nn.PReLU: lambda m: {"num_parameters": len(m.weight)},
    nn.GroupNorm: lambda m: {"num_channels": len(m.weight)},
    nn.LayerNorm: lambda m: {"normalized_shape": tuple(m.weight.shape)},
}


@pytest.mark.parametrize("name", TOYS)
def test_attributes_say_what_the_weights_do(name: str) -> None:
    build, example = TOYS[name]
    model = build().double().eval()
    channels = trace(model, example)
    small = cut(channels, random_plan(channels, seed=2)).network
    assert list(wrong_attributes(small)) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_attributes_of_the_families(name: str) -> None:
    small = cut_family(name)
    assert list(wrong_attributes(small)) == []
    for module in small.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            assert module.groups == module.in_channels
            assert module.out_channels % module.groups == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_export(name: str) -> None:
    small = cut_family(name)
    x = torch.randn(MELS.shape)
    batch = torch.export.Dim("batch")
    program = torch.export.export(small, (x,), dynamic_shapes=({0: batch},))
    again = program.module()
    more = torch.randn(3, *MELS.shape[1:])
    torch.testing.assert_close(again(more), small(more))
    exported = sum(tensor.numel() for tensor in program.parameters())
    assert exported == sum(parameter.numel() for parameter in small.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_compile(name: str) -> None:
    small = cut_family(name)
    torch.compiler.reset()
    compiled: Callable[[Tensor], Tensor] = torch.compile(small, backend="aot_eager", fullgraph=True)
    x = torch.randn(MELS.shape)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), small(x))


@pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="onnx, onnxscript and onnxruntime are not all installed",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_export(name: str, tmp_path: Path) -> None:
    import onnxruntime

    small, x = cut_family(name), torch.randn(MELS.shape)
    path = tmp_path / "small.onnx"
    torch.onnx.export(small, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), small(x).detach(), rtol=1e-4, atol=1e-5)
