"""Identify and verify over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Clip = Callable[..., bytes]


def post(client: Any, path: str, data: bytes) -> Any:
    return client.post(path, content=data, headers={"Content-Type": "audio/wav"})


def test_nobody_is_enrolled(start_app: Callable[..., Any], clip: Clip) -> None:
    client = start_app()
    answer = post(client, "/v1/identify", clip(1, 9))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:openkith:problem:not-enough-data")
    assert client.get("/v1/decisions").json() == {"decisions": [], "next": None}


def test_identify_is_the_library_call(client: Any, clip: Clip, household: dict[str, int]) -> None:
    answer = post(client, "/v1/identify", clip(1, 9)).json()
    recognizer = client.app.state.daemon.recognizer
    same = recognizer.identify(clip(1, 9)).to_dict()
    assert {name: answer[name] for name in same} == {**same, "warnings": list(same["warnings"])}
    assert (answer["name"], answer["speaker_id"]) == ("Alice", household["Alice"])
    stranger = post(client, "/v1/identify", clip(77, 0)).json()
    assert (stranger["name"], stranger["speaker_id"]) == (None, None) or stranger["status"] != "known"


def test_multipart_is_the_same(client: Any, clip: Clip, household: dict[str, int]) -> None:  # noqa: ARG001
    raw = post(client, "/v1/identify", clip(2, 8)).json()
    form = client.post("/v1/identify", files={"clip": ("who.wav", clip(2, 8))}).json()
    assert {**raw, "id": 0} == {**form, "id": 0}
    assert form["id"] == raw["id"] + 1


def test_every_decision_is_kept(client: Any, clip: Clip, household: dict[str, int]) -> None:
    answer = post(client, "/v1/identify", clip(1, 7)).json()
    kept = client.get("/v1/decisions?limit=1").json()["decisions"][0]
    assert kept["id"] == answer["id"]
    assert (kept["kind"], kept["status"], kept["name"]) == ("identify", answer["status"], answer["name"])
    assert kept["speaker_id"] == household["Alice"]
    assert kept["actor"] == "http"
    assert kept["reason"] == answer["reason"]
    assert kept["seconds"] == pytest.approx(answer["speech_seconds"])
    speaker = client.get(f"/v1/speakers/{household['Alice']}").json()
    assert speaker["last_heard"] == kept["time"]


def test_verify(client: Any, clip: Clip, household: dict[str, int]) -> None:
    right = post(client, f"/v1/verify?speaker_id={household['Bob']}", clip(2, 7)).json()
    wrong = post(client, f"/v1/verify?speaker_id={household['Alice']}", clip(2, 7)).json()
    assert (right["accepted"], wrong["accepted"]) == (True, False)
    assert (right["speaker_id"], wrong["speaker_id"]) == (household["Bob"], household["Alice"])
    assert client.get("/v1/decisions?limit=2").json()["decisions"][0]["kind"] == "verify"
    assert post(client, "/v1/verify?speaker_id=4711", clip(2, 7)).status_code == 404
    assert post(client, "/v1/verify", clip(2, 7)).json()["field"] == "speaker_id"


def test_a_claim_about_somebody_without_clips(client: Any, clip: Clip) -> None:
    number = client.post("/v1/speakers", json={"name": "Nobody yet"}).json()["id"]
    answer = post(client, f"/v1/verify?speaker_id={number}", clip(2, 7))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:openkith:problem:not-enough-data")


def test_settings_of_the_call(client: Any, clip: Clip, household: dict[str, int]) -> None:  # noqa: ARG001
    assert post(client, "/v1/identify?voices=one", clip(1, 6)).status_code == 200
    assert post(client, "/v1/identify?voices=many", clip(1, 6)).json()["field"] == "voices"
    several = post(client, "/v1/identify?voices=several", clip(1, 6))
    assert several.status_code == 422  # this encoder cannot


def test_one_recording_at_a_time(client: Any, clip: Clip) -> None:
    files = [("clip", ("a.wav", clip(1, 6))), ("clip", ("b.wav", clip(1, 5)))]
    answer = client.post("/v1/identify", files=files)
    assert (answer.status_code, answer.json()["field"]) == (422, "clip")


def test_too_long(start_app: Callable[..., Any], clip: Clip) -> None:
    client = start_app(max_seconds=1.0)
    answer = post(client, "/v1/measure", clip(1, 6))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:openkith:problem:unusable-audio")
