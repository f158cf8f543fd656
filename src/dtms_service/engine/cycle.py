"""One cycle as a straight line: read once, settle, reconcile, decide, journal, act, publish.

A quiet cycle (nothing that a later decision reads has changed) costs one round trip to the terminal and no transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dtms_service.domain import hedging, magic, reconcile
from dtms_service.domain.alerts import alert_event
from dtms_service.domain.control import Control
from dtms_service.domain.errors import DtmsError
from dtms_service.domain.outcome import Done
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.policy import Scene, after_removed_stop, decide
from dtms_service.domain.reconcile import Reconciled
from dtms_service.domain.shelve import observed
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Frozen, Mode, ObligationKind, Trade
from dtms_service.domain.values import Account, MarginMode, Position, SymbolSpec, WorkingOrder
from dtms_service.domain.view import Missing
from dtms_service.engine.acting import Actor
from dtms_service.engine.markets import Markets
from dtms_service.engine.ports import Clock, Terminal
from dtms_service.engine.record import Record, name_of
from dtms_service.engine.rivals import Rivals, Sign
from dtms_service.engine.settling import Settler
from dtms_service.engine.tally import Tally
from dtms_service.engine.watching import Watches
from dtms_service.market.snapshot import Needs, Snapshot

log = logging.getLogger(__name__)

CLOCK_MOVED = "clock_moved"
"""Code of a read after which the times of all earlier bars are wrong."""
UNSEEN_S = 30.0
"""What counts of the wait for a position that was never seen between two looks at most."""
SPEC_S = 900.0
"""Seconds after which contract facts are read again."""

_URGENCY = {state: rank for rank, state in enumerate(reversed(TradeState))}
_URGENCY |= {TradeState.HEDGED: 0, TradeState.WARNING_L2: 1, TradeState.RECOVERING: 2, TradeState.WARNING_L1: 3}
_URGENCY |= {TradeState.CLOSED: -1}  # all that is left of one is a hedge without its position


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
        self._actor = Actor(terminal, record, clock, mode, parameters)
        self.settler = Settler(terminal, record, parameters)
        self.rivals = Rivals(record)
        self._specs: dict[str, SymbolSpec] = {}
        self._learned_at: dict[str, float] = {}
        self._unseen = Watches(UNSEEN_S)
        self._quiet: frozenset[str] | None = None
        """None at first: what an earlier life told is in its alerts."""
        self._strangers: set[int] = set()
        self._seen: Snapshot | None = None

    def scene(self, trade: Trade) -> Scene | None:
        """What a decision about ``trade`` looks at, by the last good read; None where nothing may be decided."""
        if self._seen is None or trade.verified_at is None:
            return None
        positions = {position.identifier: position for position in self._seen.positions}
        return self._scene(trade, positions, self._strays(self._seen)[0].get(trade.trade_id, {}), self._seen)

    async def run(self) -> CycleResult:
        """One pass. Raises ``StorageBusy`` and ``StorageFailed``; a terminal fault is in the result."""
        await self._actor.store_reply()
        snapshot = await self._read()
        if isinstance(snapshot, CycleResult):
            self.settler.lose_sight()
            self._unseen.lose_all()
            await self.settler.tell(snapshot.time)
            return snapshot
        await self._markets.take(snapshot, self._specs)
        quiet = self._markets.quiet(snapshot)
        failed = await self.settler.settle(snapshot, self._specs)
        tally = await self._look_at_all(snapshot, quiet)
        opened = [Sign(p.magic, p.time, f"position {p.ticket} was opened") for p in snapshot.positions]
        rivals = self.rivals.signs([*opened, *tally.signs], snapshot.time)
        strangers = [p for p in tally.strangers if p.identifier not in self._strangers]
        told = (
            *rivals.values(),
            *self._switched(snapshot),
            *_about_feeds(self._told_quiet() if self._quiet is None else self._quiet, quiet, snapshot.time),
            *(_about_stranger(position, snapshot.time) for position in strangers),
        )
        await tally.store(self._record, told)
        self.rivals.told(rivals)
        self._strangers |= {position.identifier for position in strangers}
        self._quiet = quiet
        self._record.see(snapshot, self._markets.views)
        self._seen = replace(snapshot, bars={})
        return CycleResult(
            time=snapshot.time,
            connected=True,
            account=snapshot.account,
            evaluated=tuple(tally.evaluated),
            transitions=tally.transitions,
            orders=tally.orders,
            failed=tuple(dict.fromkeys((*failed, *tally.failed))),
            again=tally.again and not tally.failed,
        )

    async def _read(self) -> Snapshot | CycleResult:
        """What the terminal shows now, or why it shows nothing that may be believed."""
        started = self._clock.now()
        symbols = self._symbols()
        unread = await self._learn(symbols, started)
        if unread is not None:
            return CycleResult(time=started, code=unread[0], detail=unread[1])
        known = tuple(symbol for symbol in symbols if symbol in self._specs)
        read = await self._terminal.snapshot(Needs(known, self._markets.needs(known, started)))
        if not isinstance(read, Done):
            if read.code == CLOCK_MOVED:
                self._markets.forget()
            return CycleResult(time=started, code=read.code, detail=read.detail)
        account = read.value.account
        if not self._record.owns(account):
            detail = f"the terminal is logged in to {name_of(account)}"
            return CycleResult(time=started, code="account_mismatch", detail=detail, account=account)
        if not read.value.connected:
            detail = "the terminal has no link to its broker; what it shows is old"
            return CycleResult(time=started, code="disconnected", detail=detail, account=account)
        return read.value

    def _symbols(self) -> tuple[str, ...]:
        """Symbols of all trades that are open, or that are over while an order of ours has no outcome yet."""
        book = self._record.book
        unsettled = {intent.trade_id for intent in book.intents.values()}
        watched = (*book.watched.values(), *(book.trades[number] for number in unsettled))
        return tuple(sorted({trade.symbol for trade in watched if trade.verified_at is not None}))

    def _told_quiet(self) -> frozenset[str]:
        alerts = self._record.book.alerts.values()
        return frozenset(a.about for a in alerts if (a.code, a.over_at) == ("feed_quiet", None))

    def _switched(self, snapshot: Snapshot) -> tuple[Event, ...]:
        """An alert when programs may not trade any more, and one when they may again."""
        told = any((a.code, a.over_at) == ("trade_disabled", None) for a in self._record.book.alerts.values())
        before = self._record.book.account
        was_allowed = not told if before is None else before.trade_allowed
        allowed = snapshot.account.trade_allowed
        if allowed == was_allowed:
            return ()
        code = "trade_enabled" if allowed else "trade_disabled"
        detail = (
            "programs may trade again" if allowed else "programs may not trade; only the stops at the broker protect"
        )
        return (alert_event(snapshot.time, code, detail),)

    async def _learn(self, symbols: Sequence[str], now: float) -> tuple[str, str] | None:
        """Contract facts of symbols seen for the first time; why not, when they could not be read.

        Brokers change stops level and trade mode around news, so known facts are read anew after `SPEC_S`; a failure of
        that leaves the old ones.
        """
        new = [symbol for symbol in symbols if symbol not in self._specs]
        old = [s for s in symbols if s in self._specs and now - self._learned_at[s] >= SPEC_S]
        if not new and not old:
            return None
        read = await self._terminal.specs([*new, *old])
        if not isinstance(read, Done):
            return (read.code, read.detail) if new else None
        self._specs.update(read.value)
        self._learned_at.update(dict.fromkeys([*read.value, *old], now))
        return None

    async def _look_at_all(self, snapshot: Snapshot, quiet: frozenset[str]) -> Tally:
        open_trades = (trade for trade in self._record.book.watched.values() if not trade.state.final)
        tally = Tally(quiet=quiet, holders={t.identifier: t for t in open_trades if t.identifier is not None})
        positions = {position.identifier: position for position in snapshot.positions}
        book = self._record.book
        strays, tally.strangers = self._strays(snapshot)
        due = dict(book.watched)
        due |= {number: book.trades[number] for number in strays}
        for identifier in positions:
            number = book.by_identifier.get(identifier)
            if number is not None and book.trades[number].state is TradeState.CLOSED:
                due[number] = book.trades[number]
        for trade in due.values():
            if trade.identifier in positions:
                shown = positions[trade.identifier]
                positions[trade.identifier] = reconcile.believed(trade, shown, snapshot.time)
        orders: tuple[WorkingOrder, ...] | None = None
        self._unseen.keep({trade.trade_id for trade in due.values() if trade.verified_at is None})
        if any(trade.verified_at is None for trade in due.values()):
            read = await self._terminal.orders()
            orders = read.value if isinstance(read, Done) else None
        for trade in sorted(due.values(), key=lambda trade: (_URGENCY[trade.state], trade.trade_id)):
            try:
                own = strays.get(trade.trade_id, {})
                await self._look_at(trade, positions, own, orders, snapshot, tally)
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
        own: Mapping[int, Position],
        orders: tuple[WorkingOrder, ...] | None,
        snapshot: Snapshot,
        tally: Tally,
    ) -> None:
        if trade.verified_at is None:
            seen = tally.only(trade, await self._pending(trade, positions, orders, snapshot), snapshot.time)
            tally.again |= seen.trade.verified_at is not None
        else:
            seen = await self._reconciled(trade, positions, snapshot)
            tally.signs += await self._signs(trade, seen)
            seen = await self._with_hedge(seen, positions, own, snapshot)
        now = after_removed_stop(trade, seen.trade, snapshot.time, self._mode, self._parameters)
        now = _flagged(now, "feed_quiet", up=now.symbol in tally.quiet)
        events = seen.events
        tally.transitions += sum(event.kind == "transition" for event in events)
        scene = self._scene(now, positions, own, snapshot)
        if scene is not None and now.state.final:
            acted = await self._actor.act(now, events, scene)
            now, events = acted.trade, acted.events
            tally.orders += acted.orders
        elif scene is not None:
            decision = decide(now, scene, self._mode, self._parameters)
            if decision.evaluated:
                tally.evaluated.append(now.ticket)
            tally.transitions += sum(event.kind == "transition" for event in decision.events)
            events += decision.events + observed(seen.trade, decision.trade, scene, snapshot.time, self._parameters)
            ready = await self._with_commission(decision.trade)
            acted = await self._actor.act(ready, events, scene)
            now, events = acted.trade, acted.events
            tally.orders += acted.orders
        if now is not self._record.book.trades.get(trade.trade_id) or events:
            tally.trades.append(now)
            tally.events.extend(events)

    async def _signs(self, trade: Trade, seen: Reconciled) -> list[Sign]:
        """Who closed the trade, or a part of it by an order whose reply we have not."""
        now = seen.trade
        closed = [event for event in seen.events if event.kind == "closed"]
        if closed:
            number, at = int(closed[0].body["magic"]), now.closed_at or 0.0
            return [Sign(number, at, f"position {now.ticket} was closed")]
        if now.state.final or now.volume >= trade.volume or now.identifier is None:
            return []
        deals = await self._terminal.deals_of(now.identifier)
        found = deals.value if isinstance(deals, Done) else ()
        return [Sign(deal.magic, deal.time, f"position {now.ticket} was reduced") for deal in found]

    async def _with_commission(self, trade: Trade) -> Trade:
        """Breakeven counts the commission; it is read once, when a trade first owes breakeven. Unread, it counts 0."""
        wanted = any(o.kind is ObligationKind.BREAKEVEN and o.status.live for o in trade.obligations)
        if not wanted or trade.commission is not None or trade.identifier is None:
            return trade
        deals = await self._terminal.deals_of(trade.identifier)
        paid = reconcile.paid_per_lot(deals.value) if isinstance(deals, Done) else None
        return trade if paid is None else replace(trade, commission=paid)

    def _strays(self, snapshot: Snapshot) -> tuple[dict[int, dict[int, Position]], list[Position]]:
        """Positions beside a hedge that our own orders opened, by trade and identifier, and those of no trade here.

        One whose order has no outcome yet is neither.
        """
        book = self._record.book
        hedges = {trade.hedge.identifier for trade in book.watched.values() if trade.hedge is not None}
        shown = [p for p in snapshot.positions if magic.ours(p.magic) and p.identifier not in hedges]
        mine = [p for p in shown if not self.rivals.is_one(p.magic, p.time)]  # a rival's hedge is not ours to close
        found: dict[int, dict[int, Position]] = {}
        strangers: list[Position] = []
        if not mine:
            return found, strangers
        owners = {number: trade.trade_id for trade in book.trades.values() for number in trade.hedge_magics}
        for position in mine:
            if position.magic in book.intents:
                continue
            trade_id = owners.get(position.magic)
            if trade_id is None:
                trade_id = book.by_identifier.get(hedging.covered(position) or 0)
            if trade_id is None:
                strangers.append(position)
            else:
                found.setdefault(trade_id, {})[position.identifier] = position
        return found, strangers

    async def _with_hedge(
        self, seen: Reconciled, positions: Mapping[int, Position], own: Mapping[int, Position], snapshot: Snapshot
    ) -> Reconciled:
        """What the terminal shows of the trade's own positions, and what that makes DTMS owe (C-5 to C-7)."""
        trade, events, now = seen.trade, seen.events, snapshot.time
        if trade.frozen is not None or (trade.hedge is None and not own):
            return seen
        lags = reconcile.lags(trade, now)
        if trade.hedge is not None:
            position = positions.get(trade.hedge.identifier)
            if position is not None:
                about = hedging.shown(trade, position, now)
            elif lags:  # just opened, and not shown yet
                about = Reconciled(trade)
            else:
                deals = await self._terminal.deals_of(trade.hedge.identifier)
                found = deals.value if isinstance(deals, Done) else None
                about = hedging.absent(trade, found, now, self._parameters)
            trade, events = about.trade, events + about.events
        elif not trade.hedge_magics:
            first = min(own.values(), key=lambda position: position.identifier)
            about = hedging.found(trade, first, now, self._parameters)
            trade, events = about.trade, events + about.events
        just_closed = lags and trade.hedge is None  # and perhaps still shown
        steps = [hedging.strays(trade, {} if just_closed else own, now, self._mode, self._parameters)]
        spec = self._specs.get(trade.symbol)
        if spec is not None:
            steps.append(hedging.too_large(steps[-1].trade, spec, now, self._mode, self._parameters))
        steps.append(hedging.orphan(steps[-1].trade, now, self._mode, self._parameters))
        for step in steps:
            events += step.events
        return Reconciled(steps[-1].trade, events)

    def _scene(
        self, trade: Trade, positions: Mapping[int, Position], own: Mapping[int, Position], snapshot: Snapshot
    ) -> Scene | None:
        """What a decision looks at, or None while it may not be made."""
        if trade.identifier is None or trade.frozen is Frozen.VERIFY:
            return None
        tick, spec = snapshot.ticks.get(trade.symbol), self._specs.get(trade.symbol)
        mine = dict(own)
        if trade.hedge is not None and trade.hedge.identifier in positions:
            mine[trade.hedge.identifier] = positions[trade.hedge.identifier]
        position = positions.get(trade.identifier)
        if trade.state.final:
            position = next(iter(mine.values()), None)
        if position is None or tick is None or spec is None:
            return None
        account, standing = snapshot.account, self._record.standing
        return Scene(
            now=snapshot.time,
            position=position,
            tick=tick,
            spec=spec,
            view=self._markets.views.get(trade.symbol, Missing("no bars were read yet")),
            may_trade=account.trade_allowed,
            own=mine,
            opposite=account.margin_mode is MarginMode.HEDGING and not account.fifo_close,
            fifo_blocked=account.fifo_close and _older(position, positions.values()),
            margin_level=account.equity / account.margin if account.margin > 0 else None,
            held_back=standing.control is not Control.RUNNING,
            news=any(news.covers(trade.symbol, snapshot.time) for news in standing.news),
        )

    async def _reconciled(self, trade: Trade, positions: Mapping[int, Position], snapshot: Snapshot) -> Reconciled:
        identifier = trade.identifier if trade.identifier is not None else trade.ticket
        position = positions.get(identifier)
        if position is not None:
            if trade.frozen is Frozen.INTENT:
                return Reconciled(trade)  # what changed may be our own order; the settler speaks first
            if trade.volume == 0 and reconcile.lags(trade, snapshot.time):
                return Reconciled(trade)  # we closed it whole, and the read may be older
            spec = self._specs.get(trade.symbol)
            return reconcile.present(trade, position, snapshot.time, spec.tick_size if spec is not None else 0.0)
        if trade.state.final:
            return Reconciled(trade)  # only what is ours and left of it is looked at
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
            return reconcile.verified(trade, position, account, snapshot.time)
        deals = await self._terminal.deals_of(trade.ticket)
        if not isinstance(deals, Done) or orders is None:
            self._unseen.lose(trade.trade_id)
            return Reconciled(trade)
        if reconcile.all_closed(deals.value):
            known = replace(
                trade, login=account[0], server=account[1], identifier=trade.ticket, verified_at=snapshot.time
            )
            return reconcile.closed(known, deals.value, snapshot.time)
        watch = self._unseen.look(trade.trade_id, snapshot.time)
        working = any(order.ticket == trade.ticket for order in orders)
        seen = reconcile.pending(trade, working, watch.connected_s, snapshot.time, self._parameters)
        if seen.trade.state.final:
            self._unseen.forget(trade.trade_id)  # registered again, it has its whole time again
        return seen


def _flagged(trade: Trade, flag: str, *, up: bool) -> Trade:
    if (flag in trade.flags) == up:
        return trade
    return replace(trade, flags=trade.flags | {flag} if up else trade.flags - {flag})


def _about_feeds(before: frozenset[str], now: frozenset[str], time: float) -> tuple[Event, ...]:
    """An alert for every symbol whose quotes stopped or came back since the last cycle."""
    stopped = "no quote for ten minutes, and the market was open at this time last week: a frozen feed, or a holiday"
    told = [(symbol, "feed_quiet", stopped) for symbol in sorted(now - before)]
    told += [(symbol, "feed_back", "quotes arrive again") for symbol in sorted(before - now)]
    return tuple(alert_event(time, code, f"{symbol}: {detail}", about=symbol) for symbol, code, detail in told)


def _about_stranger(position: Position, now: float) -> Event:
    covers = hedging.covered(position)
    of = f"position {covers}" if covers is not None else "no position that its comment names"
    detail = (
        f"position {position.ticket} of {position.symbol} was opened by a DTMS for {of}, and nothing here is "
        "registered for it; register that position, or close this one by hand"
    )
    return alert_event(now, "unknown_own_position", detail, ticket=position.ticket)


def _older(position: Position, positions: Iterable[Position]) -> bool:
    mine = (position.symbol, position.side)
    return any(
        (p.symbol, p.side) == mine and (p.time, p.identifier) < (position.time, position.identifier) for p in positions
    )
