"""The gallery itself: every operation on people, clips, heads and settings, each of them one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import delete, insert, select, update

from openkith.errors import DuplicateClipError, GalleryError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_arrays, pack_json, unpack_json
from openkith.gallery.database import Database, locate
from openkith.gallery.records import (
    AuditEntry,
    Clip,
    NewClip,
    Person,
    Receipt,
    StoredHead,
    UndoResult,
    check_embedding,
    clean_name,
)

__all__ = ["Gallery"]

ENROLLED = schema.clips.c.kind == "enrolment"
BACKGROUND = schema.clips.c.kind == "background"


class Gallery:
    """People and their clips, in one SQLite file or on a PostgreSQL server.

    Every method is one transaction: a crash in the middle of it, even kill -9, leaves the gallery as it was.
    Any number of threads and processes may use one gallery at once; writers wait for each other.

    Args:
        url: A path, a ``sqlite:///`` or ``postgresql://`` URL, or None for ``$KITH_GALLERY`` and, where that
            is not set, ``gallery.db`` in the user's data folder. Created and migrated on first use.

    Attributes:
        url: Where it is, without any password.
        path: The SQLite file; None on a server.
        database: What it stands on, for what else is kept in one (decisions, review, keys, jobs).

    Raises:
        GalleryError: It is no gallery, is of a newer openkith, is damaged or cannot be written to. Any method
            raises it when the database fails, with the remedy.
        MissingDependencyError: It is on PostgreSQL, and psycopg is not installed.
    """

    def __init__(self, url: str | Path | None = None) -> None:
        location = locate(url)
        self.database = Database(location)
        self.url: str = location.render_as_string(hide_password=True)
        self.path: Path | None = self.database.path

    def __repr__(self) -> str:
        return f"Gallery({self.database.label!r})"

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the gallery; closing twice does no harm."""
        self.database.close()

    # people

    def people(self) -> list[Person]:
        """Everybody enrolled, in order of id."""
        with self.database.read() as connection:
            return queries.read_people(connection)

    def person(self, name: str) -> Person:
        """One enrolled person.

        Raises:
            UnknownPersonError: There is none of that name; the message offers the nearest ones.
        """
        with self.database.read() as connection:
            return queries.find_person(connection, name, self.database.label)

    def rename(self, old: str, new: str) -> None:
        """Give a person another name; nothing else changes, and heads stay valid.

        Raises:
            UnknownPersonError: There is no `old`.
            GalleryError: `new` is taken, reserved, empty, too long or has control characters.
        """
        new = clean_name(new, new=True)
        with self.database.write() as connection:
            person = queries.find_person(connection, old, self.database.label)
            if person.name == new:
                return
            if queries.person_id(connection, new) is not None:
                raise GalleryError(
                    f"{new!r} is enrolled already: choose another name, or forget {new!r} first"
                )
            connection.execute(update(schema.people).where(schema.people.c.id == person.id).values(name=new))
            queries.log(connection, "rename", person.id)

    # clips

    def add_clips(self, name: str, clips: Sequence[NewClip], *, encoder: str) -> int:
        """Enrol a person, or give clips to an enrolled one: one event, which `undo` can take back.

        Background clips of another encoder are dropped when nobody is enrolled: they fit nothing any more.

        Args:
            name: Whose clips they are.
            clips: At least one.
            encoder: Fingerprint of the encoder that made their arrays.

        Returns:
            Number of clips added.

        Raises:
            DuplicateClipError: A recording is in the gallery already, or twice in `clips`.
            EncoderMismatchError: The gallery holds clips of another encoder.
            GalleryError: There is no clip, or the name cannot be used.
        """
        name = clean_name(name, new=True)
        if not clips:
            raise GalleryError(f"no clip was given for {name!r}: give at least one")
        given: dict[str, NewClip] = {}
        for clip in clips:
            first = given.setdefault(clip.sha256, clip)
            if first is not clip:
                raise DuplicateClipError(
                    f"{clip.source}: the same recording as {first.source}: give each recording once"
                )
        rows = [queries.clip_values(clip, "enrolment", encoder) for clip in clips]
        seconds = round(sum(row["seconds"] for row in rows), 3)
        with self.database.write() as connection:
            queries.refuse_other_encoder(connection, encoder, ["enrolment"], self.database.label)
            connection.execute(delete(schema.clips).where(BACKGROUND, schema.clips.c.encoder != encoder))
            queries.refuse_known(connection, given)
            owner = queries.person_id(connection, name)
            if owner is None:
                owner = queries.insert_row(connection, schema.people, name=name, created=queries.now())
            event = queries.insert_row(connection, schema.enrolments, person_id=owner, created=queries.now())
            owned = {"person_id": owner, "enrolment_id": event}
            connection.execute(insert(schema.clips), [row | owned for row in rows])
            queries.log(connection, "enroll", owner, clips=len(clips), seconds=seconds)
        return len(clips)

    def add_background(self, clips: Sequence[NewClip], *, encoder: str, replace: bool = True) -> int:
        """Store clips of nobody in particular: the user's own room, TV and guests.

        A recording that is given twice, or is a background clip already, is stored once.

        Args:
            clips: May be empty, which with `replace` empties the background.
            encoder: Fingerprint of the encoder that made their arrays.
            replace: Whether the background so far goes.

        Returns:
            Number of clips added.

        Raises:
            DuplicateClipError: A recording is an enrolled person's.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        rows = {clip.sha256: queries.clip_values(clip, "background", encoder) for clip in clips}
        with self.database.write() as connection:
            if replace:
                connection.execute(delete(schema.clips).where(BACKGROUND))
            queries.refuse_other_encoder(
                connection, encoder, ["enrolment", "background"], self.database.label
            )
            for sha256 in connection.execute(select(schema.clips.c.sha256).where(BACKGROUND)).scalars():
                rows.pop(sha256, None)
            queries.refuse_known(connection, {clip.sha256: clip for clip in clips if clip.sha256 in rows})
            if rows:
                connection.execute(insert(schema.clips), list(rows.values()))
            queries.log(connection, "background", None, clips=len(rows), replaced=replace)
        return len(rows)

    def clips(self, name: str | None = None) -> list[Clip]:
        """The enrolment clips, of one person or of all, in order of id.

        Raises:
            UnknownPersonError: There is no such person.
            GalleryError: A stored clip is damaged; the message says which to drop.
        """
        with self.database.read() as connection:
            if name is None:
                return queries.read_clips(connection, ENROLLED)
            person = queries.find_person(connection, name, self.database.label)
            return queries.read_clips(connection, schema.clips.c.person_id == person.id)

    def background(self) -> list[Clip]:
        """The background clips, in order of id."""
        with self.database.read() as connection:
            return queries.read_clips(connection, BACKGROUND)

    def audio(self, clip_id: int) -> bytes:
        """The recording of a clip, as it was encoded when it was kept.

        Raises:
            GalleryError: There is no such clip, or its audio was not kept.
        """
        query = select(schema.clips.c.audio).where(schema.clips.c.id == clip_id)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise GalleryError(f"there is no clip {clip_id}: `kith show NAME` lists a person's clips")
        if row.audio is None:
            raise GalleryError(
                f"the audio of clip {clip_id} was not kept: enrol with --keep-audio to keep it"
            )
        return bytes(row.audio)

    def encoder(self) -> str | None:
        """Fingerprint of the encoder that made the clips in here; None in an empty gallery."""
        with self.database.read() as connection:
            return queries.encoder_of(connection)

    def replace_arrays(self, updates: Mapping[int, Mapping[str, NDArray[Any]]], encoder: str) -> None:
        """Put the arrays of another encoder in the place of all clips' own, and erase the tuned heads.

        Args:
            updates: New arrays by clip id, for every enrolment clip. Background clips without new arrays are
                dropped.
            encoder: Fingerprint of the encoder that made them.

        Raises:
            GalleryError: A clip is missing in `updates` or unknown to the gallery.
        """
        blobs = {}
        for clip_id, arrays in updates.items():
            check_embedding(arrays, f"clip {clip_id}")
            blobs[clip_id] = pack_arrays(arrays, f"clip {clip_id}")
        table = schema.clips
        with self.database.write() as connection:
            kinds = {row.id: row.kind for row in connection.execute(select(table.c.id, table.c.kind))}
            left_out = kinds.keys() - blobs.keys()
            if blobs.keys() - kinds.keys() or any(kinds[clip_id] == "enrolment" for clip_id in left_out):
                raise GalleryError(
                    "the gallery's clips are not those that were embedded again: try once more"
                )
            for clip_id in left_out:
                connection.execute(delete(table).where(table.c.id == clip_id))
            for clip_id, blob in blobs.items():
                values = {"arrays": blob, "encoder": encoder}
                connection.execute(update(table).where(table.c.id == clip_id).values(values))
            heads = connection.execute(delete(schema.heads)).rowcount
            queries.log(connection, "reembed", None, clips=len(blobs), dropped=len(left_out), heads=heads)

    # taking back

    def drop_clip(self, name: str, clip_id: int) -> None:
        """Erase one clip of a person. A head that learned from it is stale, and stays until the next one.

        Raises:
            UnknownPersonError: There is no such person.
            GalleryError: The clip is not theirs, or is their last one: a person without clips could never be
                recognised, so `forget` is the way.
        """
        clips, enrolments = schema.clips, schema.enrolments
        with self.database.write(erases=True) as connection:
            person = queries.find_person(connection, name, self.database.label)
            ids = queries.clip_ids(connection, clips.c.person_id == person.id)
            if clip_id not in ids:
                listed = ", ".join(map(str, ids))
                raise GalleryError(f"{person.name!r} has no clip {clip_id}: the clips are {listed}")
            if len(ids) == 1:
                raise GalleryError(
                    f"clip {clip_id} is the last one of {person.name!r}: "
                    "forget the person, or enrol another clip first"
                )
            connection.execute(delete(clips).where(clips.c.id == clip_id))
            left = select(clips.c.enrolment_id).where(clips.c.person_id == person.id)
            emptied = (enrolments.c.person_id == person.id, enrolments.c.id.not_in(left))
            connection.execute(delete(enrolments).where(*emptied))
            queries.log(connection, "drop-clip", person.id, clip=clip_id)
        self.database.wipe()

    def forget(self, name: str) -> Receipt:
        """Erase a person: clips, embeddings, kept audio, every head that learned from them, and the name.

        The audit log keeps that somebody was here, as "person 3". On SQLite the bytes themselves are wiped
        from the file and its log.

        Raises:
            UnknownPersonError: There is no such person.
        """
        clips = schema.clips
        with self.database.write(erases=True) as connection:
            person = queries.find_person(connection, name, self.database.label)
            kept = select(clips.c.source).where(clips.c.person_id == person.id, clips.c.audio.is_not(None))
            files = tuple(connection.execute(kept.order_by(clips.c.id)).scalars())
            heads = queries.erase_heads(connection, schema.head_sources.c.person_id == person.id)
            connection.execute(delete(schema.people).where(schema.people.c.id == person.id))
            time = queries.log(connection, "forget", person.id, clips=person.clips, heads=heads)
        note = self.database.wipe()
        return Receipt(person.name, person.clips, person.seconds, heads, files, time, note)

    def undo(self) -> UndoResult:
        """Take back the last enrolment that is left.

        Its clips go, the heads that learned from them, and the person too where nothing else is left of
        them. What was forgotten or dropped never comes back.

        Raises:
            GalleryError: No enrolment is left.
        """
        people, clips, enrolments, sources = (
            schema.people,
            schema.clips,
            schema.enrolments,
            schema.head_sources,
        )
        newest = (
            select(enrolments.c.id, enrolments.c.person_id, people.c.name)
            .join_from(enrolments, people)
            .order_by(enrolments.c.id.desc())
            .limit(1)
        )
        with self.database.write(erases=True) as connection:
            event = connection.execute(newest).one_or_none()
            if event is None:
                raise GalleryError(f"{self.database.label}: there is no enrolment to undo")
            taken = queries.clip_ids(connection, clips.c.enrolment_id == event.id)
            learned = select(clips.c.id).where(clips.c.enrolment_id == event.id)
            heads = queries.erase_heads(connection, sources.c.clip_id.in_(learned))
            connection.execute(delete(enrolments).where(enrolments.c.id == event.id))
            gone = not queries.clip_ids(connection, clips.c.person_id == event.person_id)
            if gone:  # a head may also have learned from a clip of theirs that was dropped since
                heads += queries.erase_heads(connection, sources.c.person_id == event.person_id)
                connection.execute(delete(people).where(people.c.id == event.person_id))
            queries.log(connection, "undo", event.person_id, clips=len(taken), heads=heads)
        self.database.wipe()
        return UndoResult(event.name, len(taken), gone)

    # heads

    def revision(self) -> str:
        """A fingerprint of who is enrolled with which clips and encoder.

        Enrolling, dropping, forgetting and re-embedding change it, a new name does not, and `undo` brings
        back the one before.
        """
        with self.database.read() as connection:
            return queries.revision_of(connection)

    def save_head(
        self,
        method: str,
        config: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        *,
        encoder: str,
        revision: str,
    ) -> StoredHead:
        """Store a tuned head in the place of the current one.

        It counts as having learned from everybody enrolled: forgetting any of them erases it.

        Args:
            method: Name of the method that made it.
            config: Plain JSON values. People stand here as ids, never as names: names change and are erased.
            arrays: Its parameters.
            encoder: Fingerprint of the encoder whose embeddings it learned from.
            revision: What `revision` said when the clips were read.

        Raises:
            GalleryError: The gallery is at another revision by now, or something cannot be stored.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        values = {
            "method": method,
            "encoder": encoder,
            "revision": revision,
            "created": queries.now(),
            "config": pack_json(dict(config), f"head {method}: config"),
            "arrays": pack_arrays(arrays, f"head {method}"),
        }
        with self.database.write() as connection:
            if queries.revision_of(connection) != revision:
                raise GalleryError("the gallery changed while tuning: tune again")
            queries.refuse_other_encoder(connection, encoder, ["enrolment"], self.database.label)
            connection.execute(delete(schema.heads))
            head_id = queries.insert_row(connection, schema.heads, **values)
            learned = connection.execute(select(schema.clips.c.id, schema.clips.c.person_id).where(ENROLLED))
            sources = [{"head_id": head_id, "clip_id": row.id, "person_id": row.person_id} for row in learned]
            if sources:
                connection.execute(insert(schema.head_sources), sources)
            queries.log(connection, "tune", None, method=method, clips=len(sources))
            row = connection.execute(select(schema.heads).where(schema.heads.c.id == head_id)).one()
        return queries.head_from_row(row)

    def head(self) -> StoredHead | None:
        """The current head; it is stale where its revision is not the gallery's.

        Raises:
            GalleryError: It is damaged.
        """
        query = select(schema.heads).order_by(schema.heads.c.id.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else queries.head_from_row(row)

    # settings and audit

    def setting(self, key: str, default: Any = None) -> Any:
        """A decision setting; `default` where it was never put."""
        query = select(schema.settings.c.value).where(schema.settings.c.key == key)
        with self.database.read() as connection:
            text = connection.execute(query).scalar()
        return default if text is None else unpack_json(text, f"setting {key!r}", "put it again")

    def put_setting(self, key: str, value: Any) -> None:
        """Store a decision setting.

        Args:
            key: Its name.
            value: A plain JSON value. People stand here as ids, never as names: names change and are erased.

        Raises:
            GalleryError: The value is not a plain one.
        """
        text = pack_json(value, f"setting {key!r}")
        with self.database.write() as connection:
            connection.execute(delete(schema.settings).where(schema.settings.c.key == key))
            connection.execute(insert(schema.settings).values(key=key, value=text))
            queries.log(connection, "setting", None, key=key)

    def audit(self, limit: int | None = None) -> list[AuditEntry]:
        """The writes to the gallery, oldest first; with `limit`, the last so many."""
        table = schema.audit
        query = (
            select(table, schema.people.c.name)
            .join_from(table, schema.people, table.c.person_id == schema.people.c.id, isouter=True)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [queries.audit_entry_from_row(row) for row in reversed(rows)]
