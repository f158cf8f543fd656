"""Orders that wait for a price: what the broker accepts, and when they trigger."""

from __future__ import annotations

from dataclasses import replace

from dtms_service.terminal.simulated.constants import Constants
from dtms_service.terminal.simulated.market import Market
from dtms_service.terminal.simulated.rows import OrderRow
from dtms_service.terminal.simulated.rules import (
    LOTS,
    No,
    Rules,
    Waiting,
    check_distance,
    check_filling,
    market_open,
    whole_points,
)
from dtms_service.terminal.simulated.series import Extremes, Quote, Series
from dtms_service.terminal.simulated.server_clock import DAY, ServerClock
from dtms_service.terminal.simulated.state import State
from dtms_service.terminal.simulated.structs import Struct

_LIMITS = frozenset({Constants.ORDER_TYPE_BUY_LIMIT, Constants.ORDER_TYPE_SELL_LIMIT})
_STOPS = frozenset({Constants.ORDER_TYPE_BUY_STOP, Constants.ORDER_TYPE_SELL_STOP})
_STOP_LIMITS = frozenset({Constants.ORDER_TYPE_BUY_STOP_LIMIT, Constants.ORDER_TYPE_SELL_STOP_LIMIT})
PENDING = _LIMITS | _STOPS
"""Types of order that wait for a price here. Stop-limit orders are not among the accepted ones."""


class PendingRules:
    """The checks of placing, changing and removing pending orders."""

    def __init__(self, market: Market, state: State, rules: Rules, clock: ServerClock) -> None:
        self._market = market
        self._state = state
        self._rules = rules
        self._clock = clock

    def judge_place(self, request: Struct, time: float) -> Waiting | No:
        """A new pending order. Its reason is EXPERT and its state PLACED."""
        series = self._market.series.get(request.symbol)
        if series is None:
            return No(Constants.TRADE_RETCODE_INVALID, f"unknown symbol {request.symbol!r}", local=True)
        facts = series.facts
        if request.type in _STOP_LIMITS:
            return No(Constants.TRADE_RETCODE_INVALID_ORDER, f"{facts.name} takes no stop-limit orders")
        if request.type not in PENDING:
            return No(Constants.TRADE_RETCODE_INVALID, "a pending order is a limit or a stop", local=True)
        order = OrderRow(
            ticket=0,
            position_id=0,
            symbol=facts.name,
            type=request.type,
            volume=round(float(request.volume), LOTS),
            price=request.price,
            sl=request.sl,
            tp=request.tp,
            filling=request.type_filling,
            magic=request.magic,
            reason=Constants.DEAL_REASON_EXPERT,
            comment=request.comment,
            time_msc=round(time * 1000),
            done_msc=0,
            state=Constants.ORDER_STATE_PLACED,
            rest=round(float(request.volume), LOTS),
            type_time=request.type_time,
            expiration=self._expiration(request, time),
        )
        refusal = (
            self._rules.check_volume(facts, request.volume, None)
            or (
                None
                if request.type_filling == Constants.ORDER_FILLING_RETURN
                else check_filling(facts, request.type_filling)
            )
            or self._rules.check_opening(facts, side_of(order.type), request.volume)
            or self._check_prices(series, order, time)
        )
        return refusal or Waiting(order)

    def judge_change(self, request: Struct, time: float) -> Waiting | No:
        """New prices or another end of a pending order; what is not named is taken away, as everywhere."""
        order = self._state.waiting.get(request.order)
        if order is None or order.type not in PENDING:
            return No(Constants.TRADE_RETCODE_INVALID, f"there is no pending order {request.order}", local=True)
        end = self._expiration(request, time)
        changed = replace(
            order, price=request.price, sl=request.sl, tp=request.tp, type_time=request.type_time, expiration=end
        )
        if changed == order:
            return No(Constants.TRADE_RETCODE_NO_CHANGES, "the order is as it was")
        series = self._market.of(order.symbol)
        return self._check_frozen(series, order, time) or self._check_prices(series, changed, time) or Waiting(changed)

    def judge_remove(self, request: Struct, time: float) -> Waiting | No:
        """A pending order is taken away."""
        order = self._state.waiting.get(request.order)
        if order is None or order.type not in PENDING:
            return No(Constants.TRADE_RETCODE_INVALID, f"there is no pending order {request.order}", local=True)
        return self._check_frozen(self._market.of(order.symbol), order, time) or Waiting(order, remove=True)

    def _expiration(self, request: Struct, time: float) -> float:
        """When the order ends, UTC seconds; 0 for never, -1 for a moment that has passed."""
        match request.type_time:
            case Constants.ORDER_TIME_GTC:
                return 0.0
            case Constants.ORDER_TIME_DAY:
                return self._clock.midnight_after(time)
            case Constants.ORDER_TIME_SPECIFIED:
                end = self._clock.utc(request.expiration)
            case _:  # a day, whole
                end = self._clock.utc((request.expiration // DAY + 1) * DAY)
        return end if end > time else -1.0

    def _check_prices(self, series: Series, order: OrderRow, time: float) -> No | None:
        facts, quote = series.facts, market_open(series, time)
        if order.expiration < 0:
            return No(Constants.TRADE_RETCODE_INVALID_EXPIRATION, "the order would have ended already")
        if isinstance(quote, No):
            return quote
        least = max(facts.stops_level, facts.least_stop_level) * facts.point * (1 - 1e-9)
        distance = _distance(order, quote)
        if not (order.price > 0 and whole_points(facts, order.price) and distance > 0 and distance >= least):
            return No(Constants.TRADE_RETCODE_INVALID_PRICE, f"an order at {order.price} is not possible now")
        return check_distance(facts, side_of(order.type), order.price, order.sl, order.tp)

    def _check_frozen(self, series: Series, order: OrderRow, time: float) -> No | None:
        facts, quote = series.facts, market_open(series, time)
        if isinstance(quote, No):
            return quote
        if facts.freeze_level and _distance(order, quote) <= facts.freeze_level * facts.point * (1 + 1e-9):
            return No(Constants.TRADE_RETCODE_FROZEN, f"order {order.ticket} is frozen: the price is too near")
        return None


def side_of(kind: int) -> int:
    """BUY or SELL of an order type: MetaTrader numbers them in turn."""
    return kind % 2


def price_at(order: OrderRow, quote: Quote) -> float | None:
    """The price at which a pending order is filled by a tick; None when the tick does not reach it.

    Inside a bar prices do not jump: the order's own price is met. At a bar's first tick a limit order gets the better
    price that the jump brought, a stop order the worse one.
    """
    if order.type not in PENDING or _distance(order, quote) > 0:
        return None
    if not quote.opens:
        return order.price
    return quote.bid if side_of(order.type) else quote.ask


def reached(order: OrderRow, seen: Extremes) -> bool:
    """True when prices between these extremes trigger the order."""
    match order.type:
        case Constants.ORDER_TYPE_BUY_LIMIT:
            return seen.low_ask <= order.price
        case Constants.ORDER_TYPE_SELL_LIMIT:
            return seen.high_bid >= order.price
        case Constants.ORDER_TYPE_BUY_STOP:
            return seen.high_ask >= order.price
        case Constants.ORDER_TYPE_SELL_STOP:
            return seen.low_bid <= order.price
        case _:
            return False


def _distance(order: OrderRow, quote: Quote) -> float:
    """How far the price still has to go; 0 or less when the order is reached."""
    if side_of(order.type):
        return order.price - quote.bid if order.type in _LIMITS else quote.bid - order.price
    return quote.ask - order.price if order.type in _LIMITS else order.price - quote.ask
