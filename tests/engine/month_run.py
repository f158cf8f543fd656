"""The real engine on a long market with many random trades, watched at every order and after every cycle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import month_checks as checks
from engine_world import CountedLink, World, open_world
from month_checks import Held, Sent
from month_plan import Act, OpenMarket, Plan, Step, m15_range, plans
from month_tally import Tally

from dtms_service.domain.errors import Invalid
from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.parameters import Parameters
from dtms_service.domain.trade import Intent, IntentState, ObligationStatus
from dtms_service.domain.values import Side
from dtms_service.engine.registrar import Registered
from dtms_service.terminal.frames import Rows
from dtms_service.terminal.link import Call, Reply, call
from dtms_service.terminal.simulated.market import Market, open_market

SEED = 7
LOOK_S = 300.0
"""Market seconds after which everything is looked at even where nothing has changed."""
MOST_BROKEN = 50
OPEN_AGAIN_S = 900.0
"""A hand that finds the market closed tries again after this long."""


@dataclass
class Watch:
    """Looks on: at every order, and at the end of every cycle, before the market moves on."""

    world: World
    tally: Tally
    market: OpenMarket
    parameters: Parameters = field(default_factory=Parameters)
    broken: list[str] = field(default_factory=list)
    intents: dict[int, Intent] = field(default_factory=dict)
    orders: int = 0
    looks: int = 0
    _held: dict[int, Held] = field(default_factory=dict)
    _looked: tuple[float, dict[int, Held]] = (0.0, {})
    _cycled: bool = False
    _waits: dict[tuple[object, ...], float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _emptied: set[int] = field(default_factory=set)
    """Tickets of trades without volume at the last look: they must be CLOSED at this one."""

    def read(self, rows: Rows) -> None:
        """What a cycle has just read of the positions."""
        named = (dict(zip(rows.names, row, strict=True)) for row in rows.rows)
        self._held = {row["ticket"]: checks.held(row) for row in named}
        self._cycled = True

    def sent(self, request: Mapping[str, Any], before: dict[int, Held], after: dict[int, Held]) -> None:
        """An order, judged on what was committed before it left."""
        self.orders += 1
        sending = (i for batch in reversed(self.world.ledger.batches) for i in batch.intents)
        intent = next((i for i in sending if i.magic == request["magic"] and i.state is IntentState.SENDING), None)
        self._held = after
        self._tell(checks.about_order(Sent(request, before, after, intent, self.world.dtms.book.trades)))

    def instant_over(self) -> None:
        """The market moves on: every cycle that was due has run."""
        batches = self.world.ledger.batches
        for batch in batches:
            self.tally.take(batch)
            self.intents.update((intent.magic, intent) for intent in batch.intents)
        now, (looked_at, looked) = self.world.dtms.now(), self._looked
        changed = batches or self._held != looked or self._emptied
        if self._cycled and (changed or now - looked_at >= LOOK_S):
            self._look(now)
        self._cycled = False
        self.world.forget_counts()

    def _look(self, now: float) -> None:
        self._looked = (now, self._held)
        self.looks += 1
        book = self.world.dtms.book
        self._tell(checks.about_broker(self._held.values(), book.trades))
        waits: dict[tuple[object, ...], float] = {}
        for trade in book.watched.values():
            self._tell(checks.about_progress(trade, book.intents.values(), now, self.market.seconds, self.parameters))
            for owed in trade.obligations:
                if owed.status is ObligationStatus.DUE and owed.waiting is not None:
                    key = (trade.trade_id, owed.kind, owed.created_at, owed.waiting)
                    waits[key] = self._waits.get(key, now)
                    self._tell(checks.about_wait(owed, self.market.seconds(trade.symbol, waits[key], now)))
        self._waits = waits
        still = (t for t in book.watched.values() if t.verified_at is not None and not t.state.final)
        emptied = {trade.ticket for trade in still if trade.volume == 0}
        self._tell([f"{ticket} was closed by us, and is not CLOSED" for ticket in emptied & self._emptied])
        self._emptied = emptied

    def _tell(self, broken: Sequence[str]) -> None:
        new = [words for words in broken if words not in self._told]
        if new and len(self.broken) < MOST_BROKEN:
            self._told.update(new)
            at = datetime.fromtimestamp(self.world.dtms.now(), UTC)
            self.broken += [f"{at:%Y-%m-%d %H:%M:%S} {words}" for words in new]


class WatchedLink(CountedLink):
    """A link that shows every order, every read of positions and every step of the market to its watch."""

    watch: Watch | None = None

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``."""
        watch, names = self.watch, [each.name for each in calls]
        if watch is None:
            return await super().ask(calls, deadline, urgent=urgent)
        if names == ["simulator_advance"]:
            watch.instant_over()
        if names == ["order_send"]:
            before = await self.held()
            answer = await super().ask(calls, deadline, urgent=urgent)
            watch.sent(calls[0].kwargs, before, await self.held())
            return answer
        answer = await super().ask(calls, deadline, urgent=urgent)
        if "positions_get" in names and isinstance(answer, Done):
            watch.read(answer.value.results[names.index("positions_get")].value)
        return answer

    async def held(self) -> dict[int, Held]:
        """The positions at the broker now."""
        answer = await super().ask([call("simulator_view", "positions")], 60.0)
        assert isinstance(answer, Done)
        return {row["ticket"]: checks.held(row) for row in answer.value.results[0].value["positions"]}


@dataclass(frozen=True, slots=True)
class Setting:
    """One long run. ``market`` is ``synthetic`` or a bar file; times in UTC seconds."""

    name: str
    market: str
    begin: float
    end: float
    trades: int = 200
    seed: int = SEED
    cycle_s: float = 30.0
    symbols: tuple[str, ...] = ()
    """All of the market when empty."""
    parameters: Parameters = field(default_factory=Parameters)


@dataclass(frozen=True, slots=True)
class Found:
    """What a run showed: rules that were broken, and its tables."""

    broken: tuple[str, ...]
    tables: Mapping[str, Any]
    line: str


class Hands:
    """Traders and their programs: they carry out the plans at the simulated terminal, whatever DTMS does meanwhile."""

    def __init__(self, world: World, market: Market, made: Sequence[Plan]) -> None:
        self._world = world
        self._market = market
        self._plans = made
        self._tickets: dict[int, int] = {}
        self.done: Counter[str] = Counter()

    async def act(self, step: Step) -> Step | None:
        """Do it; the same step for later when the market is closed."""
        plan = self._plans[step.trade]
        ticket = self._tickets.get(step.trade)
        now, series = self._world.dtms.now(), self._market.of(plan.symbol)
        if step.act is not Act.OPEN and ticket is None:
            return Step(now + OPEN_AGAIN_S, step.trade, step.act)
        if step.act is not Act.REGISTER and not series.is_open(now):
            return Step(now + OPEN_AGAIN_S, step.trade, step.act)
        try:
            told = await self._do(step, plan, ticket or 0)
        except Invalid:
            told = "refused by the broker"
        self.done[f"{step.act}: {told}"] += 1
        return None

    async def _do(self, step: Step, plan: Plan, ticket: int) -> str:
        simulator = self._world.simulator
        if step.act is Act.OPEN:
            opened = await simulator.open_position(self._order(plan))
            self._tickets[step.trade] = int(opened["ticket"])
            return "done"
        if step.act is Act.REGISTER:
            (answer,) = await self._world.register(ticket, strategy_type=plan.strategy)
            return answer.outcome if isinstance(answer, Registered) else str(answer)
        rows = (await simulator.view("positions"))["positions"]
        row = next((row for row in rows if row["ticket"] == ticket), None)
        if row is None:
            return "gone already"
        if step.act is Act.CLOSE:
            await simulator.close_position(ticket, None)
        elif step.act is Act.REDUCE:
            least = self._market.of(plan.symbol).facts.volume_min
            part = max(1, int(row["volume"] * plan.part / least + 1e-9))
            await simulator.close_position(ticket, round(part * least, 8))
        else:
            await simulator.change_position(ticket, self._levels(step.act, plan, row))
        return "done"

    def _order(self, plan: Plan) -> dict[str, Any]:
        series, now, sign = self._market.of(plan.symbol), self._world.dtms.now(), plan.side.sign
        quote, unit = series.quote(now), m15_range(series, now)
        assert quote is not None
        price = quote.ask if plan.side is Side.BUY else quote.bid
        return {
            "symbol": plan.symbol,
            "side": plan.side.value,
            "volume": round(plan.lots * series.facts.volume_min, 8),
            "stop_loss": None if plan.stop is None else price - sign * plan.stop * unit,
            "take_profit": None if plan.target is None else price + sign * plan.target * unit,
            "magic": 7,
        }

    def _levels(self, act: Act, plan: Plan, row: Mapping[str, Any]) -> dict[str, Any]:
        sign, price = 1 - 2 * row["type"], row["price_current"]
        away = (
            abs(price - row["sl"]) if row["sl"] else 3 * m15_range(self._market.of(plan.symbol), self._world.dtms.now())
        )
        return {
            Act.TIGHTEN: {"stop_loss": price - sign * away * 0.6},
            Act.LOOSEN: {"stop_loss": price - sign * away * 1.5},
            Act.REMOVE: {"stop_loss": None},
            Act.TARGET: {"take_profit": price + sign * away * 2.0},
        }[act]


async def run(folder: Path, setting: Setting) -> Found:
    """The whole run with every check; it says what was broken instead of raising."""
    started = time.perf_counter()
    market = open_market(setting.market, setting.seed, 0.0)
    symbols = setting.symbols or tuple(sorted(market.series))
    opened = OpenMarket(market, symbols, setting.begin - 86_400, min(setting.end, market.ends[1]))
    begins = datetime.fromtimestamp(setting.begin, UTC).isoformat()
    world = await open_world(
        folder,
        seed=setting.seed,
        parameters=setting.parameters,
        begins=begins,
        cycle_s=setting.cycle_s,
        market=setting.market,
        link_type=WatchedLink,
    )
    watch = Watch(world, Tally(opened.seconds), opened, setting.parameters)
    assert isinstance(world.link, WatchedLink)
    world.link.watch = watch
    made, steps = plans(symbols, setting.trades, setting.begin, setting.end, setting.seed)
    hands = Hands(world, market, made)
    await _play(world, hands, steps, setting.end)
    watch.instant_over()
    watch.broken += await _at_the_end(world, watch)
    found = _found(setting, world, watch, hands, time.perf_counter() - started)
    await world.close()
    return found


async def _play(world: World, hands: Hands, steps: Sequence[Step], end: float) -> None:
    left = sorted(steps, key=lambda step: -step.time)
    while left and left[-1].time < end:
        step = left.pop()
        await world.dtms.advance(seconds=None, until=max(step.time, world.dtms.now()))
        again = await hands.act(step)
        if again is not None:
            left.append(again)
            left.sort(key=lambda step: -step.time)
    await world.dtms.advance(seconds=None, until=end)


async def _at_the_end(world: World, watch: Watch) -> list[str]:
    """The books: deals against intents, closes against deals, the account against the sum of its deals."""
    rows = {what: (await world.simulator.view(what))[what] for what in ("account", "positions", "deals")}
    trades = list(world.dtms.book.trades.values())
    return [
        *watch.tally.broken,
        *checks.about_deals(rows["deals"], watch.intents),
        *checks.about_closes(rows["deals"], trades, watch.tally.profits),
        *checks.about_money(rows["account"], rows["deals"], rows["positions"]),
    ]


def _found(setting: Setting, world: World, watch: Watch, hands: Hands, seconds: float) -> Found:
    counts, trades = world.dtms.counts, world.dtms.book.trades.values()
    closed = sum(trade.state.final for trade in trades)
    hedges = sum(trade.hedges for trade in trades)
    totals = {
        "days": round((setting.end - setting.begin) / 86_400, 1),
        "trades": len(trades),
        "closed": closed,
        "open at the end": len(trades) - closed,
        "cycles": counts.cycles,
        "evaluations": counts.deep_checks,
        "transitions": counts.transitions,
        "orders": watch.orders,
        "hedges": hedges,
        "looks": watch.looks,
        "violations": len(watch.broken),
        "real seconds": round(seconds),
    }
    tables = {
        "totals": [["what", "count"], *([name, value] for name, value in totals.items())],
        **watch.tally.tables(),
        "hands": [["act", "count"], *([name, n] for name, n in sorted(hands.done.items()))],
    }
    line = ", ".join(f"{value} {name}" for name, value in totals.items())
    return Found(tuple(watch.broken), tables, f"{setting.name}: {line}")
