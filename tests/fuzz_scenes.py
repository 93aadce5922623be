"""Borders of recordings: audio of every container, headers that lie, listings, kept findings."""

from __future__ import annotations

import io
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from fuzz import BORDERS, Reader, border
from secateur.errors import SecateurError
from secateur.scenes.audio import duration, read_audio
from secateur.scenes.check import check, recognise
from secateur.scenes.datasets import esc10
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.folders import folder_per_class
from secateur.scenes.quality import Demands, bad_clips

N = 600
RATE = 8000


def sound(kind: str, subtype: str | None = None) -> bytes:
    both = np.random.default_rng(0).normal(0, 0.1, (N, 2)).astype(np.float32)
    made = io.BytesIO()
    soundfile.write(made, both, RATE, format=kind, subtype=subtype)
    return made.getvalue()


def _heard(path: Path, rest: bytes = b"") -> Reader:
    """Reads a recording whose first bytes are the input, and `rest` behind them."""

    def read(content: bytes) -> object:
        path.write_bytes(content + rest)
        waveform, rate = read_audio(path)
        assert waveform.dtype == np.float32 and waveform.ndim == 1 and np.isfinite(waveform).all()
        assert 0 < len(waveform) <= 4096 * (len(content) + len(rest))
        assert np.array_equal(
            read_audio(path, 0.001)[0], waveform[: rate // 1000 + 4097][: N * 600]
        )
        duration(path)
        return waveform

    return read


def _sound_in(
    folder: Path, file: str, kind: str, subtype: str, of_header: int | None = None
) -> tuple[bytes, Reader]:
    """A recording, of which all goes wrong or so many bytes of its header."""
    whole = sound(kind, subtype)
    head = whole[:of_header]
    return head, _heard(folder / file, whole[len(head) :])


BORDERS |= {
    "wav": partial(_sound_in, file="a.wav", kind="WAV", subtype="FLOAT"),
    "rf64": partial(_sound_in, file="a.wav", kind="RF64", subtype="PCM_16"),
    "flac": partial(_sound_in, file="a.flac", kind="FLAC", subtype="PCM_16"),
    "ogg": partial(_sound_in, file="a.ogg", kind="OGG", subtype="VORBIS"),
    "aiff": partial(_sound_in, file="a.wav", kind="AIFF", subtype="PCM_16"),
}
BORDERS |= {
    f"header_of_{name}": partial(BORDERS[name], subtype=subtype, of_header=of_header)
    for name, subtype, of_header in (
        ("wav", "PCM_16", 44),
        ("rf64", "PCM_16", 100),
        ("flac", "PCM_16", 42),
        ("ogg", "VORBIS", 58),
    )
}


@border
def features(folder: Path) -> tuple[bytes, Reader]:
    """From a folder per class to log-mels, one recording of which is the input."""
    whole = sound("WAV", "PCM_16")
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.wav").write_bytes(whole)
    settings = LogMel(rate=8000, n_fft=256, hop=64, n_mels=8, seconds=0.05)

    def read(content: bytes) -> object:
        (folder / "one" / "a.wav").write_bytes(content)
        scenes = folder_per_class(folder, n_folds=2)
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        table = prepare(scenes, settings, folder / ".cache")
        assert np.isfinite(table.x).all()
        return bad_clips(scenes, Demands())

    return whole, read


@border
def meta_csv(folder: Path) -> tuple[bytes, Reader]:
    (folder / "audio").mkdir()
    rows = ["filename,target,category,fold,freesound_id"]
    for k in range(4):
        (folder / "audio" / f"{k}.wav").write_bytes(sound("WAV", "PCM_16"))
        rows.append(f"{k}.wav,{k % 2},{('dog', 'rain')[k % 2]},{k % 2 + 1},{k}")

    def read(content: bytes) -> object:
        (folder / "meta.csv").write_bytes(content)
        for look in (recognise, check):
            try:
                look(folder)
            except SecateurError:
                continue
        return [(s.read(clip), s.skipped) for s in [esc10(folder, "skip")] for clip in s.clips]

    return ("\n".join(rows) + "\n").encode(), read


@border
def fold_list(folder: Path) -> tuple[bytes, Reader]:
    (folder / "evaluation_setup").mkdir()
    rows = ["filename\tscene_label"]
    rows += [f"audio/park-rome-{k}-{k}-a.wav\tpark" for k in range(4)]
    good = ("\n".join(rows) + "\n").encode()
    (folder / "meta.csv").write_bytes(good)

    def read(content: bytes) -> object:
        (folder / "evaluation_setup" / "fold1_train.csv").write_bytes(content)
        return check(folder, "tau2020")

    return good, read


@border
def checksums(folder: Path) -> tuple[bytes, Reader]:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.wav").write_bytes(sound("WAV", "PCM_16"))

    def read(content: bytes) -> object:
        (folder / "sums").write_bytes(content)
        return check(folder, "folder", folder / "sums")

    return ("0" * 32 + "  one/a.wav\n" + "f" * 64 + " *two/a.wav\n").encode(), read


@border
def kept_findings(folder: Path) -> tuple[bytes, Reader]:
    """What was found of bad clips is what was written, or found again."""
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "a.wav").write_bytes(sound("WAV", "PCM_16"))
    scenes = folder_per_class(folder, n_folds=2)
    demands = Demands(rate=44100)
    bad_clips(scenes, demands, folder / ".kept")
    path = next((folder / ".kept").iterdir())

    def read(content: bytes) -> object:
        path.write_bytes(content)
        for one in bad_clips(scenes, demands, folder / ".kept"):
            assert isinstance(one.name, str) and isinstance(one.why, str)
        return path.unlink()

    return path.read_bytes(), read
