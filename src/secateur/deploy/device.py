"""What a device allows: budgets of the DCASE challenge's low-complexity task, by name. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.channels.cost import Cost, Dtype
from secateur.plan.budget import Budget


@dataclass(frozen=True)
class Fit:
    """A network's cost beside what a device allows; `bytes` are those of its parameters.

    `type_allowed` is false where the device wants another type than the parameters are stored as.
    """

    device: str
    dtype: str
    bytes: int
    max_bytes: int
    macs: int
    max_macs: int
    type_allowed: bool = True

    @property
    def fits(self) -> bool:
        """Whether both are within the limits, and the type is one that is allowed."""
        within = self.bytes <= self.max_bytes and self.macs <= self.max_macs
        return within and self.type_allowed

    def __str__(self) -> str:
        return (
            f"{self.device}: {'fits' if self.fits else 'does not fit'}; parameters "
            f"{self.bytes:,} of {self.max_bytes:,} bytes at {self.dtype}, "
            f"{self.macs:,} of {self.max_macs:,} MACs"
            f"{'' if self.type_allowed else '; this type is not allowed'}"
        )


@dataclass(frozen=True)
class Stored:
    """Parameters as a file holds them, zeros included.

    `params` counts weights and biases; `bytes` are all that they take with the scales and zero
    points of a quantiser. `dtype` is the type of the weights.
    """

    dtype: str
    params: int
    bytes: int


@dataclass(frozen=True)
class Device:
    """Limits for one inference: bytes of all parameters, zeros included, and MACs.

    Reference: the rules of DCASE Task 1, 2022 (INT8, 128 k parameters, 30 M MACs for one second of
    sound) and 2023 (128,000 bytes at any type, 30 M MACs).
    """

    name: str
    dtype: Dtype
    max_bytes: int
    max_macs: int

    def budget(self, **rules: Any) -> Budget:
        """The limits as a budget to plan by, with what every group keeps to.

        >>> budget = DEVICES["dcase2022"].budget(round_to=8)
        >>> budget.bytes, budget.macs, budget.round_to
        ('128000@int8', 30000000, 8)

        Raises:
            BudgetError: `Budget` knows a rule of this name and refuses its value.
        """
        return Budget(bytes=f"{self.max_bytes}@{self.dtype}", macs=self.max_macs, **rules)

    def check(self, cost: Cost) -> Fit:
        """Hold a network's cost against the limits.

        >>> DEVICES["dcase2023"].check(Cost(params=30_000, macs=9_000_000, channels=64)).fits
        True
        """
        size = cost.bytes_at(self.dtype)
        return Fit(self.name, self.dtype, size, self.max_bytes, cost.macs, self.max_macs)

    def hold(self, stored: Stored, macs: int) -> Fit:
        """Hold a file against the limits: the bytes it takes, as it is stored.

        A device that wants INT8 counts a byte for each parameter, and no other type is allowed.

        >>> DEVICES["dcase2023"].hold(Stored("float32", 40_000, 160_000), 9_000_000).fits
        False
        >>> DEVICES["dcase2022"].hold(Stored("int8", 40_000, 41_000), 9_000_000).bytes
        40000
        """
        int8 = self.dtype == "int8"
        size = stored.params if int8 else stored.bytes
        allowed = not int8 or stored.dtype == "int8"
        limits = (self.max_bytes, macs, self.max_macs)
        return Fit(self.name, stored.dtype, size, *limits, type_allowed=allowed)


DEVICES = {
    device.name: device
    for device in (
        Device("dcase2022", "int8", 128_000, 30_000_000),
        Device("dcase2023", "float32", 128_000, 30_000_000),
    )
}
