"""People: who is enrolled, by what name, since when, with what consent; and forgetting them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response

from openkith.errors import GalleryError
from openkith.gallery import Person
from openkith.gallery.records import UNCHANGED, clean_name, clean_note
from openkith.service import problems
from openkith.service.auth import Caller, needs
from openkith.service.daemon import DaemonDep
from openkith.service.plain import plain
from openkith.service.problems import ProblemError
from openkith.service.schemas import (
    PROBLEM_RESPONSES,
    Id,
    ReceiptOut,
    SpeakerBody,
    SpeakerChange,
    SpeakerList,
    SpeakerOut,
)

__all__ = ["check_name", "router"]

router = APIRouter(prefix="/v1/speakers", tags=["speakers"], responses=PROBLEM_RESPONSES)

Reader = Annotated[Caller, Depends(needs("read"))]
Enroller = Annotated[Caller, Depends(needs("enrol"))]
IfMatch = Annotated[str | None, Header(description="The ETag that the person must still have.")]
IfNoneMatch = Annotated[str | None, Header(description="The ETag of what is known already.")]


@router.get("", response_model=SpeakerList)
def list_speakers(daemon: DaemonDep, caller: Reader) -> dict[str, Any]:  # noqa: ARG001
    """Everybody, those without clips among them."""
    heard = daemon.decisions.last_heard()
    return {"speakers": [_shown(person, heard) for person in daemon.gallery.people()]}


@router.post("", status_code=201, response_model=SpeakerOut)
def add_speaker(body: SpeakerBody, response: Response, daemon: DaemonDep, caller: Enroller) -> dict[str, Any]:
    """Add a person who has no clips yet."""
    name = check_name(body.name)
    person = daemon.gallery.add_person(
        name, consent=body.consent, note=_check_note(body.note), actor=caller.actor
    )
    response.headers["ETag"] = _quoted(person)
    response.headers["Location"] = f"/v1/speakers/{person.id}"
    return _shown(person, {})


@router.get("/{speaker_id}", response_model=SpeakerOut, responses={304: {"description": "As it was"}})
def show_speaker(
    speaker_id: Id,
    response: Response,
    daemon: DaemonDep,
    caller: Reader,  # noqa: ARG001
    if_none_match: IfNoneMatch = None,
) -> Any:
    """A person."""
    person = daemon.gallery.person_of_id(speaker_id)
    if if_none_match is not None and _matches(if_none_match, person):
        return Response(status_code=304, headers={"ETag": _quoted(person)})
    response.headers["ETag"] = _quoted(person)
    return _shown(person, daemon.decisions.last_heard())


@router.patch("/{speaker_id}", response_model=SpeakerOut)
def change_speaker(
    speaker_id: Id,
    body: SpeakerChange,
    response: Response,
    daemon: DaemonDep,
    caller: Enroller,
    if_match: IfMatch = None,
) -> dict[str, Any]:
    """Rename a person, or change the day of consent or the note."""
    person = daemon.gallery.person_of_id(speaker_id)
    given = body.model_fields_set
    changed = daemon.gallery.edit_person(
        person.name,
        new_name=None if body.name is None else check_name(body.name),
        consent=body.consent if "consent" in given else UNCHANGED,
        note=UNCHANGED if body.note is None else _check_note(body.note),
        etag=_expected(if_match, person),
        actor=caller.actor,
    )
    response.headers["ETag"] = _quoted(changed)
    return _shown(changed, daemon.decisions.last_heard())


@router.delete("/{speaker_id}", response_model=ReceiptOut)
def forget_speaker(speaker_id: Id, daemon: DaemonDep, caller: Enroller, if_match: IfMatch = None) -> Any:
    """Forget a person: clips, voice prints, every head that learned from them, and the name."""
    person = daemon.gallery.person_of_id(speaker_id)
    etag = _expected(if_match, person)
    return plain(daemon.recognizer.forget(person.name, etag=etag, actor=caller.actor))


def check_name(name: str) -> str:
    """A name as the gallery spells it.

    Raises:
        ProblemError: 422: it can be nobody's name.
    """
    try:
        return clean_name(name, new=True)
    except GalleryError as error:
        raise ProblemError(problems.INVALID, str(error), "name") from error


def _check_note(note: str) -> str:
    try:
        return clean_note(note)
    except GalleryError as error:
        raise ProblemError(problems.INVALID, str(error), "note") from error


def _shown(person: Person, heard: Mapping[int, datetime]) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "created": person.created,
        "consent": person.consent,
        "note": person.note,
        "clips": person.clips,
        "seconds": person.seconds,
        "last_heard": heard.get(person.id),
        "etag": person.etag,
    }


def _quoted(person: Person) -> str:
    return f'"{person.etag}"'


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")]


def _matches(header: str, person: Person) -> bool:
    return header.strip() == "*" or person.etag in _tags(header)


def _expected(if_match: str | None, person: Person) -> str | None:
    """The ETag that the person must have when it is written to; None: any.

    Raises:
        ProblemError: 412: they have another one by now.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    if not _matches(if_match, person):
        raise ProblemError(
            problems.CHANGED, "the person was changed since; read it again, then change it", "If-Match"
        )
    return person.etag
