"""Finding out what became of orders without an answer: after a crash, a lost reply or a killed terminal process."""

from __future__ import annotations

import logging
from dataclasses import replace

from dtms_service.domain import effects, evidence, reconcile
from dtms_service.domain.alerts import OVER
from dtms_service.domain.broker_events import transition_event
from dtms_service.domain.errors import DtmsError
from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.sighting import Sighting
from dtms_service.domain.trade import Event, Frozen, Intent, IntentState, ObligationStatus, Trade
from dtms_service.domain.values import Deal, SymbolSpec, WorkingOrder
from dtms_service.engine.acting import ALERT_AT_ATTEMPT
from dtms_service.engine.ports import Terminal
from dtms_service.engine.record import Record
from dtms_service.engine.watching import Watches
from dtms_service.market.snapshot import Snapshot

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""What counts of a settle window between two looks at most; they are 2 s apart unless the terminal is slow."""
CLOCKS_APART_S = 86_400.0
"""How much earlier than an order its deal is looked for: the broker's clock and ours may differ (``engine.md`` D2)."""


UNANSWERED = "order_unanswered"
UNANSWERED_S = 60.0
"""How long an order may be without an outcome before people hear of it (``reliability.md`` 5)."""


_ANSWERED = {"code": UNANSWERED, "detail": "the outcome of its orders is known"}


def _failing(trade: Trade, intent: Intent, now: float) -> list[Event]:
    """The alert that sending it would have made: an order without an answer is a failure, also across a death."""
    owner = (intent.kind, intent.episode, ObligationStatus.SENT)
    owed = next((o for o in trade.obligations if (o.kind, o.episode, o.status) == owner), None)
    if owed is None or owed.attempts - owed.uncounted != ALERT_AT_ATTEMPT:
        return []
    return [reconcile.alert(trade, now, "obligation_failing", effects.describe(intent, trade))]


class Settler:
    """Resolves open intents from positions, orders and deals; never sends anything."""

    def __init__(self, terminal: Terminal, record: Record, parameters: Parameters) -> None:
        self._terminal = terminal
        self._record = record
        self._parameters = parameters
        self._watches = Watches(LOOK_S)
        self._told: set[int] = set()

    async def adopt(self, now: float) -> None:
        """At the start: an order on its way when the last process died has an unknown outcome; it freezes its trade."""
        intents = [replace(i, state=IntentState.UNKNOWN) for i in self._record.book.intents.values()]
        open_trades = {i.trade_id: self._record.book.trades[i.trade_id] for i in intents}
        trades = [replace(t, frozen=Frozen.INTENT) for t in open_trades.values() if not t.state.final]
        events = [
            Event(
                time=now,
                kind="intent_unknown",
                trade_id=i.trade_id,
                ticket=open_trades[i.trade_id].ticket,
                body={
                    "magic": i.magic,
                    "kind": i.kind.value,
                    "reason": "the service ended before the reply was stored",
                },
            )
            for i in intents
        ]
        events += [told for i in intents for told in _failing(open_trades[i.trade_id], i, now)]
        await self._record.write(trades=trades, intents=intents, events=events)

    def lose_sight(self) -> None:
        """The terminal could not be read: the time until the next good look counts for no settle window (R16)."""
        self._watches.lose_all()

    async def settle(self, snapshot: Snapshot, specs: dict[str, SymbolSpec]) -> list[int]:
        """Look once for every open intent; reads that fail say nothing and do not count.

        The tickets of trades whose intent raised an error of our own; the others were looked at all the same.
        """
        failed = await self._all(snapshot, specs)
        await self.tell(snapshot.time)
        return failed

    async def _all(self, snapshot: Snapshot, specs: dict[str, SymbolSpec]) -> list[int]:
        self._watches.keep(self._record.book.intents)
        failed: list[int] = []
        if not self._record.book.intents:
            return failed
        orders = await self._terminal.orders()
        if not isinstance(orders, Done):
            self.lose_sight()
            return failed
        for intent in list(self._record.book.intents.values()):
            trade = self._record.book.trades[intent.trade_id]
            try:
                await self._one(intent, trade, orders.value, specs, snapshot)
            except DtmsError:
                raise
            except Exception:
                log.exception("trade_failed", extra={"ticket": trade.ticket, "symbol": trade.symbol})
                failed.append(trade.ticket)
        return failed

    async def tell(self, now: float) -> None:
        """Alert, once, about an order that has been without an outcome for long; and say when no such one is left."""
        book = self._record.book
        waiting = [i for i in book.intents.values() if now - i.sending_at >= UNANSWERED_S]
        abouts = {f"trade {intent.trade_id}" for intent in waiting}
        told = [
            reconcile.alert(
                book.trades[i.trade_id], now, UNANSWERED, f"{i.kind.value}, order {i.magic}: no outcome yet"
            )
            for i in waiting
            if i.magic not in self._told
        ]
        told += [
            Event(time=now, kind=OVER, trade_id=a.trade_id, ticket=a.ticket, body=_ANSWERED)
            for a in book.alerts.values()
            if a.code == UNANSWERED and a.over_at is None and a.about not in abouts
        ]
        await self._record.write(events=told)
        self._told = {intent.magic for intent in waiting}

    async def _one(
        self,
        intent: Intent,
        trade: Trade,
        orders: tuple[WorkingOrder, ...],
        specs: dict[str, SymbolSpec],
        snapshot: Snapshot,
    ) -> None:
        spec, now = specs.get(trade.symbol), snapshot.time
        deals = await self._deals(intent, trade)
        if spec is None or not isinstance(deals, Done):
            self._watches.lose(intent.magic)
            return
        watch = self._watches.look(intent.magic, now)
        identifier = intent.before.get("identifier", trade.identifier)
        about = (
            p
            for p in snapshot.positions
            if (p.magic == intent.magic if effects.opens(intent) else p.identifier == identifier)
        )
        sighting = Sighting(
            position=next(about, None),
            orders=orders,
            deals=deals.value,
            connected_s=watch.connected_s,
            good_reads=watch.good_reads,
            claimed=self._claimed(),
            open={p.identifier: p for p in snapshot.positions} if effects.opens(intent) else {},
        )
        after = evidence.settle(intent, sighting, spec, now, self._parameters)
        if after is intent:
            return
        done = evidence.done_volume(after, sighting, spec)
        settled = effects.settled(trade, after, done, now, self._parameters)
        events = [effects.action_event(settled, after, None, now), *transition_event(trade, settled, now)]
        if after.state is IntentState.MANUAL_REVIEW:
            events.append(reconcile.alert(settled, now, "order_unclear", str(after.resolution)))
        await self._record.write(trades=[settled], intents=[after], events=events)

    def _claimed(self) -> frozenset[int]:
        book = self._record.book
        hedges = (trade.hedge.identifier for trade in book.trades.values() if trade.hedge is not None)
        return frozenset(book.by_identifier) | frozenset(hedges)

    async def _deals(self, intent: Intent, trade: Trade) -> Outcome[tuple[Deal, ...]]:
        """Where the order left its trace: at the position it was about, or anywhere since it opened a new one."""
        if effects.opens(intent):
            return await self._terminal.deals_since(intent.sending_at - CLOCKS_APART_S)
        return await self._terminal.deals_of(intent.before.get("identifier") or trade.identifier or trade.ticket)
