"""Questions and small writes on an open transaction, shared by the operations of the gallery."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Table, delete, func, insert, select

from openkith.errors import DuplicateClipError, EncoderMismatchError, UnknownPersonError
from openkith.gallery import schema
from openkith.gallery.codec import pack_arrays, pack_json, unpack_arrays, unpack_json
from openkith.gallery.database import Database
from openkith.gallery.records import (
    AuditEntry,
    Clip,
    NewClip,
    Person,
    StoredHead,
    check_embedding,
    clean_name,
)
from openkith.gallery.safekeeping.encryption import context_of

__all__ = [
    "audit_entry_from_row",
    "clip_from_row",
    "clip_ids",
    "clip_values",
    "encoder_of",
    "erase_heads",
    "find_person",
    "find_person_of_id",
    "head_from_row",
    "insert_row",
    "known_id",
    "log",
    "next_change",
    "now",
    "person_from_row",
    "person_id",
    "read_clips",
    "read_people",
    "refuse_known",
    "refuse_other_encoder",
    "revision_of",
]

NEAREST_NAMES = 3  # offered when a name is unknown
NEAREST_CUTOFF = 0.6  # of difflib's ratio, in 0..1
TIME_FORMAT = "%Y-%m-%d %H:%M UTC"
QUERY_VALUES = 500  # in one IN (...); databases limit it
LARGEST_ID = 2**31 - 1  # of PostgreSQL's integer


def now() -> datetime:
    """This moment, UTC."""
    return datetime.now(UTC)


def insert_row(connection: Connection, table: Table, **values: Any) -> int:
    """Insert one row; returns its id."""
    result: Any = connection.execute(insert(table).values(**values))
    return int(result.inserted_primary_key[0])


def log(connection: Connection, action: str, person: int | None, actor: str = "", **detail: Any) -> datetime:
    """Write to the audit log: a person by id, and never a name in `detail`; returns the entry's time."""
    time = now()
    values = {"time": time, "actor": actor, "action": action, "person_id": person}
    connection.execute(insert(schema.audit).values(values | {"detail": pack_json(detail, "audit")}))
    return time


def read_people(connection: Connection, condition: ColumnElement[bool] | None = None) -> list[Person]:
    """Everybody, or those who meet `condition`, in order of id."""
    people, clips = schema.people, schema.clips
    query = (
        select(
            people.c.id,
            people.c.name,
            people.c.created,
            people.c.consent,
            people.c.note,
            func.count(clips.c.id).label("clips"),
            func.coalesce(func.sum(clips.c.seconds), 0.0).label("seconds"),
            func.coalesce(func.max(clips.c.id), 0).label("newest_clip"),
        )
        .join_from(people, clips, isouter=True)
        .group_by(people.c.id)
        .order_by(people.c.id)
    )
    if condition is not None:
        query = query.where(condition)
    return [person_from_row(row) for row in connection.execute(query)]


def person_from_row(row: Any) -> Person:
    """The record of a row of people, with what their clips come to."""
    return Person(
        id=row.id,
        name=row.name,
        created=row.created,
        clips=row.clips,
        seconds=float(row.seconds),
        consent=row.consent,
        note=row.note,
        newest_clip=row.newest_clip,
    )


def person_id(connection: Connection, name: str) -> int | None:
    """The id of the person of that exact name, if there is one."""
    return connection.execute(select(schema.people.c.id).where(schema.people.c.name == name)).scalar()


def find_person(connection: Connection, name: str, label: str) -> Person:
    """The person of that name.

    Raises:
        UnknownPersonError: There is none in the gallery that is called `label`; it offers the nearest names.
    """
    name = clean_name(name)
    found = read_people(connection, schema.people.c.name == name)
    if found:
        return found[0]
    names = list(connection.execute(select(schema.people.c.name).order_by(schema.people.c.id)).scalars())
    folded = {other.casefold(): other for other in names}
    near = difflib.get_close_matches(name.casefold(), folded, NEAREST_NAMES, NEAREST_CUTOFF)
    if near:
        remedy = "did you mean " + " or ".join(repr(folded[key]) for key in near) + "?"
    elif names:
        remedy = "`kith list` shows who is"
    else:
        remedy = "nobody is, yet"
    raise UnknownPersonError(f"{name!r} is not enrolled in {label}: {remedy}")


def find_person_of_id(connection: Connection, number: int, label: str) -> Person:
    """The person of that number.

    Raises:
        UnknownPersonError: There is none in the gallery that is called `label`.
    """
    found = read_people(connection, schema.people.c.id == known_id(number))
    if not found:
        raise UnknownPersonError(f"there is no person {number} in {label}: `kith list` shows who is")
    return found[0]


def known_id(number: int) -> int:
    """`number`, or 0, which is nobody's, where no database could have given it: asking for it would fail."""
    return number if 0 < number <= LARGEST_ID else 0


def next_change(connection: Connection) -> datetime:
    """This moment, or one just after the last change in review: each change there has a moment of its own.

    Only within a transaction that writes, which is alone.
    """
    last = connection.execute(select(func.max(schema.review_clips.c.changed))).scalar()
    return now() if last is None else max(now(), last + timedelta(microseconds=1))


def refuse_other_encoder(connection: Connection, encoder: str, kinds: Iterable[str], label: str) -> None:
    """Refuse to mix embeddings of two encoders.

    Raises:
        EncoderMismatchError: There is a clip of these kinds by another encoder.
    """
    clips = schema.clips
    query = select(clips.c.encoder).where(clips.c.kind.in_(list(kinds)), clips.c.encoder != encoder).limit(1)
    other = connection.execute(query).scalar()
    if other is not None:
        raise EncoderMismatchError(
            f"{label}: its clips were embedded by {other}, these by {encoder}, which cannot be compared: "
            "`kith reembed` brings the gallery over where audio was kept, or use another with --gallery"
        )


def refuse_known(connection: Connection, given: Mapping[str, NewClip]) -> None:
    """Refuse recordings, by sha256, that are in the gallery already.

    Raises:
        DuplicateClipError: One is; the message says whose and since when.
    """
    query = select(schema.clips.c.sha256, schema.clips.c.created, schema.people.c.name).join_from(
        schema.clips, schema.people, isouter=True
    )
    hashes = list(given)
    known: dict[str, Any] = {}
    for start in range(0, len(hashes), QUERY_VALUES):
        part = schema.clips.c.sha256.in_(hashes[start : start + QUERY_VALUES])
        known |= {row.sha256: row for row in connection.execute(query.where(part))}
    refused = [clip for sha256, clip in given.items() if sha256 in known]
    if not refused:
        return
    row = known[refused[0].sha256]
    owner = "among the background clips" if row.name is None else f"enrolled for {row.name!r}"
    others = f" ({len(refused) - 1} more of these are known too)" if len(refused) > 1 else ""
    raise DuplicateClipError(
        f"{refused[0].source}: this recording is {owner} since {row.created:{TIME_FORMAT}}: "
        f"leave it out{others}"
    )


def clip_values(
    database: Database, clip: NewClip, kind: Literal["enrolment", "background"], encoder: str
) -> dict[str, Any]:
    """A clip's row, but for its owner."""
    quality = {key: float(value) for key, value in clip.quality.items()}
    arrays = pack_arrays(clip.arrays, clip.source)
    return {
        "kind": kind,
        "sha256": clip.sha256,
        "seconds": float(clip.seconds),
        "encoder": encoder,
        "created": now(),
        # a file's name may hold bytes that are not UTF-8, which Python carries as lone surrogates
        "source": clip.source.encode("utf-8", "backslashreplace").decode("utf-8"),
        "quality": pack_json(quality, f"{clip.source}: quality"),
        "arrays": database.seal(arrays, context_of(schema.clips.c.arrays, clip.sha256)),
        "audio": clip.audio and database.seal(clip.audio, context_of(schema.clips.c.audio, clip.sha256)),
    }


def clip_ids(connection: Connection, condition: ColumnElement[bool]) -> list[int]:
    """The ids of the clips that meet `condition`, in order."""
    query = select(schema.clips.c.id).where(condition).order_by(schema.clips.c.id)
    return list(connection.execute(query).scalars())


def read_clips(database: Database, connection: Connection, condition: ColumnElement[bool]) -> list[Clip]:
    """The clips that meet `condition`, in order of id."""
    table = schema.clips
    columns = [column for column in table.c if column is not table.c.audio]  # recordings may be large
    query = (
        select(*columns, table.c.audio.is_not(None).label("has_audio"), schema.people.c.name)
        .join_from(table, schema.people, isouter=True)
        .where(condition)
        .order_by(table.c.id)
    )
    return [clip_from_row(database, row) for row in connection.execute(query)]


def clip_from_row(database: Database, row: Any) -> Clip:
    """The record of a row of clips, with its person's name."""
    label = f"clip {row.id} of {row.name or 'the background'}"
    remedy = (
        f"`kith drop-clip {row.name} {row.id}` and enrol it again" if row.name else "add the background again"
    )
    packed = database.unseal(row.arrays, context_of(schema.clips.c.arrays, row.sha256))
    arrays = unpack_arrays(packed, label, remedy)
    check_embedding(arrays, label)
    return Clip(
        id=row.id,
        person=row.name,
        kind=row.kind,
        sha256=row.sha256,
        seconds=float(row.seconds),
        quality=unpack_json(row.quality, label, remedy),
        arrays=arrays,
        encoder=row.encoder,
        created=row.created,
        source=row.source,
        has_audio=bool(row.has_audio),
    )


def head_from_row(database: Database, row: Any) -> StoredHead:
    """The record of a row of heads."""
    label, remedy = f"head {row.id} ({row.method})", "`kith tune` makes a new one"
    config = database.unseal_text(row.config, context_of(schema.heads.c.config, row.revision))
    arrays = database.unseal(row.arrays, context_of(schema.heads.c.arrays, row.revision))
    return StoredHead(
        id=row.id,
        method=row.method,
        encoder=row.encoder,
        revision=row.revision,
        config=unpack_json(config, label, remedy),
        arrays=unpack_arrays(arrays, label, remedy),
        created=row.created,
    )


def audit_entry_from_row(row: Any) -> AuditEntry:
    """The record of a row of audit, with its person's name where there is one."""
    return AuditEntry(
        id=row.id,
        time=row.time,
        actor=row.actor,
        action=row.action,
        subject="" if row.person_id is None else row.name or f"person {row.person_id}",
        detail=unpack_json(row.detail, f"audit entry {row.id}", "restore a copy of the gallery"),
    )


def erase_heads(connection: Connection, condition: ColumnElement[bool]) -> int:
    """Delete the heads with a source that meets `condition`; returns how many there were."""
    learned = select(schema.head_sources.c.head_id).where(condition)
    return connection.execute(delete(schema.heads).where(schema.heads.c.id.in_(learned))).rowcount


def encoder_of(connection: Connection) -> str | None:
    """The fingerprint that the clips carry, enrolled ones first."""
    clips = schema.clips
    query = (
        select(clips.c.encoder).order_by(clips.c.kind.desc(), clips.c.id).limit(1)
    )  # background < enrolment
    return connection.execute(query).scalar()


def revision_of(connection: Connection) -> str:
    """Hash over who is enrolled with which recordings and encoder."""
    columns = (schema.clips.c.person_id, schema.clips.c.sha256, schema.clips.c.encoder)
    query = select(*columns).where(schema.clips.c.kind == "enrolment")
    # sorted here: a server may collate texts in its own way
    lines = sorted(f"{row.person_id} {row.sha256} {row.encoder}\n" for row in connection.execute(query))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
