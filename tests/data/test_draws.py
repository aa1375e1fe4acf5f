"""Other enrolment clips for the same manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from openkith.data.draws import redraw_enrolment
from openkith.data.manifest import Manifest, Row

FOLDER = Path("/speech")


def manifest(*rows: Row) -> Manifest:
    return Manifest("home", rows, FOLDER / "home.tsv")


def clips(who: str, role: str, takes: range) -> list[Row]:
    return [Row(FOLDER / f"{who}-{take}.wav", who, role) for take in takes]


HOME = manifest(
    *clips("ann", "enroll", range(3)),
    *clips("ann", "test", range(3, 10)),
    *clips("guest", "test", range(2)),
    *clips("bob", "enroll", range(2)),
    *clips("bob", "test", range(2, 9)),
    *clips("other", "negative", range(4)),
)


def enrolled(drawn: Manifest, who: str) -> set[str]:
    return {row.path.stem for row in drawn.enroll if row.speaker == who}


def test_draw_0_is_the_manifest() -> None:
    assert redraw_enrolment(HOME, 0) is HOME


@pytest.mark.parametrize("draw", range(1, 6))
def test_as_many_clips_enrol_and_the_others_test(draw: int) -> None:
    drawn = redraw_enrolment(HOME, draw)
    assert drawn != HOME
    assert (drawn.name, drawn.source) == (HOME.name, HOME.source)
    assert [row.path for row in drawn.rows] == [row.path for row in HOME.rows]
    for who, n, tests in (("ann", 3, 7), ("bob", 2, 7)):
        assert len(enrolled(drawn, who)) == n
        assert Counter(row.role for row in drawn.rows if row.speaker == who) == {"enroll": n, "test": tests}
    assert [row for row in drawn.rows if row.speaker in ("guest", "other")] == [
        row for row in HOME.rows if row.speaker in ("guest", "other")
    ]


def test_draws_are_seeded_and_differ() -> None:
    draws = [redraw_enrolment(HOME, draw) for draw in range(1, 9)]
    assert draws == [redraw_enrolment(HOME, draw) for draw in range(1, 9)]
    assert len({frozenset(enrolled(drawn, "ann")) for drawn in draws}) > 4
    assert set.union(*(enrolled(drawn, "ann") for drawn in draws)) > {"ann-0", "ann-5"}


def test_a_person_is_drawn_alike_whoever_else_is_there() -> None:
    alone = manifest(*(row for row in HOME.rows if row.speaker == "bob"))
    assert enrolled(redraw_enrolment(alone, 3), "bob") == enrolled(redraw_enrolment(HOME, 3), "bob")


def test_parts_that_share_a_stretch_never_enrol_and_test() -> None:
    long = FOLDER / "long.wav"
    parts = [Row(long, "ann", "test", start, start + 2.0) for start in (0.0, 1.0, 2.0, 3.0, 4.0)]
    mixed = manifest(*clips("ann", "enroll", range(1)), *parts, Row(long, "guest", "test", 0.5, 1.5))
    met = set()
    for draw in range(1, 30):
        drawn = redraw_enrolment(mixed, draw)  # a manifest that contradicts itself would not be made
        [row] = drawn.enroll
        beside = [
            other
            for other in parts
            if row.path == long and 0 < abs((other.start or 0) - (row.start or 0)) < 2.0
        ]
        assert len(drawn.rows) == len(mixed.rows) - len(beside)
        assert not set(beside) & set(drawn.rows)
        assert [row.speaker for row in drawn.test].count("guest") == 1
        met.add(len(beside))
    assert met == {0, 1, 2}


def test_a_person_without_test_rows_stays() -> None:
    only = manifest(*clips("ann", "enroll", range(2)), *clips("guest", "test", range(1)))
    assert redraw_enrolment(only, 1) == only
