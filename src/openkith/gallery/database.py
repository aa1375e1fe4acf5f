"""The database under a gallery: where it is, and how it is opened, locked, migrated and wiped."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from openkith.errors import GalleryError, require
from openkith.gallery.safekeeping.encryption import Key, KeySource, Sealing, store_key_id
from openkith.gallery.safekeeping.wiping import (
    RETRY_SECONDS,
    is_busy,
    mark_pending,
    pending_wipes,
    wipe_postgresql,
    wipe_sqlite,
)
from openkith.gallery.schema import BACKUP_TABLE, SCHEMA_VERSION, VERSION_TABLE, metadata

__all__ = ["Database", "locate"]

BUSY_SECONDS = 60.0  # how long a writer waits for the others
WIPE_SECONDS = 10.0  # how long an erasure waits for readers of what was erased
SQLITE_HEADER = b"SQLite format 3\x00"
WRITE_LOCK = 0x6B697468  # PostgreSQL advisory lock that writers hold: "kith"
MIGRATIONS = Path(__file__).parents[1] / "migrations"

ELSEWHERE = "choose another with --gallery or KITH_GALLERY"
REMEDIES = {  # primary result codes of SQLite
    sqlite3.SQLITE_BUSY: "another process keeps it locked: try again when that one is done",
    sqlite3.SQLITE_LOCKED: "another process keeps it locked: try again when that one is done",
    sqlite3.SQLITE_READONLY: f"it cannot be written to: change its permissions, or {ELSEWHERE}",
    sqlite3.SQLITE_CANTOPEN: f"it cannot be opened for writing: change its permissions, or {ELSEWHERE}",
    sqlite3.SQLITE_PERM: f"it cannot be opened for writing: change its permissions, or {ELSEWHERE}",
    sqlite3.SQLITE_FULL: "the disk is full: make room and try again",
    sqlite3.SQLITE_TOOBIG: "a clip is too large to be stored: cut it into shorter ones",
    sqlite3.SQLITE_NOTADB: f"it is not a gallery: {ELSEWHERE}",
    sqlite3.SQLITE_CORRUPT: f"it is damaged: restore a copy of it, or {ELSEWHERE}",
}
WIPED = "the bytes are gone from the file and its log; copies, backups and recordings kept elsewhere are untouched"
WIPED_SERVER = (
    "the tables were rewritten without them; the server's administrator still has to expire what holds older states: "
    "its write-ahead log and archive, base backups, replicas that lag, logical dumps and kith backups"
)

_migrating = threading.Lock()  # alembic's context is global to the process


def locate(url: str | Path | None) -> URL:
    """Where the gallery is.

    Args:
        url: A path, a ``sqlite:///`` or ``postgresql://`` URL, or None for ``$KITH_GALLERY`` and, where that
            is not set, ``gallery.db`` in the user's data folder.

    Raises:
        GalleryError: The URL is of another kind of database, malformed, or names no file.
    """
    if url is None:
        default = platformdirs.user_data_path("openkith", appauthor=False) / "gallery.db"
        url = os.environ.get("KITH_GALLERY", "").strip() or default
    path = url
    if isinstance(url, str) and "://" in url:
        try:
            parsed = make_url(url)
        except (SQLAlchemyError, ValueError) as error:
            raise GalleryError("the gallery's URL is malformed: give postgresql://user@host/name") from error
        if parsed.drivername in {"postgres", "postgresql", "postgresql+psycopg"}:
            return parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername != "sqlite":
            raise GalleryError(
                f"a gallery cannot be kept in {parsed.drivername!r}: give a path, sqlite:/// or postgresql://"
            )
        path = parsed.database or ""
    if str(path) in {"", ":memory:"}:
        raise GalleryError("a gallery needs a file: give its path with --gallery or KITH_GALLERY")
    try:
        return URL.create("sqlite", database=str(Path(path).expanduser().absolute()))
    except RuntimeError as error:  # ~nobody
        raise GalleryError(f"{path}: no such home folder: give the gallery's path in full") from error


class Database:
    """One open database.

    Args:
        url: From `locate`. An SQLite file is created where there is none (readable by its owner only: voice
            prints are personal), and a schema of an older openkith is migrated.
        key: The key that it is encrypted with, or where to find it; one that is new is encrypted with it.

    Attributes:
        label: What messages call it: the path, or the URL without its password.
        path: The SQLite file; None on a server.

    Raises:
        GalleryError: It is not a gallery, is of a newer openkith, is damaged, or cannot be written to.
        EncryptionError: It is encrypted with another key.
        ConfigError: The environment's key is none, or is open to other users.
        MissingDependencyError: The driver of PostgreSQL, or the package for encryption, is not installed.
    """

    def __init__(self, url: URL, key: Key = KeySource.ENVIRONMENT) -> None:
        self.path = Path(url.database or "") if url.drivername == "sqlite" else None
        self.label = url.render_as_string(hide_password=True) if self.path is None else str(self.path)
        self._sealing = Sealing(key, self.label)
        if self.path is not None:
            _prepare_file(self.path)
        self._engine = self._create_engine(url)
        self._close = weakref.finalize(self, self._engine.dispose)  # also when nobody calls close
        self._unwiped = False
        try:
            self._open()
        except BaseException:
            self._close()
            raise

    def close(self) -> None:
        """Close every connection; the last process to do so also folds SQLite's log into the file."""
        if self._close.alive and self._unwiped:
            self.wipe(patience=0)
        self._close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads."""
        with self._explained(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the gallery, however long it reads."""
        options = {} if self.path is not None else {"isolation_level": "REPEATABLE READ"}
        with self._explained(), self._engine.execution_options(**options).begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, erases: bool = False) -> Iterator[Connection]:
        """A transaction that writes, alone among all processes; an exception inside undoes all of it.

        Args:
            erases: Mark, in the same transaction, that the gallery is to be wiped: should this process die
                before its `wipe`, the next one to open the gallery does it.
        """
        with self._write() as connection:
            self._sealing.check(connection)  # another process may have changed the key
            if erases:
                mark_pending(connection, sqlite=self.path is not None)
            yield connection

    @property
    def key_id(self) -> str | None:
        """The id of the key that values are sealed with; None of a plain gallery."""
        return self._sealing.key_id

    def check_key(self) -> None:
        """Refuse a gallery whose key has become another one since it was opened, as every write does.

        Raises:
            EncryptionError: It has; the message says to start again with that key.
        """
        with self.read() as connection:
            self._sealing.check(connection)

    def seal(self, blob: bytes, context: str) -> bytes:
        """What is to be stored for these bytes: encrypted, or the same where the gallery is plain.

        Args:
            blob: The value of a column in `encryption.SEALED`: a rotation knows of no other.
            context: From `encryption.context_of`.
        """
        return self._sealing.seal(blob, context)

    def unseal(self, blob: bytes, context: str) -> bytes:
        """The bytes of what `seal` gave.

        Raises:
            EncryptionError: They were changed, belong elsewhere, or are encrypted otherwise than the gallery was when
                it was opened.
        """
        return self._sealing.unseal(blob, context)

    def seal_text(self, text: str, context: str) -> str:
        """As `seal`, for a column of text."""
        return self._sealing.seal_text(text, context)

    def unseal_text(self, text: str, context: str) -> str:
        """As `unseal`, for a column of text."""
        return self._sealing.unseal_text(text, context)

    def wipe(self, patience: float | None = None) -> str:
        """Leave no byte of deleted rows in the database's files, and say how that went.

        Args:
            patience: Seconds to wait for readers, `WIPE_SECONDS` by default; with 0 nobody is waited for.

        Returns:
            A sentence for the receipt.
        """
        patience = WIPE_SECONDS if patience is None else patience
        with self._explained():
            if self.path is None:
                with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                    problem = wipe_postgresql(connection, patience)
            else:
                with closing(self._engine.raw_connection()) as raw:
                    problem = wipe_sqlite(raw.cursor(), patience, BUSY_SECONDS)
        self._unwiped = bool(problem)
        if problem:
            where = "the tables' files on the server" if self.path is None else f"{self.path} and its log"
            return (
                f"the erased bytes are still in {where} ({problem}): close whatever else has "
                "the gallery open, then run any kith command on it, which erases them"
            )
        return WIPED_SERVER if self.path is None else WIPED

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that writes, alone, whatever the gallery is encrypted with."""
        with self._explained(), self._engine.execution_options(kith_write=True).begin() as connection:
            if self.path is None:
                connection.execute(select(func.pg_advisory_xact_lock(WRITE_LOCK)))
            yield connection

    def _create_engine(self, url: URL) -> Engine:
        if self.path is None:
            require("psycopg", "postgresql", "a PostgreSQL gallery")
            return create_engine(url, pool_pre_ping=True)
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_connection)
        event.listen(engine, "begin", _begin)
        return engine

    def _open(self) -> None:
        with self.read() as connection:
            version = self._version(connection)
        if version != SCHEMA_VERSION:
            self._migrate()
        with self.read() as connection:
            self._sealing.check(connection)
            pending = pending_wipes(connection, sqlite=self.path is not None)
        if pending:
            self.wipe(patience=0)

    def _version(self, connection: Connection) -> str | None:
        """The schema's version, None of an empty database; raises where this is no gallery for us."""
        inspector = inspect(connection)
        if inspector.has_table(VERSION_TABLE):
            version = str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar())
            if version.isdecimal() and int(version) <= int(SCHEMA_VERSION):
                return version
            raise GalleryError(
                f"{self.label}: the gallery was written by a newer openkith (schema {version}, "
                f"this one knows {SCHEMA_VERSION}): pip install --upgrade openkith"
            )
        tables = set(inspector.get_table_names())
        if BACKUP_TABLE in tables and self.path is not None:
            raise GalleryError(
                f"{self.label}: this is a backup: `kith restore` puts it into a gallery, whose path is another"
            )
        foreign = tables if self.path is not None else tables & set(metadata.tables)
        if foreign:
            raise GalleryError(
                f"{self.label}: this is a database of another program (it has a table {min(foreign)!r}), "
                f"not a gallery: {ELSEWHERE}"
            )
        return None

    def _migrate(self) -> None:
        # alembic is imported here only: opening a gallery that is up to date must be quick
        from alembic import command
        from alembic.config import Config

        if self.path is not None:
            self._use_write_ahead_log()
        with _migrating, self._write() as connection:
            version = self._version(connection)
            if version == SCHEMA_VERSION:
                return  # another process did it while this one waited
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if version is None:
                store_key_id(connection, self.key_id)

    def _use_write_ahead_log(self) -> None:
        """Switch the file to SQLite's write-ahead log, which it then keeps."""
        deadline = time.monotonic() + BUSY_SECONDS
        with self._explained(), closing(self._engine.raw_connection()) as raw:
            while True:
                try:
                    raw.cursor().execute("PRAGMA journal_mode = WAL")
                    return
                except sqlite3.OperationalError as error:
                    # SQLite does not wait here when two processes open a new gallery at once
                    if not is_busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(RETRY_SECONDS)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the database's errors into one line with a remedy."""
        if not self._close.alive:
            raise GalleryError(f"{self.label}: the gallery is closed: open it again")
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise self._explain(error) from error
        except (ValueError, OverflowError) as error:  # a stored date, say, or a clip number of 30 digits
            raise GalleryError(
                f"{self.label}: a value cannot be read or stored ({error}): "
                "where the gallery is damaged, restore a copy of it"
            ) from error

    def _explain(self, error: Exception) -> GalleryError:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        said = " ".join(str(cause).split()) or type(cause).__name__
        remedy = REMEDIES.get(code)
        if remedy is None and self.path is None:
            remedy = "check that the server runs, and the URL"
        return GalleryError(f"{self.label}: {remedy} ({said})" if remedy else f"{self.label}: {said}")


def _prepare_file(path: Path) -> None:
    """Make sure that there is an SQLite file, or an empty one, without touching anything else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise GalleryError(f"{path}: is a folder, not a gallery: give a file in it, such as gallery.db")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            if not path.is_file():
                raise GalleryError(f"{path}: is not a file: {ELSEWHERE}") from None
        with path.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GalleryError(f"{path}: the gallery cannot be opened ({reason}): {ELSEWHERE}") from error
    if header and header != SQLITE_HEADER:
        raise GalleryError(f"{path}: this is not a gallery (not an SQLite file): {ELSEWHERE}")


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's sqlite3 then opens no transactions of its own: _begin does
    for pragma in ("foreign_keys = ON", "secure_delete = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock first: a transaction that reads, then writes, can otherwise be refused
    writes = connection.get_execution_options().get("kith_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
