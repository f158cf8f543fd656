"""What the broker accepts: one judgement per request, as terminal and server would give it together."""

from __future__ import annotations

from dataclasses import dataclass

from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import TRADE_RETCODE_HEDGE_PROHIBITED, Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.rows import OrderRow, PositionRow
from dtms_service.terminal.simulated.series import Quote, Series
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct
from dtms_service.terminal.simulated.terms import Habits, Terms

BUY, SELL = Constants.ORDER_TYPE_BUY, Constants.ORDER_TYPE_SELL
LOTS = 8
"""Volumes are rounded to this many decimals, so that 0.3 - 0.1 - 0.2 is 0."""
_WANTS_PRICE = frozenset({Constants.SYMBOL_TRADE_EXECUTION_REQUEST, Constants.SYMBOL_TRADE_EXECUTION_INSTANT})
_BARRED = {
    Constants.SYMBOL_TRADE_MODE_DISABLED: (Constants.TRADE_RETCODE_TRADE_DISABLED, (BUY, SELL)),
    Constants.SYMBOL_TRADE_MODE_LONGONLY: (Constants.TRADE_RETCODE_LONG_ONLY, (SELL,)),
    Constants.SYMBOL_TRADE_MODE_SHORTONLY: (Constants.TRADE_RETCODE_SHORT_ONLY, (BUY,)),
    Constants.SYMBOL_TRADE_MODE_CLOSEONLY: (Constants.TRADE_RETCODE_CLOSE_ONLY, (BUY, SELL)),
}
"""Opening types that a trade mode refuses, with the return code."""
_CLOSEBY_BIT = 64


@dataclass(frozen=True, slots=True)
class No:
    """A refusal. ``local`` means the terminal itself refused: nothing was sent and ``request_id`` is 0."""

    retcode: int
    detail: str
    local: bool = False
    quote: Quote | None = None
    """The fresh price that goes with a requote."""


@dataclass(frozen=True, slots=True)
class Deal:
    """A checked market order, ready to fill. ``position`` is the one it closes, reduces, adds to or turns around.

    ``volume`` is what finds liquidity; ``rest`` is what stays unfilled, cancelled (IOC) or waiting (RETURN).
    """

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
    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Levels:
    """A checked change of stop loss and take profit."""

    position: PositionRow
    sl: float
    tp: float


@dataclass(frozen=True, slots=True)
class CloseBy:
    """A checked closing of ``position`` by the opposite ``other``."""

    position: PositionRow
    other: PositionRow
    magic: int
    comment: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A checked pending order: a new one (ticket 0), a changed one, or with ``remove`` one to take away."""

    order: OrderRow
    remove: bool = False


Judged = Deal | Levels | CloseBy | Waiting


class Rules:
    """The checks that need the market, the account's terms and its open positions; money is checked by the broker."""

    def __init__(self, market: Market, state: State, terms: Terms, habits: Habits) -> None:
        self._market = market
        self._state = state
        self._terms = terms
        self._habits = habits

    def judge_deal(self, request: Struct, time: float) -> Deal | No:
        """A market order."""
        target = self._target(request)
        if isinstance(target, No):
            return target
        series, position = target
        facts = series.facts
        closing = position is not None and request.type != position.type
        refusal = (
            self.check_volume(facts, request.volume, position if closing else None)
            or check_filling(facts, request.type_filling)
            or self._check_order_of_closing(facts.name, request.type, position)
            or (None if closing else self.check_opening(facts, request.type, request.volume))
        )
        quote = market_open(series, time) if refusal is None else refusal
        if isinstance(quote, No):
            return quote
        price = quote.ask if request.type == BUY else quote.bid
        refusal = (
            check_stops(facts, request.type, quote, request.sl, request.tp)
            or (check_frozen(facts, position, quote) if closing and position is not None else None)
            or _check_price(facts, request, price, quote)
        )
        if refusal is not None:
            return refusal
        filled = _found(facts, request)
        if filled <= 0:
            return No(Constants.TRADE_RETCODE_REJECT, f"there is no counter-party for {request.volume} {facts.name}")
        return Deal(
            series=series,
            type=request.type,
            volume=filled,
            price=price,
            sl=request.sl,
            tp=request.tp,
            position=position,
            filling=request.type_filling,
            magic=request.magic,
            comment=request.comment,
            rest=round(request.volume - filled, LOTS),
        )

    def judge_levels(self, request: Struct, time: float) -> Levels | No:
        """A change of stop loss and take profit."""
        position = self._state.positions.get(request.position)
        if position is None and not self._terms.hedging and request.symbol:
            position = self._net(request.symbol)
        if position is None:
            return self._no_position(request.position)
        if request.symbol and request.symbol != position.symbol:
            return _other_symbol(position)
        if (request.sl, request.tp) == (position.sl, position.tp):
            return No(Constants.TRADE_RETCODE_NO_CHANGES, "both levels are as they were")
        series = self._market.of(position.symbol)
        quote = market_open(series, time)
        if isinstance(quote, No):
            return quote
        # A level that stays is not a new one: only what changes has to keep its distance.
        sl = request.sl if request.sl != position.sl else 0.0
        tp = request.tp if request.tp != position.tp else 0.0
        refusal = check_stops(series.facts, position.type, quote, sl, tp) or check_frozen(series.facts, position, quote)
        return refusal or Levels(position, request.sl, request.tp)

    def judge_close_by(self, request: Struct, time: float) -> CloseBy | No:
        """Two opposite positions of a symbol, closed against each other (C53)."""
        position = self._state.positions.get(request.position)
        other = self._state.positions.get(request.position_by)
        if position is None or other is None:
            return self._no_position(request.position if position is None else request.position_by)
        series = self._market.of(position.symbol)
        if not (self._terms.hedging and series.facts.order_modes & _CLOSEBY_BIT):
            return No(
                Constants.TRADE_RETCODE_INVALID_ORDER, f"{position.symbol} does not close positions by each other"
            )
        if position.symbol != other.symbol or position.type == other.type:
            return No(
                Constants.TRADE_RETCODE_INVALID, "only opposite positions of a symbol close each other", local=True
            )
        quote = market_open(series, time)
        if isinstance(quote, No):
            return quote
        frozen = check_frozen(series.facts, position, quote) or check_frozen(series.facts, other, quote)
        return frozen or CloseBy(position, other, request.magic, request.comment)

    def check_volume(self, facts: Contract, volume: float, closed: PositionRow | None) -> No | None:
        """Minimum, maximum and step (C41); ``closed`` is the position it takes from, which must not be too small."""
        steps = volume / facts.volume_step if volume == volume else -1.0  # noqa: PLR0124 -- not a number
        if not facts.volume_min - 1e-9 <= volume <= facts.volume_max + 1e-9 or abs(steps - round(steps)) > 1e-6:
            detail = (
                f"volume {volume} of {facts.name} must be {facts.volume_min} to {facts.volume_max}"
                f" in steps of {facts.volume_step}"
            )
            return No(Constants.TRADE_RETCODE_INVALID_VOLUME, detail, local=True)
        if closed is None or not self._terms.hedging:
            return None
        rest = round(closed.volume - volume, LOTS)
        if rest < 0:
            detail = f"volume {volume} is more than the {closed.volume} of position {closed.ticket}"
            return No(Constants.TRADE_RETCODE_INVALID_CLOSE_VOLUME, detail)
        if 0 < rest < facts.volume_min:
            detail = f"closing {volume} would leave {rest}, less than the smallest volume {facts.volume_min}"
            return No(Constants.TRADE_RETCODE_INVALID_VOLUME, detail)
        return None

    def check_opening(self, facts: Contract, side: int, volume: float) -> No | None:
        """What the symbol's trade mode and its largest total allow to be opened."""
        code, barred = _BARRED.get(facts.trade_mode, (0, ()))
        if side in barred:
            return No(code, f"{facts.name} does not accept this type of order now")
        if not facts.volume_limit:
            return None
        held = sum(p.volume for p in self._state.positions.values() if p.symbol == facts.name and p.type == side)
        waiting = sum(o.rest for o in self._state.waiting.values() if o.symbol == facts.name and o.type % 2 == side)
        if held + waiting + volume > facts.volume_limit + 1e-9:
            detail = f"{facts.name} allows {facts.volume_limit} lots in one direction, {held + waiting:g} are in use"
            return No(Constants.TRADE_RETCODE_LIMIT_VOLUME, detail)
        return None

    def _no_position(self, ticket: int) -> No:
        code = self._habits.missing_position
        return No(code, f"there is no position {ticket}", local=code == Constants.TRADE_RETCODE_INVALID)

    def _net(self, symbol: str) -> PositionRow | None:
        return next((each for each in self._state.positions.values() if each.symbol == symbol), None)

    def _target(self, request: Struct) -> tuple[Series, PositionRow | None] | No:
        """The symbol and, where the order means one, the position."""
        position = self._state.positions.get(request.position) if request.position else None
        symbol = request.symbol or (position.symbol if position is not None else "")
        series = self._market.series.get(symbol)
        if series is None:
            return No(Constants.TRADE_RETCODE_INVALID, f"unknown symbol {symbol!r}", local=True)
        if request.type not in {BUY, SELL}:
            return No(Constants.TRADE_RETCODE_INVALID, "a deal is of type BUY or SELL", local=True)
        if request.position and position is None:
            return self._no_position(request.position)
        if position is not None and position.symbol != symbol:
            return _other_symbol(position)
        if position is not None and position.type == request.type:
            return No(Constants.TRADE_RETCODE_INVALID, "a position is closed by the opposite type", local=True)
        if position is None and not self._terms.hedging:
            position = self._net(symbol)
        return series, position

    def _check_order_of_closing(self, symbol: str, side: int, position: PositionRow | None) -> No | None:
        """Accounts without opposite positions, and those where the oldest of a symbol is closed first (C56)."""
        if not self._terms.hedging:
            return None
        fifo = self._terms.fifo_close
        same = [each for each in self._state.positions.values() if each.symbol == symbol]
        if position is None and (fifo or self._terms.hedge_prohibited) and any(each.type != side for each in same):
            return No(TRADE_RETCODE_HEDGE_PROHIBITED, "opposite positions are prohibited on this account")
        if fifo and position is not None and min(same, key=lambda each: each.identifier, default=position) != position:
            return No(Constants.TRADE_RETCODE_FIFO_CLOSE, "positions are closed in the order they were opened")
        return None


def market_open(series: Series, time: float) -> Quote | No:
    """The quote to trade at, or that the market is closed (C44)."""
    quote = series.quote(time)
    if quote is None or not series.is_open(time):
        return No(Constants.TRADE_RETCODE_MARKET_CLOSED, f"the market of {series.facts.name} is closed")
    return quote


def check_filling(facts: Contract, filling: int) -> No | None:
    """Filling modes by execution mode and the symbol's bits (C40, mt5.md 2.3)."""
    bit = {Constants.ORDER_FILLING_FOK: 1, Constants.ORDER_FILLING_IOC: 2}.get(filling, 0)
    returned = filling == Constants.ORDER_FILLING_RETURN
    if facts.execution in _WANTS_PRICE:
        allowed = bool(bit) or returned
    elif facts.execution == Constants.SYMBOL_TRADE_EXECUTION_EXCHANGE:
        allowed = bool(facts.filling & bit) or returned
    else:
        allowed = bool(facts.filling & bit)
    if allowed:
        return None
    return No(Constants.TRADE_RETCODE_INVALID_FILL, f"{facts.name} does not fill orders of mode {filling}")


def check_frozen(facts: Contract, position: PositionRow, quote: Quote) -> No | None:
    """No change while the price is within the freeze level of one of the position's levels (C39)."""
    price = quote.bid if position.type == BUY else quote.ask
    near = facts.freeze_level * facts.point * (1 + 1e-9)
    for level in (position.sl, position.tp):
        if facts.freeze_level and level and abs(price - level) <= near:
            detail = f"position {position.ticket} is frozen: {price} is within {facts.freeze_level} points of {level}"
            return No(Constants.TRADE_RETCODE_FROZEN, detail)
    return None


def check_stops(facts: Contract, side: int, quote: Quote, sl: float, tp: float) -> No | None:
    """Right side, far enough (from the bid for BUY, the ask for SELL), whole points; 0 is no level (C38)."""
    return check_distance(facts, side, quote.bid if side == BUY else quote.ask, sl, tp)


def check_distance(facts: Contract, side: int, price: float, sl: float, tp: float) -> No | None:
    """As ``check_stops``, from a given price."""
    sign = 1 if side == BUY else -1
    points_apart = max(facts.stops_level, facts.least_stop_level, 1)
    least = points_apart * facts.point * (1 - 1e-9)
    for name, level, distance in (("stop loss", sl, sign * (price - sl)), ("take profit", tp, sign * (tp - price))):
        if level == 0.0:
            continue
        if not (level > 0 and distance >= least and whole_points(facts, level)):
            detail = (
                f"{name} {level} must be a multiple of {facts.point} and at least {points_apart} points"
                f" {'below' if (sign > 0) == (name == 'stop loss') else 'above'} {price}"
            )
            return No(Constants.TRADE_RETCODE_INVALID_STOPS, detail)
    return None


def whole_points(facts: Contract, price: float) -> bool:
    """True for a price that the symbol can have."""
    points = price / facts.point
    return abs(points - round(points)) < 1e-3


def _check_price(facts: Contract, request: Struct, price: float, quote: Quote) -> No | None:
    """Instant and request execution want a price and allow for a deviation in points; the others ignore both (C45)."""
    if facts.execution not in _WANTS_PRICE:
        return None
    if not request.price > 0:
        return No(Constants.TRADE_RETCODE_INVALID_PRICE, f"{facts.name} is traded at a price, and none was given")
    if abs(price - request.price) > request.deviation * facts.point * (1 + 1e-9) + facts.point * 1e-3:
        detail = f"{facts.name} is at {price}, more than {request.deviation} points from {request.price}"
        return No(Constants.TRADE_RETCODE_REQUOTE, detail, quote=quote)
    return None


def _found(facts: Contract, request: Struct) -> float:
    """Lots of an order that find a counter-party: all or nothing for FOK, else whole steps of the liquidity (C46)."""
    volume = round(float(request.volume), LOTS)
    if not facts.liquidity or volume <= facts.liquidity:
        return volume
    if request.type_filling == Constants.ORDER_FILLING_FOK:
        return 0.0
    found = round(int(facts.liquidity / facts.volume_step + 1e-9) * facts.volume_step, LOTS)
    return found if found >= facts.volume_min else 0.0


def _other_symbol(position: PositionRow) -> No:
    return No(Constants.TRADE_RETCODE_INVALID, f"position {position.ticket} is of {position.symbol}", local=True)
