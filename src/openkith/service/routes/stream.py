"""A live stream over a WebSocket: a microphone in, names out while somebody talks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from openkith.audio import SAMPLE_RATE
from openkith.audio.isolated.stream_decoder import StreamDecoder
from openkith.audio.stream import Block
from openkith.errors import KithError
from openkith.service import problems
from openkith.service.auth import Caller
from openkith.service.daemon import Daemon, DaemonDep
from openkith.service.plain import plain
from openkith.service.problems import ProblemError, explain

if TYPE_CHECKING:
    from openkith.recognizer.live import LiveEvent, LiveSession

__all__ = ["router"]

router = APIRouter(prefix="/v1")

OPENING_SECONDS = 10.0  # until the first message must have come
IDLE_SECONDS = 60.0  # without a message
LOOK_SECONDS = 0.5  # between looks whether the daemon stops
LONGEST_MESSAGE = 2**20
CLOSED, REFUSED, GOING_AWAY = 1000, 1008, 1001  # codes of RFC 6455


class Opening(BaseModel):
    """The first message."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["pcm16", "webm", "ogg"] = "pcm16"
    sample_rate: int = Field(SAMPLE_RATE, ge=8000, le=192_000)
    key: str | None = Field(None, max_length=200)


class _Stop(Exception):  # noqa: N818  (no error)
    """The client has said all."""


@router.websocket("/stream")
async def stream(websocket: WebSocket, daemon: DaemonDep) -> None:
    """Listen to a stream; see the page of the API for its messages."""
    await websocket.accept()
    inbox = _Inbox(websocket, daemon)
    try:
        opening = _parse_opening(await inbox.next(OPENING_SECONDS))
        caller = await run_in_threadpool(daemon.keyring.check, opening.key, inbox.peer)
        caller.require("identify")
        async with daemon.streaming.slot():
            daemon.metrics.streams.inc()
            try:
                await _listen(websocket, inbox, daemon, caller, opening)
            finally:
                daemon.metrics.streams.dec()
    except (KithError, ProblemError) as error:
        await _end(websocket, {"type": "error", "problem": explain(error)}, REFUSED)
    except WebSocketDisconnect:
        pass
    finally:
        inbox.close()


async def _listen(
    websocket: WebSocket, inbox: _Inbox, daemon: Daemon, caller: Caller, opening: Opening
) -> None:
    lane = daemon.streaming
    conversation = await lane.run(lambda: _Conversation(daemon, opening))
    try:
        await websocket.send_json({"type": "ready"})
        code = CLOSED
        try:
            while True:
                chunk = await inbox.next(IDLE_SECONDS)
                if not isinstance(chunk, bytes):
                    _check_stop(chunk)
                    break
                events = await lane.run(lambda chunk=chunk: conversation.feed(chunk))  # type: ignore[misc]
                await _tell(websocket, daemon, caller, events)
        except _Stop:
            code = GOING_AWAY  # the daemon stops: what was said is decided all the same
        events = await lane.run(conversation.finish)
        await _tell(websocket, daemon, caller, events)
        await _end(websocket, {"type": "end"}, code)
    finally:
        conversation.close()


async def _tell(websocket: WebSocket, daemon: Daemon, caller: Caller, events: Sequence[LiveEvent]) -> None:
    """Send events, the final decisions kept before."""
    for event in events:
        decision: dict[str, Any] = {} if event.decision is None else plain(event.decision.to_dict())
        if event.kind == "final" and event.decision is not None:
            logged = await daemon.keep(event.decision, "stream", caller.actor)
            decision |= {"id": logged.id, "speaker_id": logged.speaker_id}
            if event.audio is not None:
                heard = replace(event.audio, source=f"stream, {event.start:.1f} s")
                daemon.offer(heard, event.decision, caller.actor)
        message = {
            "type": event.kind,
            "utterance": event.utterance,
            "start": event.start,
            "end": event.end,
            "early": event.early,
            "decision": decision or None,
        }
        await websocket.send_json(plain(message))


class _Conversation:
    """The decoder of one stream and the session that listens to it."""

    def __init__(self, daemon: Daemon, opening: Opening) -> None:
        self._decoder = StreamDecoder(opening.format, opening.sample_rate, pool=daemon.pool)
        try:
            self._session: LiveSession = daemon.recognizer.listen()
        except BaseException:
            self._decoder.close()
            raise

    def feed(self, chunk: bytes) -> list[LiveEvent]:
        """What the next bytes have to tell."""
        return self._hear(self._decoder.feed(chunk))

    def finish(self) -> list[LiveEvent]:
        """What is left to tell."""
        return [*self._hear(self._decoder.finish()), *self._session.finish()]

    def close(self) -> None:
        """Let go of the decoder's process."""
        self._decoder.close()

    def _hear(self, samples: Block) -> list[LiveEvent]:
        return self._session.feed(samples) if len(samples) else []


class _Inbox:
    """The messages of a client, one by one, each within a time."""

    def __init__(self, websocket: WebSocket, daemon: Daemon) -> None:
        self._websocket, self._daemon = websocket, daemon
        self._pending: asyncio.Task[Any] | None = None
        self.peer = websocket.client.host if websocket.client else ""

    async def next(self, seconds: float) -> bytes | str:
        """The next message.

        Raises:
            ProblemError: None came in time, or it is too long.
            WebSocketDisconnect: The client has gone.
            _Stop: The daemon stops.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._websocket.receive())
        while not self._pending.done():
            if self._daemon.closing.is_set():
                raise _Stop
            await asyncio.wait({self._pending}, timeout=LOOK_SECONDS)
            if asyncio.get_running_loop().time() > deadline and not self._pending.done():
                raise ProblemError(problems.TIMED_OUT, f"no message in {seconds:.0f} s; connect again")
        message, self._pending = self._pending.result(), None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", CLOSED))
        data = message.get("bytes")
        content: bytes | str = message.get("text", "") if data is None else data
        if len(content) > LONGEST_MESSAGE:
            raise ProblemError(problems.TOO_LARGE, f"a message of more than {LONGEST_MESSAGE} bytes")
        return content

    def close(self) -> None:
        """Wait for no message any more."""
        if self._pending is not None:
            self._pending.cancel()


def _parse_opening(message: bytes | str) -> Opening:
    try:
        if isinstance(message, bytes):
            raise ValueError
        return Opening.model_validate_json(message)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "message"
        raise ProblemError(problems.INVALID, f"{field}: {first['msg']}", field) from error
    except ValueError as error:
        raise ProblemError(
            problems.INVALID, 'the first message must be text: {"format": "pcm16", "sample_rate": 16000}'
        ) from error


def _check_stop(message: str) -> None:
    try:
        if json.loads(message) == {"type": "stop"}:
            return
    except (ValueError, RecursionError):
        pass
    raise ProblemError(problems.INVALID, 'after the first message send audio, or {"type": "stop"}')


async def _end(websocket: WebSocket, message: dict[str, Any], code: int) -> None:
    """Send a last message and close; a client that has gone already does not mind."""
    try:
        await websocket.send_json(message)
        await websocket.close(code)
    except (WebSocketDisconnect, RuntimeError):
        pass
