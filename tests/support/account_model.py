"""An account of MetaTrader 5 kept a second time, in decimals, from the broker's published rules.

It shares no code with the simulated terminal and reads none of its books. It is told what was asked for and which
prices there were, and says what must have come of it. Times are server seconds, prices and money ``Decimal``,
volumes lots. Prices between two instants come as :class:`Ticks`, in points.

Where the published rules leave a choice, the choice is named at its place and begins with "Convention".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY = 86_400
BUY, SELL = 0, 1
BUY_LIMIT, SELL_LIMIT, BUY_STOP, SELL_STOP = 2, 3, 4, 5
IN, OUT, INOUT, OUT_BY = 0, 1, 2, 3
CLIENT, EXPERT, STOP_LOSS, TAKE_PROFIT, STOP_OUT, ROLLOVER = 0, 3, 4, 5, 6, 7
ZERO = Decimal(0)
FAR_FROM_STOP_OUT = 20
"""Equity over margin above which no tick is looked at for a stop-out: at leverage 100 it takes a move of 19 %."""


def cents(amount: Fraction) -> Decimal:
    """To cents, half a cent away from zero. Exact: a mean price of thirds makes halves of a cent, too."""
    whole = int(abs(amount) * 100 + Fraction(1, 2))
    return Decimal(whole if amount >= 0 else -whole).scaleb(-2)


@dataclass(frozen=True)
class Instrument:
    """A symbol. ``swap_*`` in points, or in money per lot; ``margin_hedged`` is a contract size, None the usual one."""

    name: str
    base: str
    profit: str
    digits: int
    contract: Decimal = Decimal(100_000)
    leveraged_cfd: bool = False
    """False is forex: margin in the base currency. True: margin of the opening price, in the profit currency."""
    bar_seconds: int = 60
    margin_rate: Decimal = Decimal(1)
    margin_hedged: Decimal | None = None
    use_leg: bool = False
    swap_mode: str = "disabled"
    swap_long: Decimal = ZERO
    swap_short: Decimal = ZERO
    triple_day: int = 3

    @property
    def point(self) -> Decimal:
        return Decimal(1).scaleb(-self.digits)

    def price(self, value: float) -> Decimal:
        """A price of the terminal, without what a float adds to its digits."""
        return Decimal(repr(value)).quantize(self.point, ROUND_HALF_UP)


@dataclass(frozen=True)
class Terms:
    """``commission`` per lot and deal, ``stop_out`` in percent."""

    balance: Decimal
    currency: str
    leverage: int
    hedging: bool
    commission: Decimal = ZERO
    stop_out: Decimal = Decimal(50)


@dataclass(frozen=True)
class Position:
    """``ticket`` is negative while only the terminal knows it."""

    ticket: int
    identifier: int
    symbol: str
    side: int
    volume: Decimal
    price_open: Fraction
    """A mean on netting accounts, hence no decimal."""
    sl: Decimal
    tp: Decimal
    swap: Decimal = ZERO


@dataclass(frozen=True)
class Waiting:
    """A pending order; ``expiration`` in server seconds, 0 for none."""

    ticket: int
    symbol: str
    kind: int
    volume: Decimal
    price: Decimal
    sl: Decimal
    tp: Decimal
    expiration: int = 0

    @property
    def side(self) -> int:
        return self.kind % 2

    @property
    def limit(self) -> bool:
        return self.kind in (BUY_LIMIT, SELL_LIMIT)


class Money(NamedTuple):
    """What a deal does to the balance."""

    profit: Decimal
    commission: Decimal
    swap: Decimal


class Deal(NamedTuple):
    """One deal of the history, as far as the rules decide it."""

    time: int
    symbol: str
    type: int
    entry: int
    reason: int
    position_id: int
    volume: Decimal
    price: Fraction
    money: Money


class Ticks(NamedTuple):
    """Quotes of one symbol in ascending order; prices in points, all arrays of one length."""

    time: NDArray[np.int64]
    bid: NDArray[np.int64]
    ask: NDArray[np.int64]


@dataclass
class Account:
    """Positions, waiting orders and deals; ``quotes`` hold (bid, ask) of every symbol as of ``now``."""

    terms: Terms
    instruments: Mapping[str, Instrument]
    now: int
    positions: dict[int, Position] = field(default_factory=dict)
    """By identifier, which stays when the ticket changes."""
    waiting: dict[int, Waiting] = field(default_factory=dict)
    deals: list[Deal] = field(default_factory=list)
    quotes: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    unknown_tickets: int = 0
    balance: Decimal = ZERO

    def __post_init__(self) -> None:
        self.balance = self.balance or self.terms.balance

    # --- money ---

    def rate(self, currency: str) -> Fraction:
        """What a unit of ``currency`` is worth on the account: the bid of the pair that quotes both."""
        if currency == self.terms.currency:
            return Fraction(1)
        direct = self.quotes.get(currency + self.terms.currency)
        return Fraction(direct[0]) if direct else 1 / Fraction(self.quotes[self.terms.currency + currency][0])

    def close_price(self, position: Position) -> Decimal:
        bid, ask = self.quotes[position.symbol]
        return bid if position.side == BUY else ask

    def open_price(self, symbol: str, side: int) -> Decimal:
        bid, ask = self.quotes[symbol]
        return ask if side == BUY else bid

    def gain(self, position: Position, price: Decimal | Fraction, volume: Decimal) -> Decimal:
        instrument = self.instruments[position.symbol]
        sign = 1 if position.side == BUY else -1
        units = Fraction(instrument.contract * volume * sign)
        return cents((Fraction(price) - position.price_open) * units * self.rate(instrument.profit))

    def floating(self, position: Position) -> Decimal:
        return self.gain(position, self.close_price(position), position.volume)

    @property
    def equity(self) -> Decimal:
        return self.balance + sum((self.floating(p) + p.swap for p in self.positions.values()), ZERO)

    @property
    def margin(self) -> Decimal:
        return self.margin_of(self.positions.values())

    def margin_of(self, positions: Iterable[Position]) -> Decimal:
        by_symbol: dict[str, list[Position]] = {}
        for position in positions:
            by_symbol.setdefault(position.symbol, []).append(position)
        return cents(
            sum((self._symbol_margin(self.instruments[s], held) for s, held in by_symbol.items()), Fraction(0))
        )

    def _symbol_margin(self, instrument: Instrument, held: list[Position]) -> Fraction:
        """The larger side beyond the smaller one in full; the rest by the contract size of covered lots."""
        sides = sorted(([p for p in held if p.side == side] for side in (BUY, SELL)), key=_lots)
        smaller, larger = _lots(sides[0]), _lots(sides[1])
        full = instrument.contract
        if instrument.use_leg:
            return max(self._lot_margin(instrument, side, full) * _lots(side) for side in sides)
        covered = full if instrument.margin_hedged is None else instrument.margin_hedged
        return self._lot_margin(instrument, sides[1], full) * (larger - smaller) + (
            self._lot_margin(instrument, held, covered) * smaller
        )

    def _lot_margin(self, instrument: Instrument, held: list[Position], size: Decimal) -> Fraction:
        """Of one lot of ``size`` at the mean opening price of ``held``."""
        if not held:
            return Fraction(0)
        share = Fraction(size * instrument.margin_rate) / self.terms.leverage
        if not instrument.leveraged_cfd:
            return share * self.rate(instrument.base)
        mean = sum((p.price_open * Fraction(p.volume) for p in held), Fraction(0)) / _lots(held)
        return share * mean * self.rate(instrument.profit)

    # --- what somebody asks for ---

    def of_symbol(self, symbol: str) -> list[Position]:
        return [p for p in self.positions.values() if p.symbol == symbol]

    def by_ticket(self, ticket: int) -> Position:
        return next(p for p in self.positions.values() if p.ticket == ticket)

    def trade(self, wanted: Waiting, price: Decimal, reason: int = EXPERT) -> None:
        """A filled order without a position: opens one; where all is netted, adds, reduces or turns around."""
        held = [] if self.terms.hedging else self.of_symbol(wanted.symbol)
        if not held:
            self._open(wanted, price, reason)
        elif held[0].side == wanted.side:
            self._add(held[0], wanted, price, reason)
        elif wanted.volume <= held[0].volume:
            self.close(held[0], wanted.volume, price, reason)
        else:
            self._turn(held[0], wanted, price, reason)

    def close(self, position: Position, volume: Decimal, price: Decimal, reason: int = EXPERT) -> None:
        """Close ``volume`` of a position; its levels stay. The swap goes with its share."""
        swap = self._take(position, volume)
        profit = self.gain(position, price, volume)
        commission = ZERO if reason == ROLLOVER else self._commission(volume)
        self._book(position, OUT, reason, volume, price, Money(profit, commission, swap))

    def close_by(self, position: Position, other: Position) -> None:
        """Two opposite positions end each other; the whole profit is in the deal of the first, no commission."""
        volume = min(position.volume, other.volume)
        profit = self.gain(position, other.price_open, volume)
        swaps = self._take(position, volume), self._take(other, volume)
        self._book(position, OUT_BY, EXPERT, volume, other.price_open, Money(profit, ZERO, swaps[0]))
        self._book(other, OUT_BY, EXPERT, volume, other.price_open, Money(ZERO, ZERO, swaps[1]))

    def protect(self, position: Position, sl: Decimal, tp: Decimal) -> None:
        self.positions[position.identifier] = replace(position, sl=sl, tp=tp)

    def _open(self, wanted: Waiting, price: Decimal, reason: int) -> None:
        position = Position(
            wanted.ticket, wanted.ticket, wanted.symbol, wanted.side, wanted.volume, Fraction(price),
            wanted.sl, wanted.tp,
        )  # fmt: skip
        self.positions[position.identifier] = position
        self._enter(position, reason)

    def _add(self, position: Position, wanted: Waiting, price: Decimal, reason: int) -> None:
        """At the mean price; the levels of the latest order count, and zero deletes (help, "inheritance")."""
        volume = position.volume + wanted.volume
        paid = position.price_open * Fraction(position.volume) + Fraction(price * wanted.volume)
        mean = paid / Fraction(volume)
        self.positions[position.identifier] = replace(
            position, volume=volume, price_open=mean, sl=wanted.sl, tp=wanted.tp
        )
        self._enter(replace(position, volume=wanted.volume, price_open=Fraction(price)), reason)

    def _turn(self, position: Position, wanted: Waiting, price: Decimal, reason: int) -> None:
        """One deal closes all and opens the rest under the order's ticket; the identifier stays."""
        profit = self.gain(position, price, position.volume)
        money = Money(profit, self._commission(wanted.volume), position.swap)
        self._book(position, INOUT, reason, wanted.volume, price, money)
        self.positions[position.identifier] = Position(
            wanted.ticket,
            position.identifier,
            position.symbol,
            wanted.side,
            wanted.volume - position.volume,
            Fraction(price),
            wanted.sl,
            wanted.tp,
        )

    def _enter(self, entered: Position, reason: int) -> None:
        """The deal of what has been bought or sold anew."""
        money = Money(ZERO, ZERO if reason == ROLLOVER else self._commission(entered.volume), ZERO)
        self._record(
            Deal(
                self.now, entered.symbol, entered.side, IN, reason, entered.identifier, entered.volume,
                entered.price_open, money,
            )
        )  # fmt: skip

    def _take(self, position: Position, volume: Decimal) -> Decimal:
        """Take ``volume`` out of a position; the swap that goes with it."""
        swap = cents(Fraction(position.swap * volume) / Fraction(position.volume))
        if volume == position.volume:
            del self.positions[position.identifier]
        else:
            self.positions[position.identifier] = replace(
                position, volume=position.volume - volume, swap=position.swap - swap
            )
        return swap

    def _book(
        self, position: Position, entry: int, reason: int, volume: Decimal, price: Decimal | Fraction, money: Money
    ) -> None:
        """A deal that takes ``volume`` from ``position``, at least."""
        kind = SELL if position.side == BUY else BUY
        self._record(
            Deal(self.now, position.symbol, kind, entry, reason, position.identifier, volume, Fraction(price), money)
        )

    def _record(self, deal: Deal) -> None:
        self.deals.append(deal)
        self.balance += sum(deal.money, ZERO)

    def _commission(self, volume: Decimal) -> Decimal:
        return -cents(Fraction(self.terms.commission * volume))

    # --- what the market does ---

    def play(self, ticks: Mapping[str, Ticks], until: int) -> None:
        """Everything that the broker does by itself after ``now`` and up to ``until``, at the given ``ticks``."""
        watched = False
        while True:
            watched = watched or self._near_stop_out()
            moment = self._next_moment(ticks, until, watched)
            if moment is None:
                break
            self.now = moment
            self._quotes_as_of(ticks, moment)
            if moment % DAY == 0:
                # Convention: a tick at midnight is known to the night's settlement, which comes before its stops.
                self._roll_over(moment)
            self._expire(moment)
            # Convention: at one instant the symbols tick one after the other, by name, at quotes that all know, and
            # the margin is looked at when one ticks that is held.
            deals = -1
            for symbol in sorted(symbol for symbol, quotes in ticks.items() if _has(quotes, moment)):
                held = bool(self.of_symbol(symbol))
                self._levels(symbol)
                self._pending(symbol)
                if (held or self.of_symbol(symbol)) and len(self.deals) != deals:
                    self._stop_out()
                    deals = len(self.deals)
        self.now = until
        self._quotes_as_of(ticks, until)

    def _near_stop_out(self) -> bool:
        margin = self.margin
        return bool(margin) and self.equity < FAR_FROM_STOP_OUT * margin

    def _next_moment(self, ticks: Mapping[str, Ticks], until: int, watched: bool) -> int | None:
        """When something may happen next; at every tick of what is held while the margin is ``watched``."""
        candidates = [self.now // DAY * DAY + DAY]
        candidates += [order.expiration for order in self.waiting.values() if order.expiration]
        for symbol, quotes in ticks.items():
            first = int(np.searchsorted(quotes.time, self.now, "right"))
            if watched and self.of_symbol(symbol):
                hits = np.ones(len(quotes.time) - first, dtype=np.bool_)
            else:
                hits = self._hits(symbol, quotes.bid[first:], quotes.ask[first:])
            if hits.any():
                candidates.append(int(quotes.time[first + int(np.argmax(hits))]))
        candidates = [moment for moment in candidates if self.now < moment <= until]
        return min(candidates, default=None)

    def _hits(self, symbol: str, bid: NDArray[np.int64], ask: NDArray[np.int64]) -> NDArray[np.bool_]:
        """At which ticks a level or a waiting order of ``symbol`` is reached."""
        digits = self.instruments[symbol].digits
        hits = np.zeros(len(bid), dtype=np.bool_)
        for position in self.of_symbol(symbol):
            watching, sign = (bid, 1) if position.side == BUY else (ask, -1)
            if position.sl:
                hits |= sign * watching <= sign * _points(position.sl, digits)
            if position.tp:
                hits |= sign * watching >= sign * _points(position.tp, digits)
        for order in self.waiting.values():
            if order.symbol == symbol:
                watching = ask if order.side == BUY else bid
                sign = 1 if (order.side == BUY) == order.limit else -1
                hits |= sign * watching <= sign * _points(order.price, digits)
        return hits

    def _quotes_as_of(self, ticks: Mapping[str, Ticks], moment: int) -> None:
        for symbol, quotes in ticks.items():
            n = int(np.searchsorted(quotes.time, moment, "right")) - 1
            if n >= 0:
                digits = self.instruments[symbol].digits
                bid, ask = (Decimal(int(side[n])).scaleb(-digits) for side in (quotes.bid, quotes.ask))
                self.quotes[symbol] = (bid, ask)

    def _opens_bar(self, symbol: str) -> bool:
        return self.now % self.instruments[symbol].bar_seconds == 0

    def _levels(self, symbol: str) -> None:
        for position in sorted(self.positions.values(), key=_age):
            if position.symbol != symbol:
                continue
            price, sign = self.close_price(position), 1 if position.side == BUY else -1
            if position.sl and sign * price <= sign * position.sl:
                at = price if self._opens_bar(position.symbol) else position.sl
                self.close(position, position.volume, at, STOP_LOSS)
            elif position.tp and sign * price >= sign * position.tp:
                self.close(position, position.volume, position.tp, TAKE_PROFIT)

    def _pending(self, symbol: str) -> None:
        for order in sorted(self.waiting.values(), key=lambda o: o.ticket):
            if order.symbol != symbol:
                continue
            price = self.open_price(order.symbol, order.side)
            sign = 1 if (order.side == BUY) == order.limit else -1
            if sign * price <= sign * order.price:
                del self.waiting[order.ticket]
                at = price if self._opens_bar(order.symbol) else order.price
                if self.affords(order, at):
                    self.trade(order, at)

    def _expire(self, moment: int) -> None:
        for order in list(self.waiting.values()):
            if order.expiration and order.expiration <= moment:
                del self.waiting[order.ticket]

    def affords(self, wanted: Waiting, price: Decimal) -> bool:
        """Convention: the equity before the order must carry the margin after it."""
        return self.free_after(wanted, price) >= 0

    def free_after(self, wanted: Waiting, price: Decimal) -> Decimal:
        """Free margin that would be left, counted with the equity before the order."""
        return self.equity - self.margin_of(self.positions_after(wanted, price))

    def positions_after(self, wanted: Waiting, price: Decimal) -> list[Position]:
        trial = replace(self, positions=dict(self.positions), deals=[])
        trial.trade(wanted, price)
        return list(trial.positions.values())

    def _stop_out(self) -> None:
        """Close the largest loss while the margin level is below the limit. Convention: swap is part of the loss."""
        while (margin := self.margin) and 100 * self.equity < self.terms.stop_out * margin:
            worst = min(self.positions.values(), key=lambda p: (self.floating(p) + p.swap, _age(p)))
            self.close(worst, worst.volume, self.close_price(worst), STOP_OUT)

    def _roll_over(self, midnight: int) -> None:
        """The night that ends Monday to Friday: swap is added, or positions are closed and opened again."""
        weekday = (midnight // DAY - 1 + 3) % 7 + 1  # of the day that ends; 1970-01-01 was a Thursday, 1 is Monday
        if weekday > 5:
            return
        for position in sorted(self.positions.values(), key=_age):
            instrument = self.instruments[position.symbol]
            swap = instrument.swap_long if position.side == BUY else instrument.swap_short
            nights = 3 if weekday == instrument.triple_day else 1
            if instrument.swap_mode in {"points", "money"}:
                amount = Fraction(swap * nights * position.volume)
                if instrument.swap_mode == "points":
                    amount *= Fraction(instrument.point * instrument.contract) * self.rate(instrument.profit)
                self.positions[position.identifier] = replace(position, swap=position.swap + cents(amount))
            elif instrument.swap_mode != "disabled":
                self._reopen(position, swap * nights * instrument.point, instrument.swap_mode)

    def _reopen(self, position: Position, better: Decimal, mode: str) -> None:
        """Conventions: the new price has the symbol's digits, and the pair of deals costs no commission."""
        price = self.quotes[position.symbol][0] if mode == "reopen_bid" else self.close_price(position)
        again_at = price - better if position.side == BUY else price + better
        self.close(position, position.volume, price, ROLLOVER)
        self.unknown_tickets += 1
        again = replace(
            position,
            ticket=-self.unknown_tickets,
            price_open=Fraction(again_at.quantize(self.instruments[position.symbol].point, ROUND_HALF_UP)),
            swap=ZERO,
        )
        self.positions[position.identifier] = again
        self._enter(again, ROLLOVER)


def _lots(held: list[Position]) -> Fraction:
    return Fraction(sum((p.volume for p in held), ZERO))


def _age(position: Position) -> int:
    """Order of the tickets; one that only the terminal knows is newer than all others."""
    return position.ticket if position.ticket > 0 else 10**18 - position.ticket


def _points(price: Decimal, digits: int) -> int:
    return int(price.scaleb(digits))


def _has(quotes: Ticks, moment: int) -> bool:
    n = int(np.searchsorted(quotes.time, moment, "left"))
    return n < len(quotes.time) and int(quotes.time[n]) == moment
