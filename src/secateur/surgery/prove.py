"""Proof before the cut: the same run on the shapes that would be left, label by label."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.channels.cost import kept_positions, remaining_shapes
from secateur.channels.groups import ChannelMap
from secateur.channels.labels import Notebook, meeting_pairs
from secateur.channels.trace import Example, Given, Run, record
from secateur.errors import ProofError, TraceError
from secateur.plan.plan import PruningPlan
from secateur.surgery.rebuild import rebuild

Labels = NDArray[np.int64]


def prove(
    model: nn.Module,
    plan: PruningPlan,
    example_input: Example,
    original: Run,
    channels: ChannelMap,
) -> None:
    """Run the shrunken network on shapes; labels may only meet whom they met in the original.

    Raises:
        ProofError: naming the operator and the line of the network's code that does not line up.
    """
    book = original.notebook
    kept = kept_positions(channels, plan.remove)
    shapes = remaining_shapes(channels, plan.remove)
    meta = {name: _meta(model, name, shape) for name, shape in shapes.items()}
    labels = {}
    for parameter, dim, first in book.owners:
        if parameter:
            stays = kept.get((parameter, dim), np.arange(channels.shapes[parameter][dim]))
            labels[parameter, dim] = torch.from_numpy(first + stays)
    known = Notebook(owners=list(book.owners), n_labels=book.n_labels)
    given = Given(labels, known, original.decisions)
    try:
        run = record(rebuild(model, meta), example_input, original.rules, given)
    except TraceError as error:
        said = str(error).rpartition("; ")[0]
        raise ProofError(
            f"the plan does not fit the network's code: {said}; ignore the groups this line "
            "works on, or write their sizes from the tensors' own shapes"
        ) from error
    _check_meetings(run, original, channels)


def _meta(model: nn.Module, name: str, shape: tuple[int, ...]) -> Tensor:
    owner, _, leaf = name.rpartition(".")
    dtype = getattr(model.get_submodule(owner), leaf).dtype
    return torch.empty(shape, dtype=dtype, device="meta")


def _check_meetings(run: Run, original: Run, channels: ChannelMap) -> None:
    n_labels = original.notebook.n_labels
    channel = original.notebook.components()
    pinned = np.zeros(channel.max(initial=-1) + 1, dtype=bool)
    for pin in original.notebook.pins:
        pinned[channel[pin.labels.numpy()]] = True
    known = np.unique(_keys(*meeting_pairs(original.notebook.meetings), n_labels))
    for meeting in run.notebook.meetings:
        first, second = meeting_pairs([meeting])
        fresh = (first >= n_labels) | (second >= n_labels)
        old = np.where(first >= n_labels, second, first)[fresh]
        old = old[old < n_labels]
        met = np.isin(_keys(first[~fresh], second[~fresh], n_labels), known)
        if not met.all() or not pinned[channel[old]].all():
            raise ProofError(
                f"after the cut {meeting.operator} at {meeting.source} brings channels together "
                f"that did not meet before; {_advice(old if len(old) else first, run, channels)}"
            )
    for pin in run.notebook.pins:
        own = pin.labels.numpy()
        here = np.unique(channel[own[own < n_labels]])
        if not pinned[here].all():
            raise ProofError(
                f"after the cut a prunable dimension {pin.reason} at {pin.source}; "
                f"{_advice(own, run, channels)}"
            )


def _keys(first: Labels, second: Labels, n_labels: int) -> Labels:
    return np.minimum(first, second) * n_labels + np.maximum(first, second)


def _advice(labels: Labels, run: Run, channels: ChannelMap) -> str:
    """Which groups to ignore, so that the line stays as it is."""
    owners = {run.notebook.owner(label) for label in labels.tolist()}
    names = [
        repr(group.name)
        for group in channels.groups
        if any((member.parameter, member.dim) in owners for member in group.members)
    ]
    return f"ignore {', '.join(names) or 'the groups this line works on'}, or cut them otherwise"
