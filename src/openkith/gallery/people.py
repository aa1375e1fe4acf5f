"""What adding, changing and erasing a person means for the tables, on an open transaction."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, delete, select, update

from openkith.errors import ChangedError, GalleryError
from openkith.gallery import queries, schema
from openkith.gallery.records import UNCHANGED, Person, Unchanged, check_consent, clean_name, clean_note

__all__ = [
    "added_by_hand",
    "became_clips_of",
    "change_person",
    "checked_details",
    "erase_person",
    "insert_person",
    "names_by_id",
    "refuse_changed",
    "reopen_review",
    "settle_review",
]

ADDED = "add-person"  # the action of the audit log that says so


def names_by_id(connection: Connection) -> dict[int, str]:
    """The present name of everybody in the gallery."""
    rows = connection.execute(select(schema.people.c.id, schema.people.c.name))
    return {row.id: row.name for row in rows}


def checked_details(consent: date | Unchanged | None, note: str | Unchanged) -> dict[str, date | str | None]:
    """The columns of `people` to be written for what is not `UNCHANGED`.

    Raises:
        GalleryError: The note is too long or has control characters, or consent is no date.
    """
    details: dict[str, date | str | None] = {}
    if consent is not UNCHANGED:
        check_consent(consent)
        details["consent"] = consent
    if note is not UNCHANGED:
        details["note"] = clean_note(note)
    return details


def insert_person(
    connection: Connection, name: str, details: dict[str, date | str | None], time: datetime
) -> int:
    """A new person of a clean name that is free; returns the id."""
    return queries.insert_row(connection, schema.people, name=name, created=time, **details)


def change_person(
    connection: Connection, person: Person, new_name: str | None, details: dict[str, date | str | None]
) -> list[str]:
    """Give a person another name, consent or note; returns which of them became another.

    Raises:
        GalleryError: The name is taken, or cannot be used.
    """
    values = dict(details)
    if new_name is not None:
        values["name"] = clean_name(new_name, new=True)
    changed = sorted(key for key, value in values.items() if getattr(person, key) != value)
    if "name" in changed and queries.person_id(connection, str(values["name"])) is not None:
        taken = repr(values["name"])
        raise GalleryError(f"{taken} is enrolled already: choose another name, or forget {taken} first")
    if changed:
        connection.execute(update(schema.people).where(schema.people.c.id == person.id).values(values))
    return changed


def refuse_changed(person: Person, etag: str | None) -> None:
    """Refuse to overwrite what somebody else wrote.

    Raises:
        ChangedError: `etag` is given and is not the person's.
    """
    if etag is not None and etag != person.etag:
        raise ChangedError(f"{person.name!r} was changed since you read it: read it again, then change it")


def added_by_hand(connection: Connection, person_id: int) -> bool:
    """Whether somebody made the person without clips, so that no enrolment made them."""
    audit = schema.audit
    made = select(audit.c.id).where(audit.c.person_id == person_id, audit.c.action == ADDED).limit(1)
    return connection.execute(made).scalar() is not None


def erase_person(connection: Connection, person_id: int) -> int:
    """Delete a person with everything that knows the name or the voice; returns how many heads went.

    Their clips and enrolments go by themselves. Recordings kept for review that became theirs go too; of the
    others, those that sounded like them only forget that. Answers that may be said again go all: their bodies
    may hold the name.
    """
    heads = queries.erase_heads(connection, schema.head_sources.c.person_id == person_id)
    connection.execute(delete(schema.review_clips).where(became_clips_of(person_id)))
    connection.execute(delete(schema.answers))
    connection.execute(delete(schema.people).where(schema.people.c.id == person_id))
    return heads


def became_clips_of(person_id: int) -> ColumnElement[bool]:
    """The recordings kept for review that are clips of this person by now."""
    clips, enrolments, review = schema.clips, schema.enrolments, schema.review_clips
    theirs = select(clips.c.sha256).where(clips.c.person_id == person_id)
    events = select(enrolments.c.id).where(enrolments.c.person_id == person_id)
    return review.c.sha256.in_(theirs) | review.c.enrolment_id.in_(events)


def settle_review(connection: Connection, enrolment_id: int, time: datetime) -> int:
    """Mark the recordings kept for review that this enrolment has as clips; returns how many there were."""
    review = schema.review_clips
    enrolled = select(schema.clips.c.sha256).where(schema.clips.c.enrolment_id == enrolment_id)
    values = {"state": "enrolled", "enrolment_id": enrolment_id, "changed": time}
    return connection.execute(update(review).where(review.c.sha256.in_(enrolled)).values(values)).rowcount


def reopen_review(connection: Connection, enrolment_id: int, time: datetime) -> None:
    """Let the recordings wait again that this enrolment took from review."""
    review = schema.review_clips
    values = {"state": "waiting", "enrolment_id": None, "changed": time}
    connection.execute(update(review).where(review.c.enrolment_id == enrolment_id).values(values))
