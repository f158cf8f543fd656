"""The broker: what it accepts, how it fills, and what it does by itself as the market moves.

Market execution only. A market order fills whole at the ask (BUY) or bid (SELL) of the instant. A stop loss closes at its level, or
at the first price through it when the market jumped over it; a take profit closes at its level, never better. Stops of a BUY watch
the bid, those of a SELL the ask. Commission and swap are 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import TRADE_RETCODE_HEDGE_PROHIBITED, Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.money import DIGITS, Money
from dtms_service.terminal.simulated.rows import DealRow, OrderRow, PositionRow
from dtms_service.terminal.simulated.series import Quote, Series
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct

BUY, SELL = Constants.ORDER_TYPE_BUY, Constants.ORDER_TYPE_SELL
STOP_OUT_PERCENT = 50.0
MARGIN_CALL_PERCENT = 100.0
_LOTS = 8
"""Volumes are rounded to this many decimals, so that 0.3 - 0.1 - 0.2 is 0."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the account was opened with. ``offset`` is the server's clock minus UTC, in seconds."""

    balance: float
    currency: str
    leverage: int
    margin_mode: int
    fifo_close: bool
    offset: int


@dataclass(frozen=True, slots=True)
class No:
    """A refusal. ``local`` means the terminal itself refused: nothing was sent and ``request_id`` is 0."""

    retcode: int
    detail: str
    local: bool = False


@dataclass(frozen=True, slots=True)
class Deal:
    """A checked market order, ready to fill. ``position`` is the one it closes, reduces, adds to or turns around."""

    series: Series
    type: int
    volume: float
    price: float
    sl: float
    tp: float
    position: PositionRow | None
    filling: int
    magic: int
    comment: str


@dataclass(frozen=True, slots=True)
class Levels:
    """A checked change of stop loss and take profit."""

    position: PositionRow
    sl: float
    tp: float


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

    @property
    def hedging(self) -> bool:
        """True when each order opens a position of its own."""
        return self.terms.margin_mode == Constants.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING

    # --- what is accepted -------------------------------------------------------------------------------------------------------

    def check(self, request: Struct, time: float) -> Deal | Levels | No:
        """Judge a request as terminal and server would together, without doing anything."""
        if request.action == Constants.TRADE_ACTION_DEAL:
            return self._check_deal(request, time)
        if request.action == Constants.TRADE_ACTION_SLTP:
            return self._check_levels(request, time)
        return No(Constants.TRADE_RETCODE_INVALID, "not supported by this simulator", local=True)

    def _check_deal(self, request: Struct, time: float) -> Deal | No:
        target = self._target(request)
        if isinstance(target, No):
            return target
        series, position = target
        closing = position is not None and request.type != position.type
        refusal = (
            self._check_volume(series.facts, request.volume, position if closing else None)
            or self._check_filling(series.facts, request.type_filling)
            or self._check_closing(request, position)
        )
        if refusal is not None:
            return refusal
        quote = series.quote(time)
        if quote is None or not series.is_open(time):
            return No(Constants.TRADE_RETCODE_MARKET_CLOSED, f"the market of {series.facts.name} is closed")
        bad = _check_stops(series.facts, request.type, quote, request.sl, request.tp)
        if bad is not None:
            return bad
        price = quote.ask if request.type == BUY else quote.bid
        deal = Deal(
            series,
            request.type,
            round(request.volume, _LOTS),
            price,
            request.sl,
            request.tp,
            position,
            request.type_filling,
            request.magic,
            request.comment,
        )
        return self._check_money(deal, time) or deal

    def _target(self, request: Struct) -> tuple[Series, PositionRow | None] | No:
        """The symbol and, where the order means one, the position."""
        position = self.state.positions.get(request.position) if request.position else None
        symbol = request.symbol or (position.symbol if position is not None else "")
        series = self.market.series.get(symbol)
        if series is None:
            return No(Constants.TRADE_RETCODE_INVALID, f"unknown symbol {symbol!r}", local=True)
        if request.type not in {BUY, SELL}:
            return No(Constants.TRADE_RETCODE_INVALID, "a deal is of type BUY or SELL", local=True)
        if request.position and position is None:
            return No(Constants.TRADE_RETCODE_POSITION_CLOSED, f"there is no position {request.position}")
        if position is not None and position.symbol != symbol:
            return No(
                Constants.TRADE_RETCODE_INVALID, f"position {position.ticket} is of {position.symbol}", local=True
            )
        if position is not None and position.type == request.type:
            return No(Constants.TRADE_RETCODE_INVALID, "a position is closed by the opposite type", local=True)
        if position is None and not self.hedging:
            position = next((each for each in self.state.positions.values() if each.symbol == symbol), None)
        return series, position

    def _check_volume(self, facts: Contract, volume: float, closed: PositionRow | None) -> No | None:
        steps = volume / facts.volume_step if volume == volume else -1.0  # noqa: PLR0124 -- not a number
        if not facts.volume_min - 1e-9 <= volume <= facts.volume_max + 1e-9 or abs(steps - round(steps)) > 1e-6:
            detail = (
                f"volume {volume} of {facts.name} must be {facts.volume_min} to {facts.volume_max}"
                f" in steps of {facts.volume_step}"
            )
            return No(Constants.TRADE_RETCODE_INVALID_VOLUME, detail, local=True)
        if closed is None or not self.hedging:
            return None
        rest = round(closed.volume - volume, _LOTS)
        if rest < 0:
            detail = f"volume {volume} is more than the {closed.volume} of position {closed.ticket}"
            return No(Constants.TRADE_RETCODE_INVALID_CLOSE_VOLUME, detail)
        if 0 < rest < facts.volume_min:
            detail = f"closing {volume} would leave {rest}, less than the smallest volume {facts.volume_min}"
            return No(Constants.TRADE_RETCODE_INVALID_VOLUME, detail)
        return None

    def _check_filling(self, facts: Contract, filling: int) -> No | None:
        # Market execution: FOK and IOC where the symbol has the bit, RETURN never (mt5.md 2.3).
        bit = {Constants.ORDER_FILLING_FOK: 1, Constants.ORDER_FILLING_IOC: 2}.get(filling, 0)
        if facts.filling & bit:
            return None
        return No(Constants.TRADE_RETCODE_INVALID_FILL, f"{facts.name} does not fill orders of mode {filling}")

    def _check_closing(self, request: Struct, position: PositionRow | None) -> No | None:
        """The rules of FIFO accounts: no opposite position, and the oldest of a symbol is closed first."""
        if not (self.terms.fifo_close and self.hedging):
            return None
        same = [each for each in self.state.positions.values() if each.symbol == request.symbol]
        if position is None and any(each.type != request.type for each in same):
            return No(TRADE_RETCODE_HEDGE_PROHIBITED, "opposite positions are prohibited on this account")
        if position is not None and min(same, key=lambda each: each.identifier, default=position) != position:
            return No(Constants.TRADE_RETCODE_FIFO_CLOSE, "positions are closed in the order they were opened")
        return None

    def _check_money(self, deal: Deal, time: float) -> No | None:
        held = deal.position
        if held is not None and held.type != deal.type and (self.hedging or deal.volume <= held.volume):
            return None
        after = self.margin(time, extra=deal)
        if after > self.equity(time):
            detail = f"margin {after:.2f} {self.terms.currency} needed, equity is {self.equity(time):.2f}"
            return No(Constants.TRADE_RETCODE_NO_MONEY, detail)
        return None

    def _check_levels(self, request: Struct, time: float) -> Levels | No:
        position = self.state.positions.get(request.position)
        if position is None and not self.hedging and request.symbol:
            found = (each for each in self.state.positions.values() if each.symbol == request.symbol)
            position = next(found, None)
        if position is None:
            return No(Constants.TRADE_RETCODE_POSITION_CLOSED, f"there is no position {request.position}")
        if request.symbol and request.symbol != position.symbol:
            return No(
                Constants.TRADE_RETCODE_INVALID, f"position {position.ticket} is of {position.symbol}", local=True
            )
        if (request.sl, request.tp) == (position.sl, position.tp):
            return No(Constants.TRADE_RETCODE_NO_CHANGES, "both levels are as they were")
        series = self.market.of(position.symbol)
        quote = series.quote(time)
        if quote is None or not series.is_open(time):
            return No(Constants.TRADE_RETCODE_MARKET_CLOSED, f"the market of {position.symbol} is closed")
        # A level that stays is not a new one: only what changes has to keep its distance.
        sl = request.sl if request.sl != position.sl else 0.0
        tp = request.tp if request.tp != position.tp else 0.0
        bad = _check_stops(series.facts, position.type, quote, sl, tp)
        return bad or Levels(position, request.sl, request.tp)

    # --- effects ----------------------------------------------------------------------------------------------------------------

    def change_levels(self, levels: Levels, time: float) -> None:
        """Set both levels."""
        update = round(time * 1000)
        self.state.put(replace(levels.position, sl=levels.sl, tp=levels.tp, time_update_msc=update))

    def fill(self, deal: Deal, time: float, reason: int = Constants.DEAL_REASON_EXPERT) -> Filled:
        """Execute a market order: one order and one deal (a netting reversal included)."""
        order, number = self.state.ticket(), self.state.ticket()
        held = deal.position
        moment = round(time * 1000)
        facts = deal.series.facts
        entry, profit = Constants.DEAL_ENTRY_IN, 0.0
        if held is None:
            identifier = order
            opened = PositionRow(
                order,
                order,
                facts.name,
                deal.type,
                deal.volume,
                deal.price,
                deal.sl,
                deal.tp,
                deal.magic,
                reason,
                deal.comment,
                moment,
                moment,
            )
            self.state.put(opened)
        elif held.type == deal.type:
            identifier = held.identifier
            self._add(held, deal, moment)
        else:
            identifier = held.identifier
            closed = min(held.volume, deal.volume)
            profit = self.money.profit(facts, replace(held, volume=closed), deal.price, time)
            entry = self._reduce(held, deal, order, moment)
        price = deal.price
        self.state.put(
            OrderRow(
                order,
                identifier,
                facts.name,
                deal.type,
                deal.volume,
                price,
                deal.sl,
                deal.tp,
                deal.filling,
                deal.magic,
                reason,
                deal.comment,
                moment,
            )
        )
        self.state.put(
            DealRow(
                number,
                order,
                identifier,
                facts.name,
                deal.type,
                entry,
                deal.volume,
                price,
                profit,
                deal.magic,
                reason,
                deal.comment,
                moment,
            )
        )
        return Filled(order, number, deal.volume, price)

    def _add(self, held: PositionRow, deal: Deal, moment: int) -> None:
        """Netting: a deal of the same direction makes the position larger, at the weighted mean price."""
        volume = round(held.volume + deal.volume, _LOTS)
        mean = (held.price_open * held.volume + deal.price * deal.volume) / volume
        sl, tp = deal.sl or held.sl, deal.tp or held.tp
        self.state.put(replace(held, volume=volume, price_open=mean, sl=sl, tp=tp, time_update_msc=moment))

    def _reduce(self, held: PositionRow, deal: Deal, order: int, moment: int) -> int:
        """Close in part or whole; on netting a larger deal turns the position around under a new ticket. Returns the entry."""
        rest = round(held.volume - deal.volume, _LOTS)
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

    # --- money ------------------------------------------------------------------------------------------------------------------

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
                side = replace(side, volume=round(extra.volume - extra.position.volume, _LOTS))
                others.remove(extra.position)
            others.append(side)
        total = sum((self.money.total_margin(self.market.of(s).facts, rows, time) for s, rows in held.items()), 0.0)
        return round(total, DIGITS)

    # --- the market moves -------------------------------------------------------------------------------------------------------

    def play(self, after: float, until: float) -> None:
        """Play every tick with ``after < time <= until``: stop losses, take profits, stop-outs."""
        if not self.state.positions:
            return
        for symbol, quote in self._moves(after, until):
            for position in [each for each in self.state.positions.values() if each.symbol == symbol]:
                hit = _hit(position, quote)
                if hit is not None:
                    self._stop(position, *hit, time=quote.time)
            self._stop_out(quote.time)
            if not self.state.positions:
                return

    def _moves(self, after: float, until: float) -> Iterator[tuple[str, Quote]]:
        symbols = {each.symbol for each in self.state.positions.values()}
        moves = [(symbol, quote) for symbol in symbols for quote in self.market.of(symbol).ticks(after, until)]
        moves.sort(key=lambda move: (move[1].time, move[0]))
        return iter(moves)

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
    """(reason, price) when the tick reaches a level. Inside a bar prices move without jumps, so the level itself is met."""
    sign = 1 - 2 * position.type
    price = quote.bid if sign > 0 else quote.ask
    if position.sl and sign * (price - position.sl) <= 0:
        return Constants.DEAL_REASON_SL, price if quote.opens else position.sl
    if position.tp and sign * (price - position.tp) >= 0:
        return Constants.DEAL_REASON_TP, position.tp
    return None


def _check_stops(facts: Contract, side: int, quote: Quote, sl: float, tp: float) -> No | None:
    """Right side, far enough (from the bid for BUY, from the ask for SELL), and a whole number of points; 0 is no level."""
    sign = 1 if side == BUY else -1
    price = quote.bid if side == BUY else quote.ask
    least = max(facts.stops_level, 1) * facts.point * (1 - 1e-9)
    for name, level, distance in (("stop loss", sl, sign * (price - sl)), ("take profit", tp, sign * (tp - price))):
        if level == 0.0:
            continue
        points = level / facts.point
        if not (level > 0 and distance >= least and abs(points - round(points)) < 1e-3):
            detail = (
                f"{name} {level} must be a multiple of {facts.point} and at least {max(facts.stops_level, 1)} points"
                f" {'below' if (sign > 0) == (name == 'stop loss') else 'above'} {price}"
            )
            return No(Constants.TRADE_RETCODE_INVALID_STOPS, detail)
    return None
