"""From a file or a name to calibration data: inputs, and targets for a loss."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.errors import DataError, ReadError, SecateurError, brief, unknown_name

if TYPE_CHECKING:
    from zipfile import ZipFile

    import numpy as np
    from torch import Tensor

    from secateur.channels.groups import ChannelMap
    from secateur.cli.network import Given
    from secateur.criteria.base import Criterion
    from secateur.criteria.scores import Scores

SCENES = "scenes"
LOSSES = ("cross_entropy", "mse", "binary_cross_entropy")
_BATCH = 32
_ARRAYS = ("input", "target")
_MOST_BYTES = 1 << 32
"""Bytes that an array may unpack to, 4 GiB: a small archive can stand for any number."""
_WRITE = "write arrays `input` and `target` with numpy.savez or safetensors"


def loss_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of this name.

    Raises:
        SecateurError: there is none.
    """
    import torch.nn.functional as F

    found: dict[str, Any] = dict(
        zip(
            LOSSES,
            (F.cross_entropy, F.mse_loss, F.binary_cross_entropy_with_logits),
            strict=True,
        )
    )
    if name not in found:
        raise SecateurError(unknown_name("loss", name, LOSSES))
    loss: Callable[[Tensor, Tensor], Tensor] = found[name]
    return loss


def read_calibration(
    source: str, example: Tensor, seed: int = 0
) -> tuple[Tensor, Tensor | None, str]:
    """Inputs (n, …) of the example's type, targets (n, …) if there are any, and what they are.

    Args:
        source: `scenes` for 80 generated clips of ten scenes, or a file: .npz or .safetensors with
            an array `input` and, for criteria that need a loss, `target`; .npy with inputs alone.
        example: (1, …), whose shape every input must have.
        seed: of the generated clips.

    Raises:
        DataError: the file cannot be read, or does not fit the network's input.
    """
    import torch

    if source == SCENES:
        arrays, what = _scenes(example, seed), "80 generated scene clips"
    else:
        arrays, what = _arrays(Path(source)), source
    x = arrays["input"]
    shape = "x".join(map(str, x.shape[1:]))
    wanted = "x".join(map(str, example.shape[1:]))
    n = x.shape[0] if x.ndim else 0
    if x.shape[1:] != tuple(example.shape[1:]) or not n:
        raise DataError(
            f"{source} holds {n} inputs of shape {shape or '()'}, the network's is {wanted}; "
            "give inputs of that shape, or --input with theirs"
        )
    target = arrays.get("target")
    n_targets = None if target is None else target.shape[0] if target.ndim else 0
    if n_targets not in (None, n):
        raise DataError(f"{source} holds {n} inputs and {n_targets} targets; give as many")
    inputs = torch.from_numpy(_finite(x, f"inputs of {source}")).to(example.dtype)
    return inputs, None if target is None else _targets(target, source), what


def scores_of(
    given: Given,
    channels: ChannelMap,
    criterion: Criterion,
    *,
    calibration: str | None = None,
    loss: str = "cross_entropy",
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Scores, str | None]:
    """Score by a criterion; where it needs data, in words which were taken.

    Args:
        given: the network, and what it is called with.
        channels: what `trace` found out about it.
        criterion: what to score by.
        calibration: as `read_calibration` takes it; generated scenes where a criterion needs data
            and none are named.
        loss: the name of the loss, for criteria of gradients.
        seed: of criteria that draw.
        on_progress: called with what is being done.

    Raises:
        SecateurError: the data or the loss are of no use to the criterion.
    """
    from secateur.criteria.score import score

    on_progress(f"scoring by {criterion.name}")
    loss_fn = loss_of(loss)
    if criterion.update is None:
        return score(channels, [criterion], seed=seed)[criterion.name], None
    example = given.one_tensor(f"calibrating {criterion.name!r}")
    inputs, targets, what = read_calibration(calibration or SCENES, example)
    if targets is None and "gradients" in criterion.needs:
        raise DataError(
            f"criterion {criterion.name!r} needs targets, and {what} has none; {_WRITE}"
        )
    n = len(inputs)
    starts = range(0, n, _BATCH)
    batches = (
        inputs[k : k + _BATCH]
        if targets is None
        else (inputs[k : k + _BATCH], targets[k : k + _BATCH])
        for k in starts
    )
    found = score(
        channels,
        [criterion],
        calibration=batches,
        loss_fn=loss_fn,
        seed=seed,
        on_progress=lambda done: on_progress(
            f"scoring by {criterion.name}: {done} of {len(starts)} batches"
        ),
    )
    return found[criterion.name], what if calibration else f"{what}; --calibration names your own"


def _targets(target: np.ndarray, source: str) -> Tensor:
    import numpy as np
    import torch

    if np.issubdtype(target.dtype, np.integer):
        if target.size and int(target.max()) > np.iinfo(np.int64).max:
            raise DataError(f"targets of {source} hold {target.max()}, beyond int64; {_WRITE}")
        return torch.from_numpy(np.ascontiguousarray(target, dtype=np.int64))
    return torch.from_numpy(_finite(target, f"targets of {source}"))


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    """The values as float32.

    Raises:
        DataError: they are no real numbers, or not finite ones.
    """
    import numpy as np

    if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_) or np.iscomplexobj(
        values
    ):
        raise DataError(f"{what} are {values.dtype}, not real numbers; {_WRITE}")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(found).all():
        raise DataError(f"{what} hold NaN or values beyond float32; {_WRITE}")
    return found


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that are wanted; nothing that is pickled is read."""
    import numpy as np

    from secateur.reading import check_file, opened

    try:
        check_file(path)
    except ReadError as error:
        no_file = f"no calibration file {path}" if error.missing else str(error)
        raise DataError(f"{no_file}; name one, or `{SCENES}` for generated clips") from error
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="np") as file:
                names = list(file.keys())
                found = {name: file.get_tensor(name) for name in _ARRAYS if name in names}
        elif path.suffix == ".npz":
            with opened(path) as content, np.load(content, allow_pickle=False) as archive:
                names = list(archive.files)
                for name in _ARRAYS:
                    _check_claim(archive.zip, f"{name}.npy")
                found = {name: archive[name] for name in _ARRAYS if name in names}
        elif path.suffix == ".npy":
            # a map first: what the header claims is then held against the file
            found = {"input": np.array(np.load(path, mmap_mode="r", allow_pickle=False))}
            names = list(found)
        else:
            raise DataError(f"{path} is no .npz, .npy or .safetensors file; {_WRITE}")
    except SecateurError:
        raise
    except Exception as error:  # every format has errors of its own
        raise DataError(f"{path} cannot be read: {brief(error)}; {_WRITE}") from error
    if "input" not in found:
        held = ", ".join(sorted(names)) or "nothing"
        raise DataError(f"{path} holds {held} and no `input`; {_WRITE}")
    return found


def _check_claim(archive: ZipFile, name: str) -> None:
    """Refuse an array of an archive whose header claims other bytes than are packed there.

    Raises:
        ValueError: naming both.
    """
    from numpy.lib import format as npy

    if name not in archive.namelist():
        return
    n_bytes = archive.getinfo(name).file_size
    if n_bytes > _MOST_BYTES:
        raise ValueError(f"{name} is of {n_bytes:,} bytes; give {_MOST_BYTES:,} at most")
    with archive.open(name) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        claimed = file.tell() + prod(shape) * dtype.itemsize
    if claimed != n_bytes and not dtype.hasobject:  # those are not read at all
        raise ValueError(f"{name} is of {n_bytes:,} bytes, and its header claims {claimed:,}")


def _scenes(example: Tensor, seed: int) -> dict[str, np.ndarray]:
    """Clips of one second, as log-mels of the example's size."""
    import numpy as np

    from secateur.scenes.features import LogMel, prepare, standardise
    from secateur.scenes.synthesis import synthetic_scenes

    rate = 16000
    shape = tuple(example.shape[1:])
    hop = rate // max(shape[-1] - 1, 1)
    n_mels = shape[1] if len(shape) == 3 else 0
    fits = len(shape) == 3 and shape[0] == 1 and hop and rate // hop + 1 == shape[-1]
    if not fits or n_mels > 128:
        raise DataError(
            f"generated scenes are one channel of mel bands by frames, such as 1x64x101, and the "
            f"network's input is {'x'.join(map(str, shape))}; name a file with --calibration"
        )
    settings = LogMel(rate=rate, n_fft=2048, hop=hop, n_mels=n_mels, seconds=1.0)
    scenes = synthetic_scenes(n_locations=4, clips_per_location=2, rate=rate, seed=seed)
    with tempfile.TemporaryDirectory() as cache:
        table = prepare(scenes, settings, Path(cache))
        x = standardise(np.array(table.x), np.array(table.x[:1]))[0]
    return {"input": x, "target": table.labels}
