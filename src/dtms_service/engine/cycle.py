"""One cycle as a straight line: read once, settle, reconcile, decide, journal, act, publish.

A quiet cycle (nothing that a later decision reads has changed) costs one round trip to the terminal and no transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dtms_service.domain import reconcile
from dtms_service.domain.errors import DtmsError
from dtms_service.domain.outcome import Done
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import Scene, after_removed_stop, decide
from dtms_service.domain.reconcile import Reconciled
from dtms_service.domain.shelve import observed
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Frozen, Mode, Trade
from dtms_service.domain.values import Account, Position, SymbolSpec, WorkingOrder
from dtms_service.domain.view import Missing
from dtms_service.engine.acting import Actor
from dtms_service.engine.markets import Markets
from dtms_service.engine.ports import Clock, Terminal
from dtms_service.engine.record import Record
from dtms_service.engine.settling import Settler
from dtms_service.market.snapshot import Needs, Snapshot

log = logging.getLogger(__name__)

_URGENCY = {state: rank for rank, state in enumerate(reversed(TradeState))}
_URGENCY |= {TradeState.HEDGED: 0, TradeState.WARNING_L2: 1, TradeState.RECOVERING: 2, TradeState.WARNING_L1: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleResult:
    """What a cycle did. ``code`` is None when it completed; otherwise nothing was inferred and nothing changed."""

    time: float
    code: str | None = None
    detail: str = ""
    connected: bool = False
    account: Account | None = None
    evaluated: tuple[int, ...] = ()
    """Tickets whose score was computed."""
    transitions: int = 0
    orders: int = 0
    failed: tuple[int, ...] = ()
    """Tickets whose trade raised an error of our own; the others went on."""
    again: bool = False
    """A position was seen for the first time: its market is read by another cycle at once."""

    @property
    def completed(self) -> bool:
        """True when everything was looked at; only then the heartbeat beats."""
        return self.code is None


@dataclass(slots=True)
class _Tally:
    """What one pass over the trades collects; committed in one transaction at its end."""

    trades: list[Trade] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    transitions: int = 0
    orders: int = 0
    again: bool = False


class Cycle:
    """The engine's one way to look at the terminal and to act on it."""

    def __init__(
        self, *, terminal: Terminal, record: Record, clock: Clock, markets: Markets, mode: Mode, parameters: Parameters
    ) -> None:
        self._terminal = terminal
        self._record = record
        self._clock = clock
        self._markets = markets
        self._mode = mode
        self._parameters = parameters
        self._actor = Actor(terminal, record, mode, parameters)
        self.settler = Settler(terminal, record, parameters)
        self._specs: dict[str, SymbolSpec] = {}
        self._pending_since: dict[int, float] = {}

    async def run(self) -> CycleResult:
        """One pass. Raises ``StorageBusy`` and ``StorageFailed``; a terminal fault is in the result."""
        started = self._clock.now()
        live = [trade for trade in self._record.book.trades.values() if not trade.state.final]
        symbols = tuple(sorted({trade.symbol for trade in live if trade.verified_at is not None}))
        unread = await self._learn(symbols)
        if unread is not None:
            return CycleResult(time=started, code=unread[0], detail=unread[1])
        known = tuple(symbol for symbol in symbols if symbol in self._specs)
        read = await self._terminal.snapshot(Needs(known, self._markets.needs(known, started)))
        if not isinstance(read, Done):
            return CycleResult(time=started, code=read.code, detail=read.detail)
        snapshot = read.value
        if not self._is_our_account(snapshot.account):
            detail = f"the terminal is logged in to {snapshot.account.login}@{snapshot.account.server}"
            return CycleResult(time=started, code="account_mismatch", detail=detail, account=snapshot.account)
        if not snapshot.connected:
            detail = "the terminal has no link to its broker; what it shows is old"
            return CycleResult(time=started, code="disconnected", detail=detail, account=snapshot.account)
        self._markets.take(snapshot, self._specs)
        await self.settler.settle(snapshot, self._specs)
        tally = await self._look_at_all(snapshot)
        await self._record.write(trades=tally.trades, events=tally.events)
        self._record.see(snapshot, self._markets.views)
        return CycleResult(
            time=snapshot.time,
            connected=True,
            account=snapshot.account,
            evaluated=tuple(tally.evaluated),
            transitions=tally.transitions,
            orders=tally.orders,
            failed=tuple(tally.failed),
            again=tally.again,
        )

    def _is_our_account(self, account: Account) -> bool:
        pinned = self._record.facts.get("account")
        return pinned is None or pinned == f"{account.login}@{account.server}"

    async def _learn(self, symbols: Sequence[str]) -> tuple[str, str] | None:
        """Contract facts of symbols seen for the first time; why not, when they could not be read."""
        new = [symbol for symbol in symbols if symbol not in self._specs]
        if not new:
            return None
        read = await self._terminal.specs(new)
        if not isinstance(read, Done):
            return read.code, read.detail
        self._specs.update(read.value)
        return None

    async def _look_at_all(self, snapshot: Snapshot) -> _Tally:
        tally = _Tally()
        positions = {position.identifier: position for position in snapshot.positions}
        book = self._record.book
        due = [trade for trade in book.trades.values() if not trade.state.final]
        due += [
            book.trades[i]
            for p in positions
            if (i := book.by_identifier.get(p)) is not None and _reopened(book.trades[i])
        ]
        orders: tuple[WorkingOrder, ...] | None = None
        if any(trade.verified_at is None for trade in due):
            read = await self._terminal.orders()
            orders = read.value if isinstance(read, Done) else None
        for trade in sorted(due, key=lambda trade: (_URGENCY[trade.state], trade.trade_id)):
            try:
                await self._look_at(trade, positions, orders, snapshot, tally)
            except DtmsError:
                raise
            except Exception:
                log.exception("trade_failed", extra={"ticket": trade.ticket, "symbol": trade.symbol})
                tally.failed.append(trade.ticket)
        return tally

    async def _look_at(
        self,
        trade: Trade,
        positions: Mapping[int, Position],
        orders: tuple[WorkingOrder, ...] | None,
        snapshot: Snapshot,
        tally: _Tally,
    ) -> None:
        if trade.verified_at is None:
            seen = await self._pending(trade, positions, orders, snapshot)
            tally.again |= seen.trade.verified_at is not None
        else:
            seen = await self._reconciled(trade, positions, snapshot)
        now = after_removed_stop(trade, seen.trade, snapshot.time, self._mode, self._parameters)
        events = seen.events
        scene = self._scene(now, positions, snapshot)
        if scene is not None:
            decision = decide(now, scene, self._mode, self._parameters)
            if decision.evaluated:
                tally.evaluated.append(now.ticket)
            tally.transitions += sum(event.kind == "transition" for event in decision.events)
            events += decision.events + observed(seen.trade, decision.trade, scene, snapshot.time, self._parameters)
            acted = await self._actor.act(decision.trade, events, scene)
            now, events = acted.trade, acted.events
            tally.orders += acted.orders
        if now is not self._record.book.trades.get(trade.trade_id) or events:
            tally.trades.append(now)
            tally.events.extend(events)

    def _scene(self, trade: Trade, positions: Mapping[int, Position], snapshot: Snapshot) -> Scene | None:
        """What a decision looks at, or None while it may not be made."""
        if trade.state.final or trade.identifier is None or trade.frozen is Frozen.VERIFY:
            return None
        position, tick = positions.get(trade.identifier), snapshot.ticks.get(trade.symbol)
        spec = self._specs.get(trade.symbol)
        if position is None or tick is None or spec is None or not snapshot.account.trade_allowed:
            return None
        view = self._markets.views.get(trade.symbol, Missing("no bars were read yet"))
        return Scene(now=snapshot.time, position=position, tick=tick, spec=spec, view=view)

    async def _reconciled(self, trade: Trade, positions: Mapping[int, Position], snapshot: Snapshot) -> Reconciled:
        identifier = trade.identifier if trade.identifier is not None else trade.ticket
        position = positions.get(identifier)
        if position is not None:
            if trade.frozen is Frozen.INTENT:
                return Reconciled(trade)  # what changed may be our own order; the settler speaks first
            spec = self._specs.get(trade.symbol)
            return reconcile.present(trade, position, snapshot.time, spec.tick_size if spec is not None else 0.0)
        deals = await self._terminal.deals_of(identifier)
        found = deals.value if isinstance(deals, Done) else None
        return reconcile.absent(trade, found, snapshot.time, self._parameters)

    async def _pending(
        self,
        trade: Trade,
        positions: Mapping[int, Position],
        orders: tuple[WorkingOrder, ...] | None,
        snapshot: Snapshot,
    ) -> Reconciled:
        account = (snapshot.account.login, snapshot.account.server)
        position = positions.get(trade.ticket) or next(
            (p for p in positions.values() if p.ticket == trade.ticket), None
        )
        if position is not None:
            self._pending_since.pop(trade.trade_id, None)
            return reconcile.verified(trade, position, account, snapshot.time)
        deals = await self._terminal.deals_of(trade.ticket)
        if not isinstance(deals, Done) or orders is None:
            return Reconciled(trade)
        if reconcile.all_closed(deals.value):
            known = replace(
                trade, login=account[0], server=account[1], identifier=trade.ticket, verified_at=snapshot.time
            )
            return reconcile.closed(known, deals.value, snapshot.time)
        since = self._pending_since.setdefault(trade.trade_id, snapshot.time)
        working = any(order.ticket == trade.ticket for order in orders)
        return reconcile.pending(trade, working, snapshot.time - since, snapshot.time, self._parameters)


def _reopened(trade: Trade) -> bool:
    return trade.state is TradeState.CLOSED
