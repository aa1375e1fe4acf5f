"""Request bodies: read once, into memory, within limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openkith.service import problems
from openkith.service.limits import overloaded
from openkith.service.problems import ProblemError, respond

__all__ = ["Bodies", "body_of"]

PLAIN_BYTES = 2**20  # of a body that is no recording: JSON
SLACK_BYTES = 2**16  # of a multipart body, beside the recordings in it
SECONDS = 30.0  # without a byte
BYTES_PER_SECOND = 8_000  # slower than that in the long run is too slow: telephone speech takes as much
BODIES_IN_MEMORY = 8  # of the largest size, of all requests together
DRAIN_SECONDS = 5.0  # that a refused body is read for,
DRAINED_BODIES = 4  # at most so many of the largest size
STATE = "body"


class Bodies:
    """An ASGI middleware that reads a body before the application runs, and hands it on in one piece.

    Args:
        app: What is behind it.
        max_bytes: Of one recording, or several in a request.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes
        self._budget = _Budget(BODIES_IN_MEMORY * (max(max_bytes, PLAIN_BYTES) + SLACK_BYTES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, and pass on; or refuse."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        taken = 0
        try:
            try:
                limit = self._limit(Headers(scope=scope))
                parts: list[bytes] = []
                deadline = asyncio.get_running_loop().time() + SECONDS
                more = True
                while more:
                    message = await _next(receive, min(SECONDS, deadline - _now()))
                    if message["type"] == "http.disconnect":
                        return  # nobody is there to be answered
                    part: bytes = message.get("body", b"")
                    more = message.get("more_body", False)
                    if taken + len(part) > limit:
                        raise _too_large(limit)
                    self._budget.take(len(part))
                    taken += len(part)
                    deadline += len(part) / BYTES_PER_SECOND
                    parts.append(part)
            except ProblemError as error:
                error.headers.setdefault("Connection", "close")
                if error.problem is not problems.TIMED_OUT:
                    await self._drain(Headers(scope=scope), receive)
                await respond(error)(scope, receive, send)
                return
            body = b"".join(parts)
            scope.setdefault("state", {})[STATE] = body
            await self.app(scope, _replay(body, receive), send)
        finally:
            self._budget.give_back(taken)

    async def _drain(self, headers: Headers, receive: Receive) -> None:
        """Read what is still coming, within limits: who is cut off while sending does not get to see the answer."""
        left, deadline = DRAINED_BODIES * self.max_bytes, _now() + DRAIN_SECONDS
        if "expect" in headers or _declared(headers) > left:  # nothing was sent yet, or too much will be
            return
        with contextlib.suppress(ProblemError):
            while left > 0:
                message = await _next(receive, deadline - _now())
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return

    def _limit(self, headers: Headers) -> int:
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ProblemError(problems.WRONG_TYPE, "a compressed body is not taken; send it as it is")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        limit = PLAIN_BYTES if kind == "application/json" else self.max_bytes
        if kind == "multipart/form-data":
            limit += SLACK_BYTES
        if _declared(headers) > limit:
            raise _too_large(limit)
        return limit


@dataclass
class _Budget:
    """Bytes that all bodies in memory may have together."""

    left: int

    def take(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            self.left += amount
            raise overloaded(1.0, "too many uploads at a time")

    def give_back(self, amount: int) -> None:
        self.left += amount


def body_of(scope: Scope) -> bytes:
    """The body of a request, as it was read."""
    body: bytes = scope.get("state", {}).get(STATE, b"")
    return body


def _declared(headers: Headers) -> int:
    """The length that a body is said to have; 0 where nothing is said."""
    length = headers.get("content-length", "")
    return int(length[:20]) if length.isdecimal() else 0


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _next(receive: Receive, seconds: float) -> Message:
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            return await receive()
    except TimeoutError:
        raise ProblemError(problems.TIMED_OUT, "the body did not come; send it without pauses") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        problems.TOO_LARGE, f"the body has more than {limit} bytes; send a shorter recording, or compressed"
    )
