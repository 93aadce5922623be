"""A page to listen to a data set, one self-contained HTML file. Loads no torch."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np

from secateur.errors import ReportError
from secateur.files import write_text
from secateur.report.drawing import COLOURS, Figure, spec, tooltip, values
from secateur.report.frame import render_page
from secateur.report.png import heat_map, palette
from secateur.report.tables import Table
from secateur.report.wording import NOTHING, listed, minus, number
from secateur.scenes.listening import Heard, Listening, Response
from secateur.scenes.palette import SCENES, Scene
from secateur.scenes.sounds import ANCHORS_HZ, Wave

_SPAN_DB = 70.0
"""From the darkest to the lightest colour, at most."""

_GROUPS = (
    ("Recorder a", ("a",), COLOURS[0]),
    ("Recorders b and c", ("b", "c"), COLOURS[2]),
    ("Recorders s1 to s3", ("s1", "s2", "s3"), COLOURS[1]),
    ("Recorders s4 to s6, of the last fold only", ("s4", "s5", "s6"), COLOURS[4]),
)


@dataclass(frozen=True)
class Card:
    """One clip on the page: its player and its picture as data URIs, and its words."""

    id: str
    title: str
    alt: str
    seconds: str
    audio: str
    picture: str


def build(listening: Listening, out: Path) -> Path:
    """Write the page to `out`, and give `out` back.

    Raises:
        ReportError: there is no clip.
        StorageError: the page could not be written.
    """
    write_text(out, render(listening))
    return out


def render(listening: Listening) -> str:
    """The page as text."""
    if not listening.clips:
        raise ReportError("there is no clip to listen to; give a data set that holds some")
    every = [*listening.clips, *(heard for place in listening.paired for heard in place)]
    low, high = _limits(every)
    said = len(listening.by_device) > 1
    cards = {heard.name: _card(k, heard, said, low, high) for k, heard in enumerate(every)}
    of = {name: [h for h in listening.clips if h.label == name] for name in listening.classes}
    figures = [responses(listening.responses)] if listening.responses else []
    return render_page(
        "listening.html.j2",
        figures,
        title=title(listening.name) if listening.responses else listening.name,
        synthetic=bool(listening.responses),
        n_clips=len(every),
        seconds=f"{listening.clips[0].seconds:.3g}",
        groups=[
            (title(name), words(SCENES[name]) if listening.responses else "", _cards(some, cards))
            for name, some in of.items()
            if some
        ],
        paired=[(title(place[0].label), _cards(place, cards)) for place in listening.paired],
        settings=[(key.replace("_", " "), _said(v)) for key, v in listening.settings.items()],
        transform=[(key.replace("_", " "), _said(v)) for key, v in listening.transform.items()],
        tables={
            "recorders": recorders(listening.responses),
            "by_class": counts("Class", listening.by_class, listening.parts),
            "by_device": counts("Recorder", listening.by_device, listening.parts),
        },
        skipped=listening.skipped,
        ticks=[
            (f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz} Hz", f"{100 * (1 - at):.1f}")
            for hz, at in listening.ticks
        ],
        ramp=", ".join("#" + bytes(colour).hex() for colour in palette()[::9]),
        low=minus(f"{low:.0f}"),
        high=minus(f"{high:.0f}"),
    )


def title(name: str) -> str:
    """A class or set as a heading.

    >>> title("street_traffic")
    'Street traffic'
    """
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def words(scene: Scene) -> str:
    """What a scene is made of, in a sentence."""
    engine = f"a tone of {scene.engine.low_hz:g} to {scene.engine.high_hz:g} Hz"
    often = sorted(scene.events, key=lambda event: -event.per_second)
    kinds = listed([f"{event.kind} ({event.per_second:g})" for event in often])
    near = listed([other.replace("_", " ") for other in scene.neighbours])
    return (
        f"Noise that sways at {scene.sway_hz:g} Hz, {engine}, rooms that ring for about "
        f"{scene.decay_s:g} s. Events a second: {kinds}. What leaks in: {near}."
    )


def responses(recorders: Sequence[Response]) -> Figure:
    """How every recorder colours what it hears."""
    gains = {one.name: one.recorder.response_db for one in recorders}
    bound = 1.1 * max(1.0, *(float(np.abs(gain).max()) for gain in gains.values()))
    panels = []
    for label, names, colour in _GROUPS:
        place = {
            name: _apart(gains[name], [gains[other] for other in names if other != name])
            for name in names
        }
        rows = [
            {
                "recorder": name,
                "hz": hz,
                "gain": float(gains[name][k]),
                "label": name if k == place[name] else "",
            }
            for name in names
            for k, hz in enumerate(ANCHORS_HZ)
        ]
        chart = alt.Chart(values(rows)).encode(
            x=alt.X(
                "hz:Q",
                title="Frequency (Hz)",
                scale=alt.Scale(type="log", domain=[50, 6400], nice=False),
                axis=alt.Axis(values=[100, 400, 1600, 6400], format="~s"),
            ),
            y=alt.Y("gain:Q", title="Gain (dB)", scale=alt.Scale(domain=[-bound, bound])),
            detail="recorder:N",
            color=alt.value(colour),
            tooltip=tooltip(rows, "recorder", "hz", "gain"),
        )
        lines = chart.mark_line(point={"size": 30}, interpolate="monotone")
        said = chart.mark_text(dy=-10, fontSize=12, fontWeight="bold").encode(text="label:N")
        panels.append(spec(lines + said, label, 180))
    return Figure(
        "responses",
        "Responses of the recorders",
        "Gain in dB by frequency, drawn by the seed; below 50 Hz and above 6.4 kHz it stays as it "
        "is there. The numbers of saturation, compression and own noise stand in the table.",
        tuple(panels),
    )


def _apart(gain: Wave, others: Sequence[Wave]) -> int:
    """Where a curve is farthest from the nearest of some others, not at its ends."""
    gaps = [np.abs(gain - other) for other in others] or [np.zeros_like(gain)]
    return 1 + int(np.min(gaps, axis=0)[1:-1].argmax())


def recorders(found: Sequence[Response]) -> Table:
    """What else a recorder does, and how often it is heard."""
    return Table(
        "Recorders: a compression of 0.3 brings loud and quiet moments 30 % nearer to the mean",
        ("Recorder", "Response, dB rms", "Saturation", "Compression", "Noise, dB", "Train", "Test"),
        tuple(
            (
                one.name,
                number(float(np.sqrt(np.mean(one.recorder.response_db**2))), 1),
                number(one.recorder.drive, 1),
                number(one.recorder.squeeze),
                number(one.recorder.noise_db, 0),
                f"{one.n_train:,}",
                f"{one.n_test:,}",
            )
            for one in found
        ),
    )


def counts(what: str, rows: Mapping[str, tuple[int, ...]], parts: Sequence[str]) -> Table:
    """Clips by part of the set."""
    return Table(
        f"Clips by {what.lower()}",
        (what, *(title(part) for part in parts)),
        tuple(
            (title(name), *(f"{n:,}" if n else NOTHING for n in row)) for name, row in rows.items()
        ),
    )


def _cards(some: Sequence[Heard], cards: Mapping[str, Card]) -> list[Card]:
    return [cards[heard.name] for heard in some]


def _card(k: int, heard: Heard, say_recorder: bool, low: float, high: float) -> Card:
    recorder = [f"recorder {heard.device}"] if say_recorder else []
    where = ", ".join([heard.place or heard.name, *recorder])
    seconds = f"{heard.seconds:.3g}"
    return Card(
        id=f"clip{k}",
        title=where,
        alt=f"Log-mel spectrogram of {title(heard.label)}, {where}, {seconds} s",
        seconds=seconds,
        audio=_uri("audio/flac", heard.audio),
        picture=_uri("image/png", heat_map(heard.bands_db[::-1], low, high)),
    )


def _limits(every: Sequence[Heard]) -> tuple[float, float]:
    """Darkest and lightest level in dB, the same for all pictures of a page."""
    levels = np.concatenate([heard.bands_db.ravel() for heard in every])
    high = float(np.percentile(levels, 99.8))
    low = max(float(np.percentile(levels, 1)), high - _SPAN_DB)
    return min(low, high - 1.0), high


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else f"{value:,}" if isinstance(value, int) else str(value)
