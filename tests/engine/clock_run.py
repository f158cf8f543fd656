"""Clocks that jump, one after the other, while timers of every kind are running: none of them may end early.

The machine's clock is corrected forward and back, the machine sleeps, the broker's clock is moved and changes to and
from summer time, and markets are closed over weekends. What is true is the market's own time, which no clock shows.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from engine_world import World, open_world
from month_plan import OpenMarket

from dtms_service.clock import SystemClock
from dtms_service.domain.errors import Invalid
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.record import Batch
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Intent, IntentState, ObligationStatus, Trade
from dtms_service.terminal.simulated import terms
from dtms_service.terminal.simulated.market import open_market
from dtms_service.terminal.simulated.server_clock import ServerClock

RULES = Parameters(
    l1_score=-0.1,
    l2_score=-0.2,
    hedge_score=-0.3,
    hedge_now_score=-0.3,
    l1_exit_score=0.1,
    l2_exit_score=0.0,
    hedged_exit_score=0.3,
    recovered_score=0.5,
    arm_profit_r=1e9,
    arm_loss_r=-1e9,
    flat_s=2700.0,
    recovery_s=1800.0,
)
"""A market that is a little against a trade starts its timers; nothing but its age arms it."""
CERTAIN = replace(
    RULES,
    l1_score=11.0,
    l2_score=11.0,
    hedge_score=11.0,
    hedge_now_score=11.0,
    l1_exit_score=12.0,
    l2_exit_score=12.0,
    hedged_exit_score=12.0,
    hedge_style="reduce",
    tighten_r=3.0,
    tighten_hard_r=3.0,
)
"""Every trade is hedged within half an hour of its arming, and waits for its flat timer; no stop near the price."""
SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSD")
POSITIONS = 9
M5_S, SLACK_S = 300.0, 2.0
"""Open time is counted in closed M5 bars (R40); half a look."""
ON_S = 3600.0
TURNS, START_S = 50, 60.0
"""Turns of the loop that a start gets before the market moves on, and by how much."""
LEAST_S = 0.01
"""What floats of 1.7e9 can still tell apart."""
LATE_S = 2 * 900.0
"""A timer that is over is seen at the next evaluation, at the latest at the second M15 close."""
JUMPS_S = (1.5, 5.0, 31.0, 61.0, 300.0, 900.0, 3600.0, 5400.0, 7200.0, 86_400.0)
BETWEEN_MOVES_S = 6 * 3600.0
"""A broker's clock that is set back shows an hour twice; nobody can tell bars of the two apart meanwhile."""
LOOKS, LOOK_S = 60, 10.0
"""How long a jump waits for a timer that it can meet."""
SLEEPS_S = (90.0, 900.0, 3600.0, 28_800.0)
LOSSES = (
    {"kind": "reply_lost_not_executed", "count": 1},
    {"kind": "retcode", "retcode": 10006, "count": 3},
    {"kind": "read_omits_ticket", "count": 6},
)
"""What starts a settle window, a back-off, a wait for a position that is missing."""
KINDS = frozenset(
    {"arming", "back-off", "dwell", "flat timer", "pending", "recovery", "settle window", "verified absence"}
)
FAILED = frozenset({IntentState.REJECTED, IntentState.NOT_EXECUTED})
DWELL = frozenset({"score_calms", "score_eases"})


@dataclass
class Machine:
    """The computer that DTMS runs on. ``market`` is the true time, ``wrong`` what its wall clock adds to it."""

    market: float
    wrong: float = 0.0

    def wall(self) -> float:
        """What the wall clock shows."""
        return self.market + self.wrong

    def steady(self) -> float:
        """What a clock shows that nobody sets."""
        return self.market + 12_345.0


class WallClock(SystemClock):
    """The machine's wall clock as it is, for the build without the protection."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        super().__init__(wall=wall, steady=steady)
        self._shown = wall

    def now(self) -> float:
        """See ``Clock``."""
        return self._shown()


def server_that_moves(moves: Sequence[tuple[float, int]], europe: bool = False) -> type[ServerClock]:
    """A broker's clock with ``moves`` (instant, seconds), and with the summer time of Berlin instead of New York's."""

    class Server(ServerClock):
        def ahead(self, utc: float) -> int:
            summer = datetime.fromtimestamp(utc, ZoneInfo("Europe/Berlin")).dst() if europe else None
            moved = sum(by for at, by in moves if at <= utc)
            return ServerClock.ahead(self, utc) + moved + (int(summer.total_seconds()) if summer else 0)

        def servers(self, utc: Any) -> Any:
            return np.array([each + self.ahead(each) for each in utc.tolist()], dtype=np.int64)

    return Server


@dataclass
class Timers:
    """When each timer really began, and which of them ended too early."""

    machine: Machine
    market: OpenMarket
    rules: Parameters
    broken: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    """How many jumps met a timer of each kind that counts seconds; the others count closed bars (R40)."""
    disturbed: float = 0.0
    """When looks were last impossible for reasons of this run."""
    _trades: dict[int, Trade] = field(default_factory=dict)
    _symbols: dict[int, str] = field(default_factory=dict)
    _entered: dict[int, float] = field(default_factory=dict)
    opened: dict[int, float] = field(default_factory=dict)
    _sent: dict[int, float] = field(default_factory=dict)
    _failures: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    _missed: dict[int, float] = field(default_factory=dict)
    _asked: dict[int, float] = field(default_factory=dict)
    _late: set[int] = field(default_factory=set)

    def committed(self, batch: Batch) -> None:
        """A transaction: everything in it happens now."""
        self._symbols |= {trade.trade_id: trade.symbol for trade in batch.trades}
        for event in batch.events:
            self._event(event)
        for trade in batch.trades:
            self._trade(trade)
        for intent in batch.intents:
            self._intent(intent)

    @property
    def early(self) -> list[str]:
        """Those that ended too early, without the cycles that were missed."""
        return [words for words in self.broken if " instead of " in words]

    def _over(self, name: str, passed: float, least: float) -> None:
        self.ended[name] += 1
        if passed < least:
            self.broken.append(f"{name} after {passed:.0f} s instead of {least:.0f}")

    def _open(self, trade_id: int, since: float) -> float:
        return self.market.seconds(self._symbols[trade_id], since, self.machine.market) + M5_S + SLACK_S

    def _event(self, event: Event) -> None:
        now, number = self.machine.market, event.trade_id
        if number is None:
            return
        if event.kind == "armed":
            self._over("arming", self._open(number, self.opened[event.ticket or 0]), self.rules.arm_age_s)
        elif event.kind == "alert" and event.body["code"] == "position_missing":
            self._missed[number] = now
        elif event.kind == "transition":
            since = self._open(number, self._entered.get(number, now))
            rule = event.body["rule"]
            if rule == "flat_timer":
                self._over("flat timer", since, self.rules.flat_s)
            elif rule == "not_recovered":
                self._over("recovery", since, self.rules.recovery_s)
            elif rule in DWELL:
                self._over("dwell", since, self.rules.min_dwell_s)

    def _trade(self, trade: Trade) -> None:
        now, before = self.machine.market, self._trades.get(trade.trade_id)
        self._trades[trade.trade_id] = trade
        if before is None:
            self._asked[trade.trade_id] = now
        if before is None or before.state is not trade.state:
            self._entered[trade.trade_id] = now
            if trade.closed_reason == "UNVERIFIED":
                missed = self._missed[trade.trade_id]
                self._over("verified absence", now - missed + SLACK_S, self.rules.verify_absence_s)
            elif trade.state is TradeState.REJECTED:
                asked = self._asked[trade.trade_id]
                self._over("pending", now - asked + SLACK_S, self.rules.pending_reject_s)

    def _intent(self, intent: Intent) -> None:
        now, work = self.machine.market, (intent.trade_id, intent.kind, intent.episode)
        if intent.state is IntentState.SENDING:
            failures = self._failures.get(work, [])
            if failures:
                wait = self.rules.retry_backoff_s[min(len(failures), len(self.rules.retry_backoff_s)) - 1]
                self._over("back-off", now - failures[-1] + SLACK_S, wait)
            self._sent[intent.magic] = now
        elif intent.state is IntentState.NOT_EXECUTED:
            self._over("settle window", now - self._sent[intent.magic] + SLACK_S, self.rules.settle_market_s)
        if intent.state in FAILED:
            self._failures.setdefault(work, []).append(now)

    def look_for_late_ones(self) -> None:
        """A trade that is hedged for longer than its flat timer, though nothing kept anybody from seeing it."""
        for trade in self._trades.values():
            since = self._entered[trade.trade_id]
            if trade.state is not TradeState.HEDGED or trade.trade_id in self._late or since < self.disturbed:
                continue
            waited = self.market.seconds(trade.symbol, since, self.machine.market)
            closing = any(o.kind.value == "close_all" for o in trade.obligations)
            if waited > self.rules.flat_s + LATE_S and not closing:
                self._late.add(trade.trade_id)
                self.broken.append(f"hedged for {waited:.0f} open seconds, the flat timer is {self.rules.flat_s:.0f}")


@dataclass
class Run:
    """One service on one machine, with clocks that jump."""

    world: World
    machine: Machine
    timers: Timers
    chance: random.Random
    moves: list[tuple[float, int]]
    blind_s: float
    """The longest that nobody may look: of the machine's sleep nothing counts."""
    cycled: float
    steps_s: Sequence[float]
    jumps: Counter[str] = field(default_factory=Counter)

    async def live(self, seconds: float) -> None:
        """The market moves, and the service runs every cycle that its own clock calls for."""
        dtms, machine, goal = self.world.dtms, self.machine, self.machine.market + seconds
        spins = 0
        while machine.market < goal:
            now, due = self.world.clock.now(), dtms._due()
            if due <= now:
                spins += 1
                assert spins < 100, "cycles without end"
                await dtms._one_cycle()
                self.cycled = machine.market
                continue
            spins = 0
            await self._pass(max(LEAST_S, min(due - now, goal - machine.market, self.blind_s)))
            if machine.market - self.cycled > self.blind_s:
                self.timers.broken.append(f"nobody looked for {machine.market - self.cycled:.0f} s")
                self.cycled = machine.market
        self.timers.look_for_late_ones()

    async def _pass(self, seconds: float) -> None:
        self.machine.market = await self.world.simulator.advance(self.machine.market + seconds)

    async def sleep(self, seconds: float) -> None:
        """The market moves, and nobody sees it."""
        await self._pass(seconds)
        self.cycled = self.timers.disturbed = self.machine.market

    async def fill(self) -> None:
        """As many positions as ever, each registered at once, and sometimes one that does not exist."""
        rows = (await self.world.simulator.view("positions"))["positions"]
        for number in range(POSITIONS - sum(row["magic"] == 7 for row in rows)):
            symbol = SYMBOLS[(number + self.chance.randrange(3)) % 3]
            try:
                ticket = await self.world.open(symbol, self.chance.choice(("BUY", "SELL")))
            except Invalid:  # its market is closed
                continue
            self.timers.opened[ticket] = self.machine.market
            await self.world.register(ticket)

    def _running(self) -> set[str]:
        """Kinds of timers that count seconds now."""
        book, now = self.world.dtms.book, self.world.clock.now()
        found = {"settle window"} if book.intents else set()
        for trade in book.watched.values():
            waits = any(
                o.status is ObligationStatus.DUE and o.attempts and o.next_try_at > now for o in trade.obligations
            )
            kinds = {
                "back-off": waits,
                "verified absence": trade.missing_since is not None,
                "pending": trade.state is TradeState.PENDING,
            }
            found |= {name for name, runs in kinds.items() if runs}
        return found

    async def disturb(self) -> None:
        """Something that starts timers, then a clock that jumps."""
        chance, machine = self.chance, self.machine
        rows = (await self.world.simulator.view("positions"))["positions"]
        fault = dict(chance.choice(LOSSES))
        if fault["kind"] == "read_omits_ticket":
            if not rows:
                return
            fault["ticket"] = chance.choice(rows)["ticket"]
        await self.world.simulator.set_fault(fault)
        await self.live(chance.choice((0.0, 120.0, 300.0)))
        for _ in range(LOOKS):
            if self._running() - {"pending"}:
                break
            await self.live(LOOK_S)
        if chance.random() < 0.6:
            await self.world.register(900_000_000 + self.jumps.total())
        await self.live(LOOK_S)
        self.timers.running.update(self._running())
        kind = chance.choice(("wall", "wall", "wall", "sleep", "broker"))
        if kind == "broker" and self.moves and machine.market - self.moves[-1][0] < BETWEEN_MOVES_S:
            kind = "wall"
        if kind == "wall":
            by = chance.choice(self.steps_s)
            machine.wrong += by
        elif kind == "sleep":
            await self.sleep(chance.choice(SLEEPS_S))
        else:
            by = -3600.0 if sum(by for _, by in self.moves) > 0 else 3600.0
            self.moves.append((machine.market, int(by)))
            self.timers.disturbed = machine.market
        self.jumps[kind] += 1
        await self.live(chance.choice((60.0, 300.0, 900.0)))


@dataclass(frozen=True)
class Setting:
    """One run. ``europe``: the broker has Berlin's summer time, ``summer``: New York's."""

    seed: int
    begins: str
    jumps: int = 0
    hours: float = 0.0
    """To live at the end, without further jumps."""
    summer: bool = False
    europe: bool = False
    cycle_s: float = 60.0
    rules: Parameters = RULES
    steps_s: tuple[float, ...] = (*JUMPS_S, *(-step for step in JUMPS_S))
    """By how much the wall clock is set."""
    off_s: float = 0.0
    """Seconds for which the machine is switched off after `ON_S`."""


async def run(
    folder: Path, setting: Setting, clock: Callable[..., SystemClock] = SystemClock
) -> tuple[Timers, Mapping[str, int]]:
    """The timers of one run, and its jumps by kind. ``Timers.broken`` says what was wrong."""
    moves: list[tuple[float, int]] = []
    begin = datetime.fromisoformat(setting.begins).timestamp()
    machine = Machine(begin)
    market = OpenMarket(open_market("synthetic", setting.seed, 0.0), SYMBOLS, begin - 86_400, begin + 30 * 86_400)
    timers, end = Timers(machine, market, setting.rules), begin + setting.hours * 3600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terms, "ServerClock", server_that_moves(moves, setting.europe))
        world = await _started(folder, setting, timers, clock)
        service = Run(
            world,
            machine,
            timers,
            random.Random(setting.seed),
            moves,
            setting.cycle_s * 2.5,
            machine.market,
            setting.steps_s,
        )
        while service.jumps.total() < setting.jumps:
            await service.fill()
            await service.disturb()
        rested = not setting.off_s
        while machine.market < end:
            await service.fill()
            await service.live(900.0)
            if not rested and machine.market >= begin + ON_S:
                await service.sleep(setting.off_s)
                await service.world.close()
                service.world, rested = await _started(folder, setting, timers, clock), True
                service.cycled = machine.market
        await service.world.close()
    return timers, service.jumps


async def _started(folder: Path, setting: Setting, timers: Timers, clock: Callable[..., SystemClock]) -> World:
    machine = timers.machine
    world = await open_world(
        folder,
        seed=setting.seed,
        parameters=setting.rules,
        account={"balance": 1e7, "server_summer_time": setting.summer},
        begins=setting.begins,
        broker_offset=None,
        cycle_s=setting.cycle_s,
        start=False,
        clock=clock(wall=machine.wall, steady=machine.steady),
    )
    commit = world.ledger.commit

    async def watched(batch: Batch) -> int:
        sequence = await commit(batch)
        timers.committed(batch)
        return sequence

    world.ledger.commit = watched  # type: ignore[method-assign]  # the eye of this test
    starting = asyncio.create_task(world.dtms.start())
    for turn in itertools.count(1):
        if starting.done():
            break
        await asyncio.sleep(0)
        if turn % TURNS == 0:  # it waits for quotes that tell the broker's clock
            assert turn < TURNS * 1_000, "the service does not start"
            machine.market = await world.simulator.advance(machine.market + START_S)
    await starting
    timers.disturbed = machine.market
    return world
