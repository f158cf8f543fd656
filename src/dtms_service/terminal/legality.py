"""The last look at an order's numbers before they leave: what the broker would refuse, or read differently, stays here.

``domain.levels`` made them legal; this asserts it with the terminal's newest facts, exactly, in Decimal. A float such
as 0.1 + 0.2 is 0.30000000000000004 lots on the wire, and brokers refuse that (10014).
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal

from dtms_service.domain import levels
from dtms_service.domain.orders import ClosePosition, ModifyStops, OpenHedge, Order
from dtms_service.domain.outcome import Refused
from dtms_service.domain.values import Side, SymbolSpec

_DIGITS = 1e15


def illegal(order: Order, spec: SymbolSpec) -> Refused | None:
    """Why ``order`` may not be sent, None when its numbers are legal.

    A stop is a multiple of the tick. A take profit is the position's own, which a hand or an older contract may have
    put between two ticks: it travels as it was read, since rounding it would move somebody's level.
    """
    match order:
        case ModifyStops(stop_loss=stop, take_profit=target):
            if target is not None and not (math.isfinite(target) and target > 0):
                return Refused("illegal_price", f"a take profit at {target!r} is no price")
            return _illegal_stop(stop, spec) if stop is not None else None
        case OpenHedge(stop_loss=stop, volume=volume):
            return _illegal_stop(stop, spec) or _illegal_volume(volume, spec, least=spec.volume_min)
        case ClosePosition(volume=volume, whole=whole):
            return _illegal_volume(volume, spec, least=spec.volume_step if whole else spec.volume_min)


def _illegal_stop(stop: float, spec: SymbolSpec) -> Refused | None:
    if _is_exact(stop, spec.tick_size) and levels.stop_away_from_price(stop, Side.BUY, spec) == stop:
        return None
    return Refused("illegal_price", f"a stop at {stop!r} is no positive multiple of {spec.tick_size}")


def _illegal_volume(volume: float, spec: SymbolSpec, *, least: float) -> Refused | None:
    if not (_is_exact(volume, spec.volume_step) and levels.volume_down(volume, spec) == volume):
        return Refused("illegal_volume", f"{volume!r} lots are no positive multiple of {spec.volume_step}")
    if not least <= volume <= spec.volume_max:
        detail = f"{volume} lots are not within {least} and {spec.volume_max}; more goes out in pieces"
        return Refused("illegal_volume", detail)
    return None


def at_digits(price: float, digits: int) -> float:
    """A quoted price with the symbol's decimals and without the noise of float arithmetic."""
    return float(Decimal(str(price)).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_EVEN))


def _is_exact(value: float, unit: float) -> bool:
    """True for a positive number whose multiples of ``unit`` a float can tell apart: it holds 15 decimal digits."""
    return math.isfinite(value) and value > 0 and unit > 0 and max(value, value / unit) < _DIGITS
