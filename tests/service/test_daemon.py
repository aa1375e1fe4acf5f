"""The parts of a daemon, over time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openkith.errors import AudioError
from openkith.gallery import Gallery
from openkith.gallery.decisions import DecisionLog, NewDecision
from openkith.openset.decision import Decision
from openkith.recognizer import Recognizer
from openkith.service import ServiceSettings, daemon
from openkith.service.daemon import Daemon
from openkith.service.uploads import Upload


@pytest.fixture
def recognizer(tmp_path: Path, bands: Any, record: Callable[..., Path]) -> Any:
    with Gallery(tmp_path / "g.db") as gallery:
        opened = Recognizer(gallery, encoder=bands)
        for name, person in (("Alice", 1), ("Bob", 2)):
            opened.enroll(name, [record(person, take) for take in range(2)])
        yield opened


def during(recognizer: Recognizer, work: Callable[[Daemon], Any], **settings: Any) -> Any:
    """What a coroutine gives while a daemon runs."""

    async def main() -> Any:
        running = Daemon(recognizer, ServiceSettings(**settings), None)
        await running.start()
        try:
            return await work(running)
        finally:
            await running.stop()

    return asyncio.run(main())


def test_the_model_is_ready_before_anybody_asks(
    recognizer: Recognizer, record: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "FRESH_SECONDS", 0.02)

    async def work(running: Daemon) -> list[tuple[str, ...]]:
        seen: list[tuple[str, ...]] = []
        for name in (None, "Carol"):
            if name is not None:
                await asyncio.to_thread(recognizer.enroll, name, [record(3, take) for take in range(2)])
            for _ in range(500):
                await asyncio.sleep(0.02)
                roster = recognizer._roster
                if roster is not None and len(roster.names) == (2 if name is None else 3):
                    seen.append(roster.names)
                    break
        assert running.ready
        return seen

    assert during(recognizer, work) == [("Alice", "Bob"), ("Alice", "Bob", "Carol")]


@pytest.mark.parametrize(("days", "left"), [(60, 1), (0, 2)])
def test_what_is_old_goes(recognizer: Recognizer, days: int, left: int) -> None:
    odds = {"unknown": 1.0}
    unknown = Decision("unknown", None, 1.0, odds, 1.0, 1.0, "", "cosine", 0.0, 0.0, False)
    now = datetime.now(UTC)
    made = [now - timedelta(days=100), now - timedelta(days=50)]
    log = DecisionLog(recognizer.gallery)
    log.add_many([NewDecision(unknown, "identify", {}, time=time) for time in made])

    async def work(running: Daemon) -> list[datetime]:
        await asyncio.to_thread(running._purge)
        return [record.time for record in running.decisions.page()]

    assert during(recognizer, work, history_days=days) == made[::-1][:left]


def test_a_bad_recording_is_called_by_its_name(recognizer: Recognizer) -> None:
    async def work(running: Daemon) -> None:
        with pytest.raises(AudioError, match=r"^who\.wav: not audio") as refused:
            await running.decode(Upload(b"nothing", "who.wav"))
        assert "<bytes>" not in str(refused.value)
        assert b"kith_refused_uploads_total 1.0" in running.metrics.page()

    during(recognizer, work)


def test_stopping_is_said(recognizer: Recognizer) -> None:
    async def work(running: Daemon) -> str:
        running.close_soon()
        return running.not_ready

    assert "stopping" in during(recognizer, work)
