"""Log-mels against librosa, and a cache that is fast, whole and never trusted blindly."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.errors import DataError, StorageError
from secateur.scenes.datasets import Clip, SceneSet, esc10
from secateur.scenes.features import Features, LogMel, log_mel, prepare, standardise
from secateur.scenes.presets import PRESETS, preset
from secateur.scenes.synthesis import synthetic_scenes

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from features import by_librosa

ROOT = Path(__file__).parent.parent
DATA = ROOT / os.environ.get("SECATEUR_DATA", "../shared/data")
SMALL = LogMel(rate=8000, n_fft=512, hop=160, n_mels=20, seconds=0.2)


@pytest.mark.filterwarnings("ignore:n_fft=1023 is too large:UserWarning:librosa")
@pytest.mark.parametrize(
    "settings",
    [
        *PRESETS.values(),
        LogMel(rate=16000, n_fft=1024, hop=320, n_mels=40, seconds=1.0),
        LogMel(rate=32000, n_fft=2048, hop=500, n_mels=128, f_min=0.0, f_max=14000.0, seconds=1.3),
        LogMel(rate=22050, n_fft=1023, hop=512, n_mels=30, f_min=200.0, seconds=0.01),
    ],
    ids=[*PRESETS, "16k", "wide", "shorter_than_a_window"],
)
def test_equal_to_librosa(settings: LogMel) -> None:
    rng = np.random.default_rng(0)
    n = settings.n_samples
    hum = 0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / settings.rate)
    waveforms = np.stack([rng.normal(0, 0.1, n), hum, np.zeros(n), rng.normal(0, 1e-4, n)]).astype(
        np.float32
    )
    ours = log_mel(torch.from_numpy(waveforms), settings)
    assert ours.shape == (4, 1, settings.n_mels, settings.n_frames)
    assert ours.dtype == torch.float32
    for one, waveform in zip(ours[:, 0], waveforms, strict=True):
        assert np.abs(one.numpy() - by_librosa(waveform.astype(np.float64), settings)).max() < 1e-4


def test_equal_to_librosa_on_real_recordings() -> None:
    if not (DATA / "esc10").is_dir():
        pytest.skip(f"the real ESC-10 is not at {DATA / 'esc10'}")
    scenes, settings = esc10(DATA / "esc10"), LogMel()
    for clip in scenes.clips[::50]:
        waveform = np.resize(scenes.read(clip)[0], settings.n_samples)
        ours = log_mel(torch.from_numpy(waveform)[None], settings)[0, 0].numpy()
        assert np.abs(ours - by_librosa(waveform.astype(np.float64), settings)).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dcase2022", (1, 40, 51)),
        ("dcase2024", (1, 256, 65)),
        ("cpjku", (1, 256, 64)),
        ("fast", (1, 64, 101)),
        ("esc", (1, 64, 101)),
    ],
)
def test_presets_have_the_shapes_of_their_models(name: str, shape: tuple[int, ...]) -> None:
    settings = preset(name)
    assert settings.shape == shape
    assert log_mel(torch.zeros(2, settings.n_samples), settings).shape == (2, *shape)
    assert preset(name, 10.0).n_samples == 10 * settings.rate
    assert set(PRESETS) == {"dcase2022", "dcase2024", "cpjku", "fast", "esc"}


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(
        DataError, match=r"no feature preset 'dcase2023'; there are cpjku, .*dcase2"
    ):
        preset("dcase2023")


@pytest.mark.parametrize("settings", PRESETS.values(), ids=PRESETS)
def test_blocks_do_not_show(settings: LogMel) -> None:
    rng = np.random.default_rng(1)
    long = dataclasses.replace(settings, seconds=7.3)
    waveforms = torch.from_numpy(rng.normal(0, 0.1, (5, long.n_samples)).astype(np.float32))
    together = log_mel(waveforms, long)
    for waveform, one in zip(waveforms, together, strict=True):
        assert (log_mel(waveform[None], long)[0] - one).abs().max() < 1e-5
        assert (
            np.abs(one[0].numpy() - by_librosa(waveform.numpy().astype(np.float64), long)).max()
            < 1e-4
        )


def test_silence_is_at_the_floor() -> None:
    assert (log_mel(torch.zeros(1, SMALL.n_samples), SMALL) == -100).all()


def test_waveforms_must_be_a_batch() -> None:
    with pytest.raises(DataError, match=r"shape \(1600,\); give \(n, samples\)"):
        log_mel(torch.zeros(1600), SMALL)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": 0}, "rate=0: give a whole number of at least 1"),
        ({"n_fft": -1}, "n_fft=-1"),
        ({"hop": 0}, "hop=0"),
        ({"hop": 10.5}, "hop=10.5"),
        ({"n_mels": 0}, "n_mels=0"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"f_min": -1.0}, "f_min=-1.0"),
        ({"f_min": 30000.0}, "rate / 2 = 22050 Hz"),
        ({"f_max": 40.0}, "f_max=40.0"),
        ({"f_max": 23000.0}, "f_max=23000.0"),
        ({"window": 0}, "window=0"),
        ({"window": 4097}, "window=4097: give at most n_fft=4096"),
        ({"mel": "bark"}, "mel='bark': give 'slaney' or 'htk'"),
        ({"padding": "wrap"}, "padding='wrap': give 'constant' or 'reflect'"),
        ({"log": "log2"}, "log='log2': give 'db' or 'ln'"),
        ({"pre_emphasis": 1.0}, "pre_emphasis=1.0"),
        ({"padding": "reflect", "seconds": 0.01}, "441 samples are left to frame; give 2049"),
        ({"pre_emphasis": 0.9, "seconds": 1 / 44100}, "0 samples are left to frame; give 1"),
        ({"n_mels": 1000}, r"\d+ of its bands hold no bin of the transform with n_fft=4096"),
        (
            {"n_mels": 10**9},
            "some of its bands hold no bin of the transform",
        ),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        LogMel(**wrong)


def test_standardise_looks_at_the_training_part_only() -> None:
    rng = np.random.default_rng(0)
    train = rng.normal(-40, 7, (30, 1, 5, 11)).astype(np.float16)
    test = rng.normal(10, 3, (9, 1, 5, 11)).astype(np.float16)
    train[:, :, 2] = -100
    x, y = standardise(train, test)
    assert x.dtype == y.dtype == np.float32
    for band in range(5):
        values = train[:, 0, band].astype(np.float64)
        sd = values.std() or 1.0
        assert np.allclose(x[:, 0, band], (values - values.mean()) / sd, atol=1e-5)
        assert np.allclose(y[:, 0, band], (test[:, 0, band] - values.mean()) / sd, atol=1e-4)


class Counting:
    """A reader of noise that counts how often it was asked, and can fail at a clip."""

    def __init__(self, fail_at: str = "") -> None:
        self.n_reads = 0
        self.fail_at = fail_at

    def __call__(self, clip: Clip) -> tuple[np.ndarray, int]:
        self.n_reads += 1
        if clip.name == self.fail_at:
            raise DataError(f"clip {clip.name} is broken")
        rng = np.random.default_rng(int(clip.name))
        return rng.normal(0, 0.1, 1500).astype(np.float32), 8000


def toy(read: Callable[[Clip], tuple[np.ndarray, int]], n: int = 40) -> SceneSet:
    clips = tuple(Clip(str(k), k % 3, k % 2 + 1) for k in range(n))
    return SceneSet("toy", ("p", "q", "r"), clips, read, content="toy")


def files(cache: Path) -> tuple[Path, Path]:
    """The array and its sidecar; nothing else may be there."""
    found = sorted(cache.iterdir())
    assert [path.suffix for path in found] == [".json", ".npy"], found
    return found[1], found[0]


def test_prepare_gives_the_features_of_every_clip_in_order(tmp_path: Path) -> None:
    read = Counting()
    scenes = toy(read)
    seen: list[tuple[int, int]] = []
    features = prepare(scenes, SMALL, tmp_path, lambda done, total: seen.append((done, total)))
    assert features.x.shape == (40, 1, 20, 11) and features.x.dtype == np.float16
    assert isinstance(features.x, np.memmap) and not features.x.flags.writeable
    assert features.labels.tolist() == [k % 3 for k in range(40)]
    assert features.folds.tolist() == [k % 2 + 1 for k in range(40)]
    assert features.classes == scenes.classes and features.settings == SMALL
    assert seen == [(16, 40), (32, 40), (40, 40)] and read.n_reads == 40
    padded = np.pad(read(scenes.clips[33])[0], (0, 100))
    one = log_mel(torch.from_numpy(padded)[None], SMALL)[0].numpy().astype(np.float16)
    assert np.array_equal(features.x[33], one)


def test_the_second_time_nothing_is_read(tmp_path: Path) -> None:
    read, seen = Counting(), []
    first = prepare(toy(read), SMALL, tmp_path)
    second = prepare(toy(read), SMALL, tmp_path, lambda *progress: seen.append(progress))
    assert read.n_reads == 40 and seen == [(40, 40)]
    assert np.array_equal(first.x, second.x)
    files(tmp_path)


def test_other_settings_content_or_clips_are_another_cache(tmp_path: Path) -> None:
    scenes = toy(Counting())
    prepare(scenes, SMALL, tmp_path)
    prepare(scenes, dataclasses.replace(SMALL, f_min=60.0), tmp_path)
    prepare(dataclasses.replace(scenes, content="other"), SMALL, tmp_path)
    fewer = prepare(dataclasses.replace(scenes, clips=scenes.clips[:5]), SMALL, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 4 and len(fewer.x) == 5


def cut_array(array: Path, sidecar: Path) -> None:
    array.write_bytes(array.read_bytes()[:-100])


def empty_array(array: Path, sidecar: Path) -> None:
    array.write_bytes(b"")


def flip_a_bit(array: Path, sidecar: Path) -> None:
    content = bytearray(array.read_bytes())
    content[-7] ^= 1
    array.write_bytes(content)


def foreign_array(array: Path, sidecar: Path) -> None:
    np.save(array, np.zeros((40, 1, 20, 11)))


def pickled_array(array: Path, sidecar: Path) -> None:
    np.save(array, np.array([{}], dtype=object), allow_pickle=True)


def no_array(array: Path, sidecar: Path) -> None:
    array.unlink()


def no_sidecar(array: Path, sidecar: Path) -> None:
    sidecar.unlink()


def cut_sidecar(array: Path, sidecar: Path) -> None:
    sidecar.write_text(sidecar.read_text()[:40])


def foreign_sidecar(array: Path, sidecar: Path) -> None:
    sidecar.write_text("[1, 2]")


def sidecar_of_other_settings(array: Path, sidecar: Path) -> None:
    about = json.loads(sidecar.read_text())
    about["key"]["settings"]["hop"] += 1
    sidecar.write_text(json.dumps(about))


def sidecar_of_another_format(array: Path, sidecar: Path) -> None:
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(about | {"format": "other/1"}))


@pytest.mark.parametrize(
    "damage",
    [
        cut_array,
        empty_array,
        flip_a_bit,
        foreign_array,
        pickled_array,
        no_array,
        no_sidecar,
        cut_sidecar,
        foreign_sidecar,
        sidecar_of_other_settings,
        sidecar_of_another_format,
    ],
)
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    read = Counting()
    before = np.array(prepare(toy(read), SMALL, tmp_path).x)
    damage(*files(tmp_path))
    after = prepare(toy(read), SMALL, tmp_path)
    assert read.n_reads == 80 and np.array_equal(before, after.x)
    assert after.remade.endswith("it was made again")
    assert not prepare(toy(read), SMALL, tmp_path).remade
    assert read.n_reads == 80
    files(tmp_path)


def test_a_failure_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="clip 20 is broken"):
        prepare(toy(Counting(fail_at="20")), SMALL, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file"):
        prepare(toy(Counting()), SMALL, tmp_path / "file")


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.zeros((2, 100), np.float32), r"clip '0' reads as shape \(2, 100\)"),
        (np.zeros(0, np.float32), r"clip '0' reads as shape \(0,\)"),
        (np.full(100, np.nan, np.float32), "clip '0' are not finite"),
        (np.full(100, 3e38, np.float32), None),
    ],
)
def test_a_reader_that_breaks_the_contract(
    tmp_path: Path, waveform: np.ndarray, words: str | None
) -> None:
    scenes = toy(lambda clip: (waveform, 8000), n=2)
    if words is None:  # huge, but finite in dB
        assert np.isfinite(prepare(scenes, SMALL, tmp_path).x).all()
        return
    with pytest.raises(DataError, match=words):
        prepare(scenes, SMALL, tmp_path)
    assert not list(tmp_path.iterdir())


PROGRAM = """
import sys
from pathlib import Path
from secateur.scenes.features import LogMel, prepare
from secateur.scenes.presets import PRESETS, preset
from secateur.scenes.synthesis import synthetic_scenes
scenes = synthetic_scenes(n_locations=2, clips_per_location=2, seconds=0.2, n_folds=2)
settings = LogMel(rate=8000, n_fft=512, hop=160, n_mels=20, seconds=0.2)
print("ready", flush=True)
sys.stdin.readline()
print(prepare(scenes, settings, Path(sys.argv[1])).x.astype(float).sum())
"""


def test_two_processes_may_prepare_the_same_at_once(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        for threads in (1, 2)
    ]
    for process in both:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sums[0] == sums[1]
    files(tmp_path)
    scenes = synthetic_scenes(n_locations=2, clips_per_location=2, seconds=0.2, n_folds=2)
    never_read = dataclasses.replace(scenes, read=Counting(fail_at=scenes.clips[0].name))
    assert f"{prepare(never_read, SMALL, tmp_path).x.astype(float).sum()}\n" == sums[0]


def test_real_esc10_is_prepared_in_good_time(tmp_path: Path) -> None:
    if not (DATA / "esc10").is_dir():
        pytest.skip(f"the real ESC-10 is not at {DATA / 'esc10'}")
    begin = time.process_time()
    features: Features = prepare(esc10(DATA / "esc10"), LogMel(), tmp_path)
    assert features.x.shape == (398, 1, 64, 101)
    assert time.process_time() - begin < 30
    begin = time.process_time()
    prepare(esc10(DATA / "esc10"), LogMel(), tmp_path)
    assert time.process_time() - begin < 1
