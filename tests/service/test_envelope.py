"""Headers around every answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openkith.service.envelope import Envelope
from openkith.service.metrics import Metrics


def ask(app: Any, path: str = "/v1/x") -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send))
    return sent


async def fine(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-cache")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def broken(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    raise RuntimeError("broken")


async def half(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("half")


def test_every_answer_is_safe_for_a_browser(client: Any) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/v1/speakers", "/v1/nothing", "/page/nothing"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert (headers.get("cache-control") == "no-store") == path.startswith("/v1")


def test_https_stays_https() -> None:
    with_tls = ask(Envelope(fine, Metrics(), tls=True, shared=False))[0]["headers"]
    assert (b"strict-transport-security", b"max-age=31536000") in with_tls
    without = ask(Envelope(fine, Metrics(), tls=False, shared=True))[0]["headers"]
    names = {name for name, _ in without}
    assert not names & {b"strict-transport-security", b"cross-origin-resource-policy"}


def test_what_is_set_already_stays() -> None:
    headers = ask(Envelope(fine, Metrics(), tls=False, shared=False))[0]["headers"]
    assert [value for name, value in headers if name == b"cache-control"] == [b"no-cache"]


def test_a_bug_has_an_answer_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    sent = ask(Envelope(broken, metrics, tls=False, shared=False))
    assert sent[0]["status"] == 500
    assert b'status="500"' in metrics.page()
    assert "broken" in caplog.text
    with pytest.raises(RuntimeError, match="half"):
        ask(Envelope(half, metrics, tls=False, shared=False))
