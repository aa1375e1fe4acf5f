"""Tuning and calibrating over HTTP; here in a thread, as `create_app` without a worker does it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


def ended(client: Any, job: dict[str, Any], wait_until: Callable[..., Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        now = client.get(f"/v1/jobs/{job['id']}").json()
        return now if now["state"] not in ("waiting", "running") else None

    return wait_until(look)


def test_tune(client: Any, household: dict[str, int], wait_until: Callable[..., Any]) -> None:  # noqa: ARG001
    answer = client.post("/v1/tune", json={"method": "cosine", "seed": 3})
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["kind"], job["result"], job["error"]) == ("tune", None, None)
    done = ended(client, job, wait_until)
    assert (done["state"], done["error"]) == ("done", None)
    assert done["result"]["method"] == "cosine"
    assert client.get("/v1/status").json()["tuned"] is True
    assert client.get("/v1/jobs").json()["jobs"][0] == done


def test_calibrate_without_a_body(client: Any, household: dict[str, int], wait_until: Any) -> None:
    done = ended(client, client.post("/v1/calibrate").json(), wait_until)
    assert done["state"] == "done"
    assert set(done["result"]["basis"]) == set(household)  # with their present names


def test_calibrate_sets_rates(client: Any, household: dict[str, int], wait_until: Any) -> None:  # noqa: ARG001
    job = client.post("/v1/calibrate", json={"far": 0.05}).json()
    assert ended(client, job, wait_until)["state"] == "done"
    assert client.get("/v1/status").json()["far"] == 0.05


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("tune", {"method": "magic"}, None),
        ("tune", {"members": 0}, "members"),
        ("tune", {"unknown": "/etc"}, "unknown"),
        ("tune", {"enhancer": "/etc"}, "enhancer"),
        ("calibrate", {"far": 0}, "far"),
        ("calibrate", {"far": 1.5}, "far"),
        ("calibrate", {"background": "/etc"}, "background"),
    ],
)
def test_bad_settings(client: Any, path: str, body: dict[str, Any], field: str | None) -> None:
    answer = client.post(f"/v1/{path}", json=body)
    assert (answer.status_code, answer.json().get("field")) == (422, field)
    assert client.get("/v1/jobs").json()["jobs"][:1] != [{"kind": path, "state": "waiting"}]


def test_what_fails_says_why(start_app: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    client = start_app()
    done = ended(client, client.post("/v1/tune").json(), wait_until)
    assert done["state"] == "failed"
    assert done["error"].startswith("nobody is enrolled")


def test_one_of_a_kind_at_a_time(client: Any) -> None:
    jobs = client.app.state.daemon.jobs
    other = jobs.submit("tune", {"method": "cosine"})
    try:
        taken = jobs.get(other.id).state != "waiting" and jobs.get(other.id).state != "running"
        answer = client.post("/v1/tune")
        assert taken or (answer.status_code, answer.json()["type"]) == (409, "urn:openkith:problem:busy")
        assert taken or answer.headers["retry-after"]
    finally:
        client.delete(f"/v1/jobs/{other.id}")


def test_cancel(client: Any) -> None:
    client.app.state.daemon._runner.stop(0)  # so that nobody takes it
    job = client.post("/v1/calibrate").json()
    assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert client.delete("/v1/jobs/4711").status_code == 404
    assert client.get("/v1/jobs/4711/events").status_code == 404


def test_events(start_app: Callable[..., Any], enrolled: Callable[..., int]) -> None:
    client = start_app()
    enrolled(client, "Alice", 1, 2)
    enrolled(client, "Bob", 2, 2)
    job = client.post("/v1/tune", json={"method": "cosine"}).json()
    answer = client.get(f"/v1/jobs/{job['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n") for part in answer.text.strip().split("\n\n")]
    assert events[-1][0] == "event: end"
    assert all(kind == "event: progress" for kind, _ in events[:-1])
    last = json.loads(events[-1][1].removeprefix("data: "))
    assert (last["id"], last["state"]) == (job["id"], "done")
