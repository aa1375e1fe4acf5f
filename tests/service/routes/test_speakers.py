"""People over HTTP."""

from __future__ import annotations

from typing import Any

import pytest


def add(client: Any, name: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/speakers", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_create_and_show(client: Any) -> None:
    answer = client.post(
        "/v1/speakers", json={"name": "  Carol ", "consent": "2026-03-01", "note": "kitchen\nonly"}
    )
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/speakers/{made['id']}"
    assert answer.headers["etag"] == f'"{made["etag"]}"'
    assert (made["name"], made["consent"], made["note"]) == ("Carol", "2026-03-01", "kitchen\nonly")
    assert (made["clips"], made["seconds"], made["last_heard"]) == (0, 0.0, None)
    assert made["created"].endswith(("Z", "+00:00"))
    assert client.get(f"/v1/speakers/{made['id']}").json() == made
    assert made in client.get("/v1/speakers").json()["speakers"]


def test_a_name_is_taken_once(client: Any) -> None:
    add(client, "Dora")
    again = client.post("/v1/speakers", json={"name": "Dora"})
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"
    assert again.json()["type"] == "urn:openkith:problem:conflict"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "unknown"}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": 3}, "name"),
        ({"name": "E", "consent": "yesterday"}, "consent"),
        ({"name": "E", "note": "\x07"}, "note"),
        ({"name": "E", "note": "n" * 2001}, "note"),
        ({"name": "E", "nmae": 1}, "nmae"),
    ],
)
def test_a_bad_field_is_named(client: Any, body: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/speakers", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert "\n" not in answer.json()["detail"]


def test_rename_note_and_consent(client: Any) -> None:
    made = add(client, "Frida", consent="2026-01-01", note="n")
    at = f"/v1/speakers/{made['id']}"
    renamed = client.patch(at, json={"name": "Freda"}).json()
    assert (renamed["name"], renamed["consent"], renamed["note"]) == ("Freda", "2026-01-01", "n")
    changed = client.patch(at, json={"consent": None, "note": ""}).json()
    assert (changed["name"], changed["consent"], changed["note"]) == ("Freda", None, "")
    assert len({made["etag"], renamed["etag"], changed["etag"]}) == 3


def test_etags(client: Any) -> None:
    made = add(client, "Gina")
    at = f"/v1/speakers/{made['id']}"
    first = client.get(at)
    same = client.get(at, headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    changed = client.patch(at, json={"note": "new"}, headers={"If-Match": first.headers["etag"]})
    assert changed.status_code == 200
    late = client.patch(at, json={"note": "late"}, headers={"If-Match": first.headers["etag"]})
    assert (late.status_code, late.json()["type"]) == (412, "urn:openkith:problem:changed")
    assert client.delete(at, headers={"If-Match": first.headers["etag"]}).status_code == 412
    assert client.get(at).json()["note"] == "new"
    assert client.get(at, headers={"If-None-Match": first.headers["etag"]}).status_code == 200
    assert client.delete(at, headers={"If-Match": changed.headers["etag"]}).status_code == 200


def test_forget_gives_a_receipt(client: Any, enrolled: Any) -> None:
    number = enrolled(client, "Hedy", 11, 2)
    receipt = client.delete(f"/v1/speakers/{number}").json()
    assert (receipt["name"], receipt["clips"]) == ("Hedy", 2)
    assert receipt["seconds"] == pytest.approx(4.0)
    assert receipt["note"]
    assert client.get(f"/v1/speakers/{number}").status_code == 404
    assert client.delete(f"/v1/speakers/{number}").status_code == 404


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE people; --", "<script>alert(1)</script>", "../../etc/passwd", "%00"]
)
def test_odd_names_are_text(client: Any, name: str) -> None:
    made = add(client, name)
    assert made["name"] == name
    assert client.get(f"/v1/speakers/{made['id']}").json()["name"] == name
    assert client.delete(f"/v1/speakers/{made['id']}").json()["name"] == name


@pytest.mark.parametrize("number", ["0", "-1", "2147483648", "99999999999999999999", "x", "1.5"])
def test_numbers_out_of_range(client: Any, number: str) -> None:
    answer = client.get(f"/v1/speakers/{number}")
    assert answer.status_code == 422
    assert answer.json()["field"] == "speaker_id"
