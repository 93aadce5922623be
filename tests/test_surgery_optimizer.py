"""An optimizer that was cut steps as if the channels had never been there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adafactor, Adam, AdamW, Optimizer, RMSprop

from contracts import plan_of, random_plan, randomised
from secateur.channels.cost import kept_positions
from secateur.channels.groups import ChannelMap
from secateur.channels.trace import trace
from secateur.errors import PlanError, SurgeryError
from secateur.networks.families import NETWORKS
from secateur.plan.plan import PruningPlan
from secateur.surgery.cut import cut
from secateur.surgery.mask import mask
from secateur.surgery.optimizer import cut_optimizer
from toys import depthwise, image, plain, residual, tied

Make = Callable[[Any], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: SGD(p, 0.01),
    "sgd momentum": lambda p: SGD(p, 0.01, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam amsgrad": lambda p: Adam(p, 0.01, amsgrad=True),
    "adamw": lambda p: AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop centred": lambda p: RMSprop(p, 0.01, momentum=0.5, centered=True),
}
NETS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "residual": (residual, image()),
    "depthwise": (depthwise, image()),
    "tied": (tied, image()),
    "mobilenet": (lambda: NETWORKS["mobilenet"](width=4), torch.zeros(2, 1, 16, 20)),
}


def gradients(model: nn.Module, x: Tensor) -> None:
    model.zero_grad()
    out = model(x)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    (out.tanh() * weights).mean().backward()


def zero_removed(tensors: dict[str, Tensor], plan: PruningPlan, channels: ChannelMap) -> None:
    """Zero whatever lies at removed positions."""
    for (name, dim), positions in kept_positions(channels, plan.remove).items():
        if name in tensors:
            gone = sorted(set(range(channels.shapes[name][dim])) - set(positions.tolist()))
            tensors[name].index_fill_(dim, torch.tensor(gone, dtype=torch.int64), 0)


def kept_part(tensor: Tensor, name: str, plan: PruningPlan, channels: ChannelMap) -> Tensor:
    for (owner, dim), positions in kept_positions(channels, plan.remove).items():
        if owner == name:
            tensor = tensor.index_select(dim, torch.from_numpy(positions))
    return tensor


# In training mode a shift before a batch norm has a gradient of zero but for rounding, which
# optimizers that divide by its size blow up: only plain steps can be compared.
@pytest.mark.parametrize(
    ("kind", "training"), [*((kind, False) for kind in OPTIMIZERS), ("sgd momentum", True)]
)
@pytest.mark.parametrize("net", NETS)
def test_steps_equal_those_of_the_masked_network(net: str, kind: str, training: bool) -> None:
    build, example = NETS[net]
    model, make = randomised(build()).train(training), OPTIMIZERS[kind]
    if net == "mobilenet":
        example = example.double()
    channels = trace(model, example)
    plan = random_plan(channels, seed=2)
    assert plan.remove
    x = torch.randn(example.shape, generator=torch.Generator().manual_seed(1)).double()
    optimizer = make(model.parameters())
    for _ in range(2):
        gradients(model, x)
        optimizer.step()
    small = cut(channels, plan).network
    cut_one = cut_optimizer(optimizer, model, small, plan, channels)
    assert type(cut_one) is type(optimizer)

    masked = mask(channels, plan)
    reference = make(masked.parameters())
    reference.load_state_dict(optimizer.state_dict())
    parameters = dict(masked.named_parameters())
    keys = {key for state in reference.state.values() for key in state if key != "step"}
    for key in keys:
        states = {name: reference.state[p].get(key) for name, p in parameters.items()}
        zero_removed({n: s for n, s in states.items() if s is not None}, plan, channels)
    for _ in range(3):
        gradients(masked, x)
        zero_removed(
            {n: p.grad for n, p in parameters.items() if p.grad is not None}, plan, channels
        )
        reference.step()
        gradients(small, x)
        cut_one.step()
        for name, parameter in small.named_parameters():
            assert bool(parameter.isfinite().all())
            expected = kept_part(parameters[name].detach(), name, plan, channels)
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-9, atol=1e-12)


def test_settings_groups_and_state_come_along_and_the_old_one_stays() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (1, 3)})
    optimizer = AdamW(
        [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[3].parameters()}], lr=0.25
    )
    gradients(model, torch.ones(2, 1, 6, 6, dtype=torch.float64))
    optimizer.step()
    moments = optimizer.state[model[0].weight]["exp_avg"].clone()
    small = cut(channels, plan).network
    made = cut_optimizer(optimizer, model, small, plan, channels)
    assert [group["lr"] for group in made.param_groups] == [0.5, 0.25]
    assert made.param_groups[0]["params"][0] is small[0].weight
    assert made.param_groups[0]["weight_decay"] == optimizer.param_groups[0]["weight_decay"]
    state = made.state[small[0].weight]
    assert torch.equal(state["exp_avg"], moments[[0, 2]]) and float(state["step"]) == 1.0
    made.param_groups[0]["lr"] = 9.0
    state["exp_avg"].zero_()
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert torch.equal(optimizer.state[model[0].weight]["exp_avg"], moments)
    again = AdamW([{"params": small[0].parameters()}, {"params": small[3].parameters()}])
    again.load_state_dict(made.state_dict())
    assert again.param_groups[1]["lr"] == 0.25


def test_factored_moments_are_cut_where_they_lie_along_the_parameter() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    optimizer = Adafactor(model.parameters())
    gradients(model, torch.ones(2, 1, 6, 6, dtype=torch.float64))
    optimizer.step()
    small = cut(channels, plan).network
    made = cut_optimizer(optimizer, model, small, plan, channels)
    assert made.state[small[3].weight]["row_var"].shape == (3, 3, 3, 1)
    gradients(small, torch.ones(2, 1, 6, 6, dtype=torch.float64))
    made.step()


def test_a_scheduler_is_made_anew_and_goes_on() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    optimizer = SGD(model.parameters(), 1.0, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    gradients(model, torch.ones(2, 1, 6, 6, dtype=torch.float64))
    optimizer.step()
    scheduler.step()
    small = cut(channels, plan).network
    made = cut_optimizer(optimizer, model, small, plan, channels)
    again = torch.optim.lr_scheduler.StepLR(made, 1, 0.5, last_epoch=scheduler.last_epoch)
    gradients(small, torch.ones(2, 1, 6, 6, dtype=torch.float64))
    made.step()
    again.step()
    assert made.param_groups[0]["lr"] == 0.125 and optimizer.param_groups[0]["lr"] == 0.5


def test_what_cannot_be_cut_is_refused_in_words() -> None:
    model = randomised(plain())
    channels = trace(model, image())
    plan = plan_of(channels, {"0": (0,)})
    small = cut(channels, plan).network
    with pytest.raises(SurgeryError, match=r"LBFGS keeps tensors of its own in '_params'"):
        cut_optimizer(LBFGS(model.parameters()), model, small, plan, channels)
    with pytest.raises(SurgeryError, match=r"shape \(4, 1, 3, 3\) that is not the model's"):
        cut_optimizer(SGD(plain().parameters(), 0.1), model, small, plan, channels)
    with pytest.raises(SurgeryError, match=r"'0.weight' is \(4, 1, 3, 3\) in the cut network"):
        cut_optimizer(SGD(model.parameters(), 0.1), model, model, plan, channels)
    other = trace(depthwise().double(), image())
    with pytest.raises(PlanError, match="made for network"):
        cut_optimizer(SGD(model.parameters(), 0.1), model, small, plan, other)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    optimizer.state[model[0].weight]["momentum_buffer"] = torch.zeros(36)
    with pytest.raises(SurgeryError, match=r"'momentum_buffer' of '0.weight' is \(36,\)"):
        cut_optimizer(optimizer, model, small, plan, channels)
