"""Corrections: by which key each came, and whose name it bears, however it is written."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labels.passages import normalise

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    op.add_column("corrections", sa.Column("person", sa.String(), nullable=False, server_default=""))
    op.add_column("corrections", sa.Column("key", sa.String(), nullable=True))
    _fill()
    op.drop_index("ix_corrections_fingerprint", "corrections")
    op.create_index("ix_corrections_fingerprint", "corrections", ["fingerprint", "person"])


def downgrade() -> None:
    op.drop_index("ix_corrections_fingerprint", "corrections")
    op.create_index("ix_corrections_fingerprint", "corrections", ["fingerprint", "who"])
    op.drop_column("corrections", "key")
    op.drop_column("corrections", "person")


def _fill() -> None:
    table = sa.table("corrections", *map(sa.column, ("id", "who", "person")))
    connection = op.get_bind()
    rows = [
        {"at": row.id, "whose": normalise(row.who).casefold()}
        for row in connection.execute(sa.select(table.c.id, table.c.who))
    ]
    if rows:
        fill = sa.update(table).where(table.c.id == sa.bindparam("at")).values(person=sa.bindparam("whose"))
        connection.execute(fill, rows)
