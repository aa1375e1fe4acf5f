"""What every request passes first: the name the daemon is asked by, the site it comes from, its key, and its rate.

A web page of anybody may send requests to a daemon on the visitor's own machine, and with a name that it lets point to
127.0.0.1 (DNS rebinding) read the answers. So, while no key is needed, the Host header must be a name of this machine;
and whatever a page of another origin sends to write, or as a WebSocket, is refused.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from openkith.service import problems
from openkith.service.auth import Caller, Keyring, bearer_key
from openkith.service.limits import Buckets, overloaded
from openkith.service.problems import ProblemError, respond
from openkith.service.settings import ServiceSettings

__all__ = ["GUARDED", "Gate", "check_host", "check_origin"]

GUARDED = ("/v1", "/metrics")  # what needs a key
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
LOCAL_NAMES = {"localhost", "localhost.localdomain"}


class Gate:
    """An ASGI middleware that refuses what may not come in, before its body is read.

    It leaves the `Caller` in the state of each request under `GUARDED`.

    Args:
        app: What is behind it.
        keyring: The keys.
        settings: Of the daemon.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, settings: ServiceSettings) -> None:
        self.app, self._keyring, self._settings = app, keyring, settings
        self._rate = Buckets(settings.rate, 2.0 * settings.rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            await self._check(scope)
        except ProblemError as error:
            if scope["type"] == "websocket":  # before it is accepted: a plain 403
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": error.detail[:100]})
            else:
                await respond(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        opened = self._keyring.opened
        if opened is None:
            opened = await run_in_threadpool(self._keyring.look)
        if opened:
            check_host(headers.get("host", ""), self._settings.allow_hosts)
        if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
            check_origin(headers, self._settings.origins)
        if scope["type"] == "http" and _is_guarded(path):
            peer = scope["client"][0] if scope.get("client") else ""
            caller = await self._caller(bearer_key(headers.get("authorization")), peer)
            scope.setdefault("state", {})["caller"] = caller
            wait = self._rate.take(peer if opened else caller.actor)
            if wait:
                raise overloaded(wait, f"more than {self._settings.rate:g} requests a second")

    async def _caller(self, key: str | None, peer: str) -> Caller:
        known = self._keyring.known(key)
        return known if known is not None else await run_in_threadpool(self._keyring.check, key, peer)


def check_host(host: str, allowed: tuple[str, ...]) -> None:
    """Refuse a Host header that is no name of this machine.

    Args:
        host: The header.
        allowed: More names that are taken.

    Raises:
        ProblemError: 421.
    """
    name = _host_name(host)
    if name in LOCAL_NAMES or name.endswith(".localhost") or name in {known.lower() for known in allowed}:
        return
    try:
        if ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass
    raise ProblemError(
        problems.WRONG_HOST,
        "without an API key the daemon answers to localhost only; make a key (kith keys create), or name this host "
        "with --allow-host",
    )


def check_origin(headers: Headers, allowed: tuple[str, ...]) -> None:
    """Refuse what a page of another site sends. Programs that are no browser send no Origin.

    Raises:
        ProblemError: 403.
    """
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return
    parts = urlsplit(origin) if origin.startswith(("http://", "https://")) else None
    if parts is not None and parts.netloc and parts.netloc.lower() == headers.get("host", "").lower():
        return
    raise ProblemError(
        problems.WRONG_ORIGIN,
        "a page of another site may not do this; to let it, start the daemon with --cors-origin",
    )


def _is_guarded(path: str) -> bool:
    return any(path == start or path.startswith(f"{start}/") for start in GUARDED)


def _host_name(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
