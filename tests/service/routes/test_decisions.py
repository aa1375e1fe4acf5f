"""The history and the audit log over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Clip = Callable[..., bytes]


@pytest.fixture(scope="module")
def history(client: Any, clip: Clip, household: dict[str, int]) -> list[int]:  # noqa: ARG001
    """Numbers of five decisions, oldest first."""
    found = []
    for take in range(5):
        data = clip(1 if take % 2 else 2, 30 + take)
        answer = client.post("/v1/identify", content=data, headers={"Content-Type": "audio/wav"})
        found.append(answer.json()["id"])
    return found


def test_pages(client: Any, history: list[int]) -> None:
    first = client.get("/v1/decisions?limit=2").json()
    assert [entry["id"] for entry in first["decisions"]] == history[:2:-1]
    assert first["next"] == history[3]
    rest = client.get(f"/v1/decisions?limit=500&before={first['next']}").json()
    assert [entry["id"] for entry in rest["decisions"]] == history[2::-1]
    assert rest["next"] is None


def test_filters(client: Any, history: list[int], household: dict[str, int]) -> None:
    whole = client.get("/v1/decisions").json()["decisions"]
    assert len(whole) == len(history)
    alice = client.get(f"/v1/decisions?speaker_id={household['Alice']}").json()["decisions"]
    assert alice == [entry for entry in whole if entry["speaker_id"] == household["Alice"]]
    assert alice
    known = client.get("/v1/decisions?status=known").json()["decisions"]
    assert known == [entry for entry in whole if entry["status"] == "known"]


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=501", "limit"), ("before=0", "before"), ("status=odd", "status")],
)
def test_bad_queries(client: Any, query: str, field: str) -> None:
    answer = client.get(f"/v1/decisions?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_who_is_forgotten_is_a_number(start_app: Callable[..., Any], clip: Clip, enrolled: Any) -> None:
    client = start_app()
    number = enrolled(client, "Zoë", 1)
    enrolled(client, "Bob", 2)
    client.post("/v1/identify", content=clip(1, 9), headers={"Content-Type": "audio/wav"})
    client.delete(f"/v1/speakers/{number}")
    text = client.get("/v1/decisions").text + client.get("/v1/audit").text + client.get("/v1/jobs").text
    assert "Zo" not in text
    entry = client.get("/v1/decisions").json()["decisions"][0]
    assert (entry["speaker_id"], entry["name"]) == (number, f"person {number}")


def test_writes_are_audited(client: Any, household: dict[str, int]) -> None:  # noqa: ARG001
    entries = client.get("/v1/audit?limit=500").json()["entries"]
    assert [entry["id"] for entry in entries] == sorted((e["id"] for e in entries), reverse=True)
    assert {"add-person", "enroll"} <= {entry["action"] for entry in entries}
    assert {entry["actor"] for entry in entries} == {"http"}
    older = client.get(f"/v1/audit?before={entries[0]['id']}").json()["entries"]
    assert older == entries[1:51]
