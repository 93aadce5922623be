"""The faults that scripts/mutations.py plants: file, text, what takes its place, what it breaks."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault; `text` stands exactly once in `file`, which lies in src/secateur.

    `first` are the test files, of those that `make quick` runs, that should see it soonest.
    """

    name: str
    file: str
    text: str
    replacement: str
    breaks: str
    first: tuple[str, ...]


TOYS = ("channels_toys", "channels_operators")
SIZES = ("surgery_sizes", "surgery_proof")
COST = ("channels_cost", "channels_toys")
MUTATIONS = ("surgery_mutations",)
COMPUTED = ("channels_computed_weights", "channels_quantisation", "surgery_unusual")

FAULTS: tuple[Fault, ...] = (
    # channels: which labels meet, move and are pinned
    Fault(
        "sum-not-united",
        "channels/operands.py",
        "            call.unite(whole[0], labels)",
        "            pass",
        "channels that are added to each other do not meet",
        TOYS,
    ),
    Fault(
        "pad-other-end",
        "channels/movement.py",
        "before, after = widths[2 * k : 2 * k + 2]",
        "after, before = widths[2 * k : 2 * k + 2]",
        "padded channels are laid at the other end",
        ("channels_operators",),
    ),
    Fault(
        "slice-takes-no-part",
        "channels/movement.py",
        "                    call.part(piece, full)",
        "                    pass",
        "channels that a slice takes are not told from those beside them",
        SIZES,
    ),
    Fault(
        "view-other-heir",
        "channels/movement.py",
        "likely[-1] if likely else -1",
        "likely[0] if likely else -1",
        "channels lie along the wrong dimension after a view that splits theirs",
        TOYS,
    ),
    Fault(
        "view-parts-not-united",
        "channels/movement.py",
        "        call.same_along(moved, [k for k in heirs if k != new])\n",
        "",
        "equal positions of the parts that a view makes do not meet",
        TOYS,
    ),
    Fault(
        "index-dimension",
        "channels/indexing.py",
        "fields[new] = as_field(call.flat(labels, dim), new, call.outputs[0].ndim)",
        "fields[dim] = as_field(call.flat(labels, dim), dim, call.outputs[0].ndim)",
        "labels stay at their dimension when indexing moves it",
        ("channels_operators",),
    ),
    Fault(
        "beyond-the-example-free",
        "channels/trace.py",
        "    run.notebook.pin_unreached()\n",
        "",
        "what the example does not reach of a parameter can go",
        MUTATIONS,
    ),
    Fault(
        "decision-not-repeated",
        "channels/run.py",
        "before[len(made)] if len(made) < len(before) else choice",
        "choice",
        "the run on what is left decides anew, by other sizes",
        SIZES,
    ),
    Fault(
        "parts-not-noted",
        "channels/run.py",
        "            self.takes_parts |= operator.name in TAKES_PARTS\n",
        "",
        "a recording without its calls is held to prove what takes parts by position",
        MUTATIONS,
    ),
    Fault(
        "values-of-other-channels",
        "channels/stand_ins.py",
        "real.index_select(dim, torch.from_numpy(positions).to(real.device))",
        "real.narrow(dim, 0, len(positions))",
        "the run on what is left sees the first channels' numbers, not those of the kept ones",
        MUTATIONS,
    ),
    Fault(
        "groups-not-united",
        "channels/call.py",
        "            self.unite(rows[:1], rows[1:])",
        "            pass",
        "the groups of a grouped convolution can shrink unequally",
        TOYS,
    ),
    Fault(
        "depth-multiplier-order",
        "channels/arithmetic.py",
        "several = inputs.repeat_interleave(multiplier)",
        "several = inputs.repeat(multiplier)",
        "filters of a depthwise convolution with a multiplier are their neighbours' inputs'",
        TOYS,
    ),
    Fault(
        "role-left-out",
        "channels/arithmetic.py",
        '    call.role(weight, out_dim, "out")\n    if groups == 1:',
        "    if groups == 1:",
        "the filters of a convolution are not known as filters",
        TOYS,
    ),
    Fault(
        "quantiser-axis",
        "channels/fake_quantisation.py",
        "_along(call, x, call.args[3], scale, zero_point)",
        "_along(call, x, 0, scale, zero_point)",
        "scales of a quantiser are taken to lie along the first dimension",
        COMPUTED,
    ),
    Fault(
        "last-of-a-chain",
        "channels/repaired.py",
        "made, of = chain[0], f",
        "made, of = chain[-1], f",
        "a weight norm that another parametrisation follows is not made up for",
        MUTATIONS,
    ),
    Fault(
        "overwritten-numbers-known",
        "channels/values.py",
        "            self._lost[id(storage)] = storage",
        "            pass",
        "numbers that the input has overwritten are taken for those before",
        MUTATIONS,
    ),
    Fault(
        "group-of-one",
        "channels/collect.py",
        "if k >= 0 and n_of_kind[k] > 1:",
        "if k >= 0 and n_of_kind[k] > 0:",
        "a channel that is alone of its kind is offered for removal",
        TOYS,
    ),
    Fault(
        "computed-weight-counted-twice",
        "channels/cost.py",
        "[layer for layer in channels.layers if layer.counted]",
        "[layer for layer in channels.layers]",
        "what is multiplied with a computed weight costs its inputs twice",
        ("channels_computed_weights",),
    ),
    Fault(
        "kept-that-should-go",
        "channels/cost.py",
        "            for part in positions:",
        "            for part in positions[:1]:",
        "of two groups along one dimension only the first goes",
        TOYS,
    ),
    # surgery: proof before the cut
    Fault(
        "parts-not-objected",
        "surgery/objections.py",
        "        yield from _wrong_parts(call, before, witness, channel)",
        "        continue",
        "a part that holds other channels after the cut raises no objection",
        SIZES,
    ),
    Fault(
        "pin-not-objected",
        "surgery/objections.py",
        "    for pin in run.notebook.pins:",
        "    for pin in run.notebook.pins[:0]:",
        "a dimension that is pinned only after the cut raises no objection",
        MUTATIONS,
    ),
    Fault(
        "smaller-number-not-objected",
        "surgery/objections.py",
        "and now.numbers != before.numbers:",
        "and now.numbers > before.numbers:",
        "a width that is used as a value and gets smaller raises no objection",
        MUTATIONS,
    ),
    Fault(
        "held-back-cut-anyway",
        "surgery/prove.py",
        "for name, gone in found.plan.remove.items() if name not in names}",
        "for name, gone in found.plan.remove.items()}",
        "groups that make the cut network differ are held back and cut all the same",
        MUTATIONS,
    ),
    Fault(
        "blame-skips-one",
        "surgery/prove.py",
        "names[len(names) // 2 :]):",
        "names[len(names) // 2 + 1 :]):",
        "the search for who makes a difference leaves out one group of each half",
        MUTATIONS,
    ),
    Fault(
        "one-too-many-given-back",
        "surgery/equations.py",
        "if self.alive[labels].sum() >= size * want.per:",
        "if self.alive[labels].sum() > size * want.per:",
        "one channel more than sizes need is given back",
        SIZES,
    ),
    # surgery: the cut and what goes with it
    Fault(
        "attributes-not-set",
        "surgery/rebuild.py",
        "return rebuild(model, tensors, plan.attributes)",
        "return rebuild(model, tensors)",
        "sizes in attributes stay as they were in the cut network",
        SIZES,
    ),
    Fault(
        "frozen-thawed",
        "surgery/rebuild.py",
        "requires_grad=not frozen)",
        "requires_grad=True)",
        "parameters that were frozen can be trained after the cut",
        ("channels_toys",),
    ),
    Fault(
        "magnitude-not-repaired",
        "surgery/repair.py",
        "(magnitude.double() * factor.reshape(magnitude.shape))",
        "magnitude.double()",
        "weights under a weight norm grow when inputs go",
        MUTATIONS,
    ),
    Fault(
        "singular-value-inverted",
        "surgery/repair.py",
        "own = own * (sigma / now)",
        "own = own * (now / sigma)",
        "weights under a spectral norm change twice over when inputs go",
        MUTATIONS,
    ),
    Fault(
        "optimizer-dimension",
        "surgery/optimizer.py",
        "made.index_select(dim, positions",
        "made.index_select(0, positions",
        "an optimizer's state is sliced along the first dimension, whichever shrank",
        ("surgery_optimizer",),
    ),
    Fault(
        "restored-elsewhere",
        "surgery/restore.py",
        "full[~stays] = values.to(part)",
        "full[~stays] = values.to(part).flip(0)",
        "what comes back comes to the wrong places",
        ("surgery_restore",),
    ),
    Fault(
        "running-mean-other-way",
        "surgery/readers.py",
        "mean.sub_(by.to(mean))",
        "mean.add_(by.to(mean))",
        "a running mean that stands in for a bias is shifted the other way",
        ("surgery_reconstruct", "surgery_dead"),
    ),
    Fault(
        "grouped-transposed-outputs",
        "surgery/readers.py",
        "[positions + k * size for k in",
        "[positions + k for k in",
        "biases of a grouped transposed convolution are those of other outputs",
        MUTATIONS,
    ),
    Fault(
        "dead-tolerance-ignored",
        "surgery/dead.py",
        "read_constants(model, example_input, tolerance)",
        "read_constants(model, example_input)",
        "only exact zeros are dead, whatever the tolerance",
        ("surgery_dead", "surgery_rounding"),
    ),
    Fault(
        "tolerance-not-shared",
        "surgery/constants.py",
        "(self.tolerance / n)",
        "self.tolerance",
        "each of n positions may drop what all of them together may",
        ("surgery_mutations", "surgery_rounding"),
    ),
    # surgery: verification after the cut
    Fault(
        "tolerance-a-million",
        "surgery/verification.py",
        "TOLERANCE = 1e-10\n",
        "TOLERANCE = 1e-4\n",
        "networks that differ by a ten-thousandth are called equal",
        MUTATIONS,
    ),
    Fault(
        "second-input-not-tried",
        "surgery/verify.py",
        "            found.append(again)",
        "            pass",
        "a cut is verified at the example's size only",
        MUTATIONS,
    ),
    Fault(
        "seed-not-set",
        "surgery/verify.py",
        "        with one_seed():\n",
        "        with suppress(Warning):\n",
        "the cut network and its reference draw different numbers",
        MUTATIONS,
    ),
    Fault(
        "statistics-over-all",
        "surgery/verify.py",
        'kept = self._apart(cut, references := self._references(plan, "kept"))',
        'kept = self._apart(cut, references := self._references(plan, "all"))',
        "norms over channels are compared as if silent channels counted",
        ("channels_operators", "surgery_proof"),
    ),
    Fault(
        "integers-not-redrawn",
        "surgery/inputs.py",
        "    return torch.randint(low,",
        "    return tensor\n    return torch.randint(low,",
        "whole numbers of the example stand in every input that is tried",
        MUTATIONS,
    ),
    Fault(
        "zeroed-before-computed",
        "surgery/mask.py",
        'if (readers and member.role != "in") or member.parameter in leave:',
        'if readers and member.role != "in":',
        "weights are zeroed before others are computed from them",
        MUTATIONS,
    ),
    Fault(
        "mask-of-one-channel",
        "surgery/mask.py",
        "positions = member.index[np.asarray(gone, dtype=np.int64)].ravel()",
        "positions = member.index[np.asarray(gone, dtype=np.int64)].ravel()[:1]",
        "of the channels that a mask silences only the first is",
        TOYS,
    ),
    Fault(
        "silent-channels-heard",
        "surgery/reference.py",
        "        elif rule in _SUMS_WITH_WEIGHTS:\n            made = self._run_on(self._zeroed,",
        "        elif rule in _SUMS_WITH_WEIGHTS:\n            made = self._run_on(self.known,",
        "the reference of networks with norms over channels sums up channels that went",
        ("channels_operators", *COMPUTED),
    ),
    Fault(
        "one-member-not-permuted",
        "surgery/permute.py",
        "        for member in channels.by_name[name].members:",
        "        for member in channels.by_name[name].members[:-1]:",
        "the last member of a group keeps its order where all others are permuted",
        ("channels_operators", "surgery_proof"),
    ),
    Fault(
        "permuted-plan-takes-others",
        "surgery/permute.py",
        "if channel in gone)",
        "if j in gone)",
        "the plan of a permuted network takes other channels",
        ("channels_operators", "surgery_proof"),
    ),
)
