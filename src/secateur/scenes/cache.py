"""An array kept as a memory map beside a JSON sidecar that says what it is. Loads no torch.

The array is written first, the sidecar last, each whole or not at all. A reader trusts a pair
only if the sidecar names the same key and the array's bytes are those the sidecar was written
for; anything else counts as absent. Two processes may store the same array at the same time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ReadError
from secateur.files import replacing, tidy, write_json
from secateur.reading import opened, parse_json, read_json

FORMAT = "secateur.array/1"


def name_of(key: Mapping[str, Any]) -> str:
    """A file name without suffix, made of the hash of a JSON-able key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def stored(folder: Path, key: Mapping[str, Any]) -> NDArray[np.float16] | None:
    """The array stored under `key` as a read-only memory map; None if there is none to trust."""
    array, _ = look(folder, key)
    return array


def look(folder: Path, key: Mapping[str, Any]) -> tuple[NDArray[np.float16] | None, str]:
    """The array stored under `key`, or None and what is wrong with it ("" if none is there)."""
    path = folder / f"{name_of(key)}.npy"
    sidecar = path.with_suffix(".json")
    if not path.exists() and not sidecar.exists():
        return None, ""
    if not (path.exists() and sidecar.exists()):
        return None, f"half-written: {(sidecar if path.exists() else path).name} is not there"
    try:
        about = read_json(sidecar)
        if about["format"] != FORMAT or about["key"] != parse_json(json.dumps(key)):
            return None, "of another making: its sidecar says so"
        with opened(path) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                return None, "damaged: its bytes are not those that were written"
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        shape = about["shape"]
    except Exception:  # whatever is wrong with a cache, it counts as absent
        return None, "damaged: it cannot be read"
    if array.dtype != np.float16 or list(array.shape) != shape:
        return None, "damaged: its shape is another than its sidecar says"
    return array, ""


def others(folder: Path) -> list[Mapping[str, Any]]:
    """The keys of all arrays of a folder whose sidecar can be read."""
    found: list[Mapping[str, Any]] = []
    for sidecar in sorted(folder.glob("*.json")):
        try:
            about = read_json(sidecar)
            if about["format"] == FORMAT and isinstance(about["key"], dict):
                found.append(about["key"])
        except (ReadError, OSError, ValueError, KeyError, TypeError):
            continue
    return found


def store(
    folder: Path,
    key: Mapping[str, Any],
    shape: tuple[int, ...],
    blocks: Iterable[NDArray[np.float16]],
) -> NDArray[np.float16]:
    """Write blocks of rows, in order, as one array of `shape` and give it back as a memory map.

    Raises:
        StorageError: the files could not be written.
    """
    path = folder / f"{name_of(key)}.npy"
    tidy(folder)
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            _write_array(file, shape, blocks)
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        array: NDArray[np.float16] = np.load(temporary, mmap_mode="r", allow_pickle=False)
    about = {"format": FORMAT, "key": dict(key), "shape": list(shape), "sha256": digest}
    write_json(path.with_suffix(".json"), about)
    return array


def _write_array(
    file: BinaryIO, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float16]]
) -> None:
    """Plain writes, not a writable memory map: a full disk is then an error, not a crash."""
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(block.astype("<f2", copy=False).tobytes())
