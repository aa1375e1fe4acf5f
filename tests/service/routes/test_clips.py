"""Clips over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Clip = Callable[..., bytes]


def person(client: Any, name: str) -> str:
    return f"/v1/speakers/{client.post('/v1/speakers', json={'name': name}).json()['id']}"


def test_upload_many_and_list(client: Any, clip: Clip) -> None:
    at = person(client, "Alice")
    files = [("clips", (f"a{take}.wav", clip(21, take), "audio/wav")) for take in range(2)]
    answer = client.post(f"{at}/clips", files=files)
    report = answer.json()
    assert answer.status_code == 201
    assert (report["name"], report["added"], report["clips"]) == ("Alice", 2, 2)
    assert -1 <= report["cohesion"] <= 1
    clips = client.get(f"{at}/clips").json()["clips"]
    assert [found["source"] for found in clips] == ["a0.wav", "a1.wav"]
    assert [found["has_audio"] for found in clips] == [False, False]
    assert clips[0]["cohesion"] == pytest.approx(report["cohesion"])
    assert client.get(at).json()["clips"] == 2


def test_raw_body_and_kept_audio(client: Any, clip: Clip) -> None:
    at = person(client, "Bob")
    answer = client.post(
        f"{at}/clips?keep_audio=true", content=clip(22, 0), headers={"Content-Type": "audio/wav"}
    )
    assert answer.json()["added"] == 1
    assert client.get(f"{at}/clips").json()["clips"][0]["has_audio"] is True


def test_all_or_none(client: Any, clip: Clip) -> None:
    at = person(client, "Carol")
    files = [("clips", ("good.wav", clip(23, 0))), ("clips", ("bad.wav", b"RIFFnothing"))]
    answer = client.post(f"{at}/clips", files=files)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:openkith:problem:unusable-audio")
    assert answer.json()["detail"].startswith("bad.wav: ")
    assert client.get(f"{at}/clips").json()["clips"] == []


def test_the_same_clip_twice(client: Any, clip: Clip) -> None:
    at = person(client, "Dora")
    upload = {"content": clip(24, 0), "headers": {"Content-Type": "audio/wav"}}
    assert client.post(f"{at}/clips", **upload).status_code == 201
    again = client.post(f"{at}/clips", **upload)
    assert (again.status_code, again.json()["type"]) == (409, "urn:openkith:problem:duplicate-clip")


def test_drop_and_undo(client: Any, clip: Clip) -> None:
    at = person(client, "Erin")
    for take in range(2):
        client.post(f"{at}/clips", content=clip(25, take), headers={"Content-Type": "audio/wav"})
    first, second = (found["id"] for found in client.get(f"{at}/clips").json()["clips"])
    assert client.delete(f"{at}/clips/{first}").status_code == 204
    assert client.delete(f"{at}/clips/{first}").status_code == 404
    last = client.delete(f"{at}/clips/{second}")
    assert last.status_code == 409
    undone = client.post("/v1/undo").json()
    assert undone == {"name": "Erin", "clips": 1, "person_removed": False}
    assert client.get(f"{at}/clips").json()["clips"] == []


def test_names_of_files_are_no_paths(client: Any, clip: Clip) -> None:
    at = person(client, "Fay")
    name = "../../etc/<b>'; DROP TABLE clips;--\u202e.wav"
    assert client.post(f"{at}/clips", files=[("clips", (name, clip(26, 0)))]).status_code == 201
    source = client.get(f"{at}/clips").json()["clips"][0]["source"]
    assert "/" not in source
    assert source.isprintable()


def test_measure(client: Any, clip: Clip) -> None:
    found = client.post("/v1/measure", files={"clip": ("a.wav", clip(27, 0))}).json()
    assert found["seconds"] == pytest.approx(2.0)
    assert 0 < found["speech_seconds"] <= 2.0
    assert isinstance(found["advice"], list)


@pytest.mark.parametrize(
    ("content", "kind", "status", "problem"),
    [
        (b"x", "text/plain", 415, "unsupported-type"),
        (b"x", "", 415, "unsupported-type"),
        (b"", "audio/wav", 422, "unusable-audio"),
        (b"x" * 100, "audio/wav", 422, "unusable-audio"),
        (b"x", "multipart/form-data", 400, "bad-request"),
        (b"--b\r\n", "multipart/form-data; boundary=b", 400, "bad-request"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "invalid"),
    ],
)
def test_what_is_no_recording(client: Any, content: bytes, kind: str, status: int, problem: str) -> None:
    answer = client.post("/v1/measure", content=content, headers={"Content-Type": kind} if kind else {})
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:openkith:problem:{problem}")


def test_unknown_person(client: Any, clip: Clip) -> None:
    upload = {"content": clip(28, 0), "headers": {"Content-Type": "audio/wav"}}
    assert client.post("/v1/speakers/4711/clips", **upload).status_code == 404
    assert client.get("/v1/speakers/4711/clips").status_code == 404
