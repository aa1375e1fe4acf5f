"""Two daemons on one PostgreSQL database serve one gallery."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Clip = Callable[..., bytes]


@pytest.fixture
def pair(start_daemon: Callable[..., Any], postgresql_database: str) -> tuple[Any, Any]:
    first = start_daemon(gallery=postgresql_database)
    return first, start_daemon(gallery=postgresql_database)


def test_one_gallery(pair: tuple[Any, Any], clip: Clip) -> None:
    one, other = pair
    numbers = [
        daemon.enrol(clip, name, person) for daemon, name, person in ((one, "Alice", 1), (other, "Bob", 2))
    ]
    for daemon in pair:  # both have a model in memory now
        assert daemon.send_clip("/v1/identify", clip(1, 8)).json()["name"] == "Alice"

    carol = one.enrol(clip, "Carol", 3)
    answer = other.send_clip("/v1/identify", clip(3, 9)).json()  # the very next one knows
    assert (answer["name"], answer["speaker_id"]) == ("Carol", carol)

    tag = other.ask("GET", f"/v1/speakers/{carol}").headers["etag"]
    assert one.ask("PATCH", f"/v1/speakers/{carol}", value={"name": "Caroline"}).status == 200
    late = other.ask("PATCH", f"/v1/speakers/{carol}", headers={"If-Match": tag}, value={"name": "Late"})
    assert late.status == 412
    assert other.send_clip("/v1/identify", clip(3, 8)).json()["name"] == "Caroline"

    assert other.ask("DELETE", f"/v1/speakers/{carol}").status == 200
    assert one.send_clip("/v1/identify", clip(3, 7)).json()["name"] != "Caroline"
    history = one.ask("GET", "/v1/decisions").json()["decisions"]
    assert {entry["name"] for entry in history} <= {"Alice", "Bob", f"person {carol}", None}
    assert [entry["id"] for entry in history] == sorted((entry["id"] for entry in history), reverse=True)
    assert numbers == [1, 2]


def test_a_job_is_taken_once(pair: tuple[Any, Any], clip: Clip, wait_until: Any) -> None:
    one, other = pair
    one.enrol(clip, "Alice", 1)
    other.enrol(clip, "Bob", 2)
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            asked = list(
                pool.map(lambda daemon: daemon.ask("POST", "/v1/tune", value={"method": "cosine"}), pair)
            )
        assert sorted(answer.status for answer in asked) == [202, 409]
        job = next(answer.json()["id"] for answer in asked if answer.status == 202)
        wait_until(lambda job=job: other.ask("GET", f"/v1/jobs/{job}").json()["state"] == "done", 60.0)
    entries = one.ask("GET", "/v1/audit?limit=500").json()["entries"]
    assert len([entry for entry in entries if entry["action"] == "tune"]) == 3
    for daemon in pair:
        assert daemon.ask("GET", "/v1/status").json()["tuned"] is True


def test_the_same_write_through_both(pair: tuple[Any, Any]) -> None:
    for number in range(5):
        with ThreadPoolExecutor(2) as pool:
            asked = list(
                pool.map(
                    lambda daemon, number=number: daemon.ask(
                        "POST",
                        "/v1/speakers",
                        headers={"Idempotency-Key": f"k{number}"},
                        value={"name": f"Person {number}"},
                    ),
                    pair,
                )
            )
        assert sorted({answer.status for answer in asked}) in ([201], [201, 409])
    people = pair[0].ask("GET", "/v1/speakers").json()["speakers"]
    assert sorted(person["name"] for person in people) == [f"Person {number}" for number in range(5)]
