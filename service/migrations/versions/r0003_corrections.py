"""Corrections; the fingerprint of each passage, how doubtful its labels are, and what another model said before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from labels.passages import fingerprint
from service.corrections import doubt
from service.report import Scores

revision: str = "0003"
down_revision: str | None = "0002"
_TOGETHER = 1_000


def upgrade() -> None:
    # Not in a batch: SQLite would make the table anew, and lose the labels of its passages with the old one.
    op.add_column("passages", sa.Column("former", sa.JSON(), nullable=True))
    op.add_column("passages", sa.Column("fingerprint", sa.String(), nullable=False, server_default=""))
    op.add_column("passages", sa.Column("doubt", sa.Double(), nullable=False, server_default="0"))
    _fill()
    op.create_index("ix_passages_fingerprint", "passages", ["fingerprint"])
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("themes", sa.JSON(), nullable=False),
        sa.Column("stances", sa.JSON(), nullable=False),
        sa.Column("primary_stance", sa.String(), nullable=True),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=True),
        sa.Column("guide", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["document"], ["documents.id"], name="fk_corrections_document", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_corrections"),
    )
    op.create_index("ix_corrections_document", "corrections", ["document"])
    op.create_index("ix_corrections_fingerprint", "corrections", ["fingerprint", "who"])


def downgrade() -> None:
    op.drop_table("corrections")
    op.drop_index("ix_passages_fingerprint", "passages")
    op.drop_column("passages", "doubt")
    op.drop_column("passages", "fingerprint")
    op.drop_column("passages", "former")


def _fill() -> None:
    passages = sa.table(
        "passages",
        *map(sa.column, ("document", "position", "text", "fingerprint", "doubt")),
        *(sa.column(name, sa.JSON()) for name in ("themes", "stances", "scores")),
    )
    columns = passages.c
    key = (columns.document, columns.position)
    query = sa.select(*key, columns.text, columns.themes, columns.stances, columns.scores)
    query = query.order_by(*key).limit(_TOGETHER)
    here = (columns.document == sa.bindparam("of"), columns.position == sa.bindparam("at"))
    fill = sa.update(passages).where(*here).values(fingerprint=sa.bindparam("name"), doubt=sa.bindparam("chance"))
    connection = op.get_bind()
    found = connection.execute(query).all()
    while found:
        rows = [
            {
                "of": row.document,
                "at": row.position,
                "name": fingerprint(row.text),
                "chance": doubt(row.themes, row.stances, Scores.model_validate(row.scores)),
            }
            for row in found
        ]
        connection.execute(fill, rows)
        found = connection.execute(query.where(sa.tuple_(*key) > (found[-1].document, found[-1].position))).all()
