"""The rules in a loop with a broker that answers, refuses, loses replies, executes late and is changed by hands.

Decide, plan, send, reply, settle and reconcile, as the engine calls them but without any of the engine: what must
hold after every step whatever happened (``engine.md`` C).
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

import pytest
from domain_values import EURUSD, T0, P, deal, market, owed, position, scene, trade
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from dtms_service.domain import effects, evidence, hedging, magic, ownership, reconcile
from dtms_service.domain.levels import broker_distance, volume_minus
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops, OpenHedge, Order
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.plan import Send, plan
from dtms_service.domain.policy import Scene, after_removed_stop, decide
from dtms_service.domain.shelve import shelve
from dtms_service.domain.sighting import Sighting
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import (
    STOP_KINDS,
    Event,
    Frozen,
    Intent,
    Mode,
    Obligation,
    ObligationKind,
    ObligationStatus,
    Owner,
    Trade,
)
from dtms_service.domain.transitions import TABLE
from dtms_service.domain.values import Deal, DealEntry, DealReason, Position, Side, SymbolSpec

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
TRADES = TypeAdapter(tuple[Trade], config=STRICT)
INTENTS = TypeAdapter(tuple[Intent], config=STRICT)
EVENTS = TypeAdapter(tuple[Event], config=STRICT)
MOVES = {(row.state, row.next) for row in TABLE}

ANSWERS = (
    "done",
    "done",
    "done",
    "refused",
    "too_near",
    "no_money",
    "partial",
    "placed",
    "lost",
    "lost_unsigned",
    "lost_late",
    "lost_too_late",
    "lost_not_done",
    "lost_partial",
)
HANDS = (
    "tighten",
    "loosen",
    "remove",
    "target",
    "close_part",
    "add",
    "close_all",
    "ticket",
    "hide",
    "hand_over",
    "close_hedge",
    "cut_hedge",
    "cut_main",
)
FIRST_HEDGE = 9_000


@dataclass
class Broker:
    """One position and our hedges of it, what was done to them, and how the next order will be answered."""

    spec: SymbolSpec
    draw: random.Random
    held: Position | None
    deals: list[Deal] = field(default_factory=list)
    late: list[tuple[float, Order]] = field(default_factory=list)
    own: dict[int, Position] = field(default_factory=dict)
    closed_by_us: Decimal = Decimal(0)
    closed_in_part: Decimal = Decimal(0)
    """Of the position itself, before everything was to be closed."""
    hidden_until: float = 0.0
    price: float = 1.1
    fills: Counter[int] = field(default_factory=Counter)

    def of(self, identifier: int) -> list[Deal]:
        return [d for d in self.deals if d.position_id == identifier]

    def market(self, price: float, now: float) -> None:
        """The broker's own doing: stops are hit."""
        self.price = price
        for p in [*([self.held] if self.held is not None else []), *self.own.values()]:
            if p.stop_loss is not None and p.side.sign * (price - p.stop_loss) <= 0:
                self.out(p, p.volume, now, magic=p.magic, reason=DealReason.STOP_LOSS)

    def shown(self, now: float) -> Position | None:
        return self.held if now >= self.hidden_until else None

    def send(self, order: Order, now: float) -> Outcome[Fill]:  # noqa: PLR0911 -- one line per answer
        answer = self.draw.choice(ANSWERS)
        opens = isinstance(order, OpenHedge)
        if answer == "refused" or (self.position(order.ticket) is None and not opens):
            return Refused("rejected", "no", 10006)
        if answer == "too_near":
            return Refused("invalid_stops", "too near", 10016)
        if answer == "no_money" and opens:
            return Refused("no_money", "no money", 10019)
        if answer == "lost_not_done":
            return Unknown("timeout", "no reply")
        if answer in {"lost_late", "lost_too_late"} and (answer == "lost_late" or opens):
            # Later than the settle window a hedge is a second one; of other orders that would be a broker's fault.
            self.late.append((now + (30 if answer == "lost_late" else 700), order))
            return Unknown("timeout", "no reply")
        share = 0.5 if answer in {"partial", "lost_partial"} else 1.0
        signed = answer != "lost_unsigned" or opens
        done = self.execute(order, now, share, signed=signed)
        if answer.startswith("lost"):
            return Unknown("timeout", "no reply")
        placed = answer == "placed" and not isinstance(order, ModifyStops)
        number = FIRST_HEDGE + len(self.deals) if opens else 5000 + len(self.deals)
        return Done(Fill(10008 if placed else 10009, number, 0, 0.0 if placed else done, 1.1, "done", 1.0))

    def position(self, ticket: int) -> Position | None:
        everything = [*([self.held] if self.held is not None else []), *self.own.values()]
        return next((p for p in everything if p.ticket == ticket), None)

    def execute(self, order: Order, now: float, share: float = 1.0, *, signed: bool = True) -> float:
        step = Decimal(str(self.spec.volume_step))
        if isinstance(order, OpenHedge):
            done = max(step, Decimal(str(order.volume)) * Decimal(str(share)) // step * step)
            number = FIRST_HEDGE + len(self.deals) + 1
            self.own[number] = position(
                self.spec,
                order.side,
                ticket=number,
                identifier=number,
                volume=float(done),
                price_open=self.price,
                stop_loss=order.stop_loss,
                magic=order.magic,
                time=now,
            )
            facts = {"order": number, "position_id": number, "side": order.side, "magic": order.magic, "time": now}
            self.deals.append(deal(len(self.deals) + 1, DealEntry.IN, float(done), **facts))
            self.fills[order.magic] += int(done / step)
            return float(done)
        found = self.position(order.ticket)
        if found is None:
            return 0.0
        if isinstance(order, ModifyStops):
            self.held = replace(found, stop_loss=order.stop_loss, take_profit=order.take_profit)
            return 0.0
        wanted = min(Decimal(str(order.volume)), Decimal(str(found.volume)))
        done = max(step, wanted * Decimal(str(share)) // step * step)
        if found is self.held:
            self.closed_by_us += done
            self.closed_in_part += 0 if "A" in order.comment[:3] else done
        self.fills[order.magic] += int(done / step)
        self.out(found, float(done), now, magic=order.magic if signed else 0, reason=DealReason.EXPERT)
        return float(done)

    def out(self, found: Position, volume: float, now: float, **facts: object) -> None:
        left = volume_minus(found.volume, volume)
        number = len(self.deals) + 1
        about = {"position_id": found.identifier, "order": 5000 + number, "time": now}
        self.deals.append(deal(number, DealEntry.OUT, volume, **{**about, **facts}))
        after = replace(found, volume=left) if left > 0 else None
        if found.identifier not in self.own:
            self.held = after
        elif after is None:
            del self.own[found.identifier]
        else:
            self.own[found.identifier] = after

    def by_hand(self, what: str, price: float, now: float) -> None:  # noqa: C901 -- one line per hand
        held = self.held
        if held is None:
            return
        sign = held.side.sign
        match what:
            case "tighten" | "loosen":
                move = sign * 0.0002 if what == "tighten" else -sign * 0.0007
                moved = round((held.stop_loss or price - sign * 0.01) + move, 5)
                self.held = replace(held, stop_loss=moved if sign * (price - moved) > 0 else held.stop_loss)
            case "remove":
                self.held = replace(held, stop_loss=None)
            case "target":
                self.held = replace(held, take_profit=round(price + sign * self.draw.uniform(0.001, 0.02), 5))
            case "close_part" if held.volume > 0.02:
                self.out(held, round(held.volume / 4, 2) or 0.01, now)
            case "cut_main" if held.volume > 0.1:
                self.out(held, round(held.volume * 0.8, 2), now)
            case "close_hedge" | "cut_hedge" if self.own:
                hedge = next(iter(self.own.values()))
                part = round(hedge.volume / 2, 2) if what == "cut_hedge" else hedge.volume
                self.out(hedge, part or hedge.volume, now)
            case "add":
                self.deals.append(deal(len(self.deals) + 1, DealEntry.IN, 0.5, time=now))
                self.held = replace(held, volume=float(Decimal(str(held.volume)) + Decimal("0.5")))
            case "close_all":
                self.out(held, held.volume, now)
            case "ticket":
                self.held = replace(held, ticket=held.ticket + 1)
            case "hide":
                self.hidden_until = now + 90


@dataclass
class Loop:
    """What the engine keeps between cycles, and the checks of every order on its way."""

    broker: Broker
    trade: Trade
    mode: Mode = Mode.PROTECT
    opposite: bool = True
    sequence: int = 0
    seen_at: float = 0.0
    intents: dict[int, Intent] = field(default_factory=dict)
    watched: dict[int, tuple[float, int]] = field(default_factory=dict)

    def cycle(
        self, price: float, spread: float, now: float, readings: dict[str, int], *, tick_age: float = 0.0
    ) -> None:
        broker = self.broker
        for due, order in list(broker.late):
            if due <= now:
                broker.late.remove((due, order))
                broker.execute(order, now)
        self.seen_at = now
        shown = broker.shown(now)
        self.settle(shown, now)
        self.reconcile(shown, now)
        before = self.trade
        position = shown if not before.state.final else next(iter(broker.own.values()), None)
        if position is None or before.frozen is Frozen.VERIFY:
            return
        view = market(now, median_spread=0.0001, m5_close=price, **readings)
        at = scene(position, price, now=now, spread=spread, spec=broker.spec, view=view, tick_age=tick_age)
        at = replace(at, own=dict(broker.own), opposite=self.opposite)
        if before.state.final:
            self.act(at)
            return
        decision = decide(before, at, self.mode, P)
        again = decide(decision.trade, at, self.mode, P)
        assert again.trade is decision.trade, "C-11: a repeated look is no other look"
        assert again.events == (), "C-11"
        self.trade = decision.trade
        moved = self.trade.state is not before.state
        assert self.trade.episode == before.episode + moved
        assert not moved or (before.state, self.trade.state) in MOVES
        assert not moved or (before.frozen is None and tick_age <= P.tick_stale_s), "C-18"
        self.tell(*decision.events)
        self.act(at)

    def settle(self, shown: Position | None, now: float) -> None:
        for intent in [i for i in self.intents.values() if i.state.open]:
            since, reads = self.watched.setdefault(intent.magic, (now, 0))
            self.watched[intent.magic] = (since, reads + 1)
            about = intent.before["identifier"]
            seen = shown if about == self.trade.identifier else self.broker.own.get(about or 0)
            deals = self.broker.of(about) if about is not None else self.broker.deals
            if effects.opens(intent):
                seen = next((p for p in self.broker.own.values() if p.magic == intent.magic), None)
            sighting = Sighting(position=seen, orders=(), deals=deals, connected_s=now - since, good_reads=reads + 1)
            after = evidence.settle(intent, sighting, self.broker.spec, now, P)
            if after is intent:
                continue
            done = evidence.done_volume(after, sighting, self.broker.spec)
            self.trade = effects.settled(self.trade, after, done, now, P)
            self.intents[intent.magic] = after
            self.tell(effects.action_event(self.trade, after, None, now))

    def reconcile(self, shown: Position | None, now: float) -> None:
        before = self.trade
        if before.state.final and shown is None:
            seen = reconcile.Reconciled(before)
        elif shown is None:
            seen = reconcile.absent(before, self.broker.of(1001), now, P)
        elif before.frozen is Frozen.INTENT:
            return
        else:
            seen = reconcile.present(before, shown, now, self.broker.spec.tick_size)
            assert reconcile.present(seen.trade, shown, now, self.broker.spec.tick_size).events == ()
        seen = self.with_hedge(seen, now)
        self.trade = after_removed_stop(before, seen.trade, now, self.mode, P)
        self.tell(*seen.events)

    def with_hedge(self, seen: reconcile.Reconciled, now: float) -> reconcile.Reconciled:
        trade, events, own = seen.trade, seen.events, self.broker.own
        if trade.frozen is not None or (trade.hedge is None and not own):
            return seen
        if trade.hedge is not None:
            known = own.get(trade.hedge.identifier)
            deals = self.broker.of(trade.hedge.identifier)
            about = hedging.shown(trade, known, now) if known is not None else hedging.absent(trade, deals, now, P)
            trade, events = about.trade, events + about.events
        open_magics = {i.magic for i in self.intents.values() if i.state.open}
        strays = {i: p for i, p in own.items() if p.magic not in open_magics}
        for step in (
            lambda t: hedging.strays(t, strays, now, self.mode, P),
            lambda t: hedging.too_large(t, self.broker.spec, now, self.mode, P),
            lambda t: hedging.orphan(t, now, self.mode, P),
        ):
            done = step(trade)
            trade, events = done.trade, events + done.events
        return reconcile.Reconciled(trade, events)

    def act(self, at: Scene) -> None:
        index = 0
        while index < len(self.trade.obligations) and self.trade.frozen is None and at.position.volume > 0:
            if self.waits():
                return
            obligation = self.trade.obligations[index]
            index += 1
            if obligation.status is not ObligationStatus.DUE or obligation.next_try_at > at.now:
                continue
            answer = plan(self.trade, obligation, at, 0, P)
            if not isinstance(answer, Send):
                shelved = shelve(self.trade, obligation, answer, at.now, self.mode, P)
                self.trade = shelved.trade
                self.tell(*shelved.events)
                continue
            self.sequence += 1
            order = replace(answer.order, magic=magic.make(17, self.sequence))
            self.check(order, obligation, at)
            self.trade, _, intent = effects.sent(self.trade, obligation, order, answer.target, at.now)
            self.keep(intent)
            outcome = self.broker.send(order, at.now)
            intent = effects.replied(intent, outcome, at.now)
            volume = outcome.value.volume or None if isinstance(outcome, Done) else None
            self.trade = effects.settled(self.trade, intent, volume, at.now, P)
            self.keep(intent)
            self.tell(effects.action_event(self.trade, intent, outcome, at.now))
            held = self.broker.position(at.position.ticket)
            if held is None:
                return
            at = replace(at, position=held, own=dict(self.broker.own))

    def waits(self) -> bool:
        """As the engine's Actor: an open order stops the rest, except what a closed position cannot meet any more."""
        mine = [i for i in self.intents.values() if i.state.open]
        if self.trade.state.final:
            mine = [i for i in mine if effects.opens(i) or i.before["identifier"] != self.trade.identifier]
        return bool(mine)

    def keep(self, intent: Intent) -> None:
        """The ledger's own rule: one intent per trade, kind, episode and leg."""
        self.intents[intent.magic] = intent
        legs = Counter((i.trade_id, i.kind, i.episode, i.leg) for i in self.intents.values())
        assert max(legs.values()) == 1
        assert INTENTS.validate_json(INTENTS.dump_json((intent,)))[0] == intent

    def check(self, order: Order, obligation: Obligation, at: Scene) -> None:
        """What must be true of every order at the moment it leaves."""
        spec, of, main = at.spec, self.trade, self.broker.held
        ours = order.ticket in {p.ticket for p in self.broker.own.values()}
        assert ours or order.ticket == at.position.ticket, "C-22"
        at_once = of.state.final or obligation.position is not None
        assert at_once or at.now - at.tick.time <= P.tick_stale_s, "C-18"
        assert self.mode is Mode.PROTECT
        assert ours or ownership.may_act(of, self.mode), "R24"
        assert ours or not of.state.final, "C-8"
        assert of.frozen is None
        assert not self.waits(), "C-23"
        if ours:
            assert isinstance(order, ClosePosition), "our own positions are closed and never moved"
            assert Decimal(str(order.volume)) % Decimal(str(spec.volume_step)) == 0, "C-13"
            return
        held = at.position
        assert main is not None
        price = at.tick.closing_price(held.side)
        if isinstance(order, ModifyStops):
            assert order.take_profit == held.take_profit, "C-2"
            closer = held.stop_loss is None or held.side.sign * (order.stop_loss - held.stop_loss) > 0
            assert closer, "C-1"
            room = held.side.sign * (price - order.stop_loss)
            floor = P.noise_floor_atr * at.view.atr + at.tick.spread
            assert room >= max(broker_distance(spec) - spec.tick_size / 2, floor - spec.tick_size / 1000), "R2"
            assert Decimal(str(order.stop_loss)) % Decimal(str(spec.tick_size)) == 0, "C-14"
            return
        assert Decimal(str(order.volume)) % Decimal(str(spec.volume_step)) == 0, "C-13"
        assert order.volume <= spec.volume_max, "C-13"
        if isinstance(order, OpenHedge):
            assert self.opposite, "C-16"
            assert order.side is not held.side, "C-5"
            assert of.hedge is None, "C-6"
            assert of.hedges < P.max_hedges, "R5"
            assert order.volume <= held.volume / 2, "C-5"
            room = None if held.stop_loss is None else held.side.sign * (price - held.stop_loss)
            assert room is None or room >= P.hedge_room_atr * at.view.atr, "R4"
            assert held.side.sign * (order.stop_loss - price) >= P.hedge_stop_atr * at.view.atr - spec.tick_size, "B7.3"
        elif obligation.kind is ObligationKind.CLOSE_ALL:
            known = of.hedge is not None and of.hedge.identifier in self.broker.own
            assert not known, "C-4: the hedge goes first"
        else:
            assert held.volume - order.volume >= spec.volume_min - 1e-9, "C-9"

    def tell(self, *events: Event) -> None:
        for event in events:
            assert EVENTS.validate_json(EVENTS.dump_json((event,)))[0] == event

    def check_trade(self) -> None:
        """What must be true of the trade between two cycles."""
        of = self.trade
        statuses = [o.status for o in of.obligations]
        sent = statuses.count(ObligationStatus.SENT)
        waiting = any(i.state.open for i in self.intents.values())
        assert sent <= waiting if of.state.final else sent == waiting
        assert sent == 0 or of.state.final or of.frozen in {Frozen.INTENT, Frozen.VERIFY}
        assert sent or of.frozen is not Frozen.INTENT
        if of.state.final:
            assert of.closed_reason == "UNVERIFIED" or self.broker.held is None, "C-17"
            assert all(o.kind is ObligationKind.CLOSE_HEDGE for o in of.obligations if o.status.live), "C-8"
            assert of.frozen in {None, Frozen.INTENT}  # the closing of its hedge may be without an answer
        elif not ownership.may_act(of, self.mode):
            due = [o for o in of.obligations if o.status is ObligationStatus.DUE]
            assert of.frozen is not None or all(o.position is not None for o in due), "R24"
        self.check_hedges()
        assert len(statuses) <= 24
        assert all(o.episode <= of.episode for o in of.obligations)
        assert of.partials <= P.max_partials
        whole = Decimal(str(of.initial_volume))
        assert self.broker.closed_in_part <= whole * 3 / 4, "C-9, by the broker's own books"
        for intent in self.intents.values():
            if intent.kind not in STOP_KINDS:
                planned = round(float(intent.plan["volume"]) / self.broker.spec.volume_step)
                assert self.broker.fills[intent.magic] <= planned, "C-12"
        assert TRADES.validate_json(TRADES.dump_json((of,)))[0] == of

    def check_hedges(self) -> None:
        """C-5 to C-7: what is wrong with our own positions is being put right, or somebody was told why not."""
        of, own = self.trade, self.broker.own
        closing = {o.position or (of.hedge.identifier if of.hedge else 0) for o in of.obligations if owed_close(o)}
        if self.mode is Mode.OBSERVE:
            assert not own
            return
        if of.frozen is not None or self.waits() or self.broker.hidden_until > self.seen_at:
            return
        linked = of.hedge.identifier if of.hedge is not None else None
        strange = {i for i in own if i != linked}
        assert strange <= closing, "C-6"
        if of.state.final and of.closed_reason != "UNVERIFIED":
            assert set(own) <= closing, "C-7"
        if of.hedge is not None and not of.state.final and of.hedge.volume > of.volume + 1e-9:
            assert linked in closing, "C-5"


def owed_close(o: Obligation) -> bool:
    return o.kind in {ObligationKind.CLOSE_HEDGE, ObligationKind.CLOSE_ALL} and o.status.live


def start(draw: random.Random, spec: SymbolSpec, side: Side, mode: Mode, *, opposite: bool = True) -> Loop:
    volume = draw.choice([0.01, 0.02, 0.05, 0.33, 1.0, 2.5])
    held = position(
        spec,
        side,
        volume=volume,
        stop_loss=draw.choice([None, round(1.1 - side.sign * 0.006, 5)]),
        take_profit=draw.choice([None, round(1.1 + side.sign * 0.02, 5)]),
    )
    opened = deal(1, DealEntry.IN, volume, side=side, time=T0)
    began = trade(held, armed=False)
    if mode is Mode.PROTECT and draw.random() < 0.5:  # half of them in danger, or hardly one would see a hedge
        wants = owed(ObligationKind.HEDGE)
        began = trade(held, state=TradeState.WARNING_L2, risk=0.006, score=-7.0, obligations=(wants,))
    return Loop(Broker(spec, draw, held, [opened]), began, mode, opposite)


SPECS = (
    EURUSD,
    replace(EURUSD, stops_level=40, freeze_level=15),
    replace(EURUSD, volume_max=0.4),
    replace(EURUSD, volume_min=0.02),
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    spec=st.sampled_from(SPECS),
    side=st.sampled_from(Side),
    mode=st.sampled_from([Mode.PROTECT, Mode.PROTECT, Mode.PROTECT, Mode.OBSERVE]),
    opposite=st.sampled_from([True, True, False]),
)
def test_whatever_market_broker_and_hands_do_the_invariants_hold_after_every_step(seed, spec, side, mode, opposite):
    play(seed, spec, side, mode, opposite=opposite)


def play(seed: int, spec: SymbolSpec, side: Side, mode: Mode, *, opposite: bool, steps: int = 200) -> Loop:
    draw = random.Random(seed)
    loop = start(draw, spec, side, mode, opposite=opposite)
    price, drift = 1.1, 0
    for n in range(steps):
        now = T0 + 5.0 + 60 * n
        if n % 15 == 0:
            drift = draw.choice([-1, -1, 0, 1]) * side.sign
        price = round(price + draw.gauss(drift * 0.00005, 0.0002), 5)
        if draw.random() < 0.06:
            what = draw.choice(HANDS)
            loop.broker.by_hand(what, price, now)
            if what == "hand_over" and draw.random() < 0.2:
                loop.trade = replace(loop.trade, owner=Owner.UNIVERSAL_MANAGER)
        names = ("structure", "vwap", "momentum", "ema", "candle")
        readings = {name: drift if draw.random() < 0.7 else draw.choice([-1, 0, 1]) for name in names}
        spread = draw.choice([0.0001, 0.0001, 0.0001, 0.0004, 0.0])
        loop.broker.market(price, now)
        loop.cycle(price, spread, now, readings, tick_age=draw.choice([0.0] * 9 + [600.0]))
        loop.check_trade()
    return loop


def test_the_loop_reaches_the_states_and_effects_it_is_meant_to_check():
    # A property over runs that never send anything would prove nothing.
    kinds: Counter[str] = Counter()
    for seed in range(25):
        draw = random.Random(seed)
        loop = start(draw, EURUSD, Side.BUY, Mode.PROTECT)
        for n in range(100):
            price = round(1.1 - 0.00002 * n + draw.gauss(0, 0.0002), 5)
            name = draw.choice(["structure", "vwap", "momentum"])
            loop.cycle(price, 0.0001, T0 + 5.0 + 60 * n, {"structure": -1, "vwap": -1, name: 0} if n % 40 else {})
            loop.check_trade()
            kinds[loop.trade.state.value] += 1
        kinds.update(f"{i.kind.value} {i.state.value}" for i in loop.intents.values())
        kinds.update(f"{i.resolution}" for i in loop.intents.values())
    wanted = {
        "WARNING_L1",
        "WARNING_L2",
        "tighten_stop CONFIRMED",
        "tighten_stop REJECTED",
        "tighten_stop NOT_EXECUTED",
        "partial_close CONFIRMED",
        "partial_close PARTIAL",
        "the stop loss is at its target or closer",
        "the volume is at its target or below",
    }
    assert wanted <= set(kinds)


def test_a_stop_only_ever_comes_closer_while_nobody_else_touches_it():
    loop = start(random.Random(3), EURUSD, Side.BUY, Mode.PROTECT)
    best = loop.trade.stop_loss or 0.0
    for n in range(150):
        loop.cycle(round(1.1 - 0.00001 * n, 5), 0.0001, T0 + 5.0 + 60 * n, {"structure": -1, "vwap": -1 + n % 3})
        assert loop.broker.held is not None
        now = loop.broker.held.stop_loss or 0.0
        assert now >= best
        best = now


def test_an_unanswered_first_order_is_never_sent_again_before_its_window_is_over():
    loop = start(random.Random(1), EURUSD, Side.BUY, Mode.PROTECT)
    loop.trade = replace(loop.trade, armed=True)

    def silent(order: ModifyStops | ClosePosition, now: float) -> Outcome[Fill]:
        sent.append(now)
        return Unknown("timeout", "no reply")

    sent: list[float] = []
    loop.broker.send = silent  # type: ignore[method-assign]
    for n in range(60):
        loop.cycle(1.1, 0.0001, T0 + 5.0 + 15 * n, {"structure": -1})
    assert len(sent) > 1
    assert all(later - earlier >= 60 for earlier, later in pairwise(sent))


@pytest.mark.parametrize("side", Side)
def test_a_quiet_market_changes_nothing_between_two_bars(side):
    loop = start(random.Random(2), EURUSD, side, Mode.PROTECT)
    loop.cycle(1.1, 0.0001, T0 + 5.0, {})
    first = loop.trade
    for n in range(1, 10):
        loop.cycle(1.1, 0.0001, T0 + 5.0 + 30 * n, {})
        assert loop.trade is first
