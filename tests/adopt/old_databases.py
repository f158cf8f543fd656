"""Old databases, with the tables of contract.md 3.2 and 4."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

DTMS_TRADES = """CREATE TABLE dtms_trades (ticket INTEGER PRIMARY KEY, symbol TEXT, direction TEXT, entry_price REAL,
    volume REAL, stop_loss REAL, take_profit REAL, registered_at TEXT, last_updated TEXT)"""
UNIVERSAL_TRADES = """CREATE TABLE universal_trades (ticket INTEGER PRIMARY KEY, symbol TEXT, strategy_type TEXT,
    direction TEXT, session TEXT, entry_price REAL, initial_sl REAL, initial_tp REAL, resolved_trailing_rules TEXT,
    managed_by TEXT, baseline_atr REAL, initial_volume REAL, breakeven_triggered INTEGER, partial_taken INTEGER,
    last_trailing_sl REAL, last_sl_modification_time TEXT, registered_at TEXT, plan_id TEXT)"""


def write(file: Path, *statements: str | tuple[str, tuple[Any, ...]], wal: bool = False) -> Path:
    with closing(sqlite3.connect(file)) as database, database:
        if wal:
            database.execute("PRAGMA journal_mode = WAL")
        for statement in statements:
            database.execute(*((statement,) if isinstance(statement, str) else statement))
    return file


def dtms_trade(ticket: Any, symbol: str = "EURUSD", direction: str = "BUY") -> tuple[str, tuple[Any, ...]]:
    row = (ticket, symbol, direction, 1.1, 0.1, 0.0, None, "2025-12-01 10:00:00", "2025-12-01 10:00:00")
    return f"INSERT INTO dtms_trades VALUES ({', '.join('?' * len(row))})", row  # noqa: S608 - constants of this file


def universal_trade(
    ticket: Any, strategy: str | None = "kill_zone", managed_by: str = "universal_sl_tp_manager"
) -> tuple[str, tuple[Any, ...]]:
    row = (ticket, "EURUSD", strategy, "BUY", "LONDON", 1.1, 1.09, 1.12, "{}", managed_by, 0.001, 0.1, 0, 0)
    return f"INSERT INTO universal_trades VALUES ({', '.join('?' * len(row))}, NULL, NULL, '', 'p')", row  # noqa: S608 - as above
