"""What the ten synthetic scenes are made of: one table to read and to change. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Engine:
    """A motor, fan or wheel tone: pitch between two frequencies, level relative to the bed."""

    low_hz: float
    high_hz: float
    level_db: float
    rolloff: float
    """Harmonic k has amplitude k ** -rolloff."""


@dataclass(frozen=True)
class Event:
    """A kind of short sound, how often it comes, and its level relative to the bed."""

    kind: str
    per_second: float
    level_db: float


@dataclass(frozen=True)
class Scene:
    """Recipe of one scene.

    `bed_db` is the spectrum of the noise bed at 50, 100, 200, … 6400 Hz; it sways by `sway_db`
    about `sway_hz` times a second. Rooms ring for `decay_s`, with `wet` times the direct sound.
    Sound of the `neighbours` leaks in.
    """

    bed_db: tuple[float, float, float, float, float, float, float, float]
    sway_hz: float
    sway_db: float
    engine: Engine
    events: tuple[Event, ...]
    decay_s: float
    wet: float
    neighbours: tuple[str, ...]


SCENES: Mapping[str, Scene] = MappingProxyType(
    {
        "airport": Scene(
            bed_db=(-7, -1, 0, -2, -7, -14, -21, -28),
            sway_hz=1.0,
            sway_db=1.0,
            engine=Engine(110, 220, -12, 0.9),
            events=(
                Event("voice", 2.4, 4),
                Event("step", 2, 6),
                Event("chime", 0.7, 9),
                Event("beep", 0.6, 4),
            ),
            decay_s=1.6,
            wet=1.0,
            neighbours=("shopping_mall", "metro_station"),
        ),
        "bus": Scene(
            bed_db=(10, 8, 2, -5, -13, -22, -30, -37),
            sway_hz=2.0,
            sway_db=2.0,
            engine=Engine(24, 48, 7, 0.8),
            events=(
                Event("voice", 1.4, 6),
                Event("hiss", 0.7, 8),
                Event("beep", 0.4, 6),
                Event("clink", 0.6, 0),
            ),
            decay_s=0.25,
            wet=0.5,
            neighbours=("tram", "street_traffic"),
        ),
        "metro": Scene(
            bed_db=(6, 6, 5, 1, -6, -14, -22, -30),
            sway_hz=4.0,
            sway_db=3.0,
            engine=Engine(90, 260, 2, 1.2),
            events=(
                Event("clack", 5, 9),
                Event("squeal", 0.8, 8),
                Event("voice", 1, 3),
                Event("chime", 0.3, 6),
            ),
            decay_s=0.4,
            wet=0.7,
            neighbours=("tram", "metro_station"),
        ),
        "metro_station": Scene(
            bed_db=(2, 3, 2, -1, -5, -11, -18, -26),
            sway_hz=1.0,
            sway_db=3.0,
            engine=Engine(45, 110, -3, 1.0),
            events=(
                Event("step", 4, 8),
                Event("voice", 1.4, 6),
                Event("squeal", 0.5, 8),
                Event("beep", 1, 7),
                Event("hiss", 0.4, 6),
            ),
            decay_s=2.2,
            wet=1.4,
            neighbours=("metro", "airport"),
        ),
        "park": Scene(
            bed_db=(2, -2, -6, -8, -9, -9, -9, -14),
            sway_hz=2.0,
            sway_db=3.5,
            engine=Engine(40, 90, -14, 1.3),
            events=(
                Event("bird", 3.2, 7),
                Event("step", 1.4, 4),
                Event("voice", 0.6, 3),
            ),
            decay_s=0.15,
            wet=0.1,
            neighbours=("public_square", "street_pedestrian"),
        ),
        "public_square": Scene(
            bed_db=(3, 1, -2, -4, -5, -9, -14, -19),
            sway_hz=1.5,
            sway_db=2.0,
            engine=Engine(40, 100, -7, 1.1),
            events=(
                Event("voice", 2, 6),
                Event("step", 3, 6),
                Event("bird", 1, 4),
                Event("bell", 0.2, 8),
            ),
            decay_s=0.8,
            wet=0.4,
            neighbours=("street_pedestrian", "park", "street_traffic"),
        ),
        "shopping_mall": Scene(
            bed_db=(-8, -4, 0, 1, -3, -8, -16, -25),
            sway_hz=1.0,
            sway_db=1.0,
            engine=Engine(130, 260, -8, 1.1),
            events=(
                Event("voice", 4.4, 6),
                Event("step", 2.4, 5),
                Event("clink", 1.6, 5),
                Event("beep", 1, 4),
            ),
            decay_s=1.1,
            wet=0.9,
            neighbours=("airport", "street_pedestrian"),
        ),
        "street_pedestrian": Scene(
            bed_db=(0, 1, 0, -2, -5, -8, -15, -22),
            sway_hz=1.0,
            sway_db=1.5,
            engine=Engine(50, 120, -7, 1.0),
            events=(
                Event("step", 5.6, 8),
                Event("voice", 3, 7),
                Event("clink", 0.6, 3),
                Event("passing", 0.3, 6),
            ),
            decay_s=0.5,
            wet=0.4,
            neighbours=("public_square", "shopping_mall", "street_traffic"),
        ),
        "street_traffic": Scene(
            bed_db=(7, 6, 4, 2, 0, -8, -16, -25),
            sway_hz=0.7,
            sway_db=3.0,
            engine=Engine(30, 75, 1, 0.9),
            events=(
                Event("passing", 1.8, 11),
                Event("horn", 0.3, 8),
                Event("step", 1, 2),
                Event("squeal", 0.2, 5),
            ),
            decay_s=0.4,
            wet=0.25,
            neighbours=("public_square", "bus", "street_pedestrian"),
        ),
        "tram": Scene(
            bed_db=(6, 5, 4, 2, -5, -14, -21, -30),
            sway_hz=3.0,
            sway_db=2.0,
            engine=Engine(180, 420, 1, 1.0),
            events=(
                Event("clack", 2.4, 8),
                Event("bell", 0.6, 8),
                Event("squeal", 1, 7),
                Event("voice", 1.2, 5),
                Event("hiss", 0.3, 6),
            ),
            decay_s=0.3,
            wet=0.5,
            neighbours=("metro", "bus"),
        ),
    }
)
"""The ten scenes of TAU Urban Acoustic Scenes, by name, in the order of their labels."""
