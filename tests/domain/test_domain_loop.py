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
from domain_values import EURUSD, T0, P, deal, market, position, scene, trade
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter

from dtms_service.domain import effects, evidence, magic, ownership, reconcile
from dtms_service.domain.evidence import Sighting
from dtms_service.domain.levels import broker_distance, volume_minus
from dtms_service.domain.orders import ClosePosition, Fill, ModifyStops
from dtms_service.domain.outcome import Done, Outcome, Refused, Unknown
from dtms_service.domain.plan import Send, plan
from dtms_service.domain.policy import Scene, after_removed_stop, decide
from dtms_service.domain.shelve import shelve
from dtms_service.domain.states import TradeState
from dtms_service.domain.trade import Event, Frozen, Intent, Mode, ObligationStatus, Owner, Trade
from dtms_service.domain.values import Deal, DealEntry, DealReason, Position, Side, SymbolSpec

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
TRADES = TypeAdapter(tuple[Trade], config=STRICT)
INTENTS = TypeAdapter(tuple[Intent], config=STRICT)
EVENTS = TypeAdapter(tuple[Event], config=STRICT)
LEVEL = {TradeState.HEALTHY: 0, TradeState.WARNING_L1: 1, TradeState.WARNING_L2: 2}

ANSWERS = (
    "done",
    "done",
    "done",
    "refused",
    "too_near",
    "partial",
    "placed",
    "lost",
    "lost_unsigned",
    "lost_late",
    "lost_not_done",
    "lost_partial",
)
HANDS = ("tighten", "loosen", "remove", "target", "close_part", "add", "close_all", "ticket", "hide", "hand_over")


@dataclass
class Broker:
    """One position, what was done to it, and how the next order will be answered."""

    spec: SymbolSpec
    draw: random.Random
    held: Position | None
    deals: list[Deal] = field(default_factory=list)
    late: list[tuple[float, ModifyStops | ClosePosition]] = field(default_factory=list)
    closed_by_us: Decimal = Decimal(0)
    hidden_until: float = 0.0

    def shown(self, now: float) -> Position | None:
        return self.held if now >= self.hidden_until else None

    def send(self, order: ModifyStops | ClosePosition, now: float) -> Outcome[Fill]:
        answer = self.draw.choice(ANSWERS)
        if answer == "refused" or self.held is None:
            return Refused("rejected", "no", 10006)
        if answer == "too_near":
            return Refused("invalid_stops", "too near", 10016)
        if answer == "lost_not_done":
            return Unknown("timeout", "no reply")
        if answer == "lost_late":
            self.late.append((now + 30, order))
            return Unknown("timeout", "no reply")
        share = 0.5 if answer in {"partial", "lost_partial"} else 1.0
        done = self.execute(order, now, share, signed=answer != "lost_unsigned")
        if answer.startswith("lost"):
            return Unknown("timeout", "no reply")
        placed = answer == "placed" and isinstance(order, ClosePosition)
        volume = 0.0 if placed else done
        return Done(Fill(10008 if placed else 10009, 5000 + len(self.deals), 0, volume, 1.1, "done", 1.0))

    def execute(
        self, order: ModifyStops | ClosePosition, now: float, share: float = 1.0, *, signed: bool = True
    ) -> float:
        if self.held is None:
            return 0.0
        if isinstance(order, ModifyStops):
            self.held = replace(self.held, stop_loss=order.stop_loss, take_profit=order.take_profit)
            return 0.0
        wanted = min(Decimal(str(order.volume)), Decimal(str(self.held.volume)))
        step = Decimal(str(self.spec.volume_step))
        done = max(step, wanted * Decimal(str(share)) // step * step)
        self.closed_by_us += done
        self.out(float(done), now, magic=order.magic if signed else 0, reason=DealReason.EXPERT)
        return float(done)

    def out(self, volume: float, now: float, **facts: object) -> None:
        assert self.held is not None
        left = volume_minus(self.held.volume, volume)
        number = len(self.deals) + 1
        self.deals.append(deal(number, DealEntry.OUT, volume, order=5000 + number, time=now, **facts))
        self.held = replace(self.held, volume=left) if left > 0 else None

    def by_hand(self, what: str, price: float, now: float) -> None:
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
                self.out(round(held.volume / 4, 2) or 0.01, now)
            case "add":
                self.deals.append(deal(len(self.deals) + 1, DealEntry.IN, 0.5, time=now))
                self.held = replace(held, volume=float(Decimal(str(held.volume)) + Decimal("0.5")))
            case "close_all":
                self.out(held.volume, now)
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
    sequence: int = 0
    intents: dict[int, Intent] = field(default_factory=dict)
    watched: dict[int, tuple[float, int]] = field(default_factory=dict)

    def cycle(self, price: float, spread: float, now: float, readings: dict[str, int]) -> None:
        broker = self.broker
        for due, order in list(broker.late):
            if due <= now:
                broker.late.remove((due, order))
                broker.execute(order, now)
        shown = broker.shown(now)
        self.settle(shown, now)
        self.reconcile(shown, now)
        before = self.trade
        if shown is None or before.state.final or before.frozen is Frozen.VERIFY:
            return
        view = market(now, median_spread=0.0001, m5_close=price, **readings)
        at = scene(shown, price, now=now, spread=spread, spec=broker.spec, view=view)
        decision = decide(before, at, self.mode, P)
        again = decide(decision.trade, at, self.mode, P)
        assert again.trade is decision.trade  # a repeated look is no other look
        assert again.events == ()
        self.trade = decision.trade
        moved = self.trade.state is not before.state
        assert self.trade.episode == before.episode + moved
        assert abs(LEVEL[self.trade.state] - LEVEL[before.state]) <= 1
        assert not moved or before.frozen is None
        self.act(at)
        self.tell(*decision.events)

    def settle(self, shown: Position | None, now: float) -> None:
        for intent in [i for i in self.intents.values() if i.state.open]:
            since, reads = self.watched.setdefault(intent.magic, (now, 0))
            self.watched[intent.magic] = (since, reads + 1)
            sighting = Sighting(
                position=shown, orders=(), deals=self.broker.deals, connected_s=now - since, good_reads=reads + 1
            )
            after = evidence.settle(intent, sighting, self.broker.spec, now, P)
            if after is intent:
                continue
            volume = sum(d.volume for d in self.broker.deals if d.magic == intent.magic)
            self.trade = effects.settled(self.trade, after, volume or None, now, P)
            self.intents[intent.magic] = after
            self.tell(effects.action_event(self.trade, after, None, now))

    def reconcile(self, shown: Position | None, now: float) -> None:
        before = self.trade
        if before.state.final and shown is None:
            return
        if shown is None:
            seen = reconcile.absent(before, self.broker.deals, now, P)
        elif before.frozen is Frozen.INTENT:
            return
        else:
            seen = reconcile.present(before, shown, now, self.broker.spec.tick_size)
            assert reconcile.present(seen.trade, shown, now, self.broker.spec.tick_size).events == ()
        self.trade = after_removed_stop(before, seen.trade, now, self.mode, P)
        self.tell(*seen.events)

    def act(self, at: Scene) -> None:
        index = 0
        while index < len(self.trade.obligations) and self.trade.frozen is None:
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
            self.check(order, at)
            self.trade, _, intent = effects.sent(self.trade, obligation, order, answer.target, at.now)
            self.keep(intent)
            outcome = self.broker.send(order, at.now)
            intent = effects.replied(intent, outcome, at.now)
            volume = outcome.value.volume or None if isinstance(outcome, Done) else None
            self.trade = effects.settled(self.trade, intent, volume, at.now, P)
            self.keep(intent)
            self.tell(effects.action_event(self.trade, intent, outcome, at.now))
            if self.broker.held is None:
                return
            at = replace(at, position=replace(at.position, volume=self.trade.volume, stop_loss=self.trade.stop_loss))

    def keep(self, intent: Intent) -> None:
        """The ledger's own rule: one intent per trade, kind, episode and leg."""
        self.intents[intent.magic] = intent
        legs = Counter((i.trade_id, i.kind, i.episode, i.leg) for i in self.intents.values())
        assert max(legs.values()) == 1
        assert INTENTS.validate_json(INTENTS.dump_json((intent,)))[0] == intent

    def check(self, order: ModifyStops | ClosePosition, at: Scene) -> None:
        """What must be true of every order at the moment it leaves."""
        held, spec, of = at.position, at.spec, self.trade
        assert ownership.may_act(of, self.mode)  # R24
        assert not of.state.final  # C-8
        assert of.frozen is None
        assert not any(i.state.open for i in self.intents.values())  # C-23
        price = at.tick.closing_price(held.side)
        if isinstance(order, ModifyStops):
            assert order.take_profit == held.take_profit  # C-2
            assert held.stop_loss is None or held.side.sign * (order.stop_loss - held.stop_loss) > 0  # C-1
            room = held.side.sign * (price - order.stop_loss)
            floor = P.noise_floor_atr * at.view.atr + at.tick.spread  # R2
            assert room >= max(broker_distance(spec) - spec.tick_size / 2, floor - spec.tick_size / 1000)
            assert Decimal(str(order.stop_loss)) % Decimal(str(spec.tick_size)) == 0
        else:
            assert Decimal(str(order.volume)) % Decimal(str(spec.volume_step)) == 0
            assert spec.volume_min <= order.volume <= spec.volume_max
            assert held.volume - order.volume >= spec.volume_min - 1e-9

    def tell(self, *events: Event) -> None:
        for event in events:
            assert EVENTS.validate_json(EVENTS.dump_json((event,)))[0] == event

    def check_trade(self) -> None:
        """What must be true of the trade between two cycles."""
        of = self.trade
        statuses = [o.status for o in of.obligations]
        sent = statuses.count(ObligationStatus.SENT)
        assert sent == (not of.state.final and any(i.state.open for i in self.intents.values()))
        assert sent == 0 or of.frozen in {Frozen.INTENT, Frozen.VERIFY}
        assert sent or of.frozen is not Frozen.INTENT
        if of.state.final:
            assert not any(s.live for s in statuses)
            assert of.frozen is None
        if not ownership.may_act(of, self.mode):
            assert of.state.final or ObligationStatus.DUE not in statuses or of.frozen is not None
        assert len(statuses) <= 16
        assert all(o.episode <= of.episode for o in of.obligations)
        assert of.partials <= P.max_partials
        half = Decimal(str(of.initial_volume)) / 2
        assert self.broker.closed_by_us <= half  # C-9, by the broker's own books
        assert TRADES.validate_json(TRADES.dump_json((of,)))[0] == of


def start(draw: random.Random, spec: SymbolSpec, side: Side, mode: Mode) -> Loop:
    volume = draw.choice([0.01, 0.02, 0.05, 0.33, 1.0, 2.5])
    held = position(
        spec,
        side,
        volume=volume,
        stop_loss=draw.choice([None, round(1.1 - side.sign * 0.006, 5)]),
        take_profit=draw.choice([None, round(1.1 + side.sign * 0.02, 5)]),
    )
    opened = deal(1, DealEntry.IN, volume, side=side, time=T0)
    return Loop(Broker(spec, draw, held, [opened]), trade(held, armed=False), mode)


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
)
def test_whatever_market_broker_and_hands_do_the_invariants_hold_after_every_step(seed, spec, side, mode):
    draw = random.Random(seed)
    loop = start(draw, spec, side, mode)
    price, drift = 1.1, 0
    for n in range(200):
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
        loop.cycle(price, spread, now, readings)
        loop.check_trade()


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
