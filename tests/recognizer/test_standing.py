"""How a gallery answers at present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from openkith.recognizer import Recognizer


def test_from_nobody_to_tuned(tmp_path: Path, bands: Any, record: Callable[..., Path]) -> None:
    with Recognizer(tmp_path / "g.db", encoder=bands) as recognizer:
        empty = recognizer.standing()
        assert (empty.method, empty.tuned, empty.miss) == (None, False, None)
        assert "nobody is enrolled" in empty.note
        for name, person in (("Alice", 1), ("Bob", 2)):
            recognizer.enroll(name, [record(person, take) for take in range(2)])
        plain = recognizer.standing()
        assert (plain.method, plain.tuned, plain.far) == ("cosine", False, 0.01)
        assert plain.note
        recognizer.tune("cosine")
        recognizer.calibrate(0.05)
        tuned = recognizer.standing()
        assert (tuned.tuned, tuned.note, tuned.far, tuned.verify_far) == (True, "", 0.05, 0.05)
        assert tuned.miss is not None
