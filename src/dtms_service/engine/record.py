"""The book with the ledger behind it: the one place where recorded state changes.

Nothing reaches the book before its commit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType

from dtms_service.domain import alerts, magic
from dtms_service.domain.alerts import ALERT, OVER, Alert, Wanted
from dtms_service.domain.control import Control, News, Standing
from dtms_service.domain.errors import StorageBusy
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Event, Intent, Trade
from dtms_service.domain.values import Account
from dtms_service.domain.view import MarketView
from dtms_service.engine.book import Book
from dtms_service.engine.feed import Feed
from dtms_service.engine.meters import Meters
from dtms_service.engine.ports import Ledger
from dtms_service.market.snapshot import Snapshot

ACTIONS_KEPT = 500
HISTORY_LIMIT = 10_000
ACCOUNT, BROKER_OFFSET, BROKER_MOVES, STANDING = "account", "broker_offset", "broker_moves", "standing"
"""Facts: ``login@server`` of the first account (R45), the measured offset of its broker's clock in seconds, the moves
of that clock (until when it was how far ahead) and the operator's orders, both as JSON."""
UNREAD_GAP = 10_000
"""Orders that a ledger restored from a backup may have missed; of 99,999,999 numbers that is none."""


class Record:
    """Book, counters and ledger. Owned by the event loop; one instance for the life of the engine."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._trade_id = 0
        self._magic = 0
        self._instance = 0
        self.book = Book()
        self.feed = Feed()
        self.meters = Meters()
        self.facts: Mapping[str, str] = MappingProxyType({})
        self.standing = Standing()
        """What an operator has ordered; it survives a restart."""
        self.loaded = False
        self.busy: StorageBusy | None = None
        """Why the last commit was not taken; None once one was."""
        self._last_alert_id = 0
        self.told: set[tuple[str, str]] = set()
        """Causes (code, about) of every alert since the start, and of those that were known then."""
        self.alerting = asyncio.Lock()
        """Held by whoever makes a new value of an alert out of the last one."""
        self.lock = asyncio.Lock()
        """Held by a cycle, and by whoever else changes a trade that exists; new trades need no lock."""
        self.ordering = asyncio.Lock()
        """Held by whoever makes a new standing out of the last one; taken after ``lock`` where both are needed."""

    async def load(self) -> None:
        """Fill the book from the ledger. Raises ``StorageFailed``."""
        stored = await self._ledger.load()
        self._trade_id = stored.last_trade_id
        self._magic = stored.last_magic_sequence
        self._instance = stored.instance
        self.facts = stored.facts
        self.standing = _standing(stored.facts)
        intents = {intent.magic: intent for intent in stored.open_intents}
        self.book = Book(
            intents=intents,
            actions=stored.actions,
            alerts={alert.alert_id: alert for alert in stored.alerts if alert.open},
        ).with_trades(stored.trades)
        self._last_alert_id = stored.last_alert_id
        self.told = {(alert.code, alert.about) for alert in stored.alerts}
        self.feed.begin(stored.last_event_sequence)
        self.loaded = True

    def owns(self, account: Account) -> bool:
        """True for the account this state belongs to, and for any while it belongs to none (R45)."""
        return self.facts.get(ACCOUNT) in {None, name_of(account)}

    def next_trade_id(self) -> int:
        """A number that no trade had before."""
        self._trade_id += 1
        return self._trade_id

    def next_magic(self) -> int:
        """A magic that no intent had before; a number that is not used in the end is simply skipped."""
        self._magic += 1
        return magic.make(self._instance, self._magic)

    def issued(self, number: int) -> bool:
        """True for a magic of this ledger up to the last one that it has used."""
        sequence = magic.sequence_of(number, self._instance)
        return sequence is not None and sequence <= self._magic

    def skip_magics(self, seen: Sequence[int] | None) -> None:
        """Start past every own magic in the broker's history (R20); far past the last known one when it is unread."""
        if seen is None:
            self._magic += UNREAD_GAP
            return
        own = [magic.sequence_of(number, self._instance) or 0 for number in seen]
        self._magic = max([self._magic, *own])

    async def write(
        self,
        *,
        trades: Sequence[Trade] = (),
        events: Sequence[Event] = (),
        intents: Sequence[Intent] = (),
        facts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Commit, then let the book show it. Raises ``StorageBusy`` (nothing happened) or ``StorageFailed``.

        Events of kind ``alert`` make their alerts, in the same transaction.
        """
        if not (trades or events or intents or facts):
            return
        batch = Batch(tuple(events), tuple(trades), tuple(intents), facts)
        if not any(event.kind in {ALERT, OVER} for event in events):
            await self._store(batch)
            return
        async with self.alerting:
            made = alerts.raised(self.book.alerts, events, self._last_alert_id)
            await self._store(replace(batch, alerts=made))

    async def write_alerts(self, changed: Sequence[Alert], events: Sequence[Event] = ()) -> None:
        """Commit new values of known alerts, made while ``alerting`` is held. Raises as ``write``."""
        await self._store(Batch(events=tuple(events), alerts=tuple(changed)))

    async def _store(self, batch: Batch) -> None:
        sequence = await self._commit(batch)
        first = sequence - len(batch.events) + 1
        stored = [replace(event, sequence=first + n) for n, event in enumerate(batch.events)]
        self.facts = MappingProxyType({**self.facts, **batch.facts})
        if STANDING in batch.facts:
            self.standing = _standing(batch.facts)
        book = self.book.with_trades(batch.trades) if batch.trades else self.book
        actions = [event for event in stored if event.kind == "action"]
        if actions:
            self.meters.acted(actions)
            book = replace(book, actions=(*book.actions, *actions)[-ACTIONS_KEPT:])
        if batch.intents:
            book = replace(book, intents=_with_open(book.intents, batch.intents))
        if batch.alerts:
            book = replace(book, alerts=_with_unacknowledged(book.alerts, batch.alerts))
            self._last_alert_id = max(self._last_alert_id, *(alert.alert_id for alert in batch.alerts))
            self.told |= {(alert.code, alert.about) for alert in batch.alerts}
        self.book = book
        self.feed.publish(stored)

    async def probe(self) -> None:
        """Commit nothing, to learn whether a ledger that was busy takes commits again. Raises as ``write``."""
        await self._commit(Batch())

    async def _commit(self, batch: Batch) -> int:
        try:
            sequence = await self._ledger.commit(batch)
        except StorageBusy as busy:
            self.busy = busy
            raise
        self.busy = None
        return sequence

    async def events_since(self, position: int, limit: int) -> tuple[Event, ...]:
        """The first ``limit`` events after ``position``, oldest first."""
        return await self._ledger.events(since=position, limit=limit)

    async def events(self, *, trade_id: int) -> tuple[Event, ...]:
        """Every event of a trade, oldest first."""
        return await self._ledger.events(trade_id=trade_id, limit=HISTORY_LIMIT)

    async def actions(self, *, trade_id: int | None, since: int | None, limit: int) -> tuple[Event, ...]:
        """The newest ``limit`` actions, or the first ``limit`` after ``since``; oldest first."""
        return await self._ledger.events(
            kind="action", trade_id=trade_id, since=since or 0, limit=limit, newest=since is None
        )

    async def alerts(self, wanted: Wanted) -> tuple[Alert, ...]:
        """Stored alerts, newest first."""
        return await self._ledger.alerts(wanted)

    @property
    def instance(self) -> int:
        """The number of this ledger (R20)."""
        return self._instance

    def see(self, snapshot: Snapshot, views: Mapping[str, MarketView]) -> None:
        """Let the book show what the newest good snapshot saw; nothing durable changes."""
        self.book = replace(
            self.book,
            positions={position.identifier: position for position in snapshot.positions},
            ticks=snapshot.ticks,
            views=views,
            account=snapshot.account,
            as_of=snapshot.time,
        )


def _with_open(known: Mapping[int, Intent], changed: Sequence[Intent]) -> Mapping[int, Intent]:
    kept = dict(known)
    for intent in changed:
        kept.pop(intent.magic, None)
        if intent.state.open:
            kept[intent.magic] = intent
    return kept


def _with_unacknowledged(known: Mapping[int, Alert], changed: Sequence[Alert]) -> Mapping[int, Alert]:
    kept = {**known, **{alert.alert_id: alert for alert in changed}}
    return {number: alert for number, alert in kept.items() if alert.open}


def fact_of(standing: Standing) -> Mapping[str, str]:
    """The operator's orders as a fact to store."""
    return {STANDING: json.dumps(asdict(standing))}


def _standing(facts: Mapping[str, str]) -> Standing:
    if STANDING not in facts:
        return Standing()
    told = json.loads(facts[STANDING])
    news = tuple(News(**{**item, "symbols": tuple(item["symbols"])}) for item in told.pop("news"))
    return Standing(**{**told, "control": Control(told["control"]), "news": news})


def name_of(account: Account) -> str:
    """The account in one word, ``login@server``."""
    return f"{account.login}@{account.server}"
