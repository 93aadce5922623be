"""Several processes that train one network: who does what of a batch, and what they agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from secateur.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Processes:
    """The processes of a fabric; one alone has nothing to agree on."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric, self.n, self.rank = fabric, fabric.world_size, fabric.global_rank

    def check(self, smallest_batch: int) -> None:
        """Refuse an unlaunched fabric, and batches too small to share (TrainingError)."""
        if self.n > 1 and not torch.distributed.is_initialized():
            raise TrainingError(
                f"the fabric's {self.n} processes are not there yet; call fabric.launch() first"
            )
        if smallest_batch < self.n:
            raise TrainingError(
                f"batches of {smallest_batch} examples cannot be shared by {self.n} processes; "
                "raise batch_size or use fewer processes"
            )

    def share(self, n_examples: int) -> slice:
        """The examples of a batch that are this process's: even parts, in the batch's order."""
        return slice(
            self.rank * n_examples // self.n,
            (self.rank + 1) * n_examples // self.n,
        )

    def scaled(self, loss: Tensor, n_own: int, n_examples: int) -> Tensor:
        """The mean loss of the share, so that the mean gradient of all is that of the batch."""
        return loss if self.n == 1 else loss * (self.n * n_own / n_examples)

    def summed(self, *numbers: float) -> list[float]:
        """Each number, added up over processes."""
        if self.n == 1:
            return list(numbers)
        given = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        total = cast(Tensor, self.fabric.all_reduce(given, reduce_op="sum"))
        return [float(number) for number in total]

    def average_statistics(self, model: nn.Module) -> None:
        """Give every process the mean of all running statistics."""
        if self.n == 1:
            return
        for buffer in model.buffers():
            if buffer.is_floating_point():
                mean = self.fabric.all_reduce(buffer.clone(), reduce_op="mean")
                buffer.copy_(cast(Tensor, mean))

    def random_states(self) -> Tensor:
        """The state of torch's own generator; of all processes, one a row, if there are several."""
        state = torch.get_rng_state()
        if self.n == 1:
            return state
        rows = torch.zeros(self.n, len(state), dtype=torch.uint8, device=self._device)
        rows[self.rank] = state.to(self._device)
        return cast(Tensor, self.fabric.all_reduce(rows, reduce_op="sum")).cpu()

    def restore_random_state(self, states: Tensor) -> None:
        """Set torch's own generator to what `random_states` had for this process."""
        torch.set_rng_state(states if self.n == 1 else states[self.rank].clone())

    def agreed(self, value: Any) -> Any:
        """The value that the first process has."""
        return value if self.n == 1 else self.fabric.broadcast(value)

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.n > 1:
            self.fabric.barrier()

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.fabric.device
        return device
