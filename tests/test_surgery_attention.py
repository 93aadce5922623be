"""Attention: heads, widths in heads and the embedding go, exactly, at the temperature it had."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import secateur as sc
from attention_toys import TOYS, Encoder, Packed, made
from secateur.channels.attention import MultiheadAttention, converted, converted_back
from secateur.channels.collect import collect
from secateur.channels.cost import cost
from secateur.channels.notes import repeating
from secateur.channels.splits import other_choices
from secateur.channels.trace import labelled_again, record
from secateur.surgery.permute import permuted


def answer(model: nn.Module, example: Any) -> Tensor:
    with torch.no_grad():
        return model(*example) if isinstance(example, tuple) else model(example)


def half_of_all(channels: sc.ChannelMap) -> dict[str, list[int]]:
    """Every other channel of every group."""
    return {group.name: list(range(0, group.n_channels, 2)) for group in channels.groups}


@pytest.mark.parametrize("name", TOYS)
def test_heads_widths_and_embedding_go_at_once(name: str) -> None:
    build, example = TOYS[name]
    model = build()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    channels = sc.trace(model, example)
    assert {"heads", "widths"} & {group.name.partition(":")[2] for group in channels.groups}
    plan = sc.manual(channels, half_of_all(channels))
    pruned = sc.cut(channels, plan)
    assert pruned.plan.remove == plan.remove and not pruned.plan.held_back
    found = pruned.verification
    assert found.holds and set(found.groups) == set(plan.remove)
    assert found.exact or "layer_norm" in " ".join(found.operators)
    assert pruned.plan.after == cost(channels, plan.remove)
    assert pruned.plan.after.params == sum(p.numel() for p in pruned.network.parameters())
    # with the removed channels' parameters at zero the whole network gives the same
    if found.exact:
        assert torch.allclose(
            answer(sc.mask(channels, plan), example), answer(pruned.network, example), 1e-10, 1e-12
        )
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", TOYS)
def test_a_network_cut_twice_is_saved_loaded_and_restored(name: str, tmp_path: Path) -> None:
    build, example = TOYS[name]
    model = build()
    first = sc.prune(model, example, macs="70%")
    second = sc.prune(first, example, macs="70%")
    for number, pruned in enumerate((first, second)):
        assert type(pruned.plan).from_json(pruned.plan.to_json()) == pruned.plan
        assert sc.verify(pruned).holds
        path = pruned.save(tmp_path / f"{number}.safetensors")
        for checked in (None, example):
            loaded = sc.load(path, build, checked)
            assert torch.allclose(answer(loaded, example), answer(pruned.network, example), 1e-12)
        whole = pruned.restore()
        for one, other in zip(whole.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, other)
        assert list(map(type, whole.modules())) == list(map(type, model.modules()))
        assert torch.allclose(answer(whole, example), answer(model, example), 1e-12)


@pytest.mark.parametrize("name", ["module", "packed, scaled by torch", "grouped, repeated"])
def test_channels_may_stand_in_another_order(name: str) -> None:
    build, example = TOYS[name]
    model = build()
    channels = sc.trace(model, example)
    for group in channels.groups:
        order = {group.name: list(reversed(range(group.n_channels)))}
        turned = permuted(model, channels, order)
        assert torch.allclose(answer(turned, example), answer(model, example), 1e-10, 1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
def test_half_of_an_encoder_can_be_had(norm_first: bool) -> None:
    model, example = made(Encoder, norm_first=norm_first)(), TOYS["encoder"][1]
    pruned = sc.prune(model, example, macs="50%")
    assert 0.45 < pruned.plan.after.macs / pruned.plan.before.macs <= 0.5
    assert pruned.verification.holds and not pruned.plan.held_back
    how = pruned.verification.groups
    assert how["patch"] == "kept statistics"
    assert {kind for name, kind in how.items() if name != "patch"} == {"silent"}
    assert len([name for name in how if name.endswith(":heads")]) == 2


def test_heads_go_whole() -> None:
    model, example = TOYS["module"][0](), TOYS["module"][1]
    channels = sc.trace(model, example)
    heads = channels.by_name["m.in_proj_weight:heads"]
    rows = [r for part in (0, 16, 32) for r in range(part + 4, part + 8)]  # of the second head
    where = {(m.parameter, m.dim): m.index[1].tolist() for m in heads.members}
    assert where["m.in_proj_weight", 0] == where["m.in_proj_bias", 0] == rows
    assert where["m.out_proj.weight", 1] == [4, 5, 6, 7]
    pruned = sc.cut(channels, sc.manual(channels, {heads.name: [1, 3]}))
    attention = pruned.network.m
    assert pruned.verification.exact and type(attention) is MultiheadAttention
    assert (attention.num_heads, attention.head_dim, attention.embed_dim) == (2, 4, 16)
    kept = model.m.in_proj_weight[[*range(4), *range(8, 12)]]
    assert torch.equal(attention.in_proj_weight[:8], kept)


def test_where_heads_make_up_the_embedding_it_is_torchs_module() -> None:
    model, example = TOYS["module"][0](), TOYS["module"][1]
    channels = sc.trace(model, example)
    gone = {"m.in_proj_weight:heads": [0, 1], "a": range(8), "m.out_proj": range(8)}
    small = sc.cut(channels, sc.manual(channels, gone)).network
    assert type(small.m) is nn.MultiheadAttention
    assert (small.m.num_heads, small.m.embed_dim, small.m.kdim) == (2, 8, 8)


def test_every_way_of_calling_gives_what_torchs_module_gives() -> None:
    torch.manual_seed(0)
    settings = itertools.product(*[[False, True]] * 6, [None, "truth", "number", "each head"])
    for first, bias, more, cross, weights, each, kind in settings:
        torchs = nn.MultiheadAttention(
            8, 2, bias=bias, add_bias_kv=more, add_zero_attn=more, batch_first=first
        )
        torchs = torchs.double().eval()
        q, k = torch.randn(3, 4, 8).double(), torch.randn(3, 6 if cross else 4, 8).double()
        q, k = (x if first else x.transpose(0, 1) for x in (q, k))
        mask = {
            None: None,
            "truth": torch.rand(4, 6 if cross else 4) < 0.2,
            "number": torch.randn(4, 6 if cross else 4).double(),
            "each head": torch.randn(6, 4, 6 if cross else 4).double(),
        }[kind]
        padding = None if mask is None else torch.zeros(3, mask.shape[-1]).double()
        padding = padding if padding is None or kind != "truth" else padding.bool()
        given = (q, k, k) if cross else (q, q, q)
        named = {
            "attn_mask": mask,
            "key_padding_mask": padding,
            "need_weights": weights,
            "average_attn_weights": each,
        }
        wanted = torchs(*given, **named)
        converted(torchs)
        assert type(torchs) is MultiheadAttention
        found = torchs(*given, **named)
        converted_back(torchs)
        assert type(torchs) is nn.MultiheadAttention and "scale" not in vars(torchs)
        for one, other in zip(found, wanted, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.allclose(one, other, 1e-12, 1e-12, equal_nan=True)


class Masked(Packed):
    """Its numbers added to products hide all keys from the first query: it attends to none."""

    def __init__(self) -> None:
        super().__init__("by torch")
        hidden = torch.zeros(7, 7)
        hidden[0], hidden[1, 3:] = -math.inf, -math.inf
        self.register_buffer("hidden", hidden)
        self.norm = nn.LayerNorm(16)  # over channels: numbers are followed operator by operator

    def forward(self, x: Tensor) -> Tensor:
        qkv = (
            self.qkv(self.norm(self.a(x)))
            .reshape(len(x), 7, 3, self.num_heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        y = F.scaled_dot_product_attention(*qkv.unbind(0), self.hidden)
        return self.proj(torch.sigmoid(y.transpose(1, 2).flatten(2)))


def test_a_query_that_sees_nothing_is_no_difference() -> None:
    pruned = sc.prune(made(Masked)(), TOYS["packed, scaled by torch"][1], macs="50%")
    assert pruned.verification.holds and not pruned.plan.held_back


def test_layers_that_make_a_table_are_scored_as_others() -> None:
    build, example = TOYS["windows, a table made"]
    channels = sc.trace(build(), example)
    assert {"made.0", "made.2"} <= {layer.name for layer in channels.layers}
    assert len(sc.score(channels, [sc.l2])["l2"].groups["made.0"]) == 8


@pytest.mark.parametrize("name", TOYS)
def test_the_other_reading_is_what_another_run_gives(name: str) -> None:
    build, example = TOYS[name]
    model = build()
    run = record(model, example)
    choices = other_choices(run.splits, run.crossings)
    assert choices and run.steps
    choices = {**run.choices, **choices}
    read = labelled_again(run, model, repeating({}, choices))
    ran = record(model, example, run.rules, repeating({}, choices))
    assert read.decisions == ran.decisions and read.numbers == ran.numbers
    assert collect(read).to_json() == collect(ran).to_json()


def test_a_causal_hint_needs_a_mask() -> None:
    attention = nn.MultiheadAttention(4, 2)
    converted(attention)
    x = torch.zeros(1, 1, 4)
    with pytest.raises(RuntimeError, match="attn_mask"):
        attention(x, x, x, is_causal=True)


def test_the_temperature_is_kept_by_what_makes_queries() -> None:
    model, example = made(Packed, "by torch")(), TOYS["packed, scaled by torch"][1]
    channels = sc.trace(model, example)
    pruned = sc.cut(channels, sc.manual(channels, {"qkv": [0, 3]}))
    assert pruned.verification.exact and set(pruned.plan.rescaled) == {"qkv.weight", "qkv.bias"}
    ((dim, factor, at),) = pruned.plan.rescaled["qkv.bias"]
    assert dim == 0 and factor == pytest.approx(math.sqrt(2 / 4))
    left = [head * 4 + place for head in range(12) for place in (1, 2)]
    kept = left[:8]  # of queries
    assert sorted(at) == kept
    small = pruned.network.qkv.bias
    assert torch.allclose(small[:8], model.qkv.bias[kept] * factor)
    assert torch.equal(small[8:], model.qkv.bias[left[8:]])
    # trained since: what stayed as it is now, without the factor
    with torch.no_grad():
        small += 1
    whole = pruned.restore()
    assert torch.allclose(whole.qkv.bias[kept], model.qkv.bias[kept] + 1 / factor)


def test_a_repair_keeps_the_temperature() -> None:
    model, example = made(Packed, "by torch")(), TOYS["packed, scaled by torch"][1]
    batches = [torch.randn(16, 7, 6, dtype=torch.float64) for _ in range(4)]
    with torch.no_grad():  # two channels that the others make up for
        model.a.weight[:2], model.a.bias[:2] = model.a.weight[2:4], model.a.bias[2:4]
    channels = sc.trace(model, example)
    pruned = sc.cut(channels, sc.manual(channels, {"a": [0, 1], "qkv": [0]}))
    small = sc.reconstruct(pruned, batches).network
    ((_, factor, at),) = pruned.plan.rescaled["qkv.bias"]
    wanted = (factor * model.qkv(model.a(example))[..., list(at)]).detach()
    found = small.qkv(small.a(example))[..., : len(at)].detach()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.01


def test_in_single_precision_the_temperature_is_kept_too() -> None:
    model, example = made(Packed, "by torch")().float(), TOYS["packed, scaled by torch"][1].float()
    pruned = sc.prune(model, example, macs="50%")
    assert pruned.verification.exact and pruned.plan.rescaled and not pruned.plan.held_back


def test_a_cut_network_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model, example = made(Encoder)().float(), TOYS["encoder"][1].float()
    pruned = sc.prune(model, example, macs="50%")
    sc.export_onnx(pruned.network, example, tmp_path / "small.onnx")
    assert (tmp_path / "small.onnx").is_file()


@pytest.mark.parametrize("criterion", [sc.l1, sc.l2, sc.gm])
def test_heads_have_a_score_each(criterion: Any) -> None:
    model, example = TOYS["module"][0](), TOYS["module"][1]
    channels = sc.trace(model, example)
    (scores,) = sc.score(channels, [criterion]).values()
    assert len(scores.of("m.in_proj_weight:heads")) == 4


class Causal(nn.Module):
    """Attention that is told its mask is a causal one, which torch then does not look at."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.a, self.o = nn.Linear(6, 16), nn.Linear(16, 3)
        self.m = nn.MultiheadAttention(16, 4, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        return self.o(self.m(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)[0])


@pytest.mark.parametrize("options", [{}, {"add_zero_attn": True}, {"add_bias_kv": True}])
def test_a_causal_mask_hides_what_torch_hides(options: dict[str, bool]) -> None:
    """Learned and zero keys come last, and so are hidden from all queries before."""
    torch.manual_seed(0)
    model, x = Causal(**options).double().eval(), torch.randn(2, 7, 6).double()
    pruned = sc.prune(model, x, ratio=0.5)
    zeroed = copy.deepcopy(model)
    parameters = dict(zeroed.named_parameters())
    for name, gone in pruned.plan.remove.items():
        for member in pruned.channels.by_name[name].members:
            rows = torch.as_tensor(member.index[list(gone)].ravel())
            parameters[member.parameter].data.index_fill_(member.dim, rows, 0.0)
    assert pruned.verification.exact
    torch.testing.assert_close(pruned.network(x), zeroed(x), rtol=0, atol=1e-12)


class Cross(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.o = nn.Linear(6, 32), nn.Linear(6, 32), nn.Linear(32, 3)
        self.m = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.b(y)
        return self.o(self.m(self.a(x), y, y)[0])


@pytest.mark.parametrize("asked", [{"macs": "25%"}, {"macs": "50%"}, {"ratio": 0.7}])
def test_what_goes_with_a_head_and_a_width_costs_once(asked: dict[str, Any]) -> None:
    model, x = Cross().eval(), (torch.randn(2, 7, 6), torch.randn(2, 7, 6))
    pruned = sc.prune(model, x, **asked)
    after = sc.cost(sc.trace(pruned.network, x))
    assert (pruned.plan.after.params, pruned.plan.after.macs) == (after.params, after.macs)


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
        self.a, self.e, self.o = nn.Linear(6, 16), nn.TransformerEncoder(layer, 2), nn.Linear(16, 3)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        return self.o(self.e(self.a(x), src_key_padding_mask=hidden))


def test_a_cut_encoder_is_given_padding() -> None:
    """Nested tensors, which torch would use, cannot be had with heads of another width."""
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[0, 4:] = True
    whole, x = Padded().eval(), torch.randn(2, 7, 6)
    pruned = sc.prune(whole, x, macs="60%")
    with torch.no_grad():
        assert pruned.network(x, padding).shape == (2, 7, 3)
    assert whole.e.use_nested_tensor and pruned.restore().e.use_nested_tensor


@pytest.mark.parametrize(
    "masks",
    [
        {"attn_mask": torch.zeros(7, 7, dtype=torch.uint8)},
        {"attn_mask": torch.zeros(1, 7)},
        {"key_padding_mask": torch.zeros(2, 7, dtype=torch.int64)},
        {"key_padding_mask": torch.zeros(1, 7, dtype=torch.bool)},
    ],
)
def test_masks_that_torch_refuses_are_refused(masks: dict[str, Tensor]) -> None:
    attention, x = nn.MultiheadAttention(4, 2, batch_first=True), torch.zeros(2, 7, 4)
    with pytest.raises((RuntimeError, AssertionError)):
        attention(x, x, x, **masks)
    converted(attention)
    with pytest.raises(RuntimeError, match=next(iter(masks))):
        attention(x, x, x, **masks)
