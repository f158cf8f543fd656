"""What is on disk after a death: the ledger's rows held against the simulated broker's own positions and deals.

Only the two files are read, none of the code under test is asked.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = 4454
"""The first four of the fifteen digits of every magic of ours."""
IN = 0
"""DEAL_ENTRY_IN."""
BY_BROKER = frozenset({4, 5, 6})
"""DEAL_REASON_SL, _TP and _SO: such a deal carries the magic of the order that opened its position."""
NOISE = 1e-9

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Disk:
    """Both files and the spool at one moment. Trades and intents are the JSON of their rows."""

    trades: tuple[Row, ...] = ()
    intents: tuple[Row, ...] = ()
    positions: tuple[Row, ...] = ()
    deals: tuple[Row, ...] = ()
    spooled: frozenset[int] = frozenset()
    """Tickets of registrations that wait in the callers' spool."""

    @property
    def open_intents(self) -> tuple[Row, ...]:
        """Orders without an outcome."""
        return tuple(i for i in self.intents if i["state"] in {"PLANNED", "SENDING", "ACKED", "UNKNOWN"})

    @property
    def unsent(self) -> tuple[Row, ...]:
        """Those of them of which the broker knows nothing."""
        dealt = {deal["magic"] for deal in self.deals}
        stops = {(p["ticket"], p["sl"]) for p in self.positions}
        known = (
            i["magic"] in dealt or (i["plan"]["ticket"], i["plan"].get("stop_loss")) in stops for i in self.intents
        )
        return tuple(
            i for i, is_known in zip(self.intents, known, strict=True) if i in self.open_intents and not is_known
        )

    @property
    def our_deals(self) -> tuple[Row, ...]:
        """Deals of our orders; not those by which the broker closed a hedge at its stop."""
        return tuple(d for d in self.deals if d["magic"] // 10**11 == OURS and d["reason"] not in BY_BROKER)

    @property
    def hedges(self) -> tuple[Row, ...]:
        """Open positions that we opened."""
        return tuple(p for p in self.positions if p["magic"] // 10**11 == OURS)

    def outcome(self) -> dict[str, Any]:
        """What two runs of one story must agree on, whatever happened on the way."""
        names = ("state", "rule", "owner", "volume", "stop_loss", "take_profit", "closed_reason", "closed_at", "score")
        deal = ("position_id", "type", "entry", "reason", "volume", "price", "profit", "time_msc")
        return {
            "trades": {str(trade["ticket"]): {name: trade[name] for name in names} for trade in self.trades},
            "deals": [[row[name] for name in deal] for row in self.deals],
        }


def read(folder: Path) -> Disk:
    """Both files of a state folder; a file that is not there yet is an empty one.

    Works on copies: opening a database in place would write its log into it, as the next start has to.
    """
    with tempfile.TemporaryDirectory() as copies:
        ledger = _rows(folder / "dtms.db", Path(copies), ("trades", "intents"))
        broker = _rows(folder / "terminal" / "account.db", Path(copies), ("positions", "deals"))
    trades, intents = ([json.loads(row["body"]) for row in ledger[table]] for table in ("trades", "intents"))
    waiting = (json.loads(path.read_bytes()) for path in (folder / "outbox" / "new").glob("*.json"))
    return Disk(
        trades=tuple(trades),
        intents=tuple(intents),
        positions=tuple(broker["positions"]),
        deals=tuple(broker["deals"]),
        spooled=frozenset(int(item["body"]["ticket"]) for item in waiting),
    )


def _rows(path: Path, copies: Path, tables: tuple[str, ...]) -> dict[str, list[Row]]:
    if not path.exists():
        return {table: [] for table in tables}
    for name in (path.name, f"{path.name}-wal"):
        if path.with_name(name).exists():
            shutil.copy(path.with_name(name), copies)
    with closing(sqlite3.connect(copies / path.name)) as database:
        database.row_factory = sqlite3.Row
        there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return {
            table: [dict(row) for row in database.execute(f"SELECT * FROM {table} ORDER BY 1")]  # noqa: S608 -- ours
            if table in there
            else []
            for table in tables
        }


@dataclass
class Judge:
    """Looks at a state folder again and again; ``acknowledged`` are the tickets that callers were told are safe."""

    acknowledged: set[int] = field(default_factory=set)
    stops: dict[int, float] = field(default_factory=dict)
    """By identifier, the tightest stop seen so far."""
    lost: int = 0
    doubled: int = 0

    def always(self, disk: Disk) -> None:
        """What holds at every moment, also right after a death. Raises ``AssertionError``."""
        lost = [*self._lost(disk)]
        doubled = [*_doubled(disk), *self._loosened(disk)]
        self.lost += len(lost)
        self.doubled += len(doubled)
        if lost or doubled:
            raise AssertionError("; ".join((*lost, *doubled)))

    def at_rest(self, disk: Disk) -> None:
        """What holds in addition once every order is settled, the spool empty and a cycle has seen it all.

        Raises ``AssertionError``.
        """
        self.always(disk)
        wrong = [*_unlike(disk), *(f"{ticket} still waits in the spool" for ticket in disk.spooled)]
        if wrong:
            raise AssertionError("; ".join(wrong))

    def _lost(self, disk: Disk) -> Iterator[str]:
        known = {trade["ticket"] for trade in disk.trades} | {trade["identifier"] for trade in disk.trades}
        missing = self.acknowledged - known - disk.spooled
        if missing:
            yield f"acknowledged, and neither in the ledger nor in the spool: {sorted(missing)}"

    def _loosened(self, disk: Disk) -> Iterator[str]:
        for position in disk.positions:
            stop, seen = position["sl"], self.stops.get(position["identifier"], 0.0)
            sign = 1 - 2 * position["type"]
            if seen and (not stop or sign * (stop - seen) < -NOISE):
                yield f"the stop of {position['ticket']} went from {seen} to {stop}"
            if stop:
                self.stops[position["identifier"]] = stop


def _doubled(disk: Disk) -> Iterator[str]:
    """Orders that did more than was committed, once or in sum; registrations that became two trades."""
    intents = {intent["magic"]: intent for intent in disk.intents}
    trades = {trade["trade_id"]: trade for trade in disk.trades}
    done: dict[int, float] = defaultdict(float)
    partial: dict[int, float] = defaultdict(float)
    hedged: Counter[int] = Counter()
    for deal in disk.our_deals:
        intent = intents.get(deal["magic"])
        if intent is None:
            yield f"deal {deal['ticket']} has no committed intent: magic {deal['magic']}"
            continue
        done[deal["magic"]] += deal["volume"]
        if intent["kind"] == "partial_close":
            partial[intent["trade_id"]] += deal["volume"]
        elif intent["kind"] == "open_hedge" and deal["entry"] == IN:
            hedged[intent["trade_id"]] += 1
    for magic, volume in done.items():
        if volume > intents[magic]["plan"]["volume"] + NOISE:
            yield f"order {magic} did {volume} lots of {intents[magic]['plan']['volume']}"
    for trade_id, volume in partial.items():
        if volume > (whole := trades[trade_id]["initial_volume"]) / 2 + NOISE:
            yield f"{volume} lots of {whole} of {trades[trade_id]['ticket']} closed in part"
    yield from (f"trade {trades[number]['ticket']} was hedged {n} times" for number, n in hedged.items() if n > 1)
    open_hedges = Counter(intents[p["magic"]]["trade_id"] for p in disk.hedges if p["magic"] in intents)
    yield from (f"trade {trades[number]['ticket']} has {n} hedges" for number, n in open_hedges.items() if n > 1)
    twice = Counter(trade["ticket"] for trade in disk.trades)
    yield from (f"ticket {ticket} is registered {n} times" for ticket, n in twice.items() if n > 1)


def _unlike(disk: Disk) -> Iterator[str]:
    """Where the record differs from the broker."""
    yield from (f"order {intent['magic']} ({intent['kind']}) is {intent['state']}" for intent in disk.open_intents)
    held = {position["identifier"]: position for position in disk.positions}
    covered = set()
    for trade in disk.trades:
        position = held.get(trade["identifier"])
        if trade["state"] in {"CLOSED", "REJECTED"} or position is None:
            # What DTMS closed whole in the last cycle has no volume left in the record; its deals come with the next.
            known = trade["state"] in {"CLOSED", "REJECTED", "PENDING"} or trade["volume"] == 0
            if position is not None or not known:
                yield f"{trade['ticket']} is {trade['state']}, and {'gone' if position is None else 'open'}"
        elif (trade["volume"], trade["stop_loss"] or 0.0) != (position["volume"], position["sl"]):
            recorded, real = (trade["volume"], trade["stop_loss"]), (position["volume"], position["sl"])
            yield f"{trade['ticket']} is recorded as {recorded}, and is {real}"
        if trade["hedge"] is not None:
            covered.add(trade["hedge"]["identifier"])
    for hedge in disk.hedges:
        if hedge["identifier"] not in covered:
            yield f"hedge {hedge['ticket']} belongs to no trade"
    yield from (f"hedge {gone} of a trade is not there" for gone in covered - held.keys())
