"""Recordings that got no name, kept where the owner wants it: who is this?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from openkith.gallery import UNCHANGED
from openkith.recognizer.review import ReviewSettings as Kept
from openkith.recognizer.review import VoiceGroup
from openkith.service.auth import Caller, needs
from openkith.service.daemon import Daemon, DaemonDep
from openkith.service.plain import plain
from openkith.service.routes.speakers import check_name
from openkith.service.schemas import (
    PROBLEM_RESPONSES,
    EnrolmentOut,
    Id,
    ReviewBody,
    ReviewClipsBody,
    ReviewOut,
    ReviewSettings,
    ReviewUndoOut,
)

__all__ = ["router"]

router = APIRouter(prefix="/v1/review", tags=["review"], responses=PROBLEM_RESPONSES)

Enroller = Annotated[Caller, Depends(needs("enrol"))]
Admin = Annotated[Caller, Depends(needs("admin"))]


@router.get("", response_model=ReviewOut)
async def list_groups(daemon: DaemonDep, caller: Enroller) -> Any:  # noqa: ARG001
    """What waits, a group for each voice."""

    def look() -> dict[str, Any]:
        settings, ids = daemon.review.settings, _ids(daemon)
        groups = [_shown(group, ids) for group in daemon.review.groups()]
        shown: dict[str, Any] = plain({"keep": settings.keep, "days": settings.days, "groups": groups})
        return shown

    async with daemon.looking.slot():
        return await daemon.looking.run(look)


@router.put("/settings", response_model=ReviewSettings)
def change_settings(body: ReviewSettings, daemon: DaemonDep, caller: Admin) -> Any:
    """Keep recordings that get no name from now on, or no longer; off at first."""
    daemon.review.change_settings(Kept(body.keep, body.days), actor=caller.actor)
    return body


@router.get(
    "/clips/{clip_id}/audio",
    response_class=Response,
    responses={200: {"content": {"audio/flac": {"schema": {"type": "string", "format": "binary"}}}}},
)
def play(clip_id: Id, daemon: DaemonDep, caller: Enroller) -> Any:  # noqa: ARG001
    """A recording."""
    return Response(daemon.review.audio(clip_id), media_type="audio/flac")


@router.post("/enroll", status_code=201, response_model=EnrolmentOut)
async def enroll(body: ReviewBody, daemon: DaemonDep, caller: Enroller) -> Any:
    """Say who it is: the recordings become clips of that person, new or enrolled already."""
    name = check_name(body.name)

    def enrol() -> Any:
        consent = UNCHANGED if body.consent is None else body.consent
        return daemon.review.enroll(body.clips, name, consent=consent, actor=caller.actor)

    async with daemon.enrolling.slot():
        return plain(await daemon.enrolling.run(enrol))


@router.post("/dismiss", status_code=204)
def dismiss(body: ReviewClipsBody, daemon: DaemonDep, caller: Enroller) -> None:
    """Say that nobody is to be enrolled with these."""
    daemon.review.dismiss(body.clips, actor=caller.actor)


@router.post("/undo", response_model=ReviewUndoOut)
def undo(daemon: DaemonDep, caller: Enroller) -> Any:
    """Take back the last enrolment from review, or the last dismissal."""
    return plain(daemon.review.undo(actor=caller.actor).to_dict())


def _ids(daemon: Daemon) -> dict[str, int]:
    return {person.name: person.id for person in daemon.gallery.people()}


def _shown(group: VoiceGroup, ids: Mapping[str, int]) -> dict[str, Any]:
    likely = None
    if group.likely is not None and group.likely in ids:
        likely = {"id": ids[group.likely], "name": group.likely, "probability": group.probability}
    clips = [
        {
            "id": clip.id,
            "time": clip.time,
            "seconds": clip.seconds,
            "status": clip.status,
            "probability": clip.probability,
            "guess": None if clip.guess_id is None else {"id": clip.guess_id, "name": clip.guess},
        }
        for clip in group.clips
    ]
    return {"clips": clips, "likely": likely, "seconds": sum(clip.seconds for clip in group.clips)}
