"""Keeps every decision before it is told: one thread, one transaction for all that came meanwhile."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from openkith.errors import GalleryError
from openkith.gallery import Gallery
from openkith.gallery.decisions import DecisionLog, NewDecision
from openkith.openset.decision import Decision

__all__ = ["DecisionWriter", "Logged"]

MOST_AT_ONCE = 500  # decisions in a transaction

log = logging.getLogger("openkith.service")


@dataclass(frozen=True)
class Logged:
    """A decision that was kept: its number, and that of the person it names; None where that is nobody."""

    id: int
    speaker_id: int | None


@dataclass(frozen=True, eq=False)
class _Waiting:
    decision: Decision
    kind: str
    actor: str
    kept: Future[Logged]


class DecisionWriter:
    """A thread that writes decisions to the gallery.

    Args:
        gallery: Whose people they name.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery, self._log = gallery, DecisionLog(gallery)
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="kith-decisions", daemon=True)
        self._thread.start()

    def add(self, decision: Decision, kind: str, actor: str) -> Future[Logged]:
        """Have a decision kept; the future ends once it is, with a GalleryError where it cannot be.

        Args:
            decision: What was decided.
            kind: "identify", "verify" or "stream".
            actor: Who asked.
        """
        waiting = _Waiting(decision, kind, actor, Future())
        with self._lock:
            if self._closed:
                waiting.kept.set_exception(GalleryError("the daemon is stopping; ask again when it is back"))
            else:
                self._queue.put(waiting)
        return waiting.kept

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._lock:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while True:
            group, more = self._next_group()
            if group:
                self._write_group(group)
            if not more:
                return

    def _next_group(self) -> tuple[list[_Waiting], bool]:
        """Wait for a decision and take all others that are there; whether there can be more after them."""
        group: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == MOST_AT_ONCE:
                return group, True
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _write_group(self, group: list[_Waiting]) -> None:
        try:
            people: Mapping[str, int] = {person.name: person.id for person in self._gallery.people()}
            new = [NewDecision(item.decision, item.kind, people, item.actor) for item in group]
            numbers = self._log.add_many(new)
        except Exception as error:
            log.error("%d decisions could not be kept: %s", len(group), error)
            for item in group:
                item.kept.set_exception(error)
            return
        for item, number in zip(group, numbers, strict=True):
            item.kept.set_result(Logged(number, people.get(item.decision.name or "")))
