"""Separability and quality over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_nobody_is_enrolled(start_app: Callable[..., Any]) -> None:
    client = start_app()
    for path in ("separability", "quality"):
        assert client.get(f"/v1/{path}").status_code == 409


def test_separability(client: Any, household: dict[str, int]) -> None:
    found = client.get("/v1/separability").json()
    assert dict(zip(found["names"], found["ids"], strict=True)) == household
    matrix = found["matrix"]
    assert [len(row) for row in matrix] == [2, 2]
    assert matrix[0][1] == matrix[1][0]
    assert isinstance(found["findings"], list)


def test_quality(client: Any, household: dict[str, int]) -> None:  # noqa: ARG001
    found = client.get("/v1/quality").json()
    assert (found["before"], found["far"]) == (None, 0.01)
    after = found["after"]
    assert len(after["edges"]) == len(after["people"]) + 1 == len(after["strangers"]) + 1
    assert {"far", "frr"} == set(after["det"][0])
    assert {"far", "threshold", "miss", "miss_low", "miss_high"} == set(after["thresholds"][0])
