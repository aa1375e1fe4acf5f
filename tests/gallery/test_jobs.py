from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from openkith.errors import BusyError, GalleryError, UnknownItemError
from openkith.gallery import Gallery, Job, Jobs, queries


class Clock:
    """The time of the gallery, which goes on when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(queries, "now", made)
    return made


@pytest.fixture
def jobs(any_gallery: Gallery) -> Iterator[Jobs]:
    yield Jobs(any_gallery)
    assert any_gallery.audit() == []


def claimed(jobs: Jobs, worker: str, seconds: float = 30) -> Job:
    job = jobs.claim(worker, seconds)
    assert job is not None
    return job


def test_from_beginning_to_end(jobs: Jobs, clock: Clock) -> None:
    start = clock.time
    assert jobs.list() == []
    assert jobs.claim("one", 30) is None
    job = jobs.submit("tune", {"method": "auto", "seed": 3}, actor="key 1")
    assert (job.kind, job.settings, job.actor) == ("tune", {"method": "auto", "seed": 3}, "key 1")
    assert (job.state, job.created, job.started, job.claims) == ("waiting", start, None, 0)
    assert (job.stage, job.done, job.total, job.result, job.error) == ("", 0, 0, None, None)
    clock.wait(5)
    job = claimed(jobs, "one")
    assert (job.state, job.worker, job.claims) == ("running", "one", 1)
    assert (job.started, job.lease) == (clock.time, clock.time + timedelta(seconds=30))
    assert job.settings == {"method": "auto", "seed": 3}
    assert jobs.claim("two", 30) is None
    clock.wait(20)
    assert jobs.renew(job.id, "one", 30, "views", 3, 8)
    clock.wait(20)
    assert jobs.claim("two", 30) is None
    now = jobs.get(job.id)
    assert (now.stage, now.done, now.total) == ("views", 3, 8)
    assert jobs.finish(job.id, "one", {"kept": True, "people": [3]})
    now = jobs.get(job.id)
    assert (now.state, now.result, now.finished, now.lease) == (
        "done",
        {"kept": True, "people": [3]},
        clock.time,
        None,
    )
    assert jobs.list() == [now]
    clock.wait(1000)
    assert jobs.claim("two", 30) is None
    assert not jobs.renew(job.id, "one", 30)
    assert not jobs.fail(job.id, "one", "too late")
    assert not jobs.give_back(job.id, "one")
    assert jobs.cancel(job.id) == now


def test_one_of_a_kind(jobs: Jobs) -> None:
    first = jobs.submit("tune", {})
    with pytest.raises(BusyError, match=f"job {first.id}, tune, is waiting already"):
        jobs.submit("tune", {})
    other = jobs.submit("calibrate", {"far": 0.01})
    assert claimed(jobs, "one").id == first.id  # the oldest first
    with pytest.raises(BusyError, match="is running already"):
        jobs.submit("tune", {})
    assert claimed(jobs, "one").id == other.id
    jobs.finish(first.id, "one", None)
    third = jobs.submit("tune", {})
    assert [job.id for job in jobs.list()] == [third.id, other.id, first.id]
    assert [job.id for job in jobs.list(limit=1)] == [third.id]
    with pytest.raises(GalleryError, match="plain JSON"):
        jobs.submit("bad", {"x": {1}})


def test_a_dead_worker_is_replaced_and_never_writes_again(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("tune", {"seed": 1})
    claimed(jobs, "one")
    jobs.renew(job.id, "one", 30, "views", 7, 8)
    clock.wait(30)
    assert jobs.claim("two", 30) is None  # to the last moment
    clock.wait(0.001)
    again = claimed(jobs, "two")
    assert (again.id, again.worker, again.claims) == (job.id, "two", 2)
    assert (again.stage, again.done, again.total, again.settings) == ("", 0, 0, {"seed": 1})
    assert not jobs.renew(job.id, "one", 30)
    assert not jobs.finish(job.id, "one", "of the dead")
    assert not jobs.fail(job.id, "one", "of the dead")
    assert not jobs.give_back(job.id, "one")
    assert jobs.get(job.id) == again


def test_a_late_worker_goes_on_if_nobody_took_over(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("tune", {})
    claimed(jobs, "one")
    clock.wait(300)
    assert jobs.renew(job.id, "one", 30)
    assert jobs.claim("two", 30) is None


def test_three_deaths_are_enough(jobs: Jobs, clock: Clock) -> None:
    job = jobs.submit("tune", {})
    for number in range(3):
        assert claimed(jobs, f"worker {number}").claims == number + 1
        clock.wait(31)
    other = jobs.submit("calibrate", {})
    assert claimed(jobs, "last").id == other.id
    ended = jobs.get(job.id)
    assert (ended.state, ended.finished) == ("failed", clock.time)
    assert "its process died three times" in str(ended.error)
    jobs.submit("tune", {})  # and the way is free


def test_given_back_in_good_order(jobs: Jobs) -> None:
    job = jobs.submit("tune", {"seed": 1})
    for number in range(5):  # which is no death
        assert claimed(jobs, f"{number}").claims == 1
        jobs.renew(job.id, f"{number}", 30, "views", 1, 2)
        assert jobs.give_back(job.id, f"{number}")
        waiting = jobs.get(job.id)
        assert (waiting.state, waiting.stage, waiting.done, waiting.lease) == ("waiting", "", 0, None)
    assert claimed(jobs, "last").settings == {"seed": 1}


def test_cancelling(jobs: Jobs, clock: Clock) -> None:
    waiting = jobs.submit("tune", {})
    assert jobs.cancel(waiting.id).state == "cancelled"
    assert jobs.claim("one", 30) is None
    running = jobs.submit("tune", {})
    claimed(jobs, "one")
    cancelled = jobs.cancel(running.id)
    assert (cancelled.state, cancelled.finished) == ("cancelled", clock.time)
    assert not jobs.renew(running.id, "one", 30)
    assert not jobs.finish(running.id, "one", 1)
    assert jobs.get(running.id) == cancelled == jobs.cancel(running.id)
    for number in (99, 0, 10**30):
        for call in (jobs.get, jobs.cancel):
            with pytest.raises(UnknownItemError, match=f"no job {number}"):
                call(number)


def test_an_error_with_a_name_in_it(any_gallery: Gallery) -> None:
    jobs = Jobs(any_gallery)
    alice = any_gallery.add_person("Alice")
    job = jobs.submit("tune", {})
    claimed(jobs, "one")
    assert jobs.fail(job.id, "one", "Alice has no clip")
    assert jobs.get(job.id).error == jobs.list()[0].error == "Alice has no clip"
    any_gallery.rename("Alice", "Alicia")
    assert jobs.get(job.id).error == "Alicia has no clip"
    any_gallery.forget("Alicia")
    assert jobs.get(job.id).error == jobs.list()[0].error == f"person {alice.id} has no clip"
    assert jobs.get(job.id).state == "failed"


def test_a_falsy_result_comes_back(jobs: Jobs) -> None:
    for result in (None, 0, "", [], {}):
        job = jobs.submit("tune", {})
        claimed(jobs, "one")
        assert jobs.finish(job.id, "one", result)
        assert jobs.get(job.id).result == result


def test_purge(jobs: Jobs, clock: Clock) -> None:
    first = jobs.submit("tune", {})
    claimed(jobs, "one")
    jobs.finish(first.id, "one", 1)
    second = jobs.submit("tune", {})
    clock.wait(100)
    third = jobs.submit("calibrate", {})
    jobs.cancel(third.id)
    assert jobs.purge(clock.time - timedelta(seconds=200)) == 0
    assert jobs.purge(clock.time) == 1
    assert [job.id for job in jobs.list()] == [third.id, second.id]


def test_exactly_one_gets_it(place: str) -> None:
    """Many daemons, each with a gallery of its own, ask at once."""
    with Gallery(place) as gallery:
        first, second = (Jobs(gallery).submit(kind, {}) for kind in ("tune", "calibrate"))

        def claim(number: int) -> Job | None:
            with Gallery(place) as other:
                return Jobs(other).claim(f"worker {number}", 30)

        with ThreadPoolExecutor(6) as pool:
            got = [job for job in pool.map(claim, range(12)) if job is not None]
        assert sorted(job.id for job in got) == [first.id, second.id]
        assert {job.worker for job in got} == {job.worker for job in Jobs(gallery).list()}
