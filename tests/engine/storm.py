"""The real engine in a storm: hands, faults of every kind, orders of an operator and deaths at any transaction.

Everything is drawn from one seed. Every order, look, transaction and restart is judged (``storm_judge``).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import storm_setting as weather
from engine_world import CountedLink, World, open_world
from storm_judge import Broken, Judge, Row, sign
from storm_setting import Setting

from dtms_service.domain.control import Control, News, Verb
from dtms_service.domain.errors import DtmsError, Invalid, StorageFailed
from dtms_service.domain.outcome import Done, Outcome
from dtms_service.domain.record import Batch
from dtms_service.domain.trade import Intent, IntentState, Owner, Trade
from dtms_service.terminal.link import Call, Reply
from dtms_service.terminal.results import rows

OFFSET_S = 7200.0
"""The broker's clock ahead of UTC."""
LIVES = 12
CALM_STEPS, CALM_S = 20, 60.0


class StormLink(CountedLink):
    """Shows the judge what leaves the service and what the terminal answered, beside the broker's own books."""

    judge: Judge | None = None
    world: World | None = None

    async def ask(self, calls: Sequence[Call], deadline: float, *, urgent: bool = False) -> Outcome[Reply]:
        """See ``Link``."""
        names, judge, world = [each.name for each in calls], self.judge, self.world
        if judge is None or world is None:
            return await super().ask(calls, deadline, urgent=urgent)
        judge.now = world.dtms.now()
        if names == ["simulator_advance"]:
            failed = [r.detail for r in world.dtms.report().reasons if r.code == "trades_failed"]
            judge.rest(world.dtms.book, failed)
            judge.true = False
        if names == ["order_send"]:
            before = self.positions()
            judge.asks(calls[0].kwargs, before)
            answer = await super().ask(calls, deadline, urgent=urgent)
            judge.deals = self.deals()
            judge.order(calls[0].kwargs, before, self.positions(), _retcode(answer))
            return answer
        answer = await super().ask(calls, deadline, urgent=urgent)
        if "positions_get" in names and "account_info" in names:
            self._looked(judge, calls, answer)
        return answer

    def _looked(self, judge: Judge, calls: Sequence[Call], answer: Outcome[Reply]) -> None:
        judge.deals = self.deals()
        shown = None
        if isinstance(answer, Done):
            results = dict(zip((each.name for each in calls), answer.value.results, strict=True))
            for asked, result in zip(calls, answer.value.results, strict=True):
                if asked.name == "symbol_info_tick" and result.value and result.value["bid"] > 0:
                    judge.quotes[asked.args[0]] = result.value["time_msc"] / 1000 - OFFSET_S
            told, info, terminal = (results[name].value for name in ("positions_get", "account_info", "terminal_info"))
            if told is not None and info is not None and terminal is not None and terminal["connected"]:
                shown = {row["ticket"]: (row["volume"], row["sl"], row["tp"]) for row in rows(told)}
        judge.look_begins(shown, self.positions())

    def positions(self) -> dict[int, Row]:
        """What the broker holds, whatever a read says; by the order that opened it where a bridge zeroed its magic."""
        rows = {row["ticket"]: row for row in self._backend.simulator_view("positions")["positions"]}
        if all(row["magic"] for row in rows.values()):
            return rows
        opened = {deal["position_id"]: deal["magic"] for deal in self.deals() if deal["entry"] == 0}
        return {t: {**row, "magic": row["magic"] or opened[row["identifier"]]} for t, row in rows.items()}

    def deals(self) -> list[Row]:
        """The broker's deals, each by its order, also where a bridge zeroed the magic."""
        rows = list(self._backend.simulator_view("deals")["deals"])
        return rows if self.judge is None else [self.judge.named(row) for row in rows]


def _retcode(answer: Outcome[Reply]) -> int | None:
    if not isinstance(answer, Done):
        return None
    value = answer.value.results[0].value
    return int(value["retcode"]) if isinstance(value, Mapping) else None


@dataclass
class Storm:
    """One run; it survives its services."""

    folder: Path
    setting: Setting
    judge: Judge
    chance: random.Random
    world: World
    deaths: int = 0
    """Transactions until the service dies, 0 for never."""
    dies_after: bool = False
    dead: bool = False

    @property
    def link(self) -> StormLink:
        """The link of the present life."""
        assert isinstance(self.world.link, StormLink)
        return self.world.link

    # Lives.

    async def begin_life(self) -> None:
        """Open the service and let it start; what dies while it starts is opened again."""
        for _ in range(LIVES):
            stored, before, self.dead = dict(self.judge.stored), dict(self.judge.positions), False
            self.judge.complained_at = None  # a restart takes longer than the pause
            self.world = await open_storm(self.folder, self.setting, self.judge.modes)
            self.link.judge, self.link.world = self.judge, self.world
            self._watch_ledger()
            try:
                await self.world.dtms.start()
            except StorageFailed:
                await self.end_life()
                continue
            self.judge.positions = self.link.positions()
            self.judge.restarted(stored, before, self.world.dtms.book)
            return
        self.deaths = 0
        message = f"the service did not start in {LIVES} lives"
        raise AssertionError(message)

    async def end_life(self) -> None:
        """The service is gone; what the terminal did wrong goes with it, or the next one might never start."""
        self.judge.faults.clear()
        await self.world.simulator.clear_faults()
        self.judge.positions = self.link.positions()
        await self.world.close()

    def _watch_ledger(self) -> None:
        commit = self.world.ledger.commit

        async def watched(batch: Batch) -> int:
            if self.deaths:
                self.deaths -= 1
                self.dead = self.deaths == 0 and not self.dies_after
            if self.dead:
                message = "this life is over"
                raise StorageFailed(message)
            going = [i for i in batch.intents if i.state is IntentState.SENDING]
            if going:
                await self._trouble(going[0])
            sequence = await commit(batch)
            self.judge.now = self.world.dtms.now()
            self.judge.committed(batch)
            if self.dies_after and self.deaths == 0:
                self.dies_after, self.dead = False, True
                message = "this life ends after its transaction"
                raise StorageFailed(message)
            return sequence

        self.world.ledger.commit = watched  # type: ignore[method-assign]  # deaths and trouble come between

    async def _trouble(self, intent: Intent) -> None:
        """What happens to the order that leaves now."""
        if self.chance.random() < 0.55:
            return
        kinds = [*weather.SENT]
        if intent.plan["order"] == "OpenHedge":
            kinds += [*weather.TO_A_HEDGE] * 2
        elif intent.plan["order"] == "ClosePosition":
            kinds += weather.TO_A_CLOSE
        fault = self.chance.choice(kinds)
        faults = [fault]
        if intent.plan["order"] != "ModifyStops" and fault["kind"] in weather.WITH_ITS_NAME and intent.magic % 2:
            faults += weather.NAMELESS[: 1 + (intent.magic % 8 == 1)]
        for each in faults:
            self.judge.seen[f"fault {each['kind']}"] += 1
            await self.world.simulator.set_fault({"count": 1, **each})

    async def step(self, doing: Callable[[], Awaitable[object]]) -> None:
        """Do something; when the service dies of it, the next one begins."""
        try:
            await doing()
        except StorageFailed:
            assert self.dead, "a ledger failed that was not told to"
            self.judge.seen["deaths"] += 1
            await self.again()
        except (Invalid, DtmsError) as refused:
            self.judge.seen[f"refused {type(refused).__name__}"] += 1

    async def again(self) -> None:
        """End this life and begin the next; the broker may have changed its contracts meanwhile."""
        await self.end_life()
        draw = self.chance.random()
        if draw < 0.2:
            self.judge.modes[self.chance.choice(weather.SYMBOLS)] = self.chance.choice(weather.MODES)
        elif draw < 0.5:
            self.judge.modes.clear()
        await self.begin_life()

    # Weather.

    async def blow(self) -> None:
        """One step: perhaps a hand, a fault, an order of the operator or a death; then the market moves."""
        chance, judge = self.chance, self.judge
        judge.true = False
        draw = chance.random()
        if draw < 0.28:
            await self.step(self.hand)
        elif draw < 0.45:
            await self.step(self.fault)
        elif draw < 0.51:
            await self.step(self.operate)
        elif draw < 0.55:
            judge.seen["restarts"] += 1
            await self.again()
        elif draw < 0.63:
            self.deaths, self.dies_after = chance.randint(1, 9), chance.random() < 0.5
        elif draw < 0.68:
            await self.step(self.replay)
        elif draw < 0.76:
            await self.step(self.clear)
        elif draw < 0.84 and self.world.dtms.standing.control is not Control.RUNNING:
            await self.step(self.operate)
        await self.step(lambda: self.world.advance(chance.choice(weather.STEPS_S)))

    async def clear(self) -> None:
        """The weather gets better."""
        self.judge.faults.clear()
        await self.world.simulator.clear_faults()

    async def fault(self) -> None:
        """Something breaks for a while."""
        fault = dict(self.chance.choice(weather.MEANWHILE))
        held = self.link.positions()
        if fault["kind"] in {"read_omits_ticket", "ticket_changed"}:
            if not held:
                return
            fault["ticket"] = self.chance.choice(sorted(held))
            if fault["kind"] == "read_omits_ticket" and self.chance.random() < 0.1:
                fault |= {"count": None, "seconds": 700.0}
        fault.setdefault("seed", self.chance.randrange(10**6))
        self.judge.seen[f"fault {fault['kind']}"] += 1
        if "seconds" in fault and fault["kind"] != "visible_late":
            self.judge.faults[fault["kind"]] = self.world.dtms.now() + fault["seconds"]
        await self.world.simulator.set_fault(fault)

    async def hand(self) -> None:
        """A trader does something with one of the positions."""
        held = self.link.positions()
        if not held:
            return
        what = self.chance.choice(weather.HANDS)
        row = held[self.chance.choice(sorted(held))]
        self.judge.seen[f"hand {what}"] += 1
        await self._hand(what, row)

    async def _hand(self, what: str, row: Row) -> None:  # noqa: C901 -- one line per hand
        simulator, ticket, side = self.world.simulator, row["ticket"], sign(row)
        unit, price = weather.UNIT[row["symbol"]], row["price_current"]
        trade = self._trade_of(row)
        hedge = trade.hedge if trade is not None else None
        if what in {"close_hedge", "cut_hedge", "stop_hedge", "twin"}:
            if hedge is None or hedge.ticket not in self.link.positions():
                return
            ticket, side = hedge.ticket, hedge.side.sign
        match what:
            case "tighten" | "stop_hedge" | "near_stop":
                away = {"tighten": 2.0, "stop_hedge": 0.3, "near_stop": 0.3}[what]
                await simulator.change_position(ticket, {"stop_loss": price - side * away * unit})
            case "loosen":
                await simulator.change_position(ticket, {"stop_loss": price - side * 12 * unit})
            case "remove":
                await simulator.change_position(ticket, {"stop_loss": None})
            case "target" | "near_target":
                away = 5.0 if what == "target" else 0.3
                await simulator.change_position(ticket, {"take_profit": price + side * away * unit})
            case "close" | "close_hedge":
                await simulator.close_position(ticket, None)
            case "close_part" | "cut_hedge":
                held = self.link.positions()[ticket]["volume"]
                step = self.judge.facts[row["symbol"]].volume_step
                await simulator.close_position(
                    ticket, round(self.chance.randint(1, max(1, int(held / step))) * step, 2)
                )
            case "twin" if trade is not None and hedge is not None:
                least = self.judge.facts[row["symbol"]].volume_min
                body = {"symbol": row["symbol"], "side": hedge.side.value, "volume": least}
                await simulator.open_position({**body, "magic": trade.hedge_magics[-1]})
            case "add":
                body = {"symbol": row["symbol"], "side": ("SELL", "BUY")[side > 0], "volume": 0.1, "magic": 7}
                await simulator.open_position(body)
            case "register":
                await self.world.register(ticket)

    def _trade_of(self, row: Row) -> Trade | None:
        trades = self.world.dtms.book.trades.values()
        return next((t for t in trades if t.identifier == row["identifier"]), None)

    async def operate(self) -> None:
        """An operator or a manager orders something."""
        what = self.chance.choice(weather.ORDERS)
        if self.world.dtms.standing.control is not Control.RUNNING:
            what = "reset"
        self.judge.seen[f"operator {what}"] += 1
        open_trades = [t for t in self.world.dtms.book.trades.values() if not t.state.final]
        if what in {"hand_over", "release", "take_back"}:
            if not open_trades:
                return
            trade = self.chance.choice(open_trades)
            if what == "release":
                await self.world.dtms.release(trade, reason="a test", by="somebody")
                return
            owner = Owner.DTMS if what == "take_back" else Owner.UNIVERSAL_MANAGER
            await self.world.dtms.hand_over(trade, owner, reason="a test", by="somebody")
        elif what == "news":
            now = self.world.dtms.now()
            await self.world.dtms.announce([News(begins=now, ends=now + 300, title="rates")], by="somebody")
        else:
            await self.world.dtms.order(Verb(what), reason="a test", by="somebody")

    async def replay(self) -> None:
        """A cycle, and the same cycle again."""
        for first in (True, False):
            sent, deals = len(self.judge.sent), len(self.link.deals())
            self.world.dtms._wake_up()
            await self.world.advance(0)
            if first and (not self.judge.true or self.judge.faults or self.world.dtms.book.intents):
                return
        self.judge.replayed(len(self.judge.sent) - sent, len(self.link.deals()) - deals)

    # Calm.

    async def calm(self) -> None:
        """Nothing disturbs any more; everything must come to rest."""
        self.deaths, self.dies_after = 0, False
        if any(mode != "full" for mode in self.judge.modes.values()):
            await self.end_life()
            self.judge.modes.clear()
            await self.begin_life()
        await self.clear()
        self.chance = random.Random(0)
        self._without_trouble()
        await self.world.dtms.order(Verb.RESET, reason="calm", by="somebody")
        for _ in range(CALM_STEPS):
            self.judge.true = False
            await self.world.advance(CALM_S)
        self.judge.positions, self.judge.deals = self.link.positions(), self.link.deals()
        is_open = all(
            self.world.dtms.now() - self.judge.quotes.get(p["symbol"], 0.0) < 60.0
            for p in self.judge.positions.values()
        )
        self.judge.ended(self.world.dtms.book, is_open=is_open)

    def _without_trouble(self) -> None:
        async def nothing(_: Intent) -> None:
            return None

        self._trouble = nothing  # type: ignore[method-assign, assignment]  # the last minutes of a storm


async def open_storm(
    folder: Path, setting: Setting, modes: Mapping[str, str], link_type: type[StormLink] = StormLink
) -> World:
    """One life on ``folder``, not started; ``modes``: what the broker allows at present, by symbol."""
    contracts = [
        {"name": symbol, **setting.contracts[symbol], "trade_mode": modes.get(symbol, "full")}
        for symbol in weather.SYMBOLS
    ]
    return await open_world(
        folder,
        mode=setting.mode,
        seed=1 + setting.seed % 3,
        parameters=weather.RULES[setting.rules],
        account=weather.ACCOUNTS[setting.account],
        begins=setting.begins,
        contracts=contracts,
        start=False,
        link_type=link_type,
    )


async def run(folder: Path, setting: Setting, only: str | None = None) -> Judge:
    """The whole storm. Raises ``AssertionError`` that begins with the invariant that was broken.

    ``only`` names the one invariant that is judged.
    """
    rules = weather.RULES[setting.rules]
    judge = Judge(setting.account, setting.mode, rules, only)
    judge.facts = {symbol: weather.facts(symbol, setting.contracts[symbol]) for symbol in weather.SYMBOLS}
    world = await open_storm(folder, setting, {})
    storm = Storm(folder, setting, judge, setting.chance, world)
    await world.close()
    try:
        await storm.begin_life()
        await open_positions(storm)
        for _ in range(setting.steps):
            await storm.blow()
        await storm.calm()
    except Broken as violation:
        raise AssertionError(str(violation)) from violation
    finally:
        await storm.world.close()
    return judge


async def open_positions(storm: Storm) -> None:
    """Open what the storm is about, and register what DTMS is told of."""
    for opening in storm.setting.openings:
        unit, side = weather.UNIT[opening.symbol], 1 if opening.side == "BUY" else -1
        bars = (await storm.world.simulator.market(opening.symbol, "M1", 1))["bars"]
        price = float(bars[-1]["close"])
        body: dict[str, Any] = {
            "symbol": opening.symbol,
            "side": opening.side,
            "volume": opening.volume,
            "stop_loss": None if opening.stop is None else price - side * opening.stop * unit,
            "take_profit": None if opening.target is None else price + side * opening.target * unit,
            "magic": 7,
        }
        try:
            ticket = int((await storm.world.simulator.open_position(body))["ticket"])
        except Invalid as refused:
            storm.judge.seen[f"refused {refused}"] += 1
            continue
        if opening.owner is not None:
            await storm.world.register(ticket, managed_by=Owner(opening.owner))
