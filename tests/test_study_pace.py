"""The time a study still needs, worked out on paper."""

from __future__ import annotations

from secateur.study.cells import Unit, units
from secateur.study.events import Event
from secateur.study.pace import Pace
from secateur.study.recipe import recipe_from

RECIPE = {
    "name": "paced",
    "data": {"kind": "synthetic"},
    "networks": [{"kind": "vgg"}, {"kind": "resnet"}],
    "sparsity": {"total_shrink": [0]},
    "pruning": {"criteria": ["l1"], "scopes": ["uniform"], "ratios": [0.3, 0.5]},
    "seeds": 3,
}


def work() -> tuple[Unit, ...]:
    """Three repetitions of vgg and resnet: a base and two cuts each."""
    return units(recipe_from(RECIPE))


def attempt(id: str, began: float, ended: float) -> list[Event]:
    return [Event("start", id, began), Event("finish", id, ended)]


def ids(unit: Unit) -> list[str]:
    return [cell.id for cell in unit.cells]


def past(vgg: Unit, resnet: Unit) -> list[Event]:
    """A vgg that took 100 s and 10 s a cut, a resnet that took 40 s and 4 s a cut."""
    events = []
    for unit, base, cut in ((vgg, 100, 10), (resnet, 40, 4)):
        a, b, c = ids(unit)
        events += attempt(a, 0, base) + attempt(b, 0, cut) + attempt(c, 0, cut)
    return events


def test_long_and_short_units_are_told_apart() -> None:
    v1, r1, v2, r2, *_ = work()
    pace = Pace(work(), [*ids(v1), *ids(r1)], past(v1, r1))
    assert pace.seconds_left(0) is None  # nobody is at work yet
    pace.hear(Event("start", v2.base.id, 1000))
    assert pace.seconds_left(1000) == 2 * 120 + 2 * 48
    assert pace.seconds_left(1030) == 2 * 120 + 2 * 48 - 30
    pace.hear(Event("start", r2.base.id, 1030))
    assert pace.seconds_left(1030) == (2 * 120 + 2 * 48 - 30) / 2
    pace.hear(Event("finish", r2.base.id, 1070))
    assert pace.seconds_left(1070) == 120  # the last vgg; two workers share (50 + 8 + 120 + 48)


def test_the_cells_of_one_unit_follow_each_other() -> None:
    v1, r1, v2, r2, v3, r3 = work()
    done = [id for unit in (v1, r1, v2, r2) for id in ids(unit)]
    pace = Pace(work(), done, past(v1, r1))
    for unit in (v3, r3):
        pace.hear(Event("start", unit.base.id, 1000))
    assert pace.seconds_left(1000) == 120  # and not (120 + 48) / 2
    for cell in ids(r3):
        pace.hear(Event("finish", cell, 1050))
    assert pace.seconds_left(1050) == 70
    assert pace.seconds_left(5000) == 20  # it takes longer than the others did


def test_what_was_never_seen_counts_as_in_other_networks_or_not_at_all() -> None:
    a, b, _ = ids(work()[0])
    pace = Pace(work(), (), ())
    for event in attempt(a, 0, 100):
        pace.hear(event)
    assert pace.seconds_left(100) is None  # no cut was seen
    for event in attempt(b, 100, 110):
        pace.hear(event)
    assert pace.seconds_left(110) == 10 + 5 * 120


def test_what_fails_is_not_waited_for_and_tells_nothing() -> None:
    v1, r1, v2, *_ = work()
    pace = Pace(work()[:3], [*ids(v1), *ids(r1)], past(v1, r1))
    for cell in ids(v2)[:2]:
        pace.hear(Event("start", cell, 0))
        pace.hear(Event("fail", cell, 1))
    pace.hear(Event("start", "of another grid", 1))
    assert pace.seconds_left(1) == 10


def test_ten_thousand_cells_are_no_burden() -> None:
    import time

    many = units(recipe_from(RECIPE | {"seeds": 1667}))
    pace = Pace(many, (), past(*many[:2]))
    pace.hear(Event("start", many[0].base.id, 0))
    began = time.process_time()
    assert pace.seconds_left(0) == 1667 * 168
    assert time.process_time() - began < 0.2
