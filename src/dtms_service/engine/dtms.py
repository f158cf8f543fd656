"""The one engine: starts, watches, takes registrations, steps the simulated market, stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dtms_service.domain import ownership
from dtms_service.domain.admission import Registration
from dtms_service.domain.control import Control, News, Standing, Verb
from dtms_service.domain.errors import DtmsError, Invalid, NotAccepting, NotInThisMode, StorageBusy, StorageFailed
from dtms_service.domain.outcome import Done
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Event, Mode, Owner, Trade
from dtms_service.domain.unmanaged import Policy
from dtms_service.domain.values import Account
from dtms_service.engine.alerting import Alerting
from dtms_service.engine.authority import Counts, Explanation
from dtms_service.engine.book import Book
from dtms_service.engine.cycle import Cycle, CycleResult
from dtms_service.engine.explaining import Sight, explain
from dtms_service.engine.feed import Feed
from dtms_service.engine.markets import Markets
from dtms_service.engine.meters import Meters
from dtms_service.engine.operating import HandedOver, Operating, Ordered
from dtms_service.engine.ports import Clock, Ledger, MovableClock, SimulatedMarket, Terminal
from dtms_service.engine.readiness import Phase, Readiness, Reason, Report
from dtms_service.engine.record import ACCOUNT, BROKER_MOVES, BROKER_OFFSET, Record, name_of
from dtms_service.engine.registrar import Registered, Registrar
from dtms_service.engine.rivals import SPLIT_BRAIN
from dtms_service.engine.schedule import Cadence
from dtms_service.engine.troubles import Troubles
from dtms_service.engine.unmanaged import Unmanaged

log = logging.getLogger(__name__)

RECONNECT_S = (1.0, 30.0)
"""Bounds of the pause before another attempt to connect, real seconds; the pause is drawn below them (full jitter)."""
UNMEASURED = "offset_unmeasured"
"""Code of a connection to which only the broker's clock is lacking."""
RESTARTS = 3
"""Unexpected failures of the monitor in a row after which the service is failed for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator chose."""

    mode: Mode
    parameters: Parameters
    cycle_s: float
    dtms_strategies: tuple[str, ...]
    unmanaged: Policy = Policy.ALERT


class Dtms:
    """Satisfies ``engine.authority.Authority``. Constructed without I/O; ``start``, then ``run``, then ``stop``."""

    def __init__(
        self,
        *,
        terminal: Terminal,
        ledger: Ledger,
        clock: Clock,
        rules: Rules,
        jitter: Callable[[], float],
        simulator: SimulatedMarket | None = None,
        claim: Callable[[Account], object] | None = None,
    ) -> None:
        """``jitter`` draws from [0, 1) for reconnect pauses; ``simulator`` controls a simulated terminal.

        ``claim`` takes the account for this process before anything of it is touched; it may raise to end the start.
        """
        self.mode = rules.mode
        self.readiness = Readiness()
        self._terminal = terminal
        self._clock = clock
        self._rules = rules
        self._jitter = jitter
        self._simulator = simulator
        self._claim = claim
        self._cadence = Cadence(rules.cycle_s)
        self._record = Record(ledger)
        self._alerting = Alerting(self._record, clock)
        self._cycle = Cycle(
            terminal=terminal,
            record=self._record,
            clock=clock,
            markets=Markets(rules.parameters),
            mode=rules.mode,
            parameters=rules.parameters,
        )
        self._registrar = Registrar(
            terminal=terminal,
            record=self._record,
            clock=clock,
            mode=rules.mode,
            dtms_strategies=rules.dtms_strategies,
            connected=lambda: self.readiness.connected,
            admitted=self._wake_up,
        )
        self._unmanaged = Unmanaged(self._record, self._registrar, rules.unmanaged)
        self._troubles = Troubles(self._record)
        self._operating = Operating(
            record=self._record,
            clock=clock,
            mode=rules.mode,
            parameters=rules.parameters,
            act=self._wake_up,
            watching=lambda: self.readiness.watching(clock.now(), self._cadence.period(self.book)),
        )
        self._counts = Counts(started_at=clock.now())
        self._due_now = False
        self._last: float | None = None
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._started = False

    # What others may see.

    @property
    def book(self) -> Book:
        """All trades and what the last snapshot showed of them."""
        return self._record.book

    @property
    def alerting(self) -> Alerting:
        """The alerts."""
        return self._alerting

    @property
    def unmanaged(self) -> Unmanaged:
        """Positions that nobody registered."""
        return self._unmanaged

    @property
    def counts(self) -> Counts:
        """Totals since the process started."""
        return self._counts

    def now(self) -> float:
        """The engine clock: UTC seconds."""
        return self._clock.now()

    def report(self) -> Report:
        """Readiness now."""
        busy = self._record.busy
        self.readiness.writing(Reason(busy.code, busy.detail) if busy is not None else None)
        return self.readiness.report(self._clock.now(), self._cadence.period(self.book))

    def protected(self, trade: Trade) -> bool:
        """R21."""
        return ownership.protected(trade, self.mode, halted=self._record.standing.halted)

    def explain(self, trade: Trade) -> Explanation:
        """Why the trade is where it is and what comes next."""
        book = self.book
        sight = Sight(
            now=self._clock.now(),
            mode=self.mode,
            standing=self._record.standing,
            scene=self._cycle.scene(trade),
            view=book.views.get(trade.symbol),
            tick=book.ticks.get(trade.symbol),
            may_trade=book.account is None or book.account.trade_allowed,
        )
        return explain(trade, sight, self._rules.parameters)

    async def history(self, trade: Trade) -> tuple[Event, ...]:
        """Every event of the trade, oldest first."""
        return await self._record.events(trade_id=trade.trade_id)

    @property
    def feed(self) -> Feed:
        """The newest stored events."""
        return self._record.feed

    @property
    def meters(self) -> Meters:
        """What was counted since the process started."""
        return self._record.meters

    async def events_since(self, position: int, limit: int) -> tuple[Event, ...]:
        """The first ``limit`` events after ``position``, oldest first."""
        return await self._record.events_since(position, limit)

    async def actions(self, *, ticket: int | None, since: int | None, limit: int) -> tuple[Event, ...]:
        """Events of kind ``action``, oldest first: the newest ``limit``, or the first ``limit`` after ``since``."""
        trade = self.book.find(ticket) if ticket is not None else None
        if ticket is not None and trade is None:
            return ()
        trade_id = trade.trade_id if trade is not None else None
        return await self._record.actions(trade_id=trade_id, since=since, limit=limit)

    async def register(self, registrations: Sequence[Registration]) -> list[Registered | DtmsError]:
        """Register each; see ``Registrar``."""
        return await self._registrar.register(registrations)

    @property
    def standing(self) -> Standing:
        """What an operator has ordered."""
        return self._record.standing

    async def order(self, verb: Verb, *, reason: str, by: str, force: bool = False) -> Ordered:
        """See ``Operating``."""
        self._check_loaded()
        return await self._operating.order(verb, reason=reason, by=by, force=force)

    async def announce(self, news: Sequence[News], *, by: str) -> Standing:
        """See ``Operating``."""
        self._check_loaded()
        return await self._operating.announce(news, by=by)

    async def hand_over(self, trade: Trade, owner: Owner, *, reason: str, by: str) -> HandedOver:
        """See ``Operating``."""
        return await self._operating.hand_over(trade.trade_id, owner, reason=reason, by=by)

    async def release(self, trade: Trade, *, reason: str, by: str) -> HandedOver:
        """See ``Operating``."""
        return await self._operating.release(trade.trade_id, reason=reason, by=by)

    def may_modify(self, trade: Trade, manager: Owner) -> tuple[bool, str, bool]:
        """See ``Operating``."""
        return self._operating.may_modify(trade, manager)

    def _check_loaded(self) -> None:
        if not self._record.loaded:
            raise NotAccepting

    # Life.

    async def start(self) -> None:
        """Load, connect with back-off, reconcile everything, complete the first cycle. Raises ``StorageFailed``."""
        await self._record.load()
        self.readiness.ledger(None)
        self.readiness.phase = Phase.CONNECTING
        account = await self._connected()
        if account is None:
            return
        if self._claim is not None:
            self._claim(account)
        self.readiness.phase = Phase.RECONCILING
        attempt = 0
        while not self._stopping.is_set():
            try:
                if not self._started:
                    await self._take_up(account)
                async with self._stepping:  # not over the pause: on a stepped clock an outage ends only by a step (R37)
                    if (await self._one_cycle()).completed:
                        self.readiness.monitor(None)
                        return
            except StorageBusy as busy:
                self._not_stored(busy)
            attempt += 1
            await self._pause(attempt)

    async def _take_up(self, account: Account) -> None:
        """Go on where the last process ended; after ``StorageBusy`` it may be done again."""
        await self._pin(account)
        own = await self._terminal.deals_since(0.0)
        self._record.skip_magics([deal.magic for deal in own.value] if isinstance(own, Done) else None)
        await self._cycle.settler.adopt(self._clock.now())
        self._counts = replace(self._counts, started_at=self._clock.now())
        self._operating.begin(self._clock.now())
        self._cycle.rivals.begin(self._clock.now())
        self._started = True

    def _not_stored(self, busy: StorageBusy) -> None:
        """Nothing was written and nothing sent; a locked file is no reason to die."""
        self.readiness.monitor(Reason(busy.code, busy.detail))
        log.warning("cycle_not_stored", extra={"detail": busy.detail})

    async def run(self) -> None:
        """The monitor: cycles until the service stops. On a stepped clock ``advance`` runs them instead.

        An unexpected failure is logged, shown in readiness and tried again; the third in a row is raised.
        """
        failures = 0
        while not self._stopping.is_set():
            if self._stepped:
                await self._stopping.wait()
                return
            await self._until(self._due())
            if self._stopping.is_set():
                return
            try:
                async with self._stepping:
                    await self._one_cycle()
                failures = 0
                self.readiness.monitor(None)
            except StorageFailed:
                raise
            except StorageBusy as busy:
                self._not_stored(busy)
                await self._pause(1)
            except Exception as failure:  # R46: the monitor's supervisor
                failures += 1
                log.exception("monitor_failed", extra={"failures": failures})
                self.readiness.monitor(Reason("monitor_failed", f"the cycle failed {failures} times: {failure}"))
                self._troubles.restarted(self._clock.now(), failures, failure)
                if failures >= RESTARTS:
                    await self._tell_the_last()
                    raise
                await self._pause(failures)

    async def _tell_the_last(self) -> None:
        """There is no next cycle that could tell what ends the service."""
        try:
            await self._troubles.tell()
        except (StorageBusy, StorageFailed) as untold:
            log.warning("alert_not_stored", extra={"code": "monitor_failed", "why": untold.detail})

    def request_stop(self) -> None:
        """Begin to stop: no new cycle starts; the present one ends within its deadlines."""
        self.readiness.phase = Phase.STOPPING
        self._stopping.set()
        self._wake.set()
        self.feed.wake()

    async def stop(self) -> None:
        """Wait for the present cycle, then let the terminal go. The ledger is closed by whoever opened it."""
        self.request_stop()
        async with self._stepping:
            await self._terminal.close()

    async def advance(self, *, seconds: float | None, until: float | None) -> Mapping[str, Any]:
        """Step the market: run what is due, play to the next due instant, repeat (R37). ``{now, cycles}``."""
        if self._simulator is None or not isinstance(self._clock, MovableClock) or not self._clock.stepped:
            raise NotInThisMode(
                "the market can be advanced on a stepped simulator only; start with simulator.clock = stepped"
            )
        if (seconds is None) == (until is None):
            raise Invalid("give either seconds or until")
        cycles = 0
        async with self._stepping:
            goal = until if until is not None else self._clock.now() + (seconds or 0.0)
            while not self._stopping.is_set():
                due = self._due() if self._started else goal
                if self._started and due <= self._clock.now():
                    await self._one_cycle()
                    cycles += 1
                    continue
                if self._clock.now() >= goal:
                    break
                self._clock.move(await self._simulator.advance(min(due, goal)))
                await asyncio.sleep(0)
        return {"now": self._clock.now(), "cycles": cycles}

    # Inside.

    @property
    def _stepped(self) -> bool:
        return isinstance(self._clock, MovableClock) and self._clock.stepped

    def _wake_up(self) -> None:
        self._due_now = True
        self._wake.set()

    def _due(self) -> float:
        if self._due_now or self._last is None:
            return self._clock.now()
        return self._cadence.next_after(self._last, self.book)

    async def _until(self, due: float) -> None:
        self._wake.clear()
        if due <= self._clock.now() or self._due_now:
            return
        sleep = asyncio.ensure_future(self._clock.sleep_until(due))
        wake = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sleep, wake):
                task.cancel()
            await asyncio.gather(sleep, wake, return_exceptions=True)

    async def _one_cycle(self) -> CycleResult:
        self._due_now = False
        if not self.book.watched and not self.book.intents:
            self._clock.renew()
        self._last = self._clock.now()
        try:
            await self._troubles.tell()
            result = await self._look()
            now = self._clock.now()
            if result.completed:
                await self._troubles.seen(now, result.failed)
                await self._unmanaged.look(now)
                await self._stand_back()
            else:
                await self._troubles.unseen(now, result.code or "unread", result.detail)
            await self._troubles.took(now, now - self._last, self._cadence.period(self.book))
            await self._troubles.stored(now)
        except StorageBusy:
            self._troubles.not_stored(self._clock.now())
            raise
        return result

    async def _stand_back(self) -> None:
        """Two that act on one account undo each other, and close twice: this one pauses until a person decides.

        What was told before the last order of a person has been decided. An observer has nothing to stand back from.
        """
        standing = self.standing
        if self.mode is Mode.OBSERVE or standing.control is not Control.RUNNING:
            return
        told = [a for a in self.book.alerts.values() if a.code == SPLIT_BRAIN and a.last_at > (standing.since or 0.0)]
        if told:
            await self._operating.order(Verb.PAUSE, reason=told[-1].detail, by="DTMS")

    async def _look(self) -> CycleResult:
        if not self.readiness.connected:
            account = await self._terminal.connect()
            if not isinstance(account, Done):
                self.readiness.terminal(Reason(account.code, account.detail))
                return CycleResult(time=self._clock.now(), code=account.code, detail=account.detail)
        async with self._record.lock:
            begun = asyncio.get_running_loop().time()
            result = await self._cycle.run()
            took = asyncio.get_running_loop().time() - begun
            if result.account is not None:
                await self._pin(result.account)
            await self._operating.look_for_silence()
        self._note(result, took)
        if self._record.busy is not None:  # not one commit in this cycle was taken, perhaps none was wanted
            await self._record.probe()
        return result

    def _note(self, result: CycleResult, took: float) -> None:
        """``took``: real seconds of the cycle."""
        counts = self._counts
        self.feed.wake()  # whoever follows looks at the phase again
        if not result.completed:
            self.meters.cycles_failed += 1
            self.readiness.terminal(Reason(result.code or "unread", result.detail))
            log.warning("cycle_incomplete", extra={"code": result.code, "detail": result.detail})
            self._counts = replace(counts, next_cycle_at=self._due())
            return
        self.meters.cycles.add(took)
        self.readiness.account = result.account
        allowed = result.account is not None and result.account.trade_allowed
        disabled = Reason("trade_disabled", "trading by programs is switched off at the terminal or the account")
        self.readiness.terminal(None)
        self.readiness.trading(None if allowed else disabled)
        failed = Reason("trades_failed", f"these trades raised an error: {list(result.failed)}")
        self.readiness.completed(self._clock.now(), failed if result.failed else None)
        if result.again:
            self._due_now = True
        now = self._clock.now()
        watched = {trade.ticket for trade in self.book.watched.values() if not trade.state.final}
        evaluated = dict.fromkeys(result.evaluated, now)
        self._counts = replace(
            counts,
            cycles=counts.cycles + 1,
            deep_checks=counts.deep_checks + len(result.evaluated),
            actions=counts.actions + result.orders,
            transitions=counts.transitions + result.transitions,
            last_cycle_at=now,
            next_cycle_at=self._due(),
            last_fast=dict.fromkeys(watched, now),
            last_deep={t: at for t, at in {**counts.last_deep, **evaluated}.items() if t in watched},
        )

    async def _connected(self) -> Account | None:
        """The account, after as many attempts as it takes; None when the service is told to stop first."""
        attempt = 0
        stored = self._record.facts.get(BROKER_OFFSET)
        if stored is not None:
            moves = [
                (float(until), float(ahead)) for until, ahead in json.loads(self._record.facts.get(BROKER_MOVES, "[]"))
            ]
            looked = [trade.score_at for trade in self.book.trades.values() if trade.score_at is not None]
            self._terminal.assume_offset(float(stored), moves, max(looked, default=None))
        while not self._stopping.is_set():
            self._clock.renew()
            answer = await self._terminal.connect()
            attached = isinstance(answer, Done) or answer.code == UNMEASURED
            if attached and isinstance(self._clock, MovableClock) and self._simulator is not None:
                self._clock.move(float((await self._simulator.clock())["now"]))
            if isinstance(answer, Done):
                if self._record.owns(answer.value):
                    self.readiness.account = answer.value
                    self.readiness.terminal(None)
                    return answer.value
                pinned = self._record.facts[ACCOUNT]
                detail = f"this state belongs to account {pinned}, but the terminal shows {name_of(answer.value)}"
                self.readiness.terminal(Reason("account_mismatch", detail))
            else:
                self.readiness.terminal(Reason(answer.code, answer.detail))
                log.warning("terminal_not_connected", extra={"code": answer.code, "detail": answer.detail})
            await self._not_connected(expected=not isinstance(answer, Done) and answer.code == UNMEASURED)
            attempt += 1
            await self._pause(attempt)
        return None

    async def _not_connected(self, *, expected: bool) -> None:
        reason = self.readiness.terminal_reason
        try:
            await self._troubles.unseen(self._clock.now(), reason.code, reason.detail, expected=expected)
        except StorageBusy as busy:  # told after the next attempt
            log.warning("alert_not_stored", extra={"code": reason.code, "why": busy.detail})

    async def _pin(self, account: Account) -> None:
        """Store the first account for good, and the measured offset of its broker's clock whenever that is new.

        The stored offset is what a start goes by while the market is closed and no quote can tell.
        """
        if not self._record.owns(account):
            return
        facts = {ACCOUNT: name_of(account)}
        if self._terminal.broker_offset is not None:
            facts[BROKER_OFFSET] = str(self._terminal.broker_offset)
        if self._terminal.broker_moves:
            facts[BROKER_MOVES] = json.dumps(self._terminal.broker_moves)
        known = self._record.facts.items()
        await self._record.write(facts={name: value for name, value in facts.items() if (name, value) not in known})

    async def _pause(self, attempt: int) -> None:
        """Full jitter below an exponential bound, in real time; ends at once when the service stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), timeout=self._jitter() * longest_pause(attempt))
        except TimeoutError:
            return


def longest_pause(attempt: int) -> float:
    """Seconds below which the pause after failed attempt number ``attempt`` is drawn: doubled up to the bound."""
    first, longest = RECONNECT_S
    doublings = min(attempt - 1, 16)  # 2 to the number of a night's attempts is more than a float holds
    return float(min(longest, first * 2**doublings))
