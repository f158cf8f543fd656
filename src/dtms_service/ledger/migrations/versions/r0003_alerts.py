"""The alerts, and their place in the seal."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Literal on purpose: tables.py and seal.py move on, this step does not."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "alerts",
        sa.Column("alert_id", number, primary_key=True, autoincrement=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("trade_id", number),
        sa.Column("ticket", number),
        sa.Column("acknowledged_at", sa.Double()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_index("alerts_of_ticket", "alerts", ["ticket", "alert_id"])
    nobody = sa.text("acknowledged_at IS NULL")
    op.create_index(
        "alerts_open_cause",
        "alerts",
        ["code", "about"],
        unique=True,
        sqlite_where=nobody,
        postgresql_where=nobody,
    )
    connection = op.get_bind()
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    before = connection.execute(sa.select(meta.c.value).where(meta.c.name == "seal")).scalar_one()
    seal = f"{before.rpartition(' ')[0]} 0 {0:064x}"
    seal += f" {hashlib.sha256(seal.encode()).hexdigest()}"
    connection.execute(sa.update(meta).where(meta.c.name == "seal").values(value=seal))
