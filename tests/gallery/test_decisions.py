from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from openkith.errors import ConfigError, GalleryError
from openkith.gallery import DecisionLog, Gallery, NewDecision, decisions, schema

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def made(**changes: Any) -> dict[str, Any]:
    """What a decision for Alice gives as plain values."""
    return {
        "status": "known",
        "name": "Alice",
        "probability": 0.9,
        "probabilities": {"Alice": 0.9, "Bob": 0.06, "unknown": 0.04},
        "margin": 0.84,
        "speech_seconds": 2.5,
        "reason": "Alice's voice, from 2.5 s of speech",
        "method": "fusion",
        "score": 5.0,
        "threshold": 2.0,
        "accepted": True,
        "several": False,
        "heard": [],
    } | changes


class Made:
    """A decision that is no mapping."""

    def __init__(self, **changes: Any) -> None:
        self._values = made(**changes)

    def to_dict(self) -> dict[str, Any]:
        return self._values


@pytest.fixture
def people(any_gallery: Gallery) -> Mapping[str, int]:
    for name in ("Alice", "Bob", "Carol"):
        any_gallery.add_person(name)
    return {person.name: person.id for person in any_gallery.people()}


@pytest.fixture
def log(any_gallery: Gallery) -> DecisionLog:
    return DecisionLog(any_gallery)


def stored(gallery: Gallery) -> str:
    """All text of the table."""
    with gallery.database.read() as connection:
        return repr(connection.execute(schema.decisions.select()).all())


def test_there_and_back(any_gallery: Gallery, log: DecisionLog, people: Mapping[str, int]) -> None:
    before, entries = datetime.now(UTC), any_gallery.audit()
    number = log.add(
        made(), kind="identify", people=people, actor="key 3", warnings=["a replay of Bob, clip 4"]
    )
    (record,) = log.page()
    assert record.id == number
    assert before <= record.time <= datetime.now(UTC)
    assert (record.kind, record.actor, record.status) == ("identify", "key 3", "known")
    assert (record.person_id, record.name) == (people["Alice"], "Alice")
    assert (record.probability, record.seconds, record.method) == (0.9, 2.5, "fusion")
    assert record.probabilities == {"Alice": 0.9, "Bob": 0.06, "unknown": 0.04}
    assert record.reason == "Alice's voice, from 2.5 s of speech"
    assert (record.several, record.heard) == (False, ())
    assert record.warnings == ("a replay of Bob, clip 4",)
    assert any_gallery.audit() == entries  # this log is the audit of it
    assert not {name for name in people if name in stored(any_gallery)}


def test_a_decision_that_is_no_mapping(log: DecisionLog, people: Mapping[str, int]) -> None:
    log.add(Made(warnings=("sounds like Carol",)), kind="stream", people=people)
    (record,) = log.page()
    assert (record.name, record.kind, record.actor) == ("Alice", "stream", "")
    assert record.warnings == ("sounds like Carol",)


def test_a_stranger(log: DecisionLog, people: Mapping[str, int]) -> None:
    unknown = made(
        status="unknown", name=None, probability=0.7, reason="like nobody enrolled; least unlike Carol"
    )
    log.add(unknown, kind="identify", people=people)
    (record,) = log.page()
    assert (record.person_id, record.name) == (None, None)
    assert record.reason == unknown["reason"]


def test_names_as_they_are_now(any_gallery: Gallery, log: DecisionLog, people: Mapping[str, int]) -> None:
    log.add(
        made(
            status="unsure",
            reason="sounds like Alice and like Bob: too close to call",
            heard=[{"name": "Bob", "probability": 0.81234567, "times": [[0.5, 1.25]]}],
            several=True,
        ),
        kind="identify",
        people=people,
        warnings=["a replay of Alice"],
    )
    any_gallery.rename("Alice", "Alicia")
    any_gallery.forget("Bob")
    (record,) = log.page()
    gone = f"person {people['Bob']}"
    assert record.name == "Alicia"
    assert record.probabilities == {"Alicia": 0.9, gone: 0.06, "unknown": 0.04}
    assert record.reason == f"sounds like Alicia and like {gone}: too close to call"
    assert record.warnings == ("a replay of Alicia",)
    (heard,) = record.heard
    assert (heard.person_id, heard.name, heard.probability) == (people["Bob"], gone, 0.8123)
    assert heard.times == ((0.5, 1.25),)
    any_gallery.forget("Alicia")
    (record,) = log.page()
    assert (record.person_id, record.name) == (people["Alice"], f"person {people['Alice']}")


def test_who_was_forgotten_or_renamed_before_it_was_kept(
    any_gallery: Gallery, log: DecisionLog, people: Mapping[str, int]
) -> None:
    heard = [{"name": name, "probability": 0.9, "times": []} for name in ("Alice", "Bob")]
    shares = {"Alice": 0.9, "Bob": 0.06, "Carol": 0.05, "unknown": 0.04}
    log.add(
        made(heard=heard, several=True, probabilities=shares), kind="identify", people={"Bob": people["Bob"]}
    )
    (record,) = log.page()
    assert (record.person_id, record.name) == (None, None)
    assert record.reason == "somebody's voice, from 2.5 s of speech"
    assert record.probabilities == {"somebody": 0.95, "Bob": 0.06, "unknown": 0.04}
    assert [person.name for person in record.heard] == ["somebody", "Bob"]
    assert "Alice" not in stored(any_gallery)


def test_only_the_likeliest_are_kept(log: DecisionLog) -> None:
    crowd = {f"P{number}": number + 1 for number in range(100)}
    probabilities = {name: number / 10_000 for name, number in crowd.items()} | {"unknown": 0.123456}
    log.add(made(name="P99", probabilities=probabilities), kind="identify", people=crowd)
    (record,) = log.page()
    assert list(record.probabilities.values()) == [0.01, 0.0099, 0.0098, 0.0097, 0.0096, 0.1235]


def test_pages(log: DecisionLog, people: Mapping[str, int]) -> None:
    new = [
        NewDecision(
            made(name=name, status="known" if name else "unknown"), "identify", people, f"key {index}"
        )
        for index, name in enumerate(["Alice", "Bob", None, "Alice", "Bob", None, "Alice"])
    ]
    ids = log.add_many(new)
    assert ids == sorted(ids)
    first = log.page(limit=3)
    assert [record.id for record in first] == ids[:3:-1]
    assert [record.actor for record in first] == ["key 6", "key 5", "key 4"]
    second = log.page(limit=3, before=first[-1].id)
    assert [record.id for record in second] == ids[3:0:-1]
    assert [record.id for record in log.page(before=second[-1].id)] == ids[:1]
    assert log.page(before=ids[0]) == []
    assert [record.id for record in log.page(status="unknown")] == [ids[5], ids[2]]
    assert [record.id for record in log.page(person_id=people["Alice"])] == [ids[6], ids[3], ids[0]]
    assert [record.id for record in log.page(1, ids[6], "known", people["Alice"])] == [ids[3]]
    assert log.page(person_id=people["Carol"]) == log.page(status="no such") == log.page(limit=0) == []
    assert len(log.page(limit=10**30, before=10**30)) == 7
    assert log.page(person_id=10**30) == log.page(before=-(10**30)) == []
    assert log.add_many([]) == []


def test_a_group_is_kept_as_a_whole(log: DecisionLog, people: Mapping[str, int]) -> None:
    lacking = made()
    del lacking["reason"]
    with pytest.raises(ConfigError, match="no field 'reason'"):
        log.add_many([NewDecision(made(), "identify", people), NewDecision(lacking, "identify", people)])
    assert log.page() == []


def test_last_heard(any_gallery: Gallery, log: DecisionLog, people: Mapping[str, int]) -> None:
    alice, bob, carol = people["Alice"], people["Bob"], people["Carol"]
    assert log.last_heard() == {}

    def add(minute: int, **changes: Any) -> None:
        time = START + timedelta(minutes=minute)
        log.add_many([NewDecision(made(**changes), "identify", people, time=time)])

    add(1)
    add(5)
    add(6, status="unsure", name="Alice")
    add(7, status="unknown", name=None)
    add(3, name="Bob")
    assert log.last_heard() == {alice: START + timedelta(minutes=5), bob: START + timedelta(minutes=3)}
    heard = [{"name": name, "probability": 0.9, "times": [[0.0, 1.0]]} for name in ("Bob", "Alice", "Carol")]
    add(4, name="Bob", several=True, heard=heard)
    add(8, name="Bob", several=True, heard=heard, status="unsure")
    assert log.last_heard() == {
        alice: START + timedelta(minutes=5),
        bob: START + timedelta(minutes=4),
        carol: START + timedelta(minutes=4),
    }
    any_gallery.forget("Bob")
    any_gallery.forget("Carol")
    assert log.last_heard() == {alice: START + timedelta(minutes=5)}


def test_several_voices_of_long_ago(
    log: DecisionLog, people: Mapping[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = [{"name": name, "probability": 0.9, "times": []} for name in ("Alice", "Bob")]
    log.add(made(several=True, heard=heard), kind="identify", people=people)
    log.add(made(status="unknown", name=None), kind="identify", people=people)
    assert log.last_heard().keys() == {people["Alice"], people["Bob"]}
    monkeypatch.setattr(decisions, "SEVERAL_AMONG", 1)
    assert log.last_heard().keys() == {people["Alice"]}


def test_purge(log: DecisionLog, people: Mapping[str, int]) -> None:
    times = [START + timedelta(days=day) for day in range(5)]
    ids = log.add_many([NewDecision(made(), "identify", people, time=time) for time in times])
    assert log.purge(times[0]) == 0
    assert log.purge(times[3]) == 3
    assert [record.id for record in log.page()] == [ids[4], ids[3]]
    assert log.add(made(), kind="identify", people=people) > ids[4]
    assert log.purge(datetime.now(UTC) + timedelta(seconds=1)) == 3
    assert log.page() == []


def test_a_damaged_row(any_gallery: Gallery, log: DecisionLog, people: Mapping[str, int]) -> None:
    number = log.add(made(), kind="identify", people=people)
    with any_gallery.database.write() as connection:
        connection.exec_driver_sql("UPDATE decisions SET detail = '['")
    with pytest.raises(GalleryError, match=f"decision {number}: .*restore a copy") as caught:
        log.page()
    assert "\n" not in str(caught.value)
