"""One pass over calibration batches feeds every criterion that needs data.

The network runs in evaluation mode, nothing is hooked, and afterwards it is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from secateur.channels.groups import ChannelMap
from secateur.channels.recurrent import weights_within
from secateur.channels.trace import call_arguments, untouched
from secateur.criteria.base import STREAMED, Criterion, Sums
from secateur.criteria.batches import LossFunction, check_inputs, divided, loss_of, moved
from secateur.criteria.gradient import GateGradients, WeightGradients
from secateur.criteria.reads import Read, Reads
from secateur.criteria.sites import Members, Sites, filter_rows, input_rows
from secateur.criteria.watch import Watch
from secateur.errors import CriterionError, brief


@dataclass(frozen=True)
class Calibration:
    """What streamed criteria know after some batches.

    `sums` maps a criterion's name and a site's name to the criterion's sums there; `n_batches` is
    how many were seen. `fingerprint` is the channel map's, `members` as in `score`.
    """

    criteria: tuple[Criterion, ...]
    sums: Mapping[str, Mapping[str, Sums]]
    n_batches: int
    fingerprint: str
    members: Members


def merge(one: Calibration, other: Calibration) -> Calibration:
    """Put together what two passes over different batches know, as if it had been one.

    Criteria that look at the first images only take those of `one` first.

    Raises:
        CriterionError: the two were made for other criteria or another network.
    """
    made_for = [(c.criteria, c.fingerprint, c.members) for c in (one, other)]
    same = made_for[0] == made_for[1] and all(
        one.sums[c.name].keys() == other.sums[c.name].keys() for c in one.criteria
    )
    if not same:
        names = (", ".join(c.name for c in made.criteria) for made in (one, other))
        raise CriterionError(
            f"calibrations for {' and for '.join(names)} cannot be merged; "
            "make both with the same criteria, network and members"
        )
    merged = {
        criterion.name: {
            site: criterion.merge(sums, other.sums[criterion.name][site])
            for site, sums in one.sums[criterion.name].items()
        }
        for criterion in one.criteria
    }
    return replace(one, sums=merged, n_batches=one.n_batches + other.n_batches)


def calibrate(
    channels: ChannelMap,
    criteria: Sequence[Criterion],
    batches: Iterable[Any],
    *,
    loss_fn: LossFunction | None = None,
    members: Members = "producer",
    device: torch.device | str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Run the network over the batches once and update the sums of all criteria.

    Args:
        channels: what `trace` found out about the network, which is as before afterwards.
        criteria: those that need no data are left out.
        batches: each (input, target), or an input alone where no criterion needs gradients; an
            input is a tensor, a tuple of arguments or a dict of keyword arguments.
        loss_fn: `loss_fn(output, target)`, one number a batch.
        members: as in `score`.
        device: where batches are moved to first.
        on_progress: called with the number of batches done, after each.

    Raises:
        CriterionError: a criterion lacks what it needs, or the batches or the loss are of no use.
        ChannelMapError: the map knows no network, or one of other shapes.
    """
    model = channels.network
    streamed = tuple(criterion for criterion in criteria if criterion.update is not None)
    for criterion in streamed:
        if criterion.needs not in STREAMED:
            raise CriterionError(
                f"criterion {criterion.name!r} has an update but needs {criterion.needs}; "
                f"a streamed criterion needs {', '.join(STREAMED)}"
            )
        if loss_fn is None and "gradients" in criterion.needs:
            raise lacking(criterion)
    this_pass = _Pass(streamed, Sites(channels, members), dict(model.named_parameters()))
    if isinstance(batches, (Tensor, Mapping, str)) or not isinstance(batches, Iterable):
        raise CriterionError(
            f"calibration is a {type(batches).__name__}; give batches, such as a data loader or "
            "a list [(input, target), ...]"
        )
    n_batches = 0
    with _prepared(model, this_pass.differentiated):
        for number, batch in enumerate(batches, start=1):
            this_pass.batch(model, batch, number, loss_fn, device)
            n_batches = number
            if on_progress is not None:
                on_progress(number)
    if n_batches == 0:
        raise CriterionError("calibration holds 0 batches; give at least one")
    return Calibration(streamed, this_pass.sums, n_batches, channels.fingerprint, members)


def lacking(criterion: Criterion) -> CriterionError:
    """Say what a criterion that needs data is to be given."""
    return CriterionError(
        f"criterion {criterion.name!r} needs {STREAMED[criterion.needs]}; "
        f"pass score(..., calibration=batches"
        f"{', loss_fn=loss_fn' if 'gradients' in criterion.needs else ''})"
    )


class _Pass:
    """Sums of all criteria at all sites while batches come in."""

    def __init__(
        self, criteria: Sequence[Criterion], sites: Sites, named: Mapping[str, Tensor]
    ) -> None:
        self.sums: dict[str, dict[str, Sums]] = {c.name: {} for c in criteria}
        self._criteria = criteria
        self._sites = sites
        self._named = named
        wanted: list[str] = []
        if self._of("gradients"):
            wanted += [layer.weight for layer in sites.layers.values()]
            wanted += [member.parameter for member in sites.inputs.values()]
        if self._of("gate_gradients"):
            wanted += [f"{norm}.{leaf}" for norm in sites.norms for leaf in ("weight", "bias")]
        self.differentiated = {name: named[name] for name in wanted if name in named}
        self._watched = {}
        if self._of("activations"):
            within = weights_within(sites.channels.network)  # what it gives are gates, no channels
            self._watched = {
                named[layer.weight]: (name, sites.channels.shapes[layer.weight][layer.out_dim])
                for name, layer in sites.layers.items()
                if layer.weight not in within
            }

        self._reading = {}
        if self._of("reads"):
            self._reading = {
                named[member.parameter]: (
                    member.parameter,
                    sites.channels.shapes[member.parameter][member.dim],
                )
                for members in sites.readers.values()
                for member in members
                if member.parameter in named
            }

    def _of(self, need: str) -> list[Criterion]:
        return [criterion for criterion in self._criteria if criterion.needs == need]

    def batch(
        self,
        model: nn.Module,
        batch: Any,
        number: int,
        loss_fn: LossFunction | None,
        device: torch.device | str | None,
    ) -> None:
        """Run one batch, in both directions if anything is differentiated."""
        inputs, target = divided(batch, number)
        if device is not None:
            inputs, target = moved((inputs, target), device)
        check_inputs(inputs, self._named, number)
        with torch.set_grad_enabled(bool(self.differentiated)):
            with self._watching(inputs):
                output = self._run(model, inputs, number)
            if self.differentiated and loss_fn is not None:
                self._take_gradients(loss_of(loss_fn, output, target, number), number)

    def _run(self, model: nn.Module, inputs: Any, number: int) -> Any:
        args, kwargs = call_arguments(inputs)
        hint = "Give inputs as the network is called with, several examples a batch"
        if isinstance(inputs, Mapping):
            hint = (
                "A dict holds the network's keyword arguments; a target goes beside: (dict, target)"
            )
        try:
            return model(*args, **kwargs)
        except CriterionError:
            raise
        except Exception as error:
            shapes = [tuple(t.shape) for t in tree_iter(inputs) if isinstance(t, Tensor)]
            raise CriterionError(
                f"the network failed on batch {number} of the calibration, input of shape "
                f"{', '.join(map(str, shapes))}: {brief(error)}. {hint}"
            ) from error

    @contextmanager
    def _watching(self, inputs: Any) -> Iterator[None]:
        with ExitStack() as stack:
            if self._watched:
                stack.enter_context(Watch(self._watched, self._take_maps))
            if self._reading:
                n = next(len(t) for t in tree_iter(inputs) if isinstance(t, Tensor) and t.ndim)
                stack.enter_context(Reads(self._reading, n, self._take_reads))
            yield

    def _take_reads(self, weight: str, read: Read) -> None:
        for criterion in self._of("reads"):
            self._update(criterion, weight, read)

    def _take_maps(self, layer: str, maps: Tensor) -> None:
        for criterion in self._of("activations"):
            self._update(criterion, layer, maps)

    def _take_gradients(self, loss: Tensor, number: int) -> None:
        names = list(self.differentiated)
        tensors = list(self.differentiated.values())
        found = torch.autograd.grad(loss, tensors, allow_unused=True) if loss.requires_grad else []
        if all(gradient is None for gradient in found):
            raise CriterionError(
                f"the loss of batch {number} does not depend on the weights; "
                "compute it from the network's output, without detach, item or numpy"
            )
        gradients = {
            name: torch.zeros_like(tensor) if gradient is None else gradient
            for name, tensor, gradient in zip(names, tensors, found, strict=True)
        }
        named = {name: tensor.detach() for name, tensor in self._named.items()}
        for need, gradients_at in (
            ("gradients", self._weight_gradients),
            ("gate_gradients", self._gate_gradients),
        ):
            if criteria := self._of(need):
                for site, given in gradients_at(named, gradients):
                    for criterion in criteria:
                        self._update(criterion, site, given)

    def _weight_gradients(
        self, named: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, WeightGradients]]:
        for name, layer in self._sites.layers.items():
            both = (filter_rows(layer, of[layer.weight]) for of in (named, gradients))
            yield name, WeightGradients(*both)
        for site, member in self._sites.inputs.items():
            both = (input_rows(member, of[member.parameter]) for of in (named, gradients))
            yield site, WeightGradients(*both)

    def _gate_gradients(
        self, named: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Iterator[tuple[str, GateGradients]]:
        for norm in self._sites.norms:
            scale, shift = f"{norm}.weight", f"{norm}.bias"
            if scale in named and shift in named:
                both = (of[name] for of in (named, gradients) for name in (scale, shift))
                yield norm, GateGradients(*both)

    def _update(self, criterion: Criterion, site: str, given: Any) -> None:
        assert criterion.update is not None
        known = self.sums[criterion.name]
        try:
            known[site] = criterion.update(known.get(site), given)
        except Exception as error:
            raise CriterionError(
                f"the update of criterion {criterion.name!r} failed for {site!r}: {brief(error)}; "
                "secateur.testing.check_criterion tries it on a small network"
            ) from error


@contextmanager
def _prepared(model: nn.Module, differentiated: Mapping[str, Tensor]) -> Iterator[None]:
    """Evaluation mode, gradients for what is differentiated alone; all as before afterwards."""
    parameters = dict(model.named_parameters())
    if made := [name for name, p in parameters.items() if differentiated and p.is_inference()]:
        raise CriterionError(
            f"parameter {made[0]!r} was made in inference mode and has no gradient; build the "
            "network outside torch.inference_mode()"
        )
    wanted = {id(tensor) for tensor in differentiated.values()}
    required = {name: parameter.requires_grad for name, parameter in parameters.items()}
    slots = [(module, dict(module._buffers)) for module in model.modules()]
    kept = [(b, b.clone()) for _, buffers in slots for b in buffers.values() if b is not None]
    devices = sorted({p.device.index or 0 for p in parameters.values() if p.is_cuda})
    with torch.inference_mode(False), torch.random.fork_rng(devices), untouched(model.modules()):
        try:
            model.eval()
            for parameter in parameters.values():
                parameter.requires_grad_(id(parameter) in wanted)
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.requires_grad_(required[name])
            for module, buffers in slots:
                module._buffers.clear()
                module._buffers.update(buffers)
            with torch.no_grad():
                for buffer, before in kept:
                    if not torch.equal(buffer, before):
                        buffer.copy_(before)
