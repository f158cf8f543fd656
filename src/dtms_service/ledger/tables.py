"""The tables: what is a column is what queries ask for; the whole value is in ``body``.

``digest`` is the SHA-256 of the rest of the row, because SQLite has no checksums of its own. Types and indexes hold on
PostgreSQL too.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Insert,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
)
from sqlalchemy.dialects import postgresql, sqlite

_Number = BigInteger().with_variant(Integer(), "sqlite")  # SQLite keys a table by its row only when the type is INTEGER

METADATA = MetaData()

META = Table(
    "meta",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about the service itself, and the ledger's own (``codec.OWN``)."""

TRADES = Table(
    "trades",
    METADATA,
    Column("trade_id", _Number, primary_key=True, autoincrement=False),
    Column("login", _Number, nullable=False),
    Column("server", String, nullable=False),
    Column("identifier", _Number),
    Column("ticket", _Number, nullable=False),
    Column("symbol", String, nullable=False),
    Column("side", String),
    Column("state", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("registered_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
)

_open_position = and_(TRADES.c.closed_at.is_(None), TRADES.c.identifier.is_not(None))
Index(
    "trades_open_position",
    TRADES.c.login,
    TRADES.c.server,
    TRADES.c.identifier,
    unique=True,
    sqlite_where=_open_position,
    postgresql_where=_open_position,
)

INTENTS = Table(
    "intents",
    METADATA,
    Column("magic", _Number, primary_key=True, autoincrement=False),
    Column("trade_id", _Number, nullable=False),
    Column("kind", String, nullable=False),
    Column("episode", Integer, nullable=False),
    Column("leg", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("resolved_at", Double),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    UniqueConstraint("trade_id", "kind", "episode", "leg", name="intents_leg"),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("sequence", _Number, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False),
    Column("kind", String, nullable=False),
    Column("trade_id", _Number),
    Column("ticket", _Number),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("events_of_trade", "trade_id", "sequence"),
    Index("events_of_kind", "kind", "sequence"),
)
"""``sequence`` is given by the writer, so that a batch knows which numbers its own events got."""

ALERTS = Table(
    "alerts",
    METADATA,
    Column("alert_id", _Number, primary_key=True, autoincrement=False),
    Column("code", String, nullable=False),
    Column("about", String, nullable=False),
    Column("trade_id", _Number),
    Column("ticket", _Number),
    Column("acknowledged_at", Double),
    Column("body", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Index("alerts_of_ticket", "ticket", "alert_id"),
)
_open_alert = ALERTS.c.acknowledged_at.is_(None)
Index(
    "alerts_open_cause",
    ALERTS.c.code,
    ALERTS.c.about,
    unique=True,
    sqlite_where=_open_alert,
    postgresql_where=_open_alert,
)
"""One cause has one alert that nobody has acknowledged."""


def upsert(table: Table, dialect: str) -> Insert:
    """Insert into ``table``, or replace the row with the same primary key; ``dialect`` is SQLAlchemy's name for it."""
    statement = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    values = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values)
