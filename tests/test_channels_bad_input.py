"""What cannot be traced or cut: one clear error, and the network stays as it was, bit for bit."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

from contracts import check_cut_equals_mask, plan_of, randomised, same_state, state_of
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.errors import PlanError, SecateurError, SurgeryError, TraceError
from secateur.surgery.cut import cut
from toys import TOYS, Net, conv, image, plain, residual

SINGLE = image().float()


def standing(model: nn.Module) -> Any:
    """All that a refusal might leave behind: modes, hooks, attributes, flags."""
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    modules = [
        (name, module.training, len(module._forward_hooks), sorted(vars(module)))
        for name, module in model.named_modules()
    ]
    return flags, modules


def with_step(step: Callable[[Any, Tensor], Any]) -> nn.Module:
    return Net(lambda net, x: step(net, net.conv1(x)), conv1=conv(1, 4), conv2=conv(4, 2))


def branches(net: Any, x: Tensor) -> Tensor:
    return net.conv2(x) if x.mean() > 0 else x  # here


def chosen(net: Any, x: Tensor) -> Tensor:
    return net.conv2(x)[x[:, :2] > 0]


def counted(net: Any, x: Tensor) -> Tensor:
    return net.conv2(x)[: int(x.abs().max())]


def by_numpy(net: Any, x: Tensor) -> Tensor:
    return net.conv2(torch.from_numpy(x.detach().numpy()))


def only_trained(net: Any, x: Tensor) -> Tensor:
    if not net.training:
        raise RuntimeError("made for training only")
    return net.conv2(x)


def batch_norm_of_one(net: Any, x: Tensor) -> Tensor:
    return F.batch_norm(net.conv2(x).mean((2, 3)), None, None, training=True)


VALUES = r"Net.forward depends on the values of its data.*test_channels_bad_input.py:\d+"
FORWARDS = [
    (branches, VALUES),
    (chosen, VALUES),
    (counted, VALUES),
    (by_numpy, VALUES),
    (only_trained, r"test_channels_bad_input.py:\d+\): made for training only; .*evaluation mode"),
    (batch_norm_of_one, r"more than 1 value per channel when training.*evaluation mode"),
]


@pytest.mark.parametrize(("step", "says"), FORWARDS, ids=[step.__name__ for step, _ in FORWARDS])
def test_a_forward_that_cannot_be_traced(step: Any, says: str) -> None:
    model = with_step(step).train()
    model.conv1.register_forward_hook(lambda *_: None)
    before, stands = state_of(model), standing(model)
    with pytest.raises(TraceError, match=says):
        trace(model, SINGLE[:1])
    assert same_state(model, before) and standing(model) == stands


EXAMPLES = [
    (3, "example_input is int '3'; give a tensor, a tuple"),
    (None, "example_input is NoneType"),
    ("mel", "example_input is str 'mel'"),
    (SINGLE.numpy(), "example_input is ndarray"),
    (torch.zeros(0), r"example_input has shape \(0,\) and no elements"),
    (torch.zeros(0, 1, 6, 6), r"example_input has shape \(0, 1, 6, 6\) and no elements"),
    ((), "missing 1 required positional argument"),
    (torch.zeros(6), r"input of size: \[6\]; check that example_input"),
    (torch.zeros(2, 3, 6, 6), r"convolution at module 0 \(Conv2d\).*check that example_input"),
    (SINGLE.long(), r"long int.*check that example_input"),
    (SINGLE.double(), r"double.*check that example_input"),
    ({"y": SINGLE}, "unexpected keyword argument 'y'"),
]


@pytest.mark.parametrize(("example", "says"), EXAMPLES, ids=[says[:30] for _, says in EXAMPLES])
def test_an_example_that_does_not_fit(example: Any, says: str) -> None:
    model = plain().train()
    before, stands = state_of(model), standing(model)
    with pytest.raises(TraceError, match=says):
        trace(model, example)
    assert same_state(model, before) and standing(model) == stands


def quantised() -> nn.Module:
    model = nn.Sequential(conv(1, 4), nn.Flatten(), nn.Linear(144, 2))
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def compiled_in_place() -> nn.Module:
    model = plain()
    model.compile()
    return model


def masked() -> nn.Module:
    model = plain()
    prune.l1_unstructured(model[0], "weight", amount=0.3)
    return model


NETWORKS = [
    (lambda: 3, "3 is not a network; give an instance"),
    (lambda: nn.Conv2d, "the class Conv2d is not a network"),
    (quantised, r"module '2' is a torch\.ao\.nn.*Linear.*quantise it then"),
    (lambda: torch.jit.script(plain()), "the network was compiled by torch.jit"),
    (lambda: torch.jit.trace(plain().eval(), SINGLE), "the network was compiled by torch.jit"),
    (lambda: torch.compile(plain()), r"is a OptimizedModule; give model\._orig_mod"),
    (compiled_in_place, r"the network was compiled in place; cut .* before Sequential\.compile"),
    (lambda: nn.DataParallel(plain()), r"is a DataParallel; give model\.module"),
    (lambda: nn.Sequential(nn.LazyConv2d(4, 3), conv(4, 2)), "module '0' is lazy and its 'weight'"),
    (masked, r"module '0'.*L1Unstructured.*torch\.nn\.utils\.prune\.remove"),
]


@pytest.mark.parametrize(("build", "says"), NETWORKS, ids=[says[:30] for _, says in NETWORKS])
def test_a_network_that_shows_no_operators(build: Callable[[], Any], says: str) -> None:
    with warnings.catch_warnings():  # torch deprecates what is refused here
        warnings.simplefilter("ignore")
        model = build()
        with pytest.raises(TraceError, match=says):
            trace(model, SINGLE)


def test_masks_made_permanent_are_weights_like_any_other() -> None:
    model = randomised(plain())
    prune.l1_unstructured(model[0], "weight", amount=0.3)
    prune.remove(model[0], "weight")
    check_cut_equals_mask(model, image(), trace(model, image()), n=2)


def test_a_graph_module_is_cut() -> None:
    graph = torch.fx.symbolic_trace(randomised(plain()))
    check_cut_equals_mask(graph, image(), trace(graph, image()), n=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_network_of_any_precision_is_cut_in_its_own(dtype: torch.dtype) -> None:
    model, example = randomised(residual()).to(dtype), image().to(dtype)
    channels = trace(model, example)
    small = cut(channels, plan_of(channels, {"stem": (0, 2), "conv1": (1,)})).network
    assert {p.dtype for p in small.parameters()} == {dtype}
    assert torch.equal(small.conv2.weight, model.conv2.weight[[1, 3]][:, [0]])


def test_a_plan_that_cannot_be_cut_leaves_the_network_alone() -> None:
    model = plain().train()
    model[0].weight.requires_grad_(False)
    channels = trace(model, SINGLE)
    everything = plan_of(channels, {"0": (0, 1, 2, 3)})
    of_another = plan_of(trace(residual(), SINGLE), {"stem": (0,)})
    before, stands = state_of(model), standing(model)
    with pytest.raises(PlanError, match="would empty group '0'"):
        cut(channels, everything)
    with pytest.raises(PlanError, match="made for network"):
        cut(channels, of_another)
    assert same_state(model, before) and standing(model) == stands


@pytest.mark.parametrize("name", ["0.weight", "3.bias", "1.running_var"])
def test_not_a_number_is_named(name: str) -> None:
    model = plain()
    plan = plan_of(trace(model, SINGLE), {"0": (1,)})
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        tensors[name].view(-1)[0] = torch.nan
    with pytest.raises(SurgeryError, match=f"'{name}' holds NaN"):
        cut(trace(model, SINGLE), plan)


def test_parameters_without_values_are_traced_and_not_cut() -> None:
    model = plain()
    model[3].to("meta")
    plan = plan_of(trace(model, SINGLE), {"0": (1,)})
    with pytest.raises(SurgeryError, match=r"'3\.weight' is on the meta device"):
        cut(trace(model, SINGLE), plan)


@pytest.mark.parametrize("text", ["", "{}", "[]", "3", "null", '{"groups": 3}', "no JSON"])
def test_text_that_is_no_channel_map(text: str) -> None:
    with pytest.raises(SecateurError, match=r"this is not a channel map: .*to_json"):
        ChannelMap.from_json(text)


def test_nothing_of_a_run_is_kept() -> None:
    """Neither the map nor the model nor the small network holds on to what passed through."""
    seen: list[weakref.ref[Tensor]] = []

    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.relu(net.conv1(x))
        seen.append(weakref.ref(x))
        return net.conv2(x)

    model = randomised(Net(forward, conv1=conv(1, 4), conv2=conv(4, 2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    channels = trace(model, image())
    small = cut(channels, plan_of(channels, {"conv1": (1,)})).network
    gc.collect()
    assert len(seen) >= 2 and all(reference() is None for reference in seen)
    for network in (model, small):
        assert not any(t.is_meta for t in [*network.parameters(), *network.buffers()])
        held = [value for module in network.modules() for value in vars(module).values()]
        assert not any(isinstance(value, Tensor) for value in held)
    assert channels.groups and small.conv1.out_channels == 3
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert mine == {id(p) for p in model.parameters()}


def on_meta() -> int:
    """How many tensors on the meta device there are anywhere."""
    gc.collect()
    return sum(issubclass(type(one), Tensor) and one.is_meta for one in gc.get_objects())


@pytest.mark.parametrize("name", ["dense", "recurrent head", "tied", "bessel function"])
def test_no_tensor_on_the_meta_device_survives(name: str) -> None:
    build, example = TOYS[name]
    before = on_meta()
    channels = trace(randomised(build()), example)
    assert on_meta() == before and channels.shapes
