"""Decisions are kept in groups, in order, before they are told."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from openkith.errors import GalleryError
from openkith.gallery import Gallery
from openkith.gallery.decisions import DecisionLog
from openkith.openset.decision import Decision
from openkith.service.decision_writer import DecisionWriter, Logged


def decision(name: str | None, reason: str = "") -> Decision:
    status: Any = "unknown" if name is None else "known"
    odds = {"unknown": 0.25, **({} if name is None else {name: 0.75})}
    return Decision(status, name, 0.75, odds, 0.5, 2.0, reason, "cosine", 1.0, 0.0, name is not None)


def test_numbers_and_people(tmp_path: Path) -> None:
    with Gallery(tmp_path / "g.db") as gallery:
        alice = gallery.add_person("Alice").id
        writer = DecisionWriter(gallery)
        try:
            kept = [writer.add(decision(name), "identify", "key 1") for name in ("Alice", None, "Gone")]
            logged = [future.result(10) for future in kept]
        finally:
            writer.close()
        assert [entry.speaker_id for entry in logged] == [alice, None, None]
        records = DecisionLog(gallery).page()
        assert [record.id for record in records] == sorted((entry.id for entry in logged), reverse=True)
        assert {record.actor for record in records} == {"key 1"}


def test_what_waits_is_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    add_many, go = DecisionLog.add_many, threading.Event()

    def counted(log: DecisionLog, new: Any) -> list[int]:
        assert go.wait(10)
        groups.append(len(new))
        return add_many(log, new)

    monkeypatch.setattr(DecisionLog, "add_many", counted)
    with Gallery(tmp_path / "g.db") as gallery:
        writer = DecisionWriter(gallery)
        futures = [writer.add(decision(None), "identify", "") for _ in range(20)]
        go.set()
        writer.close()  # writes what waits
        numbers = [future.result(0).id for future in futures]
    assert numbers == sorted(numbers)
    assert sum(groups) == 20
    assert len(groups) <= 2


def test_a_failure_is_told_to_all_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery(tmp_path / "g.db") as gallery:
        writer = DecisionWriter(gallery)

        def fail(*args: object) -> list[int]:  # noqa: ARG001
            raise GalleryError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(DecisionLog, "add_many", fail)
            failed: Future[Logged] = writer.add(decision(None), "identify", "")
            with pytest.raises(GalleryError, match="full"):
                failed.result(10)
        assert writer.add(decision(None), "identify", "").result(10).id == 1
        writer.close()
        with pytest.raises(GalleryError, match="stopping"):
            writer.add(decision(None), "identify", "").result(10)
