"""Fake quantisation: numbers rounded as integers would be, in floats, one scale each or for all."""

from __future__ import annotations

from torch import Tensor

from secateur.channels.call import Call


def fake_quantised(call: Call) -> None:
    """Element by element; scales and zero points of channels meet the axis they lie along.

    Zero stays zero, since every range holds it.
    """
    x, scale, zero_point = call.args[:3]
    if "per_channel" in call.name:
        _along(call, x, call.args[3], scale, zero_point)
    call.set_all(call.fields(x))


def observed(call: Call) -> None:
    """The same, with smallest and largest numbers noted on the way, of channels or of all.

    A channel at zero is within every range, so a weight's own is the same without it; what a
    feature map holds where its channel is zero may be outside.
    """
    x, _, _, *of_range = call.args[:7]
    axis, per_channel = call.args[10], call.args[11] if len(call.args) > 11 else False
    if per_channel:
        _along(call, x, axis, *of_range)
    elif not call.is_weight(x):
        for labels in call.fields(x).values():
            call.mixing(labels, "a range over channels")
    call.set_all(call.fields(x))


def _along(call: Call, x: Tensor, axis: int, *tensors: Tensor) -> None:
    """Numbers of every channel; none are there, or one, before the first call."""
    channels = call.along(x, axis)
    for tensor in tensors:
        if tensor.numel() > 1:
            call.match(channels, tensor, 0, "norm")
