"""Recordings in requests."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Request

from openkith.service.problems import ProblemError
from openkith.service.uploads import MOST_PARTS, Upload, read_upload, read_uploads


def request(body: bytes, kind: str) -> Request:
    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers, "state": {"body": body}})


def form(*parts: tuple[str, bytes], boundary: str = "b") -> tuple[bytes, str]:
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {about}\r\n\r\n".encode() + data + b"\r\n"
        for about, data in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def status_of(body: bytes, kind: str) -> int:
    with pytest.raises(ProblemError) as refused:
        read_uploads(request(body, kind), "clips")
    return refused.value.problem.status


def test_raw() -> None:
    for kind in ("audio/wav", "audio/ogg; codecs=opus", "application/octet-stream", "video/webm"):
        (found,) = read_uploads(request(b"data", kind), "clips")
        assert found.data == b"data"
        assert "/" not in found.name


def test_form() -> None:
    data = b"\r\n--bb\r\n\x00\xff"  # looks like a boundary
    body, kind = form(
        ('name="clips"; filename="a.wav"', data),
        ('name="other"; filename="x"', b"ignored"),
        ('name="clips"; filename="b.wav"', b"2"),
        ('name="clips"', b"3"),
    )
    assert read_uploads(request(body, kind), "clips") == [
        Upload(data, "a.wav"),
        Upload(b"2", "b.wav"),
        Upload(b"3", "upload"),
    ]
    with pytest.raises(ProblemError) as refused:
        read_upload(request(body, kind), "clips")
    assert refused.value.field == "clips"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\a\\b.wav", "b.wav"),
        ("a\u202eb.wav", "ab.wav"),
        ("x" * 500, "x" * 100),
        ("Zoë.wav", "Zoë.wav"),
        ("/", "upload"),
    ],
)
def test_names_are_for_people(given: str, name: str) -> None:
    body, kind = form((f'name="clips"; filename="{given}"', b"1"))
    (found,) = read_uploads(request(body, kind), "clips")
    assert found.name.replace("\\", "/").rpartition("/")[2] == found.name
    assert found.name == name


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "",
        "multipart/mixed; boundary=b",
    ],
)
def test_other_types(kind: str) -> None:
    assert status_of(b"data", kind) == 415


def test_broken_forms() -> None:
    body, kind = form(('name="clips"; filename="a"', b"1"))
    assert status_of(body, "multipart/form-data") == 400
    assert status_of(body, "multipart/form-data; boundary=c") == 400
    assert status_of(body[:-10], kind) == 400
    assert status_of(b"", kind) == 400
    assert status_of(b"--b\r\n" + b"X" * 100_000 + b": y\r\n\r\n1\r\n--b--\r\n", kind) == 400
    assert status_of(b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n1\r\n--b--\r\n", kind) == 400


def test_empty_and_missing() -> None:
    assert status_of(*form(('name="clips"; filename="a"', b""))) == 422
    assert status_of(*form(('name="other"; filename="a"', b"1"))) == 422
    assert status_of(b"", "audio/wav") == 422


def test_endless_parts() -> None:
    parts: list[Any] = [('name="clips"; filename="a"', b"1")] * (MOST_PARTS + 1)
    assert status_of(*form(*parts)) == 413
