"""The first schema: people, enrolments, clips, heads, settings, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people"),
        sa.UniqueConstraint("name", name="uq_people_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "enrolments",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_enrolments"),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_enrolments_person_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_enrolments_person_id", "enrolments", ["person_id"])
    op.create_table(
        "clips",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("person_id", sa.Integer),
        sa.Column("enrolment_id", sa.Integer),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("encoder", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("quality", sa.Text, nullable=False),
        sa.Column("arrays", sa.LargeBinary, nullable=False),
        sa.Column("audio", sa.LargeBinary),
        sa.PrimaryKeyConstraint("id", name="pk_clips"),
        sa.UniqueConstraint("sha256", name="uq_clips_sha256"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_clips_person_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["enrolment_id"], ["enrolments.id"], name="fk_clips_enrolment_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "(kind = 'enrolment' AND person_id IS NOT NULL AND enrolment_id IS NOT NULL)"
            " OR (kind = 'background' AND person_id IS NULL AND enrolment_id IS NULL)",
            name="ck_clips_kind",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_clips_person_id", "clips", ["person_id"])
    op.create_index("ix_clips_enrolment_id", "clips", ["enrolment_id"])
    op.create_table(
        "heads",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("encoder", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("arrays", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_heads"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "head_sources",
        sa.Column("head_id", sa.Integer, nullable=False),
        sa.Column("clip_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("person_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("head_id", "clip_id", name="pk_head_sources"),
        sa.ForeignKeyConstraint(
            ["head_id"], ["heads.id"], name="fk_head_sources_head_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name="fk_head_sources_person_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_head_sources_person_id", "head_sources", ["person_id"])
    op.create_table(
        "settings",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("person_id", sa.Integer),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
