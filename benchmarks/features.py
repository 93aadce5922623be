"""Log-mels of every preset against librosa, called clip by clip.

    python benchmarks/features.py            measure, then write the section of docs/benchmarks.md
    python benchmarks/features.py --print    measure, write nothing

One thread, CPU seconds, both sides by turns on the same waveforms in memory. librosa is called as
its tutorial does, in single precision; in double precision it is what the largest difference is to.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import librosa
import numpy as np
import torch
from sections import write_section

from secateur.scenes.features import LogMel, log_mel
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


def measure(settings: LogMel, rounds: int) -> tuple[float, float, float]:
    """Milliseconds a clip for librosa and for us, best of the rounds; the largest difference."""
    rng = np.random.default_rng(0)
    waveforms = rng.normal(0, 0.1, (CLIPS, settings.n_samples)).astype(np.float32)
    batch = torch.from_numpy(waveforms)
    ours = log_mel(batch, settings)[:, 0].numpy()
    theirs = [by_librosa(waveform.astype(np.float64), settings) for waveform in waveforms]
    times = [
        (
            seconds(lambda: [by_librosa(waveform, settings) for waveform in waveforms]),
            seconds(lambda: log_mel(batch, settings)),
        )
        for _ in range(rounds)
    ]
    a, b = (1000 * min(side) / CLIPS for side in zip(*times, strict=True))
    return a, b, float(np.abs(ours - np.stack(theirs)).max())


def section(rounds: int) -> str:
    """The table as Markdown."""
    lines = [
        "## Features",
        "",
        f"Log-mels of {CLIPS} clips of noise, one thread, CPU milliseconds a clip, best of "
        f"{rounds} rounds by turns; librosa is",
        f"called clip by clip. The difference is the largest to librosa {librosa.__version__} in "
        "double precision, in the preset's own unit.",
        "",
        "| preset | shape | seconds of sound | librosa | secateur | times | difference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, settings in PRESETS.items():
        theirs, ours, off = measure(settings, rounds)
        shape = "x".join(map(str, settings.shape))
        lines.append(
            f"| {name} | {shape} | {settings.seconds:g} | {theirs:.2f} | {ours:.2f} "
            f"| {theirs / ours:.1f} | {off:.0e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", dest="printed", help="write nothing")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    text = section(asked.rounds)
    if asked.printed:
        print(text)
    else:
        write_section("features", text)


if __name__ == "__main__":
    main()
