"""Networks of floats on the way to quantisation are cut; packed ones are refused."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.ao import quantization as tq
    from torch.ao.nn import intrinsic, qat
    from torch.ao.nn import quantized as packed

from contracts import check_cut_equals_mask, randomised
from secateur.channels.trace import trace
from secateur.errors import TraceError
from secateur.plan.select import manual
from secateur.surgery.cut import cut
from secateur.surgery.in_turn import verified

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Residual(nn.Module):
    """1 -> 4, 4 -> 4 added to it, 4 -> 2; what is added goes through a float functional."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.a, self.b, self.h = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.add = packed.FloatFunctional()

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(self.quant(x))
        return self.dequant(self.h(self.add.add(x, self.b(x))))


IMAGE = torch.zeros(2, 1, 5, 5, dtype=torch.float64)


def fused() -> nn.Module:
    """Convolutions that torch fused with what follows them, still in floats."""
    first = intrinsic.ConvReLU2d(nn.Conv2d(1, 4, 1), nn.ReLU())
    second = intrinsic.ConvBnReLU2d(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3), nn.ReLU())
    return nn.Sequential(first, second, nn.Conv2d(3, 2, 1))


@pytest.mark.parametrize(("build", "groups"), [(Residual, {"a": 4}), (fused, {"0.0": 4, "1.0": 3})])
def test_helpers_of_floats_are_cut(build: type[nn.Module], groups: dict[str, int]) -> None:
    model = randomised(build())
    channels = trace(model, IMAGE)
    assert {group.name: group.n_channels for group in channels.groups} == groups
    assert not channels.unknown
    assert not channels.mixing
    check_cut_equals_mask(model, IMAGE, channels, 3)


def prepared(weight: object) -> nn.Module:
    """`Residual` ready for quantisation-aware training, its ranges seen once and then held."""
    model = Residual().train()
    model.qconfig = tq.QConfig(activation=tq.default_fused_act_fake_quant, weight=weight)
    model = tq.prepare_qat(model)
    torch.manual_seed(0)
    model(torch.randn(4, 1, 5, 5))
    return model.apply(tq.disable_observer).eval()


def test_fake_quantised_by_one_scale_is_cut() -> None:
    model = prepared(tq.default_fused_wt_fake_quant)
    assert isinstance(model.a, qat.Conv2d)
    example = IMAGE.float()
    channels = trace(model, example)
    (group,) = channels.groups
    assert (group.name, group.n_channels) == ("a", 4)
    assert not channels.unknown
    small = cut(channels, manual(channels, {"a": [0, 2]})).network
    assert small.b.weight.shape == (2, 2, 1, 1)


def test_scales_of_channels_go_with_them() -> None:
    channels = trace(prepared(tq.default_fused_per_channel_wt_fake_quant), IMAGE.float())
    (group,) = channels.groups
    of_range = {
        f"{layer}.weight_fake_quant.{leaf}"
        for layer in ("a", "b")
        for leaf in ("activation_post_process.min_val", "activation_post_process.max_val")
    }
    scales = {f"{layer}.weight_fake_quant.{leaf}" for layer in "ab" for leaf in SCALES}
    model = prepared(tq.default_fused_per_channel_wt_fake_quant)
    plan = manual(channels, {"a": [1]})
    small = cut(channels.of(model), plan).network
    assert small.a.weight_fake_quant.scale.shape == (3,)
    found = verified(model, small, plan, channels, IMAGE.float())
    assert found.holds and found.silence_error == 0  # observers look across channels, and are off
    assert of_range | scales == {m.parameter for m in group.members if m.role == "norm"}


SCALES = ("scale", "zero_point")


@pytest.mark.parametrize("per_channel", [False, True])
def test_fake_quantising_keeps_labels(per_channel: bool) -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)
            self.register_buffer("scale", torch.full((4,), 0.1))
            self.register_buffer("zero", torch.zeros(4, dtype=torch.int32))

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            if per_channel:
                x = torch.fake_quantize_per_channel_affine(x, self.scale, self.zero, 1, -8, 7)
            else:
                x = torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -8, 7)
            return self.b(x)

    model = randomised(Rounded())
    channels = trace(model, IMAGE)
    (group,) = channels.groups
    own = {"a.weight", "a.bias", "b.weight"} | ({"scale", "zero"} if per_channel else set())
    assert {member.parameter for member in group.members} == own
    assert not channels.unknown


def test_an_observer_is_followed() -> None:
    model = Residual().eval()
    model.qconfig = tq.QConfig(activation=tq.MinMaxObserver, weight=tq.default_weight_observer)
    model = tq.prepare(model)
    channels = trace(model, IMAGE.float())
    assert [(group.name, group.n_channels) for group in channels.groups] == [("a", 4)]
    assert not channels.unknown
    assert {row.operator for row in channels.mixing} == {"aminmax"}


def test_an_observer_that_looks_at_values_says_what_to_do() -> None:
    model = Residual().eval()
    model.qconfig = tq.QConfig(activation=tq.HistogramObserver, weight=tq.default_weight_observer)
    with pytest.raises(TraceError, match="cut the network before it is prepared"):
        trace(tq.prepare(model), IMAGE.float())


def test_packed_modules_are_refused_by_any_name() -> None:
    class Mine(packed.QFunctional):
        pass

    for module in (packed.Quantize(0.1, 0, torch.quint8), packed.QFunctional(), Mine()):
        with pytest.raises(TraceError, match="its weights are packed; cut the network first"):
            trace(nn.Sequential(nn.Conv2d(1, 2, 1), module), IMAGE.float())
