"""Leaving no byte of deleted rows in the files of a database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import DBAPIError

from openkith.gallery import schema
from openkith.gallery.codec import pack_json, unpack_json

__all__ = [
    "PENDING_SETTING",
    "is_busy",
    "mark_pending",
    "pending_wipes",
    "wipe_postgresql",
    "wipe_sqlite",
]

RETRY_SECONDS = 0.05
LOCK_SECONDS = 0.2  # that one try to rewrite a table waits, with every new reader of it waiting behind
PENDING_SETTING = "unwiped"  # how many erasures wait for their wipe; on SQLite its user_version counts them
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE of PostgreSQL
READING = "another process is reading it"
WRITING = "another process is writing to it"

# The tables that hold, or have held, what a person can be told by.
REWRITTEN = (
    schema.people,
    schema.enrolments,
    schema.clips,
    schema.heads,
    schema.head_sources,
    schema.review_clips,
    schema.answers,
)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process stood in the way."""
    return (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def pending_wipes(connection: Connection, *, sqlite: bool) -> int:
    """How many erasures have not been wiped yet."""
    if sqlite:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    query = select(schema.settings.c.value).where(schema.settings.c.key == PENDING_SETTING)
    text = connection.execute(query).scalar()
    return 0 if text is None else int(unpack_json(text, PENDING_SETTING, "forget them once more"))


def mark_pending(connection: Connection, *, sqlite: bool) -> None:
    """Count one more erasure that is to be wiped, in the transaction that erases."""
    count = pending_wipes(connection, sqlite=sqlite) + 1
    if sqlite:
        connection.exec_driver_sql(f"PRAGMA user_version = {count}")
        return
    table = schema.settings
    connection.execute(delete(table).where(table.c.key == PENDING_SETTING))
    value = pack_json(count, PENDING_SETTING)
    connection.execute(insert(table).values(key=PENDING_SETTING, value=value))


def wipe_sqlite(cursor: Any, patience: float, busy_seconds: float) -> str:
    """Vacuum and cut the log; returns what stood in the way, or an empty string.

    secure_delete has zeroed the deleted cells; VACUUM rewrites the pages, which may hold traces of cells that moved;
    the checkpoint then brings this into the file and cuts the log to nothing. A process in the middle of reading an
    older state keeps the log alive, so that is waited for.

    Args:
        cursor: Of sqlite3.
        patience: Seconds to wait for readers; with 0 nothing is done while there are any.
        busy_seconds: What the connection waits for otherwise.
    """

    def truncated() -> bool:
        return not cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    deadline = time.monotonic() + patience
    vacuumed = False
    try:
        pending = cursor.execute("PRAGMA user_version").fetchone()[0]
        cursor.execute(f"PRAGMA busy_timeout = {int(1000 * min(patience, RETRY_SECONDS))}")
        # without patience, look first: a VACUUM that cannot be folded in only makes the log longer
        if patience == 0 and not truncated():
            return READING
        while True:
            try:
                if not vacuumed:
                    cursor.execute("VACUUM")
                    vacuumed = True
                if truncated():
                    break
                problem = READING
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
                problem = WRITING
            if time.monotonic() >= deadline:
                return problem
            time.sleep(RETRY_SECONDS)
        cursor.execute("BEGIN IMMEDIATE")
        if cursor.execute("PRAGMA user_version").fetchone()[0] == pending:  # else: another erasure since
            cursor.execute("PRAGMA user_version = 0")
        cursor.execute("COMMIT")
    except sqlite3.Error as error:  # the rows are deleted already: say it, and let the next opening finish
        return str(error)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {int(1000 * busy_seconds)}")
    return ""


class _RefusedError(Exception):
    """The server will not do it, however long one waits."""


def wipe_postgresql(connection: Connection, patience: float) -> str:
    """Rewrite the tables; returns what stood in the way, or an empty string.

    VACUUM (FULL) writes the rows that are left to new files, their long values too, and removes the old files. It
    needs each table for itself for that moment, and carries over what an older transaction may still see: both are
    waited for. The statistics of the planner hold no values of these tables: the migrations turned them off.

    Args:
        connection: In autocommit mode.
        patience: Seconds to wait for others; each table is tried at least once.
    """
    deadline = time.monotonic() + patience
    driver: Any = connection.connection.driver_connection
    details: list[str] = []

    def note(diagnostic: Any) -> None:
        details.append(diagnostic.message_detail or "")

    def call(statement: str) -> Any:
        return connection.exec_driver_sql(statement)

    def problem_of(table: str) -> str:
        """Rewrite one table; what others stand in the way of is tried again."""
        where = f"SELECT pg_relation_filenode('{table}')"
        before = call(where).scalar_one()
        details.clear()
        call(f"VACUUM (FULL, VERBOSE) {table}")
        if call(where).scalar_one() == before:
            raise _RefusedError(f"the gallery's role may not vacuum the table {table}, whose owner may")
        # its report, in the server's language: so many dead row versions cannot be removed yet
        found = [re.search(r"\d+", detail) for detail in details if detail]
        counts = [int(number.group()) for number in found if number]
        return READING if not counts or counts[0] else ""

    driver.add_notice_handler(note)
    try:
        pending = pending_wipes(connection, sqlite=False)
        wait = int(1000 * max(RETRY_SECONDS, min(patience, LOCK_SECONDS)))
        call("SET statement_timeout = 0")
        call(f"SET lock_timeout = {wait}")
        left = [table.name for table in REWRITTEN]
        while True:
            problem = ""
            for table in list(left):
                try:
                    said = problem_of(table)
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                        raise
                    said = READING
                if said:
                    problem = said
                else:
                    left.remove(table)
            if not left:
                break
            if time.monotonic() >= deadline:
                return problem
            time.sleep(RETRY_SECONDS)
        done = schema.settings.c.value == pack_json(pending, PENDING_SETTING)  # else: another erasure since
        connection.execute(delete(schema.settings).where(schema.settings.c.key == PENDING_SETTING, done))
    except _RefusedError as error:
        return str(error)
    except DBAPIError as error:  # the rows are deleted already: say it, and let the next opening finish
        return " ".join(str(error.orig).split())
    finally:
        driver.remove_notice_handler(note)
        if not driver.closed:
            call("RESET lock_timeout")
            call("RESET statement_timeout")
    return ""
