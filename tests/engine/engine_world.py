"""The real engine on the simulated terminal, in one process: everything that leaves it is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtms_service.clock import FactorClock, SteppedClock, SystemClock
from dtms_service.domain.admission import Registration
from dtms_service.domain.errors import StorageFailed
from dtms_service.domain.outcome import Outcome
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import IntentState, Mode, Trade
from dtms_service.domain.unmanaged import Policy
from dtms_service.engine.dtms import Dtms, Rules
from dtms_service.engine.registrar import Registered
from dtms_service.ledger.store import SqlLedger
from dtms_service.terminal.gateway import Gateway
from dtms_service.terminal.link import Call, InlineLink, Reply
from dtms_service.terminal.simulator import SimulatorControl

DIGITS = {"EURUSD": 5, "XAUUSD": 2, "BTCUSD": 1}
ACCOUNT = {
    "balance": 100_000.0,
    "currency": "USD",
    "leverage": 100,
    "margin_mode": "hedging",
    "fifo_close": False,
    "server_utc_offset": 2,
}


class CountedLink(InlineLink):
    """Remembers every request that went to the terminal."""

    def __init__(self, backend: str, options: Mapping[str, Any], **callables: Callable[..., Any]) -> None:
        super().__init__(backend, options, **callables)
        self.asked: list[list[str]] = []

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        self.asked.append([call.name for call in calls])
        await asyncio.sleep(0)  # a pipe lets others run
        return await super().ask(calls, deadline, urgent=urgent)


class CountedLedger:
    """A ledger that remembers its transactions, and that can be told to fail before it writes."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.batches: list[Batch] = []
        self.failing: Exception | None = None
        self.dies_after_sending = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def commit(self, batch: Batch) -> int:
        if self.failing is not None:
            raise self.failing
        self.batches.append(batch)
        sequence = await self._ledger.commit(batch)
        if self.dies_after_sending and any(intent.state is IntentState.SENDING for intent in batch.intents):
            self.failing = StorageFailed("the process dies between the order and its reply")
        return sequence


@dataclass
class World:
    """One service without its HTTP door."""

    dtms: Dtms
    link: CountedLink
    ledger: CountedLedger
    simulator: SimulatorControl
    clock: FactorClock | SteppedClock | SystemClock
    opened: list[int] = field(default_factory=list)

    async def open(self, symbol: str = "EURUSD", side: str = "BUY", **body: Any) -> int:
        """A position at the terminal, with a stop 1 % away unless told otherwise; its ticket."""
        bars = (await self.simulator.market(symbol, "M1", 1))["bars"]
        price, sign = float(bars[-1]["close"]), 1 if side == "BUY" else -1
        given = {
            "volume": 0.1,
            "stop_loss": round(price * (1 - sign * 0.01), DIGITS[symbol]),
            "take_profit": None,
            "magic": 7,
        }
        position = await self.simulator.open_position({"symbol": symbol, "side": side, **given, **body})
        self.opened.append(int(position["ticket"]))
        return self.opened[-1]

    async def register(self, *tickets: int, **claims: Any) -> list[Any]:
        return await self.dtms.register([Registration(ticket=ticket, **claims) for ticket in tickets])

    async def protect(self, count: int = 1, **body: Any) -> list[Trade]:
        """Open and register positions, run their first cycle."""
        tickets = [await self.open(**body) for _ in range(count)]
        answers = await self.register(*tickets)
        assert all(isinstance(answer, Registered) for answer in answers), answers
        await self.dtms.advance(seconds=0, until=None)
        return [self.trade(ticket) for ticket in tickets]

    def trade(self, ticket: int) -> Trade:
        found = self.dtms.book.find(ticket)
        assert found is not None
        return found

    async def advance(self, seconds: float) -> Mapping[str, Any]:
        return await self.dtms.advance(seconds=seconds, until=None)

    async def deals(self) -> list[dict[str, Any]]:
        return list((await self.simulator.view("deals"))["deals"])

    async def kinds(self, trade: Trade) -> list[str]:
        return [event.kind for event in await self.dtms.history(trade)]

    def forget_counts(self) -> None:
        self.link.asked.clear()
        self.ledger.batches.clear()

    async def close(self) -> None:
        await self.dtms.stop()
        await self.ledger.close()


async def open_world(
    folder: Path,
    *,
    mode: Mode = Mode.PROTECT,
    seed: int = 7,
    parameters: Parameters | None = None,
    account: Mapping[str, Any] | None = None,
    factor: float | None = None,
    broker_offset: float | None = 7200.0,
    begins: str | None = None,
    cycle_s: float = 30.0,
    start: bool = True,
    market: str = "synthetic",
    contracts: Sequence[Mapping[str, Any]] = (),
    link_type: Callable[..., Any] = CountedLink,
    unmanaged: Policy = Policy.ALERT,
    clock: SystemClock | None = None,
) -> World:
    """Start it on ``folder``; a second call on the same folder after ``close`` is a restart.

    ``broker_offset``: None is measured, as at a real terminal. ``begins``: first instant of the market, ISO 8601.
    ``market``: synthetic, a bar file or a folder of them. ``contracts``: what differs from the catalogue's symbols.
    ``link_type`` makes a `CountedLink`, or another link with ``asked``. ``clock``: the engine's, instead of one that
    shows the simulator's date; whoever brings it moves the market.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "state_dir": str(folder),
        "market": market,
        "seed": seed,
        "clock": "stepped" if factor is None else factor,
        "start": begins,
        "account": {**ACCOUNT, **(account or {})},
        "symbols": list(contracts),
    }
    link = link_type("dtms_service.terminal.simulated.backend", options, wall=time.time, sleep=_no_sleep)
    shown = clock or (SteppedClock() if factor is None else FactorClock(factor))
    gateway = Gateway(link, kind="simulated", now=shown.now, broker_offset=broker_offset)
    ledger = CountedLedger(await SqlLedger.open(f"sqlite:///{folder / 'dtms.db'}", draw=lambda _: 5, inline=True))
    simulator = SimulatorControl(link)
    dtms = Dtms(
        terminal=gateway,
        ledger=ledger,
        clock=shown,
        rules=Rules(
            mode=mode,
            parameters=parameters or Parameters(),
            cycle_s=cycle_s,
            dtms_strategies=("micro_scalp",),
            unmanaged=unmanaged,
        ),
        jitter=lambda: 0.0,
        simulator=simulator,
    )
    if start:
        await dtms.start()
    return World(dtms, link, ledger, simulator, shown)


def _no_sleep(_: float) -> None:
    return None
