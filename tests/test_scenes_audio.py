"""One audio file: what is read, and every way in which it can be broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.errors import DataError
from secateur.scenes.audio import fit, read_audio

RATE = 8000


def tone(hz: float, n: int = RATE, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_wav_and_flac_come_back_as_written(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"a.{suffix}", tone(440), RATE, subtype="PCM_16")
    waveform, rate = read_audio(tmp_path / f"a.{suffix}")
    assert (rate, waveform.shape, waveform.dtype) == (RATE, (RATE,), np.float32)
    assert np.abs(waveform - tone(440)).max() <= 1 / 32768


def test_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
    assert (read_audio(tmp_path / "a.wav")[0] == 0.125).all()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 4 * RATE), RATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=rf"a\.{suffix} ?(is cut off|holds|:).*again$"):
        read_audio(path)


def test_a_hole_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 4 * RATE), RATE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.ogg is cut off: \d+ of 32000 samples"):
        read_audio(path)


def test_other_bad_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not audio " * 100)
    soundfile.write(tmp_path / "no_samples.wav", np.zeros(0), RATE)
    loud = tone(440)
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        loud[7] = value
        soundfile.write(tmp_path / f"{name}.wav", loud, RATE, subtype="FLOAT")
    for name, words in {
        "missing": "cannot read audio file .*No such file",
        "empty": r"is empty \(0 bytes\)",
        "text": "cannot decode",
        "no_samples": "holds no samples",
        "nan": "non-finite",
        "infinite": "non-finite",
    }.items():
        with pytest.raises(DataError, match=words) as caught:
            read_audio(tmp_path / f"{name}.wav")
        assert f"{name}.wav" in str(caught.value) and "again" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot read"):
        read_audio(tmp_path)


def test_fit_resamples_without_moving_a_tone() -> None:
    at_48k = tone(1000, 48000, 48000).astype(np.float32)
    at_44k = fit(at_48k, 48000, 44100, 44100)
    inner = slice(2000, -2000)
    assert np.abs(at_44k - tone(1000, 44100, 44100))[inner].max() < 1e-3


def test_fit_pads_and_trims() -> None:
    ramp = np.arange(4, dtype=np.float32)
    assert fit(ramp, RATE, RATE, 6).tolist() == [0, 1, 2, 3, 0, 0]
    assert fit(ramp, RATE, RATE, 2).tolist() == [0, 1]
    assert fit(ramp, RATE, RATE, 6).dtype == np.float32
