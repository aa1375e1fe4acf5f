"""What strangers might send to a daemon, each with the answer that it must get."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from hostile import REFUSED, bomb

pytestmark = pytest.mark.slow

Clip = Callable[..., bytes]
POST = b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\n"
NAMES = [
    "'; DROP TABLE people; --",
    "Robert'); DELETE FROM clips WHERE ('1'='1",
    '" OR ""="',
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "../../../etc/passwd",
    "C:\\Windows\\System32",
    "%2e%2e%2f",
    "{{7*7}}${7*7}",
    "=cmd|' /C calc'!A0",
]


@pytest.fixture(scope="module")
def daemon(shared_daemon: Any, clip: Clip) -> Any:
    """A daemon with two people, which takes recordings of 30 s and bodies of 1 MB."""
    for name, person in (("Alice", 1), ("Bob", 2)):
        shared_daemon.enrol(clip, name, person)
    return shared_daemon


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case)
def test_hostile_recordings(daemon: Any, case: str) -> None:
    data, _ = REFUSED[case]
    for path in ("/v1/identify", "/v1/speakers/1/clips", "/v1/measure"):
        answer = daemon.send_clip(path, data)
        problem = answer.json()
        expected = (413, "too-large") if len(data) > 1_000_000 else (422, "unusable-audio")
        assert (answer.status, problem["type"]) == (expected[0], f"urn:openkith:problem:{expected[1]}"), (
            problem
        )
        assert answer.headers["content-type"] == "application/problem+json"
        assert "\n" not in problem["detail"]
        assert "Traceback" not in problem["detail"]
    assert daemon.ask("GET", "/v1/speakers/1").json()["clips"] == 3


def test_a_bomb(daemon: Any) -> None:
    """Ten hours of near silence in little data, which takes the decoder long if it is let."""
    data = bomb(600)
    if len(data) > 1_000_000:
        data = bomb(60)
    answer = daemon.send_clip("/v1/identify", data)
    assert (answer.status, answer.json()["type"]) == (422, "urn:openkith:problem:unusable-audio")
    assert "30 s" in answer.json()["detail"]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(daemon: Any, clip: Clip, name: str) -> None:
    before = daemon.ask("GET", "/v1/speakers").json()["speakers"]
    made = daemon.ask("POST", "/v1/speakers", value={"name": name, "note": name})
    assert (made.status, made.json()["name"], made.json()["note"]) == (201, name, name)
    at = f"/v1/speakers/{made.json()['id']}"
    boundary = "x" * 20
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="clips"; filename="{name}"\r\n\r\n'.encode()
        + clip(50 + NAMES.index(name), 0)
        + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert daemon.ask("POST", f"{at}/clips", body, kind).status == 201
    source = daemon.ask("GET", f"{at}/clips").json()["clips"][0]["source"]
    assert "/" not in source
    assert "\\" not in source
    assert daemon.ask("DELETE", at).json()["name"] == name
    assert daemon.ask("GET", "/v1/speakers").json()["speakers"] == before


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../etc/passwd",
        "/page/%2e%2e/%2e%2e/app.py",
        "/../etc/passwd",
        "/v1/speakers/../../etc/passwd",
    ],
)
def test_paths_lead_nowhere(daemon: Any, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(daemon.url).netloc, timeout=10)
    connection.putrequest("GET", path, skip_host=False)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (404, 422)
    assert b"root:" not in body


def raw(daemon: Any, data: bytes, seconds: float = 2.0) -> bytes:
    """What is answered to bytes that need not be HTTP, until nothing comes any more."""
    place = urlsplit(daemon.url)
    found = b""
    with (
        socket.create_connection((place.hostname, place.port), timeout=seconds) as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(data)
        while part := connection.recv(65536):
            found += part
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["tls", "version", "header", "lengths", "negative", "smuggled"],
)
def test_what_is_not_http(daemon: Any, data: bytes) -> None:
    answer = raw(daemon, data)
    assert not answer or int(answer.split()[1]) in range(400, 500), answer[:200]
    assert daemon.ask("GET", "/healthz").status == 200


def test_a_promise_of_gigabytes(daemon: Any) -> None:
    head = POST + b"Content-Type: audio/wav\r\n"
    answer = raw(daemon, head + b"Content-Length: 9999999999\r\n\r\n" + b"RIFF")
    assert answer.startswith(b"HTTP/1.1 413")
    chunks = b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(20))
    answer = raw(daemon, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_many_who_send_nothing_are_in_nobodys_way(daemon: Any, clip: Clip) -> None:
    place = urlsplit(daemon.url)
    idle = []
    try:
        for _ in range(100):
            connection = socket.create_connection((place.hostname, place.port))
            connection.sendall(
                b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
                b"Content-Length: 1000\r\n\r\nRIFF"
            )
            idle.append(connection)
        assert daemon.send_clip("/v1/identify", clip(1, 9)).json()["name"] == "Alice"
    finally:
        for connection in idle:
            connection.close()


def test_honest_people_are_served_meanwhile(daemon: Any, clip: Clip) -> None:
    """Hostile files come all the time, and every answer to the others is right."""
    hostile = [data for data, _ in REFUSED.values() if 0 < len(data) < 1_000_000]
    done = threading.Event()

    def attack() -> None:
        while not done.is_set():
            for data in hostile:
                daemon.send_clip("/v1/identify", data)

    attackers = [threading.Thread(target=attack) for _ in range(2)]
    for thread in attackers:
        thread.start()
    try:
        for take in range(10):
            person = 1 + take % 2
            answer = daemon.send_clip("/v1/identify", clip(person, 60 + take))
            assert (answer.status, answer.json()["name"]) == (200, ["Alice", "Bob"][person - 1])
    finally:
        done.set()
        for thread in attackers:
            thread.join()
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert json.loads(daemon.ask("GET", "/readyz").body) == {"status": "ready"}
