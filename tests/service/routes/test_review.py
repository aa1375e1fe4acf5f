"""Review over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Clip = Callable[..., bytes]


def identify(client: Any, data: bytes) -> dict[str, Any]:
    answer = client.post("/v1/identify", content=data, headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def waiting(client: Any) -> list[dict[str, Any]]:
    return [clip for group in client.get("/v1/review").json()["groups"] for clip in group["clips"]]


@pytest.fixture
def reviewed(
    start_app: Callable[..., Any], clip: Clip, enrolled: Callable[..., int], wait_until: Callable[..., Any]
) -> Any:
    """A client whose gallery keeps two recordings of a stranger."""
    client = start_app()
    enrolled(client, "Alice", 1)
    enrolled(client, "Bob", 2)
    assert client.get("/v1/review").json() == {"keep": False, "days": 30, "groups": []}
    assert identify(client, clip(77, 0))["status"] != "known"
    assert client.put("/v1/review/settings", json={"keep": True, "days": 7}).json() == {
        "keep": True,
        "days": 7,
    }
    for take in (1, 2):
        assert identify(client, clip(77, take))["status"] != "known"
    wait_until(lambda: len(waiting(client)) == 2)
    return client


def test_only_what_is_wanted_is_kept(reviewed: Any) -> None:
    found = reviewed.get("/v1/review").json()
    assert (found["keep"], found["days"]) == (True, 7)
    assert reviewed.get("/v1/status").json()["review"] == {"keep": True, "days": 7}
    (group,) = found["groups"]
    assert group["seconds"] == pytest.approx(4.0)
    audio = reviewed.get(f"/v1/review/clips/{group['clips'][0]['id']}/audio")
    assert (audio.headers["content-type"], audio.content[:4]) == ("audio/flac", b"fLaC")


def test_enrol_and_undo(reviewed: Any) -> None:
    ids = [clip["id"] for clip in waiting(reviewed)]
    answer = reviewed.post("/v1/review/enroll", json={"clips": ids, "name": "Carol", "consent": "2026-02-03"})
    assert answer.status_code == 201
    assert (answer.json()["name"], answer.json()["added"]) == ("Carol", 2)
    (carol,) = [p for p in reviewed.get("/v1/speakers").json()["speakers"] if p["name"] == "Carol"]
    assert (carol["clips"], carol["consent"]) == (2, "2026-02-03")
    assert waiting(reviewed) == []
    undone = reviewed.post("/v1/review/undo").json()
    assert (undone["undone"], sorted(undone["clips"])) == ("enrolled", sorted(ids))
    assert sorted(clip["id"] for clip in waiting(reviewed)) == sorted(ids)


def test_dismiss_and_undo(reviewed: Any) -> None:
    ids = [clip["id"] for clip in waiting(reviewed)]
    assert reviewed.post("/v1/review/dismiss", json={"clips": ids[:1]}).status_code == 204
    assert [clip["id"] for clip in waiting(reviewed)] == ids[1:]
    assert reviewed.post("/v1/review/undo").json() == {"undone": "dismissed", "clips": ids[:1]}
    assert sorted(clip["id"] for clip in waiting(reviewed)) == sorted(ids)
    assert reviewed.post("/v1/review/undo").status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("enroll", {"clips": [], "name": "C"}, 422),
        ("enroll", {"clips": [1], "name": ""}, 422),
        ("enroll", {"clips": [4711], "name": "C"}, 404),
        ("dismiss", {"clips": [4711]}, 404),
        ("dismiss", {"clips": [0]}, 422),
        ("dismiss", {"clips": [2**40]}, 422),
    ],
)
def test_bad_requests(client: Any, path: str, body: dict[str, Any], status: int) -> None:
    assert client.post(f"/v1/review/{path}", json=body).status_code == status


def test_no_such_recording(client: Any) -> None:
    assert client.get("/v1/review/clips/4711/audio").status_code == 404
    assert client.put("/v1/review/settings", json={"keep": True, "days": 0}).status_code == 422
