"""Values for JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from openkith.service.plain import plain


@dataclass(frozen=True)
class Thing:
    when: datetime
    parts: tuple[float, ...]


def test_all_kinds() -> None:
    thing = Thing(datetime(2026, 3, 1, tzinfo=UTC), (1.0, float("nan"), float("-inf")))
    value = {"thing": thing, 3: {"a"}, "day": date(2026, 3, 1), "path": Path("x"), "none": None, "yes": True}
    found = plain(value)
    assert found == {
        "thing": {"when": "2026-03-01T00:00:00+00:00", "parts": [1.0, None, None]},
        "3": ["a"],
        "day": "2026-03-01",
        "path": "x",
        "none": None,
        "yes": True,
    }
    json.dumps(found, allow_nan=False)
