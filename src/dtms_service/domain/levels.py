"""Legal prices and volumes: multiples of tick size and volume step, at the broker's distances. Exact, in Decimal.

A float never decides what is sent: 0.1 + 0.2 lots is 0.30000000000000004 lots, and brokers refuse it (retcode 10014).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from dtms_service.domain.values import Side, SymbolSpec


def _multiple(value: float, step: float, rounding: str) -> float:
    unit = Decimal(str(step))
    # One part in 1e9 of a step is noise of float arithmetic, not a price: 1.09999999999 is 1.1 with step 0.1.
    count = (Decimal(str(value)) / unit).quantize(Decimal("1e-9")).to_integral_value(rounding=rounding)
    return float(count * unit)


def stop_away_from_price(value: float, side: Side, spec: SymbolSpec) -> float:
    """The stop loss rounded to a tick, away from the price: down for BUY, up for SELL."""
    return _multiple(value, spec.tick_size, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)


def volume_down(volume: float, spec: SymbolSpec) -> float:
    """The largest legal multiple of the volume step that is not above ``volume``; never rounded up."""
    return _multiple(volume, spec.volume_step, ROUND_FLOOR)


def volume_minus(volume: float, part: float) -> float:
    """Exact difference of two volumes, for example 0.3 - 0.1 = 0.2."""
    return float(Decimal(str(volume)) - Decimal(str(part)))


def broker_distance(spec: SymbolSpec) -> float:
    """How far from the price a stop must be at least: max(stops level, freeze level) points plus one tick."""
    return max(spec.stops_level, spec.freeze_level) * spec.point + spec.tick_size


def same_price(a: float | None, b: float | None, tick_size: float) -> bool:
    """Equal within half a tick; an absent level equals only an absent level."""
    if a is None or b is None:
        return a is b
    return abs(a - b) <= tick_size / 2


def at_least_as_tight(stop: float | None, target: float, side: Side, tick_size: float) -> bool:
    """True when ``stop`` protects at least as well as ``target``, within half a tick."""
    return stop is not None and side.sign * (stop - target) >= -tick_size / 2
