"""The same write again is done once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from openkith.service.idempotency import digest_of


def names(client: Any) -> list[str]:
    return [person["name"] for person in client.get("/v1/speakers").json()["speakers"]]


def test_a_write_is_done_once(client: Any) -> None:
    headers = {"Idempotency-Key": "one"}
    first = client.post("/v1/speakers", json={"name": "Once"}, headers=headers)
    again = client.post("/v1/speakers", json={"name": "Once"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert {name: first.headers[name] for name in ("etag", "location", "content-type")} == {
        name: again.headers[name] for name in ("etag", "location", "content-type")
    }
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert names(client).count("Once") == 1


def test_another_request_with_the_key(client: Any) -> None:
    headers = {"Idempotency-Key": "two"}
    assert client.post("/v1/speakers", json={"name": "Two"}, headers=headers).status_code == 201
    other = client.post("/v1/speakers", json={"name": "Three"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "urn:openkith:problem:idempotency-key-reused")
    assert "Three" not in names(client)
    number = client.post("/v1/speakers", json={"name": "Four"}).json()["id"]
    elsewhere = client.patch(f"/v1/speakers/{number}", json={"name": "Two"}, headers=headers)
    assert elsewhere.status_code == 409  # another address, another key


def test_what_was_refused_may_be_tried_again(client: Any) -> None:
    headers = {"Idempotency-Key": "five"}
    assert client.post("/v1/speakers", json={"name": ""}, headers=headers).status_code == 422
    assert client.post("/v1/speakers", json={"name": "Five"}, headers=headers).status_code == 201


def test_a_form_has_another_boundary_each_time(client: Any, clip: Callable[..., bytes]) -> None:
    number = client.post("/v1/speakers", json={"name": "Six"}).json()["id"]
    headers = {"Idempotency-Key": "six"}
    answers = [
        client.post(f"/v1/speakers/{number}/clips", files={"clips": ("a.wav", clip(61, 0))}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert client.get(f"/v1/speakers/{number}").json()["clips"] == 1


def test_deletions_too(client: Any) -> None:
    number = client.post("/v1/speakers", json={"name": "Seven"}).json()["id"]
    kept = client.post("/v1/review/dismiss", json={"clips": [4711]}, headers={"Idempotency-Key": "x"})
    assert kept.status_code == 404
    gone = client.delete(f"/v1/speakers/{number}", headers={"Idempotency-Key": "seven"})
    assert gone.status_code == 200
    # the receipt names the person, and so it is not kept
    assert client.delete(f"/v1/speakers/{number}", headers={"Idempotency-Key": "seven"}).status_code == 404


def test_two_at_once_are_one(client: Any, clip: Callable[..., bytes], monkeypatch: Any) -> None:
    number = client.post("/v1/speakers", json={"name": "Eight"}).json()["id"]
    recognizer, begun, go = client.app.state.daemon.recognizer, threading.Event(), threading.Event()
    enroll = recognizer.enroll

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        assert go.wait(10)
        return enroll(*args, **options)

    monkeypatch.setattr(recognizer, "enroll", slow)

    def post() -> Any:
        return client.post(
            f"/v1/speakers/{number}/clips",
            content=clip(62, 0),
            headers={"Idempotency-Key": "eight", "Content-Type": "audio/wav"},
        )

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post)
        assert begun.wait(10)
        second = post()
        go.set()
        assert first.result().status_code == 201
    assert (second.status_code, second.json()["type"]) == (409, "urn:openkith:problem:busy")
    assert second.headers["retry-after"]
    assert post().headers["idempotency-replayed"] == "true"
    assert client.get(f"/v1/speakers/{number}").json()["clips"] == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9", "a\tb"])
def test_keys_that_are_none(client: Any, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/v1/speakers", json={"name": "Nine"}, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")
    assert "Nine" not in names(client)


def test_reading_takes_no_key(client: Any) -> None:
    for _ in range(2):
        answer = client.get("/v1/speakers", headers={"Idempotency-Key": "ten"})
        assert "idempotency-replayed" not in answer.headers


def test_digests() -> None:
    form = "multipart/form-data; boundary="
    assert digest_of(f"{form}abc", b"--abc\r\nx--abc--") == digest_of(f'{form}"xyz"', b"--xyz\r\nx--xyz--")
    assert digest_of(f"{form}abc", b"--abc\r\nx") != digest_of(f"{form}abc", b"--abc\r\ny")
    assert digest_of("audio/wav", b"a") != digest_of("audio/flac", b"a")
    assert digest_of("audio/wav", b"a") == digest_of("Audio/WAV; x=1", b"a")
