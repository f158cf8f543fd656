"""A tiny authority for tests of the process alone, started as a script; all else is the real service.

The environment says how it behaves: STANDIN_START_S (seconds that starting takes), STANDIN_FAILS (storage, invalid,
crash).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dtms_service.app.build import Parts
from dtms_service.app.leaving import Exit
from dtms_service.app.serve import Plan, run
from dtms_service.clock import SystemClock
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import DtmsError, Invalid, NotAccepting, RegistrationConflict, StorageFailed
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Mode, Trade
from dtms_service.domain.unmanaged import Policy
from dtms_service.engine.alerting import Alerting
from dtms_service.engine.authority import Counts, Explanation
from dtms_service.engine.book import Book
from dtms_service.engine.feed import Feed
from dtms_service.engine.meters import Meters
from dtms_service.engine.readiness import Readiness, Report
from dtms_service.engine.record import Record
from dtms_service.engine.registrar import Registered
from dtms_service.engine.unmanaged import Unmanaged
from dtms_service.settings.loading import Misconfigured, load
from dtms_service.settings.tree import Settings

CONFLICTING = 666
"""The one ticket that is refused."""


class Standin:
    """Takes every registration, watches nothing."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.book = Book()
        self.counts = Counts()
        self.feed = Feed()
        self.meters = Meters()
        self.readiness = Readiness()
        self._clock = SystemClock()
        record = Record(None)  # type: ignore[arg-type]  # it stores nothing
        self.alerting = Alerting(record, self._clock)
        self.unmanaged = Unmanaged(record, None, Policy.ALERT)  # type: ignore[arg-type]  # it registers nothing
        self._stopping = asyncio.Event()

    def now(self) -> float:
        return self._clock.now()

    def report(self) -> Report:
        return self.readiness.report(self.now(), 30.0)

    def protected(self, trade: Trade) -> bool:
        return True

    async def register(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        if not self.readiness.accepting:
            raise NotAccepting
        return [self._registered(registration) for registration in registrations]

    def _registered(self, registration: Registration) -> Registered | DtmsError:
        if registration.ticket == CONFLICTING:
            return RegistrationConflict("this ticket is a SELL at the terminal")
        known = self.book.find(registration.ticket)
        trade = known or Trade(
            trade_id=len(self.book.trades) + 1,
            login=1,
            server="Standin",
            ticket=registration.ticket,
            identifier=registration.ticket,
            symbol=registration.symbol or "EURUSD",
            side=registration.side,
            volume=1.0,
            initial_volume=1.0,
            entry_price=None,
            stop_loss=None,
            take_profit=None,
            initial_stop_loss=None,
            state=TradeState.HEALTHY,
            state_since=self.now(),
            registered_at=self.now(),
        )
        self.book = self.book.with_trades([trade])
        return Registered(
            "protected" if known is None else "already_protected", True, known is None, known is not None, trade
        )

    def explain(self, trade: Trade) -> Explanation:
        raise NotImplementedError

    async def history(self, trade: Trade) -> tuple[Event, ...]:
        return ()

    async def actions(self, *, ticket: int | None, since: int | None, limit: int) -> tuple[Event, ...]:
        return ()

    async def events_since(self, position: int, limit: int) -> tuple[Event, ...]:
        return ()

    async def advance(self, *, seconds: float | None, until: float | None) -> Mapping[str, Any]:
        return {}

    async def start(self) -> None:
        fails = os.environ.get("STANDIN_FAILS")
        if fails == "storage":
            raise StorageFailed("the database is a folder")
        if fails == "invalid":
            raise Invalid("bars.csv holds no bars")
        self.readiness.ledger(None)
        await asyncio.sleep(float(os.environ.get("STANDIN_START_S", "0")))
        self.readiness.terminal(None)
        self.readiness.completed(self.now(), None)

    async def run(self) -> None:
        if os.environ.get("STANDIN_FAILS") == "crash":
            message = "the third failure in a row"
            raise RuntimeError(message)
        await self._stopping.wait()

    def request_stop(self) -> None:
        self._stopping.set()

    async def stop(self) -> None:
        print("terminal closed", flush=True)


async def _close_ledger() -> None:
    print("ledger closed", flush=True)


def build(settings: Settings) -> Parts:
    return Parts(Standin(settings.mode), None, _close_ledger, lambda: None)


if __name__ == "__main__":
    try:
        sys.exit(run(load().settings, replace(Plan(), build=build, when_ready=lambda: print("ready", flush=True))))
    except Misconfigured as error:
        print(error, file=sys.stderr)
        sys.exit(78)
    except Exit as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(error.code)
