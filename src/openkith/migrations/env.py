"""Run by alembic when a gallery is opened that is new or of an older openkith."""

from __future__ import annotations

from alembic import context

from openkith.gallery.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],  # within the transaction of the one who opens
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
