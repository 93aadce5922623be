"""Log-mels of every preset against librosa, called clip by clip.

    python benchmarks/features.py            measure, then write the section of docs/benchmarks.md
    python benchmarks/features.py --print    measure, write nothing

One thread, CPU seconds, both sides by turns: on the same waveforms in memory, then from the same
16-bit WAV files at the preset's rate. librosa is called as its tutorial does, in single precision;
in double precision it is what the largest difference is to.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from sections import write_section

from secateur.scenes.audio import fit, read_audio
from secateur.scenes.features import LogMel, log_mel
from secateur.scenes.mel import filters
from secateur.scenes.presets import PRESETS

CLIPS = 32


def by_librosa(waveform: np.ndarray, settings: LogMel) -> np.ndarray:
    """One clip (samples,) -> (n_mels, n_frames), in the waveform's precision."""
    if settings.pre_emphasis:
        waveform = librosa.effects.preemphasis(waveform, coef=settings.pre_emphasis)[1:]
    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=settings.rate,
        n_fft=settings.n_fft,
        win_length=settings.window,
        hop_length=settings.hop,
        n_mels=settings.n_mels,
        fmin=settings.f_min,
        fmax=settings.f_max,
        htk=settings.mel == "htk",
        norm="slaney" if settings.unit_area else None,
        pad_mode=settings.padding,
        dtype=waveform.dtype,
    )
    if settings.log == "ln":
        return np.log(power + 1e-5)
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)


def seconds(task: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    begin = time.process_time()
    task()
    return time.process_time() - begin


def measure(settings: LogMel, rounds: int, folder: Path) -> dict[str, float]:
    """Milliseconds a clip for librosa and for us, best of the rounds; the largest difference.

    `fft` is our transform of all frames alone, `…_files` the whole way from files.
    """
    rng = np.random.default_rng(0)
    waveforms = rng.normal(0, 0.1, (CLIPS, settings.n_samples)).astype(np.float32)
    batch = torch.from_numpy(waveforms)
    ours = log_mel(batch, settings)[:, 0].numpy()
    theirs = [by_librosa(waveform.astype(np.float64), settings) for waveform in waveforms]
    files = [folder / f"{settings.rate}-{settings.seconds:g}-{k}.wav" for k in range(CLIPS)]
    for file, waveform in zip(files, waveforms, strict=True):
        soundfile.write(file, waveform, settings.rate)
    frames = torch.randn(settings.n_frames, settings.n_fft, dtype=torch.float64)
    tasks: dict[str, Callable[[], object]] = {
        "librosa": lambda: [by_librosa(waveform, settings) for waveform in waveforms],
        "ours": lambda: log_mel(batch, settings),
        "fft": lambda: [torch.fft.rfft(frames) for _ in range(CLIPS)],
        "librosa_files": lambda: [
            by_librosa(librosa.load(file, sr=settings.rate)[0], settings) for file in files
        ],
        "ours_files": lambda: log_mel(torch.from_numpy(_read(files, settings)), settings),
    }
    times = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            times[name].append(seconds(task))
    best = {name: 1000 * min(taken) / CLIPS for name, taken in times.items()}
    return best | {"off": float(np.abs(ours - np.stack(theirs)).max())}


def _read(files: list[Path], settings: LogMel) -> np.ndarray:
    return np.stack([fit(*read_audio(file), settings.rate, settings.n_samples) for file in files])


def section(rounds: int) -> str:
    """The table as Markdown."""
    lines = [
        "## Features",
        "",
        f"Log-mels of {CLIPS} clips of noise, one thread, CPU milliseconds a clip, best of "
        f"{rounds} rounds by turns; librosa is",
        f"called clip by clip. The difference is the largest to librosa {librosa.__version__} in "
        "double precision, in the preset's own unit.",
        "*FFT*: our transform of the clip's frames alone, in double precision, and its share of",
        "our time; *from files* both decode 16-bit WAV as well.",
        "",
        "| preset | shape | seconds | librosa | secateur | times | FFT | its share "
        "| from files: librosa | secateur | times | difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in PRESETS.items():
            found = measure(settings, rounds, Path(folder))
            a, b, fft = found["librosa"], found["ours"], found["fft"]
            c, d = found["librosa_files"], found["ours_files"]
            lines.append(
                f"| {name} | {'x'.join(map(str, settings.shape))} | {settings.seconds:g} "
                f"| {a:.2f} | {b:.2f} | {a / b:.1f} | {fft:.2f} | {fft / b:.0%} "
                f"| {c:.2f} | {d:.2f} | {c / d:.1f} | {found['off']:.0e} |"
            )
    lines += [
        "",
        "The goal is 4 times. Most is gained where there are many bands: librosa multiplies by",
        "a matrix that is mostly zeros. Where there are few, both do little but transform, and",
        "ours is in double precision: in single, bands far below the loudest of their frame are",
        "off by more than 1e-4 dB, whichever way frames are scaled",
        "(`python benchmarks/features.py --single`).",
    ]
    return "\n".join(lines)


def single() -> str:
    """How far a transform in single precision is off, with a tone above noise, by frame scaling."""
    settings = PRESETS["esc"]
    n = settings.n_fft
    bank = torch.tensor(filters(settings.bank)).T
    time_s = torch.arange(n, dtype=torch.float64) / settings.rate
    lines = []
    for noise in (1e-2, 1e-3, 1e-4):
        generator = torch.Generator().manual_seed(0)
        hiss = noise * torch.randn(200, n, dtype=torch.float64, generator=generator)
        frames = 0.3 * torch.sin(2 * np.pi * 440 * time_s) + hiss
        frames *= torch.hann_window(n, dtype=torch.float64)
        right = torch.fft.rfft(frames).abs().square() @ bank
        below = 10 * torch.log10(right / right.amax(1, keepdim=True))
        for scale in (1.0, 1 / float(frames.abs().max())):
            spectra = torch.fft.rfft((scale * frames).float()).to(torch.complex128) / scale
            off = (10 * torch.log10(spectra.abs().square() @ bank / right)).abs()
            wrong = below[off > 1e-4]
            where = f"bands from {wrong.max():.0f} dB down" if len(wrong) else "no band"
            lines.append(
                f"noise {noise:g}, frames times {scale:.3g}: off by {off.max():.0e} dB at most; "
                f"by more than 1e-4: {where}"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    parser.add_argument("--single", action="store_true", help="say what single precision loses")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if asked.single:
        print(single())
        return
    text = section(asked.rounds)
    if asked.printed:
        print(text)
    else:
        write_section("features", text)


if __name__ == "__main__":
    main()
