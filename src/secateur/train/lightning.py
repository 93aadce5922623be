"""Pruning in steps as a callback of Lightning's Trainer; needs the extra `lightning`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.channels.trace import Example
from secateur.errors import TrainingError
from secateur.surgery.pruned import Pruned
from secateur.train.in_steps import InSteps, check_package

try:
    from lightning.pytorch import Callback as _Callback
except ImportError:  # said by the callback, in words
    _Callback = object


class PruneCallback(_Callback):  # type: ignore[misc]  # untyped, and not always there
    """Cut the network that a Trainer trains, in steps between epochs, to a budget.

    The module's optimizers step the cut network with what they remember, cut along; learning-rate
    schedulers go on. What is saved in a checkpoint are the plans of all cuts: `fit(ckpt_path=…)`,
    also of a run that was killed, and `test(ckpt_path=…)` first cut the network as it was when the
    checkpoint was written and then load its weights. Give them the uncut module, as at first.

    After the training `pruned` has all of the last cut: save it by `callback.pruned.save(path)`.

    Args:
        example_input: as for `prune`; of the network that is cut.
        steps: how many cuts.
        every_n_epochs: a cut comes before the epochs of these numbers, counted from 0.
        network: the name of the network in the LightningModule, "model" or "model.encoder", say;
            "" cuts the LightningModule itself, by its `forward`.
        **words: the other arguments of `prune_steps`: the budget, `schedule`, `criterion`, …

    Raises:
        TrainingError: lightning is not installed, a number is wrong, the Trainer uses several
            devices or averages weights, or the training ends before the last cut.
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
        check_package("lightning")
        super().__init__()
        self._cuts = InSteps(example_input, steps, every_n_epochs, network, words)

    @property
    def pruned(self) -> Pruned | None:
        """The last cut, with those before it; None before the first."""
        return self._cuts.pruned

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Be there when a checkpoint is read: Lightning loads weights before callbacks' states."""
        from lightning.pytorch.callbacks import StochasticWeightAveraging, WeightAveraging
        from lightning.pytorch.strategies import SingleDeviceStrategy

        if not isinstance(trainer.strategy, SingleDeviceStrategy):
            raise TrainingError(
                f"PruneCallback cuts a network on one device, and the Trainer's strategy is "
                f"{type(trainer.strategy).__name__}; give the Trainer devices=1, or prune in a "
                "loop of your own"
            )
        for callback in trainer.callbacks:
            if isinstance(callback, StochasticWeightAveraging | WeightAveraging):
                raise TrainingError(
                    f"{type(callback).__name__} keeps an average of the uncut network, which "
                    "PruneCallback cannot cut; leave one of them out"
                )
        if stage == "fit":
            self._cuts.check_end(trainer.max_epochs)
        loaded = pl_module.on_load_checkpoint

        def rebuilt_first(checkpoint: Mapping[str, Any]) -> None:
            state = checkpoint.get("callbacks", {}).get(self.state_key, {})
            self._cuts.rebuild(pl_module, state.get("plans", []))
            loaded(checkpoint)

        pl_module.on_load_checkpoint = rebuilt_first

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leave nothing behind on the module."""
        del trainer, stage
        vars(pl_module).pop("on_load_checkpoint", None)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Cut if it is time."""
        self._cuts.advance(pl_module, trainer.current_epoch, trainer.optimizers)

    def state_dict(self) -> dict[str, Any]:
        """The plans of all cuts so far."""
        return {"plans": self._cuts.plans()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Check that the network was cut as the checkpoint's was."""
        self._cuts.check_rebuilt(state_dict["plans"])
