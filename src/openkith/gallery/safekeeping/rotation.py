"""Encrypting a gallery, giving it another key, and decrypting it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Text, select, update

from openkith.errors import GalleryError
from openkith.gallery import queries
from openkith.gallery.database import Database
from openkith.gallery.safekeeping.encryption import (
    SEALED,
    KeySource,
    Sealing,
    context_of,
    store_key_id,
    stored_key_id,
)
from openkith.gallery.store import Gallery

__all__ = ["Rotation", "key_id_of", "rotate"]


@dataclass(frozen=True)
class Rotation:
    """What `rotate` did.

    Attributes:
        before: Id of the key so far; None where the gallery was plain.
        after: Id of the key from now on; None where the gallery is plain.
        values: Number of values that were encrypted anew.
        note: What became of the earlier bytes on the disk.
    """

    before: str | None
    after: str | None
    values: int
    note: str


def key_id_of(url: str | Path | None = None) -> str | None:
    """The id of the key that a gallery is encrypted with; None where it is plain. No key is needed to ask.

    Raises:
        GalleryError: It cannot be opened.
    """
    with Gallery(url, key=KeySource.NOWHERE) as gallery, gallery.database.read() as connection:
        return stored_key_id(connection)


def rotate(
    gallery: Gallery,
    new_key: bytes | None,
    *,
    actor: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Rotation:
    """Encrypt everything in a gallery with another key, in one transaction; then wipe what was there before.

    Whoever has the gallery open, this `gallery` too, goes on with the key from before, and every write of theirs is
    refused from then on with a line that says so: they are to be started again with the new key.

    Args:
        gallery: Opened with the key that it has.
        new_key: 32 bytes; None leaves the gallery plain.
        actor: Who wants it, for the audit log.
        progress: Called with the number of values done and of all of them.

    Raises:
        GalleryError: It has this key already, or a value does not open with the key from before. Nothing is changed.
        ConfigError: The new key has another length.
        MissingDependencyError: The package cryptography is not installed.
    """
    database = gallery.database
    new = Sealing(new_key, database.label)
    if new.key_id == database.key_id:
        what = "plain" if new.key_id is None else f"encrypted with key {new.key_id}"
        raise GalleryError(f"{database.label}: the gallery is {what} already: give another key")
    with database.write(erases=True) as connection:
        waiting = [
            (column, row.id, row.named)
            for table, column, naming in SEALED
            for row in connection.execute(
                select(table.c.id, naming.label("named")).where(column.is_not(None)).order_by(table.c.id)
            )
        ]
        for done, (column, row_id, named) in enumerate(waiting):
            if progress is not None:
                progress(done, len(waiting))
            _reseal(connection, database, new, column, row_id, context_of(column, named))
        store_key_id(connection, new.key_id)
        queries.log(connection, "rotate-key", None, actor, values=len(waiting), encrypted=new_key is not None)
    note = database.wipe()
    if progress is not None:
        progress(len(waiting), len(waiting))
    return Rotation(database.key_id, new.key_id, len(waiting), note)


def _reseal(
    connection: Connection, old: Database, new: Sealing, column: Any, row_id: int, context: str
) -> None:
    """One value, from the old key to the new one."""
    this_row = column.table.c.id == row_id
    value: Any = connection.execute(select(column).where(this_row)).scalar_one()
    sealed: bytes | str
    if isinstance(column.type, Text):
        sealed = new.seal_text(old.unseal_text(value, context), context)
    else:
        sealed = new.seal(old.unseal(value, context), context)
    connection.execute(update(column.table).where(this_row).values({column.name: sealed}))
