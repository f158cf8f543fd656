"""The broker: what it accepts, how it fills, and what it does by itself as the market moves.

Market execution only. A market order fills whole at the ask (BUY) or bid (SELL) of the instant. A stop loss closes at
its level, or at the first price through it when the market jumped over it; a take profit closes at its level, never
better. Stops of a BUY watch the bid, those of a SELL the ask. Commission and swap are 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.money import DIGITS, Money
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.rules import BUY, LOTS, SELL, Deal, Levels, No, Rules, Terms
from dtms_service.terminal.simulated.series import Quote
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct

STOP_OUT_PERCENT = 50.0
MARGIN_CALL_PERCENT = 100.0
_HOUR = 3600.0
_CAUTION = 1.25
"""A stop-out is looked for as soon as it is this factor away: no conversion rate moves by a quarter in an hour."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Tickets and price of an execution."""

    order: int
    deal: int
    volume: float
    price: float


class Broker:
    """Rules and effects on one account. Every method takes the market time; none saves: the caller does, once."""

    def __init__(self, market: Market, state: State, terms: Terms) -> None:
        self.market = market
        self.state = state
        self.terms = terms
        self.money = Money(market, terms.currency, terms.leverage)
        self._rules = Rules(market, state, terms)
        self._margin_seen = (-1, 0.0, 0.0)

    def check(self, request: Struct, time: float) -> Deal | Levels | No:
        """Judge a request as terminal and server would together, without doing anything."""
        judged = self._rules.judge(request, time)
        if not isinstance(judged, Deal):
            return judged
        held = judged.position
        if held is not None and held.type != judged.type and (self._rules.hedging or judged.volume <= held.volume):
            return judged
        after, equity = self.margin(time, extra=judged), self.equity(time)
        if after > equity:
            detail = f"margin {after:.2f} {self.terms.currency} needed, equity is {equity:.2f}"
            return No(Constants.TRADE_RETCODE_NO_MONEY, detail)
        return judged

    # --- effects ---

    def change_levels(self, levels: Levels, time: float) -> None:
        """Set both levels."""
        update = round(time * 1000)
        self.state.put(replace(levels.position, sl=levels.sl, tp=levels.tp, time_update_msc=update))

    def fill(self, deal: Deal, time: float, reason: int = Constants.DEAL_REASON_EXPERT) -> Filled:
        """Execute a market order: one order and one deal (a netting reversal included)."""
        order, number = self.state.ticket(), self.state.ticket()
        held = deal.position
        moment = round(time * 1000)
        facts, price = deal.series.facts, deal.price
        entry, profit = Constants.DEAL_ENTRY_IN, 0.0
        if held is None:
            identifier = order
            self.state.put(PositionRow(
                order, order, facts.name, deal.type, deal.volume, price, deal.sl, deal.tp, deal.magic, reason,
                deal.comment, moment, moment,
            ))  # fmt: skip
        elif held.type == deal.type:
            identifier = held.identifier
            self._add(held, deal, moment)
        else:
            identifier = held.identifier
            closed = min(held.volume, deal.volume)
            profit = self.money.profit(facts, replace(held, volume=closed), deal.price, time)
            entry = self._reduce(held, deal, order, moment)
        self.state.put(OrderRow(
            order, identifier, facts.name, deal.type, deal.volume, price, deal.sl, deal.tp, deal.filling, deal.magic,
            reason, deal.comment, moment,
        ))  # fmt: skip
        self.state.put(DealRow(
            number, order, identifier, facts.name, deal.type, entry, deal.volume, price, profit, deal.magic, reason,
            deal.comment, moment,
        ))  # fmt: skip
        return Filled(order, number, deal.volume, price)

    def _add(self, held: PositionRow, deal: Deal, moment: int) -> None:
        """Netting: a deal of the same direction makes the position larger, at the weighted mean price."""
        volume = round(held.volume + deal.volume, LOTS)
        mean = (held.price_open * held.volume + deal.price * deal.volume) / volume
        sl, tp = deal.sl or held.sl, deal.tp or held.tp
        self.state.put(replace(held, volume=volume, price_open=mean, sl=sl, tp=tp, time_update_msc=moment))

    def _reduce(self, held: PositionRow, deal: Deal, order: int, moment: int) -> int:
        """Close in part or whole; on netting a larger deal turns the position around. Returns the deal's entry."""
        rest = round(held.volume - deal.volume, LOTS)
        if rest > 0:
            self.state.put(replace(held, volume=rest, time_update_msc=moment))
            return Constants.DEAL_ENTRY_OUT
        self.state.drop_position(held.ticket)
        if rest == 0:
            return Constants.DEAL_ENTRY_OUT
        turned = replace(
            held,
            ticket=order,
            type=deal.type,
            volume=-rest,
            price_open=deal.price,
            sl=deal.sl,
            tp=deal.tp,
            magic=deal.magic,
            comment=deal.comment,
            time_msc=moment,
            time_update_msc=moment,
        )
        self.state.put(turned)
        return Constants.DEAL_ENTRY_INOUT

    # --- money ---

    def price_of(self, position: PositionRow, time: float) -> float:
        """The price at which the position would be closed now."""
        quote = self.market.of(position.symbol).quote(time)
        if quote is None:
            return position.price_open
        return quote.bid if position.type == BUY else quote.ask

    def profit_of(self, position: PositionRow, time: float) -> float:
        """Floating profit."""
        facts = self.market.of(position.symbol).facts
        return self.money.profit(facts, position, self.price_of(position, time), time)

    def floating(self, time: float) -> float:
        """Floating profit of all positions."""
        return round(sum((self.profit_of(each, time) for each in self.state.positions.values()), 0.0), DIGITS)

    def equity(self, time: float) -> float:
        """Balance and floating profit."""
        return round(self.state.balance + self.floating(time), DIGITS)

    def margin(self, time: float, extra: Deal | None = None) -> float:
        """Margin in use; with ``extra``, as it would be after that deal."""
        held: dict[str, list[PositionRow]] = {}
        for each in self.state.positions.values():
            held.setdefault(each.symbol, []).append(each)
        if extra is not None:
            symbol = extra.series.facts.name
            side = PositionRow(0, 0, symbol, extra.type, extra.volume, extra.price, 0, 0, 0, 0, "", 0, 0)
            others = held.setdefault(symbol, [])
            if extra.position is not None and extra.position.type != extra.type:
                side = replace(side, volume=round(extra.volume - extra.position.volume, LOTS))
                others.remove(extra.position)
            others.append(side)
        total = sum((self.money.total_margin(self.market.of(s).facts, rows, time) for s, rows in held.items()), 0.0)
        return round(total, DIGITS)

    # --- the market moves ---

    def play(self, after: float, until: float) -> None:
        """Play every tick with ``after < time <= until``: stop losses, take profits, stop-outs.

        Hours in which nothing can happen are passed over whole; the others are played tick by tick, so that the
        result does not depend on how the time was cut into steps.
        """
        until = min(until, self.market.ends[1])
        while after < until and self.state.positions:
            end = min(until, after + _HOUR)
            reached, tight = self._outlook(after, end)
            if reached or tight:
                self._play_ticks(after, end, tight=tight)
            after = end

    def _play_ticks(self, after: float, until: float, *, tight: bool) -> None:
        symbols = {each.symbol for each in self.state.positions.values()}
        moves = [(symbol, quote) for symbol in symbols for quote in self.market.of(symbol).ticks(after, until)]
        moves.sort(key=lambda move: (move[1].time, move[0]))
        for symbol, quote in moves:
            for position in [each for each in self.state.positions.values() if each.symbol == symbol]:
                hit = _hit(position, quote)
                if hit is not None:
                    self._stop(position, *hit, time=quote.time)
            if tight:
                self._stop_out(quote.time)
            if not self.state.positions:
                return

    def _outlook(self, after: float, until: float) -> tuple[bool, bool]:
        """(a level is reached, a stop-out is possible), judged by the extremes of the time."""
        reached, worst = False, self.state.balance
        symbols = {each.symbol for each in self.state.positions.values()}
        extremes = {symbol: self.market.of(symbol).extremes(after, until) for symbol in symbols}
        for position in self.state.positions.values():
            found, sign = extremes[position.symbol], position.sign
            if found is None:
                low = high = self.price_of(position, after)
            elif sign > 0:
                low, high = found.low_bid, found.high_bid
            else:
                low, high = found.low_ask, found.high_ask
            bad, good = (low, high) if sign > 0 else (high, low)
            if position.sl and sign * (bad - position.sl) <= 0:
                reached = True
            if position.tp and sign * (good - position.tp) >= 0:
                reached = True
            facts = self.market.of(position.symbol).facts
            money = (bad - position.price_open) * sign * facts.contract_size * position.volume
            worst += money * self.money.rate(facts.profit, after) * (_CAUTION if money < 0 else 1 / _CAUTION)
        return reached, worst <= self._margin_about(after) * _CAUTION * STOP_OUT_PERCENT / 100.0

    def _margin_about(self, time: float) -> float:
        """The margin in use as it was within the last hour."""
        version, at, margin = self._margin_seen
        if version != self.state.version or not at <= time <= at + _HOUR:
            margin = self.margin(time)
            self._margin_seen = (self.state.version, time, margin)
        return margin

    def _stop(self, position: PositionRow, reason: int, price: float, time: float, comment: str = "") -> None:
        series = self.market.of(position.symbol)
        if not comment:
            level = position.sl if reason == Constants.DEAL_REASON_SL else position.tp
            name = "sl" if reason == Constants.DEAL_REASON_SL else "tp"
            comment = f"[{name} {level:.{series.facts.digits}f}]"
        side = SELL if position.type == BUY else BUY
        fok = Constants.ORDER_FILLING_FOK
        deal = Deal(series, side, position.volume, price, 0.0, 0.0, position, fok, position.magic, comment)
        self.fill(deal, time, reason)

    def _stop_out(self, time: float) -> None:
        """Close the worst position while equity is under half of the margin (C58)."""
        while self.state.positions:
            margin = self.margin(time)
            level = 100.0 * self.equity(time) / margin if margin else STOP_OUT_PERCENT
            if level >= STOP_OUT_PERCENT:
                return
            open_now = [each for each in self.state.positions.values() if self.market.of(each.symbol).is_open(time)]
            if not open_now:
                return
            worst = min(open_now, key=lambda each: (self.profit_of(each, time), each.ticket))
            self._stop(worst, Constants.DEAL_REASON_SO, self.price_of(worst, time), time, f"[so {level:.2f}%]")


def _hit(position: PositionRow, quote: Quote) -> tuple[int, float] | None:
    """(reason, price) when the tick reaches a level. Inside a bar prices do not jump: the level itself is met."""
    sign = 1 - 2 * position.type
    price = quote.bid if sign > 0 else quote.ask
    if position.sl and sign * (price - position.sl) <= 0:
        return Constants.DEAL_REASON_SL, price if quote.opens else position.sl
    if position.tp and sign * (price - position.tp) >= 0:
        return Constants.DEAL_REASON_TP, position.tp
    return None
