from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from openkith.gallery import Gallery, schema
from openkith.gallery.codec import pack_arrays
from openkith.gallery.database import MIGRATIONS, locate


def test_migrations_build_the_schema(path: Path) -> None:
    Gallery(path).close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.SCHEMA_VERSION
        built = dict(
            connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'table'")).all()
        )
    engine.dispose()
    # what compare_metadata does not compare: checks, cascades, ids that are never used again
    for table in schema.metadata.sorted_tables:
        for rule in ("CASCADE", "SET NULL"):
            keys = [key for key in table.foreign_keys if key.ondelete == rule]
            assert built[table.name].count(f"ON DELETE {rule}") == len(keys)
        assert ("AUTOINCREMENT" in built[table.name]) == bool(
            table.dialect_options["sqlite"]["autoincrement"]
        )
        checks = [c for c in table.constraints if isinstance(c, sa.CheckConstraint)]
        assert all(str(check.sqltext) in built[table.name] for check in checks)
        assert built[table.name].count("CHECK") == len(checks)


def make_old_gallery(place: str) -> None:
    """A gallery of schema 0001, where Alice was enrolled with one clip."""
    engine = sa.create_engine(locate(place))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        arrays = pack_arrays({"embedding": np.ones(4, np.float32)}, "clip")
        moment = "'2026-01-01 10:00:00.000000'"
        for statement in (
            f"INSERT INTO people (name, created) VALUES ('alice', {moment})",
            f"INSERT INTO enrolments (person_id, created) VALUES (1, {moment})",
            "INSERT INTO clips (person_id, enrolment_id, kind, sha256, seconds, encoder, created, source, quality,"
            f" arrays) VALUES (1, 1, 'enrolment', '{'0' * 64}', 2.5, 'e', {moment}, 'a.wav', '{{}}', :arrays)",
            f"INSERT INTO audit (time, action, person_id, detail) VALUES ({moment}, 'enroll', 1, '{{}}')",
        ):
            connection.execute(sa.text(statement), {"arrays": arrays} if ":arrays" in statement else {})
    engine.dispose()


def test_a_gallery_of_before_the_service(place: str) -> None:
    make_old_gallery(place)
    with Gallery(place) as gallery:
        alice = gallery.person("alice")
        assert (alice.consent, alice.note, alice.clips, alice.seconds) == (None, "", 1, 2.5)
        assert gallery.clips()[0].arrays["embedding"].tolist() == [1, 1, 1, 1]
        (entry,) = gallery.audit()
        assert (entry.actor, entry.action, entry.subject) == ("", "enroll", "alice")
        assert gallery.edit_person("alice", consent=date(2026, 3, 1)).consent == date(2026, 3, 1)
        assert gallery.undo().person_removed  # an enrolment made her
        assert gallery.people() == []


def test_version_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.SCHEMA_VERSION]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_moments_are_utc(dialect: str) -> None:
    kind = schema.UtcDateTime()
    given = datetime(2026, 3, 1, 12, 30, 15, 250, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    made = {"sqlite": SQLiteDialect, "postgresql": PGDialect}[dialect]()
    stored = kind.process_bind_param(given, made)
    assert stored is not None
    assert (stored.tzinfo is None) == (dialect == "sqlite")
    back = kind.process_result_value(stored, made)
    assert back == given
    assert back is not None
    assert back.tzinfo is UTC
    assert kind.process_bind_param(None, made) is None
    assert kind.process_result_value(None, made) is None
