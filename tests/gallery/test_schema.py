from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from openkith.gallery import Gallery, schema
from openkith.gallery.database import MIGRATIONS


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
