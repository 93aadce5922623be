"""Bad recordings, each kind alone, stopped at or listed; and every way audio is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.errors import DataError
from secateur.scenes.audio import read_audio
from secateur.scenes.folders import folder_per_class
from secateur.scenes.quality import Demands, sift
from secateur.scenes.responses import made_up_responses, read_responses

RATE = 8000
DEMANDS = Demands(rate=RATE, n_channels=1, duplicates=True)


def noise(seed: int, n: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, n)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k, name in enumerate(("bus", "park")):
        (tmp_path / name).mkdir()
        for take in range(3):
            soundfile.write(tmp_path / name / f"{take}.wav", noise(10 * k + take), RATE)
    return tmp_path


def spoil(path: Path, kind: str) -> None:
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "silent":
        soundfile.write(path, np.zeros(RATE), RATE)
    elif kind == "clipped":
        soundfile.write(path, np.clip(20 * noise(5), -1, 1), RATE)
    elif kind == "rate":
        soundfile.write(path, noise(5), 16000)
    elif kind == "channels":
        soundfile.write(path, np.stack([noise(5), noise(6)], axis=1), RATE)
    else:
        path.write_bytes((path.parent / "0.wav").read_bytes())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "is cut off"),
        ("empty", "is empty"),
        ("silent", "it is silent"),
        ("clipped", "it is clipped: "),
        ("rate", "its rate is 16000 Hz, not 8000"),
        ("channels", "it has 2 channels, not 1"),
        ("duplicate", "it is a duplicate of 'bus/0.wav'"),
    ],
)
def test_a_bad_recording_stops_or_is_listed(root: Path, kind: str, words: str) -> None:
    scenes = folder_per_class(root, n_folds=2)
    assert sift(scenes, DEMANDS).clips == scenes.clips
    spoil(root / "bus" / "1.wav", kind)
    with pytest.raises(DataError, match=r"1 of 6 clips are bad, the first is 'bus/1\.wav'") as e:
        sift(scenes, DEMANDS)
    assert words in str(e.value) and "\n" not in str(e.value)
    kept = sift(scenes, DEMANDS, on_bad="skip")
    assert [one.name for one in kept.skipped] == ["bus/1.wav"] and words in kept.skipped[0].why
    assert [clip.name for clip in kept.clips] == [
        clip.name for clip in scenes.clips if clip.name != "bus/1.wav"
    ]


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"),
    [
        ("wav", "PCM_U8", 8),
        ("wav", "PCM_16", 16),
        ("wav", "PCM_24", 24),
        ("wav", "PCM_32", 24),
        ("wav", "FLOAT", 24),
        ("flac", "PCM_S8", 8),
        ("flac", "PCM_24", 24),
        ("ogg", "VORBIS", 5),
    ],
)
def test_every_way_of_storing(
    tmp_path: Path, suffix: str, subtype: str, bits: int, n_channels: int
) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    sound = np.stack([tone, 0.5 * tone], axis=1)[:, :n_channels]
    soundfile.write(tmp_path / f"a.{suffix}", sound, RATE, subtype=subtype)
    waveform, rate = read_audio(tmp_path / f"a.{suffix}")
    assert rate == RATE and waveform.shape == (RATE,)
    assert np.abs(waveform - sound.mean(axis=1)).max() <= 2.0 ** (1 - bits)


def test_responses(tmp_path: Path) -> None:
    made = made_up_responses(4, 32000, seed=3)
    assert made.shape == (4, 512) and np.isfinite(made).all() and np.ptp(made, axis=0).any()
    assert np.array_equal(made, made_up_responses(4, 32000, seed=3))
    early = np.square(made[:, :64]).sum(axis=1) / np.square(made).sum(axis=1)
    assert early.min() > 0.9
    with pytest.raises(DataError, match="holds no impulse response"):
        read_responses(tmp_path, 32000)
    soundfile.write(tmp_path / "phone.wav", made[0], 32000, subtype="FLOAT")
    assert np.array_equal(read_responses(tmp_path, 32000, 512), made[:1])
    soundfile.write(tmp_path / "zero.wav", np.zeros(9), 32000)
    with pytest.raises(DataError, match=r"zero\.wav is silent"):
        read_responses(tmp_path, 32000)
