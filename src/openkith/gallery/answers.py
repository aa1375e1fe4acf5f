"""Answers to requests with an idempotency key, kept so that a request that comes again is not done again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from openkith.errors import BusyError, GalleryError, IdempotencyError
from openkith.gallery import queries, schema
from openkith.gallery.codec import pack_json, unpack_json
from openkith.gallery.store import Gallery

__all__ = ["MAX_BODY_BYTES", "UNFINISHED_SECONDS", "Answer", "Answers"]

MAX_BODY_BYTES = 1_000_000
UNFINISHED_SECONDS = 120.0  # after which a request without an answer is taken for dead


@dataclass(frozen=True)
class Answer:
    """What was answered: the HTTP status, some headers, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


class Answers:
    """The answers of a gallery's service.

    Bodies may name people: forgetting a person, or undoing all there was of one, deletes every row, also those
    of requests that are still running. Their answers are not kept then, that to the forgetting itself included.

    Args:
        gallery: Whose service it is.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._database = gallery.database

    def begin(self, key: str, request_digest: str) -> Answer | None:
        """A request has come in.

        Args:
            key: SHA-256 of the caller, the method, the path and the idempotency key.
            request_digest: SHA-256 of the body.

        Returns:
            The answer where the same request was answered before; None where it is to be done, and then
            `finish` or `drop` is to be called. One that got no answer in `UNFINISHED_SECONDS` is to be done.

        Raises:
            IdempotencyError: The key was used for another request.
            BusyError: The same request is being done.
        """
        table = schema.answers
        with self._database.write() as connection:
            row = connection.execute(select(table).where(table.c.key == key)).one_or_none()
            time = queries.now()
            if row is None:
                values = {"key": key, "request": request_digest, "created": time}
                connection.execute(table.insert().values(values))
                return None
            if row.request != request_digest:
                raise IdempotencyError(
                    "the idempotency key was used for another request: choose a new key for each request"
                )
            if row.status is not None:
                headers = unpack_json(row.headers, "a kept answer", "choose a new idempotency key")
                return Answer(row.status, headers, bytes(row.body))
            if time - row.created < timedelta(seconds=UNFINISHED_SECONDS):
                raise BusyError("the same request is being done: ask again when it has ended")
            connection.execute(update(table).where(table.c.key == key).values(created=time))
        return None

    def finish(self, key: str, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Keep the answer to a request that has begun.

        Returns:
            Whether it was kept: not where somebody was forgotten meanwhile.

        Raises:
            GalleryError: The body is larger than `MAX_BODY_BYTES`.
        """
        if len(body) > MAX_BODY_BYTES:
            raise GalleryError(
                f"an answer of {len(body)} bytes cannot be kept: the largest has {MAX_BODY_BYTES}"
            )
        table = schema.answers
        values = {"status": status, "headers": pack_json(dict(headers), "headers"), "body": body}
        with self._database.write() as connection:
            changed = connection.execute(update(table).where(table.c.key == key).values(values))
        return changed.rowcount == 1

    def drop(self, key: str) -> None:
        """Forget a request whose answer is not worth saying again: the next one is done anew."""
        with self._database.write() as connection:
            connection.execute(delete(schema.answers).where(schema.answers.c.key == key))

    def purge(self, older_than: datetime) -> int:
        """Delete what was begun before a moment; returns how many there were."""
        old = schema.answers.c.created < older_than
        with self._database.read() as connection:
            if connection.execute(select(schema.answers.c.key).where(old).limit(1)).scalar() is None:
                return 0  # without taking the lock of writers
        with self._database.write() as connection:
            return connection.execute(delete(schema.answers).where(old)).rowcount
