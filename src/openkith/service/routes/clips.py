"""Clips of people: uploaded, listed, measured and taken back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from openkith.audio.quality import measure_quality
from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.plain import plain
from openkith.service.schemas import (
    PROBLEM_RESPONSES,
    ClipList,
    EnrolmentOut,
    Id,
    MeasureOut,
    UndoOut,
)
from openkith.service.uploads import UPLOAD_BODY, read_upload, read_uploads

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["clips"], responses=PROBLEM_RESPONSES)

Reader = Annotated[Caller, Depends(needs("read"))]
Enroller = Annotated[Caller, Depends(needs("enrol"))]
KeepAudio = Annotated[
    bool, Query(description="Keep the recordings too, so that another encoder can read them.")
]


@router.get("/speakers/{speaker_id}/clips", response_model=ClipList)
def list_clips(speaker_id: Id, daemon: DaemonDep, caller: Reader) -> Any:  # noqa: ARG001
    """The clips of a person, with what can be told of each."""
    name = daemon.gallery.person_of_id(speaker_id).name
    return plain({"clips": daemon.recognizer.report_clips(name)})


@router.post(
    "/speakers/{speaker_id}/clips",
    status_code=201,
    response_model=EnrolmentOut,
    openapi_extra=UPLOAD_BODY("clips", many=True),
)
async def add_clips(
    speaker_id: Id, request: Request, daemon: DaemonDep, caller: Enroller, keep_audio: KeepAudio = False
) -> Any:
    """Enrol clips of a person: all that are sent, or none."""
    uploads = read_uploads(request, "clips")
    async with daemon.enrolling.slot():
        audio = [await daemon.decode(upload) for upload in uploads]

        def enrol() -> Any:
            name = daemon.gallery.person_of_id(speaker_id).name
            return daemon.recognizer.enroll(name, audio, keep_audio=keep_audio, actor=caller.actor)

        return plain(await daemon.enrolling.run(enrol))


@router.delete("/speakers/{speaker_id}/clips/{clip_id}", status_code=204)
def drop_clip(speaker_id: Id, clip_id: Id, daemon: DaemonDep, caller: Enroller) -> None:
    """Erase a clip, but not the last one of a person."""
    name = daemon.gallery.person_of_id(speaker_id).name
    daemon.gallery.drop_clip(name, clip_id, actor=caller.actor)


@router.post("/undo", response_model=UndoOut)
def undo(daemon: DaemonDep, caller: Enroller) -> Any:
    """Take back the last enrolment."""
    return plain(daemon.gallery.undo(actor=caller.actor))


@router.post("/measure", response_model=MeasureOut, openapi_extra=UPLOAD_BODY("clip"))
async def measure(request: Request, daemon: DaemonDep, caller: Enroller) -> Any:  # noqa: ARG001
    """How good a recording is, before anybody is enrolled with it; nothing is kept."""
    upload = read_upload(request, "clip")
    async with daemon.looking.slot():
        audio = await daemon.decode(upload)
        quality = await daemon.looking.run(lambda: measure_quality(audio))
    return {**plain(quality), "advice": list(quality.advice)}
