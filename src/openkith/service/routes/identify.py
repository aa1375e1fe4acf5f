"""Who speaks, and whether a claim is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request

from openkith.audio import Audio
from openkith.openset.decision import Decision
from openkith.service.auth import Caller, needs
from openkith.service.daemon import Daemon, DaemonDep
from openkith.service.plain import plain
from openkith.service.schemas import LARGEST_ID, PROBLEM_RESPONSES, DecisionOut
from openkith.service.uploads import UPLOAD_BODY, Upload, read_upload

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["decisions"], responses=PROBLEM_RESPONSES)

Identifier = Annotated[Caller, Depends(needs("identify"))]
Voices = Annotated[
    Literal["auto", "one", "several"],
    Query(description='"one" or "several", where that is known; else "auto" listens for a second voice.'),
]
SpeakerId = Annotated[int, Query(ge=1, le=LARGEST_ID, description="Whose voice it is said to be.")]


@router.post("/identify", response_model=DecisionOut, openapi_extra=UPLOAD_BODY("clip"))
async def identify(request: Request, daemon: DaemonDep, caller: Identifier, voices: Voices = "auto") -> Any:
    """Who speaks in a recording: one of the people enrolled, or nobody known."""
    upload = read_upload(request, "clip")

    def decide(audio: Audio) -> Decision:
        return daemon.recognizer.identify(audio, voices=voices)

    return await _decide(daemon, caller, "identify", upload, decide)


@router.post("/verify", response_model=DecisionOut, openapi_extra=UPLOAD_BODY("clip"))
async def verify(request: Request, daemon: DaemonDep, caller: Identifier, speaker_id: SpeakerId) -> Any:
    """Whether a recording is of the person it is said to be: `accepted` is the answer."""
    upload = read_upload(request, "clip")

    def decide(audio: Audio) -> Decision:
        return daemon.recognizer.verify(daemon.gallery.person_of_id(speaker_id).name, audio)

    return await _decide(daemon, caller, "verify", upload, decide)


async def _decide(
    daemon: Daemon, caller: Caller, kind: str, upload: Upload, decide: Callable[[Audio], Decision]
) -> dict[str, Any]:
    """Decode, decide, keep, and only then tell."""
    async with daemon.identifying.slot():
        audio = await daemon.decode(upload)
        decision = await daemon.identifying.run(lambda: decide(audio))
        logged = await daemon.keep(decision, kind, caller.actor)
    if kind == "identify":
        daemon.offer(audio, decision, caller.actor)
    return {**plain(decision.to_dict()), "id": logged.id, "speaker_id": logged.speaker_id}
