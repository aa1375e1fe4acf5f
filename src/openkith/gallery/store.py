"""The gallery itself: every operation on people, clips, heads and settings, each of them one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from sqlalchemy import delete, func, insert, select, update

from openkith.errors import ChangedError, DuplicateClipError, GalleryError, UnknownItemError
from openkith.gallery import people as persons
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_arrays, pack_json, unpack_json
from openkith.gallery.database import Database, locate
from openkith.gallery.records import (
    UNCHANGED,
    AuditEntry,
    Clip,
    NewClip,
    Person,
    Receipt,
    StoredHead,
    Unchanged,
    UndoResult,
    check_embedding,
    clean_name,
)
from openkith.gallery.safekeeping.encryption import Key, KeySource, context_of

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
        key: What it is encrypted with: 32 bytes, or None where it is not; by default what ``$KITH_KEY_FILE`` or
            ``$KITH_KEY`` says.

    Attributes:
        url: Where it is, without any password.
        path: The SQLite file; None on a server.
        database: What it stands on, for what else is kept in one (decisions, review, keys, jobs).

    Raises:
        GalleryError: It is no gallery, is of a newer openkith, is damaged or cannot be written to. Any method
            raises it when the database fails, with the remedy.
        EncryptionError: It is encrypted with another key; any method that writes says so too, where the key
            has become another one since.
        ConfigError: The environment's key is none, or is open to other users.
        MissingDependencyError: It is on PostgreSQL, and psycopg is not installed.
    """

    def __init__(self, url: str | Path | None = None, *, key: Key = KeySource.ENVIRONMENT) -> None:
        location = locate(url)
        self.database = Database(location, key)
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
        """Everybody, those without clips among them, in order of id."""
        with self.database.read() as connection:
            return queries.read_people(connection)

    def person(self, name: str) -> Person:
        """One person.

        Raises:
            UnknownPersonError: There is none of that name; the message offers the nearest ones.
        """
        with self.database.read() as connection:
            return queries.find_person(connection, name, self.database.label)

    def person_of_id(self, person_id: int) -> Person:
        """The person of that number, whatever the name is by now.

        Raises:
            UnknownPersonError: There is none, or not any more.
        """
        with self.database.read() as connection:
            return queries.find_person_of_id(connection, person_id, self.database.label)

    def add_person(
        self, name: str, *, consent: date | None = None, note: str = "", actor: str = ""
    ) -> Person:
        """Add somebody who has no clips yet, and cannot be recognised before they do.

        Args:
            name: Theirs.
            consent: The day on which they agreed.
            note: Whatever is worth remembering, at most 2000 characters.
            actor: Who does it, for the audit log.

        Raises:
            GalleryError: The name is taken or cannot be used, or the note is too long or has control
                characters.
        """
        name = clean_name(name, new=True)
        details = persons.checked_details(consent, note)
        with self.database.write() as connection:
            if queries.person_id(connection, name) is not None:
                raise GalleryError(
                    f"{name!r} is enrolled already: choose another name, or give clips to {name!r}"
                )
            person = persons.insert_person(connection, name, details, queries.now())
            queries.log(connection, persons.ADDED, person, actor)
            return queries.find_person_of_id(connection, person, self.database.label)

    def edit_person(
        self,
        name: str,
        *,
        new_name: str | None = None,
        consent: date | Unchanged | None = UNCHANGED,
        note: str | Unchanged = UNCHANGED,
        etag: str | None = None,
        actor: str = "",
    ) -> Person:
        """Give a person another name, day of consent or note; clips and heads stay as they are.

        Args:
            name: Whom.
            new_name: None keeps the name.
            consent: None takes the day away.
            note: An empty one takes it away.
            etag: `Person.etag` as it was read: nothing is changed where it is another one by now.
            actor: Who does it, for the audit log.

        Returns:
            The person as they are now.

        Raises:
            UnknownPersonError: There is no such person.
            ChangedError: Somebody else changed them since `etag` was read.
            GalleryError: The new name is taken or cannot be used, or the note is too long or has control
                characters.
        """
        details = persons.checked_details(consent, note)
        with self.database.write() as connection:
            person = queries.find_person(connection, name, self.database.label)
            persons.refuse_changed(person, etag)
            changed = persons.change_person(connection, person, new_name, details)
            if changed == ["name"]:
                queries.log(connection, "rename", person.id, actor)
            elif changed:
                queries.log(connection, "edit", person.id, actor, changed=changed)
            return queries.find_person_of_id(connection, person.id, self.database.label)

    def rename(self, old: str, new: str, *, actor: str = "") -> None:
        """Give a person another name; nothing else changes, and heads stay valid.

        Raises:
            UnknownPersonError: There is no `old`.
            GalleryError: `new` is taken, reserved, empty, too long or has control characters.
        """
        self.edit_person(old, new_name=clean_name(new, new=True), actor=actor)

    # clips

    def add_clips(
        self,
        name: str,
        clips: Sequence[NewClip],
        *,
        encoder: str,
        consent: date | Unchanged | None = UNCHANGED,
        note: str | Unchanged = UNCHANGED,
        actor: str = "",
    ) -> int:
        """Enrol a person, or give clips to one who is there: one event, which `undo` can take back.

        Background clips of another encoder are dropped when nobody is enrolled: they fit nothing any more.
        Recordings that were kept for review and become clips here wait there no longer.

        Args:
            name: Whose clips they are.
            clips: At least one.
            encoder: Fingerprint of the encoder that made their arrays.
            consent: The day on which the person agreed, where it is to be written or (None) taken away.
            note: About the person, where it is to be written.
            actor: Who does it, for the audit log.

        Returns:
            Number of clips added.

        Raises:
            DuplicateClipError: A recording is in the gallery already, or twice in `clips`.
            EncoderMismatchError: The gallery holds clips of another encoder.
            GalleryError: There is no clip, or the name or the note cannot be used.
        """
        name = clean_name(name, new=True)
        details = persons.checked_details(consent, note)
        if not clips:
            raise GalleryError(f"no clip was given for {name!r}: give at least one")
        given: dict[str, NewClip] = {}
        for clip in clips:
            first = given.setdefault(clip.sha256, clip)
            if first is not clip:
                raise DuplicateClipError(
                    f"{clip.source}: the same recording as {first.source}: give each recording once"
                )
        rows = [queries.clip_values(self.database, clip, "enrolment", encoder) for clip in clips]
        seconds = round(sum(row["seconds"] for row in rows), 3)
        with self.database.write() as connection:
            queries.refuse_other_encoder(connection, encoder, ["enrolment"], self.database.label)
            connection.execute(delete(schema.clips).where(BACKGROUND, schema.clips.c.encoder != encoder))
            queries.refuse_known(connection, given)
            time = queries.now()
            owner = queries.person_id(connection, name)
            if owner is None:
                owner = persons.insert_person(connection, name, details, time)
            elif details:
                connection.execute(update(schema.people).where(schema.people.c.id == owner).values(details))
            event = queries.insert_row(connection, schema.enrolments, person_id=owner, created=time)
            owned = {"person_id": owner, "enrolment_id": event}
            connection.execute(insert(schema.clips), [row | owned for row in rows])
            persons.settle_review(connection, event, queries.next_change(connection))
            queries.log(connection, "enroll", owner, actor, clips=len(clips), seconds=seconds)
        return len(clips)

    def add_background(
        self, clips: Sequence[NewClip], *, encoder: str, replace: bool = True, actor: str = ""
    ) -> int:
        """Store clips of nobody in particular: the user's own room, TV and guests.

        A recording that is given twice, or is a background clip already, is stored once.

        Args:
            clips: May be empty, which with `replace` empties the background.
            encoder: Fingerprint of the encoder that made their arrays.
            replace: Whether the background so far goes.
            actor: Who does it, for the audit log.

        Returns:
            Number of clips added.

        Raises:
            DuplicateClipError: A recording is an enrolled person's.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        rows = {
            clip.sha256: queries.clip_values(self.database, clip, "background", encoder) for clip in clips
        }
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
            queries.log(connection, "background", None, actor, clips=len(rows), replaced=replace)
        return len(rows)

    def clips(self, name: str | None = None) -> list[Clip]:
        """The enrolment clips, of one person or of all, in order of id.

        Raises:
            UnknownPersonError: There is no such person.
            GalleryError: A stored clip is damaged; the message says which to drop.
        """
        with self.database.read() as connection:
            if name is None:
                return queries.read_clips(self.database, connection, ENROLLED)
            person = queries.find_person(connection, name, self.database.label)
            return queries.read_clips(self.database, connection, schema.clips.c.person_id == person.id)

    def background(self) -> list[Clip]:
        """The background clips, in order of id."""
        with self.database.read() as connection:
            return queries.read_clips(self.database, connection, BACKGROUND)

    def audio(self, clip_id: int) -> bytes:
        """The recording of a clip, as it was encoded when it was kept.

        Raises:
            UnknownItemError: There is no such clip.
            GalleryError: Its audio was not kept.
        """
        query = select(schema.clips.c.audio, schema.clips.c.sha256).where(
            schema.clips.c.id == queries.known_id(clip_id)
        )
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise UnknownItemError(f"there is no clip {clip_id}: `kith show NAME` lists a person's clips")
        if row.audio is None:
            raise GalleryError(
                f"the audio of clip {clip_id} was not kept: enrol with --keep-audio to keep it"
            )
        return self.database.unseal(row.audio, context_of(schema.clips.c.audio, row.sha256))

    def encoder(self) -> str | None:
        """Fingerprint of the encoder that made the clips in here; None in an empty gallery."""
        with self.database.read() as connection:
            return queries.encoder_of(connection)

    def last_enrolment(self) -> int | None:
        """The number of the enrolment that `undo` would take back; None where there is none."""
        with self.database.read() as connection:
            return connection.execute(select(func.max(schema.enrolments.c.id))).scalar()

    def replace_arrays(
        self, updates: Mapping[int, Mapping[str, NDArray[Any]]], encoder: str, *, actor: str = ""
    ) -> None:
        """Put the arrays of another encoder in the place of all clips' own, and erase the tuned heads.

        Args:
            updates: New arrays by clip id, for every enrolment clip. Background clips without new arrays are
                dropped.
            encoder: Fingerprint of the encoder that made them.
            actor: Who does it, for the audit log.

        Raises:
            GalleryError: A clip is missing in `updates` or unknown to the gallery.
        """
        blobs = {}
        for clip_id, arrays in updates.items():
            check_embedding(arrays, f"clip {clip_id}")
            blobs[clip_id] = pack_arrays(arrays, f"clip {clip_id}")
        table = schema.clips
        with self.database.write() as connection:
            found = connection.execute(select(table.c.id, table.c.kind, table.c.sha256))
            stored = {row.id: row for row in found}
            left_out = stored.keys() - blobs.keys()
            if blobs.keys() - stored.keys() or any(
                stored[clip_id].kind == "enrolment" for clip_id in left_out
            ):
                raise GalleryError(
                    "the gallery's clips are not those that were embedded again: try once more"
                )
            for clip_id in left_out:
                connection.execute(delete(table).where(table.c.id == clip_id))
            for clip_id, blob in blobs.items():
                sealed = self.database.seal(blob, context_of(table.c.arrays, stored[clip_id].sha256))
                values = {"arrays": sealed, "encoder": encoder}
                connection.execute(update(table).where(table.c.id == clip_id).values(values))
            heads = connection.execute(delete(schema.heads)).rowcount
            counts = {"clips": len(blobs), "dropped": len(left_out), "heads": heads}
            queries.log(connection, "reembed", None, actor, **counts)

    # taking back

    def drop_clip(self, name: str, clip_id: int, *, actor: str = "") -> None:
        """Erase one clip of a person, and its recording where it was kept for review.

        A head that learned from it is stale, and stays until the next one.

        Raises:
            UnknownPersonError: There is no such person.
            UnknownItemError: The clip is not theirs.
            GalleryError: The clip is their last one: a person without clips could never be recognised, so
                `forget` is the way.
        """
        clips, enrolments, review = schema.clips, schema.enrolments, schema.review_clips
        with self.database.write(erases=True) as connection:
            person = queries.find_person(connection, name, self.database.label)
            ids = queries.clip_ids(connection, clips.c.person_id == person.id)
            if clip_id not in ids:
                listed = f"the clips are {', '.join(map(str, ids))}" if ids else "none was given yet"
                raise UnknownItemError(f"{person.name!r} has no clip {clip_id}: {listed}")
            if len(ids) == 1:
                raise GalleryError(
                    f"clip {clip_id} is the last one of {person.name!r}: "
                    "forget the person, or enrol another clip first"
                )
            kept = select(clips.c.sha256).where(clips.c.id == clip_id).scalar_subquery()
            connection.execute(delete(review).where(review.c.sha256 == kept))
            connection.execute(delete(clips).where(clips.c.id == clip_id))
            left = select(clips.c.enrolment_id).where(clips.c.person_id == person.id)
            emptied = select(enrolments.c.id).where(
                enrolments.c.person_id == person.id, enrolments.c.id.not_in(left)
            )
            connection.execute(delete(review).where(review.c.enrolment_id.in_(emptied)))
            connection.execute(delete(enrolments).where(enrolments.c.id.in_(emptied)))
            queries.log(connection, "drop-clip", person.id, actor, clip=clip_id)
        self.database.wipe()

    def forget(self, name: str, *, etag: str | None = None, actor: str = "") -> Receipt:
        """Erase a person: clips, embeddings, kept audio, every head that learned from them, and the name.

        Recordings kept for review that were enrolled for them go too, and so do all answers kept to be said
        again. The audit log and the decisions keep that somebody was here, as "person 3". On SQLite the bytes
        themselves are wiped from the file and its log.

        Args:
            name: Whom.
            etag: `Person.etag` as it was read: nobody is erased where it is another one by now.
            actor: Who does it, for the audit log.

        Raises:
            UnknownPersonError: There is no such person.
            ChangedError: Somebody changed them since `etag` was read.
        """
        clips = schema.clips
        with self.database.write(erases=True) as connection:
            person = queries.find_person(connection, name, self.database.label)
            persons.refuse_changed(person, etag)
            kept = select(clips.c.source).where(clips.c.person_id == person.id, clips.c.audio.is_not(None))
            files = list(connection.execute(kept.order_by(clips.c.id)).scalars())
            reviewed = select(schema.review_clips.c.id).where(persons.became_clips_of(person.id))
            numbers = connection.execute(reviewed.order_by(schema.review_clips.c.id)).scalars()
            files += [f"recording {number} for review" for number in numbers]
            heads = persons.erase_person(connection, person.id)
            time = queries.log(connection, "forget", person.id, actor, clips=person.clips, heads=heads)
        note = self.database.wipe()
        return Receipt(person.name, person.clips, person.seconds, heads, tuple(files), time, note)

    def undo(self, *, enrolment: int | None = None, actor: str = "") -> UndoResult:
        """Take back the last enrolment that is left.

        Its clips go, and the heads that learned from them. The person goes too where no clip of theirs is
        left, unless `add_person` made them: then they stay, without clips. Recordings of the enrolment that
        came from review wait there again. What was forgotten or dropped never comes back.

        Args:
            enrolment: Take back this one, and none where it is not the last; see `last_enrolment`.
            actor: Who does it, for the audit log.

        Raises:
            ChangedError: The last enrolment is not the one that was meant.
            GalleryError: No enrolment is left.
        """
        people, clips, enrolments = schema.people, schema.clips, schema.enrolments
        newest = (
            select(enrolments.c.id, enrolments.c.person_id, people.c.name)
            .join_from(enrolments, people)
            .order_by(enrolments.c.id.desc())
            .limit(1)
        )
        with self.database.write(erases=True) as connection:
            event = connection.execute(newest).one_or_none()
            if enrolment is not None and (event is None or event.id != enrolment):
                raise ChangedError(
                    "the enrolment is not the last one any more: look at who is enrolled, and drop its clips"
                )
            if event is None:
                raise GalleryError(f"{self.database.label}: there is no enrolment to undo")
            taken = queries.clip_ids(connection, clips.c.enrolment_id == event.id)
            learned = select(clips.c.id).where(clips.c.enrolment_id == event.id)
            heads = queries.erase_heads(connection, schema.head_sources.c.clip_id.in_(learned))
            persons.reopen_review(connection, event.id, queries.next_change(connection))
            connection.execute(delete(enrolments).where(enrolments.c.id == event.id))
            left = bool(queries.clip_ids(connection, clips.c.person_id == event.person_id))
            gone = not left and not persons.added_by_hand(connection, event.person_id)
            if gone:
                heads += persons.erase_person(connection, event.person_id)
            elif not left:  # a head may also have learned from a clip of theirs that was dropped since
                heads += queries.erase_heads(connection, schema.head_sources.c.person_id == event.person_id)
            queries.log(connection, "undo", event.person_id, actor, clips=len(taken), heads=heads)
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
        actor: str = "",
    ) -> StoredHead:
        """Store a tuned head in the place of the current one.

        It counts as having learned from everybody enrolled: forgetting any of them erases it.

        Args:
            method: Name of the method that made it.
            config: Plain JSON values. People stand here as ids, never as names: names change and are erased.
            arrays: Its parameters.
            encoder: Fingerprint of the encoder whose embeddings it learned from.
            revision: What `revision` said when the clips were read.
            actor: Who does it, for the audit log.

        Raises:
            GalleryError: The gallery is at another revision by now, or something cannot be stored.
            EncoderMismatchError: The gallery holds clips of another encoder.
        """
        columns = schema.heads.c
        plain = pack_json(dict(config), f"head {method}: config")
        blob = pack_arrays(arrays, f"head {method}")
        values = {
            "method": method,
            "encoder": encoder,
            "revision": revision,
            "created": queries.now(),
            "config": self.database.seal_text(plain, context_of(columns.config, revision)),
            "arrays": self.database.seal(blob, context_of(columns.arrays, revision)),
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
            queries.log(connection, "tune", None, actor, method=method, clips=len(sources))
            row = connection.execute(select(schema.heads).where(schema.heads.c.id == head_id)).one()
        return queries.head_from_row(self.database, row)

    def head(self) -> StoredHead | None:
        """The current head; it is stale where its revision is not the gallery's.

        Raises:
            GalleryError: It is damaged.
        """
        query = select(schema.heads).order_by(schema.heads.c.id.desc()).limit(1)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else queries.head_from_row(self.database, row)

    # settings and audit

    def setting(self, key: str, default: Any = None) -> Any:
        """A decision setting; `default` where it was never put."""
        query = select(schema.settings.c.value).where(schema.settings.c.key == key)
        with self.database.read() as connection:
            text = connection.execute(query).scalar()
        return default if text is None else unpack_json(text, f"setting {key!r}", "put it again")

    def put_setting(self, key: str, value: Any, *, actor: str = "") -> None:
        """Store a decision setting.

        Args:
            key: Its name.
            value: A plain JSON value. People stand here as ids, never as names: names change and are erased.
            actor: Who does it, for the audit log.

        Raises:
            GalleryError: The value is not a plain one.
        """
        text = pack_json(value, f"setting {key!r}")
        with self.database.write() as connection:
            connection.execute(delete(schema.settings).where(schema.settings.c.key == key))
            connection.execute(insert(schema.settings).values(key=key, value=text))
            queries.log(connection, "setting", None, actor, key=key)

    def version(self) -> int:
        """A number that grows with every write to what decisions are made of: people, clips, heads, settings.

        Recordings for review, keys, jobs and decisions leave it as it is.
        """
        audit = schema.audit
        query = select(audit.c.id).where(
            audit.c.action.not_like("review-%"), audit.c.action.not_like("key-%")
        )
        with self.database.read() as connection:
            return connection.execute(query.order_by(audit.c.id.desc()).limit(1)).scalar() or 0

    def audit(self, limit: int | None = None, before: int | None = None) -> list[AuditEntry]:
        """The writes to the gallery, oldest first.

        Args:
            limit: The last so many.
            before: Only those before the entry of this number.
        """
        table = schema.audit
        query = (
            select(table, schema.people.c.name)
            .join_from(table, schema.people, table.c.person_id == schema.people.c.id, isouter=True)
            .order_by(table.c.id.desc())
            .limit(limit)
        )
        if before is not None:
            query = query.where(table.c.id < min(before, queries.LARGEST_ID))
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [queries.audit_entry_from_row(row) for row in reversed(rows)]
