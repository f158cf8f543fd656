"""Random trading at the simulated terminal, compared after every operation with :mod:`account_model` to the cent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from account_brokers import INSTRUMENTS, LEVEL_UNIT, SESSIONS, STARTS, STOPS_LEVEL, Broker, decimal, utc
from account_model import (
    BUY,
    BUY_LIMIT,
    BUY_STOP,
    DAY,
    SELL,
    SELL_LIMIT,
    SELL_STOP,
    ZERO,
    Account,
    Deal,
    Money,
    Position,
    Ticks,
    Waiting,
)
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dtms_service.terminal.simulated.backend import open_backend

DONE, PARTIAL, NO_CHANGES = 10009, 10010, 10025
DEAL, PENDING, SLTP, MODIFY, REMOVE, CLOSE_BY = 1, 5, 6, 7, 8, 10
COPY_TICKS_ALL = -1
FOREVER = 2**31 - 1
MOST_POSITIONS, MOST_WAITING = 10, 6


@dataclass
class Tally:
    """What a run amounted to."""

    operations: int = 0
    machines: int = 0
    deals: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


SIDE = st.sampled_from([BUY, SELL])
SYMBOL = st.sampled_from(list(INSTRUMENTS))
DISTANCE = st.one_of(st.none(), st.integers(0, 60))
"""Of a level, in units beyond the stops level; None is no level."""
PICK = st.integers(0, 10**6)
HUNDREDTHS = st.one_of(st.integers(1, 20), st.integers(1, 10**6))
PAUSE = st.sampled_from([1, 14, 15, 15, 45, 60, 300, 900, 3600, 3 * 3600, 7 * 3600, 13 * 3600, 26 * 3600])


class AccountMachine(RuleBasedStateMachine):
    """Everything a trader can do, in random order. Subclasses of :func:`machine` say at which broker."""

    broker: ClassVar[Broker]
    market: ClassVar[Path]
    tally: ClassVar[Tally]

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: str) -> None:
        self.tally.machines += 1
        self.folder = tempfile.TemporaryDirectory()
        self.start = start
        self.offset = round(self.broker.account.get("server_utc_offset", 0.0) * 3600)
        self.terminal = self._opened()
        now = utc(start) + self.offset
        self.account = Account(self.broker.terms(), self.broker.instruments(), now)
        self.seen = len(self.terminal.history_deals_get(0, FOREVER))
        self.account.quotes = self._quotes()
        for one in self.account.instruments.values():
            info = self.terminal.symbol_info(one.name)
            assert (info.digits, Decimal(str(info.trade_contract_size))) == (one.digits, one.contract)
            assert (info.currency_base, info.currency_profit) == (one.base, one.profit)
            assert info.trade_stops_level == self._stops_level(one.name)

    def _opened(self) -> Any:
        """The terminal as a module of unknown answers: a None where there should be something fails at its use."""
        terminal = open_backend(
            {
                "state_dir": self.folder.name,
                "market": str(self.market),
                "seed": 7,
                "clock": "stepped",
                "start": self.start,
                "account": dict(self.broker.account),
                "symbols": [dict(body) for body in self.broker.symbols],
                "broker": {},
            }
        )
        assert terminal.initialize() is True
        for name in INSTRUMENTS:
            assert terminal.symbol_select(name, True)
        return terminal

    # --- orders for the market ---

    @precondition(lambda self: len(self.account.positions) < MOST_POSITIONS)
    @rule(symbol=SYMBOL, side=SIDE, size=HUNDREDTHS, sl=DISTANCE, tp=DISTANCE)
    def open(self, symbol: str, side: int, size: int, sl: int | None, tp: int | None) -> None:
        self._operation("open")
        levels = self._levels(symbol, side, self._closing_quote(symbol, side), sl, tp)
        wanted = Waiting(0, symbol, side, self._lots(size), ZERO, *levels)
        result = self._send(self._request(wanted, action=DEAL, **self._priced(symbol, side)))
        if self._accepted(result, self._barred(wanted)):
            assert result.price == float(self.account.open_price(symbol, side))
            self.account.trade(replace(wanted, ticket=result.order), self.account.open_price(symbol, side))

    @precondition(lambda self: self.account.positions)
    @rule(pick=PICK, share=st.integers(1, 4))
    def close(self, pick: int, share: int) -> None:
        """A quarter to the whole of a position, by its ticket."""
        self._operation("close")
        position = self._position(pick)
        volume = max(Decimal("0.01"), (position.volume * share / 4).quantize(Decimal("0.01")))
        result = self._send(self._closing(position, volume))
        if self._accepted(result, self._closed(position.symbol) | self._out_of_turn(position)):
            self.account.close(position, volume, self.account.close_price(position))

    @precondition(lambda self: self._pairs())
    @rule(pick=PICK)
    def close_by(self, pick: int) -> None:
        self._operation("close_by")
        pairs = self._pairs()
        one, other = pairs[pick % len(pairs)]
        result = self._send({"action": CLOSE_BY, "position": one.ticket, "position_by": other.ticket})
        if self._accepted(result, self._closed(one.symbol)):
            self.account.close_by(one, other)

    @precondition(lambda self: self.account.positions)
    @rule(pick=PICK, sl=DISTANCE, tp=DISTANCE)
    def protect(self, pick: int, sl: int | None, tp: int | None) -> None:
        self._operation("protect")
        position = self._position(pick)
        price = self._closing_quote(position.symbol, position.side)
        levels = self._levels(position.symbol, position.side, price, sl, tp)
        result = self._send(
            {"action": SLTP, "symbol": position.symbol, "position": position.ticket} | _levels_sent(levels)
        )
        same = {NO_CHANGES} if levels == (position.sl, position.tp) else set()
        if self._accepted(result, self._closed(position.symbol) | same):
            self.account.protect(position, *levels)

    # --- orders that wait ---

    @precondition(lambda self: self.broker.waiting and len(self.account.waiting) < MOST_WAITING)
    @rule(
        symbol=SYMBOL,
        kind=st.sampled_from([BUY_LIMIT, SELL_LIMIT, BUY_STOP, SELL_STOP]),
        size=HUNDREDTHS,
        away=st.integers(0, 60),
        sl=DISTANCE,
        tp=DISTANCE,
        lives=st.sampled_from([0, 0, 127, 3607, 20_003]),
    )
    def place(self, symbol: str, kind: int, size: int, away: int, sl: int | None, tp: int | None, lives: int) -> None:
        """``lives`` seconds, 0 for ever; never on a tick's instant, where two events would meet."""
        self._operation("place")
        price = self._waiting_price(symbol, kind, away)
        levels = self._levels(symbol, kind % 2, price, sl, tp)
        expiration = self._expiration(lives)
        wanted = Waiting(0, symbol, kind, self._lots(size), price, *levels, expiration)
        result = self._send(self._request(wanted, action=PENDING, type_filling=2))
        if self._accepted(result, self._closed(symbol) | self._over_limit(wanted)):
            self.account.waiting[result.order] = replace(wanted, ticket=result.order)

    @precondition(lambda self: self.account.waiting)
    @rule(
        pick=PICK,
        away=st.integers(0, 60),
        sl=DISTANCE,
        tp=DISTANCE,
        lives=st.sampled_from([None, None, 0, 3607]),
        keep=st.booleans(),
    )
    def modify(self, pick: int, away: int, sl: int | None, tp: int | None, lives: int | None, keep: bool) -> None:
        self._operation("modify")
        order = self._waiting(pick)
        price = order.price if keep else self._waiting_price(order.symbol, order.kind, away)
        levels = (order.sl, order.tp) if keep else self._levels(order.symbol, order.side, price, sl, tp)
        expiration = order.expiration if lives is None else self._expiration(lives)
        changed = replace(order, price=price, sl=levels[0], tp=levels[1], expiration=expiration)
        request = self._request(changed, action=MODIFY, order=order.ticket)
        barred = self._closed(order.symbol)
        if changed == order:
            barred |= {NO_CHANGES}
        elif keep and self._too_near(order):
            barred |= {10015}
        if self._accepted(self._send(request), barred):
            self.account.waiting[order.ticket] = changed

    @precondition(lambda self: self.account.waiting)
    @rule(pick=PICK)
    def remove(self, pick: int) -> None:
        self._operation("remove")
        order = self._waiting(pick)
        if self._accepted(self._send({"action": REMOVE, "order": order.ticket}), self._closed(order.symbol)):
            del self.account.waiting[order.ticket]

    # --- a hand at the terminal ---

    @precondition(lambda self: len(self.account.positions) < MOST_POSITIONS)
    @rule(symbol=SYMBOL, side=SIDE, size=HUNDREDTHS, sl=DISTANCE, tp=DISTANCE)
    def open_by_hand(self, symbol: str, side: int, size: int, sl: int | None, tp: int | None) -> None:
        self._operation("open_by_hand")
        levels = self._levels(symbol, side, self._closing_quote(symbol, side), sl, tp)
        wanted = Waiting(0, symbol, side, self._lots(size), ZERO, *levels)
        body = {
            "symbol": symbol,
            "side": "BUY" if side == BUY else "SELL",
            "volume": float(wanted.volume),
            "stop_loss": float(levels[0]),
            "take_profit": float(levels[1]),
        }
        answer = self._by_hand(lambda: self.terminal.simulator_open_position(body), self._barred(wanted))
        if answer is not None:
            turned = self._turns(wanted)
            self.account.trade(replace(wanted, ticket=self._order_of_last_deal()), self._price_of(wanted))
            assert not turned or answer["identifier"] == turned.identifier

    @precondition(lambda self: self.account.positions)
    @rule(pick=PICK, sl=DISTANCE, tp=DISTANCE)
    def change_by_hand(self, pick: int, sl: int | None, tp: int | None) -> None:
        self._operation("change_by_hand")
        position = self._position(pick)
        price = self._closing_quote(position.symbol, position.side)
        levels = self._levels(position.symbol, position.side, price, sl, tp)
        body = {"stop_loss": float(levels[0]) or None, "take_profit": float(levels[1]) or None}
        barred = set() if levels == (position.sl, position.tp) else self._closed(position.symbol)
        change = self.terminal.simulator_change_position
        if self._by_hand(lambda: change(position.ticket, body), barred) is not None:
            self.account.protect(position, *levels)

    @precondition(lambda self: self.account.positions)
    @rule(pick=PICK, share=st.integers(1, 4))
    def close_by_hand(self, pick: int, share: int) -> None:
        self._operation("close_by_hand")
        position = self._position(pick)
        volume = max(Decimal("0.01"), (position.volume * share / 4).quantize(Decimal("0.01")))
        barred = self._closed(position.symbol) | self._out_of_turn(position)
        close = self.terminal.simulator_close_position
        if self._by_hand(lambda: close(position.ticket, float(volume)), barred) is not None:
            self.account.close(position, volume, self.account.close_price(position), 0)

    # --- what must change nothing ---

    @rule(symbol=SYMBOL, side=SIDE, pick=PICK, which=PICK)
    def refused(self, symbol: str, side: int, pick: int, which: int) -> None:
        """A request with one thing wrong, and the return codes published for it."""
        self._operation("refused")
        wrong = self._wrong_requests(symbol, side, pick)
        name = sorted(wrong)[which % len(wrong)]
        request, codes = wrong[name]
        result = self._send(request)
        if codes:
            codes |= self._closed(symbol) | self._hedges(symbol, side)
            assert result.retcode in codes, f"{name}: {result}"
        else:
            assert result is None, f"{name}: {result}"

    def _wrong_requests(self, symbol: str, side: int, pick: int) -> dict[str, tuple[dict[str, Any], set[int]]]:
        good = self._request(Waiting(0, symbol, side, Decimal("0.1"), ZERO, ZERO, ZERO), action=DEAL)
        good |= self._priced(symbol, side)
        sign = 1 if side == BUY else -1
        point = self.account.instruments[symbol].point
        beyond = float(self._closing_quote(symbol, side) + sign * 100 * point)
        under = float(self._closing_quote(symbol, side) - sign * 100 * point)
        limit = good | {"action": PENDING, "type": 2 + side, "type_filling": 2}
        wrong: dict[str, tuple[dict[str, Any], set[int]]] = {
            "dust": (good | {"volume": 0.001}, {10014}),
            "off the step": (good | {"volume": 0.015}, {10014}),
            "too large": (good | {"volume": 100.01}, {10014}),
            "no volume": (good | {"volume": 0.0}, {10014}),
            "whole lots as int": (good | {"volume": 1}, set()),
            "a long comment": (good | {"comment": "x" * 30}, set()),
            "unheard of": (good | {"action": 99}, {10013}),
            "unknown symbol": (good | {"symbol": "NOPE"}, {10013, 10018}),
            "stop on the wrong side": (good | {"sl": beyond}, {10016}),
            "target on the wrong side": (good | {"tp": under}, {10016}),
            "limit on the wrong side": (limit | {"price": beyond}, {10015}),
            "limit without a price": (limit | {"price": 0.0}, {10015}),
            "limit of yesterday": (
                limit | {"price": under, "type_time": 2, "expiration": self.account.now - DAY},
                {10022},
            ),
            "no such position": (good | {"position": 1, "type": 1 - side}, {10036}),
            "no such order": ({"action": REMOVE, "order": 1}, {10013}),
        }
        if not self.broker.waiting:
            wrong = {name: one for name, one in wrong.items() if not name.startswith("limit")}
        if self.account.positions:
            position = self._position(pick)
            closing = self._closing(position, position.volume)
            shut = self._closed(position.symbol)
            levels = {"sl": float(position.sl), "tp": float(position.tp)}
            if self.account.terms.hedging:  # netted, nothing published says what the rest of the volume does
                more = float(position.volume + Decimal("0.01"))
                wrong["more than there is"] = (closing | {"volume": more}, {10038} | shut)
            wrong |= {
                "the same direction": (closing | {"type": position.side}, {10013} | shut),
                "nothing new": ({"action": SLTP, "position": position.ticket} | levels, {NO_CHANGES} | shut),
                "by itself": (
                    {"action": CLOSE_BY, "position": position.ticket, "position_by": position.ticket},
                    {10013, 10035} | shut,
                ),
            }
        return wrong

    # --- time ---

    @rule(pause=PAUSE, restart=st.sampled_from([False] * 5 + [True]))
    def wait(self, pause: int, restart: bool) -> None:
        """The terminal may have been shut down and started again before."""
        self._operation("restart" if restart else "wait")
        if restart:
            self.terminal.close()
            self.terminal = self._opened()
        self._advance(min(pause, self.broker.patience))

    @rule(ticks=st.integers(1, 40))
    def watch(self, ticks: int) -> None:
        """Some ticks of a quarter of a minute."""
        self._operation("watch")
        self._advance(15 * ticks - self.account.now % 15)

    def _advance(self, seconds: int) -> None:
        until = self.account.now + seconds
        self.terminal.simulator_advance(float(until - self.offset))
        self.account.play({name: self._ticks(name, until) for name in INSTRUMENTS}, until)
        assert self.account.quotes == self._quotes()

    def _ticks(self, name: str, until: int) -> Ticks:
        found = self.terminal.copy_ticks_range(name, self.account.now + 1, until, COPY_TICKS_ALL)
        assert found is not None, self.terminal.last_error()
        scale = 10 ** INSTRUMENTS[name].digits
        bid, ask = (np.rint(found[side] * scale).astype(np.int64) for side in ("bid", "ask"))
        return Ticks(found["time"], bid, ask)

    # --- what the rules expect ---

    def _closed(self, symbol: str) -> set[int]:
        """The market is closed outside the sessions of its bars."""
        del symbol
        utc = self.account.now - self.offset
        return set() if any(begin <= utc < end for begin, end in SESSIONS) else {10018}

    def _barred(self, wanted: Waiting) -> set[int]:
        """Return codes that may meet an opening order; empty when it must be done."""
        barred = self._closed(wanted.symbol) | self._over_limit(wanted)
        barred |= self._hedges(wanted.symbol, wanted.side)
        if not self.account.affords(wanted, self._price_of(wanted)):
            barred |= {10019}
        liquidity = self._liquidity(wanted.symbol)
        if liquidity and wanted.volume > liquidity:
            barred |= {10006}
        return barred

    def _hedges(self, symbol: str, side: int) -> set[int]:
        prohibited = self._fifo() or self.broker.account.get("hedge_prohibited")
        against = any(p.side != side for p in self.account.of_symbol(symbol))
        return {10046} if prohibited and against else set()

    def _out_of_turn(self, position: Position) -> set[int]:
        older = (p for p in self.account.of_symbol(position.symbol) if p.ticket < position.ticket)
        return {10045} if self._fifo() and any(older) else set()

    def _over_limit(self, wanted: Waiting) -> set[int]:
        limit = decimal(self.broker.told(wanted.symbol, "volume_limit", 0.0))
        held: list[Position | Waiting] = [*self.account.positions.values(), *self.account.waiting.values()]
        lots = sum((one.volume for one in held if (one.symbol, one.side) == (wanted.symbol, wanted.side)), ZERO)
        return {10034} if limit and lots + wanted.volume > limit else set()

    def _liquidity(self, symbol: str) -> Decimal:
        return decimal(self.broker.told(symbol, "liquidity", 0.0))

    def _fifo(self) -> bool:
        return bool(self.broker.account.get("fifo_close", False))

    def _turns(self, wanted: Waiting) -> Position | None:
        held = [] if self.account.terms.hedging else self.account.of_symbol(wanted.symbol)
        return held[0] if held else None

    def _accepted(self, result: Any, barred: set[int]) -> bool:
        """Whether it was done; asserts that it was exactly when nothing barred it."""
        assert result is not None, self.terminal.last_error()
        if barred:
            assert result.retcode in barred, f"expected one of {barred}: {result}"
            return False
        assert result.retcode == DONE, result
        return True

    def _by_hand(self, act: Callable[[], dict[str, Any]], barred: set[int]) -> dict[str, Any] | None:
        answer = None
        with suppress(ValueError):
            answer = act()
        assert (answer is None) == bool(barred), f"barred by {barred or 'nothing'}: {answer}"
        return answer

    # --- requests ---

    def _operation(self, kind: str) -> None:
        self.tally.operations += 1
        self.tally.count(kind)

    def _send(self, request: Mapping[str, Any]) -> Any:
        return self.terminal.order_send(**request)

    def _request(self, wanted: Waiting, **more: Any) -> dict[str, Any]:
        timed = {"type_time": 2, "expiration": wanted.expiration} if wanted.expiration else {}
        request = {
            "symbol": wanted.symbol,
            "volume": float(wanted.volume),
            "type": wanted.kind,
            "price": float(wanted.price),
        }
        return request | timed | _levels_sent((wanted.sl, wanted.tp)) | more

    def _closing(self, position: Position, volume: Decimal) -> dict[str, Any]:
        side = 1 - position.side
        request = {"action": DEAL, "symbol": position.symbol, "position": position.ticket, "type": side}
        return request | {"volume": float(volume)} | self._priced(position.symbol, side)

    def _priced(self, symbol: str, side: int) -> dict[str, Any]:
        """Instant execution wants the price; the others do not look at it."""
        return {"price": float(self.account.open_price(symbol, side)), "deviation": 0}

    def _price_of(self, wanted: Waiting) -> Decimal:
        return self.account.open_price(wanted.symbol, wanted.side)

    def _order_of_last_deal(self) -> int:
        return int(self.terminal.history_deals_get(0, FOREVER)[-1].order)

    def _lots(self, size: int) -> Decimal:
        return Decimal(1 + (size - 1) % self.broker.lots).scaleb(-2)

    def _position(self, pick: int) -> Position:
        held = sorted(self.account.positions.values(), key=lambda p: p.ticket)
        return held[pick % len(held)]

    def _waiting(self, pick: int) -> Waiting:
        orders = sorted(self.account.waiting)
        return self.account.waiting[orders[pick % len(orders)]]

    def _pairs(self) -> list[tuple[Position, Position]]:
        held = sorted(self.account.positions.values(), key=lambda p: p.ticket)
        return [(p, q) for p in held for q in held if p.symbol == q.symbol and p.side != q.side]

    def _closing_quote(self, symbol: str, side: int) -> Decimal:
        """The price a position of ``side`` would be closed at, from which its levels are measured."""
        return self.account.quotes[symbol][side]

    def _stops_level(self, symbol: str) -> int:
        return int(self.broker.told(symbol, "stops_level", STOPS_LEVEL[symbol]))

    def _away(self, symbol: str, units: int) -> Decimal:
        points = max(1, self._stops_level(symbol)) + units * LEVEL_UNIT[symbol]
        return points * self.account.instruments[symbol].point

    def _levels(
        self, symbol: str, side: int, price: Decimal, sl: int | None, tp: int | None
    ) -> tuple[Decimal, Decimal]:
        sign = 1 if side == BUY else -1
        return (
            ZERO if sl is None or not self.broker.stops else price - sign * self._away(symbol, sl),
            ZERO if tp is None else price + sign * self._away(symbol, tp),
        )

    def _waiting_price(self, symbol: str, kind: int, units: int) -> Decimal:
        down = kind in (BUY_LIMIT, SELL_STOP)
        return self.account.open_price(symbol, kind % 2) + (-1 if down else 1) * self._away(symbol, units)

    def _too_near(self, order: Waiting) -> bool:
        down = order.kind in (BUY_LIMIT, SELL_STOP)
        price = self.account.open_price(order.symbol, order.side)
        return (-1 if down else 1) * (order.price - price) < self._away(order.symbol, 0)

    def _expiration(self, lives: int) -> int:
        return self.account.now - self.account.now % 15 + lives if lives else 0

    # --- the comparison ---

    def _quotes(self) -> dict[str, tuple[Decimal, Decimal]]:
        found = {}
        for name, one in INSTRUMENTS.items():
            tick = self.terminal.symbol_info_tick(name)
            found[name] = (one.price(tick.bid), one.price(tick.ask))
        return found

    @invariant()
    def deals_agree(self) -> None:
        """Every deal since the last look, in order; then nothing of them is kept."""
        rows = self.terminal.history_deals_get(0, FOREVER)[self.seen :]
        found = [
            Deal(
                row.time, row.symbol, row.type, row.entry, row.reason, row.position_id, decimal(row.volume),
                _price(row.price), Money(decimal(row.profit), decimal(row.commission), decimal(row.swap)),
            )
            for row in rows
        ]  # fmt: skip
        wanted = [deal._replace(price=_price(deal.price)) for deal in self.account.deals]
        assert found == wanted, _told(found, wanted)
        assert all(row.fee == 0.0 for row in rows)
        self.tally.deals += len(rows)
        for row in rows:
            self.tally.count(f"entry {row.entry} reason {row.reason}")
        self.seen += len(rows)
        self.account.deals.clear()

    @invariant()
    def orders_agree(self) -> None:
        found = {
            row.ticket: Waiting(
                row.ticket, row.symbol, row.type, decimal(row.volume_current), decimal(row.price_open),
                decimal(row.sl), decimal(row.tp), row.time_expiration,
            )
            for row in self.terminal.orders_get()
        }  # fmt: skip
        assert found == self.account.waiting, _told(found.values(), self.account.waiting.values())

    @invariant()
    def positions_agree(self) -> None:
        rows = self.terminal.positions_get()
        self._learn_tickets({row.identifier: row.ticket for row in rows})
        found = {
            row.identifier: (
                row.ticket, row.symbol, row.type, decimal(row.volume), _price(row.price_open), decimal(row.sl),
                decimal(row.tp), decimal(row.swap), decimal(row.profit), _price(row.price_current),
            )
            for row in rows
        }  # fmt: skip
        wanted = {
            p.identifier: (
                p.ticket, p.symbol, p.side, p.volume, _price(p.price_open), p.sl, p.tp, p.swap,
                self.account.floating(p), _price(Fraction(self.account.close_price(p))),
            )
            for p in self.account.positions.values()
        }  # fmt: skip
        assert found == wanted, _told(found.values(), wanted.values())

    def _learn_tickets(self, tickets: Mapping[int, int]) -> None:
        """A position that the broker opened again has a new ticket, larger than all before and in the same order."""
        new = sorted((p for p in self.account.positions.values() if p.ticket < 0), key=lambda p: -p.ticket)
        known = [p.ticket for p in self.account.positions.values() if p.ticket > 0]
        given = [tickets.get(p.identifier, 0) for p in new]
        assert given == sorted(set(given)), f"new tickets {given}"
        assert not new or min(given) > max(known, default=0)
        for position, ticket in zip(new, given, strict=True):
            self.account.positions[position.identifier] = replace(position, ticket=ticket)

    @invariant()
    def then_money_agrees(self) -> None:
        info, account = self.terminal.account_info(), self.account
        found = [decimal(money) for money in (info.balance, info.equity, info.margin, info.margin_free)]
        equity, margin = account.equity, account.margin
        wanted = [account.balance, equity, margin, equity - margin]
        assert found == wanted, f"balance, equity, margin, free margin: terminal {found}, rules {wanted}"
        level = 100 * equity / margin if margin else ZERO
        assert abs(decimal(info.margin_level) - level) <= Decimal("0.0051"), (
            f"margin level {info.margin_level}, {level}"
        )

    def teardown(self) -> None:
        self.terminal.close()
        self.folder.cleanup()


def machine(broker: Broker, market: Path, tally: Tally) -> type[AccountMachine]:
    """The machine of one broker; ``market`` is a folder of ``account_brokers.write_market``."""
    return type(f"Account_{broker.name}", (AccountMachine,), {"broker": broker, "market": market, "tally": tally})


def _levels_sent(levels: tuple[Decimal, Decimal]) -> dict[str, float]:
    return {"sl": float(levels[0]), "tp": float(levels[1])}


def _price(value: float | Fraction) -> Fraction:
    """A price that may be a mean, to nine decimals."""
    return round(Fraction(value), 9)


def _told(found: Any, wanted: Any) -> str:
    lines = ["terminal:", *(f"  {one}" for one in found), "rules:", *(f"  {one}" for one in wanted)]
    return "\n".join(lines)
