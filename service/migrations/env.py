"""Runs the migrations, on the connection that service.store.configuration was given."""

from __future__ import annotations

from alembic import context

from service.store import Base

# SQLite alters a table by making it anew (batch).
context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
