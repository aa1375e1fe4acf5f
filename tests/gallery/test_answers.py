from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from openkith.errors import BusyError, GalleryError, IdempotencyError
from openkith.gallery import Answer, Answers, Gallery, queries
from openkith.gallery.answers import MAX_BODY_BYTES

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def answers(any_gallery: Gallery) -> Answers:
    return Answers(any_gallery)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> datetime:
    time = START + timedelta(seconds=seconds)
    monkeypatch.setattr(queries, "now", lambda: time)
    return time


def test_the_same_answer_again(any_gallery: Gallery, answers: Answers) -> None:
    body = bytes(range(256))
    assert answers.begin("key", "digest") is None
    assert answers.finish("key", 201, {"Content-Type": "application/json", "ETag": '"x"'}, body)
    expected = Answer(201, {"Content-Type": "application/json", "ETag": '"x"'}, body)
    assert answers.begin("key", "digest") == answers.begin("key", "digest") == expected
    assert answers.begin("another key", "digest") is None
    assert any_gallery.audit() == []


def test_an_empty_answer_is_an_answer(answers: Answers) -> None:
    answers.begin("key", "digest")
    answers.finish("key", 204, {}, b"")
    assert answers.begin("key", "digest") == Answer(204, {}, b"")


def test_another_request_with_the_key(answers: Answers) -> None:
    answers.begin("key", "digest")
    with pytest.raises(IdempotencyError, match="used for another request: choose a new key"):
        answers.begin("key", "other")
    answers.finish("key", 200, {}, b"")
    with pytest.raises(IdempotencyError):
        answers.begin("key", "other")


def test_a_request_that_is_still_running(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, 0)
    assert answers.begin("key", "digest") is None
    at(monkeypatch, 119)
    with pytest.raises(BusyError, match="is being done: ask again"):
        answers.begin("key", "digest")
    at(monkeypatch, 120)
    assert answers.begin("key", "digest") is None  # taken for dead, and taken over
    at(monkeypatch, 239)
    with pytest.raises(BusyError):
        answers.begin("key", "digest")


def test_one_of_many_goes_ahead(place: str) -> None:
    with Gallery(place) as gallery:

        def begin(_: int) -> bool:
            try:
                return Answers(gallery).begin("key", "digest") is None
            except BusyError:
                return False

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(begin, range(12))) == 1


def test_dropped(answers: Answers) -> None:
    answers.begin("key", "digest")
    answers.drop("key")
    answers.drop("never begun")
    assert not answers.finish("key", 200, {}, b"")
    assert answers.begin("key", "other") is None


def test_large_answers(answers: Answers) -> None:
    answers.begin("key", "digest")
    with pytest.raises(GalleryError, match="1000001 bytes cannot be kept"):
        answers.finish("key", 200, {}, b"x" * (MAX_BODY_BYTES + 1))
    assert answers.finish("key", 200, {}, b"x" * MAX_BODY_BYTES)
    found = answers.begin("key", "digest")
    assert found is not None
    assert len(found.body) == MAX_BODY_BYTES


def test_purge(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [at(monkeypatch, seconds) for seconds in (0, 60, 120)]
    for index, seconds in enumerate((0, 60, 120)):
        at(monkeypatch, seconds)
        answers.begin(f"{index}", "digest")
        answers.finish(f"{index}", 200, {}, b"")
    assert answers.purge(times[0]) == 0
    assert answers.purge(times[2]) == 2
    assert answers.begin("2", "digest") is not None
    assert answers.begin("1", "digest") is None
