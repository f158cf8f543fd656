"""What the broker does by itself as the market moves: stops, pending orders, expirations, nights, stop-outs.

A stop loss closes at its level, or at the first price through it when the market jumped over it; a take profit closes
at its level, never better. Stops of a BUY watch the bid, those of a SELL the ask. In one tick the positions come
first, by ticket and stop loss before take profit, then the pending orders, then the stop-out.
"""

from __future__ import annotations

import math
from dataclasses import replace

from dtms_service.terminal.simulated.broker import Broker
from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.money import cents
from dtms_service.terminal.simulated.pending import price_at, reached
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.rules import BUY
from dtms_service.terminal.simulated.series import Quote

_HOUR = 3600.0
_CAUTION = 1.25
"""A stop-out is looked for as soon as it is this factor away: no conversion rate moves by a quarter in an hour."""
_WEEKEND = frozenset({0, 6})
_REOPENING = frozenset({Constants.SYMBOL_SWAP_MODE_REOPEN_CURRENT, Constants.SYMBOL_SWAP_MODE_REOPEN_BID})


class Playing:
    """Moves one broker's account along its market. None of its methods saves."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._market = broker.market
        self._state = broker.state
        self._books = broker.books
        self._margin_seen = (-1, 0.0, 0.0)

    def play(self, after: float, until: float) -> None:
        """Play everything with ``after < time <= until``.

        Hours in which nothing can happen are passed over whole; the others are played tick by tick, so that the
        result does not depend on how the time was cut into steps.
        """
        until = min(until, self._market.ends[1])
        while after < until and (self._state.positions or self._state.waiting):
            end = min(until, after + _HOUR, self._next_event(after))
            hit, tight = self._outlook(after, end)
            # The night is settled on what was held at midnight: before the stops of a quote of that very instant.
            last = math.nextafter(end, 0.0) if self._broker.terms.clock.midnight_after(after) == end else end
            if hit or tight:
                self._play_ticks(after, last, tight=tight)
            self._play_events(after, end)
            if (hit or tight) and last < end:
                self._play_ticks(last, end, tight=tight)
            after = end

    # --- ticks ---

    def _play_ticks(self, after: float, until: float, *, tight: bool) -> None:
        symbols = self._symbols()
        moves = [(symbol, quote) for symbol in symbols for quote in self._market.of(symbol).ticks(after, until)]
        moves.sort(key=lambda move: (move[1].time, move[0]))
        for symbol, quote in moves:
            for position in sorted(self._state.positions.values(), key=_ticket):
                hit = _hit(position, quote) if position.symbol == symbol else None
                if hit is not None:
                    self._broker.stop(position, *hit, time=quote.time)
            for order in sorted(self._state.waiting.values(), key=_ticket):
                price = price_at(order, quote) if order.symbol == symbol else None
                if price is not None:
                    self._broker.trigger(order, price, quote.time)
                    tight = True
            if tight:
                self._stop_out(quote.time)
            if not (self._state.positions or self._state.waiting):
                return

    def _outlook(self, after: float, until: float) -> tuple[bool, bool]:
        """(a level or an order is reached, a stop-out is possible), judged by the extremes of the time."""
        extremes = {symbol: self._market.of(symbol).extremes(after, until) for symbol in self._symbols()}
        worst, hit = self._state.balance, False
        for order in self._state.waiting.values():
            seen = extremes[order.symbol]
            hit = hit or (seen is not None and reached(order, seen))
        for position in self._state.positions.values():
            found, sign = extremes[position.symbol], position.sign
            if found is None:
                low = high = self._books.price_of(position, after)
            elif sign > 0:
                low, high = found.low_bid, found.high_bid
            else:
                low, high = found.low_ask, found.high_ask
            bad, good = (low, high) if sign > 0 else (high, low)
            if position.sl and sign * (bad - position.sl) <= 0:
                hit = True
            if position.tp and sign * (good - position.tp) >= 0:
                hit = True
            facts = self._market.of(position.symbol).facts
            money = (bad - position.price_open) * sign * facts.contract_size * position.volume
            worst += money * self._books.money.rate(facts.profit, after) * (_CAUTION if money < 0 else 1 / _CAUTION)
            worst += position.swap
        return hit, worst <= self._margin_about(after) * _CAUTION * self._broker.terms.stop_out_percent / 100.0

    def _symbols(self) -> set[str]:
        held = {position.symbol for position in self._state.positions.values()}
        return held | {order.symbol for order in self._state.waiting.values()}

    def _margin_about(self, time: float) -> float:
        """The margin in use as it was within the last hour."""
        version, at, margin = self._margin_seen
        if version != self._state.version or not at <= time <= at + _HOUR:
            margin = self._books.margin(time)
            self._margin_seen = (self._state.version, time, margin)
        return margin

    def _stop_out(self, time: float) -> None:
        """Close the worst position while the margin level is under the broker's limit (C58)."""
        while self._state.positions:
            margin = self._books.margin(time)
            level = 100.0 * self._books.equity(time) / margin if margin else self._broker.terms.stop_out_percent
            if level >= self._broker.terms.stop_out_percent:
                return
            held = self._state.positions.values()
            open_now = [each for each in held if self._market.of(each.symbol).is_open(time)]
            if not open_now:
                return
            worst = min(open_now, key=lambda each: (self._books.profit_of(each, time), each.ticket))
            price = self._books.price_of(worst, time)
            self._broker.close_at(worst, Constants.DEAL_REASON_SO, price, time, f"[so {level:.2f}%]")

    # --- moments ---

    def _next_event(self, after: float) -> float:
        """The next moment at which something happens whatever the prices do."""
        moments = [moment for order in self._state.waiting.values() for moment in (order.due, order.expiration)]
        if any(self._swaps(position) for position in self._state.positions.values()):
            moments.append(self._broker.terms.clock.midnight_after(after))
        return min((moment for moment in moments if moment > after), default=float("inf"))

    def _play_events(self, after: float, now: float) -> None:
        for order in sorted(self._state.waiting.values(), key=_ticket):
            if after < order.expiration <= now:
                self._broker.end_order(order, Constants.ORDER_STATE_EXPIRED, now)
            elif after < order.due <= now:
                self._broker.fill_waiting(order, now)
        clock = self._broker.terms.clock
        if self._state.positions and clock.midnight_after(after) == now:
            day = clock.weekday_ending(now)
            if day not in _WEEKEND:
                for position in sorted(self._state.positions.values(), key=_ticket):
                    self._roll(position, day, now)

    def _swaps(self, position: PositionRow) -> bool:
        return self._market.of(position.symbol).facts.swap_mode != Constants.SYMBOL_SWAP_MODE_DISABLED

    def _roll(self, position: PositionRow, day: int, time: float) -> None:
        """One night of a position: swap in points or money, or the position re-opened at another price (C54)."""
        facts = self._market.of(position.symbol).facts
        swap = facts.swap_long if position.type == BUY else facts.swap_short
        nights = 3 if day == facts.swap_triple_day else 1
        if facts.swap_mode == Constants.SYMBOL_SWAP_MODE_POINTS:
            money = swap * facts.point * facts.contract_size * self._books.money.rate(facts.profit, time)
        elif facts.swap_mode == Constants.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT:
            money = swap
        elif facts.swap_mode in _REOPENING:
            self._reopen(position, swap * nights, time)
            return
        else:
            return
        total = cents(position.swap + cents(money * position.volume * nights))
        self._state.put(replace(position, swap=total))

    def _reopen(self, position: PositionRow, points: float, time: float) -> None:
        """Closed and opened again at a price that is worse by a negative swap: a new ticket, the same identifier."""
        series = self._market.of(position.symbol)
        facts, quote = series.facts, series.quote(time)
        if quote is None:
            return
        bid = facts.swap_mode == Constants.SYMBOL_SWAP_MODE_REOPEN_BID or position.type == BUY
        price = quote.bid if bid else quote.ask
        again = round(price - position.sign * points * facts.point, facts.digits)
        moment = round(time * 1000)
        profit = self._books.money.profit(facts, position, price, time)
        rollover = Constants.DEAL_REASON_ROLLOVER
        for kind, entry, at, result in (
            (1 - position.type, Constants.DEAL_ENTRY_OUT, price, profit),
            (position.type, Constants.DEAL_ENTRY_IN, again, 0.0),
        ):
            self._state.put(DealRow(
                self._state.ticket(), 0, position.identifier, facts.name, kind, entry, position.volume, at, result,
                position.magic, rollover, position.comment, moment,
            ))  # fmt: skip
        self._state.drop_position(position.ticket)
        renewed = replace(position, ticket=self._state.ticket(), price_open=again, time_update_msc=moment)
        self._state.put(renewed)


def _ticket(row: PositionRow | OrderRow) -> int:
    return row.ticket


def _hit(position: PositionRow, quote: Quote) -> tuple[int, float] | None:
    """(reason, price) when the tick reaches a level. Inside a bar prices do not jump: the level itself is met."""
    sign = position.sign
    price = quote.bid if sign > 0 else quote.ask
    if position.sl and sign * (price - position.sl) <= 0:
        return Constants.DEAL_REASON_SL, price if quote.opens else position.sl
    if position.tp and sign * (price - position.tp) >= 0:
        return Constants.DEAL_REASON_TP, position.tp
    return None
