"""Bodies within limits of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from openkith.service import bodies
from openkith.service.bodies import Bodies, body_of


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.05)


def ask(app: Any, messages: list[Any], headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of what an ASGI application answers to a POST that comes in pieces."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/v1/measure", "headers": raw, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    if not sent:
        return 0, b""
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["body"] == body_of(scope)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body_of(scope)})


def part(data: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_pieces_become_one() -> None:
    app = Bodies(echo, 10)
    assert ask(app, [part(b"abc", True), part(b"", True), part(b"def", False)]) == (200, b"abcdef")
    assert app._budget.left == Bodies(echo, 10)._budget.left


def test_too_large_by_its_header_or_by_its_bytes() -> None:
    app = Bodies(echo, 10)
    assert ask(app, [part(b"", False)], {"Content-Length": "11"})[0] == 413
    assert ask(app, [part(b"12345678901", True)])[0] == 413
    assert ask(app, [part(b"1234567890", False)])[0] == 200
    assert ask(app, [part(b"1" * 11, False)], {"Content-Type": "application/json"})[0] == 200
    assert ask(app, [part(b"1" * (2**20 + 1), False)], {"Content-Type": "application/json"})[0] == 413
    assert app._budget.left == Bodies(echo, 10)._budget.left


def test_what_is_refused_is_read_to_its_end() -> None:
    """Else a client that is still sending would not see why."""
    rest = [part(b"x" * 11, True), part(b"y" * 5, True), part(b"z", False), part(b"more", True)]
    assert ask(Bodies(echo, 10), rest)[0] == 413
    assert rest == [part(b"more", True)]
    endless = [part(b"x" * 11, True)] * 1000
    assert ask(Bodies(echo, 10), endless)[0] == 413
    assert len(endless) > 990
    waiting = [part(b"", False)]
    assert ask(Bodies(echo, 10), waiting, {"Content-Length": "11", "Expect": "100-continue"})[0] == 413
    assert waiting


def test_compressed() -> None:
    assert ask(Bodies(echo, 10), [part(b"", False)], {"Content-Encoding": "gzip"})[0] == 415


def test_a_pause_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    status, body = ask(Bodies(echo, 10), [part(b"a", True)])
    assert status == 408
    assert b"timeout" in body


def test_a_trickle_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SECONDS", 0.1)

    async def slowly() -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.03)
            return part(b"a", True)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
        await Bodies(echo, 1000)(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(slowly()) == 408


def test_all_bodies_together_have_a_limit() -> None:
    app = Bodies(echo, 10)
    app._budget.left = 5
    assert ask(app, [part(b"123456", False)])[0] == 429
    assert app._budget.left == 5


def test_who_has_gone_gets_no_answer() -> None:
    app = Bodies(echo, 10)
    assert ask(app, [part(b"abc", True), {"type": "http.disconnect"}]) == (0, b"")
    assert app._budget.left == Bodies(echo, 10)._budget.left


def test_over_http(start_app: Callable[..., Any]) -> None:
    client = start_app(max_bytes=1000)
    kind = {"Content-Type": "audio/wav"}
    answer = client.post("/v1/measure", content=b"x" * 1001, headers=kind)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:openkith:problem:too-large")
    assert client.post("/v1/measure", content=b"x" * 1000, headers=kind).status_code == 422
    assert client.post("/v1/measure", files={"clip": b"x" * 1000}).status_code == 422
