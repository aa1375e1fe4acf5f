"""What went wrong, as RFC 9457 Problem Details: one table from the errors of the library to statuses of HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from openkith import errors
from openkith.errors import KithError

__all__ = [
    "MEDIA_TYPE",
    "Problem",
    "ProblemError",
    "ProblemResponse",
    "explain",
    "install",
    "problem_of",
    "respond",
]

MEDIA_TYPE = "application/problem+json"
BUSY_SECONDS = 2  # after which somebody else's work may be done

log = logging.getLogger("openkith.service")


@dataclass(frozen=True)
class Problem:
    """A kind of problem.

    Attributes:
        status: Of HTTP.
        slug: Names it, in the type ``urn:openkith:problem:<slug>``.
        title: The same in words.
    """

    status: int
    slug: str
    title: str


BAD_REQUEST = Problem(400, "bad-request", "The request is malformed")
NO_KEY = Problem(401, "no-key", "An API key is needed")
FORBIDDEN = Problem(403, "forbidden", "The key may not do this")
WRONG_ORIGIN = Problem(403, "wrong-origin", "The request comes from another site")
NOT_FOUND = Problem(404, "not-found", "There is no such thing")
NOT_ALLOWED = Problem(405, "method-not-allowed", "The method does not apply here")
TIMED_OUT = Problem(408, "timeout", "The request came too slowly")
CONFLICT = Problem(409, "conflict", "The gallery refuses")
BUSY = Problem(409, "busy", "It is being done already")
CHANGED = Problem(412, "changed", "It was changed meanwhile")
TOO_LARGE = Problem(413, "too-large", "The request is too large")
WRONG_TYPE = Problem(415, "unsupported-type", "The content type is not taken here")
WRONG_HOST = Problem(421, "wrong-host", "The daemon does not go by that name")
INVALID = Problem(422, "invalid", "A field is not valid")
UNUSABLE_AUDIO = Problem(422, "unusable-audio", "The recording is not usable")
KEY_REUSED = Problem(422, "idempotency-key-reused", "The key was used for another request")
TOO_MANY = Problem(429, "too-many-requests", "Too many requests")
INTERNAL = Problem(500, "internal", "Something went wrong that should not")
MISSING = Problem(501, "not-installed", "A part that is needed is not installed")
UNAVAILABLE = Problem(503, "unavailable", "Not ready")

#: The nearest class that an error is an instance of decides. GalleryError of a failed database is told apart below.
PROBLEMS: dict[type[KithError], Problem] = {
    errors.InputError: INVALID,
    errors.AudioError: UNUSABLE_AUDIO,
    errors.GalleryError: CONFLICT,
    errors.EncryptionError: UNAVAILABLE,  # the gallery has another key by now
    errors.UnknownPersonError: Problem(404, "unknown-person", "Nobody is enrolled by that name"),
    errors.UnknownItemError: NOT_FOUND,
    errors.ChangedError: CHANGED,
    errors.DuplicateClipError: Problem(409, "duplicate-clip", "The recording is in the gallery already"),
    errors.EncoderMismatchError: Problem(409, "encoder-mismatch", "The gallery is of another encoder"),
    errors.NotEnoughDataError: Problem(409, "not-enough-data", "Too few people or clips"),
    errors.BusyError: BUSY,
    errors.IdempotencyError: KEY_REUSED,
    errors.WeightsError: Problem(503, "no-weights", "The encoder's weights cannot be had"),
    errors.MissingDependencyError: MISSING,
    KithError: UNAVAILABLE,  # such as no process to decode with
}


class ProblemError(Exception):
    """A problem of HTTP itself, which no error of the library says.

    Args:
        problem: What kind.
        detail: One line for a person.
        field: Of the request, that it is about.
        headers: To be sent along.
    """

    def __init__(
        self,
        problem: Problem,
        detail: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.problem, self.detail, self.field = problem, detail, field
        self.headers = dict(headers or {})


class ProblemResponse(JSONResponse):
    """A body of Problem Details."""

    media_type = MEDIA_TYPE


def problem_of(error: KithError) -> Problem:
    """The kind of problem that an error of the library is."""
    if isinstance(error, errors.GalleryError) and isinstance(error.__cause__, DBAPIError | PoolTimeoutError):
        return UNAVAILABLE  # the database failed; it refused nothing
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def explain(error: KithError | ProblemError) -> dict[str, Any]:
    """Problem Details, as plain values."""
    if isinstance(error, ProblemError):
        problem, detail, field = error.problem, error.detail, error.field
    else:
        problem, detail, field = problem_of(error), " ".join(str(error).split()), None
    body: dict[str, Any] = {
        "type": f"urn:openkith:problem:{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
    }
    return body if field is None else {**body, "field": field}


def respond(error: KithError | ProblemError) -> ProblemResponse:
    """The answer that an error is."""
    body = explain(error)
    headers = dict(error.headers) if isinstance(error, ProblemError) else {}
    if isinstance(error, KithError) and problem_of(error) in (BUSY, UNAVAILABLE):
        headers["Retry-After"] = str(BUSY_SECONDS)
    return ProblemResponse(body, body["status"], headers)


def internal(error: Exception) -> ProblemResponse:
    """The answer to a bug: nothing of it is told, and all of it is logged."""
    log.error("%s while answering", type(error).__name__, exc_info=error)
    return respond(ProblemError(INTERNAL, "the daemon's log has the details; nothing was changed half"))


def install(app: FastAPI) -> None:
    """Answer every error of an application by Problem Details."""

    @app.exception_handler(KithError)
    async def kith_error(request: Request, error: KithError) -> ProblemResponse:  # noqa: ARG001
        return respond(error)

    @app.exception_handler(ProblemError)
    async def problem_error(request: Request, error: ProblemError) -> ProblemResponse:  # noqa: ARG001
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> ProblemResponse:
        return respond(_of_validation(request, error))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> ProblemResponse:
        return respond(_of_http(request, error))


def _of_validation(request: Request, error: RequestValidationError) -> ProblemError:
    """The first field that is wrong; a body that is no JSON at all is another matter."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    if location[0] == "body":
        sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent != "application/json" and not sent.endswith("+json"):
            return ProblemError(WRONG_TYPE, "send a JSON body, with Content-Type: application/json")
        if first["type"] == "json_invalid":
            return ProblemError(INVALID, f"the body is not JSON, at character {location[-1]}")
    field = ".".join(location[1:]) or location[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    return ProblemError(INVALID, " ".join(f"{field}: {message}".split()), field)


def _of_http(request: Request, error: HTTPException) -> ProblemError:
    headers = dict(error.headers or {})
    if error.status_code == NOT_FOUND.status:
        return ProblemError(NOT_FOUND, "there is nothing at this address; /docs lists what there is")
    if error.status_code == NOT_ALLOWED.status:
        methods = _methods_at(request)
        return ProblemError(
            NOT_ALLOWED,
            f"{request.method} does not apply here; use {', '.join(methods)}",
            headers={**headers, "Allow": ", ".join(methods)},
        )
    if error.status_code < INTERNAL.status:
        kind = Problem(error.status_code, BAD_REQUEST.slug, BAD_REQUEST.title)
        return ProblemError(kind, " ".join(str(error.detail).split()), headers=headers)
    return ProblemError(INTERNAL, "the daemon's log has the details", headers=headers)


def _methods_at(request: Request) -> list[str]:
    """Every method that there is at the address of a request."""
    found = {
        method.upper()
        for path, operations in request.app.openapi()["paths"].items()
        if compile_path(path)[0].match(request.url.path)
        for method in operations
    }
    return sorted(found) or ["GET"]  # what is not described is a page
