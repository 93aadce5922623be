"""Log-mel settings by name: those of published systems, a small fast one, and the study's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from secateur.errors import DataError, unknown_name
from secateur.scenes.logmel import LogMel

_DCASE2024 = LogMel(
    rate=32000,
    n_fft=4096,
    window=3072,
    hop=500,
    n_mels=256,
    f_min=0.0,
    seconds=1.0,
    mel="htk",
    unit_area=False,
    padding="reflect",
    log="ln",
)

PRESETS: Mapping[str, LogMel] = MappingProxyType(
    {
        "dcase2022": LogMel(
            n_fft=2048, window=1764, hop=882, n_mels=40, f_min=0.0, seconds=1.0, unit_area=False
        ),
        "dcase2024": _DCASE2024,
        "cpjku": replace(_DCASE2024, pre_emphasis=0.97),
        "fast": LogMel(rate=32000, n_fft=1024, hop=320, n_mels=64, f_min=0.0, seconds=1.0),
        "esc": LogMel(),
    }
)
"""Settings by name; docs/scenes.md says what each is and where it departs from its model."""


def preset(name: str, seconds: float | None = None) -> LogMel:
    """The settings of this name, for clips of `seconds` (None: what the preset was made for).

    Raises:
        DataError: there is no such preset, or `seconds` is out of range.

    >>> preset("dcase2024").shape
    (1, 256, 65)
    """
    if name not in PRESETS:
        raise DataError(unknown_name("feature preset", name, PRESETS))
    return PRESETS[name] if seconds is None else replace(PRESETS[name], seconds=seconds)
