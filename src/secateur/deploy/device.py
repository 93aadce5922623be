"""What a device allows: budgets of the DCASE challenge's low-complexity task, by name. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.channels.cost import Cost, Dtype


@dataclass(frozen=True)
class Fit:
    """A network's cost beside what a device allows; `bytes` are those of its parameters."""

    device: str
    dtype: str
    bytes: int
    max_bytes: int
    macs: int
    max_macs: int

    @property
    def fits(self) -> bool:
        """Whether both are within the limits."""
        return self.bytes <= self.max_bytes and self.macs <= self.max_macs

    def __str__(self) -> str:
        return (
            f"{self.device}: {'fits' if self.fits else 'does not fit'}; parameters "
            f"{self.bytes:,} of {self.max_bytes:,} bytes at {self.dtype}, "
            f"{self.macs:,} of {self.max_macs:,} MACs"
        )


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

    def check(self, cost: Cost) -> Fit:
        """Hold a network's cost against the limits.

        >>> DEVICES["dcase2023"].check(Cost(params=30_000, macs=9_000_000, channels=64)).fits
        True
        """
        size = cost.bytes_at(self.dtype)
        return Fit(self.name, self.dtype, size, self.max_bytes, cost.macs, self.max_macs)


DEVICES = {
    device.name: device
    for device in (
        Device("dcase2022", "int8", 128_000, 30_000_000),
        Device("dcase2023", "float32", 128_000, 30_000_000),
    )
}
