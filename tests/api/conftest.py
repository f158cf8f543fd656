from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.domain import control
from dtms_service.domain.admission import Registration
from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.control import News, Standing, Verb
from dtms_service.domain.errors import DtmsError, Invalid, NotAccepting, RegistrationConflict, TradeNotFound
from dtms_service.domain.ownership import may_modify, owner_of
from dtms_service.domain.ownership import protected as protected_by_rule
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Mode, Owner, Trade
from dtms_service.domain.unmanaged import Policy
from dtms_service.domain.values import Account, MarginMode, Position, Side
from dtms_service.engine.alerting import Alerting
from dtms_service.engine.authority import Counts, Explanation
from dtms_service.engine.book import Book
from dtms_service.engine.feed import Feed
from dtms_service.engine.meters import Meters
from dtms_service.engine.operating import HandedOver, Ordered
from dtms_service.engine.readiness import Check, Phase, Reason, Report
from dtms_service.engine.record import Record
from dtms_service.engine.registrar import Registered
from dtms_service.engine.unmanaged import Unmanaged

T0 = 1_767_600_000.0  # 2026-01-05T08:00:00Z

ACCOUNT = Account(
    login=5001234,
    server="Simulated",
    currency="USD",
    margin_mode=MarginMode.HEDGING,
    kind="simulated",
    balance=100_000.0,
    equity=100_090.0,
    margin=0.0,
    margin_free=100_000.0,
    fifo_close=False,
    trade_allowed=True,
    demo=True,
)


def position(ticket: int, **changes: Any) -> Position:
    base = Position(
        ticket=ticket,
        identifier=ticket,
        symbol="EURUSD",
        side=Side.BUY,
        volume=0.5,
        price_open=1.1002,
        stop_loss=1.0952,
        take_profit=None,
        price_current=1.1022,
        profit=100.0,
        swap=0.0,
        magic=0,
        comment="",
        time=T0,
        time_update=T0,
    )
    return replace(base, **changes)


def trade(ticket: int, **changes: Any) -> Trade:
    base = Trade(
        trade_id=ticket,
        login=ACCOUNT.login,
        server=ACCOUNT.server,
        ticket=ticket,
        identifier=ticket,
        symbol="EURUSD",
        side=Side.BUY,
        volume=0.5,
        initial_volume=0.5,
        entry_price=1.1002,
        stop_loss=1.0952,
        take_profit=None,
        initial_stop_loss=1.0952,
        risk=0.005,
        state=TradeState.HEALTHY,
        state_since=T0,
        registered_at=T0,
        verified_at=T0,
    )
    return replace(base, **changes)


def action(ticket: int, sequence: int) -> Event:
    body = {
        "action_type": "tighten_stop",
        "symbol": "EURUSD",
        "outcome": "done",
        "success": True,
        "reason": "score_warns",
        "retcode": 10009,
        "retcode_text": "done",
        "requested": {"stop_loss": 1.0972},
        "result": {"stop_loss": 1.0972},
        "latency_ms": 12.0,
        "description": "stop loss moved from 1.0952 to 1.0972",
        "status": "done",
        "details": {"magic": 77, "before": {"stop_loss": 1.0952}},
    }
    return Event(time=T0 + 60, kind="action", trade_id=ticket, ticket=ticket, body=body, sequence=sequence)


READY = Report(
    ready=True,
    phase=Phase.READY,
    accepting=True,
    account=ACCOUNT,
    reasons=(),
    checks={name: Check(ok=True, detail="ok", age_s=1.0) for name in ("ledger", "terminal", "engine", "monitor")},
)
DOWN = Report(
    ready=False,
    phase=Phase.CONNECTING,
    accepting=False,
    account=None,
    reasons=(Reason("terminal_not_connected", "the terminal is not connected yet"),),
    checks={"terminal": Check(ok=False, detail="the terminal is not connected yet")},
)


class MemoryLedger:
    """A ledger of values, as far as alerts go."""

    def __init__(self) -> None:
        self.alerts_by_id: dict[int, Alert] = {}
        self.stored: list[Event] = []

    async def commit(self, batch: Batch) -> int:
        self.alerts_by_id |= {alert.alert_id: alert for alert in batch.alerts}
        self.stored += batch.events
        return len(self.stored)

    async def alerts(self, wanted: Wanted) -> tuple[Alert, ...]:
        found = [
            alert
            for number, alert in sorted(self.alerts_by_id.items(), reverse=True)
            if wanted.alert_id in {None, number}
            and wanted.open in {None, alert.open}
            and wanted.code in {None, alert.code}
            and wanted.ticket in {None, alert.ticket}
            and number < (wanted.before or number + 1)
        ]
        return tuple(found[: wanted.limit])


class FakeAuthority:
    """An authority of values: positions lie in the book, the rest follows from the rules of registration."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        self.standing = Standing()
        self.said: tuple[Any, ...] = ()
        self.mode = Mode.PROTECT
        self.book = Book(account=ACCOUNT, as_of=T0)
        self.counts = Counts(cycles=124, deep_checks=12, last_cycle_at=T0, next_cycle_at=T0 + 30, started_at=T0 - 3723)
        self.readiness = READY
        self.events: list[Event] = []
        self.feed = Feed()
        self.meters = Meters()
        self.asked: list[Registration] = []
        self.fails: Exception | None = None
        self.time = T0
        self.ledger = MemoryLedger()
        self.record = Record(self.ledger)
        self.record.loaded = True
        self.alerting = Alerting(self.record, self)
        self.alerting.channels["log"] = None
        self.unmanaged = Unmanaged(self.record, None, Policy.ALERT)

    def at_terminal(self, *positions: Position) -> None:
        self.book = replace(self.book, positions={**self.book.positions, **{p.identifier: p for p in positions}})

    def holds(self, *trades: Trade) -> None:
        self.book = self.book.with_trades(trades)

    def now(self) -> float:
        return self.time

    def report(self) -> Report:
        return self.readiness

    def protected(self, trade: Trade) -> bool:
        return protected_by_rule(trade, self.mode, halted=self.standing.halted)

    async def order(self, verb: Verb, *, reason: str, by: str, force: bool = False) -> Ordered:
        self.said = (verb, reason, by, force)
        reached = control.after(self.standing.control, verb, self.mode)
        self.standing = Standing(control=reached, reason=reason, by=by, since=T0, news=self.standing.news)
        return Ordered(self.standing, (7,) if verb is Verb.FLATTEN else (), ((8, "shared"),) if force else ())

    async def announce(self, news: Sequence[News], *, by: str) -> Standing:
        self.standing = replace(self.standing, news=tuple(news), by=by)
        return self.standing

    async def hand_over(self, trade: Trade, owner: Owner, *, reason: str, by: str) -> HandedOver:
        self.said = (owner, reason, by)
        return HandedOver(replace(trade, owner=owner), unwinding=trade.hedge is not None)

    async def release(self, trade: Trade, *, reason: str, by: str) -> HandedOver:
        self.said = (reason, by)
        return HandedOver(replace(trade, owner=Owner.MANUAL, managed=False), unwinding=trade.hedge is not None)

    def may_modify(self, trade: Trade, manager: Owner) -> tuple[bool, str, bool]:
        return (*may_modify(trade, manager, defensive=False), False)

    async def register(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        if self.fails is not None:
            raise self.fails
        if not self.readiness.accepting:
            raise NotAccepting
        self.asked += registrations
        return [self._register(wish) for wish in registrations]

    def _register(self, wish: Registration) -> Registered | DtmsError:
        known = self.book.find(wish.ticket)
        seen = self.book.positions.get(wish.ticket)
        side = known.side if known is not None else (seen.side if seen is not None else None)
        if wish.side is not None and side is not None and wish.side is not side:
            return RegistrationConflict(claimed={"side": wish.side.value}, terminal={"side": side.value})
        if known is not None:
            return Registered(self._outcome(known, replayed=True), self.protected(known), False, True, known)
        owner = owner_of(wish.managed_by, wish.strategy_type, ("breakout_bos",))
        fields: dict[str, Any] = {"owner": owner, "strategy_type": wish.strategy_type, "source": wish.source}
        if seen is None:
            fields |= {"state": TradeState.PENDING, "identifier": None, "verified_at": None, "side": wish.side}
        made = trade(wish.ticket, **fields)
        self.holds(made)
        return Registered(self._outcome(made, replayed=False), self.protected(made), True, False, made)

    def _outcome(self, made: Trade, *, replayed: bool) -> str:
        if made.state is TradeState.PENDING:
            return "pending_verification"
        if made.state is TradeState.CLOSED:
            return "already_closed"
        if made.owner is not Owner.DTMS or self.mode is Mode.OBSERVE:
            return "observed"
        return "already_protected" if replayed else "protected"

    def explain(self, trade: Trade) -> Explanation:
        return Explanation(
            trade=trade,
            score=None,
            thresholds={"l1_score": -2.0},
            regime={"volatility": "NORMAL"},
            rule=trade.rule,
            fired="registered at 2026-01-05T08:15:00Z: it was registered",
            missing=("score: not evaluated yet",),
            next=("WARNING_L1 when the score is -2.0 or less",),
        )

    async def history(self, trade: Trade) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.trade_id == trade.trade_id)

    async def actions(self, *, ticket: int | None, since: int | None, limit: int) -> tuple[Event, ...]:
        asked = [e for e in self.book.actions if ticket is None or e.ticket == ticket]
        after = [e for e in asked if (e.sequence or 0) > (since or 0)]
        return tuple(after[-limit:] if since is None else after[:limit])

    def happens(self, *events: Event) -> None:
        """Store events, then tell the followers, as the record does."""
        self.events += events
        self.feed.publish(events)

    async def events_since(self, position: int, limit: int) -> tuple[Event, ...]:
        return tuple(event for event in self.events if (event.sequence or 0) > position)[:limit]

    async def advance(self, *, seconds: float | None, until: float | None) -> Mapping[str, Any]:
        goal = until if until is not None else self.time + (seconds or 0.0)
        cycles = max(0, int((goal - self.time) // 30))
        self.time = max(self.time, goal)
        return {"now": self.time, "cycles": cycles}


class FakeMarket:
    """A simulated broker of values."""

    def __init__(self) -> None:
        self.empty()

    def empty(self) -> None:
        self.positions: dict[int, dict[str, Any]] = {}
        self.faults: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    async def clock(self) -> Mapping[str, Any]:
        return {"mode": "stepped", "now": T0, "factor": 1.0}

    async def advance(self, until: float) -> float:
        return until

    async def view(self, what: str) -> Mapping[str, Any]:
        if what == "account":
            return {"login": ACCOUNT.login, "balance": ACCOUNT.balance}
        return {what: list(self.positions.values()) if what == "positions" else []}

    async def open_position(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        ticket = next(self._numbers)
        if body["symbol"] not in {"EURUSD", "XAUUSD"}:
            raise Invalid(f"symbol: {body['symbol']} is not in the catalogue")
        self.positions[ticket] = {"ticket": ticket, **body}
        return {"ticket": ticket, "identifier": ticket, "price_open": 1.1002}

    async def change_position(self, ticket: int, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if ticket not in self.positions:
            raise TradeNotFound(f"no position {ticket}")
        self.positions[ticket] |= body
        return self.positions[ticket]

    async def close_position(self, ticket: int, volume: float | None) -> Mapping[str, Any]:
        if ticket not in self.positions:
            raise TradeNotFound(f"no position {ticket}")
        if volume is None:
            del self.positions[ticket]
        return {"ticket": ticket, "volume": volume}

    async def set_fault(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.faults.append(dict(body))
        return {"faults": self.faults}

    async def clear_faults(self) -> Mapping[str, Any]:
        self.faults.clear()
        return {"faults": []}

    async def market(self, symbol: str, timeframe: str, count: int) -> Mapping[str, Any]:
        return {"bars": [{"time_utc": "2026-01-05T08:00:00Z", "open": 1.1, "symbol": symbol}] * min(count, 2)}


def access(**changes: Any) -> Access:
    numbers = itertools.count(1)
    return replace(Access(new_id=lambda: f"made-{next(numbers)}"), **changes)


def app_of(authority: FakeAuthority, simulator: FakeMarket | None = None, **changes: Any) -> FastAPI:
    return make_app(
        authority,
        simulator=simulator,
        version="0.1.0",
        instance_id="7f3a",
        access=access(**changes),
        lag=lambda: 0.004,
    )


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001")


World = tuple[FakeAuthority, FakeMarket, FastAPI]


@pytest.fixture(scope="session")
def world() -> World:
    """One application for all tests, because building it takes longer than asking it; emptied for each."""
    authority, market = FakeAuthority(), FakeMarket()
    return authority, market, app_of(authority, market)


@pytest.fixture
def authority(world: World) -> FakeAuthority:
    world[0].empty()
    return world[0]


@pytest.fixture
def market(world: World) -> FakeMarket:
    world[1].empty()
    return world[1]


@pytest.fixture
async def http(world: World, authority: FakeAuthority, market: FakeMarket) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(world[2]) as client:
        yield client


Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def connect(authority: FakeAuthority) -> Connect:
    """Clients with other access rules or without a simulator."""

    def make(simulator: FakeMarket | None = None, **changes: Any) -> httpx.AsyncClient:
        return client_of(app_of(authority, simulator, **changes))

    return make


@pytest.fixture
def position_of() -> Callable[..., Position]:
    return position


@pytest.fixture
def trade_of() -> Callable[..., Trade]:
    return trade


@pytest.fixture
def action_of() -> Callable[..., Event]:
    return action


@pytest.fixture
def down() -> Report:
    return DOWN


@pytest.fixture
def access_of() -> Callable[..., Access]:
    return access
