"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything. Literal on purpose: tables.py moves on, this step does not."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "meta",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.create_table(
        "trades",
        sa.Column("trade_id", number, primary_key=True, autoincrement=False),
        sa.Column("login", number, nullable=False),
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("identifier", number),
        sa.Column("ticket", number, nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("side", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("registered_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    open_position = sa.text("closed_at IS NULL AND identifier IS NOT NULL")
    op.create_index(
        "trades_open_position",
        "trades",
        ["login", "server", "identifier"],
        unique=True,
        sqlite_where=open_position,
        postgresql_where=open_position,
    )
    op.create_table(
        "intents",
        sa.Column("magic", number, primary_key=True, autoincrement=False),
        sa.Column("trade_id", number, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("leg", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("resolved_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.UniqueConstraint("trade_id", "kind", "episode", "leg", name="intents_leg"),
    )
    op.create_table(
        "events",
        sa.Column("sequence", number, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("trade_id", number),
        sa.Column("ticket", number),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("events_of_trade", "events", ["trade_id", "sequence"])
    op.create_index("events_of_kind", "events", ["kind", "sequence"])
