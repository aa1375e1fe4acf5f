"""The tables of a gallery, the same on SQLite and PostgreSQL.

A change here needs a new file in ``openkith/migrations/versions`` and its number in `SCHEMA_VERSION`; a test
compares what the migrations build with what stands here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

__all__ = [
    "BACKUP_TABLE",
    "SCHEMA_VERSION",
    "VERSION_TABLE",
    "answers",
    "api_keys",
    "audit",
    "clips",
    "decisions",
    "enrolments",
    "head_sources",
    "heads",
    "jobs",
    "metadata",
    "people",
    "review_clips",
    "settings",
]

SCHEMA_VERSION = "0002"  # revision of the newest migration
BACKUP_TABLE = "kith_backup"  # what a file has that is a backup, and no gallery
VERSION_TABLE = "openkith_version"  # not alembic's own default: a PostgreSQL database may be shared


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a naive moment would be a bug, and astimezone would take it for local time."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# sqlite_autoincrement: an id is never given again, so that "person 3" of the audit log stays one person.

people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created", UtcDateTime, nullable=False),
    Column("consent", Date),  # the day on which the person agreed
    Column("note", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

enrolments = Table(  # one row for each call of enrol: what undo takes back
    "enrolments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

clips = Table(
    "clips",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), index=True),
    Column("enrolment_id", ForeignKey("enrolments.id", ondelete="CASCADE"), index=True),
    Column("kind", Text, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("seconds", Double, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("source", Text, nullable=False),
    Column("quality", Text, nullable=False),  # JSON
    Column("arrays", LargeBinary, nullable=False),  # safetensors
    Column("audio", LargeBinary),  # the recording itself, where it is kept
    CheckConstraint(
        "(kind = 'enrolment' AND person_id IS NOT NULL AND enrolment_id IS NOT NULL)"
        " OR (kind = 'background' AND person_id IS NULL AND enrolment_id IS NULL)",
        name="kind",
    ),
    sqlite_autoincrement=True,
)

heads = Table(
    "heads",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("method", Text, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("created", UtcDateTime, nullable=False),
    Column("config", Text, nullable=False),  # JSON
    Column("arrays", LargeBinary, nullable=False),  # safetensors
    sqlite_autoincrement=True,
)

head_sources = Table(  # which clips a head learned from
    "head_sources",
    metadata,
    Column("head_id", ForeignKey("heads.id", ondelete="CASCADE"), primary_key=True),
    # no foreign key: the head goes on knowing what it learned from a clip that was dropped
    Column("clip_id", Integer, primary_key=True, autoincrement=False),
    Column("person_id", ForeignKey("people.id", ondelete="CASCADE"), nullable=False, index=True),
)

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)

audit = Table(  # knows people by number only: a name that is erased in `people` is erased everywhere
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("action", Text, nullable=False),
    Column("person_id", Integer),
    Column("detail", Text, nullable=False),  # JSON
    Column("actor", Text, nullable=False, server_default=""),  # "key 3"; empty: the command line or a program
    sqlite_autoincrement=True,
)

decisions = Table(  # what was answered; like the audit log, it knows people by number only
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),  # identify, verify, stream
    Column("status", Text, nullable=False),  # known, unsure, unknown
    Column("person_id", Integer, index=True),  # the name given, guessed or claimed
    Column("probability", Double, nullable=False),
    Column("seconds", Double, nullable=False),  # of speech
    Column("method", Text, nullable=False),
    Column("reason", Text, nullable=False),  # people stand in it as numbers
    Column("detail", Text, nullable=False),  # JSON
    sqlite_autoincrement=True,
)

review_clips = Table(  # recordings of nobody known, kept where the owner wants to say who they are
    "review_clips",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Column("sha256", Text, nullable=False, unique=True),
    Column("seconds", Double, nullable=False),
    Column("encoder", Text, nullable=False),
    Column("status", Text, nullable=False),  # unsure, unknown
    Column("probability", Double, nullable=False),
    Column("guess_id", ForeignKey("people.id", ondelete="SET NULL")),  # whom it was most like
    Column("state", Text, nullable=False),  # waiting, dismissed, enrolled
    Column("changed", UtcDateTime, nullable=False),
    Column("enrolment_id", Integer),  # what became of it; no foreign key: undo takes the enrolment first
    Column("quality", Text, nullable=False),  # JSON
    Column("arrays", LargeBinary, nullable=False),  # safetensors
    Column("audio", LargeBinary, nullable=False),  # FLAC
    CheckConstraint("state IN ('waiting', 'dismissed', 'enrolled')", name="state"),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of the key, which is 32 random bytes
    Column("scopes", Text, nullable=False),  # JSON list
    Column("created", UtcDateTime, nullable=False),
    Column("revoked", UtcDateTime),
    sqlite_autoincrement=True,
)

jobs = Table(  # tuning and calibrating in the background, taken by one daemon at a time
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # tune, calibrate
    Column("settings", Text, nullable=False),  # JSON
    Column("actor", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, running, done, failed, cancelled
    Column("created", UtcDateTime, nullable=False),
    Column("started", UtcDateTime),
    Column("finished", UtcDateTime),
    Column("worker", Text),  # who has it
    Column("lease", UtcDateTime),  # until when, unless renewed
    Column("claims", Integer, nullable=False, server_default="0"),  # how often it was taken up
    Column("stage", Text, nullable=False, server_default=""),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("result", Text),  # JSON; people stand in it as numbers
    Column("error", Text),
    CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state"),
    sqlite_autoincrement=True,
)

answers = Table(  # what was answered to a request with an idempotency key, to say it again
    "answers",
    metadata,
    Column("key", Text, primary_key=True),  # SHA-256 of the caller, method, path and key
    Column("request", Text, nullable=False),  # SHA-256 of the body
    Column("created", UtcDateTime, nullable=False),
    Column("status", Integer),  # none yet: the first request is still running, or its daemon died
    Column("headers", Text),  # JSON
    Column("body", LargeBinary),
)
