"""Digests over whole rows, of events too, and the seal over all rows."""

from __future__ import annotations

import hashlib
import json

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0002"
down_revision = "0001"

_KEYS = {"trades": "trade_id", "intents": "magic", "events": "sequence"}


def upgrade() -> None:
    """Literal on purpose: codec.py and seal.py move on, this step does not. A row that is damaged stays unsealed."""
    op.add_column("events", sa.Column("digest", sa.String(64), nullable=False, server_default=""))
    connection = op.get_bind()
    seal = ""
    for name, key in _KEYS.items():
        table = sa.Table(name, sa.MetaData(), autoload_with=connection)
        count = total = 0
        for row in connection.execute(sa.select(table)).mappings().all():
            if name != "events" and hashlib.sha256(row["body"].encode()).hexdigest() != row["digest"]:
                raise CommandError(f"{name}: {row[key]} is damaged, its digest does not match; restore a backup")
            values = (str(value) for column, value in row.items() if column != "digest")
            digest = hashlib.sha256("\n".join(values).encode()).hexdigest()
            connection.execute(sa.update(table).where(table.c[key] == row[key]).values(digest=digest))
            count, total = count + 1, (total + int(digest, 16)) % 2**256
        seal += f" {count} {total:064x}"
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    facts = {row.name: row.value for row in connection.execute(sa.select(meta))}
    of_facts = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    seal = f"0 {of_facts}{seal}"
    seal += f" {hashlib.sha256(seal.encode()).hexdigest()}"
    connection.execute(sa.insert(meta).values(name="seal", value=seal))
