"""Host, origin, keys and rates, before anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect

from openkith.gallery.api_keys import ApiKeys
from openkith.service.gate import check_host, check_origin
from openkith.service.problems import ProblemError


def key_of(client: Any, *scopes: str) -> tuple[dict[str, str], Any]:
    key, text = ApiKeys(client.app.state.daemon.gallery).create("test", list(scopes))
    return {"Authorization": f"Bearer {text}"}, key


def settle(client: Any) -> None:
    """As after the second in which the daemon remembers keys."""
    ring = client.app.state.daemon.keyring
    ring._open = (False, 0.0)
    ring._known.clear()


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        *[("localhost", True), ("localhost:8737", True), ("127.0.0.1:1", True), ("[::1]:8737", True)],
        *[("LOCALHOST", True), ("kith.localhost", True), ("localhost.", True), ("127.8.8.8", True)],
        *[("", False), ("evil.example", False), ("localhost.evil.example", False), ("192.168.1.2", False)],
        *[
            ("127.0.0.1.evil.example", False),
            ("evil.example:80", False),
            ("[::", False),
            ("a@localhost:1", True),
        ],
        ("known.example:80", True),
    ],
)
def test_hosts(host: str, taken: bool) -> None:
    if taken:
        check_host(host, ("Known.example",))
    else:
        with pytest.raises(ProblemError) as refused:
            check_host(host, ("Known.example",))
        assert refused.value.problem.status == 421


@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        *[(None, True), ("http://localhost:8737", True), ("https://localhost:8737", True)],
        *[("http://localhost", False), ("http://evil.example", False), ("null", False), ("", False)],
        *[("https://home.example", True), ("http://home.example", False), ("file://localhost:8737", False)],
        ("http://localhost:8737.evil.example", False),
    ],
)
def test_origins(origin: str | None, taken: bool) -> None:
    headers = Headers({"host": "localhost:8737", **({} if origin is None else {"origin": origin})})
    if taken:
        check_origin(headers, ("https://home.example",))
    else:
        with pytest.raises(ProblemError) as refused:
            check_origin(headers, ("https://home.example",))
        assert refused.value.problem.status == 403


def test_a_name_that_points_here_is_refused(client: Any) -> None:
    for path in ("/v1/speakers", "/", "/healthz", "/metrics"):
        answer = client.get(path, headers={"Host": "rebound.example"})
        assert (answer.status_code, answer.json()["type"]) == (421, "urn:openkith:problem:wrong-host")


def test_pages_of_other_sites_write_nothing(client: Any) -> None:
    evil = {"Origin": "http://evil.example"}
    assert client.post("/v1/speakers", json={"name": "Mallory"}, headers=evil).status_code == 403
    assert client.post("/v1/undo", headers=evil).status_code == 403
    assert client.get("/v1/speakers", headers=evil).json() == {"speakers": []}  # the browser does not show it
    own = {"Origin": "http://localhost:8737"}
    assert client.post("/v1/speakers", json={"name": "Own"}, headers=own).status_code == 201


@pytest.mark.parametrize(
    ("url", "origin", "taken"),
    [
        ("ws://localhost:8737/v1/stream", None, True),
        ("ws://localhost:8737/v1/stream", "http://localhost:8737", True),
        ("ws://localhost:8737/v1/stream", "http://evil.example", False),
        ("ws://evil.example/v1/stream", None, False),
    ],
)
def test_no_stream_for_other_sites(client: Any, url: str, origin: str | None, taken: bool) -> None:
    headers = {} if origin is None else {"Origin": origin}
    if taken:
        with client.websocket_connect(url, headers=headers):
            return
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(url, headers=headers):
        raise AssertionError("it was let in")


def test_there_is_no_cors_unless_asked_for(start_app: Callable[..., Any]) -> None:
    client = start_app(origins=("https://home.example",))
    asked = {"Origin": "https://home.example", "Access-Control-Request-Method": "POST"}
    allowed = client.options("/v1/speakers", headers=asked)
    assert allowed.headers["access-control-allow-origin"] == "https://home.example"
    other = client.options("/v1/speakers", headers={**asked, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    written = client.post("/v1/speakers", json={"name": "A"}, headers={"Origin": "https://home.example"})
    assert written.status_code == 201


def test_cors_is_off(client: Any) -> None:
    asked = {"Origin": "https://home.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/v1/speakers", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_with_a_key_everybody_needs_one(start_app: Callable[..., Any]) -> None:
    client = start_app()
    assert client.get("/v1/speakers").status_code == 200
    headers, key = key_of(client, "read")
    settle(client)
    for path in [*client.get("/openapi.json").json()["paths"], "/v1/nothing", "/v1"]:
        answer = client.get(path.replace("{", "").replace("}", ""))
        needed = path.startswith("/v1") or path == "/metrics"
        assert (answer.status_code == 401) == needed, path
        if needed:
            assert answer.headers["www-authenticate"] == 'Bearer realm="openkith"'
    assert client.get("/").status_code == 200
    assert client.get("/v1/speakers", headers=headers).status_code == 200
    assert client.get("/v1/status", headers=headers).json()["scopes"] == ["read"]
    # no cookie carries a key: neither the name of the host nor the site can be used against its owner
    assert client.get("/v1/speakers", headers={**headers, "Host": "kith.example"}).status_code == 200
    ApiKeys(client.app.state.daemon.gallery).revoke(key.id)
    key_of(client, "read")
    settle(client)
    assert client.get("/v1/speakers", headers=headers).status_code == 401


def test_scopes(start_app: Callable[..., Any], clip: Callable[..., bytes]) -> None:
    client = start_app()
    keys = {scope: key_of(client, scope)[0] for scope in ("read", "identify", "enrol", "admin")}
    settle(client)
    upload = {"content": clip(1, 1)}
    calls: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
        "list": ("GET", "/v1/speakers", {}, {"read", "admin"}),
        "history": ("GET", "/v1/decisions", {}, {"read", "admin"}),
        "metrics": ("GET", "/metrics", {}, {"read", "admin"}),
        "add": ("POST", "/v1/speakers", {"json": {}}, {"enrol", "admin"}),
        "forget": ("DELETE", "/v1/speakers/99", {}, {"enrol", "admin"}),
        "undo": ("POST", "/v1/undo", {}, {"enrol", "admin"}),
        "review": ("GET", "/v1/review", {}, {"enrol", "admin"}),
        "identify": ("POST", "/v1/identify", upload, {"identify", "admin"}),
        "audit": ("GET", "/v1/audit", {}, {"admin"}),
        "calibrate": ("POST", "/v1/calibrate", {"json": {"far": 2}}, {"admin"}),
        "keep": ("PUT", "/v1/review/settings", {"json": {"keep": True, "days": 1}}, {"admin"}),
    }
    for name, (method, path, more, allowed) in calls.items():
        for scope, headers in keys.items():
            kind = {"Content-Type": "audio/wav"} if "content" in more else {}
            answer = client.request(method, path, headers={**headers, **kind}, **more)
            refused = answer.status_code == 403
            assert refused == (scope not in allowed), (name, scope, answer.text)
            if refused:
                assert answer.json()["type"] == "urn:openkith:problem:forbidden"


def test_who_did_it_is_written_down(start_app: Callable[..., Any]) -> None:
    client = start_app()
    headers, key = key_of(client, "admin")
    settle(client)
    client.post("/v1/speakers", json={"name": "A"}, headers=headers)
    assert client.get("/v1/audit", headers=headers).json()["entries"][0]["actor"] == f"key {key.id}"


def test_a_daemon_that_others_reach_never_opens(start_app: Callable[..., Any]) -> None:
    client = start_app(host="0.0.0.0")
    assert client.get("/v1/speakers").status_code == 401
    headers, key = key_of(client, "admin")
    assert client.get("/v1/speakers", headers=headers).status_code == 200
    ApiKeys(client.app.state.daemon.gallery).revoke(key.id)
    settle(client)
    assert client.get("/v1/speakers", headers=headers).status_code == 401
    assert client.get("/v1/speakers").status_code == 401


def test_guessing_keys_is_slow(start_app: Callable[..., Any]) -> None:
    client = start_app(rate=100.0)
    headers, _ = key_of(client, "read")
    settle(client)
    wrong = {"Authorization": f"Bearer kith_1_{'x' * 43}"}
    statuses = [client.get("/v1/speakers", headers=wrong).status_code for _ in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429
    assert client.get("/v1/speakers", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic a2l0aA==", "Bearer kith_1_x", "Bearer \u00e9"]
)
def test_headers_that_hold_no_key(start_app: Callable[..., Any], header: str) -> None:
    client = start_app()
    key_of(client, "read")
    settle(client)
    answer = client.get("/v1/speakers", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_rate(start_app: Callable[..., Any]) -> None:
    client = start_app(rate=5.0)
    answers = [client.get("/v1/speakers") for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers[:10]} == {200}
    assert refused
    assert refused[0].headers["retry-after"] == "1"
    assert client.get("/healthz").status_code == 200
