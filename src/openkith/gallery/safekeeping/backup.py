"""A whole gallery in one file and back, from and to either kind of database, while others read and write it.

Encrypted values stay as they are: neither direction needs the key. Left out are jobs and the answers kept for
idempotency keys, which mean nothing later. `openkith.gallery.safekeeping.backup_file` describes the file.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from openkith.errors import GalleryError
from openkith.gallery import queries, schema
from openkith.gallery.database import Database, locate
from openkith.gallery.safekeeping.backup_file import Backup, Contents, digest_of, open_raw, read_backup, said
from openkith.gallery.safekeeping.encryption import KEY_SETTING, KeySource, stored_key_id
from openkith.gallery.safekeeping.wiping import PENDING_SETTING
from openkith.gallery.store import Gallery

__all__ = ["Restored", "backup", "restore"]

BATCH_ROWS = 50  # in memory at a time; a row may hold a recording
LEFT_OUT = (schema.jobs, schema.answers)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Restored:
    """What `restore` did.

    Attributes:
        backup: What it put back.
        replaced: Number of rows that were there before, and are gone.
        note: What became of their bytes; empty where there were none.
    """

    backup: Backup
    replaced: int
    note: str


def backup(gallery: Gallery, path: str | Path, *, progress: Progress | None = None) -> Backup:
    """Write a gallery to one file, as it is at one moment; others may go on reading and writing it.

    The file appears when it is complete, and only its owner may read it.

    Args:
        gallery: `KeySource.NOWHERE` is enough to open it.
        path: A new file.
        progress: Called with the number of rows written and of all of them.

    Raises:
        GalleryError: There is such a file already, it cannot be written, or the database fails.
    """
    path = Path(path).expanduser().absolute()
    if path.exists():
        raise GalleryError(
            f"{path}: is there already: give the backup a name of its own, such as with the date"
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            created = _copy_out(gallery.database, temporary, progress)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if path.exists():  # made by another one meanwhile
                raise GalleryError(f"{path}: is there already: give the backup a name of its own")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        raise GalleryError(
            f"{path}: the backup cannot be written ({said(error)}): give another path"
        ) from error
    return created.at(path)


def restore(
    path: str | Path,
    url: str | Path | None = None,
    *,
    replace: bool = False,
    actor: str = "",
    progress: Progress | None = None,
) -> Restored:
    """Put a backup into a gallery, in one transaction, after checking every row of it.

    Args:
        path: Of the backup; one of an older openkith is brought up to date on the way, in a copy.
        url: Of the gallery, as `Gallery` takes it; made where there is none.
        replace: Erase what is in the gallery now.
        actor: Who wants it, for the audit log.
        progress: Called with the number of rows put back and of all of them.

    Raises:
        GalleryError: The backup is damaged, is none, or is of a newer openkith; the gallery is not empty and not to
            be replaced; or the database fails. The gallery then stays as it was.
    """
    held = read_backup(path)
    database = Database(locate(url), KeySource.NOWHERE)
    try:
        with _current(held) as source, _reading(source) as rows:
            replaced = _copy_in(rows, held, database, replace=replace, actor=actor, progress=progress)
        note = database.wipe() if replaced else ""
    except (OSError, SQLAlchemyError) as error:
        raise GalleryError(f"{held.path}: the backup cannot be restored ({said(error)})") from error
    finally:
        database.close()
    return Restored(held, replaced, note)


def _copy_out(database: Database, path: Path, progress: Progress | None) -> Contents:
    """Fill the new file with the gallery, and with what `read_backup` checks."""
    engine = _engine(path)
    with database.snapshot() as source:
        # the first question fixes the moment
        total = sum(_count(source, table, PENDING_SETTING) for table in _backed_up())
        created, key_id = queries.now(), stored_key_id(source)
        done = 0
        with engine.begin() as target:
            schema.metadata.create_all(target)
            for table in _backed_up():
                for batch in _batches(source, table):
                    target.execute(insert(table), batch)
                    done += len(batch)
                    if progress is not None:
                        progress(done, total)
        last_ids = {table.name: _last_id(source, table) for table in schema.metadata.sorted_tables}
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        tables = {name: (*digest_of(raw, name), last) for name, last in last_ids.items()}
        contents = Contents(created, schema.SCHEMA_VERSION, key_id, tables)
        contents.store(raw)
    return contents


def _copy_in(
    source: Connection,
    held: Backup,
    database: Database,
    *,
    replace: bool,
    actor: str,
    progress: Progress | None,
) -> int:
    """Put the rows into the gallery, in one transaction; returns how many were there before."""
    total = sum(held.rows.values())
    done = 0
    with database.write(erases=replace) as target:
        before = sum(
            _count(target, table, PENDING_SETTING, KEY_SETTING) for table in schema.metadata.sorted_tables
        )
        if before and not replace:
            raise GalleryError(
                f"{database.label}: the gallery is not empty: restore into a new one, or give --replace, which "
                "erases what is in it"
            )
        for table in reversed(schema.metadata.sorted_tables):
            kept = schema.settings.c.key == PENDING_SETTING  # that the gallery is to be wiped
            target.execute(delete(table).where(~kept) if table is schema.settings else delete(table))
        for table in _backed_up():
            for batch in _batches(source, table):
                target.execute(insert(table), batch)
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        for table in schema.metadata.sorted_tables:
            _raise_last_id(target, table, held.last_ids.get(table.name, 0))
        queries.log(
            target, "restore", None, actor, created=held.created.isoformat(), rows=total, replaced=before
        )
    return before


def _backed_up() -> list[Table]:
    """The tables of a backup with rows, those first that others refer to."""
    return [table for table in schema.metadata.sorted_tables if table not in LEFT_OUT]


def _batches(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, some at a time."""
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=BATCH_ROWS)
    if table is schema.settings:
        query = query.where(table.c.key != PENDING_SETTING)
    for part in source.execute(query).mappings().partitions():
        yield [dict(row) for row in part]


def _count(connection: Connection, table: Table, *settings: str) -> int:
    """Number of rows of a table; of the settings, without those of these keys."""
    query = select(func.count()).select_from(table)
    if table is schema.settings:
        query = query.where(table.c.key.not_in(settings))
    return int(connection.execute(query).scalar_one())


def _last_id(connection: Connection, table: Table) -> int:
    """The last id that a table has given, to a row that may be gone by now."""
    if "id" not in table.c:
        return 0
    if connection.dialect.name == "sqlite":
        query = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return int(connection.execute(query, {"name": table.name}).scalar() or 0)
    sequence = connection.execute(select(func.pg_get_serial_sequence(table.name, "id"))).scalar_one()
    row = connection.exec_driver_sql(f"SELECT last_value, is_called FROM {sequence}").one()
    return int(row.last_value) if row.is_called else int(row.last_value) - 1


def _raise_last_id(connection: Connection, table: Table, last: int) -> None:
    """Give no id again that the backup's gallery or this one has given."""
    last = max(last, _last_id(connection, table))
    if "id" not in table.c or not last:
        return
    if connection.dialect.name == "sqlite":
        values = {"name": table.name, "last": last}
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)
    else:
        highest = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
        sequence = func.pg_get_serial_sequence(table.name, "id")
        connection.execute(select(func.setval(sequence, max(last, highest))))


@contextmanager
def _current(held: Backup) -> Iterator[Path]:
    """The backup's file, or a copy of it that is brought to today's schema."""
    if held.schema == schema.SCHEMA_VERSION:
        yield held.path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "gallery.db"
        shutil.copyfile(held.path, copy)
        copy.chmod(0o600)
        with closing(sqlite3.connect(copy, isolation_level=None)) as raw:
            raw.execute(f"DROP TABLE {schema.BACKUP_TABLE}")
            raw.execute(f"CREATE TABLE {schema.VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            raw.execute(f"INSERT INTO {schema.VERSION_TABLE} VALUES (?)", (held.schema,))
        Database(locate(copy), KeySource.NOWHERE).close()
        yield copy


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    engine = create_engine("sqlite://", creator=lambda: open_raw(path), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _engine(path: Path) -> Engine:
    """For writing a new file, which is worth nothing before it is complete: without a log, without waiting."""

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(path)
        raw.execute("PRAGMA journal_mode = OFF")
        raw.execute("PRAGMA synchronous = OFF")
        return raw

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)
