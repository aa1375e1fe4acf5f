"""Problem Details of every error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from openkith import errors
from openkith.service import problems
from openkith.service.problems import ProblemError, explain, problem_of, respond


def every_error() -> list[type[errors.KithError]]:
    found, waiting = [], [errors.KithError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == "openkith.errors"]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_of_the_library_is_a_problem(kind: type[errors.KithError]) -> None:
    answer = respond(kind("two\nlines"))
    body = json.loads(answer.body)
    assert answer.media_type == "application/problem+json"
    assert body["status"] == answer.status_code == problem_of(kind()).status
    assert body["detail"] == "two lines"
    assert body["type"].startswith("urn:openkith:problem:")
    assert (answer.status_code >= 500) == issubclass(
        kind, errors.WeightsError | errors.MissingDependencyError | errors.EncryptionError
    ) or kind is errors.KithError


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.AudioError, 422),
        (errors.ConfigError, 422),
        (errors.UnknownPersonError, 404),
        (errors.UnknownItemError, 404),
        (errors.DuplicateClipError, 409),
        (errors.ChangedError, 412),
        (errors.BusyError, 409),
        (errors.IdempotencyError, 422),
        (errors.NotEnoughDataError, 409),
        (errors.MissingDependencyError, 501),
    ],
)
def test_statuses(kind: type[errors.KithError], status: int) -> None:
    assert problem_of(kind()).status == status


def test_a_failed_database_refuses_nothing() -> None:
    error = errors.GalleryError("locked")
    error.__cause__ = OperationalError("SELECT", {}, Exception())
    answer = respond(error)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert respond(errors.GalleryError("taken")).status_code == 409


def test_fields_and_headers() -> None:
    error = ProblemError(problems.INVALID, "name: too long", "name", {"X-Y": "z"})
    assert explain(error)["field"] == "name"
    assert respond(error).headers["x-y"] == "z"
    assert "field" not in explain(ProblemError(problems.INVALID, "all of it"))


def test_paths_and_methods_that_there_are_not(client: Any) -> None:
    answer = client.get("/v1/nothing")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:openkith:problem:not-found")
    wrong = client.put("/v1/speakers")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert client.post("/v1/speakers/3").headers["allow"] == "DELETE, GET, PATCH"
    assert client.post("/docs").headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"name": "A"}', "text/plain", 415),
        (b'{"name": "A"}', "", 415),
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"[" * 100_000, "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 422),
        (b"\xff", "application/json", 400),
        (b'{"name": 1e999}', "application/json", 422),
    ],
)
def test_bodies_that_are_no_json(client: Any, content: bytes, kind: str, status: int) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post("/v1/speakers", content=content, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_bug_is_logged_and_not_told(
    client: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    def fail() -> None:
        raise RuntimeError("the secret")

    monkeypatch.setattr(client.app.state.daemon.gallery, "people", fail)
    answer = client.get("/v1/speakers")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert "default-src" in answer.headers["content-security-policy"]
    assert "the secret" in caplog.text
