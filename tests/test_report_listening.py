"""The page to listen to scenes: what it holds, and a browser that plays it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from secateur.cli.main import app
from secateur.errors import DataError, ReportError
from secateur.report.listening import build, render, title
from secateur.report.png import N_COLOURS, encode, heat_map, palette
from secateur.scenes.datasets import Clip, SceneSet
from secateur.scenes.listening import (
    MOST_SECONDS,
    Listening,
    _heard,
    _transform,
    listen_to,
    listen_to_synthesis,
)
from secateur.scenes.synthesis import Synthesis
from secateur.scenes.synthesis import render as clip_of

SMALL = Synthesis(
    n_locations=4, clips_per_location=2, seconds=0.5, parts=2, rate=8000, every_recorder=True
)
ESC10 = Path(os.environ.get("SECATEUR_DATA", Path(__file__).parents[2] / "shared/data")) / "esc10"


@pytest.fixture(scope="module")
def generated() -> Listening:
    return listen_to_synthesis(SMALL, per_class=2, seconds=0.8)


@pytest.fixture(scope="module")
def page(generated: Listening) -> str:
    return render(generated)


def own_data(folder: Path) -> Path:
    """Two classes of three files each, at 22,050 Hz, in two channels."""
    rng = np.random.default_rng(0)
    for name in ("hum & <b>", "hiss"):
        (folder / name).mkdir(parents=True)
        for k in range(3):
            soundfile.write(
                folder / name / f"{k}.wav", 0.1 * rng.standard_normal((9000 + k, 2)), 22050
            )
    return folder


def test_a_png_is_what_was_put_in() -> None:
    indices = np.arange(6, dtype=np.uint8).reshape(2, 3)
    colours = np.arange(18, dtype=np.uint8).reshape(6, 3)
    png = encode(indices, colours)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(png):
        n = int.from_bytes(png[at : at + 4], "big")
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + n]
        assert zlib.crc32(kind + content) == int.from_bytes(png[at + 8 + n : at + 12 + n], "big")
        chunks[kind], at = content, at + 12 + n
    assert chunks[b"IHDR"][:8] == (3).to_bytes(4, "big") + (2).to_bytes(4, "big")
    assert chunks[b"PLTE"] == bytes(range(18))
    assert zlib.decompress(chunks[b"IDAT"]) == bytes([0, 0, 1, 2, 0, 3, 4, 5])


def test_a_heat_map_runs_from_dark_to_light() -> None:
    light = palette().astype(int).sum(axis=1)
    assert len(light) == N_COLOURS and (np.diff(light) >= 0).all()
    png = heat_map(np.array([[-100.0, 0.0, 50.0, 99.0]]), 0.0, 100.0)
    start = png.index(b"IDAT")
    length = int.from_bytes(png[start - 4 : start], "big")
    line = zlib.decompress(png[start + 4 : start + 4 + length])
    assert list(line) == [0, 0, 0, 64, round(0.99 * (N_COLOURS - 1))]


def test_clips_are_what_the_network_gets(generated: Listening) -> None:
    assert [heard.label for heard in generated.clips[::2]] == list(generated.classes)
    heard = generated.clips[3]
    assert (heard.label, heard.place, heard.device) == ("bus", "place 1", "a")
    samples, rate = soundfile.read(io.BytesIO(heard.audio), dtype="float32")
    parts = [clip_of(SMALL, f"bus-1-0-{k}-a") for k in range(2)]
    assert rate == 8000 and np.array_equal(samples, np.concatenate(parts)[:6400])
    assert heard.bands_db.shape == (64, 41)


def test_every_recorder_hears_one_place(generated: Listening) -> None:
    for place in generated.paired:
        assert [heard.device for heard in place] == [one.name for one in generated.responses]
        assert len({(heard.label, heard.place) for heard in place}) == 1
    counts = {one.name: (one.n_train, one.n_test) for one in generated.responses}
    assert counts["s5"] == (0, 20) and counts["a"][0] > 20
    assert generated.by_device["s5"] == (0, 20)


def test_ticks_lie_where_their_frequencies_are(generated: Listening) -> None:
    places = dict(generated.ticks)
    assert set(places) == {100, 1000, 2000}
    assert 0 < places[100] < places[1000] < places[2000] < 1
    n = 1 << 13
    tone = np.sin(2 * np.pi * 1000 * np.arange(n) / 8000).astype(np.float32)
    transform = _transform(8000, n / 8000)
    bands = _heard(Clip("tone", 0, 1), "tone", tone, 8000, transform).bands_db.mean(axis=1)
    assert abs((bands.argmax() + 0.5) / 64 - places[1000]) < 1.5 / 64


def test_own_data_are_taken_from_many_devices_and_places() -> None:
    clips = tuple(
        Clip(f"{device}{place}", 0, 1 + place % 2, device, f"p{place}")
        for device in "ab"
        for place in range(3)
    )
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
    scenes = SceneSet("own", ("only",), clips, lambda clip: (noise, 8000), "")
    found = listen_to(scenes, per_class=4, seconds=0.5)
    assert sorted(heard.device for heard in found.clips) == ["a", "a", "b", "b"]
    assert {heard.place for heard in found.clips} == {"p0", "p1", "p2"}
    assert found.by_device == {"a": (2, 1), "b": (2, 1)} and found.parts == ("fold 1", "fold 2")
    again = listen_to(scenes, per_class=4, seconds=0.5)
    assert [one.name for one in again.clips] == [one.name for one in found.clips]


def test_a_page_never_holds_more_than_it_may() -> None:
    found = listen_to_synthesis(replace(SMALL, clips_per_location=40, parts=40), 100, 15.0)
    every = [*found.clips, *(heard for place in found.paired for heard in place)]
    assert len(found.clips) == 10
    assert sum(heard.seconds for heard in every) <= MOST_SECONDS + 0.01
    assert found.clips[0].seconds == pytest.approx(MOST_SECONDS / 28, abs=1e-3)


@pytest.mark.parametrize(("many", "long"), [(0, 1.0), (1, 0.0), (1, float("nan")), (1, 61.0)])
def test_bad_wishes_are_refused(many: int, long: float) -> None:
    with pytest.raises(DataError, match="give"):
        listen_to_synthesis(SMALL, many, long)


def test_the_page_is_one_file_that_asks_for_nothing(page: str) -> None:
    assert page.lstrip().startswith("<!doctype html>") and '<html lang="en">' in page
    html = page.partition("<script")[0]
    sources = re.findall(r'<(?:img|audio)\b[^>]{0,200}? src="([^"]{0,40})', html)
    assert len(sources) == 2 * (20 + 18)
    assert all(s.startswith(("data:audio/flac;base64,", "data:image/png;base64,")) for s in sources)
    assert not re.search(r"<(?:script|link|iframe)[^>]+(?:src|href)=.https?:", page)
    for tag in re.findall(r"<(?:img|audio)\b[^>]{0,300}", html):
        said = re.search(r'(?:alt|aria-label)="([^"]+)"', tag) or re.search("src=.data:image", tag)
        assert said, tag
    alts = re.findall(r'alt="([^"]*)"', html)
    assert (
        len(alts) == 38 and alts[0] == "Log-mel spectrogram of Airport, place 0, recorder a, 0.8 s"
    )


def test_audio_of_the_page_decodes(page: str, generated: Listening) -> None:
    players = re.findall(r'src="data:audio/flac;base64,([^"]+)"', page)
    for text in players[::7]:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(text)))
        assert len(samples) / rate == pytest.approx(0.8)


def test_nothing_to_hear_is_an_error(generated: Listening) -> None:
    with pytest.raises(ReportError, match="no clip to listen to"):
        render(replace(generated, clips=()))


def test_making_the_page_loads_no_torch() -> None:
    code = "import secateur.report.listening, sys; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_the_command_listens_to_own_data(tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    asked = ["scenes", "listen", "--dataset", str(own_data(tmp_path / "own")), "-o", str(out)]
    ran = CliRunner().invoke(app, [*asked, "--clips", "2", "--json"], catch_exceptions=False)
    answer = json.loads(ran.stdout)
    assert ran.exit_code == 0 and answer["page"] == str(out)
    assert answer["bytes"] == out.stat().st_size and answer["dataset"] == "own"
    assert [one["class"] for one in answer["clips"]] == ["hiss", "hiss", "hum & <b>", "hum & <b>"]
    html = out.read_text()
    assert html.count("<audio ") == 4 and "<b>" not in html and "Hum &amp; &lt;b&gt;" in html


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["scenes", "listen", "--dataset", str(tmp_path / "none")])
    assert isinstance(ran.exception, DataError)
    assert "none is no folder; give the one that holds the data set" in str(ran.exception)


def test_the_command_listens_to_generated_scenes(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    asked = ["scenes", "listen", "--preset", "demo", "--clips", "1", "--seconds", "0.2"]
    ran = CliRunner().invoke(app, [*asked, "--seed", "3", "-o", str(out)], catch_exceptions=False)
    assert ran.exit_code == 0 and "28 clips of generated scenes, demo" in ran.stdout
    assert "<dd>3</dd>" in out.read_text()


@pytest.mark.slow
def test_the_command_listens_to_esc10(tmp_path: Path) -> None:
    if not ESC10.is_dir():
        pytest.skip(f"ESC-10 is not in {ESC10}")
    out = tmp_path / "page.html"
    asked = ["scenes", "listen", "--dataset", str(ESC10), "-o", str(out), "--json"]
    answer = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    assert answer["dataset"] == "esc10" and len(answer["clips"]) == 30
    assert len({one["class"] for one in answer["clips"]}) == 10
    assert out.stat().st_size < 10_000_000


def test_headings() -> None:
    assert title("metro_station") == "Metro station" and title("") == ""


HEAR = """
(async () => {
  const players = [...document.querySelectorAll("audio")];
  const pictures = [...document.querySelectorAll(".picture img")];
  const out = { players: players.length };
  for (const player of players) player.load();
  const known = () => players.filter((p) => p.readyState > 0);
  for (let k = 0; k < 200 && known().length < players.length; k++)
    await new Promise((r) => setTimeout(r, 50));
  out.durations = known().map((p) => p.duration);
  out.errors = players.filter((p) => p.error).length;
  out.pictures = pictures.map((i) => [i.naturalWidth, i.naturalHeight]);
  out.unnamed = players.filter((p) => !p.getAttribute("aria-label")).length;
  const context = new OfflineAudioContext(1, 1, 8000);
  const bytes = await (await fetch(players[0].src)).arrayBuffer();
  out.decoded = (await context.decodeAudioData(bytes)).length;
  out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.documentElement.dataset.read = JSON.stringify(out);
})();
"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, list[str]]]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed; install it to hear the page played")
    folder = tmp_path_factory.mktemp("browser")

    def visited(listening: Listening, width: int) -> tuple[str, list[str]]:
        file = build(listening, folder / "page.html")
        before, end, after = file.read_text().rpartition("</body>")
        file.write_text(f"{before}<script>{HEAR}</script>{end}{after}")
        options = (
            *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            *(f"user-data-dir={folder / 'profile'}", "virtual-time-budget=15000"),
            *("enable-logging=stderr", "v=0", f"window-size={width},900", "dump-dom"),
        )
        ran = subprocess.run(
            [chromium, *(f"--{option}" for option in options), file.as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "HOME": str(folder)},
        )
        return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]

    return visited


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1280])
def test_a_browser_plays_every_clip_without_a_word_on_its_console(
    visit: Callable[..., tuple[str, list[str]]], generated: Listening, width: int
) -> None:
    dom, console = visit(generated, width)
    read = re.search(r'data-read="([^"]*)"', dom)
    assert read is not None and console == []
    found = json.loads(read[1].replace("&quot;", '"'))
    assert found["players"] == 38 and found["errors"] == 0 and found["unnamed"] == 0
    assert found["durations"] == [pytest.approx(0.8, abs=0.01)] * 38
    assert found["pictures"] == [[41, 64]] * 38
    assert found["decoded"] == 6400 and found["wide"] <= 0
    assert 'data-panels="4"' in dom and "data-errors" not in dom
