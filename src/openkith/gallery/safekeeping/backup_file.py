"""The file of a backup: what it says of itself, and whether that is so.

It is an SQLite file of the gallery's own tables, and one more, ``kith_backup``, whose one row has for every table the
number of its rows, a SHA-256 over them and the last id that was given.

The digests find damage. They are no proof against somebody who can write to the file, who can write new ones.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openkith.errors import GalleryError
from openkith.gallery import schema
from openkith.gallery.database import SQLITE_HEADER

__all__ = ["Backup", "Contents", "digest_of", "open_raw", "read_backup", "said", "table_names"]

FORMAT = 1


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        path: The file.
        created: When the gallery was as it is in the backup, UTC.
        schema: Version of its tables.
        key_id: Id of the key that its values are encrypted with; None where they are not.
        rows: Number of rows by table.
        last_ids: The last id that was given, by table.
        bytes: Size of the file.
    """

    path: Path
    created: datetime
    schema: str
    key_id: str | None
    rows: Mapping[str, int]
    last_ids: Mapping[str, int]
    bytes: int


def read_backup(path: str | Path) -> Backup:
    """What a backup holds, after a look at every byte of its rows.

    Raises:
        GalleryError: The file is no backup, is of a newer openkith, or is damaged.
    """
    path = Path(path).expanduser().absolute()
    try:
        with path.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
        if header != SQLITE_HEADER:
            raise GalleryError(f"{path}: this is no backup of a gallery: `kith backup` makes one")
        with closing(open_raw(path)) as raw:
            return Contents.stored(raw, path).checked(raw, path).at(path)
    except sqlite3.Error as error:
        raise GalleryError(f"{path}: the backup is damaged ({said(error)}): use another one") from error
    except OSError as error:
        raise GalleryError(f"{path}: the backup cannot be read ({said(error)}): give another path") from error


@dataclass(frozen=True)
class Contents:
    """The one row of ``kith_backup``: what the tables of the file hold.

    `tables` has the number of rows, their digest and the last id of each.
    """

    created: datetime
    schema: str
    key_id: str | None
    tables: dict[str, tuple[int, str, int]]

    def at(self, path: Path) -> Backup:
        """The same for others, with the file."""
        return Backup(
            path=path,
            created=self.created,
            schema=self.schema,
            key_id=self.key_id,
            rows={name: rows for name, (rows, _, _) in self.tables.items()},
            last_ids={name: last for name, (_, _, last) in self.tables.items()},
            bytes=path.stat().st_size,
        )

    def store(self, raw: sqlite3.Connection) -> None:
        """Make the row, in a file whose tables are complete."""
        value = json.dumps(
            {
                "format": FORMAT,
                "created": self.created.isoformat(),
                "schema": self.schema,
                "key": self.key_id,
                "tables": self.tables,
            }
        )
        raw.execute(f"CREATE TABLE {schema.BACKUP_TABLE} (value TEXT NOT NULL, sha256 TEXT NOT NULL)")
        sha256 = hashlib.sha256(value.encode()).hexdigest()
        raw.execute(f"INSERT INTO {schema.BACKUP_TABLE} VALUES (?, ?)", (value, sha256))

    @classmethod
    def stored(cls, raw: sqlite3.Connection, path: Path) -> Contents:
        """What the file says of itself.

        Raises:
            GalleryError: It is no backup, is of a newer openkith, or this row is damaged.
        """
        if schema.BACKUP_TABLE not in table_names(raw):
            raise GalleryError(f"{path}: this is no backup of a gallery: `kith backup` makes one")
        found = raw.execute(f"SELECT value, sha256 FROM {schema.BACKUP_TABLE}").fetchone()
        if (
            found is None
            or hashlib.sha256(found[0].encode("utf-8", "surrogateescape")).hexdigest() != found[1]
        ):
            raise GalleryError(f"{path}: the backup is damaged (its list of tables): use another one")
        try:
            return cls._parsed(json.loads(found[0]), path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GalleryError(
                f"{path}: the backup is damaged (its list of tables): use another one"
            ) from error

    @classmethod
    def _parsed(cls, value: Any, path: Path) -> Contents:
        if value["format"] > FORMAT or int(value["schema"]) > int(schema.SCHEMA_VERSION):
            raise GalleryError(
                f"{path}: the backup was written by a newer openkith (schema {value['schema']}, this one knows "
                f"{schema.SCHEMA_VERSION}): pip install --upgrade openkith"
            )
        tables = {name: (rows, sha256, last) for name, (rows, sha256, last) in value["tables"].items()}
        return cls(datetime.fromisoformat(value["created"]), value["schema"], value["key"], tables)

    def checked(self, raw: sqlite3.Connection, path: Path) -> Contents:
        """The same, where every table is as it says.

        Raises:
            GalleryError: One is not; the message names it.
        """
        if raw.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):  # of the indexes, above all
            raise GalleryError(f"{path}: the backup is damaged (its pages): use another one")
        present = table_names(raw) - {schema.BACKUP_TABLE}
        for name in sorted((present ^ self.tables.keys()) | (present - schema.metadata.tables.keys())):
            raise GalleryError(f"{path}: the backup is damaged (table {name!r}): use another one")
        for name, (rows, sha256, _) in self.tables.items():
            if digest_of(raw, name) != (rows, sha256):
                raise GalleryError(f"{path}: the backup is damaged (table {name!r}): use another one")
        return self


def open_raw(path: Path) -> sqlite3.Connection:
    """The file, read only; nothing is written beside it either."""
    raw = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    raw.execute("PRAGMA trusted_schema = OFF")
    raw.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    return raw


def table_names(raw: sqlite3.Connection) -> set[str]:
    """The tables of a file, without those of SQLite itself."""
    names = raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return {name for (name,) in names}


def digest_of(raw: sqlite3.Connection, table: str) -> tuple[int, str]:
    """Number of rows of a table, and a SHA-256 over the names of its columns and all values, each with its type."""
    cursor = raw.execute(f"SELECT * FROM {table} ORDER BY rowid")
    digest = hashlib.sha256(json.dumps([column[0] for column in cursor.description]).encode())
    count = 0
    for row in cursor:
        count += 1
        for value in row:
            content = _as_bytes(value)
            digest.update(f"{type(value).__name__} {len(content)} ".encode())
            digest.update(content)
    return count, digest.hexdigest()


def _as_bytes(value: bytes | str | float | None) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    return struct.pack(">d", value) if isinstance(value, float) else str(value).encode()


def said(error: Exception) -> str:
    """What an exception says, in one line."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(getattr(cause, "strerror", None) or cause).split())
