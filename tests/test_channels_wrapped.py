"""Networks that were compiled, exported, wrapped or flattened: refused in one line or cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from contracts import check_permutation, plan_as_cut, plan_of, randomised, same_state, state_of
from secateur.errors import TraceError
from secateur.surgery.in_turn import verified
from toys import Net

# a deprecation within torch.export.unflatten
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

IMAGE = torch.zeros(2, 1, 6, 6)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def compiled(of: Any) -> Any:
    return torch.compile(of, backend="eager")


def exported() -> nn.Module:
    made: nn.Module = torch.export.export(plain(), (IMAGE,)).module()
    return made


def compiled_forward() -> nn.Module:
    model = plain()
    model[0].forward = compiled(model[0].forward)
    return model


class Decorated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = plain()

    @torch.compile(backend="eager")
    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def compiled_helper() -> nn.Module:
    model = Net(lambda net, x: net.fast(x), net=plain())
    model.fast = compiled(lambda x: model.net(x))
    return model


def compiled_in_a_list() -> nn.Module:
    model = Net(lambda net, x: net.fast[0](x), net=plain())
    model.fast = [compiled(model.net)]
    return model


BUILT: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "wrapped": (lambda: nn.DataParallel(plain()), r"DataParallel; (give model|put its)\.? ?module"),
    "compiled": (lambda: compiled(plain()), "OptimizedModule; (give model.|put its )_orig_mod"),
    "exported": (exported, "program of torch.export.*; give the network that was exported"),
    "unflattened": (
        lambda: torch.export.unflatten(torch.export.export(plain(), (IMAGE,))),
        "UnflattenedModule; give the network that torch.export was given",
    ),
    "compiled forward": (compiled_forward, "has 'forward' compiled by torch.compile.*; cut the"),
    "decorated": (Decorated, "has 'forward' compiled by torch.compile.*; cut the network before"),
    "compiled helper": (compiled_helper, "has 'fast' compiled by torch.compile.*; cut the netw"),
    "compiled in a list": (compiled_in_a_list, "has 'fast' compiled by torch.compile.*; cut the"),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", BUILT)
def test_what_to_do_is_said_in_one_line(name: str, nested: bool) -> None:
    build, said = BUILT[name]
    model = nn.Sequential(nn.Identity(), build()) if nested else build()
    with pytest.raises(TraceError, match=said) as caught:
        sc.trace(model, IMAGE)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("module '1" if nested else ("the net", "module '0"))


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("nested", [False, True])
def test_networks_of_several_processes(nested: bool) -> None:
    ddp: nn.Module = nn.parallel.DistributedDataParallel(plain())
    sharded = plain()
    torch.distributed.fsdp.fully_shard(sharded)
    said = {
        ddp: r"DistributedDataParallel; (give model\.|put its )module",
        sharded: "FSDPModule; cut the network before it is sharded",
    }
    for made, text in said.items():
        with pytest.raises(TraceError, match=text):
            sc.trace(nn.Sequential(nn.Identity(), made) if nested else made, IMAGE)


def test_what_is_inside_a_wrapper_is_cut() -> None:
    wrapped = nn.DataParallel(plain())
    channels = sc.trace(wrapped.module, IMAGE)
    small = sc.cut(channels, plan_of(channels, {"0": (1,)})).network
    assert small[2].in_channels == 3


def test_a_graph_of_fx_is_cut() -> None:
    model = torch.fx.symbolic_trace(plain())
    channels = sc.trace(model, IMAGE)
    small = sc.cut(channels, plan_of(channels, {"0": (0, 3)})).network
    assert small(IMAGE).shape == model(IMAGE).shape


def slices(net: Any, x: Tensor) -> Tensor:
    first, second = net.flat[:36].view(4, 1, 3, 3), net.flat[36:44].view(2, 4, 1, 1)
    return F.conv2d(F.relu(F.conv2d(x, first)), second)


def pieces(net: Any, x: Tensor) -> Tensor:
    first, bias, second = net.flat.split([36, 4, 8])
    return F.conv2d(F.relu(F.conv2d(x, first.view(4, 1, 3, 3), bias)), second.view(2, 4, 1, 1))


@pytest.mark.parametrize(("forward", "n"), [(slices, 44), (pieces, 48)])
def test_pieces_of_one_flat_parameter_are_held_back(forward: Any, n: int) -> None:
    """Every piece begins where the one before ends, which is a number in the network's code."""
    model = randomised(Net(forward, flat=nn.Parameter(torch.ones(n))))
    before, example = state_of(model), IMAGE.double()
    channels = sc.trace(model, example)
    (group,) = channels.groups
    assert (group.n_channels, group.members[0].parameter) == (4, "flat")
    plan = plan_as_cut(channels, plan_of(channels, {group.name: (1,)}))
    assert not plan.remove and "test_channels_wrapped.py" in plan.held_back[group.name]
    assert same_state(model, before)


def in_parts(x: Tensor) -> Tensor:
    return torch.complex(F.relu(x.real), F.relu(x.imag))


@pytest.mark.parametrize(("of", "sizes"), [(F.conv2d, (1, 1)), (F.conv1d, (1,))])
def test_channels_of_complex_convolutions_move_together(of: Any, sizes: tuple[int, ...]) -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = in_parts(of(torch.complex(x, x), net.w1, net.b1))
        return of(x, net.w2, net.b2).abs()

    kind = torch.complex128
    drawn = torch.Generator().manual_seed(0)
    model = Net(
        forward,
        w1=nn.Parameter(torch.randn(4, 1, *sizes, dtype=kind, generator=drawn)),
        b1=nn.Parameter(torch.randn(4, dtype=kind, generator=drawn)),
        w2=nn.Parameter(torch.randn(2, 4, *sizes, dtype=kind, generator=drawn)),
        b2=nn.Parameter(torch.randn(2, dtype=kind, generator=drawn)),
    )
    example = torch.zeros(2, 1, *[5 for _ in sizes], dtype=torch.float64)
    channels = sc.trace(model, example)
    (group,) = channels.groups
    assert {(member.parameter, member.dim) for member in group.members} == {
        *(("w1", 0), ("b1", 0), ("w2", 1))
    }
    assert not channels.unknown and not channels.mixing
    check_permutation(model, example, channels)
    plan = plan_of(channels, {group.name: (0, 3)})
    small = sc.cut(channels, plan).network
    assert small.w1.dtype == kind and small.w2.shape[1] == 2
    assert verified(model, small, plan, channels, example).exact
    with torch.no_grad():
        silent = model.w2.clone()
        silent[:, [0, 3]] = 0
        x = torch.randn(example.shape, dtype=torch.float64, generator=drawn)
        answer = of(in_parts(of(torch.complex(x, x), model.w1, model.b1)), silent, model.b2)
        assert float((small(x) - answer.abs()).abs().max()) < 1e-12


def test_a_convolution_of_two_real_parameters_made_complex_is_cut() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        x = F.conv2d(torch.complex(x, x), torch.complex(net.a.weight, net.b.weight))
        return F.conv2d(in_parts(x), torch.complex(net.c.weight, net.d.weight)).abs()

    layers = {name: nn.Conv2d(1, 4, 3) for name in "ab"}
    layers |= {name: nn.Conv2d(4, 2, 1) for name in "cd"}
    model, example = randomised(Net(forward, **layers)), IMAGE.double()
    channels = sc.trace(model, example)
    plan = plan_of(channels, {"a": (0, 2)})
    small = sc.cut(channels, plan).network
    assert verified(model, small, plan, channels, example).exact
    assert small.a.weight.shape == small.b.weight.shape == (2, 1, 3, 3)
