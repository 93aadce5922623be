"""One audio file: what is read, and every way in which it can be broken."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from secateur.errors import DataError
from secateur.scenes.audio import LOOK_AHEAD, fit, read_audio
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.folders import folder_per_class
from secateur.scenes.listening import listen_to
from secateur.scenes.quality import Demands, bad_clips

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


def test_fit_looks_no_further_than_it_must() -> None:
    """The start of a long waveform is resampled as the whole one is, bit by bit."""
    import soxr

    noise = np.random.default_rng(0).normal(0, 0.1, 4 * 48000).astype(np.float32)
    for here, there in ((48000, 44100), (44100, 16000), (8000, 44100), (22050, 32000)):
        whole = soxr.resample(noise, here, there)[:there]
        assert np.array_equal(fit(noise, here, there, there), whole), (here, there)
    endless = np.broadcast_to(np.float32(0.5), 10**9)  # would be 4 GB as samples
    assert fit(endless, 48000, 48000, 10).tolist() == [0.5] * 10


def test_only_the_first_seconds_are_given(tmp_path: Path) -> None:
    both = np.random.default_rng(0).normal(0, 0.1, (40 * RATE, 2))
    for suffix in ("wav", "flac"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, both, RATE)
        whole, _ = read_audio(path)
        start, rate = read_audio(path, 1.5)
        assert rate == RATE and len(whole) == 40 * RATE
        assert np.array_equal(start, whole[: int(1.5 * RATE) + LOOK_AHEAD])
        assert np.array_equal(read_audio(path, 60)[0], whole)


def test_the_rest_of_a_long_file_is_looked_at_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 300_000)
    noise[-1] = np.nan
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="non-finite"):
        read_audio(path, 0.1)


def riff(kind: bytes, samples: bytes, *, says: int | None = None, data: int | None = None) -> bytes:
    """A mono WAV or RF64 of 16 bits, whose header may claim other sizes than it has."""
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    claimed = len(samples) if data is None else data
    if kind == b"RF64":
        whole = 36 + 36 + len(samples) if says is None else says
        sizes = struct.pack("<QQQI", whole, claimed, claimed // 2, 0)
        body = b"WAVEds64" + struct.pack("<I", 28) + sizes + fmt
        return kind + b"\xff" * 4 + body + b"data" + b"\xff" * 4 + samples
    whole = 36 + len(samples) if says is None else says
    body = b"WAVE" + fmt + b"data" + struct.pack("<I", claimed)
    return kind + struct.pack("<I", whole) + body + samples


@pytest.mark.parametrize("kind", [b"RIFF", b"RF64"])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.wav"
    samples = np.arange(4000, dtype="<i2").tobytes()
    path.write_bytes(riff(kind, samples))
    assert read_audio(path)[0].tolist() == (np.arange(4000) / 32768).tolist()
    whole = riff(kind, samples)
    for cut in (1, 100, 7000):
        path.write_bytes(whole[:-cut])
        with pytest.raises(DataError, match=r"cut off: \d+ of \d+ bytes"):
            read_audio(path)
    path.write_bytes(riff(kind, samples, data=len(samples) + 2))
    with pytest.raises(DataError, match="cut off"):
        read_audio(path)
    largest = 2**32 - 2 if kind == b"RIFF" else 2**63
    path.write_bytes(riff(kind, samples, says=largest, data=largest))
    with pytest.raises(DataError, match=f"cut off: {len(whole)} of {largest + 8} bytes"):
        read_audio(path)


def test_a_flac_that_claims_years_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(440), RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the upper 4 of the 36 bits that say how many samples there are
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"cut off: {RATE} of {2**36 - 1} samples"):
        read_audio(path)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


def test_loud_channels_whose_mean_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full((100, 2), 3e38, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="non-finite"):
        read_audio(path)


@pytest.mark.parametrize("rate", [1, 99, 2**31 - 1])
def test_a_rate_that_is_none(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    content = bytearray(riff(b"RIFF", bytes(200)))
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"has a rate of {rate} Hz, and recordings have 100 to"):
        read_audio(path)


@pytest.mark.slow
def test_an_hour_of_stereo_costs_megabytes(tmp_path: Path) -> None:
    """In one piece it is 230 MB in float32, and its mono 115 MB more."""
    second = np.stack([tone(440), tone(550)], axis=1)
    for name in ("one/a", "two/b"):
        (tmp_path / name).parent.mkdir()
        with soundfile.SoundFile(tmp_path / f"{name}.flac", "w", RATE, 2) as file:
            for _ in range(3600 if name == "one/a" else 2):
                file.write(second)
    scenes = folder_per_class(tmp_path, n_folds=2)
    settings = LogMel(rate=5000, n_fft=512, hop=100, n_mels=32, seconds=1.0)
    prepare(scenes, settings, tmp_path / "warm")
    tracemalloc.start()
    table = prepare(scenes, settings, tmp_path / "cache")
    assert not bad_clips(scenes, Demands(duplicates=True))
    page = listen_to(scenes, per_class=1, seconds=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6, f"{peak / 1e6:.0f} MB"
    assert np.array_equal(table.x[0], table.x[1])
    assert [clip.seconds for clip in page.clips] == [1.0, 1.0]
