"""What a daemon needs: consent, actors, decisions, review, keys, jobs, idempotent answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Personal values, which PostgreSQL would otherwise copy into its planner's statistics, where they outlive the rows.
NO_STATISTICS = {
    "people": ("name", "note"),
    "clips": ("sha256", "source", "quality", "arrays", "audio"),
    "heads": ("revision", "config", "arrays"),
    "review_clips": ("sha256", "quality", "arrays", "audio"),
    "answers": ("key", "request", "headers", "body"),
}
BYTES = {"arrays", "audio", "body"}


def upgrade() -> None:
    op.add_column("people", sa.Column("consent", sa.Date))
    op.add_column("people", sa.Column("note", sa.Text, nullable=False, server_default=""))
    op.add_column("audit", sa.Column("actor", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("person_id", sa.Integer),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decisions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decisions_time", "decisions", ["time"])
    op.create_index("ix_decisions_person_id", "decisions", ["person_id"])
    op.create_table(
        "review_clips",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("encoder", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("guess_id", sa.Integer),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changed", sa.DateTime(timezone=True), nullable=False),
        sa.Column("enrolment_id", sa.Integer),
        sa.Column("quality", sa.Text, nullable=False),
        sa.Column("arrays", sa.LargeBinary, nullable=False),
        sa.Column("audio", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_review_clips"),
        sa.UniqueConstraint("sha256", name="uq_review_clips_sha256"),
        sa.ForeignKeyConstraint(
            ["guess_id"], ["people.id"], name="fk_review_clips_guess_id", ondelete="SET NULL"
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'dismissed', 'enrolled')", name=op.f("ck_review_clips_state")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True)),
        sa.Column("finished", sa.DateTime(timezone=True)),
        sa.Column("worker", sa.Text),
        sa.Column("lease", sa.DateTime(timezone=True)),
        sa.Column("claims", sa.Integer, nullable=False, server_default="0"),
        sa.Column("stage", sa.Text, nullable=False, server_default=""),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("total", sa.Integer, nullable=False, server_default="0"),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_jobs_state")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.PrimaryKeyConstraint("key", name="pk_answers"),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in NO_STATISTICS.items():
            for column in columns:
                kind = "bytea" if column in BYTES else "text"
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
                # its own type once more: which removes the statistics that there are
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}")
