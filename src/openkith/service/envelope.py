"""What is put around every answer: headers that keep a browser safe, a count, and an answer where a bug gave none."""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openkith.service.metrics import Metrics
from openkith.service.problems import internal

__all__ = ["SECURITY_HEADERS", "Envelope"]

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
SAME_ORIGIN = ("Cross-Origin-Resource-Policy", "same-origin")
YEAR = 31_536_000  # seconds


class Envelope:
    """The outermost ASGI middleware.

    Args:
        app: What is inside.
        metrics: Where requests are counted.
        tls: Whether the daemon speaks HTTPS itself: browsers are then told to stay with it.
        shared: Whether pages of other origins may use the answers.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, *, tls: bool, shared: bool) -> None:
        self.app, self._metrics = app, metrics
        self._headers = dict(SECURITY_HEADERS)
        if tls:
            self._headers["Strict-Transport-Security"] = f"max-age={YEAR}"
        if not shared:
            self._headers[SAME_ORIGIN[0]] = SAME_ORIGIN[1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 0

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/v1"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, dressed)
        except Exception as error:
            if status:
                raise  # half an answer is out: the server ends the connection
            await internal(error)(scope, receive, dressed)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(_method(scope["method"]), route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)


def _method(method: str) -> str:
    """Anybody can make up methods; those that there are have a counter each."""
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"
