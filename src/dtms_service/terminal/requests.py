"""An order of ours as the request that MetaTrader reads.

Types are strict there: a whole number for a price is refused (-2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dtms_service.domain.orders import ClosePosition, ModifyStops, OpenHedge, Order
from dtms_service.domain.values import Side, Tick
from dtms_service.terminal.legality import at_digits

DEAL, SLTP = 1, 6
FOK, IOC, RETURN = 0, 1, 2
_FOK_BIT, _IOC_BIT = 1, 2
_REQUEST, _INSTANT, _MARKET = 0, 1, 2
_COMMENT_MAX = 16
"""Letters and digits; terminals take 29, brokers cut or rewrite more than that anyway."""


def fillings(info: Mapping[str, Any]) -> tuple[int, ...]:
    """Filling modes a symbol allows, best first: fill or kill before a part, a part before an order that stays.

    Market execution takes FOK and IOC only where the symbol's bit is set, exchange execution also RETURN, the others
    all three (``mt5.md`` 2.3).
    """
    bits, execution = info["filling_mode"], info["trade_exemode"]
    if execution in {_REQUEST, _INSTANT}:
        return FOK, IOC, RETURN
    modes = [mode for mode, bit in ((FOK, _FOK_BIT), (IOC, _IOC_BIT)) if bits & bit]
    if execution != _MARKET:
        modes.append(RETURN)
    return tuple(modes) or (FOK,)


def needs_price(info: Mapping[str, Any]) -> bool:
    """True when the dealer wants to be told a price: request and instant execution."""
    return info["trade_exemode"] in {_REQUEST, _INSTANT}


def deviation(tick: Tick, point: float) -> int:
    """Points the price may move: twice the spread, 10 to 50."""
    return min(50, max(10, math.ceil(2 * tick.spread / point)))


def request_of(order: Order, info: Mapping[str, Any], modes: Sequence[int], tick: Tick | None) -> dict[str, Any]:
    """Keyword arguments of ``order_send``. ``tick`` is given where a price is needed."""
    common = {
        "symbol": info["name"],
        "magic": int(order.magic),
        "comment": order.comment.encode("ascii", "ignore").decode()[:_COMMENT_MAX],
    }
    match order:
        case ModifyStops(stop_loss=stop_loss, take_profit=take_profit):
            # Both levels, always: a missing key is a zero, and a zero removes the level.
            levels = {"sl": float(stop_loss or 0.0), "tp": float(take_profit or 0.0)}
            return {"action": SLTP, "position": int(order.ticket), **levels, **common}
        case ClosePosition(side=side, volume=volume):
            selling = side is Side.BUY
            deal = {"position": int(order.ticket), **_market(volume, info, modes, tick, selling=selling)}
            return {**deal, **common}
        case OpenHedge(side=side, volume=volume, stop_loss=stop):
            # Without a position: what names one closes it.
            selling = side is Side.SELL
            return {**_market(volume, info, modes, tick, selling=selling), "sl": float(stop), **common}


def _market(
    volume: float, info: Mapping[str, Any], modes: Sequence[int], tick: Tick | None, *, selling: bool
) -> dict[str, Any]:
    price = {}
    if tick is not None:
        quoted = at_digits(tick.bid if selling else tick.ask, info["digits"])
        price = {"price": quoted, "deviation": deviation(tick, info["point"])}
    kind = 1 if selling else 0
    return {"action": DEAL, "volume": float(volume), "type": kind, "type_filling": modes[0], **price}
