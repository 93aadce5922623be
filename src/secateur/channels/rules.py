"""What every operator does to labels: one table, operator name -> rule.

A rule sees one call of an ATen operator and the fields of its inputs, and writes down the fields
of its outputs, who meets whom, and what is pinned: what it neither carries on nor unites, it pins.
To add an operator, write a function of a `Call` (in the module of its kind) or re-use one that is
there, and enter it in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secateur.channels.arithmetic import (
    constant,
    convolution,
    keep,
    linear,
    matrix_product,
    meet,
    pool,
    reduce,
    restride,
    softmax,
    triangle,
    trilinear,
    vector_product,
)
from secateur.channels.call import Call
from secateur.channels.fake_quantisation import fake_quantised, observed
from secateur.channels.indexing import (
    channels_to_windows,
    complex_parts,
    embedding,
    gates,
    gather,
    index,
    picked_by_size,
    pixels_to_channels,
    sample,
    scan,
    spectrum,
    windows,
    windows_to_channels,
    write,
)
from secateur.channels.movement import (
    along_one,
    concatenate,
    expand,
    halve,
    move,
    pad,
    pick,
    repeat,
    shuffle_channels,
    shuffle_pixels,
    squeeze,
    stack,
    view,
)
from secateur.channels.normalisation import batch_norm, group_norm, layer_norm, weight_norm
from secateur.channels.recurrent import NAMES, recurrent

Rule = Callable[[Call], None]


def unknown(call: Call) -> None:
    """An operator without a rule: what flows in is pinned, and the operator is listed."""
    for tensor in call.tensors:
        call.pin_others(tensor, (), "flows into the unknown operator")
    call.set_all({})
    call.list_unknown()


_KINDS: dict[Rule, str] = {
    meet: """relu relu6 hardtanh hardswish hardsigmoid sigmoid tanh silu gelu elu leaky_relu mish
        softplus celu selu threshold clamp clamp_min clamp_max abs neg exp log sqrt rsqrt square
        pow reciprocal erf sign add sub mul div rsub maximum minimum where _prelu_kernel lerp
        addcmul addcdiv masked_fill eq ne lt le gt ge logical_and logical_or logical_not sin cos
        log_sigmoid_forward log1p expm1 floor ceil round isnan bitwise_and bitwise_or bitwise_not
        copy fill zero native_dropout bernoulli sgn atan atan2 acos asin cosh sinh tan
        logit exp2 log2 log10 trunc frac remainder fmod floor_divide nan_to_num hardshrink
        softshrink rrelu_with_noise logaddexp heaviside isfinite isinf xlogy angle
        complex polar _conj conj_physical resolve_conj""",
    keep: """clone detach alias contiguous _to_copy lift_fresh zeros_like ones_like empty_like
        full_like rand_like randn_like""",
    triangle: "tril triu",
    restride: "as_strided",
    softmax: "_softmax _log_softmax _safe_softmax",
    constant: """empty zeros ones full arange new_zeros new_ones new_empty new_full scalar_tensor
        rand randn randint linspace _local_scalar_dense sym_size""",
    convolution: "convolution",
    linear: "linear",
    matrix_product: "mm addmm bmm baddbmm matmul",
    vector_product: "mv dot vdot",
    batch_norm: "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
    reduce: """mean sum amax amin max min var std var_mean std_mean prod logsumexp argmax argmin
        linalg_vector_norm norm any all count_nonzero nansum median aminmax""",
    pool: """max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d
        upsample_nearest2d upsample_bilinear2d upsample_bicubic2d max_pool1d _adaptive_avg_pool1d
        upsample_nearest1d upsample_linear1d avg_pool1d adaptive_max_pool1d
        max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d
        upsample_nearest3d upsample_trilinear3d reflection_pad1d reflection_pad2d
        reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
        _upsample_bilinear2d_aa _upsample_bicubic2d_aa _upsample_nearest_exact1d
        _upsample_nearest_exact2d _upsample_nearest_exact3d max_pool2d max_pool3d""",
    view: "view _unsafe_view reshape _reshape_alias",
    move: "permute transpose t unsqueeze",
    squeeze: "squeeze",
    expand: "expand",
    repeat: "repeat",
    along_one: "slice split split_with_sizes flip roll",
    pick: "select unbind index_select",
    concatenate: "cat",
    stack: "stack",
    pad: "constant_pad_nd",
    halve: "glu",
    shuffle_channels: "channel_shuffle native_channel_shuffle",
    shuffle_pixels: "pixel_shuffle",
    pixels_to_channels: "pixel_unshuffle",
    layer_norm: "native_layer_norm",
    group_norm: "native_group_norm",
    index: "index _unsafe_index",
    gather: "gather",
    embedding: "embedding",
    scan: "cumsum cumprod logcumsumexp cummax cummin",
    picked_by_size: "sort topk argsort kthvalue",
    windows_to_channels: "im2col",
    channels_to_windows: "col2im",
    windows: "unfold",
    gates: "unsafe_split",
    sample: "grid_sampler_2d grid_sampler_3d cudnn_grid_sampler",
    spectrum: "_fft_r2c _fft_c2c _fft_c2r",
    complex_parts: "view_as_real view_as_complex",
    trilinear: "_trilinear",
    write: "index_put _index_put_impl",
    weight_norm: "_weight_norm_interface",
    fake_quantised: """fake_quantize_per_tensor_affine_cachemask
        _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
        fake_quantize_per_channel_affine_cachemask _fake_quantize_learnable_per_tensor_affine
        _fake_quantize_learnable_per_channel_affine""",
    observed: "_fused_moving_avg_obs_fq_helper",
    recurrent: " ".join(NAMES),
}

RULES: Mapping[str, Rule] = {name: rule for rule, names in _KINDS.items() for name in names.split()}

IN_PLACE: frozenset[Rule] = frozenset({meet, keep, restride, move, write})
"""Rules that hold as well where an operator changes its input; others are unknown in place."""

MOVES: frozenset[Rule] = frozenset(
    {view, move, squeeze, expand, repeat, keep, along_one, pick, concatenate, stack}
)
"""Rules of operators that put elements elsewhere and change none."""

COUNTED: frozenset[str] = frozenset(
    {"convolution", "linear", "mm", "addmm", "bmm", "baddbmm", "matmul", *NAMES}
)
"""Operators that cost multiply-accumulates, with or without a channel that can go."""
