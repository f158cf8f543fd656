"""Finding out what became of orders without an answer: after a crash, a lost reply or a killed terminal process."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtms_service.domain import effects, evidence
from dtms_service.domain.evidence import Sighting
from dtms_service.domain.outcome import Done
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Event, Frozen, Intent, IntentState, Trade
from dtms_service.domain.values import Position, SymbolSpec, WorkingOrder
from dtms_service.engine.ports import Terminal
from dtms_service.engine.record import Record
from dtms_service.market.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class _Watch:
    """How long a connected terminal has been watched for one order.

    Memory only: a restart starts over, which is longer.
    """

    connected_s: float
    good_reads: int
    looked_at: float


class Settler:
    """Resolves open intents from positions, orders and deals; never sends anything."""

    def __init__(self, terminal: Terminal, record: Record, parameters: Parameters) -> None:
        self._terminal = terminal
        self._record = record
        self._parameters = parameters
        self._watches: dict[int, _Watch] = {}

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
        await self._record.write(trades=trades, intents=intents, events=events)

    async def settle(self, snapshot: Snapshot, specs: dict[str, SymbolSpec]) -> None:
        """Look once for every open intent; reads that fail say nothing and do not count."""
        if not self._record.book.intents:
            self._watches.clear()
            return
        orders = await self._terminal.orders()
        if not isinstance(orders, Done) or not snapshot.connected:
            self._watches = {m: replace(w, looked_at=snapshot.time) for m, w in self._watches.items()}
            return
        positions = {position.identifier: position for position in snapshot.positions}
        for intent in list(self._record.book.intents.values()):
            trade = self._record.book.trades[intent.trade_id]
            position = positions.get(trade.identifier) if trade.identifier is not None else None
            await self._one(intent, trade, position, orders.value, specs, snapshot.time)

    async def _one(
        self,
        intent: Intent,
        trade: Trade,
        position: Position | None,
        orders: tuple[WorkingOrder, ...],
        specs: dict[str, SymbolSpec],
        now: float,
    ) -> None:
        spec = specs.get(trade.symbol)
        deals = await self._terminal.deals_of(trade.identifier or trade.ticket)
        watch = self._watches.get(intent.magic, _Watch(0.0, 0, now))
        if spec is None or not isinstance(deals, Done):
            self._watches[intent.magic] = replace(watch, looked_at=now)
            return
        watch = _Watch(watch.connected_s + now - watch.looked_at, watch.good_reads + 1, now)
        self._watches[intent.magic] = watch
        sighting = Sighting(
            position=position,
            orders=orders,
            deals=deals.value,
            connected_s=watch.connected_s,
            good_reads=watch.good_reads,
        )
        after = evidence.settle(intent, sighting, spec, now, self._parameters)
        if after is intent:
            return
        done = sum(deal.volume for deal in deals.value if deal.magic == intent.magic)
        settled = effects.settled(trade, after, done or None, now, self._parameters)
        del self._watches[intent.magic]
        event = effects.action_event(settled, after, None, now)
        await self._record.write(trades=[settled], intents=[after], events=[event])
