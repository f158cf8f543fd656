"""Which objects make one service? Values in, objects out; nothing is opened here."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Protocol

from starlette.types import ASGIApp

from dtms_service.api.app import make_app
from dtms_service.api.doors import Access
from dtms_service.api.limits import RateLimit
from dtms_service.api.security import Scope, Token, Tokens
from dtms_service.app.keeping import marker
from dtms_service.app.lag import LoopLag
from dtms_service.app.locks import claimed, ledger_lock
from dtms_service.clock import FactorClock, SteppedClock, SystemClock, chance, new_id
from dtms_service.domain.alerts import Alert, Wanted
from dtms_service.domain.errors import NotAccepting
from dtms_service.domain.record import Batch, Recorded
from dtms_service.domain.trade import Event
from dtms_service.engine.authority import Authority
from dtms_service.engine.dtms import Dtms, Rules
from dtms_service.engine.ports import Clock, Ledger, SimulatedMarket
from dtms_service.ledger.store import SqlLedger
from dtms_service.settings.tree import Settings, is_loopback
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.process import ProcessLink
from dtms_service.terminal.simulator import SimulatorControl

log = logging.getLogger(__name__)

ROOM = "dtms_service.terminal"
RESERVE = 8 * 1024 * 1024
"""Bytes set aside for the day the disk is full (``reliability.md`` 12): some hundred commits."""
FIRST_TICK_S = 0.2
"""Between looks for the first quote of a symbol just selected: a terminal shows zeros for up to 2 s."""


class Engine(Authority, Protocol):
    """The authority with its life, as ``serve`` drives it."""

    async def start(self) -> None:
        """Become ready; returns early when told to stop."""

    async def run(self) -> None:
        """Watch until told to stop."""

    def request_stop(self) -> None:
        """Start no further cycle."""

    async def stop(self) -> None:
        """Finish the present cycle and let the terminal go."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What ``serve`` needs of a built service."""

    engine: Engine
    simulator: SimulatedMarket | None
    close_ledger: Callable[[], Awaitable[None]]
    look_at_ledger: Callable[[], None]
    """Raises ``StorageFailed`` once a commit has failed, or a file of the ledger is gone."""


class LateLedger:
    """A ledger that is opened by its first ``load``: by then the service answers, and says that it is not ready."""

    def __init__(self, opener: Callable[[], Awaitable[SqlLedger]]) -> None:
        self._opener = opener
        self._ledger: SqlLedger | None = None

    async def load(self) -> Recorded:
        """Open, bring the tables up to date, read the state to start from."""
        if self._ledger is None:
            self._ledger = await self._opener()
        return await self._ledger.load()

    async def commit(self, batch: Batch) -> int:
        """Store everything in one transaction."""
        return await self._open().commit(batch)

    async def events(
        self,
        *,
        kind: str | None = None,
        trade_id: int | None = None,
        since: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> tuple[Event, ...]:
        """Stored events."""
        return await self._open().events(kind=kind, trade_id=trade_id, since=since, limit=limit, newest=newest)

    async def alerts(self, wanted: Wanted) -> tuple[Alert, ...]:
        """Stored alerts."""
        return await self._open().alerts(wanted)

    def look(self) -> None:
        """Is it still there, and still written? Raises ``StorageFailed``."""
        if self._ledger is not None:
            self._ledger.look()

    async def close(self) -> None:
        """Close it if it was opened."""
        if self._ledger is not None:
            await self._ledger.close()

    def _open(self) -> Ledger:
        if self._ledger is None:
            raise NotAccepting
        return self._ledger


def clock_of(settings: Settings) -> Clock:
    """The engine clock: the machine's with a real terminal, else the simulator's date at its speed (R35)."""
    if settings.terminal.kind == "mt5":
        return SystemClock()
    factor = settings.simulator.factor
    return SteppedClock() if factor is None else FactorClock(factor)


def speed_of(settings: Settings) -> float | None:
    """Engine seconds per real second; None on a stepped clock."""
    return settings.simulator.factor if settings.terminal.kind == "simulated" else 1.0


def access_of(settings: Settings) -> Access:
    """Who may reach the API."""
    api = settings.api
    hosts = set(api.allowed_hosts) if is_loopback(api.host) else {*api.allowed_hosts, api.host}
    tokens = tuple(Token(token.sha256, frozenset(Scope(scope) for scope in token.scopes)) for token in settings.tokens)
    return Access(
        new_id=new_id,
        hosts=frozenset(host.lower() for host in hosts),
        origins=frozenset(api.allowed_origins),
        tokens=Tokens(tokens),
        rate=RateLimit(time.monotonic) if api.rate_limit.enabled else None,
    )


def lag_shown(settings: Settings, lag: LoopLag) -> Callable[[], float] | None:
    """How the API asks for the event loop's delay; None where no metrics are wanted."""
    return lag.seconds if settings.metrics.enabled else None


def web(parts: Parts, settings: Settings, instance_id: str, lag: LoopLag) -> ASGIApp:
    """The HTTP application over built parts."""
    return make_app(
        parts.engine,
        simulator=parts.simulator,
        version=version("dtms"),
        instance_id=instance_id,
        access=access_of(settings),
        lag=lag_shown(settings, lag),
    )


def offset_of(settings: Settings) -> float | None:
    """Seconds that the simulated broker's clock is ahead of UTC; None where it has to be measured."""
    account = settings.simulator.account
    fixed = settings.terminal.kind == "simulated" and not account.server_summer_time
    return account.server_utc_offset * 3600.0 if fixed else None


def link_of(settings: Settings) -> ProcessLink:
    """The way to the chosen terminal, in a child process of its own."""
    if settings.terminal.kind == "mt5":
        terminal = settings.terminal
        path = str(terminal.path) if terminal.path is not None else None
        return ProcessLink(f"{ROOM}.mt5", {"path": path, "login": terminal.login, "server": terminal.server})
    options = {"state_dir": str(settings.state_dir), **settings.simulator.model_dump(mode="json", exclude_none=True)}
    return ProcessLink(f"{ROOM}.simulated.backend", options)


async def _opened(settings: Settings, draw: Callable[[int], int]) -> SqlLedger:
    ledger_lock(settings)
    opened = await SqlLedger.open(settings.ledger.url, draw=draw, marker=marker(settings), reserve=RESERVE)
    log.info("ledger_opened", extra={"file": str(opened.path), "sqlite": sqlite3.sqlite_version})
    return opened


async def _short_pause() -> None:
    await asyncio.sleep(FIRST_TICK_S)


def gateway_of(settings: Settings, link: ProcessLink, clock: Clock) -> Gateway:
    """The terminal behind its link."""
    return Gateway(
        link,
        kind=settings.terminal.kind,
        now=clock.now,
        broker_offset=offset_of(settings),
        pause=_short_pause,
    )


def build(settings: Settings) -> Parts:
    """The real service: terminal, ledger, clock and engine."""
    chances = chance()
    ledger = LateLedger(lambda: _opened(settings, chances.randrange))
    rules = Rules(
        mode=settings.mode,
        parameters=settings.engine,
        cycle_s=settings.cadence.cycle_s,
        dtms_strategies=settings.ownership.dtms_strategies,
        unmanaged=settings.unmanaged,
    )
    clock, link = clock_of(settings), link_of(settings)
    simulated = settings.terminal.kind == "simulated"
    gateway = gateway_of(settings, link, clock)
    simulator = SimulatorControl(link) if simulated else None
    engine = Dtms(
        terminal=gateway,
        ledger=ledger,
        clock=clock,
        rules=rules,
        jitter=chances.random,
        simulator=simulator,
        claim=None if simulated else partial(claimed, settings.machine_dir),
    )
    return Parts(engine, simulator, ledger.close, ledger.look)
