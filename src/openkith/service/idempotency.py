"""Idempotency keys: a write that is sent again, because its answer was lost, is done once and answered the same.

As draft-ietf-httpapi-idempotency-key-header has it. Only what succeeded is kept: a request that was refused changed
nothing, and may be sent again.
"""

from __future__ import annotations

import hashlib
import logging
from email.message import Message as MimeMessage

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openkith.errors import KithError
from openkith.gallery.answers import Answers
from openkith.service import problems
from openkith.service.bodies import body_of
from openkith.service.problems import ProblemError, respond

__all__ = ["Idempotency", "digest_of"]

HEADER = "idempotency-key"
LONGEST_KEY = 255
KEPT_BYTES = 10**6  # of an answer
KEPT_HEADERS = ("content-type", "etag", "location")
METHODS = {"POST", "PATCH", "PUT", "DELETE"}

log = logging.getLogger("openkith.service")


class Idempotency:
    """An ASGI middleware; it stands behind `openkith.service.gate` and `openkith.service.bodies`.

    Args:
        app: What is behind it.
        answers: Where answers are kept.
    """

    def __init__(self, app: ASGIApp, answers: Answers) -> None:
        self.app, self._answers = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer again what was answered before, else pass on and keep the answer."""
        headers = Headers(scope=scope) if scope["type"] == "http" else None
        if headers is None or scope["method"] not in METHODS or HEADER not in headers:
            await self.app(scope, receive, send)
            return
        try:
            name = _check_key(headers[HEADER])
            who = scope.get("state", {}).get("caller")
            query = scope["query_string"].decode("latin-1")
            target = "\n".join([getattr(who, "actor", ""), scope["method"], scope["path"], query, name])
            key = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()
            digest = digest_of(headers.get("content-type", ""), body_of(scope))
            before = await run_in_threadpool(self._answers.begin, key, digest)
        except (KithError, ProblemError) as error:
            await respond(error)(scope, receive, send)
            return
        if before is not None:
            again = Response(before.body, before.status, {**before.headers, "Idempotency-Replayed": "true"})
            await again(scope, receive, send)
            return
        kept = _Recorder()
        try:
            await self.app(scope, receive, kept)
        finally:  # before it is sent: who has the answer may send the request again at once
            await run_in_threadpool(self._keep, key, kept)
        for message in kept.messages:
            await send(message)

    def _keep(self, key: str, kept: _Recorder) -> None:
        try:
            if kept.complete and 200 <= kept.status < 300 and len(kept.body) <= KEPT_BYTES:
                self._answers.finish(key, kept.status, kept.headers, bytes(kept.body))
            else:
                self._answers.drop(key)
        except KithError as error:  # the write itself is done, and answered
            log.error("an answer could not be kept: %s", error)


class _Recorder:
    """Keeps an answer: that to a write is small."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status, self.complete = 0, False
        self.headers: dict[str, str] = {}
        self.body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            sent = Headers(raw=message.get("headers", []))
            self.headers = {name: sent[name] for name in KEPT_HEADERS if name in sent}
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            self.complete = not message.get("more_body", False)
        self.messages.append(message)


def digest_of(content_type: str, body: bytes) -> str:
    """SHA-256 of a body, without the boundary of its parts, which a client draws anew each time."""
    parsed = MimeMessage()
    parsed["content-type"] = content_type
    boundary = parsed.get_boundary()
    if boundary:
        body = body.replace(boundary.encode("utf-8", "replace"), b"")
    kind = content_type.partition(";")[0].strip().lower()
    return hashlib.sha256(kind.encode("utf-8", "replace") + b"\n" + body).hexdigest()


def _check_key(key: str) -> str:
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise ProblemError(
            problems.INVALID,
            f"Idempotency-Key must be 1 to {LONGEST_KEY} printable ASCII characters",
            "Idempotency-Key",
        )
    return key
