"""How much the ledger adds to the disk: ratios against raw sqlite3 that commits each row alone, in the same run.

    python bench/ledger.py [rounds]

Both sides write the same two rows per registration (trade and event, ``synchronous=FULL``, WAL) to files in one
folder, in turns, so that a slow moment of the machine hits both. Ratios are medians over the rounds; the rates beside
them belong to this machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median

from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Trade
from dtms_service.domain.values import Side
from dtms_service.ledger.codec import rows_of
from dtms_service.ledger.store import SqlLedger

SECONDS = 0.4
CALLERS = (1, 16, 64)
MANY = 1_000


def registration(number: int) -> Batch:
    """A fresh trade and the event of its registration."""
    trade = Trade(
        trade_id=number,
        login=5_012_345,
        server="Broker-Demo",
        ticket=700_000_000 + number,
        identifier=700_000_000 + number,
        symbol="XAUUSD",
        side=Side.BUY,
        volume=0.3,
        initial_volume=0.3,
        entry_price=2012.34,
        stop_loss=2002.5,
        take_profit=2040.0,
        initial_stop_loss=2002.5,
        risk=9.84,
        state=TradeState.HEALTHY,
        state_since=1_700_000_000.0,
        claims={"symbol": "XAUUSD", "volume": 0.3, "stop_loss": 2002.5},
        registered_at=1_700_000_000.0,
    )
    event = Event(
        time=1_700_000_000.0, kind="registered", trade_id=number, ticket=trade.ticket, body={"source": "bench"}
    )
    return Batch(events=(event,), trades=(trade,))


def merged(batches: list[Batch]) -> Batch:
    """One batch with everything of ``batches``."""
    return Batch(
        events=tuple(event for batch in batches for event in batch.events),
        trades=tuple(trade for batch in batches for trade in batch.trades),
    )


class Raw:
    """What a program writes without a ledger: two statements and a commit per registration, ready-made text."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE trades (trade_id INTEGER PRIMARY KEY, body TEXT, digest TEXT)")
        self._connection.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, kind TEXT, body TEXT)")

    def commit(self, batch: Batch) -> None:
        """All rows of a batch in one transaction."""
        rows = rows_of(batch)
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO trades VALUES (:trade_id, :body, :digest)", rows.trades)
        self._connection.executemany("INSERT INTO events (kind, body) VALUES (:kind, :body)", rows.events)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def raw_rate(raw: Raw, numbers: Iterator[int]) -> float:
    """Registrations per second, one after the other."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        raw.commit(registration(next(numbers)))
        done += 1
    return done / (time.perf_counter() - start)


async def ledger_rate(ledger: SqlLedger, numbers: Iterator[int], callers: int) -> float:
    """Registrations per second from so many callers, each waiting for its own answer."""
    start = time.perf_counter()

    async def call() -> int:
        done = 0
        while time.perf_counter() - start < SECONDS:
            await ledger.commit(registration(next(numbers)))
            done += 1
        return done

    done = sum(await asyncio.gather(*(call() for _ in range(callers))))
    return done / (time.perf_counter() - start)


async def seconds_of(commit: Callable[[], object]) -> float:
    """Wall time of one call, awaited when it is awaitable."""
    start = time.perf_counter()
    answer = commit()
    if asyncio.iscoroutine(answer):
        await answer
    return time.perf_counter() - start


async def main(rounds: int) -> None:
    """Run and print."""
    names = [f"{callers} callers" for callers in CALLERS] + [f"one batch of {MANY}"]
    ratios: dict[str, list[float]] = {name: [] for name in names}
    ours: dict[str, list[float]] = {name: [] for name in names}
    numbers = count(1)
    with tempfile.TemporaryDirectory() as folder:
        raw = Raw(Path(folder, "raw.db"))
        ledger = await SqlLedger.open(f"sqlite:///{folder}/ledger.db", draw=lambda _: 0)
        for _ in range(rounds):
            for callers in CALLERS:
                base = raw_rate(raw, numbers)
                rate = await ledger_rate(ledger, numbers, callers)
                ratios[f"{callers} callers"].append(rate / base)
                ours[f"{callers} callers"].append(rate)
            batch, other = (merged([registration(next(numbers)) for _ in range(MANY)]) for _ in range(2))
            base = await seconds_of(lambda other=other: raw.commit(other))  # type: ignore[misc]
            took = await seconds_of(lambda batch=batch: ledger.commit(batch))  # type: ignore[misc]
            ratios[names[-1]].append(base / took)
            ours[names[-1]].append(MANY / took)
        await ledger.close()
        raw.close()
    print("ratio = ledger / raw sqlite3 (one caller, one commit per registration; the batch: in one commit)")
    for name in names:
        print(f"{name:>20}: ratio {median(ratios[name]):6.2f}   here {median(ours[name]):8.0f} registrations/s")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
