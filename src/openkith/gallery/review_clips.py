"""Recordings of nobody known, kept with their audio until the owner says who they are, or that nobody cares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from openkith.errors import GalleryError, UnknownItemError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_arrays, pack_json, unpack_arrays, unpack_json
from openkith.gallery.records import Arrays, NewClip, check_embedding
from openkith.gallery.safekeeping.encryption import context_of
from openkith.gallery.store import Gallery

__all__ = ["ReviewChange", "ReviewClip", "ReviewClips"]

State = Literal["waiting", "dismissed", "enrolled"]

ACTIONS = {
    "dismissed": "review-dismiss",
    "enrolled": "review-enroll",
    "waiting": "review-undo",
}  # in the audit log


@dataclass(frozen=True, eq=False)
class ReviewClip:
    """A recording kept for review, without its audio.

    Attributes:
        id: Unique in the gallery, never used again.
        time: When it was kept, UTC.
        sha256: Of the audio.
        seconds: Its length.
        encoder: Fingerprint of the encoder that made the arrays.
        status: What was answered: ``unsure`` or ``unknown``.
        probability: Of that answer.
        guess_id: Number of the person it was most like; None where there was none, or they were forgotten.
        guess: Their present name.
        state: ``waiting``, ``dismissed`` or ``enrolled``.
        changed: When it came to be so, UTC.
        enrolment_id: The enrolment that it became part of.
        quality: Measurements of the recording by name.
        arrays: ``"embedding"`` of shape (d,) float32, and whatever else was stored with it.
    """

    id: int
    time: datetime
    sha256: str
    seconds: float
    encoder: str
    status: str
    probability: float
    guess_id: int | None
    guess: str | None
    state: State
    changed: datetime
    enrolment_id: int | None
    quality: dict[str, float]
    arrays: Arrays


@dataclass(frozen=True)
class ReviewChange:
    """The last thing that was done in review: what, when (UTC), to which clips, and with which enrolment."""

    what: Literal["dismissed", "enrolled"]
    time: datetime
    ids: tuple[int, ...]
    enrolment_id: int | None


class ReviewClips:
    """The recordings of a gallery that are kept for review.

    `Gallery.add_clips` marks those that it is given as enrolled, and `Gallery.undo` lets them wait again, each in
    its own transaction. Forgetting a person erases those that became theirs.

    Args:
        gallery: Which gallery.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._database = gallery.database

    def add(
        self,
        clip: NewClip,
        *,
        status: str,
        probability: float,
        guess: int | None,
        encoder: str,
        actor: str = "",
    ) -> int | None:
        """Keep a recording.

        Args:
            clip: With its audio.
            status: What was answered: ``unsure`` or ``unknown``.
            probability: Of that answer.
            guess: Number of the person it was most like.
            encoder: Fingerprint of the encoder that made the arrays.
            actor: Who sent it, for the audit log.

        Returns:
            Its number; None where the recording is a clip of the gallery, or was kept before.

        Raises:
            GalleryError: It comes without audio, or its arrays cannot be stored.
        """
        if clip.audio is None:
            raise GalleryError(f"{clip.source}: a recording is kept for review with its audio: give it too")
        table, clips, people = schema.review_clips, schema.clips, schema.people
        quality = {key: float(value) for key, value in clip.quality.items()}
        arrays = pack_arrays(clip.arrays, clip.source)
        values = {
            "sha256": clip.sha256,
            "seconds": float(clip.seconds),
            "encoder": encoder,
            "status": status,
            "probability": float(probability),
            "state": "waiting",
            "quality": pack_json(quality, f"{clip.source}: quality"),
            "arrays": self._database.seal(arrays, context_of(table.c.arrays, clip.sha256)),
            "audio": self._database.seal(clip.audio, context_of(table.c.audio, clip.sha256)),
        }
        with self._database.write() as connection:
            for known in (clips, table):
                same = select(known.c.id).where(known.c.sha256 == clip.sha256)
                if connection.execute(same).scalar() is not None:
                    return None
            guessed = select(people.c.id).where(people.c.id == queries.known_id(guess or 0))
            values["guess_id"] = connection.execute(guessed).scalar()  # forgotten since, perhaps
            values["time"] = values["changed"] = queries.now()
            number = queries.insert_row(connection, table, **values)
            queries.log(connection, "review-keep", None, actor, clip=number, seconds=round(clip.seconds, 3))
        return number

    def waiting(self) -> list[ReviewClip]:
        """Those of which nobody has said anything yet, oldest first.

        Raises:
            GalleryError: A stored recording is damaged.
        """
        with self._database.read() as connection:
            return self._read(connection, schema.review_clips.c.state == "waiting")

    def get(self, ids: Sequence[int]) -> list[ReviewClip]:
        """Some recordings, in the order asked for.

        Raises:
            UnknownItemError: There is none of one of these numbers.
            GalleryError: One is damaged.
        """
        with self._database.read() as connection:
            self._refuse_unknown(connection, ids)
            found = {clip.id: clip for clip in self._read(connection, _among(ids))}
        return [found[number] for number in ids]

    def audio(self, clip_id: int) -> bytes:
        """The recording itself, as it was encoded when it was kept.

        Raises:
            UnknownItemError: There is none of this number.
            GalleryError: It is damaged.
        """
        table = schema.review_clips
        query = select(table.c.audio, table.c.sha256).where(table.c.id == queries.known_id(clip_id))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownItemError(_unknown(clip_id))
        return self._database.unseal(row.audio, context_of(table.c.audio, row.sha256))

    def mark(
        self, ids: Sequence[int], state: State, enrolment_id: int | None = None, *, actor: str = ""
    ) -> None:
        """Say what became of some recordings: one change, which `undo` can take back.

        Those that are so already stay as they are.

        Args:
            ids: Which.
            state: What they become.
            enrolment_id: The enrolment that they became part of.
            actor: Who says it, for the audit log.

        Raises:
            UnknownItemError: There is none of one of these numbers; nothing is changed.
        """
        table = schema.review_clips
        same_event = table.c.enrolment_id.is_not_distinct_from(enrolment_id)
        with self._database.write() as connection:
            self._refuse_unknown(connection, ids)
            differ = _among(ids) & ~((table.c.state == state) & same_event)
            _change(connection, differ, state, enrolment_id, actor)

    def last_change(self) -> ReviewChange | None:
        """What `undo` would take back: the recordings that were dismissed, or enrolled, last; None: nothing."""
        with self._database.read() as connection:
            return _last_change(connection)

    def undo(self, *, actor: str = "") -> tuple[Literal["dismissed", "enrolled"], tuple[int, ...]]:
        """Let the recordings wait again that were dismissed or enrolled last.

        The clips of an enrolment stay: `Gallery.undo` with the enrolment of `last_change` takes those back and
        does this too.

        Returns:
            What had become of them, and their numbers.

        Raises:
            GalleryError: Nothing is left to take back.
        """
        with self._database.write() as connection:
            last = _last_change(connection)
            if last is None:
                raise GalleryError(f"{self._database.label}: there is nothing to take back in review")
            same = (schema.review_clips.c.state != "waiting") & (schema.review_clips.c.changed == last.time)
            _change(connection, same, "waiting", None, actor)
        return last.what, last.ids

    def purge(self, before: datetime, *, most: int | None = None, actor: str = "") -> int:
        """Erase the recordings that were kept before a moment, whatever became of them; clips stay clips.

        Args:
            before: The moment.
            most: Erase the oldest ones beyond so many, too.
            actor: Who does it, for the audit log.

        Returns:
            How many there were.
        """
        table = schema.review_clips
        old: ColumnElement[bool] = table.c.time < before
        if most is not None:
            newest = select(table.c.id).order_by(table.c.id.desc()).limit(most)
            old = old | table.c.id.not_in(newest)
        with self._database.read() as connection:
            if connection.execute(select(table.c.id).where(old).limit(1)).scalar() is None:
                return 0  # without taking the lock of writers, and without a wipe
        with self._database.write(erases=True) as connection:
            gone = connection.execute(delete(table).where(old)).rowcount
            if gone:
                queries.log(connection, "review-purge", None, actor, clips=gone)
        self._database.wipe()
        return gone

    def _read(self, connection: Connection, condition: ColumnElement[bool]) -> list[ReviewClip]:
        """The recordings that meet a condition, in order of id."""
        table, people = schema.review_clips, schema.people
        columns = [column for column in table.c if column is not table.c.audio]  # recordings may be large
        query = (
            select(*columns, people.c.name)
            .join_from(table, people, isouter=True)
            .where(condition)
            .order_by(table.c.id)
        )
        return [self._clip_of(row) for row in connection.execute(query)]

    def _clip_of(self, row: Any) -> ReviewClip:
        label, remedy = f"recording {row.id} for review", "dismiss it"
        context = context_of(schema.review_clips.c.arrays, row.sha256)
        arrays = unpack_arrays(self._database.unseal(row.arrays, context), label, remedy)
        check_embedding(arrays, label)
        return ReviewClip(
            id=row.id,
            time=row.time,
            sha256=row.sha256,
            seconds=float(row.seconds),
            encoder=row.encoder,
            status=row.status,
            probability=float(row.probability),
            guess_id=row.guess_id,
            guess=row.name,
            state=row.state,
            changed=row.changed,
            enrolment_id=row.enrolment_id,
            quality=unpack_json(row.quality, label, remedy),
            arrays=arrays,
        )

    def _refuse_unknown(self, connection: Connection, ids: Collection[int]) -> None:
        """Raise UnknownItemError where one of these is not there."""
        table = schema.review_clips
        there = set(connection.execute(select(table.c.id).where(_among(ids))).scalars())
        for number in ids:
            if number not in there:
                raise UnknownItemError(_unknown(number))


def _unknown(number: int) -> str:
    return f"there is no recording {number} for review: it was erased, or never kept"


def _among(ids: Collection[int]) -> ColumnElement[bool]:
    return schema.review_clips.c.id.in_([queries.known_id(number) for number in ids])


def _last_change(connection: Connection) -> ReviewChange | None:
    table = schema.review_clips
    settled = table.c.state != "waiting"
    newest = select(func.max(table.c.changed)).where(settled).scalar_subquery()
    query = select(table.c.id, table.c.state, table.c.changed, table.c.enrolment_id)
    rows = connection.execute(query.where(settled, table.c.changed == newest).order_by(table.c.id)).all()
    if not rows:
        return None
    first = rows[0]
    return ReviewChange(first.state, first.changed, tuple(row.id for row in rows), first.enrolment_id)


def _change(
    connection: Connection, condition: ColumnElement[bool], state: State, enrolment: int | None, actor: str
) -> None:
    """Write a new state with a moment of its own, and to the audit log if that changed anything."""
    values = {"state": state, "enrolment_id": enrolment, "changed": queries.next_change(connection)}
    changed = connection.execute(update(schema.review_clips).where(condition).values(values)).rowcount
    if changed:
        queries.log(connection, ACTIONS[state], None, actor, clips=changed)
