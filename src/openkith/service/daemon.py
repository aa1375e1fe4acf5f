"""What the routes share: the recogniser and its stores, threads and processes, from start to stop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from openkith.audio import Audio
from openkith.audio.isolated.sandbox import DecodePool
from openkith.errors import AudioError, KithError
from openkith.gallery.answers import Answers
from openkith.gallery.api_keys import ApiKeys
from openkith.gallery.decisions import DecisionLog
from openkith.gallery.jobs import Jobs
from openkith.openset.decision import Decision
from openkith.recognizer import Recognizer
from openkith.recognizer.review import Review
from openkith.service.auth import Keyring
from openkith.service.decision_writer import DecisionWriter, Logged
from openkith.service.job_runner import JobRunner
from openkith.service.job_worker import WorkerSpec
from openkith.service.limits import Lane
from openkith.service.metrics import Metrics
from openkith.service.settings import ServiceSettings
from openkith.service.uploads import Upload

__all__ = ["Daemon", "DaemonDep"]

WRITES_WAITING = 8  # enrolments
LOOKS_WAITING = 8  # of what takes seconds to work out, and is looked at by a person
OFFERS_WAITING = 64  # recordings to be kept for review
ANSWERS_KEPT = timedelta(days=1)  # for idempotency keys
JOBS_KEPT = timedelta(days=90)
FRESH_SECONDS = 1.0  # between looks whether the gallery was written to
TIDY_SECONDS = 3600.0  # between purges of what is old

log = logging.getLogger("openkith.service")


class Daemon:
    """The parts of a running daemon.

    Args:
        recognizer: Whose gallery is served; it stays open.
        settings: See `ServiceSettings`.
        spec: How the processes of jobs open the same gallery; None: jobs are done by a thread of this one.
    """

    def __init__(self, recognizer: Recognizer, settings: ServiceSettings, spec: WorkerSpec | None) -> None:
        gallery = recognizer.gallery
        self.recognizer, self.settings, self.gallery = recognizer, settings, gallery
        self.review = Review(recognizer)
        self.decisions, self.jobs, self.answers = DecisionLog(gallery), Jobs(gallery), Answers(gallery)
        self.keyring = Keyring(ApiKeys(gallery), loopback=settings.loopback, limited=settings.rate > 0)
        self.metrics = Metrics()
        self.identifying = Lane("identify", settings.workers, settings.queue)
        self.enrolling = Lane("enrol", 1, WRITES_WAITING)
        self.looking = Lane("look", 1, LOOKS_WAITING)
        self.offering = Lane("offer", 1, OFFERS_WAITING)
        self.streaming = Lane("stream", settings.streams, 0)
        self._decoding = Lane("decode", settings.decoders, 0)
        self.closing = threading.Event()  # streams and event streams end
        self._deadline = 0.0
        self.ready = False
        self.not_ready = "the encoder is being loaded"
        self._runner = JobRunner(recognizer, spec)
        self._pool: DecodePool | None = None
        self._writer: DecisionWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch()

    @property
    def pool(self) -> DecodePool:
        """The processes that decode; there are some between `start` and `stop`."""
        assert self._pool is not None
        return self._pool

    async def start(self) -> None:
        """Start processes and threads; what takes long goes on in the background."""
        self._pool = DecodePool(self.settings.decoders)
        self._writer = DecisionWriter(self.gallery)
        self._runner.start()
        self.spawn(self._warm_up())
        self.spawn(self._stay_fresh())
        self.spawn(self._tidy())

    async def stop(self) -> None:
        """Finish what runs, and end all of it."""
        self.close_soon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = max(0.0, self._deadline - time.monotonic())
        await asyncio.to_thread(self._runner.stop, left)
        for lane in (
            *(self.identifying, self.enrolling, self.looking, self.offering),
            *(self.streaming, self._decoding),
        ):
            await asyncio.to_thread(lane.close)
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
        if self._pool is not None:
            self._pool.close()

    def close_soon(self) -> None:
        """The daemon is told to stop: streams end, and what runs has so many seconds left."""
        if not self.closing.is_set():
            self._deadline = time.monotonic() + self.settings.shutdown_seconds
            self.not_ready = "the daemon is stopping"
            self.closing.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the background, until it ends or the daemon stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def wake_jobs(self) -> None:
        """There is a job."""
        self._runner.wake()

    async def decode(self, upload: Upload) -> Audio:
        """Decode a recording in a worker process.

        Raises:
            AudioError: It is not usable; the message calls it by its name.
        """
        start = time.perf_counter()
        pool, longest = self.pool, self.settings.max_seconds
        try:
            audio = await self._decoding.run(lambda: pool.decode(upload.data, max_seconds=longest))
        except AudioError as error:
            self.metrics.refused.inc()
            raise AudioError(str(error).replace("<bytes>", upload.name)) from error
        finally:
            self.metrics.decoding.observe(time.perf_counter() - start)
        return replace(audio, source=upload.name)

    async def keep(self, decision: Decision, kind: str, actor: str) -> Logged:
        """Write a decision to the history, before it is told."""
        assert self._writer is not None
        logged = await asyncio.wrap_future(self._writer.add(decision, kind, actor))
        self.metrics.decisions.labels(kind, decision.status).inc()
        return logged

    def offer(self, audio: Audio, decision: Decision, actor: str) -> None:
        """Offer a recording for review, later, where its voice got no name and the owner keeps such ones."""
        if decision.status == "known" or self.offering.admitted > OFFERS_WAITING:
            return
        self.spawn(self._offer(audio, decision, actor))

    async def _offer(self, audio: Audio, decision: Decision, actor: str) -> None:
        try:
            async with self.offering.slot():
                await self.offering.run(lambda: self.review.offer(audio, decision, actor=actor))
        except Exception as error:
            log.warning("a recording was not kept for review: %s", error)

    async def _warm_up(self) -> None:
        """Load the encoder, so that the first request does not wait for it."""
        try:
            await self.identifying.run(lambda: self.recognizer.encoder)
        except KithError as error:
            self.not_ready = " ".join(str(error).split())
            log.error("not ready: %s", self.not_ready)
            return
        self.ready = True

    async def _stay_fresh(self) -> None:
        """After a write, by whomever, make the model ready, so that the next request does not have to.

        It also lets go of what is known of people who were forgotten through another daemon.
        """
        seen = ready_for = -1
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            try:
                version = await asyncio.to_thread(self.gallery.version)
                if self.ready and version == seen != ready_for:  # a second without a write
                    await self.identifying.run(lambda: self.recognizer.standing())
                    ready_for = version
                seen = version
            except KithError as error:
                log.warning("the model could not be made ready: %s", error)
                ready_for = seen

    async def _tidy(self) -> None:
        """Delete what is older than it is kept."""
        while True:
            try:
                await asyncio.to_thread(self._purge)
            except KithError as error:
                log.warning("what is old could not be deleted: %s", error)
            await asyncio.sleep(TIDY_SECONDS)

    def _purge(self) -> None:
        now = datetime.now(UTC)
        if self.settings.history_days:
            self.decisions.purge(now - timedelta(days=self.settings.history_days))
        self.answers.purge(now - ANSWERS_KEPT)
        self.jobs.purge(now - JOBS_KEPT)
        self.review.purge()

    def _watch(self) -> None:
        for lane in (self.identifying, self.enrolling):
            name = f"kith_{lane.name}_requests"
            self.metrics.watch(name, "Requests that run or wait.", lambda lane=lane: lane.admitted)  # type: ignore[misc]
        self.metrics.watch("kith_ready", "Whether the encoder is loaded.", lambda: float(self.ready))


def _daemon(connection: HTTPConnection) -> Daemon:
    daemon: Daemon = connection.app.state.daemon
    return daemon


DaemonDep = Annotated[Daemon, Depends(_daemon)]
