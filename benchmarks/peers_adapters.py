"""How each package is asked to remove half of the channels, by the way its documentation shows.

An adapter takes a model in evaluation mode, an example input and the `heads` of its attention
layers, and gives back what the package calls the pruned model. It imports its package when called.
Filters are valued by their L1 norm wherever the package has it, layer by layer.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peers_networks import CLASSES
from torch import Tensor, nn

Prune = Callable[[nn.Module, Tensor, Mapping[str, int]], nn.Module]


@dataclass(frozen=True)
class Peer:
    """A package: what it is called, the distribution that brings it, the page that is followed.

    `prepare` makes of a network what the package takes, where that is no module of torch's.
    """

    name: str
    distribution: str
    follows: str
    prune: Prune
    prepare: Callable[[nn.Module, Tensor], nn.Module] = lambda model, _: model


def secateur(model: nn.Module, x: Tensor, _: Mapping[str, int]) -> nn.Module:
    """README.md, "Your own network"."""
    import secateur as sc

    return sc.prune(model, x, ratio=0.5, criterion="l1").network


def torch_pruning(model: nn.Module, x: Tensor, heads: Mapping[str, int]) -> nn.Module:
    """README, "High-level Pruners"; for attention, the example for timm's ViT.

    The page has the user name the classifier and, for attention, the heads, and set the attribute
    that keeps their width after the cut.
    """
    import torch_pruning as tp

    layers = {model.get_submodule(name): n for name, n in heads.items()}
    tp.pruner.BasePruner(
        model,
        x,
        importance=tp.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=classifiers(model),
        num_heads=layers,
    ).step()
    for name, n in heads.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        owner.head_dim = model.get_submodule(name).out_features // (3 * n)
    return model


def kirigami(model: nn.Module, x: Tensor, _: Mapping[str, int]) -> nn.Module:
    """README, "Quick start", with its budget of channels, the same share of every axis.

    Where that cannot be planned, its budget of parameters: 30 %, about what half of the channels
    have.
    """
    from torch_kirigami import DependencyGraph
    from torch_kirigami import pruning as tk

    pruner = tk.Pruner(model, graph=DependencyGraph.build(model, args=(x,)))
    strategy = tk.Greedy(tk.GroupMagnitude(p=1))
    total = sum(parameter.numel() for parameter in model.parameters())
    budget: Any = tk.ChannelRatio(0.5)
    try:
        plan = pruner.plan(pruner.discover_candidates(), budget=budget, strategy=strategy)
    except tk.PlanningError:
        budget = tk.ParameterBudget(max_params=int(0.3 * total))
        plan = pruner.plan(pruner.discover_candidates(), budget=budget, strategy=strategy)
    found, _ = pruner.apply(plan)
    return found


def onnxsim(model: nn.Module, _: Tensor, __: Mapping[str, int]) -> nn.Module:
    """README, "Structured pruning": of a file that it has simplified before."""
    import onnxsim

    assert isinstance(model, OnnxNetwork)
    return OnnxNetwork(onnxsim.apply_structured_pruning(model.file(), 0.5, importance_norm="l1"))


def as_onnx(model: nn.Module, x: Tensor) -> nn.Module:
    """A network as the file that torch exports, simplified: batch norms are folded."""
    import onnxsim

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        torch.onnx.export(model, (x,), path, dynamo=True, external_data=False)
        return OnnxNetwork(onnxsim.simplify(path)[0])


class OnnxNetwork(nn.Module):
    """An ONNX file as a module: its numbers are the parameters, ONNX's own reference runs it."""

    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        super().__init__()
        self._proto = proto
        for k, tensor in enumerate(proto.graph.initializer):
            array = numpy_helper.to_array(tensor)
            if array.dtype == np.float32:
                self.register_parameter(str(k), nn.Parameter(torch.tensor(array)))

    def file(self) -> Any:
        """The file with the parameters as they are now, in their precision."""
        from onnx import numpy_helper

        proto = copy.deepcopy(self._proto)
        for name, parameter in self.named_parameters():
            old = proto.graph.initializer[int(name)]
            old.CopyFrom(numpy_helper.from_array(parameter.detach().numpy(), old.name))
        return proto

    def forward(self, x: Tensor) -> Tensor:
        """What the graph gives."""
        from onnx.reference import ReferenceEvaluator

        proto = self.file()
        (out,) = ReferenceEvaluator(proto).run(None, {proto.graph.input[0].name: x.numpy()})
        return torch.from_numpy(out)


def fasterai(model: nn.Module, x: Tensor, _: Mapping[str, int]) -> nn.Module:
    """Tutorial "Prune", with its criterion `large_final`, the magnitude of weights.

    It imports torchvision, whose wheel on PyPI lacks its compiled operators beside a CPU build of
    torch and then cannot be imported; declaring the two that are asked for on import is enough, as
    pruning uses none of them.
    """
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor"
            )
    from fasterai.core.criteria import large_final
    from fasterai.prune.pruner import Pruner

    pruner = Pruner(model, 0.5, "local", large_final, example_inputs=x)
    pruner.prune_model()
    return model


def nni(model: nn.Module, x: Tensor, _: Mapping[str, int]) -> nn.Module:
    """examples/compression/pruning/norm_pruning.py, with the layers this test has.

    Its own tracer raises with torch 2.13; the graph may be given instead, says `ModelSpeedup`.
    """
    from nni.compression.pruning import L1NormPruner
    from nni.compression.speedup import ModelSpeedup
    from nni.compression.utils import auto_set_denpendency_group_ids
    from torch.fx import symbolic_trace

    kept = [name for name, layer in model.named_modules() if layer in classifiers(model)]
    types = ["Conv2d", "ConvTranspose2d", "Linear"]
    config = [{"op_types": types, "sparse_ratio": 0.5, "exclude_op_names": kept}]
    config = auto_set_denpendency_group_ids(model, config, x)
    pruner = L1NormPruner(model, config)
    _, masks = pruner.compress()
    pruner.unwrap_model()
    return ModelSpeedup(model, x, masks, graph_module=symbolic_trace(model)).speedup_model()


def modelopt(model: nn.Module, x: Tensor, _: Mapping[str, int]) -> nn.Module:
    """Guide "Pruning", mode `fastnas`, widths in steps of 8 (its own are of 32, too coarse here).

    It searches by a score, here the percentage of the outputs' energy that is as it was, for the
    smallest share of the parameters that its search space allows of 30 % (about what half of the
    channels have), 60 % and 90 %.
    """
    import modelopt.torch.prune as mtp

    with torch.no_grad():
        wanted = model(x)

    def score(pruned: nn.Module) -> float:
        with torch.no_grad():
            off = (pruned(x) - wanted).square().sum() / wanted.square().sum()
        return 100 * (1 - float(off))

    space = mtp.fastnas.FastNASConfig()
    for rules in space.values():
        for key in {"channel_divisor", "feature_divisor"} & rules["*"].keys():
            rules["*"][key] = 8
    for share in ("30%", "60%", "90%"):
        spare = copy.deepcopy(model)
        with contextlib.suppress(ValueError):  # the constraint cannot be met
            pruned, _ = mtp.prune(
                model,
                mode=[("fastnas", space)],
                constraints={"params": share},
                dummy_input=x,
                config={"score_func": score},
            )
            return pruned
        model = spare  # what came in has been converted by the attempt
    raise ValueError("not even 90% of the parameters can be reached")


def torch_ao(model: nn.Module, _: Tensor, __: Mapping[str, int]) -> nn.Module:
    """torch/ao/pruning/_experimental/pruner/README.md, "Quickstart Guide"."""
    from torch.ao.pruning._experimental.pruner import SaliencyPruner

    kept = classifiers(model)
    config = [
        {"tensor_fqn": f"{name}.weight", "sparsity_level": 0.5}
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer not in kept
    ]
    pruner = SaliencyPruner({"prune_bias": True})
    pruner.prepare(model, config)
    pruner.enable_mask_update = True
    pruner.step()
    return pruner.prune()


def torch_prune(model: nn.Module, _: Tensor, __: Mapping[str, int]) -> nn.Module:
    """Pruning tutorial of PyTorch, "structured pruning", made permanent."""
    from torch.nn.utils import prune

    kept = classifiers(model)
    for layer in list(model.modules()):
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)) and layer not in kept:
            outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            prune.ln_structured(layer, "weight", amount=0.5, n=1, dim=outputs)
            prune.remove(layer, "weight")
    return model


def classifiers(model: nn.Module) -> list[nn.Module]:
    """The layer that gives the classes, which most packages must be told to leave alone."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    return [layer for layer in layers if layer.out_features == CLASSES]


PEERS = [
    Peer("secateur", "secateur", "README.md", secateur),
    Peer("torch-pruning", "torch-pruning", "https://github.com/VainF/Torch-Pruning", torch_pruning),
    Peer("torch-kirigami", "torch-kirigami", "https://github.com/ZaberKo/torch-kirigami", kirigami),
    Peer("onnxsim", "onnxsim", "https://github.com/onnxsim/onnxsim", onnxsim, as_onnx),
    Peer("fasterai", "fasterai", "https://FasterAI-Labs.github.io/fasterai/", fasterai),
    Peer("modelopt", "nvidia-modelopt", "https://nvidia.github.io/Model-Optimizer/", modelopt),
    Peer("nni", "nni", "https://github.com/microsoft/nni", nni),
    Peer("torch.ao.pruning", "torch", "https://github.com/pytorch/pytorch", torch_ao),
    Peer("torch.nn.utils.prune", "torch", "https://docs.pytorch.org/docs/", torch_prune),
]
