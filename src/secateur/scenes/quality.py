"""Bad recordings: found, listed and counted; the user says whether they stop the work. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import soundfile

from secateur.errors import DataError, ReadError
from secateur.files import write_json
from secateur.reading import read_json
from secateur.scenes.datasets import Clip, OnBad, SceneSet, Skipped
from secateur.typed import as_type

_VERSION = 2
"""Raised when faults are found otherwise, so that older findings are not taken for new ones."""


@dataclass(frozen=True)
class Demands:
    """What a recording must be; `rate` in Hz and `n_channels` None accept any.

    Silent: no sample above `silent_below`. Clipped: more than the share `most_clipped` of samples
    at full scale.
    """

    rate: int | None = None
    n_channels: int | None = None
    silent_below: float = 1 / 32768
    most_clipped: float = 0.01
    duplicates: bool = False


def bad_clips(
    scenes: SceneSet,
    demands: Demands,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Skipped, ...]:
    """Every clip that cannot be read or is not as demanded, with the reason; reads all of them.

    What was found is kept in the folder `cache`, and the clips are read again only if they or the
    demands have changed. `on_progress(done, total)` is called as clips are read.

    Raises:
        StorageError: the cache cannot be written.
    """
    key = json.dumps([_VERSION, asdict(demands), scenes.content, [c.name for c in scenes.clips]])
    file = None if cache is None else cache / f"bad-{sha256(key.encode()).hexdigest()[:24]}.json"
    if file is not None and (known := _read(file)) is not None:
        return known
    found = []
    seen: dict[bytes, str] = {}
    for n, clip in enumerate(scenes.clips, 1):
        try:
            why = _fault(scenes, clip, demands, seen)
        except DataError as error:
            why = str(error)
        if why:
            found.append(Skipped(clip.name, why))
        if on_progress is not None:
            on_progress(n, len(scenes.clips))
    if file is not None:
        write_json(file, [asdict(one) for one in found])
    return tuple(found)


def sift(
    scenes: SceneSet,
    demands: Demands,
    on_bad: OnBad = "raise",
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> SceneSet:
    """The set without its bad clips, which `skipped` then lists; or an error at the first one.

    Raises:
        DataError: a clip is bad and `on_bad` is "raise", or no good one is left.
    """
    bad = bad_clips(scenes, demands, cache, on_progress)
    if bad and on_bad == "raise":
        raise DataError(
            f"{scenes.name}: {len(bad)} of {len(scenes.clips)} clips are bad, the first is "
            f"{bad[0].name!r}: {bad[0].why}; mend them, or skip them (on_bad='skip', --on-bad skip)"
        )
    return without(scenes, bad)


def _read(file: Path) -> tuple[Skipped, ...] | None:
    try:
        found: tuple[Skipped, ...] = as_type(tuple[Skipped, ...], read_json(file))
    except ReadError:
        return None
    return found


def without(scenes: SceneSet, bad: Sequence[Skipped]) -> SceneSet:
    """The set without these clips, which are added to `skipped`."""
    names = {one.name for one in bad}
    clips = tuple(clip for clip in scenes.clips if clip.name not in names)
    return replace(scenes, clips=clips, skipped=(*scenes.skipped, *bad))


def _fault(scenes: SceneSet, clip: Clip, demands: Demands, seen: dict[bytes, str]) -> str:
    n = n_clipped = rate = 0
    peak = 0.0
    content = sha256()
    for block, rate in scenes.blocks(clip):  # noqa: B007
        loud = np.abs(block)
        peak = max(peak, float(loud.max(initial=0)))
        n_clipped += int((loud >= 32767 / 32768).sum())
        n += len(block)
        content.update(block.tobytes())
    if demands.rate is not None and rate != demands.rate:
        return f"its rate is {rate} Hz, not {demands.rate}"
    if demands.n_channels is not None and scenes.path is not None:
        n_channels = soundfile.info(scenes.path(clip)).channels
        if n_channels != demands.n_channels:
            return f"it has {n_channels} channels, not {demands.n_channels}"
    if peak <= demands.silent_below:
        return f"it is silent: no sample is above {demands.silent_below:.2g}"
    if n_clipped > demands.most_clipped * n:
        return f"it is clipped: {n_clipped / n:.1%} of its samples are at full scale"
    if demands.duplicates:
        first = seen.setdefault(content.digest(), clip.name)
        if first != clip.name:
            return f"it is a duplicate of {first!r}"
    return ""
