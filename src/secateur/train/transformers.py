"""Pruning in steps as a callback of Hugging Face's Trainer; needs the package `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from secateur.channels.trace import Example
from secateur.errors import ReadError, TrainingError, brief
from secateur.reading import read_json
from secateur.surgery.pruned import Pruned
from secateur.train.in_steps import InSteps, check_package

try:
    from transformers.trainer_callback import ExportableState as _State
    from transformers.trainer_callback import TrainerCallback as _Callback

    class _Base(_Callback, _State):  # type: ignore[misc]  # untyped
        pass

except ImportError:  # said by the callback, in words
    _Base = object  # type: ignore[assignment,misc]


class PruneCallback(_Base):
    """Cut the network that a Trainer trains, in steps between epochs, to a budget.

    The optimizer steps the cut network with what it remembers, cut along; the learning-rate
    scheduler goes on. A checkpoint's `trainer_state.json` has the plans of all cuts.

    The Trainer loads a checkpoint's weights before any callback hears of it, so cut the network as
    it was then first, by `resume`:

        trainer = Trainer(model=model, callbacks=[callback], …)
        callback.resume(trainer.model, "out/checkpoint-500")
        trainer.train(resume_from_checkpoint="out/checkpoint-500")

    After the training `pruned` has all of the last cut: save it by `callback.pruned.save(path)`,
    since `from_pretrained` knows no network of these widths.

    Args:
        example_input: as for `prune`, such as `{"pixel_values": x}`; of the network that is cut.
        steps: how many cuts.
        every_n_epochs: a cut comes before the epochs of these numbers, counted from 0.
        network: the name of the network in the model, "resnet", say; "" cuts the model itself.
        **words: the other arguments of `prune_steps`: the budget, `schedule`, `criterion`, …

    Raises:
        TrainingError: transformers is not installed, a number is wrong, the Trainer uses several
            devices or loads the best model at the end, or the training ends before the last cut.
    """

    def __init__(
        self,
        example_input: Example,
        *,
        steps: int = 1,
        every_n_epochs: int = 1,
        network: str = "",
        **words: Any,
    ) -> None:
        check_package("transformers")
        self._cuts = InSteps(example_input, steps, every_n_epochs, network, words)
        self._watch: Any = None

    @property
    def pruned(self) -> Pruned | None:
        """The last cut, with those before it; None before the first."""
        return self._cuts.pruned

    def resume(self, model: nn.Module, checkpoint: str | Path) -> None:
        """Cut a model, as the factory made it, as the one of a checkpoint was; loads no weights.

        Raises:
            TrainingError: the folder is no checkpoint of a training with this callback, or it is of
                another network.
        """
        path = Path(checkpoint) / "trainer_state.json"
        try:
            state = read_json(path)
            plans = _plans(state["stateful_callbacks"])
        except (ReadError, ValueError, LookupError, TypeError) as error:
            raise TrainingError(
                f"{path} cannot be read as the state of a training with PruneCallback: "
                f"{brief(error)}; name a folder checkpoint-… that the Trainer wrote with it"
            ) from error
        self._forget_watch()
        self._cuts.rebuild(model, plans)

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refuse what cannot go together, and weights that `resume` was not told of."""
        del state, control
        if args.world_size > 1 or args.n_gpu > 1:
            raise TrainingError(
                f"PruneCallback cuts a network on one device, and the Trainer uses "
                f"{max(args.world_size, args.n_gpu)}; give it one, or prune in a loop of your own"
            )
        for name in ("load_best_model_at_end", "restore_callback_states_from_checkpoint"):
            if getattr(args, name, False):
                raise TrainingError(
                    f"{name}=True goes with no PruneCallback: networks of a training have several "
                    "widths, and its state is read by resume(); set it to False"
                )
        self._watch = kwargs["model"].register_load_state_dict_pre_hook(_check_widths)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check that what goes on is what was saved."""
        del control, kwargs
        self._forget_watch()
        self._cuts.check_end(int(args.num_train_epochs) if args.max_steps <= 0 else None)
        if state.global_step:
            self._cuts.check_rebuilt(_plans(state.stateful_callbacks))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut if it is time."""
        del args, control
        optimizer = kwargs["optimizer"]
        optimizer = getattr(optimizer, "optimizer", optimizer)  # what accelerate stands around
        self._cuts.advance(kwargs["model"], int((state.epoch or 0) + 1e-6), [optimizer])

    def _forget_watch(self) -> None:
        """Take the hook back: no copy of the model shall have it."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None

    def state(self) -> dict[str, Any]:
        """The plans of all cuts so far, as the Trainer saves them."""
        return {"args": {}, "attributes": {"plans": self._cuts.plans()}}


def _check_widths(model: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Refuse weights of another width in words, before torch does."""
    for name, own in model.state_dict().items():
        new = state_dict.get(prefix + name)
        if new is not None and new.shape != own.shape:
            raise TrainingError(
                f"the checkpoint has {name!r} of shape {tuple(new.shape)}, the network "
                f"{tuple(own.shape)}; call callback.resume(trainer.model, checkpoint) on the uncut "
                "network before trainer.train(resume_from_checkpoint=checkpoint)"
            )


def _plans(stateful: Any) -> list[dict[str, Any]]:
    """The plans in what a Trainer wrote of its callbacks."""
    found = stateful[PruneCallback.__name__]
    first = found[0] if isinstance(found, list) else found
    plans: list[dict[str, Any]] = first["attributes"]["plans"]
    if not isinstance(plans, list) or not all(isinstance(plan, dict) for plan in plans):
        raise TypeError("its plans are no list of plans")
    return plans
