"""What the broker accepts: one judgement per request, as terminal and server would give it together."""

from __future__ import annotations

from dataclasses import dataclass

from dtms_service.terminal.simulated.catalogue import Contract
from dtms_service.terminal.simulated.constants import TRADE_RETCODE_HEDGE_PROHIBITED, Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.rows import PositionRow
from dtms_service.terminal.simulated.series import Quote, Series
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct

BUY, SELL = Constants.ORDER_TYPE_BUY, Constants.ORDER_TYPE_SELL
LOTS = 8
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


class Rules:
    """The checks that need the market, the account's terms and its open positions; money is checked by the broker."""

    def __init__(self, market: Market, state: State, terms: Terms) -> None:
        self._market = market
        self._state = state
        self._terms = terms

    @property
    def hedging(self) -> bool:
        """True when each order opens a position of its own."""
        return self._terms.margin_mode == Constants.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING

    def judge(self, request: Struct, time: float) -> Deal | Levels | No:
        """Accept or refuse a request; whether the account can afford it is not asked here."""
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
            or self._check_order_of_closing(series.facts.name, request.type, position)
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
        return Deal(
            series,
            request.type,
            round(request.volume, LOTS),
            price,
            request.sl,
            request.tp,
            position,
            request.type_filling,
            request.magic,
            request.comment,
        )

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
            return No(Constants.TRADE_RETCODE_POSITION_CLOSED, f"there is no position {request.position}")
        if position is not None and position.symbol != symbol:
            return No(
                Constants.TRADE_RETCODE_INVALID, f"position {position.ticket} is of {position.symbol}", local=True
            )
        if position is not None and position.type == request.type:
            return No(Constants.TRADE_RETCODE_INVALID, "a position is closed by the opposite type", local=True)
        if position is None and not self.hedging:
            position = next((each for each in self._state.positions.values() if each.symbol == symbol), None)
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
        rest = round(closed.volume - volume, LOTS)
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

    def _check_order_of_closing(self, symbol: str, side: int, position: PositionRow | None) -> No | None:
        """The rules of FIFO accounts: no opposite position, and the oldest of a symbol is closed first."""
        if not (self._terms.fifo_close and self.hedging):
            return None
        same = [each for each in self._state.positions.values() if each.symbol == symbol]
        if position is None and any(each.type != side for each in same):
            return No(TRADE_RETCODE_HEDGE_PROHIBITED, "opposite positions are prohibited on this account")
        if position is not None and min(same, key=lambda each: each.identifier, default=position) != position:
            return No(Constants.TRADE_RETCODE_FIFO_CLOSE, "positions are closed in the order they were opened")
        return None

    def _check_levels(self, request: Struct, time: float) -> Levels | No:
        position = self._state.positions.get(request.position)
        if position is None and not self.hedging and request.symbol:
            found = (each for each in self._state.positions.values() if each.symbol == request.symbol)
            position = next(found, None)
        if position is None:
            return No(Constants.TRADE_RETCODE_POSITION_CLOSED, f"there is no position {request.position}")
        if request.symbol and request.symbol != position.symbol:
            return No(
                Constants.TRADE_RETCODE_INVALID, f"position {position.ticket} is of {position.symbol}", local=True
            )
        if (request.sl, request.tp) == (position.sl, position.tp):
            return No(Constants.TRADE_RETCODE_NO_CHANGES, "both levels are as they were")
        series = self._market.of(position.symbol)
        quote = series.quote(time)
        if quote is None or not series.is_open(time):
            return No(Constants.TRADE_RETCODE_MARKET_CLOSED, f"the market of {position.symbol} is closed")
        # A level that stays is not a new one: only what changes has to keep its distance.
        sl = request.sl if request.sl != position.sl else 0.0
        tp = request.tp if request.tp != position.tp else 0.0
        bad = _check_stops(series.facts, position.type, quote, sl, tp)
        return bad or Levels(position, request.sl, request.tp)


def _check_stops(facts: Contract, side: int, quote: Quote, sl: float, tp: float) -> No | None:
    """Right side, far enough (from the bid for BUY, the ask for SELL), whole points; 0 is no level."""
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
